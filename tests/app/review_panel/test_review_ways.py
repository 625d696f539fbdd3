"""Keys and buttons of the Review panel that lead on, back and around, wherever the focus is."""

import numpy as np
import pytest
from canvas_cases import HandMadeCase, HandMadeSession
from pool_sessions import a_proposal
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QLineEdit
from review_hands import LIVER, keyed, painted

from napari_bcp.app.canvas import canvas_of
from napari_bcp.app.wording import STROKE_GOES_ON

SECOND = (slice(14, 15), slice(2, 5), slice(2, 5))


# -- undo by key --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("active", ["labels", "scan"])
def test_undo_and_redo_by_key_take_one_edit_at_a_time_whichever_layer_was_clicked(napari_shown, session, active):
    viewer, panel = napari_shown
    painted(session)
    painted(session, SECOND)
    viewer.layers.selection.active = viewer.layers[active]
    edits = session.current.edits
    for where in (viewer, panel):
        keyed(where, "undo")
        assert (len(edits.operations), len(edits.undone)) == (1, 1), where
        keyed(where, "redo")
        assert (len(edits.operations), len(edits.undone)) == (2, 0), where


def test_undo_by_key_is_the_labels_of_the_users_own_while_she_is_at_them(napari_shown, session):
    viewer, _ = napari_shown
    painted(session)
    own = viewer.add_labels(np.zeros(session.current.labels.shape, np.uint8), name="mine")
    own.paint((12, 30, 30), 1)
    assert own.data.any()
    keyed(viewer, "undo")
    assert not own.data.any()
    assert session.current.edits.operations == ("paint",)
    keyed(viewer, "redo")
    assert own.data.any()


def test_undo_by_key_is_the_fields_where_one_types(napari_shown, session, qtbot):
    viewer, _ = napari_shown
    painted(session)
    field = QLineEdit()
    viewer.window.add_dock_widget(field, name="field")
    field.setFocus()
    qtbot.keyClicks(field, "n")
    qtbot.keyClick(field, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert field.text() == ""
    assert session.current.edits.operations == ("paint",)
    assert session.done == [], "nor is its n the key that skips"


# -- an open shape ------------------------------------------------------------------------------------------------


def test_a_shape_that_a_right_click_has_begun_is_named_where_it_stands_in_the_way(napari_shown, session, qtbot):
    viewer, panel = napari_shown
    painted(session)
    labels, native = viewer.layers["labels"], canvas_of(viewer).native
    place = QPoint(round(native.width() * 0.5), round(native.height() * 0.5))
    QTest.mouseMove(native, place)
    qtbot.mouseClick(native, Qt.MouseButton.RightButton, pos=place)
    if not getattr(labels, "_block_history", False):
        pytest.skip("this napari draws no outline with the right button")
    for key in ("undo", "redo", "skip"):
        session.done.clear()
        keyed(viewer, key)
        assert session.done == [("say", STROKE_GOES_ON)], key
    session.done.clear()
    panel._undo.click()
    assert session.done == [("say", STROKE_GOES_ON)]
    assert session.current.edits.operations == ("paint",)
    qtbot.keyClick(native, Qt.Key.Key_Escape)
    keyed(viewer, "undo")
    assert session.current.edits.operations == ()


# -- on without a verdict -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_key", [False, True])
def test_a_case_is_passed_over_by_a_button_and_a_key(shown, session, click, by_key):
    viewer, panel = shown
    painted(session)
    if by_key:
        keyed(viewer, "skip")
    else:
        click(panel.verdict.skip)
    assert session.done == [("next",)]


def test_the_key_that_skips_goes_on_from_a_case_that_is_locked_too(alone, session):
    _, panel = alone
    session.open(HandMadeCase("case_bb", status="accepted"))
    assert not panel.verdict.skip.isVisible()
    keyed(panel, "skip")
    assert session.done == [("next",)]


def test_there_is_nothing_to_skip_to_without_a_further_proposal(alone, session):
    _, panel = alone
    session.proposals = [a_proposal(session.current.name)]
    session.cases_changed.emit(frozenset())
    assert not panel.verdict.skip.isEnabled()
    keyed(panel, "skip")
    assert session.done == []
    session.proposals = [a_proposal("case_c")]
    session.cases_changed.emit(frozenset())
    assert panel.verdict.skip.isEnabled()
    session.be_busy("accepting")
    assert not panel.verdict.skip.isEnabled()


def test_no_word_of_the_verdict_is_cut_off_in_a_panel_of_400_pixels(alone, session):
    _, panel = alone
    painted(session, (slice(0, 24), slice(0, 64), slice(0, 60)))
    panel.resize(400, 700)
    QApplication.processEvents()
    verdict = panel.verdict
    for one in (verdict.accept_next, verdict.accept, verdict.reject, verdict.skip):
        metrics = one.fontMetrics()
        assert one.width() >= max(metrics.horizontalAdvance(line) for line in one.text().split("\n")), one.text()
        assert one.mapTo(panel, one.rect().topRight()).x() < panel.width()
    assert verdict.saved.height() >= verdict.saved.heightForWidth(verdict.saved.width())


# -- 3-D ----------------------------------------------------------------------------------------------------------


def test_what_makes_no_difference_in_3d_cannot_be_chosen_there(panel, session):
    choices = (*panel._overlay.buttons.values(), *panel._look.buttons.values(), panel._opacity)
    assert all(one.isEnabled() for one in choices)
    panel.layers.set_plane("3-D")
    assert not any(one.isEnabled() for one in choices)
    for key in ("overlay", "outline"):
        keyed(panel, key)
    session.busy_changed.emit()
    assert not any(one.isEnabled() for one in choices)
    assert (panel.layers.overlay, panel.layers.filled) == ("map", False)
    panel.layers.set_plane("axial")
    assert all(one.isEnabled() for one in choices)


def test_without_a_map_there_is_none_to_be_laid_over(panel):
    session = panel._session
    assert isinstance(session, HandMadeSession)
    session.open(HandMadeCase("case_bb", with_map=False))
    assert not panel._overlay.isEnabled()
    assert panel._look.isEnabled()
    assert panel.layers.chosen == LIVER
