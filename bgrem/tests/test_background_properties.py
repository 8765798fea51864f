"""What holds of a DiffusionBackground, whichever way its image is given."""

import copy
import itertools

import numpy as np
import pytest
import torch
from astropy import units as u
from astropy.nddata import CCDData, NDData
from astropy.utils.masked import Masked
from numpy.testing import assert_allclose, assert_array_equal
from scipy import ndimage

from bgrem import DiffusionBackground, make_detection_mask
from bgrem.files.products import catalog_table

SHAPE = (72, 96)
Y, X = np.mgrid[: SHAPE[0], : SHAPE[1]]
MAPS = ('background', 'background_rms', 'source', 'detection_probability', 'noise')
BOXES = pytest.mark.parametrize('box_size', ['auto', 24])
pytestmark = [
    pytest.mark.filterwarnings('ignore:.*non-?finite'),
    pytest.mark.filterwarnings('ignore:.*correction'),
]


@pytest.fixture
def data():
    """A sky with a tilt and stars."""
    rng = np.random.default_rng(1)
    data = 100 + 0.05 * X + 2 * rng.normal(size=SHAPE)
    for y, x in rng.uniform((8, 8), (64, 88), (12, 2)):
        data += rng.uniform(30, 300) * np.exp(-((Y - y) ** 2 + (X - x) ** 2) / 4)
    return data


@pytest.fixture
def hidden():
    hidden = np.random.default_rng(7).random(SHAPE) < 0.03
    hidden[10:16, 20:30] = True
    return hidden


@pytest.fixture
def make(tiny_weights):
    def make(data, box_size='auto', **options):
        return DiffusionBackground(data, box_size, weights=tiny_weights, **options)

    return make


def maps_of(bkg, names=MAPS):
    return {name: u.Quantity(getattr(bkg, name)).value for name in names}


def assert_same(bkg, known, names=MAPS):
    for name, values in maps_of(known, names).items():
        assert_array_equal(u.Quantity(getattr(bkg, name)).value, values, err_msg=name)


def test_forms_of_a_mask(make, data, hidden):
    """However a mask is given, it is the same mask."""
    known = make(data, mask=hidden)
    unit = u.adu
    forms = [
        {'data': np.ma.masked_array(data, hidden)},
        {'data': NDData(data, mask=hidden)},
        {'data': CCDData(data, unit=unit, mask=hidden)},
        {'data': Masked(data << unit, mask=hidden)},
        {
            'data': np.ma.masked_array(data, hidden & (X < 40)),
            'mask': hidden & (X > 30),
        },
        {'data': NDData(data, mask=hidden.astype(np.uint8)), 'mask': hidden},
        {'data': data, 'mask': hidden.tolist()},
    ]
    for form in forms:
        assert_same(make(**form), known)


@pytest.mark.parametrize('value', [np.nan, np.inf, 1e6, -3.0])
@BOXES
def test_what_is_masked_does_not_matter(make, data, hidden, box_size, value):
    known = make(data, box_size, mask=hidden)
    found = make(np.where(hidden, value, data), box_size, mask=hidden)
    assert_same(found, known, MAPS[:-1])
    assert_array_equal(found.noise[~hidden], known.noise[~hidden])
    assert not found.source[hidden].any()
    assert not found.detection_probability[hidden].any()


@BOXES
def test_not_finite_is_masked(make, data, hidden, box_size):
    known = make(data, box_size, mask=hidden)
    assert_same(make(np.where(hidden, np.nan, data), box_size), known, MAPS[:-1])


@pytest.mark.parametrize(('dtype', 'box_size'), [('f4', 'auto'), ('f8', 24)])
def test_memory(make, data, dtype, box_size):
    """Bytes, columns first, views and read-only arrays change nothing."""
    data = data.astype(dtype)
    known = make(data, box_size)
    others = [
        data.astype(f'>{dtype}'),
        np.asfortranarray(data),
        np.repeat(data, 2, axis=1)[:, ::2],
        data[::-1][::-1],
    ]
    for other in others:
        before = other.copy()
        other.flags.writeable = False
        assert_same(make(other, box_size), known)
        assert_array_equal(other, before)


@BOXES
@pytest.mark.parametrize('tilt', [0, 0.3])
def test_parts_of_the_image(make, data, box_size, tilt):
    """Sky, sources and noise are the image; what is subtracted is the sky alone."""
    data = data + tilt * Y
    bkg = make(data, box_size)
    assert_allclose(bkg.background + bkg.source + bkg.noise, data, rtol=1e-12)
    assert_allclose(bkg.subtract() + bkg.background, data, rtol=1e-12)
    assert_array_equal(bkg.subtract(denoise=True), bkg.source)
    assert_array_equal(bkg.subtract(data), bkg.subtract())
    assert_array_equal(bkg.subtract(clip=True), np.maximum(bkg.subtract(), 0))
    # of another image with the same sky
    assert_allclose(bkg.subtract(data + 7) - bkg.subtract(), 7)
    assert_allclose(bkg.subtract(bkg.background), 0)


@pytest.mark.parametrize('power', [-20, 5])
@BOXES
def test_power_of_two(make, data, box_size, power):
    """A factor that rounds nothing is a factor of all that has a unit."""
    factor = 2.0**power
    known, found = make(data, box_size), make(factor * data, box_size)
    for name in MAPS:
        size = 1 if name == 'detection_probability' else factor
        values = size * getattr(known, name)
        assert_allclose(getattr(found, name), values, rtol=1e-6, atol=1e-6 * size)
    assert found.meta == known.meta


