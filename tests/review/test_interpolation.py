"""Shapes between painted slices."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_bcp.review.interpolate import interpolate_between, painted_slices

SHAPE = (12, 30, 30)
pictures = hnp.arrays(bool, (7, 8))


def discs(**radius_at):
    """Labels with a disc of class 1 in some slices: z3=5 has radius 5 in slice 3."""
    labels = np.zeros(SHAPE, np.uint8)
    y, x = np.indices(SHAPE[1:])
    for name, radius in radius_at.items():
        labels[int(name[1:])][np.hypot(y - 15, x - 15) <= radius] = 1
    return labels


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_painted_slices(axis):
    labels = np.moveaxis(discs(z2=3, z5=0, z9=1), 0, axis)
    assert painted_slices(labels, 1, axis) == [2, 5, 9]
    assert painted_slices(labels, 2, axis) == []


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_cone_grows_slice_by_slice(axis):
    labels = discs(z2=4, z8=10)
    cone = np.moveaxis(labels, 0, axis)
    filled = np.moveaxis(interpolate_between(cone, 1, axis, [2, 8]), axis, 0)
    for index in range(3, 8):
        expected = np.pi * (4 + (index - 2)) ** 2
        assert np.count_nonzero(filled[index]) == pytest.approx(expected, rel=0.08)
    untouched = [0, 1, 2, 8, 9, 10, 11]
    np.testing.assert_array_equal(filled[untouched], labels[untouched])
    assert painted_slices(labels, 1, 0) == [2, 8]


def test_equal_slices_are_repeated():
    filled = interpolate_between(discs(z1=6, z5=6), 1, 0, [1, 5])
    np.testing.assert_array_equal(filled[1:6], np.broadcast_to(filled[1], (5, 30, 30)))


def test_each_gap_is_filled_from_its_own_neighbours():
    filled = interpolate_between(discs(z0=3, z2=3, z4=9), 1, 0, [0, 2, 4])
    sizes = np.count_nonzero(filled, axis=(1, 2))
    assert sizes[0] == sizes[1] == sizes[2] < sizes[3] < sizes[4]
    assert not sizes[5:].any()


def test_a_slice_that_does_not_hold_the_class_is_no_shape():
    filled = interpolate_between(discs(z1=5, z5=5), 1, 0, [0, 1, 3, 5, 11])
    assert painted_slices(filled, 1, 0) == [1, 2, 3, 4, 5]


def test_other_classes_stay():
    labels = discs(z1=6, z5=6)
    labels[3, 10:20, 15] = 2
    filled = interpolate_between(labels, 1, 0, [1, 5])
    np.testing.assert_array_equal(filled == 2, labels == 2)
    assert np.count_nonzero(filled[3] == 1) == np.count_nonzero(labels[1]) - 10


def test_what_lay_between_is_replaced():
    """Two slices were mended; what the model had in between is not kept beside the new shape."""
    labels = discs(z1=5, z3=12, z5=5)
    filled = interpolate_between(labels, 1, 0, [1, 5])
    np.testing.assert_array_equal(filled[3], labels[1])


@pytest.mark.parametrize("axis", [0, 1])
def test_an_oblique_vessel_moves_along(axis):
    """Its discs do not overlap; half way it is a disc as large, half way between."""
    labels = np.zeros((5, 40, 60), np.uint8)
    y, x = np.indices((40, 60))
    labels[0][np.hypot(y - 10, x - 10) <= 4] = 1
    labels[4][np.hypot(y - 30, x - 50) <= 4] = 1
    turned = np.moveaxis(labels, 0, axis)
    filled = np.moveaxis(interpolate_between(turned, 1, axis, [0, 4], (1, 1, 1)), axis, 0)
    for index in (1, 2, 3):
        expected = np.hypot(y - (10 + 5 * index), x - (10 + 10 * index)) <= 4
        np.testing.assert_array_equal(filled[index] == 1, expected)


@given(st.tuples(*[st.integers(0, 6)] * 4))
def test_one_voxel_moves_to_another(places):
    """It never fades away, and is never two."""
    labels = np.zeros((6, 7, 7), np.uint8)
    labels[0][places[:2]] = labels[5][places[2:]] = 1
    filled = interpolate_between(labels, 1, 0, [0, 5])
    steps = np.diff(np.argwhere(filled)[:, 1:], axis=0)
    assert len(steps) == 5
    assert abs(steps).max() <= 2


def test_distances_are_measured_in_mm():
    """Half way from a dot to a row of 21 voxels: in mm the row's ends are as far as they look, or five times."""
    labels = np.zeros((3, 41, 41), np.uint8)
    labels[0, 18:23, 18:23] = 1
    labels[2, 18:23, 5:36] = 1
    plain = interpolate_between(labels, 1, 0, [0, 2])
    stretched = interpolate_between(labels, 1, 0, [0, 2], (1.0, 1.0, 5.0))
    assert np.count_nonzero(stretched[1]) < np.count_nonzero(plain[1])
    np.testing.assert_array_equal(stretched, interpolate_between(labels, 1, 0, [0, 2], (9.0, 2.0, 10.0)))


@settings(max_examples=80, deadline=None)
@given(pictures, pictures, st.lists(st.integers(0, 2), unique=True))
def test_in_between_there_is_what_both_have_and_nothing_that_is_far(first, last, axes):
    labels = np.zeros((4, *first.shape), np.uint8)
    labels[0], labels[3] = first, last
    filled = interpolate_between(labels, 1, 0, [0, 3])
    np.testing.assert_array_equal(filled[[0, 3]], labels[[0, 3]])
    flipped = interpolate_between(np.flip(labels, axes), 1, 0, [0, 3])
    if np.any(first & last) or not (first.any() and last.any()):
        np.testing.assert_array_equal(np.flip(flipped, axes), filled)
    if np.any(first & last):
        assert np.all(filled[1:3][:, first & last] == 1)
        assert not np.any(filled[1:3][:, ~(first | last)])
    elif not (first.any() and last.any()):
        assert not filled[1:3].any()


def test_neighbours_and_single_slices_leave_all_as_it_is():
    labels = discs(z3=4, z4=8)
    np.testing.assert_array_equal(interpolate_between(labels, 1, 0, [3, 4]), labels)
    np.testing.assert_array_equal(interpolate_between(labels, 1, 0, [3]), labels)
    np.testing.assert_array_equal(interpolate_between(labels, 1, 0, []), labels)


def test_a_slice_that_there_is_not():
    with pytest.raises(IndexError):
        interpolate_between(discs(z3=4), 1, 0, [3, 12])
