"""The surroundings of a structure."""

import numpy as np
import pytest

from napari_bcp.metrics import near


def test_the_surroundings_reach_the_margin_along_every_axis_and_end_at_the_array():
    mask = np.zeros((9, 9), np.uint8)
    mask[1, 4] = 3
    expected = np.zeros((9, 9), bool)
    expected[0:4, 2:7] = True
    np.testing.assert_array_equal(near(mask, 2), expected)


def test_a_margin_of_zero_is_the_mask_itself():
    mask = np.random.default_rng(0).random((4, 5, 6)) > 0.7
    np.testing.assert_array_equal(near(mask, 0), mask)


def test_nothing_has_no_surroundings():
    assert not near(np.zeros((5, 5, 5)), 3).any()


def test_a_negative_margin_is_refused():
    with pytest.raises(ValueError, match="margin"):
        near(np.ones((2, 2)), -1)
