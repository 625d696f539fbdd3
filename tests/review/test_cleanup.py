"""Clean-up of one class."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from napari_bcp.metrics import dice
from napari_bcp.review.cleanup import attached, fill_holes, keep_largest, smooth, threshold

SPACING = (3.0, 0.8, 0.8)
some_labels = hnp.arrays(
    np.uint8, hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=7), elements=st.sampled_from([0, 0, 1, 2])
)
flips = st.lists(st.integers(0, 2), unique=True)
cleanups = st.sampled_from(
    [
        fill_holes,
        lambda labels, value: fill_holes(labels, value, axis=None),
        keep_largest,
        lambda labels, value: smooth(labels, value, SPACING),
        lambda labels, value: threshold(labels, np.full_like(labels, 100), value, 90),
        lambda labels, value: threshold(labels, np.full_like(labels, 100), value, 110),
    ]
)


def blank(*shape):
    return np.zeros(shape, np.uint8)


def distances(shape, spacing=SPACING):
    """Each voxel's distance to the middle of an array, mm."""
    lines = [(np.arange(size) - (size - 1) / 2) * mm for size, mm in zip(shape, spacing, strict=True)]
    return np.sqrt(sum(line**2 for line in np.meshgrid(*lines, indexing="ij")))


@settings(max_examples=150, deadline=None)
@given(some_labels, cleanups, st.integers(1, 3))
def test_the_input_and_other_classes_stay(labels, cleanup, value):
    """A class that is not there is no matter either."""
    before = labels.copy()
    after = cleanup(labels, value)
    np.testing.assert_array_equal(labels, before)
    assert after is not labels
    assert not np.shares_memory(after, labels)
    assert after.dtype == np.uint8
    others = (before != 0) & (before != value)
    np.testing.assert_array_equal(after[others], before[others])
    assert set(np.unique(after)) <= {*np.unique(before), 0, value}


@settings(max_examples=100, deadline=None)
@given(some_labels, flips, st.sampled_from([0, 1, 2, None]))
def test_holes_are_the_same_in_a_mirror_and_filled_once(labels, axes, axis):
    filled = fill_holes(labels, 1, axis)
    np.testing.assert_array_equal(np.flip(filled, axes), fill_holes(np.flip(labels, axes), 1, axis))
    np.testing.assert_array_equal(fill_holes(filled, 1, axis), filled)
    assert np.all(filled[labels == 1] == 1)


@settings(max_examples=100, deadline=None)
@given(some_labels, flips)
def test_smoothing_is_the_same_in_a_mirror(labels, axes):
    np.testing.assert_array_equal(np.flip(smooth(labels, 1, SPACING), axes), smooth(np.flip(labels, axes), 1, SPACING))


@settings(max_examples=100, deadline=None)
@given(some_labels)
def test_what_is_left_is_the_largest_component(labels):
    after = keep_largest(labels, 1)
    parts, count = ndimage.label(labels == 1, np.ones((3, 3, 3)))
    left, components = ndimage.label(after == 1, np.ones((3, 3, 3)))
    assert components == min(count, 1)
    assert np.count_nonzero(left) == np.bincount(parts.ravel())[1:].max(initial=0)
    np.testing.assert_array_equal(keep_largest(after, 1), after)


def test_the_largest_component_stays_with_what_touches_it_at_a_corner():
    labels = blank(4, 4, 6)
    labels[0, 0, :2] = 1
    labels[1, 1, 2] = 1  # at a corner of the first two: three in all
    labels[3, 3, 4:] = 1  # two
    labels[3, 0, 0] = 2
    after = keep_largest(labels, 1)
    assert np.argwhere(after == 1).tolist() == [[0, 0, 0], [0, 0, 1], [1, 1, 2]]
    assert after[3, 0, 0] == 2


def test_of_equal_components_the_first_stays():
    labels = blank(3, 3, 3)
    labels[0, 0, 0] = labels[2, 2, 2] = 1
    assert np.argwhere(keep_largest(labels, 1)).tolist() == [[0, 0, 0]]


