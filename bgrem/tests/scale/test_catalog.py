"""Tests of segments and catalogs of files of any size."""

import warnings
from collections import Counter

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import VarianceUncertainty
from astropy.table import Table
from astropy.utils.exceptions import AstropyUserWarning
from photutils.utils.exceptions import NoDetectionsWarning
from scipy import ndimage

import bgrem.scale.catalog
import bgrem.scale.image
import bgrem.scale.seen
from bgrem import DiffusionBackground, detect_file, load_weights, subtract_file
from bgrem.denoise.run import tile_layout
from bgrem.files.io import read_image
from bgrem.files.products import catalog_table
from bgrem.scale.catalog import split_blocks
from bgrem.tests.scale.conftest import MAPS, assert_same_maps, draw_image, maps_of

SIDE = 64  # of a block; stars lie on the corners of blocks
FLUXES = {'zero_point': 25.0, 'effective_gain': 7.0, 'aperture_correction': True}


def draw_sky(shape=(200, 190), seed=4):
    """Stars, some on the borders of blocks, a galaxy in six, and a masked core."""
    rng = np.random.default_rng(seed)
    y, x = np.indices(shape)
    places = [(64, 20, 4e3), (66.5, 128, 9e3), (128, 126.5, 4e3), (20, 63.5, 2e3)]
    places += [(*rng.uniform(0, shape), 10 ** rng.uniform(2.7, 3.8)) for _ in range(60)]
    image = np.zeros(shape)
    for y0, x0, flux in places:
        image += flux / 12 * np.exp(-((y - y0) ** 2 + (x - x0) ** 2) / 3.9)
    image += 150 * np.exp(-np.hypot((y - 96) / 1.4, x - 64) / 7)
    image = rng.normal(1000 + image, np.sqrt(25 + image / 7))
    image[30:34, 120:124] = np.nan
    return image.astype(np.float32)


@pytest.fixture
def blocks(monkeypatch):
    """Cut images into small blocks."""
    monkeypatch.setattr('bgrem.scale.catalog._BLOCK', SIDE)
    monkeypatch.setattr('bgrem.scale.catalog._MARGIN', 32)


@pytest.fixture(scope='module')
def path(tmp_path_factory):
    """A file of an image with world coordinates, a unit, a gain and a mask."""
    cards = {
        'BUNIT': 'adu', 'GAIN': 7.0, 'CTYPE1': 'RA---TAN', 'CTYPE2': 'DEC--TAN',
        'CRVAL1': 150.0, 'CRVAL2': 2.0, 'CRPIX1': 90.0, 'CRPIX2': 80.0,
        'CD1_1': -5e-5, 'CD2_2': 5e-5,
    }  # fmt: skip
    mask = np.zeros((200, 190), np.uint8)
    mask[120:126, 20:30], mask[60:70, 150:155] = 1, 2
    hdus = [fits.PrimaryHDU(draw_sky(), fits.Header(cards)),
            fits.ImageHDU(mask, name='DQ')]  # fmt: skip
    path = tmp_path_factory.mktemp('sky') / 'in.fits'
    fits.HDUList(hdus).writeto(path)
    return path


def in_memory(path, mask=None, promise=None, **options):
    """Segments and table, made in memory; of an image with its unit."""
    image = read_image(path, 0)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', AstropyUserWarning)
        background = DiffusionBackground(image.data << image.unit, mask=mask, **options)
        segments = background.detect(**(promise or {}))
        catalog = background.catalog(segments, wcs=image.wcs, **FLUXES)
    return segments.data, catalog_table(catalog)


def assert_same_tables(found, expected):
    """To rounding, in all columns."""
    assert found.colnames == expected.colnames
    assert len(found) == len(expected)
    for name in expected.colnames:
        # a file has no unit for none
        assert (found[name].unit or '') == (expected[name].unit or ''), name
        values, known = (
            np.asarray(getattr(one[name], 'value', one[name]), float)
            for one in (found, expected)
        )
        np.testing.assert_allclose(values, known, rtol=1e-6, atol=1e-6, err_msg=name)


@pytest.fixture(scope='module')
def expected(path):
    return in_memory(path)


