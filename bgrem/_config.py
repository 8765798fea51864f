"""
What every configuration that is read from a file has in common.
"""

from dataclasses import asdict, fields

__all__ = ['check_keys', 'plain_values']


def check_keys(config_class, values, name):
    """
    Refuse keys that a configuration does not have.

    Parameters
    ----------
    config_class : type
        A dataclass.

    values : dict
        Its fields by name.

    name : str
        What the configuration is called in the message.

    Raises
    ------
    ValueError
        If ``values`` holds a key that is not a field.
    """
    unknown = set(values) - {field.name for field in fields(config_class)}
    if unknown:
        msg = f'{name} has unknown keys: {sorted(unknown)}'
        raise ValueError(msg)


def plain_values(config):
    """
    Return the values of a configuration as JSON and TOML can hold them.

    Parameters
    ----------
    config : dataclass instance
        The configuration.

    Returns
    -------
    values : dict
        Every field by name; tuples as lists.
    """
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(config).items()
    }
