import errno
import os
import re
from types import SimpleNamespace

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import QTable, Table, vstack
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales
from numpy.testing import assert_allclose, assert_array_equal
from photutils.segmentation import SegmentationImage, SourceCatalog

from bgrem.detect.catalog import catalog as measure
from bgrem.detect.segments import no_segments
from bgrem.files.cards import product_provenance
from bgrem.files.io import read_image
from bgrem.files.products import (
    Products,
    catalog_table,
    check_output,
    join_tables,
    write_catalog,
    write_products,
    write_regions,
)
from bgrem.tests.files.test_io import make_wcs

META = {
    'package': 'bgrem',
    'version': '0.1',
    'weights': 'optical',
    'weights_sha256': 'ab' * 32,
    'n_steps': 1,
    'n_symmetries': 8,
    'normalization': 'local',
    'device': 'cpu',
}
NAMES = [
    'PRIMARY',
    'SCI',
    'BACKGROUND',
    'BACKGROUND_RMS',
    'SOURCE',
    'PROBABILITY',
    'SEGM',
    'CATALOG',
]


@pytest.fixture
def data():
    data = np.full((40, 50), 100, np.float32)
    data[9:12, 19:22] += 50
    data[30:33, 5:8] += 20
    data[0, 0] = np.nan
    return data


@pytest.fixture
def background(data):
    """What a background offers to the writers, with known values."""
    source = np.nan_to_num(data - 100)
    return SimpleNamespace(
        background=np.full(data.shape, 100, np.float32),
        background_rms=np.full(data.shape, 2, np.float32),
        source=source,
        detection_probability=(source > 0).astype(np.float32),
        background_median=np.float32(100),
        background_rms_median=np.float32(2),
        subtract=lambda: data - 100,
        meta=META,
    )


@pytest.fixture
def segmentation_image(background):
    labels = np.zeros(background.source.shape, int)
    labels[9:12, 19:22] = 1
    labels[30:33, 5:8] = 2
    return SegmentationImage(labels)


def make_catalog(background, segmentation_image, wcs=None, unit=None):
    data = np.nan_to_num(background.subtract())
    error = background.background_rms
    if unit is not None:
        data, error = data << unit, error << unit
    return SourceCatalog(data, segmentation_image, error=error, wcs=wcs)


@pytest.fixture
def catalog(background, segmentation_image):
    return make_catalog(background, segmentation_image, make_wcs())


def detections(background, segmentation_image, **options):
    """Return a catalog of this package."""
    source = u.Quantity(background.source).value
    return measure(
        source,
        segmentation_image,
        source=source,
        probability=background.detection_probability,
        background_rms=np.full(source.shape, 2.0),
        **options,
    )


def of_nothing(background, image):
    """Return products without a detection."""
    segments = no_segments(image.data.shape)
    return Products(background, image, segments, detections(background, segments))


def write_input(path, data, *, extension=False):
    header = make_wcs().to_header()
    header['BUNIT'] = 'adu'
    header['FILTER'] = 'r'
    header['AIRMASS'] = (1.25, 'mean')
    header['HIERARCH ESO TEL NAME'] = 'NTT'
    header.add_history('flat-fielded')
    if extension:
        primary = fits.PrimaryHDU()
        primary.header['TELESCOP'] = 'NTT'
        hdu = fits.ImageHDU(data, header, name='CHIP3')
        fits.HDUList([primary, hdu]).writeto(path, checksum=True)
    else:
        fits.writeto(path, data, header)
    return read_image(path)