@pytest.mark.usefixtures('blocks')
def test_as_in_memory(path, expected, tmp_path):
    labels, table = expected
    assert len(split_blocks((200, 190))) == 9
    # the galaxy begins in one block, and reaches into others
    galaxy = labels == labels[96, 64]
    assert sum(galaxy[block].any() for block in split_blocks(labels.shape)) >= 4
    output = tmp_path / 'out.fits'
    (meta,) = subtract_file(path, output, hdu=0, **FLUXES)
    with fits.open(output) as hdus:
        hdus.verify('exception')
        assert [one.name for one in hdus[-2:]] == ['SEGM', 'CATALOG']
        np.testing.assert_array_equal(hdus['SEGM'].data, labels)
        assert hdus['SEGM'].header['CRVAL1'] == 150
        assert hdus['CATALOG'].header['BGREMFDR'] == 0.05
        assert hdus['SCI'].header['BGREMFDR'] == 0.05
    assert_same_tables(Table.read(output, hdu='CATALOG'), table)
    assert meta['n_sources'] == len(table)
    assert meta['false_discovery']['log_odds_shift'] != 0
    assert sorted(one.name for one in tmp_path.iterdir()) == ['out.fits']


@pytest.mark.usefixtures('blocks')
def test_trail(tmp_path):
    """What lies on it is flagged, as in memory."""
    path = tmp_path / 'trail.fits'
    y, x = np.indices((200, 190))
    trail = 60 * np.exp(-0.5 * ((y - 64 - 0.2 * x) / 1.5) ** 2)
    header = fits.Header({'BUNIT': 'adu'})
    fits.writeto(path, draw_sky() + trail.astype(np.float32), header)
    _, expected = in_memory(path)
    output = tmp_path / 'out.ecsv'
    detect_file(path, output, **FLUXES)
    found = Table.read(output)
    assert_same_tables(found, expected)
    flagged = found['detection_flags'] & 1024 > 0
    far = np.abs(found['y'] - 64 - 0.2 * found['x'])
    assert np.all(flagged[far < 4])
    assert np.any(far < 4)
    assert not np.any(flagged[far > 40])


@pytest.mark.usefixtures('blocks')
def test_mask_and_threshold(path, tmp_path, monkeypatch):
    mask = fits.getdata(path, 'DQ') & 2 > 0
    _, table = in_memory(path, mask, {'threshold': 0.8})
    monkeypatch.setattr('bgrem.scale.parts.inspect_windows', None)
    output = tmp_path / 'out.ecsv'
    options = {'mask': (path, 'DQ'), 'mask_bits': '2', 'threshold': 0.8}
    detect_file(path, output, hdu=0, **options, **{**FLUXES, 'effective_gain': 'GAIN'})
    found = Table.read(output)
    assert found.meta['BGREMTHR'] == 0.8
    assert_same_tables(found, table)
    assert sorted(one.name for one in tmp_path.iterdir()) == ['out.ecsv']


def test_larger_than_what_is_seen(path, expected, tmp_path, monkeypatch):
    """What is seen around a block grows with its sources, up to a limit."""
    monkeypatch.setattr('bgrem.scale.catalog._BLOCK', SIDE)
    monkeypatch.setattr('bgrem.scale.catalog._MARGIN', 20)
    margins, widen = [], bgrem.scale.catalog._widen
    monkeypatch.setattr(
        'bgrem.scale.catalog._widen',
        lambda block, margin, shape: (
            margins.append(margin) or widen(block, margin, shape)
        ),
    )
    subtract_file(path, tmp_path / 'out.fits', hdu=0)
    assert 40 in margins
    np.testing.assert_array_equal(
        fits.getdata(tmp_path / 'out.fits', 'SEGM'), expected[0]
    )
    monkeypatch.setattr('bgrem.scale.catalog._MOST_MARGIN', 20)
    with pytest.warns(
        AstropyUserWarning, match='in.fits, HDU 0, has sources of more th'
    ):
        subtract_file(path, tmp_path / 'cut.fits', hdu=0)


STEPS = {'_find_peaks': 4, '_find_segments': 5, '_find_stars': 2, '_measure': 6}