def test_a_pipe_is_closed_in_its_slices_but_not_on_all_sides():
    """Along z: an axial slice shows a ring, a coronal one two bars."""
    pipe = blank(4, 5, 5)
    pipe[:, 1:4, 1:4] = 1
    pipe[:, 2, 2] = 0
    full = pipe.copy()
    full[:, 2, 2] = 1
    np.testing.assert_array_equal(fill_holes(pipe, 1), full)
    np.testing.assert_array_equal(fill_holes(pipe, 1, axis=1), pipe)
    np.testing.assert_array_equal(fill_holes(pipe, 1, axis=None), pipe)
    np.testing.assert_array_equal(fill_holes(pipe.transpose(2, 1, 0), 1, axis=2), full.transpose(2, 1, 0))


@pytest.mark.parametrize("axis", [0, 1, 2, None])
def test_a_closed_cavity_is_filled_whatever_the_slices(axis):
    cavity = blank(5, 5, 5)
    cavity[1:4, 1:4, 1:4] = 1
    full = cavity.copy()
    cavity[2, 2, 2] = 0
    np.testing.assert_array_equal(fill_holes(cavity, 1, axis), full)


def test_a_notch_at_the_border_of_the_scan_is_no_hole():
    notched = blank(1, 3, 3)
    notched[0] = 1
    notched[0, 1, 0] = 0
    np.testing.assert_array_equal(fill_holes(notched, 1), notched)


def test_a_hole_of_the_chamber_is_not_filled_with_its_wall():
    """The wall takes the gap beside it; the hole that only the chamber knows stays."""
    wall = blank(1, 9, 9)
    wall[0, 1:8, 1:8] = 1
    wall[0, 2:7, 2:7] = 2
    wall[0, 4, 4] = 0
    gap = wall.copy()
    gap[0, 2, 2] = 0
    of_wall, of_chamber = gap.copy(), gap.copy()
    of_wall[0, 2, 2] = 1
    of_chamber[0, 4, 4] = 2
    np.testing.assert_array_equal(fill_holes(gap, 1), of_wall)
    np.testing.assert_array_equal(fill_holes(gap, 2), of_chamber)


@pytest.mark.parametrize("radius_mm", [1.0, 1.5, 3.0])
def test_smoothing_brings_a_rough_ball_nearer_to_the_ball(radius_mm):
    random = np.random.default_rng(0)
    distance = distances((24, 72, 72))
    noise = ndimage.gaussian_filter(random.normal(size=distance.shape), (0.3, 1, 1))
    ball = distance < 22
    rough = ndimage.binary_opening(distance + 1.5 * noise / noise.std() < 22).astype(np.uint8)
    smoothed = smooth(rough, 1, SPACING, radius_mm)
    assert dice(smoothed, ball) > dice(rough, ball) + 0.005
    assert np.count_nonzero(smoothed) == pytest.approx(np.count_nonzero(rough), rel=0.01)
    again = smooth(smoothed, 1, SPACING, radius_mm)
    assert dice(again, smoothed) > 0.99


@pytest.mark.parametrize("diameter_mm", [3.0, 6.0])
@pytest.mark.parametrize("radius_mm", [1.0, 2.0, 3.0])
def test_a_thin_vessel_does_not_shrink(diameter_mm, radius_mm):
    """Also where it is thinner than the blur is wide, and at the border of the scan, where it goes on."""
    vessel = np.broadcast_to(distances((1, 40, 40)) < diameter_mm / 2, (12, 40, 40)).astype(np.uint8)
    smoothed = smooth(vessel, 1, SPACING, radius_mm)
    assert dice(smoothed, vessel) > 0.97
    across = np.count_nonzero(smoothed, axis=(1, 2))
    assert across == pytest.approx(np.full(12, np.count_nonzero(vessel[0])), rel=0.05)


def test_smoothing_keeps_a_lesion_of_a_few_voxels():
    labels = blank(10, 30, 30)
    labels[2:8, 5:20, 5:20] = 1
    labels[4, 25, 25:27] = 1
    smoothed = smooth(labels, 1, (1, 1, 1), 4.0)
    np.testing.assert_array_equal(smoothed[4, 25, 25:27], 1)


