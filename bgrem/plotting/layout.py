"""
The layout of the panels of a figure.
"""

from dataclasses import dataclass

import numpy as np

__all__ = ['Layout']

# In inches: the page; what is left of the panels, below them and above them all; and
# above each panel for its title. Beside a panel are a gap, its color bar, and the
# numbers and the unit of that.
_PAGE = (15.0, 10.0)
_LEFT, _BOTTOM, _TOP, _TITLE = 1.05, 0.6, 0.3, 0.33
_GAP, _BAR, _UNIT, _CHARACTER = 0.06, 0.12, 0.4, 0.075
_RIGHT = 0.1
_SHAPES = ((2, 3), (3, 2), (1, 6), (6, 1))
# Pixels are square, unless a panel would be thinner than this.
_MOST_ELONGATED = 8.0


@dataclass(frozen=True)
class Layout:
    """
    The places of six panels and their color bars on a page.

    Parameters
    ----------
    rows, columns : int
        The numbers of rows and columns of panels.
    width, height : float
        The size of a panel in inches.
    numbers : float
        The width of the numbers beside a color bar in inches.
    figsize : tuple of float
        The width and height of the page in inches.
    has_square_pixels : bool
        Whether the pixels are square.
    """

    rows: int
    columns: int
    width: float
    height: float
    numbers: float
    figsize: tuple
    has_square_pixels: bool

    @classmethod
    def of_image(cls, shape, n_characters, figsize=None):
        """
        Arrange the panels for an image such that they are large.

        Parameters
        ----------
        shape : tuple of int
            The shape of the image.
        n_characters : int
            The length of the longest number beside a color bar.
        figsize : tuple of float, optional
            The width and height of the page in inches. Default: as large as the panels
            need, on a page of at most 15 by 10 inches.

        Returns
        -------
        layout : `Layout`
            The layout.
        """
        ratio = shape[1] / shape[0]
        clipped = float(np.clip(ratio, 1 / _MOST_ELONGATED, _MOST_ELONGATED))
        numbers = _CHARACTER * n_characters
        page = figsize or _PAGE
        found = []
        for rows, columns in _SHAPES:
            beside = _GAP + _BAR + numbers + _UNIT
            wide = (page[0] - _LEFT - _RIGHT) / columns - beside
            high = (page[1] - _BOTTOM - _TOP) / rows - _TITLE
            wide = max(min(wide, clipped * high), 0.1)
            found.append((wide, rows, columns))
        width, rows, columns = max(found)
        height = width / clipped
        if figsize is None:
            figsize = (
                _LEFT + columns * (width + beside) + _RIGHT,
                _BOTTOM + rows * (height + _TITLE) + _TOP,
            )
        return cls(rows, columns, width, height, numbers, figsize, clipped == ratio)

    def panel(self, number):
        """
        Return the place of a panel.

        Parameters
        ----------
        number : int
            The panel, counted in rows from the top.

        Returns
        -------
        place : tuple of float
            Left, bottom, width and height as fractions of the page.
        """
        row, column = divmod(number, self.columns)
        step = self.width + _GAP + _BAR + self.numbers + _UNIT
        left = _LEFT + column * step
        bottom = _BOTTOM + (self.rows - 1 - row) * (self.height + _TITLE)
        return self._place(left, bottom, self.width)

    def color_bar(self, number):
        """
        Return the place of a color bar, which is as high as its panel.

        Parameters
        ----------
        number : int
            The panel.

        Returns
        -------
        place : tuple of float
            Left, bottom, width and height as fractions of the page.
        """
        left, bottom, width, height = self.panel(number)
        page = self.figsize[0]
        return left + width + _GAP / page, bottom, _BAR / page, height

    def _place(self, left, bottom, width):
        x, y = self.figsize
        return left / x, bottom / y, width / x, self.height / y

    def title_height(self):
        """
        Return the vertical position of the title of the page.

        Returns
        -------
        height : float
            The height of the middle of the title, as a fraction of the page.
        """
        return 1 - 0.5 * _TOP / self.figsize[1]

    def is_left(self, number):
        """Whether a panel is in the first column."""
        return number % self.columns == 0

    def is_bottom(self, number):
        """Whether a panel is in the last row."""
        return number // self.columns == self.rows - 1
