"""The border that follows a level of the map."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_bcp.review.border import MovingBorder
from napari_bcp.review.cleanup import attached, threshold

SHAPE = (5, 7, 9)


def seeded(seed):
    """Labels, what they would be without the reader's strokes, the proposal, and a map that is zero in half of it."""
    rng = np.random.default_rng(seed)
    labels, expected, proposal = (rng.choice([0, 0, 0, 1, 2], SHAPE).astype(np.uint8) for _ in range(3))
    expected = np.where(rng.random(SHAPE) < 0.8, labels, expected)
    probability = np.where(rng.random(SHAPE) < 0.5, rng.integers(0, 256, SHAPE), 0).astype(np.uint8)
    for array in (labels, proposal, probability):
        array[:, :, int(rng.integers(2, 9)) :] = 0
    return labels, expected, proposal, probability


@given(st.integers(0, 10_000), st.sampled_from([1, 2]), st.integers(1, 255))
@settings(deadline=None)
def test_in_its_box_the_border_is_what_the_whole_scan_would_give(seed, value, level):
    labels, expected, proposal, probability = seeded(seed)
    border = MovingBorder(labels, expected, proposal, probability, value)
    after = threshold(labels, probability, value, level, pinned=labels != expected)
    whole = attached(labels, after, value, proposal)
    result = labels.copy()
    if border.box is not None:
        result[border.box] = border.at(level)
        np.testing.assert_array_equal(border.labels, labels[border.box])
    np.testing.assert_array_equal(result, whole)


def test_a_class_of_which_there_is_nothing_anywhere_has_no_border():
    nothing = np.zeros(SHAPE, np.uint8)
    assert MovingBorder(nothing, nothing, nothing, nothing, 1).box is None


@pytest.mark.parametrize("level", [0, 256])
def test_a_level_that_no_probability_can_have_is_refused(level):
    some = np.ones(SHAPE, np.uint8)
    with pytest.raises(ValueError, match="expected 1 to 255"):
        MovingBorder(some, some, some, some, 1).at(level)
