"""
Run a network over an image, tile by tile.

The names are loaded on first use: torch takes seconds to import.
"""

__all__ = ['denoise']


def __getattr__(name):
    if name == 'denoise':
        from bgrem.denoise.run import denoise

        return denoise
    msg = f'module {__name__!r} has no attribute {name!r}'
    raise AttributeError(msg)


def __dir__():
    return __all__
