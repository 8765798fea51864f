"""Tests of what is kept beside an output until all of it is finished."""

import subprocess
import sys
from contextlib import closing

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from bgrem.scale.options import CatalogOptions
from bgrem.scale.output import publish
from bgrem.scale.work import FlatMap, Work
from bgrem.tests.conftest import full_disk

SHAPE = (13, 9)


@pytest.fixture
def output(tmp_path):
    return tmp_path / 'out.fits'


@pytest.fixture
def work(output):
    with closing(Work(output, 'the same')) as work:
        yield work


def random_place(rng):
    """A part of a map, of a pixel at least."""
    sides = [np.sort(rng.choice(n + 1, 2, replace=False)) for n in SHAPE]
    return tuple(slice(int(first), int(last)) for first, last in sides)


class TestFlatMap:
    def test_of_zeros_at_first(self, tmp_path):
        flat_map = FlatMap(tmp_path / 'map', SHAPE, np.float32)
        assert flat_map[:, :].shape == SHAPE
        assert not flat_map[:, :].any()

    @pytest.mark.parametrize('dtype', ['f4', 'f8', 'u1', 'i8'])
    @pytest.mark.parametrize('seed', range(3))
    def test_as_an_array(self, tmp_path, dtype, seed):
        """Whatever is written where, what is read is what an array would hold."""
        rng = np.random.default_rng(seed)
        flat_map = FlatMap(tmp_path / 'map', SHAPE, dtype)
        array = np.zeros(SHAPE, dtype)
        for _ in range(10):
            place = random_place(rng)
            values = rng.integers(0, 100, array[place].shape)
            flat_map[place] = array[place] = values
            there = random_place(rng)
            assert flat_map[there].dtype == np.dtype(dtype)
            assert_array_equal(flat_map[there], array[there])
        again = FlatMap(tmp_path / 'map', SHAPE, dtype)
        assert_array_equal(again[:, :], array)

    def test_views_are_written_as_they_look(self, tmp_path):
        values = np.arange(117.0).reshape(9, 13)
        flat_map = FlatMap(tmp_path / 'map', SHAPE, np.float64)
        for one in (values.T, values.T[::-1, ::-1], np.asfortranarray(values.T)):
            flat_map[:, :] = one
            assert_array_equal(flat_map[:, :], one)
        flat_map[2:-2, -3:] = values.T[2:-2, :3]
        assert_array_equal(flat_map[2:-2, 6:], values.T[2:-2, :3])

    def test_what_is_read_is_a_copy(self, tmp_path):
        flat_map = FlatMap(tmp_path / 'map', SHAPE, np.float32)
        part = flat_map[:3, :3]
        part[:] = 7
        assert not flat_map[:, :].any()

    def test_a_file_of_another_size_is_begun_again(self, tmp_path):
        FlatMap(tmp_path / 'map', SHAPE, np.float32)[:, :] = np.ones(SHAPE)
        larger = FlatMap(tmp_path / 'map', SHAPE, np.float64)
        assert not larger[:, :].any()