@BOXES
def test_units_are_the_same_numbers(make, data, box_size):
    known, found = make(data, box_size), make(data << u.Jy, box_size)
    assert_same(found, known)
    for name in (*MAPS[:3], 'noise', 'background_mesh', 'background_uncertainty'):
        assert getattr(found, name).unit == u.Jy
    assert not hasattr(found.detection_probability, 'unit')
    milli = found.subtract((1000 * data) << u.mJy)
    assert_allclose(milli.to_value(u.Jy), found.subtract().value, atol=1e-10)


@BOXES
def test_transposed(make, data, hidden, box_size):
    """With all views of the network rows and columns are alike."""
    # what fills larger areas is a noise of each place
    hidden[10:16, 20:30] = False
    options = {'n_symmetries': 8, 'box_size': box_size}
    known = make(data, mask=hidden, **options)
    found = make(data.T, mask=hidden.T, **options)
    # a hundredth of the noise; half precision rounds the sources
    for name, tolerance in (('background', 0.02), ('background_rms', 0.02)):
        values = getattr(known, name)
        assert_allclose(getattr(found, name).T, values, atol=tolerance, err_msg=name)
    assert_allclose(found.source.T, known.source, rtol=0.02, atol=0.05)
    probability = found.detection_probability.T
    assert_allclose(probability, known.detection_probability, atol=0.01)


def test_random_states_do_not_matter(make, data):
    """Nor are they changed."""
    known = make(data)
    for seed in (1, 2):
        np.random.seed(seed)  # noqa: NPY002
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
            found = make(data)
            assert torch.equal(torch.get_rng_state(), before[1])
        assert_array_equal(np.random.get_state()[1], before[0])  # noqa: NPY002
        assert_same(found, known)


@BOXES
def test_copies(make, data, box_size):
    bkg = make(data << u.adu, box_size)
    for other in (copy.copy(bkg), copy.deepcopy(bkg)):
        assert_same(other, bkg)
        assert other.meta == bkg.meta
        assert repr(other) == repr(bkg)


class TestDetections:
    @staticmethod
    def thresholds(bkg):
        """Such that some of the pixels are above each of them."""
        return np.quantile(bkg.detection_probability, (0.97, 0.99, 0.997)).tolist()

    def test_thresholds_are_nested(self, make, data):
        """With a higher threshold there are fewer sources, and hardly other pixels."""
        bkg = make(data)
        found = [bkg.detect(threshold=one) for one in self.thresholds(bkg)]
        for lower, higher in itertools.pairwise(found):
            assert lower.n_labels > higher.n_labels > 0
            # what lay between two sources may go to the one that is left
            assert np.mean(lower.data[higher.data > 0] > 0) > 0.9

    def test_every_segment_has_a_peak(self, make, data):
        """Above the threshold, one at least, and they are numbered from 1 on."""
        bkg = make(data)
        for threshold in self.thresholds(bkg):
            segments = bkg.detect(threshold=threshold)
            assert_array_equal(segments.labels, np.arange(1, segments.n_labels + 1))
            highest = ndimage.maximum(
                bkg.detection_probability, segments.data, segments.labels
            )
            assert min(highest) >= threshold
            mask = bkg.detection_mask(threshold=threshold)
            assert_array_equal(mask, segments.data > 0)

    def test_mask_hides(self, make, data):
        """Where pixels are masked nothing is detected."""
        mask = X > 60
        found = make(data, mask=mask).detection_mask(threshold=0.005)
        assert found.any()
        assert not found[mask].any()

    def test_function_is_the_method(self, data, tiny_weights):
        options = {'weights': tiny_weights, 'mask': X > 80}
        found = make_detection_mask(data, threshold=0.01, **options)
        bkg = DiffusionBackground(data, **options)
        assert_array_equal(found, bkg.detection_mask(threshold=0.01))

    def test_catalog_in_another_unit(self, make, data):
        """Quantities are the same; so are numbers, and magnitudes by their zero."""
        factor, tables = 1024, []
        for n, zero_point in ((1, 25.0), (factor, 25.0 + 2.5 * np.log10(factor))):
            bkg = make((n * data) << (u.Jy / n))
            segments = bkg.detect(threshold=self.thresholds(bkg)[-1])
            tables.append(catalog_table(bkg.catalog(segments, zero_point=zero_point)))
        known, found = tables
        assert 3 < len(known) < 60
        assert known.colnames == found.colnames
        with_unit = []
        for name in known.colnames:
            one, other = known[name], found[name]
            if getattr(one, 'unit', None) is not None:
                other = other.to_value(one.unit)
                one = one.value
                with_unit.append(name)
            one, other = (np.asarray(values, float) for values in (one, other))
            assert_allclose(other, one, rtol=1e-4, atol=1e-6, err_msg=name)
        assert {'segment_flux', 'kron_flux', 'background_mean'} <= set(with_unit)

    def test_segments_of_somebody_else(self, make, data):
        """A catalog has a row for each of the segments that it was given."""
        bkg = make(data)
        segments = bkg.detect(threshold=self.thresholds(bkg)[-1])
        few = segments.copy()
        few.keep_labels(segments.labels[::2])
        table = catalog_table(bkg.catalog(few))
        assert_array_equal(table['label'], segments.labels[::2])
        whole = catalog_table(bkg.catalog(segments))
        fluxes = [np.asarray(t['segment_flux'], float) for t in (table, whole)]
        assert_allclose(fluxes[0], fluxes[1][::2])
