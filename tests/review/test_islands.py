"""Islands: what the clean-up removed and a reader may restore."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_bcp.review.cleanup import keep_largest
from napari_bcp.review.islands import most_likely, removed_islands, restore

SPACING = (3.0, 2.0, 1.0)

maps = st.integers(1, 3).flatmap(
    lambda classes: hnp.arrays(np.uint8, (classes, 4, 5, 6), elements=st.sampled_from([0, 0, 60, 130, 255]))
)


def probabilities(classes=1):
    return np.zeros((classes, 4, 6, 8), np.uint8)


def test_an_island_by_hand():
    """Three voxels in an L, .8 .6 .7; each 3 · 2 · 1 mm³."""
    found = probabilities()
    found[0, 0, 0, 0:4] = 255
    found[0, 2, 3, 5], found[0, 2, 4, 5], found[0, 2, 4, 6] = 204, 153, 179
    labels = keep_largest(most_likely(found, [7]), 7)
    (island,) = removed_islands(found, [7], labels, SPACING)
    assert (island.value, island.voxels) == (7, 3)
    assert island.volume_ml == pytest.approx(3 * 6 / 1000)
    assert island.mean_probability == pytest.approx((204 + 153 + 179) / 3 / 255)
    assert island.box == (slice(2, 3), slice(3, 5), slice(5, 7))
    assert island.centre == (2, 4, 5)
    assert island.indices.dtype == np.int64
    assert island.indices.tolist() == np.ravel_multi_index(([2] * 3, [3, 4, 4], [5, 5, 6]), labels.shape).tolist()


def test_the_largest_comes_first_and_not_more_than_asked():
    found = probabilities()
    found[0, 0, 0, 0] = found[0, 0, 2, 0:3] = found[0, 0, 4, 0:2] = 200
    nothing = np.zeros(found.shape[1:], np.uint8)
    assert [island.voxels for island in removed_islands(found, [1], nothing, SPACING)] == [3, 2, 1]
    assert [island.voxels for island in removed_islands(found, [1], nothing, SPACING, limit=2)] == [3, 2]


def test_what_the_reader_has_a_part_of_is_no_island():
    found = probabilities()
    found[0, 1, 1, 1:6] = 200
    labels = np.zeros(found.shape[1:], np.uint8)
    labels[1, 1, 3] = 1
    assert removed_islands(found, [1], labels, SPACING) == []


def test_another_class_on_an_island_is_not_offered():
    """What the reader has given to another class stays there."""
    found = probabilities(2)
    found[0, 1, 1, 1:4] = 200
    labels = np.zeros(found.shape[1:], np.uint8)
    labels[1, 1, 1] = 2
    (island,) = removed_islands(found, [1, 2], labels, SPACING)
    assert island.voxels == 2
    after = restore(labels, island)
    assert after[1, 1].tolist() == [0, 2, 1, 1, 0, 0, 0, 0]


def test_the_class_that_is_more_likely_has_the_voxel():
    found = probabilities(2)
    found[:, 0, 0, 0] = 100, 120  # the rest, 35, is background
    found[:, 0, 0, 1] = 90, 60  # background has 105
    found[:, 0, 0, 2] = 100, 100  # a tie: the first
    found[:, 0, 0, 3] = 85, 85  # a tie with background
    assert most_likely(found, [3, 5])[0, 0, :4].tolist() == [5, 0, 3, 0]


def test_one_class_needs_more_than_a_half():
    found = probabilities()
    found[0, 0, 0, :2] = 127, 128
    assert most_likely(found, [1])[0, 0, :2].tolist() == [0, 1]


@settings(max_examples=60, deadline=None)
@given(maps)
def test_restoring_all_islands_gives_the_map_back(found):
    """Whatever the clean-up removed; the input stays as it is."""
    values = range(1, len(found) + 1)
    likely = most_likely(found, values)
    cleaned = likely
    for value in values:
        cleaned = keep_largest(cleaned, value)
    islands = removed_islands(found, values, cleaned, SPACING, limit=1000)
    before = cleaned.copy()
    restored = cleaned
    for island in islands:
        assert np.all(restored[island.box].size >= island.voxels)
        assert island.indices[0] <= np.ravel_multi_index(island.centre, likely.shape) <= island.indices[-1]
        restored = restore(restored, island)
    np.testing.assert_array_equal(restored, likely)
    np.testing.assert_array_equal(cleaned, before)
    assert removed_islands(found, values, restored, SPACING) == []


@settings(max_examples=40, deadline=None)
@given(maps, st.lists(st.integers(0, 2), unique=True))
def test_islands_are_the_same_in_a_mirror(found, axes):
    def sizes(probabilities):
        nothing = np.zeros(probabilities.shape[1:], np.uint8)
        islands = removed_islands(probabilities, range(1, len(found) + 1), nothing, SPACING)
        return sorted((island.value, island.voxels, round(island.mean_probability, 9)) for island in islands)

    assert sizes(np.flip(found, [axis + 1 for axis in axes])) == sizes(found)


def test_a_large_island_has_its_centre_in_itself():
    """The middle of a ring is not part of it."""
    found = np.zeros((1, 1, 41, 41), np.uint8)
    y, x = np.indices((41, 41))
    found[0, 0, abs(np.hypot(y - 20, x - 20) - 15) < 2] = 255
    labels = np.zeros((1, 41, 41), np.uint8)
    (island,) = removed_islands(found, [1], labels, (1, 1, 1))
    assert found[0][island.centre] == 255
    assert math.isclose(island.mean_probability, 1)


def test_a_map_of_another_shape_or_number_of_classes_is_refused():
    with pytest.raises(ValueError, match="labels"):
        removed_islands(probabilities(), [1], np.zeros((4, 6, 7), np.uint8), SPACING)
    with pytest.raises(ValueError, match="2 classes, expected 1"):
        most_likely(probabilities(2), [1])
