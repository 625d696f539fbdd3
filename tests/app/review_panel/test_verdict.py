"""The verdict on a case: what is asked before something is lost, and what a case that is locked offers."""

import numpy as np
import pytest
from canvas_cases import HandMadeCase
from qtpy.QtGui import QKeySequence
from review_hands import keyed
from strokes import press, roll

from napari_bcp.app.panels.review_keys import KEYS


def pressed(name):
    """Return key and modifiers of an action."""
    combination = QKeySequence(KEYS[name][0])[0]
    return combination.key(), combination.keyboardModifiers()


@pytest.mark.parametrize("name", ["accept", "accept and next", "reject", "reopen"])
def test_a_verdict_is_not_repeated_while_its_key_is_held(panel, name):
    [found] = [one for one in panel._shortcuts._all if one.keys() == [QKeySequence(key) for key in KEYS[name]]]
    assert not found.autoRepeat()


def test_empty_labels_are_accepted_only_once_that_is_said(alone, session, click):
    _, panel = alone
    case = session.current
    case.edits.apply("clear", np.zeros_like(case.labels))
    keyed(panel, "accept and next")
    assert session.done == []
    assert "case_a are empty" in panel.verdict.question._text.text()
    click(panel.verdict.question._yes)
    assert session.done == [("accept", True)]


def test_a_mask_in_force_is_rejected_only_once_that_is_said(alone, session, click):
    """A reopened case: nobody has edited yet, and what would go is the mask."""
    _, panel = alone
    session.change(status="draft", mask_version=3)
    click(panel.verdict.reject)
    assert session.done == []
    assert "mask, version 3, will no longer count" in panel.verdict.question._text.text()
    click(panel.verdict.question._yes)
    assert session.done == [("reject",)]


def test_an_excluded_case_says_so_and_can_be_included(alone, session, click):
    _, panel = alone
    session.open(HandMadeCase("case_bb", status="excluded"))
    assert panel._source.text().startswith("Excluded")
    assert not panel.verdict.reopen.isVisible()
    assert not panel.verdict.accept.isVisible()
    click(panel.verdict.include)
    assert session.done == [("include", ["case_bb"])]


def test_a_newer_proposal_is_offered_until_it_is_taken_or_the_labels_are_edited(alone, session, click):
    _, panel = alone
    case = session.current
    assert not panel._newer.isVisible()
    case.newer = (case.labels.copy(), None)
    session.map_changed.emit("case_a")
    assert panel._newer.isVisible()
    click(panel._newer)
    assert session.done[-1] == ("take newer",)
    changed = case.labels.copy()
    changed[0, 0, 0] = 1
    case.edits.apply("mend", changed)
    assert not panel._newer.isVisible()


def test_a_question_is_over_once_the_labels_are_others(alone, session, click):
    _, panel = alone
    case = session.current
    case.edits.apply("clear", np.zeros_like(case.labels))
    click(panel.verdict.accept)
    assert panel.verdict.question.isVisible()
    case.edits.undo()
    assert not panel.verdict.question.isVisible()


def test_no_answer_takes_labels_in_the_middle_of_a_stroke(alone, session, click):
    _, panel = alone
    session.change(status="draft", mask_version=3)
    click(panel.verdict.reject)
    session.painting = lambda: True
    click(panel.verdict.question._yes)
    assert ("reject",) not in session.done


def test_scrolling_past_border_and_class_changes_neither(alone, session):
    _, panel = alone
    panel.setFocus()
    for widget in (panel._border.slider, panel._classes, panel._opacity):
        before = panel._border.value(), panel._classes.currentIndex(), panel._opacity.value()
        roll(widget)
        assert (panel._border.value(), panel._classes.currentIndex(), panel._opacity.value()) == before
    assert session.current.thresholds == []


def test_keys_of_a_hidden_panel_do_nothing(napari_shown, session):
    viewer, panel = napari_shown
    panel.hide()
    press(viewer, *pressed("accept"))
    assert session.done == []
    panel.show()
    press(viewer, *pressed("accept"))
    assert session.done == [("accept", False)]


def test_keys_work_from_the_canvas_while_the_panel_floats(napari_shown, session, qtbot):
    viewer, panel = napari_shown
    dock = panel.parent()
    while not hasattr(dock, "setFloating"):
        dock = dock.parent()
    dock.setFloating(True)
    viewer.window._qt_window.activateWindow()
    qtbot.waitUntil(viewer.window._qt_window.isActiveWindow)
    press(viewer, *pressed("accept"))
    assert session.done == [("accept", False)]
    dock.setFloating(False)
