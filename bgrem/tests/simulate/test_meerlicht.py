"""
Tests of the exact frame modeled on MeerLICHT: what its truth says must be in it.
"""

import sys

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import QTable, Table
from numpy.testing import assert_allclose, assert_array_equal

from bgrem.cli import main as cli
from bgrem.files.io import read_image
from bgrem.simulate import meerlicht
from bgrem.simulate.__main__ import main
from bgrem.simulate.meerlicht import simulate_meerlicht
from bgrem.simulate.meerlicht_config import MeerLICHTConfig

galsim = pytest.importorskip('galsim')

EMPTY = {'star_density': 0, 'galaxy_density': 0}
# Several times the sources of a usual field, so that a small frame has some.
CROWDED = {
    'size': (160, 200),
    'star_density': 2e4,
    'galaxy_density': 4e3,
    'galaxy_magnitude': (17, 22),
}


@pytest.fixture(scope='module')
def frame():
    return simulate_meerlicht(MeerLICHTConfig(**CROWDED), seed=3)


def make_catalog(**columns):
    """Sources of 1e5 counts, stars unless there is a half-light radius."""
    n_sources = len(columns['x'])
    values = {
        'flux': 1e5,
        'half_light_radius': 0.0,
        'sersic_index': 1.0,
        'axis_ratio': 1.0,
        'position_angle': 0.0,
        **columns,
    }
    return Table({n: np.broadcast_to(v, n_sources) for n, v in values.items()})


def render(catalog, config):
    conditions = meerlicht._Conditions.draw(config, np.random.default_rng(0))
    return meerlicht._render_sources(catalog, config, conditions, progress=False)


class TestSources:
    def test_flux(self):
        catalog = make_catalog(
            x=[150, 170.3, 140, 160.5, 130, 150],
            y=[150, 160.7, 152.2, 140, 131, 155],
            flux=[1e6, 300, 2e4, 2e4, 2e4, 5],
            half_light_radius=[0, 0, 2, 1, 3, 5],
            sersic_index=[0, 0, 0.8, 1.5, 2.5, 4.5],
            axis_ratio=[1, 1, 0.2, 0.6, 0.5, 0.9],
        )
        for k in range(len(catalog)):
            source, _ = render(catalog[[k]], MeerLICHTConfig(size=(300, 300)))
            assert source.sum(dtype=float) == pytest.approx(
                catalog['flux'][k], rel=1.5e-3
            )

    @pytest.mark.parametrize('radius', [0.0, 3.0])
    def test_position(self, radius):
        config = MeerLICHTConfig(size=(90, 120), seeing=(2, 2), ellipticity=(0.2, 0.2))
        x, y = 70.3, 40.8
        catalog = make_catalog(x=[x], y=[y], half_light_radius=radius, axis_ratio=0.5)
        source, _ = render(catalog, config)
        rows, columns = np.indices(source.shape)
        assert np.average(columns, weights=source) == pytest.approx(x, abs=0.02)
        assert np.average(rows, weights=source) == pytest.approx(y, abs=0.02)

    def test_half_light_radius(self):
        config = MeerLICHTConfig(size=(201, 201), seeing=(0.6, 0.6))
        catalog = make_catalog(x=[100], y=[100], half_light_radius=12, sersic_index=2.5)
        source, _ = render(catalog, config)
        rows, columns = np.indices(source.shape)
        inside = np.hypot(rows - 100, columns - 100) < 12
        assert source[inside].sum() / 1e5 == pytest.approx(0.5, abs=0.015)

    def test_position_angle(self):
        config = MeerLICHTConfig(size=(101, 101), ellipticity=(0, 0))
        catalog = make_catalog(
            x=[50], y=[50], half_light_radius=5, axis_ratio=0.3, position_angle=30
        )
        source, _ = render(catalog, config)
        rows, columns = np.indices(source.shape) - 50
        xx, yy, xy = (
            np.average(product, weights=source)
            for product in (columns**2, rows**2, columns * rows)
        )
        angle = np.rad2deg(np.arctan2(2 * xy, xx - yy) / 2)
        assert angle == pytest.approx(30, abs=1)

    def test_outside(self):
        """The light of a source outside the frame reaches in."""
        catalog = make_catalog(x=[-5, 500], y=[20, 500])
        source, norm = render(catalog, MeerLICHTConfig(size=(40, 50)))
        assert np.unravel_index(source.argmax(), source.shape) == (20, 0)
        assert norm[0] == pytest.approx(norm[1], rel=0.05)

    def test_psf_in_the_corner(self):
        config = MeerLICHTConfig(
            size=(1000, 1000),
            seeing=(3, 3),
            ellipticity=(0, 0),
            corner_ellipticity=(0.2, 0.2),
            corner_broadening=(0.5, 0.5),
        )
        conditions = meerlicht._Conditions.draw(config, np.random.default_rng(0))
        shapes = []
        for x, y in ((499.5, 499.5), (999.5, 999.5), (999.5, 499.5)):
            psf = conditions.psf(x, y, config, galsim.GSParams())
            stamp = psf.drawImage(nx=121, ny=121, scale=0.2, method='no_pixel')
            moments = stamp.FindAdaptiveMom()
            shape = moments.observed_shape
            shapes.append((moments.moments_sigma, shape.g1, shape.g2))
        shapes = np.array(shapes)
        assert_allclose(shapes[:, 0] / shapes[0, 0], [1, 1.5, 1.25], rtol=0.01)
        # Along the diagonal in the corner, along x at the end of the row.
        assert_allclose(shapes[:, 1:], [(0, 0), (0, 0.2), (0.1, 0)], atol=0.003)


