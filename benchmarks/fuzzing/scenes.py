# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Images that nobody would simulate, and what is odd about them."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

__all__ = ['Scene', 'odd_scene']


@dataclass
class Scene:
    """An image, and what is known of it."""

    data: np.ndarray
    values: str
    defect: str
    # Sky and noise, where these are known.
    truth: tuple[float, float] | None = None

    @property
    def is_large(self):
        """Whether both sides have more than 64 px."""
        return min(self.data.shape) > 64


def odd_scene(rng):
    """Return a `Scene`; most are larger than 64 px along both axes."""
    shape = _shape(rng)
    level, noise = 10.0 ** rng.uniform(-3, 5), 10.0 ** rng.uniform(-3, 3)
    sources = _sources(shape, rng)
    values = str(rng.choice(list(VALUES)))
    data, truth = rng.normal(level, noise, shape) + noise * sources, None
    is_mostly_sky = np.mean(sources > 0.3) < 0.2
    if values == 'plain' and level < 1e4 * noise and is_mostly_sky:
        truth = level, noise
    dtype = rng.choice([np.float32, np.float64])
    changed = VALUES[values](data, level, noise, sources, rng)
    if isinstance(changed, tuple):
        changed, dtype = changed
    defect = 'none'
    if rng.random() < 0.5:
        defect = str(rng.choice(list(DEFECTS)))
        dtype = dtype if np.dtype(dtype).kind == 'f' else np.float64
        changed = np.array(changed, dtype=np.promote_types(dtype, np.float32))
        bad, number = DEFECTS[defect](changed, level, rng)
        changed[bad] = number
        truth = None
    with np.errstate(over='ignore', invalid='ignore'):
        return Scene(changed.astype(dtype), values, defect, truth)


def _shape(rng):
    kind = rng.random()
    if kind < 0.8:
        return tuple(int(n) for n in rng.integers(65, 101, 2))
    if kind < 0.88:
        return tuple(int(n) for n in rng.integers(101, 220, 2))
    if kind < 0.94:
        long = int(rng.integers(200, 400))
        return (65, long) if rng.random() < 0.5 else (long, 65)
    # Too small for a sky, or for a source.
    return tuple(int(n) for n in rng.choice([1, 2, 3, 4, 5, 7, 16, 33, 64], 2))


def _sources(shape, rng):
    """Return light in units of the noise."""
    y, x = np.indices(shape)
    light = np.zeros(shape)
    crowded = rng.random() < 0.05
    for _ in range(rng.integers(100, 300) if crowded else rng.integers(0, 12)):
        center = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        r2 = (y - center[0]) ** 2 + (x - center[1]) ** 2
        width = rng.uniform(0.7, 2 if crowded else 8)
        light += 10 ** rng.uniform(0, 4) * np.exp(-r2 / 2 / width**2)
    return light


# -------------------------------------------------------- values: data, level, noise,
#                                    sources and generator to data, or these and dtype
def _plain(data, *_):
    return data


def _counts(data, level, noise, sources, rng):
    return rng.poisson(np.clip(data / noise, 0, 1e6)).astype(float)


def _sparse(data, level, noise, sources, rng):
    mean = 10.0 ** rng.uniform(-3, 0.6)
    return rng.poisson(mean + mean * np.clip(sources, 0, 1e3)).astype(float)


def _constant(data, level, noise, sources, rng):
    return np.full(data.shape, rng.choice([0, 1, level, -level]))


