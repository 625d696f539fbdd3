"""What a reader changed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_bcp.review.changes import dice_between, differences

pairs = st.tuples(*[hnp.arrays(np.uint8, (2, 3, 4), elements=st.integers(0, 3))] * 2)


def line(*values):
    return np.array([[values]], np.uint8)


def test_differences_by_hand():
    before, after = line(0, 0, 1, 1, 2, 3), line(1, 0, 1, 0, 1, 3)
    assert differences(before, after) == {1: (2, 1), 2: (0, 1)}


@settings(max_examples=50, deadline=None)
@given(pairs)
def test_differences_add_up(pair):
    """Class by class; backwards, what was added is what is taken away."""
    before, after = pair
    found = differences(before, after)
    for value in (1, 2, 3):
        added, removed = found.get(value, (0, 0))
        assert added - removed == np.count_nonzero(after == value) - np.count_nonzero(before == value)
    assert differences(after, before) == {value: (removed, added) for value, (added, removed) in found.items()}
    assert differences(before, before) == {}


def test_dice_by_hand_without_the_class_that_nobody_has():
    before, after = line(1, 1, 1, 2, 0, 0), line(1, 1, 0, 0, 0, 4)
    assert dice_between(before, after, [1, 2, 3, 4]) == {1: pytest.approx(2 * 2 / 5), 2: 0.0, 4: 0.0}


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="before"):
        differences(line(1, 2), line(1, 2, 3))
    with pytest.raises(ValueError, match="before"):
        dice_between(line(1, 2), line(1, 2, 3), [1])