class TestWork:
    def test_round_trip(self, work):
        value = {'a': np.arange(3.0), 'b': (1, None)}
        assert not work.has('maps-0')
        work.save('maps-0', value)
        assert work.has('maps-0')
        loaded = work.load('maps-0')
        assert_array_equal(loaded['a'], value['a'])
        assert loaded['b'] == value['b']

    @pytest.mark.parametrize('n_maps', [1, 2, 3])
    def test_rows_of_maps(self, work, n_maps):
        rng = np.random.default_rng(n_maps)
        maps = rng.normal(size=(n_maps, *SHAPE)).astype(np.float32)
        work.save_maps('tiles-0-0', maps)
        for start, stop in [(0, 13), (4, 5), (12, 13), (3, 11)]:
            found = work.load_maps('tiles-0-0', SHAPE, slice(start, stop))
            assert len(found) == n_maps
            assert_array_equal(found, maps[:, start:stop])

    def test_disk_full_at_the_end(self, work):
        """What is cut off says so: half of the maps would be taken for all of them."""
        maps = np.ones((2, 100, 90), np.float32)
        with (
            full_disk(maps.nbytes - 100),
            pytest.raises(OSError, match='File too large'),
        ):
            work.save_maps('tiles-0-0', maps)
        assert not work.has('tiles-0-0')

    def test_parts_appear_when_they_are_whole(self, work, output):
        class Stops:
            def __reduce__(self):
                msg = 'it cannot be pickled'
                raise TypeError(msg)

        with pytest.raises(TypeError, match='cannot be pickled'):
            work.save('sky-0', Stops())
        assert not work.has('sky-0')
        work.close()
        # what is left of it belongs to the work, which goes on
        with closing(Work(output, 'the same')) as again:
            again.save('sky-0', 5)
            assert again.load('sky-0') == 5

    def test_goes_on_with_the_same_alone(self, work, output):
        work.save('sky-0', 5)
        flat_map = work.flat_map('flags-0', SHAPE, np.uint8)
        flat_map[2:3, :] = np.ones((1, 9))
        work.close()
        with closing(Work(output, 'another')) as other:
            assert not other.has('sky-0')
            assert not other.flat_map('flags-0', SHAPE, np.uint8)[:, :].any()
        with closing(Work(output, 'the same')) as again:
            assert again.load('sky-0') == 5
            assert again.flat_map('flags-0', SHAPE, np.uint8)[:, :].sum() == 9

    def test_of_others_until_it_is_known_to_be_possible(self, work, output):
        work.save('sky-0', 5)
        work.close()
        with closing(Work(output, 'no such input')) as other:
            other.remove_if_nothing_is_done()
        assert work.has('sky-0')
        with closing(Work(output, 'another')) as other:
            other.remove_others()
            other.save('sky-0', 6)
        assert not work.has('sky-0')
        with closing(Work(output, 'another')) as again:
            assert again.load('sky-0') == 6
            again.remove()
        assert list(output.parent.iterdir()) == []

    def test_half_removed_is_no_work(self, work, output, monkeypatch):
        """Maps would be of zeros where their files are gone, and seem finished."""

        def stops(folder, *, ignore_errors=False):
            if not ignore_errors:
                (folder / 'flags-0').unlink()
                raise KeyboardInterrupt

        work.save('written', 'maps')
        work.flat_map('flags-0', SHAPE, np.uint8)
        with monkeypatch.context() as patch:
            patch.setattr('shutil.rmtree', stops)
            with pytest.raises(KeyboardInterrupt):
                work.remove()
        work.close()
        with closing(Work(output, 'the same')) as again:
            assert not again.has('written')
            again.remove()
        assert list(output.parent.iterdir()) == []

    def test_one_process_at_a_time(self, work, output):
        script = (
            'import sys, pathlib; from bgrem.scale.work import Work; '
            'Work(pathlib.Path(sys.argv[1]), sys.argv[2]).save("sky-0", 7)'
        )
        pytest.importorskip('fcntl')
        for key in ('the same', 'another'):
            with pytest.raises(FileExistsError, match='another process is at work on'):
                Work(output, key)
        call = [sys.executable, '-c', script, str(output), 'the same']
        done = subprocess.run(call, check=False, capture_output=True, text=True)
        assert 'another process is at work on' in done.stderr
        assert not work.has('sky-0')
        work.close()
        subprocess.run(call, check=True)
        assert work.load('sky-0') == 7

    def test_one_folder_for_each_output(self, work, output):
        with closing(Work(output.with_suffix('.zarr'), 'the same')) as other:
            other.save('sky-0', 1)
            assert not work.has('sky-0')
            other.remove()
        assert not other.folder.exists()
        assert work.folder.exists()

    @pytest.mark.parametrize('name', ['notes.txt', 'key', '0123456789abcdef0'])
    def test_folder_of_somebody_else(self, output, name):
        folder = output.with_name('out.fits.parts')
        folder.mkdir()
        (folder / name).touch()
        with pytest.raises(FileExistsError, match='holds other things'):
            Work(output, 'the same')
        assert [one.name for one in folder.iterdir()] == [name]

    @pytest.mark.parametrize(
        ('name', 'is_kept'),
        [
            ('hidden-0', True),
            ('maps-0-binned', True),
            ('tiles-0-3', True),
            ('check-1', True),
            ('sky-0', True),
            ('flags-0', False),
            ('written', False),
        ],
    )
    def test_kept_where_there_is_something_to_go_on_with(self, work, name, is_kept):
        work.save(name, 0)
        work.save('written', 0)
        work.remove_if_nothing_is_done()
        assert work.folder.exists() == is_kept


class TestPublish:
    def test_file(self, tmp_path):
        (tmp_path / 'new').write_text('new')
        publish(tmp_path / 'new', tmp_path / 'out', overwrite=False)
        assert (tmp_path / 'out').read_text() == 'new'
        (tmp_path / 'newer').write_text('newer')
        with pytest.raises(FileExistsError, match='out has appeared in the meantime'):
            publish(tmp_path / 'newer', tmp_path / 'out', overwrite=False)
        assert (tmp_path / 'out').read_text() == 'new'
        publish(tmp_path / 'newer', tmp_path / 'out', overwrite=True)
        assert [one.name for one in tmp_path.iterdir()] == ['out']
        assert (tmp_path / 'out').read_text() == 'newer'

    def test_link(self, tmp_path):
        """What a link points to is left alone."""
        for name in ('old', 'new'):
            (tmp_path / name).mkdir()
            (tmp_path / name / name).touch()
        (tmp_path / 'out').symlink_to(tmp_path / 'old')
        publish(tmp_path / 'new', tmp_path / 'out', overwrite=True)
        assert not (tmp_path / 'out').is_symlink()
        assert [one.name for one in (tmp_path / 'out').iterdir()] == ['new']
        assert [one.name for one in (tmp_path / 'old').iterdir()] == ['old']

    def test_folder(self, tmp_path):
        """Nothing of a folder that is replaced is left in the new one."""
        for name in ('old', 'new'):
            (tmp_path / name).mkdir()
            (tmp_path / name / name).touch()
        publish(tmp_path / 'new', tmp_path / 'old', overwrite=True)
        assert [one.name for one in (tmp_path / 'old').iterdir()] == ['new']


class TestCatalogOptions:
    OTHERS = (
        {'threshold': 0.5},
        {'false_discovery_rate': 0.1},
        {'effective_gain': 2.0},
        {'zero_point': 25.0},
        {'aperture_correction': True},
    )

    def test_a_key_of_its_own(self):
        """What was measured with other options is not gone on with."""
        keys = {CatalogOptions(**options).key for options in ({}, *self.OTHERS)}
        assert len(keys) == 6
        assert CatalogOptions(zero_point=25.0).key in keys

    def test_promise(self):
        assert CatalogOptions().promise == {'false_discovery_rate': 0.05}
        assert CatalogOptions(threshold=0.5).promise == {'threshold': 0.5}

    def test_what_does_not_matter_is_not_checked(self):
        """With a threshold no rate of false discoveries is asked for."""
        options = CatalogOptions(threshold=0.5, false_discovery_rate=7)
        assert options.promise == {'threshold': 0.5}
        with pytest.raises(ValueError, match='false_discovery_rate must be'):
            CatalogOptions(false_discovery_rate=7)
