"""Structures of several parts: counted in masks, kept by the clean-up."""

import numpy as np
import pytest

from napari_bcp.method.pseudo_labels import count_parts, keep_largest

LEFT, RIGHT, THIRD, SPECK = slice(0, 10), slice(12, 20), slice(22, 26), slice(28, 29)  # of a line: 10, 8, 4, 1 voxels


@pytest.fixture
def line():
    made = np.zeros((1, 1, 40), np.uint8)
    for part in (LEFT, RIGHT, THIRD, SPECK):
        made[..., part] = 3
    made[..., 35:] = 7
    return made


def kept(line, parts):
    cleaned, removed = keep_largest(line, parts=parts)
    assert (cleaned[..., 35:] == 7).all()
    assert (line == 3).sum() - (cleaned == 3).sum() == sum(removed.get(3, []))
    return [bool(cleaned[..., part].all()) for part in (LEFT, RIGHT, THIRD, SPECK)], removed.get(3)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (None, ([True, False, False, False], [8, 4, 1])),
        ({7: 2}, ([True, False, False, False], [8, 4, 1])),
        ({3: 2}, ([True, True, False, False], [4, 1])),
        ({3: 4}, ([True, True, True, True], None)),
    ],
)
def test_as_many_components_stay_as_the_class_has_parts(line, parts, expected):
    assert kept(line, parts) == expected


def test_a_speck_is_no_part_however_many_parts_the_class_has(line):
    line[..., 29:33] = 0
    line[..., 10:12] = 3  # the first two become one of twenty voxels
    assert kept(line, {3: 9}) == ([True, True, True, False], [1])


def test_parts_are_counted_without_specks(line):
    line[..., 10:12] = 3
    assert count_parts(line) == {3: 2, 7: 1}
    assert count_parts(np.zeros_like(line)) == {}


def test_parts_that_touch_at_a_corner_are_one_where_corners_join():
    corner = np.zeros((4, 4), np.uint8)
    corner[:2, :2] = corner[2:, 2:] = 1
    assert count_parts(corner) == {1: 1}
    assert count_parts(corner, "edge") == {1: 1}
    assert count_parts(corner, "face") == {1: 2}
