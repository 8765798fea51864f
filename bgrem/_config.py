"""
The base class of configurations that are read from files.
"""

from dataclasses import asdict, fields

__all__ = ['Configuration']


class Configuration:
    """
    Base class of dataclasses that can be stored in JSON and TOML files.
    """

    def to_dict(self):
        """
        Return the configuration as a plain `dict` for JSON and TOML.

        Returns
        -------
        values : dict
            All fields by name; tuples become lists.
        """
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, values):
        """
        Build a configuration from `to_dict` output.

        Parameters
        ----------
        values : dict
            Fields by name; missing ones have their default values.

        Returns
        -------
        config : `Configuration`
            A configuration of this class.

        Raises
        ------
        ValueError
            If ``values`` contains an unknown key or a value out of range.
        """
        unknown = set(values) - {field.name for field in fields(cls)}
        if unknown:
            msg = f'{cls.__name__} has unknown keys: {sorted(unknown)}'
            raise ValueError(msg)
        return cls(**values)

    def _require(self, name, holds, rule):
        if not holds:
            msg = f'{name} {rule}, got {getattr(self, name)!r}'
            raise ValueError(msg)
