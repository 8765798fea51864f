"""Self-describing network weights: read and write them; the weights in the package."""

from bgrem.weights.registry import list_weights, shipped_weights
from bgrem.weights.release import register
from bgrem.weights.store import Weights, load_weights, save_weights

__all__ = [
    'Weights',
    'list_weights',
    'load_weights',
    'register',
    'save_weights',
    'shipped_weights',
]