def _step(data, level, noise, sources, rng):
    data[:, data.shape[1] // 2 :] += 10 ** rng.uniform(0, 4) * noise
    return data


def _checkers(data, level, noise, sources, rng):
    y, x = np.indices(data.shape)
    return level + noise * ((x + y) % 2)


def _gradient(data, level, noise, sources, rng):
    y, x = np.indices(data.shape)
    return data + 10 ** rng.uniform(0, 4) * noise * (
        rng.normal() * x + rng.normal() * y
    )


def _negative(data, *_):
    return -data


def _one_value(data, level, noise, sources, rng):
    data = np.zeros(data.shape)
    data[data.shape[0] // 2, data.shape[1] // 2] = level
    return data


def _few_values(data, level, noise, sources, rng):
    return np.round((data - level) / noise / rng.choice([1, 3, 10]))


def _coarse_steps(data, level, noise, sources, rng):
    step = noise * 10 ** rng.uniform(-1, 1)
    return np.round(data / step) * step


def _integers(data, level, noise, sources, rng):
    dtype = rng.choice(
        [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.uint32, np.int64]
    )
    bounds = np.iinfo(dtype)
    return np.clip(data, max(bounds.min, -1e9), min(bounds.max, 1e9)), dtype


def _integer_limits(data, level, noise, sources, rng):
    dtype = rng.choice(
        [np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64]
    )
    bounds = np.iinfo(dtype)
    # Of float64 the highest that fits.
    highest = (
        float(np.nextafter(float(bounds.max), 0)) if bounds.max > 2**53 else bounds.max
    )
    scaled = (data - data.min()) / max(np.ptp(data), 1e-300)
    data = bounds.min + scaled * (highest - bounds.min)
    place = rng.random(data.shape)
    data[place < 0.01] = bounds.min
    data[place > 0.99] = highest
    return data.astype(dtype), dtype


def _truths(data, level, noise, sources, rng):
    return data > level + noise * rng.uniform(-1, 3), bool


def _huge(data, level, noise, sources, rng):
    dtype, most = [(np.float32, 17), (np.float64, 300)][rng.integers(2)]
    return data * (10 ** rng.uniform(10, most) / np.abs(data).max()), dtype


def _overflowing(data, level, noise, sources, rng):
    # The squares of float32 overflow beyond 1e19.
    return data * (10 ** rng.uniform(17, 38) / np.abs(data).max()), np.float32


def _tiny(data, level, noise, sources, rng):
    dtype, most = [(np.float32, 42), (np.float64, 305)][rng.integers(2)]
    return data / np.abs(data).max() * 10 ** -rng.uniform(10, most), dtype


def _mixed(data, level, noise, sources, rng):
    place = rng.random(data.shape) < 0.01
    data[place] *= 10.0 ** rng.uniform(-30, 25, int(place.sum()))
    return data


def _half(data, *_):
    return np.clip(data, -6e4, 6e4), np.float16


def _long(data, *_):
    return data, np.longdouble


def _big_endian(data, level, noise, sources, rng):
    return data, np.dtype(rng.choice(['>f4', '>f8']))


def _correlated(data, level, noise, sources, rng):
    smooth = gaussian_filter(rng.normal(size=data.shape), rng.uniform(0.5, 3))
    return level + noise * (smooth / max(smooth.std(), 1e-9) + sources)


def _stripes(data, level, noise, sources, rng):
    axis = int(rng.integers(2))
    size = [1, 1]
    size[axis] = data.shape[axis]
    return data + 10 ** rng.uniform(-1, 2) * noise * rng.normal(size=size)


def _saturated(data, level, noise, sources, rng):
    return np.minimum(data, level + 10 ** rng.uniform(0.5, 3) * noise)


def _spikes(data, level, noise, sources, rng):
    y, x = (int(rng.integers(n)) for n in data.shape)
    data[y, :] += 1e3 * noise
    data[:, x] += 1e3 * noise
    return data


def _hot_pixels(data, level, noise, sources, rng):
    place = rng.random(data.shape) < 10 ** rng.uniform(-3, -1)
    data[place] += noise * 10.0 ** rng.uniform(0, 5, int(place.sum()))
    return data


def _model(data, level, noise, sources, rng):
    return level + noise * sources


def _enlarged(data, level, noise, sources, rng):
    times = int(rng.integers(2, 6))
    small = data[::times, ::times]
    return np.kron(small, np.ones((times, times)))[: data.shape[0], : data.shape[1]]


def _depth_steps(data, level, noise, sources, rng):
    deviation = data - level
    deviation[: data.shape[0] // 2] *= 10 ** rng.uniform(-2, 2)
    return level + deviation


def _pedestal(data, level, noise, sources, rng):
    return data + 10 ** rng.uniform(4, 9) * noise


def _outlier(data, level, noise, sources, rng):
    y, x = (int(rng.integers(n)) for n in data.shape)
    data[y, x] = rng.choice([-1, 1]) * 10 ** rng.uniform(5, 37)
    return data


def _holes(data, level, noise, sources, rng):
    return data - 2 * noise * sources


def _cut_off(data, level, noise, sources, rng):
    return np.maximum(data - level, 0)


def _galaxy(data, level, noise, sources, rng):
    y, x = np.indices(data.shape)
    center = [rng.uniform(0, n) for n in data.shape]
    r = np.hypot(y - center[0], x - center[1]) / rng.uniform(3, 40)
    return data + noise * 10 ** rng.uniform(0, 4) * np.exp(-r)


def _noisier(data, level, noise, sources, rng):
    return level + noise * rng.standard_t(rng.uniform(0.7, 4), data.shape)


def _ramp(data, *_):
    return np.arange(data.size, dtype=float).reshape(data.shape)


VALUES = {
    'plain': _plain, 'counts': _counts, 'sparse counts': _sparse,
    'constant': _constant, 'step': _step, 'checkers': _checkers,
    'gradient': _gradient, 'negative': _negative, 'one value': _one_value,
    'few values': _few_values, 'coarse steps': _coarse_steps, 'integers': _integers,
    'limits of integers': _integer_limits, 'bool': _truths, 'huge': _huge,
    'overflowing squares': _overflowing, 'tiny': _tiny, 'mixed sizes': _mixed,
    'float16': _half, 'longdouble': _long, 'big-endian': _big_endian,
    'correlated': _correlated, 'stripes': _stripes, 'saturated': _saturated,
    'spikes': _spikes, 'hot pixels': _hot_pixels, 'no noise': _model,
    'enlarged': _enlarged, 'steps of depth': _depth_steps,
    'high pedestal': _pedestal, 'one outlier': _outlier, 'holes': _holes,
    'cut off at zero': _cut_off, 'galaxy': _galaxy, 'heavy tails': _noisier,
    'ramp': _ramp,
}  # fmt: skip


# --------------------------------------- defects: data, level and generator to the
#                                                pixels that are bad, and their value
def _not_finite(rng):
    return rng.choice([np.nan, np.inf, -np.inf], p=[0.8, 0.1, 0.1])


def _fill(level, rng):
    numbers = [0, 0, -1, -999, -32768, 65535, 1e30, level, 1e3, *3 * [np.nan]]
    return numbers[rng.integers(len(numbers))]


def _scattered(data, level, rng):
    return rng.random(data.shape) < 10 ** rng.uniform(-3, -0.01), _not_finite(rng)


def _all_three(data, level, rng):
    bad = rng.random(data.shape) < 0.05
    return bad, rng.choice([np.nan, np.inf, -np.inf], int(bad.sum()))


def _border(data, level, rng):
    bad = np.zeros(data.shape, bool)
    sides = rng.random(4) < 0.5
    for side, given in enumerate(sides):
        if given:
            turned = np.rot90(bad, side)
            turned[: rng.integers(1, max(turned.shape[0] // 2, 2))] = True
    return bad, _fill(level, rng)


def _corners(data, level, rng):
    y, x = np.indices(data.shape)
    middle = [rng.uniform(0, n) for n in data.shape]
    radius = rng.uniform(0.1, 0.9) * max(data.shape)
    return np.hypot(y - middle[0], x - middle[1]) > radius, _fill(level, rng)


def _islands(data, level, rng):
    bad = np.ones(data.shape, bool)
    for _ in range(rng.integers(1, 6)):
        y, x = (int(rng.integers(n)) for n in data.shape)
        size = rng.integers(1, 40, 2)
        bad[y : y + size[0], x : x + size[1]] = False
    return bad, _fill(level, rng)


def _lakes(data, level, rng):
    bad, number = _islands(data, level, rng)
    return ~bad, number


def _columns(data, level, rng):
    bad = np.zeros(data.shape, bool)
    if rng.random() < 0.5:
        bad[:, rng.random(data.shape[1]) < rng.uniform(0, 0.9)] = True
    else:
        bad[:: int(rng.integers(1, 4))] = True
    return bad, _fill(level, rng)


def _chess(data, level, rng):
    y, x = np.indices(data.shape)
    size = int(rng.choice([1, 1, 2, 5, 20]))
    return (y // size + x // size) % 2 == 0, _fill(level, rng)


def _one_pixel(data, level, rng):
    bad = np.ones(data.size, bool)
    bad[rng.integers(data.size, size=rng.choice([1, 2, 3, 10, 50]))] = False
    return bad.reshape(data.shape), _not_finite(rng)


def _everything(data, level, rng):
    return np.ones(data.shape, bool), _not_finite(rng)


def _the_brightest(data, level, rng):
    return data > np.percentile(data, rng.uniform(50, 99.9)), _not_finite(rng)


DEFECTS = {
    'scattered': _scattered, 'NaN and both infinities': _all_three,
    'border': _border, 'corners': _corners, 'islands': _islands, 'lakes': _lakes,
    'rows or columns': _columns, 'chessboard': _chess, 'a few pixels left': _one_pixel,
    'nothing left': _everything, 'the brightest': _the_brightest,
}  # fmt: skip
