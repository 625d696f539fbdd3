"""The verdict on a case: what is asked before something is lost, and what a case that is locked offers."""

import numpy as np
import pytest
from canvas_cases import HandMadeCase, HandMadeSession
from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence
from review_hands import keyed, painted
from strokes import press, roll

from napari_bcp.app.edits import Edits
from napari_bcp.app.panels.review_keys import KEYS
from napari_bcp.pool.drafts import Draft


def pressed(name):
    """Return key and modifiers of an action."""
    combination = QKeySequence(KEYS[name][0])[0]
    return combination.key(), combination.keyboardModifiers()


@pytest.mark.parametrize("by_key", [False, True])
def test_accepting_stays_at_the_case_and_locks_it(shown, session, click, by_key):
    viewer, panel = shown
    if by_key:
        keyed(viewer, "accept")
    else:
        click(panel.verdict.accept)
    assert session.done == [("accept", False)]
    assert not viewer.layers["labels"].editable
    assert [one.isVisible() for one in (panel.verdict.accept, panel.verdict.accept_next, panel.verdict.reject)] == [
        False
    ] * 3
    assert [one.isVisible() for one in (panel.verdict.reopen, panel.verdict.next)] == [True] * 2
    assert panel._status.text() == "accepted"
    assert "locked" in panel._source.text()
    for one in (*panel._clean_ups.values(), panel._border, panel._undo, panel._redo, panel._revert):
        assert not one.isEnabled()
    for name in ("accept", "fill_holes", "smooth", "reject", "revert"):
        keyed(panel, name)
    assert session.done == [("accept", False)], "nothing changes a locked case"


@pytest.mark.parametrize("by_key", [False, True])
def test_accept_and_next_is_one_press_and_of_an_accepted_case_the_same_place_goes_on(shown, session, click, by_key):
    viewer, panel = shown
    for one in (panel.verdict.accept_next, panel.verdict.next):
        if by_key:
            keyed(viewer, "accept and next")
        else:
            click(one)
    assert session.done == [("accept", True), ("next",)]


@pytest.mark.parametrize("by_key", [False, True])
def test_an_accepted_case_is_reopened(shown, session, click, by_key):
    viewer, panel = shown
    session.change(status="accepted", editable=False, mask_by="rule")
    assert panel._source.text().startswith("Accepted by rule")
    if by_key:
        keyed(viewer, "reopen")
    else:
        click(panel.verdict.reopen)
    assert session.done == [("reopen",)]
    assert viewer.layers["labels"].editable
    assert panel.verdict.accept.isVisible()
    keyed(panel, "reopen")
    assert session.done == [("reopen",)], "there is nothing to reopen in a case that is open"


def test_a_proposal_without_edits_is_rejected_at_once(alone, session):
    keyed(alone[1], "reject")
    assert session.done == [("reject",)]


def test_rejecting_edits_asks_first_and_cancel_is_what_a_blind_press_means(alone, session, click, qtbot):
    _, panel = alone
    painted(session)
    click(panel.verdict.reject)
    assert session.done == []
    assert panel.verdict.question.isVisible()
    assert "case_a, 9 voxels," in panel.verdict.question._text.text()
    qtbot.waitUntil(panel.verdict.question._no.hasFocus)
    qtbot.keyClick(panel.verdict.question._no, Qt.Key.Key_Space)
    assert (session.done, panel.verdict.question.isVisible()) == ([], False)
    keyed(panel, "reject")
    click(panel.verdict.question._yes)
    assert session.done == [("reject",)]
    assert not panel.verdict.question.isVisible()


def test_a_question_is_forgotten_with_its_case(panel, session, click):
    painted(session)
    click(panel.verdict.reject)
    session.open(HandMadeCase("case_bb"))
    assert not panel.verdict.question.isVisible()


def test_a_case_without_map_or_edits_cannot_be_rejected(alone, session):
    _, panel = alone
    session.open(HandMadeCase("case_bb", status="unlabelled", with_map=False))
    assert not panel.verdict.reject.isEnabled()
    keyed(panel, "reject")
    assert session.done == []
    assert not panel._border.isEnabled()
    assert not panel._overlay.isEnabled()
    assert panel._stamp.text() == "no map yet"


def test_under_an_accepted_case_stands_the_version_that_it_has_become(show):
    session = HandMadeSession(HandMadeCase(status="accepted"))
    _, panel = show(session)
    panel.verdict._saved_at = 1.0  # its edits were saved once
    panel.verdict.show_saved()
    assert panel.verdict.saved.text() == "Accepted as version 2"


def test_the_line_says_what_is_saved_and_what_is_not(show, tmp_path, monkeypatch):
    session = HandMadeSession(HandMadeCase())
    case = session.current
    case.edits = Edits(case.labels, lambda: Draft.create(tmp_path / "a.journal", case.edits.base, {}))
    _, panel = show(session)
    assert panel.verdict.saved.text() == "Nothing changed yet"
    painted(session)
    assert panel.verdict.saved.text() == "9 voxels changed · saving…"
    case.edits.save()
    panel.verdict.show_saved()
    assert panel.verdict.saved.text() == "9 voxels changed · saved 0 s ago"
    monkeypatch.setattr(Draft, "append", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    painted(session, (slice(3, 4), slice(2, 5), slice(2, 5)))
    case.edits.save()
    panel.verdict.show_saved()
    assert panel.verdict.saved.text().startswith("⚠ Not saved: The edits are not on the disk yet (No space left")


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
    session.change(status="draft")  # the edit is saved meanwhile
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
