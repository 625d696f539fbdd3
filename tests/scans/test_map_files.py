"""Map files: read back as written, in parts, and nothing believed that is damaged."""

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_bcp.errors import ScanError
from napari_bcp.scans.maps import MapFile, MapWriter

SHAPE = (12, 10, 40)


@pytest.fixture(scope="module")
def chances():
    """Of two classes, (classes, x, y, z) uint8."""
    return np.random.default_rng(0).integers(0, 256, (2, *SHAPE)).astype(np.uint8)


@pytest.fixture(scope="module")
def file(chances, tmp_path_factory):
    path = tmp_path_factory.mktemp("maps") / "a.b2nd"
    writer = MapWriter(SHAPE, [1, 5])
    for z in range(0, 40, 7):
        writer.add(z, chances[..., z : z + 7])
    writer.save(path, {"run": "0002", "step": 40})
    return path


def test_a_map_is_read_back_as_it_was_written_whole_and_in_parts(file, chances):
    found = MapFile(file, SHAPE)
    assert (found.classes, found.shape, found.facts["run"]) == ((1, 5), SHAPE, "0002")
    np.testing.assert_array_equal(found.read_all(), chances)
    np.testing.assert_array_equal(found.read(5), chances[1])
    box = (slice(2, 9), slice(0, 3), slice(15, 33))
    np.testing.assert_array_equal(found.read(1, box), chances[0][box])


@pytest.mark.parametrize("classes", [range(1000), [0, 1], [1, 256]])
def test_a_map_of_classes_that_no_mask_can_hold_is_refused(tmp_path, classes):
    MapWriter((2, 2, 2), classes).save(tmp_path / "a.b2nd", {})
    with pytest.raises(ScanError, match=r"a\.b2nd is no map"):
        MapFile(tmp_path / "a.b2nd")


def test_a_map_of_another_scan_is_refused(file):
    with pytest.raises(ScanError, match=r"a\.b2nd is no map"):
        MapFile(file, (12, 10, 41))


PLACES = st.floats(0, 1, exclude_max=True)


@given(changes=st.lists(st.tuples(PLACES, st.integers(1, 255)), max_size=4), keep=st.floats(0, 1))
@settings(deadline=None, max_examples=60)
def test_any_damage_ends_in_a_map_or_a_refusal(file, changes, keep):
    content = bytearray(file.read_bytes())
    for place, value in changes:
        content[int(place * len(content))] ^= value
    broken = file.with_name("broken.b2nd")
    broken.write_bytes(content[: max(1, int(keep * len(content)))] if changes and keep < 0.5 else content)
    with suppress(ScanError):
        found = MapFile(broken, SHAPE)
        assert found.read_all().shape == (len(found.classes), *SHAPE)