def test_smoothing_measures_in_mm():
    """A spike of 2.4 mm, three voxels across in the plane, goes; of 9 mm, three slices high, it stays."""
    base = blank(30, 40, 40)
    base[10:20, 10:30, 10:30] = 1
    flat, high = base.copy(), base.copy()
    flat[15, 20, 30:33] = 1
    high[20:23, 18:23, 18:23] = 1
    assert smooth(flat, 1, SPACING, 1.6)[15, 20, 31:33].max() == 0
    assert smooth(high, 1, SPACING, 1.6)[20:22, 20, 20].min() == 1


def test_smoothing_opens_no_gap_between_two_classes():
    """A ball of two halves: the flat side between them is an edge to none of the two."""
    ball = distances((20, 40, 40), (1, 1, 1)) < 9
    labels = ball.astype(np.uint8)
    labels[:, :, 20:][ball[:, :, 20:]] = 2
    smoothed = smooth(smooth(labels, 1, (1, 1, 1), 2.0), 2, (1, 1, 1), 2.0)
    inner = distances((20, 40, 40), (1, 1, 1)) < 8
    np.testing.assert_array_equal(smoothed[inner], labels[inner])


def test_no_radius_means_no_change():
    labels = np.random.default_rng(0).integers(0, 2, (5, 6, 7)).astype(np.uint8)
    np.testing.assert_array_equal(smooth(labels, 1, SPACING, 0.0), labels)


def test_the_border_follows_the_map():
    labels = np.array([[[0, 0, 1, 1, 2, 2]]], np.uint8)
    probability = np.array([[[90, 100, 99, 100, 200, 0]]], np.uint8)
    assert threshold(labels, probability, 1, 100).tolist() == [[[0, 1, 0, 1, 2, 2]]]


def test_what_is_pinned_does_not_follow_the_map():
    labels = np.array([[[0, 0, 1, 1]]], np.uint8)
    probability = np.array([[[200, 200, 10, 10]]], np.uint8)
    pinned = np.array([[[True, False, True, False]]])
    assert threshold(labels, probability, 1, 100, pinned).tolist() == [[[0, 1, 1, 0]]]


@settings(max_examples=60, deadline=None)
@given(some_labels, st.integers(0, 255), st.integers(0, 255), st.integers(0, 99))
def test_a_lower_level_gives_more(labels, one, other, seed):
    """And where the border lies does not depend on where it was before."""
    probability = np.random.default_rng(seed).integers(0, 256, labels.shape).astype(np.uint8)
    low, high = sorted((one, other))
    wide, narrow = threshold(labels, probability, 1, low), threshold(labels, probability, 1, high)
    assert np.all((wide == 1) | (narrow != 1))
    np.testing.assert_array_equal(threshold(wide, probability, 1, high), narrow)


def test_a_map_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="another shape"):
        threshold(blank(2, 2, 2), blank(2, 2, 3), 1, 100)
    with pytest.raises(ValueError, match="another shape"):
        threshold(blank(2, 2, 2), blank(2, 2, 2), 1, 100, np.zeros((2, 2), bool))


@pytest.mark.parametrize("level", [-1, 256])
def test_a_level_out_of_range_is_refused(level):
    with pytest.raises(ValueError, match="0 to 255"):
        threshold(blank(1, 1, 1), blank(1, 1, 1), 1, level)


def test_what_a_class_wins_away_from_where_it_was_is_given_back():
    before = np.zeros((3, 3, 9), np.uint8)
    before[1, 1, 1] = 1
    after = before.copy()
    after[1, 1, 2] = after[1, 1, 6] = 1
    np.testing.assert_array_equal(np.argwhere(attached(before, after, 1) == 1)[:, 2], [1, 2])
    anchor = np.zeros_like(before)
    anchor[1, 1, 6] = 1
    np.testing.assert_array_equal(attached(before, after, 1, anchor), after)
    nothing = np.zeros_like(before)
    np.testing.assert_array_equal(attached(nothing, after, 1), after)
