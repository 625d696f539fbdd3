"""The Review panel, by clicks and keys: its tools, keys and lists of what can be done."""

import numpy as np
import pytest
from canvas_cases import HandMadeCase, HandMadeSession
from pool_sessions import a_proposal
from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QAction, QKeySequence
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QStyle, QStyleOptionSlider
from review_hands import LEFT, LIVER, keyed, painted
from strokes import press, stroke

from napari_bcp.app.canvas import canvas_of, guard
from napari_bcp.app.panels.review import KEYS

SPLEEN, AORTA = 2, 5


def shown_plane(panel):
    return next((name for name, one in panel._plane.buttons.items() if one.isChecked()), None)


def drag(slider, start, stop, steps=4):
    """Move a slider's handle with the mouse, without letting go."""
    option = QStyleOptionSlider()
    slider.initStyleOption(option)
    handle = slider.style().subControlRect(
        QStyle.ComplexControl.CC_Slider, option, QStyle.SubControl.SC_SliderHandle, slider
    )
    room = slider.width() - handle.width()
    span = slider.maximum() - slider.minimum()
    first, last = handle.center(), QPoint(handle.width() // 2 + round(room * stop / span), handle.center().y())
    assert slider.value() == start
    QTest.mousePress(slider, LEFT, pos=first)
    for step in range(1, steps + 1):
        QTest.mouseMove(slider, first + (last - first) * step / steps)
    return last


# -- undo, revert, what changed -----------------------------------------------------------------------------------


def test_undo_and_redo_say_what_they_do_and_do_it(panel, session, click):
    before = session.current.labels.copy()
    assert (panel._undo.isEnabled(), panel._redo.isEnabled()) == (False, False)
    assert panel._undo.toolTip() == "Nothing to undo (Ctrl+Z)"
    painted(session)
    after = session.current.labels.copy()
    assert panel._undo.toolTip() == "Undo: paint (Ctrl+Z)"
    click(panel._undo)
    np.testing.assert_array_equal(session.current.labels, before)
    assert not panel._undo.isEnabled()
    assert panel._redo.toolTip() == "Redo: paint (Ctrl+Shift+Z)"
    click(panel._redo)
    np.testing.assert_array_equal(session.current.labels, after)
    assert panel._redo.toolTip() == "Nothing to redo (Ctrl+Shift+Z)"


@pytest.mark.parametrize("by_key", [False, True])
def test_revert_goes_back_to_the_beginning_and_can_be_undone(shown, session, click, by_key):
    viewer, panel = shown
    assert not panel._revert.isEnabled()
    painted(session)
    after = session.current.labels.copy()
    if by_key:
        keyed(viewer, "revert")
    else:
        click(panel._revert)
    np.testing.assert_array_equal(session.current.labels, session.current.proposal)
    assert panel._undo.toolTip() == "Undo: revert (Ctrl+Z)"
    click(panel._undo)
    np.testing.assert_array_equal(session.current.labels, after)


@pytest.mark.parametrize("by_key", [False, True])
def test_what_changed_is_shown_and_hidden(shown, session, click, by_key):
    viewer, panel = shown
    painted(session)
    for there in (True, False):
        if by_key:
            keyed(viewer, "what changed")
        else:
            click(panel._changes)
        assert ("changes" in viewer.layers, panel._changes.isChecked()) == (there, there)


# -- tools --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_key", [False, True])
def test_clean_ups_are_asked_for_with_the_chosen_class_and_interpolation_with_the_shown_axis(
    shown, session, click, by_key
):
    viewer, panel = shown
    panel.layers.choose(SPLEEN)
    panel.layers.set_plane("sagittal")
    for name, button in panel._clean_ups.items():
        if by_key:
            keyed(viewer, name)
        else:
            click(button)
    assert session.done == [("fill_holes", 2), ("smooth", 2), ("keep_largest", 2), ("interpolate", 2, 2)]


def test_the_largest_part_alone_is_kept_and_undo_names_it(panel, session, click):
    number = painted(session)
    click(panel._clean_ups["keep_largest"])
    np.testing.assert_array_equal(session.current.labels, session.current.proposal)
    assert panel._undo.toolTip() == "Undo: keep largest (Ctrl+Z)"
    click(panel._undo)
    assert session.current.edits.voxels_changed == number


@pytest.mark.parametrize("by_key", [False, True])
def test_the_overlay_goes_round(shown, click, by_key):
    viewer, panel = shown
    seen = []
    for name in ("Uncertainty", "Nothing", "Map"):
        if by_key:
            keyed(viewer, "overlay")
        else:
            click(panel._overlay.buttons[name])
        down = [text for text, one in panel._overlay.buttons.items() if one.isChecked()]
        seen.append((down, viewer.layers["map: liver"].visible, viewer.layers["uncertainty"].visible))
    assert seen == [(["Uncertainty"], False, True), (["Nothing"], False, False), (["Map"], True, False)]


@pytest.mark.parametrize("by_key", [False, True])
def test_planes_and_outlines_are_chosen(shown, click, by_key):
    viewer, panel = shown
    for plane, order in (("coronal", (1, 0, 2)), ("sagittal", (2, 0, 1)), ("axial", (0, 1, 2))):
        if by_key:
            keyed(viewer, plane)
        else:
            click(panel._plane.buttons[plane])
        assert (viewer.dims.order, shown_plane(panel)) == (order, plane)
    if by_key:
        keyed(viewer, "outline")
    else:
        click(panel._look.buttons["Area"])
    assert viewer.layers["labels"].contour == 0
    assert panel._look.buttons["Area"].isChecked()
    if by_key:
        keyed(viewer, "3-D")
    else:
        click(panel._plane.buttons["3-D"])
    assert (viewer.dims.ndisplay, shown_plane(panel)) == (3, "3-D")


def test_a_plane_that_is_turned_by_napari_itself_shows_in_the_panel(viewer, panel):
    viewer.dims.order = (1, 0, 2)
    assert shown_plane(panel) == "coronal"
    viewer.dims.order = (1, 2, 0)
    assert shown_plane(panel) is None


def test_the_class_follows_the_layer_and_the_layer_the_class(shown, qtbot):
    viewer, panel = shown
    labels = viewer.layers["labels"]
    press(viewer, Qt.Key.Key_Equal)
    assert (panel._classes.currentText(), labels.selected_label) == ("spleen", SPLEEN)
    panel._classes.setFocus()
    qtbot.keyClick(panel._classes, Qt.Key.Key_Down)
    assert (panel._classes.currentText(), labels.selected_label) == ("aorta", AORTA)
    assert "map: aorta" in viewer.layers
    labels.selected_label = LIVER
    assert panel._classes.currentText() == "liver"


def test_the_opacity_is_the_layers_both_ways(viewer, panel):
    panel._opacity.setValue(80)
    assert viewer.layers["map: liver"].opacity == pytest.approx(0.8)
    viewer.layers["map: liver"].opacity = 0.25
    assert panel._opacity.value() == 25


def test_ct_windows_and_the_whole_range_set_the_contrast(show):
    session = HandMadeSession(HandMadeCase())
    session.current.windows = {"bone": (-450.0, 1050.0)}
    viewer, panel = show(session)
    assert panel._windows.isVisible()
    actions = {action.text(): action for action in panel._windows.menu().actions()}
    assert list(actions) == ["bone  (-450 to 1050)", "whole range"]
    actions["bone  (-450 to 1050)"].trigger()
    assert viewer.layers["scan"].contrast_limits == [-450, 1050]
    actions["whole range"].trigger()
    scan = session.current.scan
    assert viewer.layers["scan"].contrast_limits == pytest.approx([scan.min(), scan.max()])
    session.open(HandMadeCase("case_bb"))
    assert not panel._windows.isVisible(), "an MR has none"


# -- the border ---------------------------------------------------------------------------------------------------


def test_the_border_is_previewed_while_the_slider_moves_and_is_one_step(alone, session, click, qtbot):
    _, panel = alone
    case, slider = session.current, panel._border.slider
    before = case.labels.copy()
    place = drag(slider, 50, 20)
    assert slider.value() < 30
    qtbot.waitUntil(lambda: bool(case.thresholds))
    assert not any(final for *_, final in case.thresholds)
    assert (case.labels != before).any(), "the labels follow while the slider moves"
    assert case.edits.operations == (), "a preview is no edit"
    QTest.mouseRelease(slider, LEFT, pos=place)
    assert case.thresholds[-1] == (LIVER, round(2.55 * slider.value()), True)
    level = slider.value()
    assert case.edits.operations == (f"border of liver at {level} %",)
    assert (case.labels[before == LIVER] == LIVER).all(), "a lower border takes more in"
    click(panel._undo)
    np.testing.assert_array_equal(case.labels, before)
    assert not case.edits.can_undo
    assert panel._border.value() == 50, "the slider goes back with the border"
    click(panel._redo)
    assert panel._border.value() == level


def test_keys_on_the_border_are_one_step_once_they_rest(panel, session, qtbot):
    panel._border.slider.setFocus()
    for _ in range(5):
        qtbot.keyClick(panel._border.slider, Qt.Key.Key_Left)
    assert panel._border.value() == 45
    qtbot.waitUntil(lambda: session.current.edits.operations == ("border of liver at 45 %",), timeout=10_000)


def test_another_class_ends_the_slide_of_the_former_and_each_has_its_own_border(shown, session, qtbot):
    """The slide is the former class's, though the layer has changed already."""
    viewer, panel = shown
    qtbot.keyClick(panel._border.slider, Qt.Key.Key_PageDown)
    press(viewer, Qt.Key.Key_Equal)
    assert session.current.thresholds[-1] == (LIVER, round(2.55 * 45), True)
    assert {value for value, *_ in session.current.thresholds} == {LIVER}
    assert panel._border.value() == 50
    press(viewer, Qt.Key.Key_Minus)
    assert panel._border.value() == 45


def test_undo_during_a_slide_takes_the_slide_back_for_good(shown, session, qtbot):
    viewer, panel = shown
    case = session.current
    before = case.labels.copy()
    qtbot.keyClick(panel._border.slider, Qt.Key.Key_PageDown)
    qtbot.keyClick(panel._border.slider, Qt.Key.Key_PageDown)
    qtbot.waitUntil(lambda: (case.labels != before).any())
    press(viewer, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    np.testing.assert_array_equal(case.labels, before)
    assert not panel._border.moving, "else it would come back half a second later"
    assert panel._border.value() == 50
    assert case.edits.undone == ("border of liver at 40 %",)


def test_a_stroke_during_a_slide_comes_after_it_and_both_are_undone_one_by_one(alone, session, qtbot):
    viewer, panel = alone
    case = session.current
    before = case.labels.copy()
    qtbot.keyClick(panel._border.slider, Qt.Key.Key_PageDown)
    qtbot.waitUntil(lambda: (case.labels != before).any())
    moved = case.labels.copy()
    viewer.layers["labels"].paint((12, 3, 3), SPLEEN)
    assert case.edits.operations == ("border of liver at 45 %", "paint")
    panel.layers.undo()
    np.testing.assert_array_equal(case.labels, moved)
    panel.layers.undo()
    np.testing.assert_array_equal(case.labels, before)


def test_a_slide_does_not_go_on_in_the_next_case(panel, session, qtbot):
    qtbot.keyClick(panel._border.slider, Qt.Key.Key_PageDown)
    session.open(HandMadeCase("case_bb"))
    assert (panel._border.moving, panel._border.value()) == (False, 50)
    assert session.current.thresholds == []


def test_hiding_the_panel_makes_an_edit_of_what_is_previewed(panel, session, qtbot):
    qtbot.keyClick(panel._border.slider, Qt.Key.Key_PageDown)
    panel.hide()
    assert session.current.edits.operations == ("border of liver at 45 %",)


# -- busy, strokes ------------------------------------------------------------------------------------------------


def test_nothing_can_be_done_while_something_is_being_done(alone, session):
    viewer, panel = alone
    painted(session)
    buttons = (
        panel.verdict.accept,
        panel.verdict.accept_next,
        panel.verdict.reject,
        panel._undo,
        panel._revert,
        panel._border,
    )
    session.be_busy("fill_holes")
    assert panel.verdict.saved.text() == "Fill holes…"
    assert not any(one.isEnabled() for one in (*buttons, *panel._clean_ups.values()))
    for name in ("accept", "reject", "revert", "smooth"):
        keyed(panel, name)
    assert session.done == []
    assert viewer.layers["labels"].editable, "painting goes on meanwhile"
    session.be_busy("")
    assert all(one.isEnabled() for one in (*buttons, *panel._clean_ups.values()))


def test_labels_stay_what_they_are_while_they_are_being_accepted(alone, session):
    viewer, panel = alone
    painted(session)
    after = session.current.labels.copy()
    session.be_busy("accepting")
    assert not viewer.layers["labels"].editable
    panel.layers.undo()
    np.testing.assert_array_equal(session.current.labels, after)
    session.be_busy("")
    assert viewer.layers["labels"].editable
    assert str(viewer.layers["labels"].mode) == "paint"


def test_nothing_happens_during_a_stroke(shown, session):
    viewer, panel = shown
    with viewer.layers["labels"].block_history():
        viewer.layers["labels"].paint((12, 30, 3), SPLEEN)
        for name in ("accept", "accept and next", "reject", "revert", "fill_holes", "smooth", "interpolate"):
            keyed(viewer, name)
        panel._undo.click()
        panel._border.slider.setValue(20)
        panel._border.finish()
    assert {name for name, *_ in session.done} == {"say"}, "the reader is told why"
    assert session.current.thresholds == []
    assert session.current.edits.operations == ("paint",)
    assert not panel.verdict.question.isVisible()


def test_a_stroke_of_the_mouse_shows_at_once_in_the_panel(shown, session, qtbot):
    viewer, panel = shown
    stroke(viewer, (0.45, 0.2), (0.55, 0.25))
    qtbot.waitUntil(lambda: session.current.edits.operations == ("paint",))
    assert panel.verdict.saved.text() == f"{session.current.edits.voxels_changed:,} voxels changed · saving…"
    assert panel._undo.isEnabled()


# -- the case -----------------------------------------------------------------------------------------------------


def test_layers_that_were_deleted_come_back_at_a_click(alone, session, click):
    viewer, panel = alone
    assert not panel._restore_layers.isVisible()
    viewer.layers.remove("labels")
    click(panel._restore_layers)
    assert viewer.layers["labels"].data is session.current.labels
    assert not panel._restore_layers.isVisible()


def test_without_a_case_the_panel_says_how_to_open_one(panel, session):
    assert panel._name.isVisible()
    session.open(None)
    assert not panel._name.isVisible()
    assert "No case is open" in panel._empty.text()
    session.case_loading.emit("case_bb")
    assert panel._empty.text() == "case_bb is being read…"
    session.open(HandMadeCase("case_bb"))
    assert (panel._name.text(), panel._status.text()) == ("case_bb", "predicted")
    assert panel._source.text() == "Pseudo-label of run 0001 · step 412."


def test_a_case_that_is_proposed_says_why_until_it_is_edited(panel, session):
    session.proposals = [a_proposal("case_c"), a_proposal("case_bb", "the model is unsure about the spleen")]
    session.open(HandMadeCase("case_bb"))
    stamp = "Pseudo-label of run 0001 · step 412."
    assert panel._source.text() == f"{stamp} Proposed: the model is unsure about the spleen."
    session.change(status="draft")
    assert panel._source.text() == stamp


def test_a_second_window_takes_the_case_over_and_the_first_says_so(shown, show, session):
    viewer, panel = shown
    other, second = show(session)
    assert "labels" in other.layers
    assert len(viewer.layers) == 0
    assert panel._empty.text() == "The open case is shown in another window."
    session.open(HandMadeCase("case_bb"))
    assert len(viewer.layers) == 0
    assert second._name.text() == "case_bb"
    assert not panel._name.isVisible()


def test_a_case_comes_back_to_the_first_window_also_when_the_second_is_gone(shown, show, session, qtbot):
    viewer, panel = shown
    other, second = show(session)
    for one in (viewer, other):
        guard(canvas_of(one))  # as the dock does
    qtbot.mouseClick(panel._here, Qt.MouseButton.LeftButton)
    assert len(other.layers) == 0
    assert second._empty.text() == "The open case is shown in another window."
    assert "labels" in viewer.layers
    assert panel._name.isVisible()
    qtbot.mouseClick(second._here, Qt.MouseButton.LeftButton)
    second.close_down()
    assert not panel._name.isVisible()
    qtbot.mouseClick(panel._here, Qt.MouseButton.LeftButton)
    session.open(HandMadeCase("case_bb"))
    assert panel._name.text() == "case_bb"
    assert "labels" in viewer.layers


# -- keys ---------------------------------------------------------------------------------------------------------


def keys_of_napari(viewer):
    """Return every key of napari's own: its settings, keymaps of the viewer and the layers, and the menus."""
    from napari._app_model import get_app_model
    from napari.layers import Image, Labels
    from napari.settings import get_settings

    found = {str(key) for keys in get_settings().shortcuts.shortcuts.values() for key in keys}
    found |= {str(key) for owner in (Image, Labels, type(viewer)) for key in getattr(owner, "class_keymap", {})}
    found |= {str(key) for layer in viewer.layers for key in layer.keymap}
    found |= {str(rule.keybinding) for rule in get_app_model().keybindings}
    for action in viewer.window._qt_window.findChildren(QAction):
        found |= {key.toString() for key in action.shortcuts()}
    return {QKeySequence(key).toString() for key in found} - {""}


def test_no_key_of_the_panel_is_one_of_naparis_but_those_that_mean_the_same(shown):
    viewer, _ = shown
    taken = keys_of_napari(viewer)
    assert {"Ctrl+Z", "Ctrl+Y", "Ctrl+G", "Ctrl+Shift+C", "Ctrl+O", "E", "["} <= taken, "napari's keys are not found"
    own = [QKeySequence(key).toString() for keys in KEYS.values() for key in keys]
    assert len(own) == len(set(own))
    assert set(own) & taken == {"Ctrl+Z", "Ctrl+Shift+Z"}


def test_the_brushes_are_chosen_by_button_and_by_key(panel, qtbot):
    qtbot.mouseClick(panel._brush.buttons["Smart"], Qt.MouseButton.LeftButton)
    assert panel.layers.brush == "smart"
    panel._next_brush()
    assert panel.layers.brush == "plain"
    assert panel._brush.buttons["Plain"].isChecked()


def test_every_key_is_written_where_its_action_is(panel):
    tips = " ".join(
        one.toolTip()
        for one in (
            *(
                panel.verdict.accept,
                panel.verdict.accept_next,
                panel.verdict.reject,
                panel.verdict.reopen,
                panel.verdict.skip,
                panel._undo,
                panel._redo,
                panel._revert,
                panel._changes,
                panel._three,
            ),
            *panel._clean_ups.values(),
            *panel._overlay.buttons.values(),
            *panel._look.buttons.values(),
            *panel._brush.buttons.values(),
            *panel._plane.buttons.values(),
        )
    )
    for name, keys in KEYS.items():
        assert keys[-1] in tips, name


def test_the_keyboard_goes_through_the_panel_from_top_to_bottom(panel, qtbot):
    """By Tab, as the eye goes."""
    order = [
        panel._changes,
        panel._classes,
        panel._overlay.buttons["Map"],
        panel._opacity,
        panel._border.slider,
        panel._clean_ups["fill_holes"],
        panel._clean_ups["interpolate"],
        panel._plane.buttons["axial"],
        panel.lists.advice,
        panel.verdict.accept_next,
        panel.verdict.accept,
        panel.verdict.reject,
    ]
    order[0].setFocus()
    met, now = [], order[0]
    for _ in range(60):
        if now in order:
            met.append(now)
        if now is order[-1]:
            break
        qtbot.keyClick(now, Qt.Key.Key_Tab)
        now = panel.window().focusWidget()
    assert [order.index(one) for one in met] == list(range(len(order)))
