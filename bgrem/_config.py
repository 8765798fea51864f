"""
What every configuration that is read from a file has to check.
"""

from dataclasses import fields

__all__ = ['check_keys']


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
