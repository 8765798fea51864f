# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The directive ``weights-card``: what the header of a weights file says.

The facts of a model card are read from the shipped file itself, so that the
page cannot fall behind when the weights are trained anew; the prose around
them is written by hand.
"""

import json

from docutils import nodes
from docutils.parsers.rst import Directive


def _card(weights, row):
    from bgrem.denoise.run import tile_layout

    header = weights.header
    largest = max(tile_layout((10_000, 10_000), weights).tile_shape)
    calibration = header.get('calibration')
    yield 'File', f'{row.path.name}, {row.path.stat().st_size / 1e6:.1f} MB'
    yield 'sha256', row.sha256
    yield 'Purpose', row.description
    yield 'Network', _listing(header['network'])
    yield 'Schedule', _listing(header['schedule'])
    yield 'Diffusion steps', str(header['n_steps'])
    yield 'Normalization', str(header['normalization'])
    yield 'Tiles', f'up to {largest} px, overlap {header["tile_overlap"]} px'
    if calibration is None:
        yield 'Calibration', 'none'
    else:
        low, high = calibration['probability'][0], calibration['probability'][-1]
        yield 'Calibration', f'probabilities from {low:.2g} to {high:.2g}'
    yield 'Training', _training(header.get('training') or {})
    yield 'All of it', f'bgrem info {row.name}'


def _training(record):
    """Say what was learned from; the whole configuration is as long as a page."""
    parts = [f'{record["steps"]} steps', f'{record["megapixels"]:.0f} megapixels']
    if 'loss' in record.get('validation', {}):
        parts.append(f'validation loss {record["validation"]["loss"]:.4f}')
    for sha256, fraction in record.get('mean_of', ()):
        parts.append(f'{fraction} of {sha256[:8]}')
    if 'zero_point' in record:
        parts.append(f'zero point shifted by {record["zero_point"]}')
    return '; '.join(parts)


def _listing(record):
    return '; '.join(f'{key} {_plain(value)}' for key, value in record.items())


def _plain(value):
    return value if isinstance(value, str) else json.dumps(value)


class WeightsCard(Directive):
    """A definition table of the header of the weights that it names."""

    required_arguments = 1

    def run(self):
        from bgrem.weights import load_weights, shipped_weights

        name = self.arguments[0]
        table = shipped_weights()
        if name not in table:
            msg = f'weights-card: there are no shipped weights {name!r}'
            raise self.error(msg)
        fields = nodes.field_list()
        for label, text in _card(load_weights(name), table[name]):
            body = nodes.field_body('', nodes.paragraph('', text))
            fields += nodes.field('', nodes.field_name('', label), body)
        return [fields]


def setup(app):
    """Register the directive."""
    app.add_directive('weights-card', WeightsCard)
    return {'parallel_read_safe': True}
