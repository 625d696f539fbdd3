"""Active time only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_bcp.review.effort import Stopwatch


def seconds_after(*touches, **options):
    watch = Stopwatch(**options)
    for now in touches:
        watch.touch(now)
    return watch.seconds


def test_it_begins_with_the_first_touch():
    assert seconds_after() == seconds_after(1e6) == 0.0
    assert seconds_after(100.0, 110.0, 115.5) == 15.5


def test_a_pause_does_not_count():
    assert seconds_after(0.0, 10.0, 600.0, 605.0) == 15.0
    assert seconds_after(0.0, 30.0) == 30.0
    assert seconds_after(0.0, 30.1) == 0.0
    assert seconds_after(0.0, 30.0, idle_s=29.0) == 0.0


def test_a_clock_that_goes_back_takes_nothing_away():
    assert seconds_after(10.0, 15.0, 5.0, 8.0) == 8.0


@given(st.lists(st.floats(0, 30), max_size=20))
def test_without_a_pause_it_is_the_time_from_first_to_last(gaps):
    touches = [sum(gaps[:index]) for index in range(len(gaps) + 1)]
    assert seconds_after(*touches, idle_s=31.0) == pytest.approx(sum(gaps))