class TestCatalog:
    def test_counts(self):
        config = MeerLICHTConfig(size=(6000, 4000))
        catalog = meerlicht._draw_catalog(config, np.random.default_rng(1))
        area = 6128 * 4128 * (0.56 / 3600) ** 2
        for is_star, density, slope, faintest in (
            (True, 3000, 0.25, 22.5),
            (False, 800, 0.42, 22.5),
        ):
            magnitude = catalog['magnitude'][catalog['is_star'] == is_star]
            for limit in (18, 20, faintest):
                expected = area * density * 10 ** (slope * (limit - 20))
                n_brighter = np.sum(magnitude < limit)
                # The counts start at the bright end: one star or so is missing.
                assert abs(n_brighter - expected) < 5 * np.sqrt(expected) + 2
        galaxies = catalog[~catalog['is_star']]
        near = galaxies[abs(galaxies['magnitude'] - 20) < 0.3]
        radius = np.median(near['half_light_radius']) * 0.56
        assert radius == pytest.approx(1.2, rel=0.15)

    def test_columns(self, frame):
        catalog = frame.catalog
        ny, nx = frame.image.shape
        assert (catalog['x'] >= -0.5).all()
        assert (catalog['x'] <= nx - 0.5).all()
        assert (catalog['y'] >= -0.5).all()
        assert (catalog['y'] <= ny - 0.5).all()
        assert_array_equal(catalog['half_light_radius'] == 0, catalog['is_star'])
        electrons = 60 * 10 ** (0.4 * (23.8 - catalog['magnitude']))
        assert_allclose(catalog['flux'], electrons / 2.4)

    def test_snr(self, frame):
        """That of a matched filter, which for stars is the PSF."""
        stars = frame.catalog[frame.catalog['is_star']]
        row, column = np.rint([stars['y'], stars['x']]).astype(int)
        sigma = frame.sigma[row, column]
        expected = stars['flux'] * np.linalg.norm(frame.psf) / sigma
        # The PSF varies over the field.
        assert_allclose(stars['snr'], expected, rtol=0.15)
        assert (frame.catalog['snr'] > 0).all()


