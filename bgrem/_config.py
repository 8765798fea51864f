"""
What every configuration that is read from a file has in common.
"""

from dataclasses import asdict, fields

__all__ = ['Configuration']


class Configuration:
    """
    Base of the dataclasses that JSON and TOML files hold.
    """

    def to_dict(self):
        """
        The configuration as a plain `dict` that JSON and TOML can hold.

        Returns
        -------
        values : dict
            Every field by name; tuples as lists.
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
            Fields by name; missing ones take their default.

        Returns
        -------
        config : `Configuration`
            A configuration of this class.

        Raises
        ------
        ValueError
            If ``values`` holds an unknown key or a value out of range.
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
