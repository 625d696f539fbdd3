"""Where a map is unsure."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_bcp.review.uncertainty import entropy, entropy_nats


def at(*voxels):
    """A map of some voxels, each given by its probabilities."""
    return np.array(voxels, np.uint8).T[:, None, None, :]


def test_the_background_counts_as_a_class():
    """A fifth against four, and three equal parts."""
    fifth = -(0.2 * math.log(0.2) + 0.8 * math.log(0.8))
    assert entropy_nats(at([51]))[0, 0] == pytest.approx(fifth, abs=1e-6)
    assert entropy_nats(at([85, 85]))[0, 0] == pytest.approx(math.log(3), abs=1e-6)
    assert entropy(at([51], [204])).tolist() == [[[round(255 * fifth / math.log(2))] * 2]]
    assert entropy(at([85, 85], [255, 0], [0, 0], [0, 255])).tolist() == [[[255, 0, 0, 0]]]


def test_rounding_may_give_a_little_more_than_everything():
    assert entropy(at([128, 128])).tolist() == [[[round(255 * math.log(2) / math.log(3))]]]


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(np.uint8, (2, 3, 4, 5), elements=st.integers(0, 127)), st.permutations(range(3)))
def test_neither_the_axes_nor_the_classes_have_an_order(probabilities, axes):
    turned = probabilities[::-1].transpose(0, *(axis + 1 for axis in axes))
    np.testing.assert_array_equal(entropy(turned), entropy(probabilities).transpose(axes))
