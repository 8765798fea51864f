"""
Plots of a background object.
"""

from bgrem.plotting.figure import plot_background, save_plot
from bgrem.plotting.notebook import make_html

__all__ = ['make_html', 'plot_background', 'save_plot']