@pytest.mark.parametrize('extension', [False, True])
def test_products(tmp_path, data, background, segmentation_image, catalog, extension):
    image = write_input(tmp_path / 'in.fits', data, extension=extension)
    path = tmp_path / 'out.fits'
    write_products(path, [Products(background, image, segmentation_image, catalog)])
    with fits.open(path, checksum=True) as hdus:
        assert [hdu.name for hdu in hdus] == NAMES
        assert_array_equal(hdus['SCI'].data, data - 100)  # NaN included
        assert_array_equal(hdus['BACKGROUND'].data, background.background)
        assert_array_equal(hdus['BACKGROUND_RMS'].data, background.background_rms)
        assert_array_equal(hdus['SOURCE'].data, background.source)
        assert_array_equal(hdus['PROBABILITY'].data, background.detection_probability)
        assert_array_equal(hdus['SEGM'].data, segmentation_image.data)
        kinds = [hdu.data.dtype.str for hdu in hdus[1:7]]
        assert kinds == ['>f4'] * 5 + ['>i4']
        assert len(hdus['CATALOG'].data) == 2
        for hdu in hdus:
            assert hdu.header['BGREMVER'] == '0.1'
            assert hdu.header['BGREMWTS'] == 'optical'
            assert hdu.header['BGREMSHA'] == 'ab' * 32
            assert hdu.header['BGREMSTP'] == 1
            assert hdu.header['BGREMSYM'] == 8
    medians = {'background_median': 100, 'background_rms_median': 2}
    expected = {k: META[k] for k in META if k != 'package'} | medians
    assert product_provenance(path) == expected
    assert {p.name for p in tmp_path.iterdir()} == {'in.fits', 'out.fits'}


@pytest.mark.parametrize('extension', [False, True])
def test_header_and_wcs_are_kept(tmp_path, data, background, extension):
    image = write_input(tmp_path / 'in.fits', data, extension=extension)
    path = tmp_path / 'out.fits'
    write_products(path, [of_nothing(background, image)])
    with fits.open(path) as hdus:
        for hdu in hdus[1:7]:
            assert hdu.header['FILTER'] == 'r'
            assert hdu.header['AIRMASS'] == 1.25
            assert hdu.header['ESO TEL NAME'] == 'NTT'
            assert WCS(hdu.header).wcs == image.wcs.wcs
        units = [hdu.header.get('BUNIT') for hdu in hdus[1:7]]
        assert units == ['adu'] * 4 + [None] * 2
        history = list(map(str, hdus['SCI'].header['HISTORY']))
        assert history[0] == 'flat-fielded'
        assert any(f'weights_sha256 = {"ab" * 10}' in line for line in history)
        assert ('TELESCOP' in hdus[0].header) == extension


def test_input_is_left_alone(tmp_path, data, background):
    image = write_input(tmp_path / 'in.fits', data)
    before = (tmp_path / 'in.fits').read_bytes()
    cards = list(map(str, image.header.cards))
    write_products(tmp_path / 'out.fits', [of_nothing(background, image)])
    assert (tmp_path / 'in.fits').read_bytes() == before
    assert list(map(str, image.header.cards)) == cards


def test_scaled_input(tmp_path, background):
    data = np.full((40, 50), 40000, np.uint16)
    fits.writeto(tmp_path / 'in.fits', data, fits.Header({'BLANK': 0}))
    image = read_image(tmp_path / 'in.fits')
    write_products(tmp_path / 'out.fits', [of_nothing(background, image)])
    with fits.open(tmp_path / 'out.fits') as hdus:
        assert hdus['SCI'].data.dtype == np.dtype('>f4')
        for keyword in ('BZERO', 'BSCALE', 'BLANK'):
            assert keyword not in hdus['SCI'].header


def test_odd_cards_do_not_stop_the_writing(tmp_path, data, background):
    path = tmp_path / 'in.fits'
    fits.writeto(path, data, fits.Header({'GOOD': 1, 'BADCARD': 1.5}))
    content = path.read_bytes()
    card = b'BADCARD =                  1.5'
    assert card in content
    path.write_bytes(content.replace(card, b'BADCARD = 12:34 and no quotes '))
    image = read_image(path)
    write_products(tmp_path / 'out.fits', [of_nothing(background, image)])
    assert fits.getheader(tmp_path / 'out.fits', 'SCI')['GOOD'] == 1


def test_quantities(tmp_path, data, background):
    image = write_input(tmp_path / 'in.fits', data)
    plain = background.subtract()
    background.subtract = lambda: plain << u.adu
    for name in ('background', 'background_rms', 'source'):
        setattr(background, name, getattr(background, name) << u.adu)
    write_products(tmp_path / 'out.fits', [of_nothing(background, image)])
    assert_array_equal(fits.getdata(tmp_path / 'out.fits', 'SCI'), plain)
    assert fits.getdata(tmp_path / 'out.fits', 'BACKGROUND').dtype.itemsize == 4


