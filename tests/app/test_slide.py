"""A border that follows a slider, worked out on another thread."""

import gc
import threading
import weakref

import numpy as np
import pytest

from napari_bcp.app.background import Background
from napari_bcp.app.edits import Edits
from napari_bcp.app.slide import BorderSlide
from napari_bcp.review.border import MovingBorder

SHAPE = (4, 10, 10)


class Case:
    """Labels of a box, and a map that falls off around it; counts what is worked out, and can make it wait."""

    def __init__(self):
        self.labels = np.zeros(SHAPE, np.uint8)
        self.labels[1:3, 4:6, 4:6] = 1
        self.probability = np.zeros(SHAPE, np.uint8)
        for reach, level in ((3, 60), (2, 120), (1, 180), (0, 240)):
            self.probability[:, 4 - reach : 6 + reach, 4 - reach : 6 + reach] = level
        self.edits = Edits(self.labels, lambda: pytest.fail("nothing is saved here"))
        self.editable, self.made, self.go_on = True, 0, threading.Event()
        self.go_on.set()

    def moving_border(self, value):
        self.go_on.wait()
        self.made += 1
        settled = self.edits.settled
        return MovingBorder(settled, settled, self.edits.base, self.probability, value)

    def border_name(self, value, level):
        return f"border of {value} at {level}"

    def settle_border(self, value, level, edit):
        self.edits.settle(self.border_name(value, level), edit)

    def width(self):
        return int((self.labels[1, 5] == 1).sum())


@pytest.fixture
def case():
    return Case()


@pytest.fixture
def slide():
    """A slide, and a function that waits until it is still."""
    problems = []
    background = Background(problems.append)
    made = BorderSlide(background, problems.append)

    def rest():
        still = []
        made.when_still(lambda: still.append(True))
        while not still:
            background.pump()

    made.rest, made.pump, made.problems = rest, background.pump, problems
    yield made
    background.close()
    assert problems == []


def test_levels_are_shown_as_they_come_and_the_last_is_one_edit(slide, case):
    for level, width in ((180, 4), (60, 8), (120, 6)):
        slide.move(case, 1, level, final=False)
        slide.rest()
        assert case.width() == width
        assert case.edits.operations == ()
    slide.move(case, 1, 60, final=True)
    slide.rest()
    assert case.edits.operations == ("border of 1 at 60",)
    assert case.made == 1, "what stays the same for every level is worked out once"
    case.edits.undo()
    assert case.width() == 2
    case.edits.redo()
    assert case.width() == 8


def test_of_levels_that_come_too_fast_the_last_is_shown_and_no_final_one_is_lost(slide, case):
    case.go_on.clear()
    for level, final in ((180, False), (120, False), (180, True), (60, False), (120, False)):
        slide.move(case, 1, level, final)
    case.go_on.set()
    slide.rest()
    assert case.edits.operations == ("border of 1 at 180",)
    assert case.width() == 6, "and the next slide goes on from there"
    case.edits.settle()
    assert len(case.edits.operations) == 2


def test_what_is_done_next_waits_for_the_border(slide, case):
    case.go_on.clear()
    slide.move(case, 1, 60, final=True)
    seen = []
    slide.when_still(lambda: seen.append(case.edits.operations))
    assert slide.moving
    assert seen == []
    case.go_on.set()
    slide.rest()
    assert seen == [("border of 1 at 60",)]
    assert not slide.moving


@pytest.mark.parametrize("between", ["stroke", "undo", "lock"])
def test_a_level_that_comes_too_late_is_not_shown(slide, case, between):
    case.edits.apply("paint", np.where(np.arange(10) == 0, np.uint8(2), case.labels))
    case.go_on.clear()
    slide.move(case, 1, 60, final=True)
    if between == "stroke":
        case.edits.apply("paint", np.where(np.arange(10) == 9, np.uint8(2), case.labels))
    elif between == "undo":
        case.edits.undo()
    else:
        case.editable = False
    done = case.edits.operations
    case.go_on.set()
    slide.rest()
    assert case.width() == 2
    assert case.edits.operations == done


def test_a_failure_is_told_and_the_next_level_is_shown(slide, case):
    case.probability = case.probability[:2]
    slide.move(case, 1, 60, final=False)
    slide.rest()
    assert len(slide.problems) == 1
    slide.problems.clear()
    case.probability = np.full(SHAPE, 200, np.uint8)
    slide.move(case, 1, 60, final=False)
    slide.rest()
    assert case.width() == 10


def test_a_case_that_was_left_is_let_go(slide):
    case = Case()
    slide.move(case, 1, 60, final=True)
    slide.rest()
    gone = weakref.ref(case)
    slide.forget()
    del case
    gc.collect()
    assert gone() is None
