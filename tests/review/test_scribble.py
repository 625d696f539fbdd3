"""Borders that follow a scribble, and brushes that keep to map and grey values."""

import numpy as np
import pytest

from napari_bcp.review.scribble import follow_scribble, grey_agrees, map_agrees, scribble_box

SPACING = (1.0, 1.0, 1.0)
SHAPE = (9, 40, 40)


def ball(radius, centre=(4, 20, 20)):
    places = np.indices(SHAPE)
    return sum((place - middle) ** 2 for place, middle in zip(places, centre, strict=True)) <= radius**2


@pytest.fixture
def atlas():
    """A cylinder of which the map has found the left half with certainty and suspects the right one."""
    _, y, x = np.indices(SHAPE)
    whole = (y - 20) ** 2 + (x - 20) ** 2 <= 100
    scan = np.where(whole, 100, 20).astype(np.float32)
    probability = np.where(whole, np.where(x < 20, 250, 90), 3).astype(np.uint8)
    labels = (probability >= 128).astype(np.uint8)
    return whole, scan, probability, labels


def drawn(*place):
    scribble = np.zeros(SHAPE, bool)
    scribble[place] = True
    return scribble


def test_a_line_inside_brings_what_the_map_suspects_in_the_slices_around_too(atlas):
    whole, scan, probability, labels = atlas
    after = follow_scribble(labels, 1, drawn(4, 20, slice(21, 29)), True, scan, probability, SPACING)
    gained = (after == 1) & (labels == 0)
    assert not np.any(gained & ~whole)
    assert set(np.flatnonzero(gained.any(axis=(1, 2)))) >= {3, 4, 5}
    assert np.count_nonzero(gained[4]) > 3 * 8  # eight are scribbled
    assert np.all(after[labels == 1] == 1)


def test_a_line_outside_takes_what_the_map_doubts(atlas):
    _, scan, _, _ = atlas
    wide = ball(9)
    probability = np.where(wide, 250, 3).astype(np.uint8)
    probability[:, :, 24:] = np.minimum(probability[:, :, 24:], 150)
    labels = (probability >= 128).astype(np.uint8)
    after = follow_scribble(labels, 1, drawn(4, slice(17, 24), 26), False, np.zeros_like(scan), probability, SPACING)
    lost = (labels == 1) & (after == 0)
    assert np.all(after[4, 17:24, 26] == 0)
    assert lost[:, :, 24:].sum() > 20
    assert not lost[:, :, :22].any()
    assert not np.any((after == 1) & (labels == 0))


def test_without_a_map_grey_values_lead(atlas):
    whole, scan, _, _ = atlas
    noise = np.random.default_rng(0).normal(0, 3, SHAPE).astype(np.float32)
    labels = np.zeros(SHAPE, np.uint8)
    after = follow_scribble(labels, 1, drawn(4, 20, slice(14, 27)), True, scan + noise, None, SPACING)
    assert np.all(after[4, 20, 14:27] == 1)
    assert np.count_nonzero(after[~whole]) == 0


def test_other_classes_stay_but_for_what_is_scribbled_over(atlas):
    _, scan, probability, labels = atlas
    labels[:, 22:, 20:] = 2
    scribble = drawn(4, slice(18, 24), 24)
    after = follow_scribble(labels, 1, scribble, True, scan, probability, SPACING)
    assert np.all(after[scribble] == 1)
    assert np.all(after[(labels == 2) & ~scribble] == 2)


def test_nothing_changes_without_a_scribble_or_outside_its_box(atlas):
    _, scan, probability, labels = atlas
    nothing = np.zeros(SHAPE, bool)
    assert np.array_equal(follow_scribble(labels, 1, nothing, True, scan, probability, SPACING), labels)
    tight = (slice(4, 5), slice(20, 21), slice(21, 29))
    box = scribble_box(tight, SPACING, SHAPE)
    after = follow_scribble(labels, 1, drawn(*tight), True, scan, probability, SPACING)
    after[box] = labels[box]
    assert np.array_equal(after, labels)


def test_a_constant_scan_and_one_voxel_are_enough():
    labels, scan = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.float32)
    after = follow_scribble(labels, 1, drawn(0, 0, 0), True, scan, np.zeros(SHAPE, np.uint8), (5.0, 0.5, 0.5))
    assert after[0, 0, 0] == 1


def test_a_brush_that_keeps_to_the_map():
    before = np.array([0, 0, 1, 1, 2], np.uint8)
    chance = np.array([10, 40, 240, 100, 240], np.uint8)
    assert map_agrees(before, 1, chance, paint=True).tolist() == [False, True, True, True, True]
    assert map_agrees(before, 1, chance, paint=False).tolist() == [True, True, False, True, True]


def test_a_brush_that_keeps_to_grey_values():
    scan = np.array([100, 104, 120, 300], np.float32)
    start = np.array([99, 100, 101, 100], np.float32)
    assert grey_agrees(scan, start, (0, 100)).tolist() == [True, True, False, False]
    assert grey_agrees(scan, start, (0, 400)).tolist() == [True, True, True, False]