def test_no_detections(tmp_path, data, background):
    image = write_input(tmp_path / 'in.fits', data)
    write_products(tmp_path / 'out.fits', [of_nothing(background, image)])
    assert not fits.getdata(tmp_path / 'out.fits', 'SEGM').any()
    assert len(Table.read(tmp_path / 'out.fits', 'CATALOG')) == 0


@pytest.mark.parametrize('ending', ['.fits', '.ecsv', '.csv'])
def test_tables_of_a_night_stack(tmp_path, background, segmentation_image, ending):
    """That of an empty field has all columns, with their units and types."""
    tables = []
    for segments in (no_segments((40, 50)), segmentation_image):
        found = detections(background, segments, wcs=make_wcs(), zero_point=25)
        write_catalog(tmp_path / f'{len(tables)}{ending}', found, META)
        options = {'hdu': 'CATALOG'} if ending == '.fits' else {}
        tables.append(Table.read(tmp_path / f'{len(tables)}{ending}', **options))
    empty, filled = tables
    assert (len(empty), len(filled)) == (0, 2)
    assert empty.colnames == filled.colnames
    assert [empty[k].unit for k in empty.colnames] == [
        filled[k].unit for k in empty.colnames
    ]
    night = vstack([empty, filled, filled], metadata_conflicts='silent')
    assert len(night) == 4
    if ending != '.csv':  # of no value, text tells no type
        assert [night[k].dtype.kind for k in night.colnames] == [
            filled[k].dtype.kind for k in night.colnames
        ]


def test_magnitudes_have_a_unit_in_files(tmp_path, background, segmentation_image):
    """They can be compared with a number: those of a catalog, and from a file."""
    found = detections(background, segmentation_image, zero_point=25)
    table = found.to_table()
    assert table['kron_mag'].unit is None
    brighter = table['kron_mag'] < table['kron_mag'].max()
    assert brighter.sum() == 1
    for name, options in (('c.fits', {'hdu': 'CATALOG'}), ('c.ecsv', {})):
        write_catalog(tmp_path / name, found, META)
        stored = Table.read(tmp_path / name, **options)
        units = {k: stored[k].unit for k in stored.colnames if '_mag' in k}
        assert set(units.values()) == {u.mag}
        assert len(units) == 8
        assert_array_equal(stored['kron_mag'] < table['kron_mag'].max(), brighter)
        stored.write(tmp_path / 'c.vot', format='votable', overwrite=True)
        again = Table.read(tmp_path / 'c.vot', format='votable')
        assert again['aperture_1_mag_err'].unit == u.mag
        assert_allclose(again['kron_mag'], table['kron_mag'])


def test_join_tables(background, segmentation_image):
    """Of images of which some are empty, too."""
    options = {'wcs': make_wcs(), 'zero_point': 25}
    segments = [no_segments((40, 50)), segmentation_image, no_segments((40, 50))]
    tables = [catalog_table(detections(background, one, **options)) for one in segments]
    names = ['extension', *tables[1].colnames]
    rows = list(tables[1]['kron_flux'])
    joined = join_tables(list(zip(['A', 'BCD', 'E'], tables, strict=True)))
    assert joined.colnames == names
    assert list(joined['extension']) == ['BCD', 'BCD']
    assert list(joined['kron_flux']) == rows
    nothing = [catalog_table(detections(background, one)) for one in segments[::2]]
    joined = join_tables(list(zip(['A', 'E'], nothing, strict=True)))
    assert (len(joined), joined['extension'].dtype.kind) == (0, 'U')


def test_gzipped_products(tmp_path, data, background):
    image = write_input(tmp_path / 'in.fits', data)
    path = tmp_path / 'out.fits.gz'
    write_products(path, [of_nothing(background, image)])
    assert path.read_bytes()[:2] == b'\x1f\x8b'
    assert_array_equal(fits.getdata(path, 'SCI'), data - 100)


def test_overwrite(tmp_path, data, background):
    image = write_input(tmp_path / 'in.fits', data)
    path = tmp_path / 'out.fits'
    path.write_text('precious')
    with pytest.raises(FileExistsError, match='exists; it is replaced only with'):
        write_products(path, [of_nothing(background, image)])
    assert path.read_text() == 'precious'
    write_products(path, [of_nothing(background, image)], overwrite=True)
    assert fits.getdata(path, 'SCI').shape == data.shape
    with pytest.raises(ValueError, match=r'in\.fits is the input file'):
        write_products(image.path, [of_nothing(background, image)], overwrite=True)