@pytest.mark.usefixtures('blocks')
def test_resume(tmp_path, tiny_weights, monkeypatch):
    """Neither tiles nor blocks that are finished are done again."""
    path, options = tmp_path / 'in.fits', {'weights': tiny_weights, 'threshold': 0.0195}
    fits.PrimaryHDU(draw_sky()).writeto(path)
    # the network of the tests is not sure of any star
    monkeypatch.setattr('bgrem.scale.catalog.source_width', lambda *_: 3.0)
    subtract_file(path, tmp_path / 'whole.fits', **options)
    calls, fail_at = Counter(), dict(STEPS)

    def counted(owner, name):
        run = getattr(owner, name)

        def wrapped(*args):
            if fail_at.get(name) == calls[name] + 1:
                del fail_at[name]
                msg = f'stopped in {name}'
                raise KeyboardInterrupt(msg)
            calls[name] += 1
            return run(*args)

        monkeypatch.setattr(owner, name, wrapped)

    for name in STEPS:
        counted(bgrem.scale.catalog.StreamedCatalog, name)
    counted(bgrem.scale.seen, 'run_tiles')
    counted(bgrem.scale.image.StreamedImage, 'write')
    for name in STEPS:
        with pytest.raises(KeyboardInterrupt, match=f'stopped in {name}'):
            subtract_file(path, tmp_path / 'out.fits', **options)
        assert not (tmp_path / 'out.fits').exists()
    subtract_file(path, tmp_path / 'out.fits', **options)
    n_blocks = len(split_blocks((200, 190)))
    assert {name: calls[name] for name in STEPS} == dict.fromkeys(STEPS, n_blocks)
    assert calls['write'] == 1
    layout = tile_layout((200, 190), load_weights(tiny_weights))
    assert calls['run_tiles'] == len(layout.y_starts)
    with (
        fits.open(tmp_path / 'out.fits') as found,
        fits.open(tmp_path / 'whole.fits') as known,
    ):
        for one, other in zip(found[1:], known[1:], strict=True):
            assert one.data.tobytes() == other.data.tobytes(), one.name


@pytest.mark.usefixtures('blocks')
def test_resume_after_other_options(tmp_path, tiny_weights, monkeypatch):
    """What was written for some options has gone when it is overwritten for others."""
    path, options = tmp_path / 'in.fits', {'weights': tiny_weights}
    fits.PrimaryHDU(draw_sky()).writeto(path)
    output = tmp_path / 'out.fits'
    subtract_file(path, tmp_path / 'whole.fits', threshold=0.02, **options)

    def stops(*_):
        raise KeyboardInterrupt

    for name, threshold in (('StoredMaps', 0.02), ('StreamedImage.write', 0.03)):
        owner = 'output' if name == 'StoredMaps' else 'image'
        with monkeypatch.context() as patch:
            patch.setattr(f'bgrem.scale.{owner}.{name}', stops)
            with pytest.raises(KeyboardInterrupt):
                subtract_file(path, output, threshold=threshold, **options)
    subtract_file(path, output, threshold=0.02, **options)
    with fits.open(output) as found, fits.open(tmp_path / 'whole.fits') as known:
        for one, other in zip(found[1:], known[1:], strict=True):
            assert one.data.tobytes() == other.data.tobytes(), one.name


