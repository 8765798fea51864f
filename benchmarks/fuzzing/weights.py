# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Damaged weights files."""

import json

import numpy as np
import torch

from bgrem.denoise.run import denoise
from bgrem.nn import AttentionUNet, CosineSchedule, UNetConfig
from bgrem.weights import load_weights, save_weights
from fuzzing.damage import flip_bytes
from fuzzing.judge import refusable, require

__all__ = ['WeightsCases', 'write_tiny_weights']


def write_tiny_weights(path):
    """Write the weights of a small network without training."""
    config = UNetConfig(
        widths=(4, 8), image_channels=4, embedding_dim=4, attention_gates=1,
        unshuffle=2, transfer='arcsinh', center_head=True,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        network = AttentionUNet(config)
        torch.nn.init.normal_(network.head.weight, std=0.1)
    header = {
        'format_version': 1,
        'name': 'tiny',
        'network': config.to_dict(),
        'schedule': CosineSchedule().to_dict(),
        'n_steps': 1,
        'normalization': 'local',
        'tile_size': 64,
        'tile_overlap': 16,
        'calibration': {
            'logit': [-6.0, 0.0],
            'probability': [0.001, 0.6],
            'correction': {
                **dict.fromkeys(('offset', 'excess', 'correlation'), 0.0),
                **dict.fromkeys(('skewness', 'width', 'width_squared'), 0.0),
                'limits': {
                    'lowest': -1.0, 'typical_width': 3.0, 'narrowest': 2.0,
                    'widest': 5.0,
                },
            },
        },
        'training': {'steps': 0},
    }  # fmt: skip
    save_weights(path, network.state_dict(), header)
    return path


class WeightsCases:
    """Damaged weights files, loaded and, if they load, used."""

    VALUES = (
        None, True, False, 0, 1, -1, 2, 3, 64, 10**6, 2**40, 2**63, 10**400, 0.5, -0.5,
        1e-320, 1e300, float('nan'), float('inf'), '', 'local', 'x' * 1000, [], {},
        [0], [1, 1], [4, 8, 8], ['a'], [float('nan')] * 2, [10**400] * 2, [2**40] * 2,
        [4] * 10_000, {'a': 1},
    )  # fmt: skip

    def __init__(self, folder):
        self.folder = folder
        self.content = write_tiny_weights(folder / 'base.safetensors').read_bytes()
        self.image = np.random.default_rng(1).normal(size=(32, 40)).astype(np.float32)

    def run(self, seed):
        """Run the case of a seed; return what was done and how it ended."""
        rng = np.random.default_rng([2, seed])
        ways = {
            'flip bytes': self._flip, 'flip start': self._flip_start,
            'truncate': self._truncate, 'header value': self._header_value,
            'header key': self._header_key, 'tensor table': self._tensor_table,
            'tensor values': self._tensor_values, 'nesting': self._nesting,
        }  # fmt: skip
        weights = np.array([2, 2, 1, 8, 2, 6, 2, 1])
        what = str(rng.choice(list(ways), p=weights / weights.sum()))
        path = self.folder / 'in.safetensors'
        path.write_bytes(ways[what](rng))
        return [what], refusable(path, lambda: self._use(path))

    def _use(self, path):
        weights = load_weights(path)
        source, logit = denoise(self.image, weights)
        require(np.isfinite(source).all() and np.isfinite(logit).all(), 'not finite')
        require(source.shape == logit.shape == self.image.shape, source.shape)

    def _flip(self, rng):
        return bytes(flip_bytes(bytearray(self.content), rng))

    def _flip_start(self, rng):
        content = bytearray(self.content)
        for place in rng.integers(3000, size=rng.integers(1, 4)):
            content[place] = rng.integers(32, 127)
        return bytes(content)

    def _truncate(self, rng):
        return self.content[: rng.integers(len(self.content))]

    def _split(self):
        start = 8 + int.from_bytes(self.content[:8], 'little')
        table = json.loads(self.content[8:start])
        header = json.loads(table['__metadata__']['bgrem'])
        # Or else the checksum finds every change of the tensors.
        header.pop('sha256_state')
        return table, header, self.content[start:]

    def _join(self, table, header, tensors):
        text = header if isinstance(header, str) else json.dumps(header)
        table['__metadata__'] = {'bgrem': text}
        start = json.dumps(table).encode()
        return len(start).to_bytes(8, 'little') + start + tensors

    def _value(self, rng):
        return self.VALUES[rng.integers(len(self.VALUES))]

    def _header_value(self, rng):
        table, header, tensors = self._split()
        place = header
        while True:
            key = list(place)[rng.integers(len(place))]
            inside = isinstance(place[key], dict) and place[key]
            if inside and rng.random() < 0.85:
                place = place[key]
                continue
            place[key] = self._value(rng)
            return self._join(table, header, tensors)

    def _header_key(self, rng):
        table, header, tensors = self._split()
        if rng.random() < 0.5:
            del header[list(header)[rng.integers(len(header))]]
        else:
            header[rng.choice(['extra', '', 'é'])] = self._value(rng)
        return self._join(table, header, tensors)

    def _tensor_table(self, rng):
        table, header, tensors = self._split()
        names = [name for name in table if name != '__metadata__']
        entry = table[names[rng.integers(len(names))]]
        change = rng.integers(5)
        if change == 0:
            kinds = ['F8_E4M3', 'F8_E5M2', 'F16', 'BF16', 'F64', 'I32', 'BOOL', 'X']
            entry['dtype'] = str(rng.choice(kinds))
        elif change == 1:
            entry['shape'] = [int(one) for one in rng.integers(0, 2**40, 2)]
        elif change == 2:
            entry['data_offsets'] = [int(one) for one in rng.integers(0, 2**40, 2)]
        elif change == 3:
            entry[str(rng.choice(list(entry)))] = self._value(rng)
        else:
            del table[names[rng.integers(len(names))]]
        return self._join(table, header, tensors)

    def _tensor_values(self, rng):
        table, header, tensors = self._split()
        values = np.frombuffer(tensors, np.float32).copy()
        places = rng.integers(values.size, size=rng.integers(1, 100))
        values[places] = rng.choice([np.nan, np.inf, 3e38, -3e38, 1e20, 1e-45, 0])
        return self._join(table, header, values.tobytes())

    def _nesting(self, rng):
        table, header, tensors = self._split()
        depth = int(rng.choice([100, 900, 5_000, 100_000]))
        deep = '[' * depth + ']' * depth
        if rng.random() < 0.5:
            text = json.dumps(header)[:-1] + f', "training": {deep}}}'
            return self._join(table, text, tensors)
        start = json.dumps(table)[:-1].encode() + b', "x": ' + deep.encode() + b'}'
        return len(start).to_bytes(8, 'little') + start + tensors