class TestSkyAndNoise:
    def test_level(self):
        config = MeerLICHTConfig(
            **EMPTY,
            size=(200, 300),
            dark_current=2.0,
            sky_brightness=(21, 21),
            sky_gradient=(0, 0),
            sky_curvature=(0, 0),
        )
        frame = simulate_meerlicht(config, seed=1)
        electrons = 60 * (10 ** (0.4 * (23.8 - 21)) * 0.56**2 + 2.0)
        assert_allclose(frame.sky, electrons / 2.4, rtol=1e-5)
        expected = np.sqrt(electrons + 10.5**2) / 2.4
        assert_allclose(frame.sigma, expected, rtol=1e-5)
        noise = frame.image - frame.sky
        n_pixels = noise.size
        assert abs(noise.mean()) < 4 * expected / np.sqrt(n_pixels)
        assert abs(noise.std() / expected - 1) < 4 / np.sqrt(2 * n_pixels)
        assert_array_equal(frame.source, 0)
        assert len(frame.catalog) == 0

    def test_noise_of_sources(self, frame):
        expected = frame.source + frame.sky
        sigma = np.sqrt(expected * 2.4 + 10.5**2) / 2.4
        pull = ((frame.image - expected) / sigma)[frame.source > 0.3 * frame.sky]
        assert pull.size > 150
        assert abs(pull.mean()) < 4 / np.sqrt(pull.size)
        assert abs(pull.std() - 1) < 4 / np.sqrt(2 * pull.size)

    def test_gradient(self):
        config = MeerLICHTConfig(
            **EMPTY, size=(90, 60), sky_gradient=(0.1, 0.1), sky_curvature=(0, 0)
        )
        sky = simulate_meerlicht(config, seed=4).sky
        assert (sky.max() - sky.min()) / sky.mean() == pytest.approx(0.1, rel=0.03)
        # A plane: the same difference between all columns, all rows.
        assert np.ptp(np.diff(sky[0])) < 1e-4
        assert np.ptp(np.diff(sky[:, 0])) < 1e-4

    def test_curvature(self):
        config = MeerLICHTConfig(
            **EMPTY, size=(91, 61), sky_gradient=(0, 0), sky_curvature=(0.2, 0.2)
        )
        sky = simulate_meerlicht(config, seed=4).sky
        assert_allclose(sky, sky[::-1, ::-1], rtol=1e-5)
        fall = (sky[45, 30] - sky[0, 0]) / sky.mean()
        assert fall == pytest.approx(0.2, rel=0.05)

    def test_saturation(self):
        config = MeerLICHTConfig(**CROWDED, saturation=300)
        frame = simulate_meerlicht(config, seed=3)
        assert frame.image.max() == 300
        assert frame.source.max() > 300


class TestSeed:
    def test_same(self, frame):
        again = simulate_meerlicht(MeerLICHTConfig(**CROWDED), seed=3)
        for name in ('image', 'source', 'sky', 'sigma', 'psf'):
            assert_array_equal(getattr(again, name), getattr(frame, name))
            assert getattr(frame, name).dtype == np.float32
        assert (again.catalog == frame.catalog).all()

    def test_another(self, frame):
        another = simulate_meerlicht(MeerLICHTConfig(**CROWDED), seed=4)
        assert another.header['SEEING'] != frame.header['SEEING']
        assert not (another.image == frame.image).any()

    def test_conditions_do_not_depend_on_the_sources(self, frame):
        config = MeerLICHTConfig(**CROWDED | EMPTY)
        another = simulate_meerlicht(config, seed=3)
        assert another.header['SEEING'] == frame.header['SEEING']
        assert_array_equal(another.sky, frame.sky)

    @pytest.mark.parametrize('seed', [-1, 1.5])
    def test_bad(self, seed):
        with pytest.raises(ValueError, match=f'seed must be a non-neg.* got {seed}'):
            simulate_meerlicht(MeerLICHTConfig(**EMPTY, size=(9, 9)), seed=seed)


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'size': (0, 5)}, r'size must be a pair of positive integers, got \(0, 5\)'),
        ({'size': (5,)}, 'size must be a pair of positive integers'),
        ({'size': (5.5, 5)}, 'size must be a pair of positive integers'),
        ({'gain': 0}, 'gain must be positive, got 0'),
        ({'gain': np.nan}, 'gain must be finite, got nan'),
        ({'read_noise': -1}, 'read_noise must be at least 0, got -1'),
        ({'seeing': (3, 2)}, r'seeing must be an ascending pair, got \(3.0, 2.0\)'),
        ({'seeing': (0, 2)}, r'seeing must be positive, got \(0.0, 2.0\)'),
        ({'seeing': (np.nan, 2)}, 'seeing must be an ascending pair'),
        ({'ellipticity': (0, 0.9)}, 'ellipticity must be between 0 and 0.4'),
        ({'moffat_beta': (1, 2)}, 'moffat_beta must be between 2 and 20'),
        ({'star_magnitude': (20, 9)}, 'star_magnitude must be an ascending pair'),
        ({'star_slope': 0}, 'star_slope must be positive, got 0'),
        ({'disc_fraction': 1.1}, 'disc_fraction must be between 0 and 1, got 1.1'),
    ],
)
def test_bad_configuration(values, message):
    with pytest.raises(ValueError, match=message):
        MeerLICHTConfig(**values)