@pytest.mark.usefixtures('blocks')
def test_resume_under_another_name(tmp_path, tiny_weights, monkeypatch):
    """The headers are those of the last call; longer ones would move the pixels."""
    path, mask, link = (tmp_path / f'{name}.fits' for name in ('in', 'm', 60 * 'l'))
    fits.PrimaryHDU(draw_sky()).writeto(path)
    fits.PrimaryHDU(np.zeros((200, 190), 'u1')).writeto(mask)
    link.symlink_to(mask)
    options = {'weights': tiny_weights, 'threshold': 0.02}

    def stops(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr('bgrem.scale.output.StoredMaps', stops)
        with pytest.raises(KeyboardInterrupt):
            subtract_file(path, tmp_path / 'out.fits', mask=mask, **options)
    for name in ('out', 'whole'):
        subtract_file(path, tmp_path / f'{name}.fits', mask=link, **options)
    with (
        fits.open(tmp_path / 'out.fits') as found,
        fits.open(tmp_path / 'whole.fits') as known,
    ):
        assert link.name in found['BACKGROUND'].header['BGREMMSK']
        for one, other in zip(found[1:], known[1:], strict=True):
            assert one.data.tobytes() == other.data.tobytes(), one.name


def test_nothing_found(tmp_path, tiny_weights):
    image = np.random.default_rng(0).normal(100, 5, (60, 70)).astype('f4')
    fits.PrimaryHDU(image).writeto(tmp_path / 'in.fits')
    with pytest.warns(NoDetectionsWarning, match='No sources were found'):
        (meta,) = subtract_file(
            tmp_path / 'in.fits', tmp_path / 'out.fits', weights=tiny_weights,
            threshold=0.99,
        )  # fmt: skip
    assert meta['n_sources'] == 0
    assert not fits.getdata(tmp_path / 'out.fits', 'SEGM').any()
    assert 'kron_flux' in Table.read(tmp_path / 'out.fits', hdu='CATALOG').colnames


def test_promise_of_nothing(tmp_path):
    """Noise alone is measured as `DiffusionBackground` measures it."""
    image = np.random.default_rng(0).normal(50, 1, (96, 96)).astype('f4')
    fits.PrimaryHDU(image).writeto(tmp_path / 'in.fits')
    with pytest.warns(NoDetectionsWarning, match='No sources were found'):
        (meta,) = detect_file(tmp_path / 'in.fits', tmp_path / 'out.fits', n_steps=1)
    background = DiffusionBackground(image, n_steps=1)
    with pytest.warns(NoDetectionsWarning, match='No sources were found'):
        assert background.detect() is None
    assert meta['n_sources'] == len(Table.read(tmp_path / 'out.fits')) == 0
    assert meta['false_discovery'] == background.meta['false_discovery']


@pytest.mark.usefixtures('blocks')
def test_chips_and_zarr(tmp_path, tiny_weights):
    zarr = pytest.importorskip('zarr')
    images = [draw_image((100, 90)).astype('f4'), draw_image((70, 150), 5).astype('f4')]
    hdus = [fits.ImageHDU(one, name='SCI', ver=k + 1) for k, one in enumerate(images)]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(tmp_path / 'in.fits')
    options = {'weights': tiny_weights, 'threshold': 0.0195}
    metas = subtract_file(tmp_path / 'in.fits', tmp_path / 'out.fits', **options)
    table = Table.read(tmp_path / 'out.fits', hdu='CATALOG')
    for number, image in enumerate(images, start=1):
        background = DiffusionBackground(image, weights=tiny_weights)
        segments = background.detect(threshold=0.0195)
        labels = fits.getdata(tmp_path / 'out.fits', ('SEGM', number))
        np.testing.assert_array_equal(labels, segments.data)
        own = table[table['extension'] == f'SCI,{number}']
        assert own['label'].tolist() == segments.labels.tolist()
        assert metas[number - 1]['n_sources'] == segments.n_labels > 3
    subtract_file(tmp_path / 'in.fits', tmp_path / 'out.zarr', hdu='SCI,2', **options)
    group = zarr.open(str(tmp_path / 'out.zarr'), mode='r')
    np.testing.assert_array_equal(group['SEGM'][:], labels)
    np.testing.assert_array_equal(group['CATALOG/x'][:], own['x'])
    assert group['CATALOG'].attrs['columns'] == own.colnames[1:]
    assert group['CATALOG/core_fwhm'].attrs['unit'] == 'pix'


def test_as_a_whole(tmp_path, counts_weights):
    """What is read as a whole has segments and catalog too."""
    counts = np.random.default_rng(1).poisson(3, (90, 100)).astype(np.float32)
    counts[40:43, 50:53] += 30
    fits.PrimaryHDU(counts).writeto(tmp_path / 'in.fits')
    options = {'weights': counts_weights, 'threshold': 0.01}
    with pytest.warns(AstropyUserWarning, match='it is a map of counts'):
        subtract_file(tmp_path / 'in.fits', tmp_path / 'out.fits', **options)
    background = DiffusionBackground(counts, weights=counts_weights)
    segments = background.detect(threshold=0.01)
    found = fits.getdata(tmp_path / 'out.fits', 'SEGM')
    np.testing.assert_array_equal(found, segments.data)
    table = Table.read(tmp_path / 'out.fits', hdu='CATALOG')
    assert_same_tables(table, catalog_table(background.catalog(segments)))


@pytest.mark.usefixtures('blocks', 'bands')
def test_in_larger_pixels(tmp_path):
    """A broad PSF: the network sees squares of pixels, in memory and by rows."""
    rng = np.random.default_rng(3)
    y, x = np.indices((246, 205))
    image = rng.normal(100, 5, y.shape)
    for y0, x0 in rng.uniform(10, 195, (14, 2)):
        distance2 = (y - 1.2 * y0) ** 2 + (x - x0) ** 2
        image += rng.uniform(60, 200) * np.exp(-distance2 / (2 * 4.7**2))
    image[:, 100:102] = np.nan
    fits.PrimaryHDU(image.astype('f4')).writeto(tmp_path / 'in.fits')
    (meta,) = subtract_file(tmp_path / 'in.fits', tmp_path / 'out.fits')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', AstropyUserWarning)
        background = DiffusionBackground(image.astype('f4'))
        segments = background.detect()
        table = catalog_table(background.catalog(segments))
    assert meta['binning'] == background.meta['binning'] > 1
    with fits.open(tmp_path / 'out.fits') as hdus:
        assert_same_maps({name: hdus[name].data for name in MAPS}, maps_of(background))
        assert np.mean(hdus['SEGM'].data != segments.data) < 1e-4
    found = Table.read(tmp_path / 'out.fits', hdu='CATALOG')
    for name in ('x', 'y', 'kron_flux', 'detection_probability', 'snr'):
        np.testing.assert_allclose(found[name], table[name], rtol=1e-3, err_msg=name)
    check = background.meta['false_discovery']
    for name, value in meta['false_discovery'].items():
        assert value == pytest.approx(check[name], abs=0.01), name


@pytest.mark.usefixtures('blocks')
def test_resampled(tmp_path, monkeypatch):
    """Segments end at the level of correlated noise, in memory and in blocks."""
    monkeypatch.setattr('bgrem.scale.catalog._MARGIN', 48)
    image = ndimage.zoom(draw_sky((100, 95), 2), 2, mode='nearest', order=1)
    image = np.where(np.isfinite(image), image, 1000).astype('f4')
    fits.PrimaryHDU(image).writeto(tmp_path / 'in.fits')
    options = {'threshold': 0.5}
    subtract_file(tmp_path / 'in.fits', tmp_path / 'out.fits', **options)
    background = DiffusionBackground(image)
    assert background._covariance is not None
    segments = background.detect(**options).data
    np.testing.assert_array_equal(fits.getdata(tmp_path / 'out.fits', 'SEGM'), segments)


@pytest.mark.usefixtures('blocks', 'bands')
def test_errors_of_pixels(tmp_path):
    """The errors of a pipeline scale the network, and are those of the fluxes."""
    rng = np.random.default_rng(7)
    noise = np.where(np.indices((220, 180))[1] < 60, 14.0, 5.0)
    noise[:, [90, 130]] *= 3
    light = draw_sky((220, 180)) - 1000
    light = np.where(np.isnan(light), 0, light)
    image = (1000 + light + rng.normal(0, noise)).astype('f4')
    variance = 4 * (noise**2 + 25 + np.maximum(light, 0) / 7)
    variance[10, 10:14] = np.nan
    fits.HDUList(
        [
            fits.PrimaryHDU(image),
            fits.ImageHDU(variance.astype('f4'), name='VAR'),
        ]
    ).writeto(tmp_path / 'in.fits')
    place = tmp_path / 'in.fits', 'VAR'
    options = {'hdu': 0, 'error': place, 'error_type': 'var'}
    subtract_file(tmp_path / 'in.fits', tmp_path / 'out.fits', **options)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', AstropyUserWarning)
        error = VarianceUncertainty(variance.astype('f4'))
        background = DiffusionBackground(image, error=error)
        segments = background.detect()
        table = catalog_table(background.catalog(segments))
    with fits.open(tmp_path / 'out.fits') as hdus:
        assert_same_maps({name: hdus[name].data for name in MAPS}, maps_of(background))
        assert np.mean(hdus['SEGM'].data != segments.data) < 1e-4
    found = Table.read(tmp_path / 'out.fits', hdu='CATALOG')
    for name in ('x', 'y', 'kron_flux', 'kron_flux_err', 'segment_flux_err', 'snr'):
        np.testing.assert_allclose(found[name], table[name], rtol=1e-3, err_msg=name)


@pytest.mark.parametrize(
    ('change', 'error', 'match'),
    [
        ({'threshold': 2}, ValueError, 'threshold must be between'),
        ({'false_discovery_rate': 0}, ValueError, 'false_discovery_rate must be'),
        ({'zero_point': np.nan}, ValueError, 'zero_point must be'),
        ({'effective_gain': 'EGAIN'}, ValueError, 'has no keyword EGAIN'),
        ({'effective_gain': -1}, ValueError, 'gain must be a positive number'),
        ({'mask_bits': '3x'}, ValueError, 'bits must be powers of two'),
        ({'error_type': 'rms'}, ValueError, 'error_type must be one of std, var, ivar'),
        (
            {'error': 'in.fits', 'effective_gain': 2},
            ValueError,
            'effective_gain must be None if',
        ),
        ({'output_path': 'out.txt'}, ValueError, 'must end in'),
    ],
)
def test_errors(change, error, match, tmp_path, tiny_weights, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fits.PrimaryHDU(np.zeros((30, 40), 'f4')).writeto('in.fits')
    monkeypatch.setattr('bgrem.scale.seen.run_tiles', None)
    options = {'output_path': 'out.csv', 'weights': tiny_weights, **change}
    with pytest.raises(error, match=match):
        detect_file('in.fits', **options)
    assert [one.name for one in tmp_path.iterdir()] == ['in.fits']
