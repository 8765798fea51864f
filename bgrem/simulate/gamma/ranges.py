"""
Configurations of ranges, from which each patch draws its own values.
"""

from dataclasses import fields

from bgrem._config import Configuration

__all__ = ['Ranges', 'log_uniform']


class Ranges(Configuration):
    """
    The base class of the configurations of patches.

    A field whose default is a pair is a range; one whose name ends in
    ``probability`` is between 0 and 1; and ``shape`` is the height and width of the
    patch in pixels.
    """

    #: The fields that must be positive.
    positive = ()

    def __post_init__(self):
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name == 'shape':
                value = tuple(int(size) for size in value)
                if len(value) != 2 or min(value) < 1:
                    msg = f'shape must be two positive numbers, got {value!r}'
                    raise ValueError(msg)
            elif isinstance(item.default, tuple):
                value = tuple(float(bound) for bound in value)
                if len(value) != 2 or not value[0] <= value[1]:
                    msg = f'{item.name} must be an ascending pair, got {value!r}'
                    raise ValueError(msg)
            elif item.name.endswith('probability') and not 0 <= value <= 1:
                msg = f'{item.name} must be between 0 and 1, got {value!r}'
                raise ValueError(msg)
            object.__setattr__(self, item.name, value)
        for name in self.positive:
            value = getattr(self, name)
            if not (value[0] if isinstance(value, tuple) else value) > 0:
                msg = f'{name} must be positive, got {value!r}'
                raise ValueError(msg)

    def to_dict(self):
        """
        Return the configuration as a plain `dict` for JSON and TOML.

        Returns
        -------
        values : dict
            All fields that are not `None`, by name.
        """
        values = super().to_dict()
        return {name: value for name, value in values.items() if value is not None}


def log_uniform(bounds, rng):
    """
    Draw from a range log-uniformly.

    Parameters
    ----------
    bounds : tuple of float
        The range (low, high).

    rng : `~numpy.random.Generator`
        The source of randomness.

    Returns
    -------
    value : float
        The value.
    """
    low, high = bounds
    return float(low * (high / low) ** rng.random())