def test_without_galsim(monkeypatch):
    monkeypatch.setitem(sys.modules, 'galsim', None)
    with pytest.raises(ImportError, match=r'galsim is not .*bgrem\[simulate\]'):
        simulate_meerlicht(MeerLICHTConfig(size=(9, 9)))


class TestCommand:
    ARGV = ('meerlicht', '--size', '60', '80', '--seed', '2', '--gain', '2')

    def test_file(self, tmp_path, capsys):
        path = tmp_path / 'frame.fits'
        argv = [*self.ARGV, '-o', str(path), '--star-density', '40000']
        assert main([*argv, '--seeing', '2.5', '2.5', '--quiet']) == 0
        assert capsys.readouterr().out == ''
        config = MeerLICHTConfig(
            size=(60, 80), gain=2, star_density=40000, seeing=(2.5, 2.5)
        )
        frame = simulate_meerlicht(config, seed=2)
        image = read_image(path)
        assert image.unit == u.count
        assert_array_equal(image.data, frame.image)
        center = image.wcs.pixel_to_world([39.5, 40.5], [29.5, 29.5])
        separation = center[0].separation(center[1])
        assert separation.arcsec == pytest.approx(0.56, rel=1e-6)
        with fits.open(path, checksum=True) as hdus:
            names = [hdu.name for hdu in hdus]
            assert names == ['PRIMARY', 'SCI', 'SOURCE', 'SKY', 'SIGMA', 'PSF', 'TRUTH']
            for name in ('source', 'sky', 'sigma', 'psf'):
                assert_array_equal(hdus[name].data, getattr(frame, name))
            header = hdus['SCI'].header
            expected = {
                'GAIN': 2,
                'RDNOISE': 10.5,
                'EXPTIME': 60,
                'PIXSCALE': 0.56,
                'SEEING': 2.5,
                'SEED': 2,
                'BUNIT': 'ct',
            }
            assert {name: header[name] for name in expected} == expected
            assert hdus['PSF'].header['FWHM'] == pytest.approx(2.5 / 0.56, abs=1e-4)
        truth = QTable.read(path, 'TRUTH')
        assert len(truth) == len(frame.catalog) > 0
        assert truth['flux'].unit == u.count
        assert_array_equal(truth['x'].value, frame.catalog['x'])
        assert_array_equal(truth['is_star'], frame.catalog['is_star'])

    def test_summary(self, tmp_path, capsys):
        path = tmp_path / 'frame.fits'
        assert main([*self.ARGV, '-o', str(path)]) == 0
        captured = capsys.readouterr()
        first, second = captured.out.splitlines()
        assert first.endswith(' px')
        assert second == str(path)
        assert 'sources' in captured.err
        with pytest.raises(FileExistsError, match='exists; it is replaced only'):
            main([*self.ARGV, '-o', str(path)])

    @pytest.mark.parametrize(
        ('options', 'message'),
        [
            (['--seeing', '4', '2'], 'seeing must be an ascending pair, got (4.0, 2.0'),
            (['--size', '0', '5'], 'size must be a pair of positive integers, got (0'),
            (['--seed', '-3'], 'seed must be a non-negative integer, got -3'),
        ],
    )
    def test_bad_option(self, tmp_path, capsys, options, message):
        argv = ['simulate', *self.ARGV, *options, '-o', str(tmp_path / 'a.fits')]
        assert cli.main(argv) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f'bgrem: error: {message}')
        assert list(tmp_path.iterdir()) == []

    def test_help(self, capsys):
        with pytest.raises(SystemExit, match='0'):
            main(['meerlicht', '--help'])
        out = capsys.readouterr().out
        assert '--sky-brightness LOW HIGH' in out
        assert '(default: 10560 10560)' in out