@pytest.mark.parametrize('existing', [False, True])
def test_failure_leaves_nothing(tmp_path, data, background, monkeypatch, existing):
    image = write_input(tmp_path / 'in.fits', data)
    path = tmp_path / 'out.fits'
    if existing:
        path.write_text('precious')

    def fail(self, fileobj, *args, **kwargs):
        fileobj.write(b'part of a file')
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(fits.HDUList, 'writeto', fail)
    with pytest.raises(OSError, match='out.fits cannot be written: No space left'):
        write_products(path, [of_nothing(background, image)], overwrite=True)
    assert path.exists() == existing
    if existing:
        assert path.read_text() == 'precious'
    assert len(list(tmp_path.iterdir())) == 1 + existing


@pytest.mark.parametrize(
    ('name', 'error', 'match'),
    [
        ('no/out.fits', FileNotFoundError, 'output folder .*no does not exist'),
        ('out.png', ValueError, r'out\.png must end in \.fits'),
        ('folder.fits', FileExistsError, 'is a folder'),
    ],
)
def test_check_output(tmp_path, name, error, match):
    (tmp_path / 'folder.fits').mkdir()
    with pytest.raises(error, match=match):
        check_output(tmp_path / name)


def test_check_output_without_permission(tmp_path, monkeypatch):
    # The superuser may write everywhere, so the answer is made up.
    monkeypatch.setattr('os.access', lambda *_: False)
    with pytest.raises(PermissionError, match=r'output folder .* cannot be written'):
        check_output(tmp_path / 'out.fits')


def test_links(tmp_path):
    """Under another name the input is still the input; a link is something, too."""
    image, link, empty = (tmp_path / name for name in ('in.fits', 'a.fits', 'b.fits'))
    image.write_text('precious')
    link.symlink_to(image)
    empty.symlink_to(tmp_path / 'nowhere.fits')
    for overwrite in (False, True):
        with pytest.raises(ValueError, match=r'a\.fits is the input file'):
            check_output(link, overwrite=overwrite, inputs=(image,))
    with pytest.raises(FileExistsError, match=r'b\.fits exists'):
        check_output(empty, inputs=(image,))
    assert check_output(empty, overwrite=True, inputs=(image,)) == empty


def test_check_output_accepts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert check_output('OUT.FITS').name == 'OUT.FITS'
    assert check_output(tmp_path / 'a.fits.gz').name == 'a.fits.gz'


def test_catalog_table(catalog, background, segmentation_image):
    table = catalog_table(catalog)
    assert {'ra', 'dec'} < set(table.colnames)
    assert 'sky_centroid' not in table.colnames
    world = make_wcs().pixel_to_world(20, 10)
    assert_allclose(table['ra'][0].value, world.ra.deg, rtol=1e-9)
    assert_allclose(table['dec'][0].value, world.dec.deg, rtol=1e-9)
    table = catalog_table(make_catalog(background, segmentation_image))
    assert 'ra' not in table.colnames
    assert not any(table[name].dtype == object for name in table.colnames)


@pytest.mark.parametrize('ending', ['.fits', '.ecsv', '.csv', '.fits.gz'])
@pytest.mark.parametrize('unit', [None, u.adu, u.MJy / u.sr])
def test_write_catalog(tmp_path, background, segmentation_image, ending, unit):
    catalog = make_catalog(background, segmentation_image, make_wcs(), unit)
    path = tmp_path / f'catalog{ending}'
    write_catalog(path, catalog, META)
    table = QTable.read(path, 1) if 'fits' in ending else QTable.read(path)
    assert_allclose(table['x_centroid'], [20, 6])
    assert_allclose(u.Quantity(table['segment_flux']).value, [450, 180])
    if ending != '.csv':
        assert u.Quantity(table['segment_flux']).unit == (unit or '')
        assert table.meta['BGREMWTS'] == 'optical'
        assert table['ra'].unit == u.deg
    with pytest.raises(FileExistsError, match='exists'):
        write_catalog(path, catalog, META)
    write_catalog(path, catalog[:1], META, overwrite=True)
    assert len(list(tmp_path.iterdir())) == 1


def test_units_outside_the_fits_standard(tmp_path, background, segmentation_image):
    catalog = make_catalog(background, segmentation_image, unit=u.DN / u.s)
    path = tmp_path / 'catalog.fits'
    write_catalog(path, catalog, META)
    with fits.open(path) as hdus:
        assert hdus['CATALOG'].columns['segment_flux'].unit == 'DN / s'


def test_write_catalog_wrong_ending(tmp_path, catalog):
    with pytest.raises(ValueError, match=r'must end in .*\.ecsv, \.csv'):
        write_catalog(tmp_path / 'c.txt', catalog, META)


def test_regions(tmp_path, catalog, background):
    path = tmp_path / 'sources.reg'
    write_regions(path, catalog)
    lines = path.read_text().splitlines()
    assert lines[2] == 'image'
    assert len(lines) == 5
    # A 3x3 square: its second moments have the axis sqrt(2/3); DS9 counts from 1.
    assert lines[3].startswith('ellipse(21.000,11.000,2.45,2.45,')
    assert lines[3].endswith('# text={1}')
    # a single pixel has no axes to be seen
    labels = np.zeros((9, 9), int)
    labels[4, 6] = 1
    point = SourceCatalog(1.0 * labels, SegmentationImage(labels))
    write_regions(path, point, overwrite=True)
    ellipse = path.read_text().splitlines()[3]
    assert ellipse.startswith('ellipse(7.000,5.000,2.00,2.00,')
    nothing = detections(background, no_segments((40, 50)), wcs=make_wcs())
    write_regions(path, nothing, overwrite=True)
    assert path.read_text().splitlines() == lines[:2]
    with pytest.raises(ValueError, match=r'must end in \.reg'):
        write_regions(tmp_path / 'sources.txt', catalog)


@pytest.mark.parametrize(('cdelt', 'expected_angle'), [(-1e-4, 75), (1e-4, 105)])
def test_regions_on_the_sky(tmp_path, cdelt, expected_angle):
    """A turned ellipse keeps its direction, in a mirrored image too."""
    wcs = make_wcs()
    wcs.wcs.cdelt = [cdelt, 1e-4]
    turn = np.deg2rad(30)
    wcs.wcs.pc = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    y, x = np.mgrid[:60, :60]
    along, across = x - 30 + y - 20, y - 20 - (x - 30)
    data = np.exp(-(along**2) / 80 - across**2 / 20)
    segments = SegmentationImage((data > 0.02).astype(int))
    catalog = measure(
        data,
        segments,
        source=data,
        probability=data,
        background_rms=np.full(data.shape, 1e-3),
        wcs=wcs,
    )
    table = catalog_table(catalog)
    place = {'ra', 'dec', 'ra_centroid', 'dec_centroid'}
    assert place < set(table.colnames)
    assert 'sky_centroid' not in table.colnames
    path = tmp_path / 'sources.reg'
    write_regions(path, catalog)
    lines = path.read_text().splitlines()
    assert lines[2] == 'icrs'
    pattern = r'ellipse\((.+),(.+),(.+)",(.+)",(.+)\) # text=\{1\}'
    ra, dec, major, minor, angle = map(float, re.fullmatch(pattern, lines[3]).groups())
    expected = wcs.pixel_to_world(30, 20)
    assert_allclose([ra, dec], [expected.ra.deg, expected.dec.deg], atol=1e-6)
    scale = proj_plane_pixel_scales(wcs)[0] * 3600
    assert_allclose(major / scale, 3 * catalog.semimajor_axis[0].value, rtol=1e-3)
    assert_allclose(minor / scale, 3 * catalog.semiminor_axis[0].value, rtol=1e-3)
    # From west through north: at 45 degrees in the image, 75 after the turn. East of
    # north instead of west of it where the image is mirrored.
    assert_allclose(np.mod(angle, 180), expected_angle, atol=0.2)


def test_provenance_of_other_files(tmp_path, data):
    write_input(tmp_path / 'in.fits', data)
    assert product_provenance(tmp_path / 'in.fits') == {}
    with pytest.raises(FileNotFoundError, match='does not exist'):
        product_provenance(tmp_path / 'no.fits')
