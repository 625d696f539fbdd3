"""The lists of the Review panel: parts of the map that the labels have not, and slices worth a look."""

import numpy as np
import pytest
from qtpy.QtCore import QEvent, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication
from review_hands import LEFT, LIVER, keyed


def islands_shown(panel):
    panel.lists.setCurrentWidget(panel.lists.islands)
    return panel.lists.islands


def row_place(tree, row):
    return tree.visualItemRect(tree.topLevelItem(row)).center()


def point_at(widget, place):
    """Move the pointer over a widget with no button down."""
    where = QPointF(place)
    everywhere = QPointF(widget.mapToGlobal(place))
    none = Qt.MouseButton.NoButton
    move = QMouseEvent(QEvent.Type.MouseMove, where, everywhere, none, none, Qt.KeyboardModifier.NoModifier)
    QApplication.sendEvent(widget, move)


def restored(session):
    return (session.current.labels[session.current.island_box] == LIVER).any()


def test_islands_are_listed_with_volume_and_mean_probability(panel, session):
    tree = islands_shown(panel)
    [island] = session.current.islands()
    assert panel.lists.tabText(1) == "Removed islands (1)"
    item = tree.topLevelItem(0)
    assert item.text(0) == "liver"
    assert float(item.text(1).removesuffix(" ml")) == pytest.approx(island.voxels * 3 / 1000, rel=0.05)
    assert item.text(2) == f"{100 * session.current.probability(LIVER).flat[island.indices].mean() / 255:.0f} %"


def test_a_selected_island_is_shown_and_its_button_restores_it(alone, session, qtbot):
    viewer, panel = alone
    tree = islands_shown(panel)
    qtbot.mouseClick(tree.viewport(), LEFT, pos=row_place(tree, 0))
    assert "island" in viewer.layers
    assert viewer.dims.current_step[0] in (2, 3)
    assert viewer.layers.selection.active == viewer.layers["labels"], "the tool stays in the hand"
    qtbot.mouseClick(tree.itemWidget(tree.topLevelItem(0), 3), LEFT)
    assert session.done[-1][0] == "restore_island"
    assert restored(session)
    assert "island" not in viewer.layers
    qtbot.waitUntil(lambda: tree.topLevelItemCount() == 0)
    panel.layers.undo()
    assert not restored(session)
    qtbot.waitUntil(lambda: tree.topLevelItemCount() == 1, timeout=10_000)


def test_enter_restores_the_island_under_the_cursor(panel, session, qtbot):
    tree = islands_shown(panel)
    tree.setFocus()
    qtbot.keyClick(tree, Qt.Key.Key_Down)
    qtbot.keyClick(tree, Qt.Key.Key_Return)
    assert restored(session)
    assert session.current.edits.operations == ("restore island",)


def test_an_island_under_the_pointer_is_shown_and_leaving_it_goes_back(alone):
    viewer, panel = alone
    tree = islands_shown(panel)
    here = viewer.dims.current_step[0]
    assert here == 12
    center = viewer.scene.camera.center
    point_at(tree.viewport(), row_place(tree, 0))
    assert "island" in viewer.layers
    assert viewer.dims.current_step[0] in (2, 3)
    assert viewer.scene.camera.center[1:] == center[1:], "the view does not jump about"
    QApplication.sendEvent(tree.viewport(), QEvent(QEvent.Type.Leave))
    assert "island" not in viewer.layers
    assert viewer.dims.current_step[0] == here


def test_the_selected_island_is_back_once_the_pointer_leaves_another(alone):
    viewer, panel = alone
    [island] = panel._case.islands()
    panel.lists.island_chosen.emit(island)
    there = viewer.dims.current_step
    panel.lists.island_pointed_at.emit(island)
    panel.lists.island_pointed_at.emit(None)
    assert "island" in viewer.layers
    assert viewer.dims.current_step == there


def test_islands_cannot_be_restored_in_a_locked_case(panel, session, qtbot):
    session.change(status="accepted", editable=False)
    tree = islands_shown(panel)
    button = tree.itemWidget(tree.topLevelItem(0), 3)
    assert not button.isEnabled()
    tree.setFocus()
    qtbot.keyClick(tree, Qt.Key.Key_Down)
    qtbot.keyClick(tree, Qt.Key.Key_Return)
    assert session.done == []
    session.change(status="draft", editable=True)
    assert button.isEnabled()


def test_a_slice_worth_a_look_is_one_click_away_by_the_number_at_naparis_slider(shown, session, qtbot):
    viewer, panel = shown
    case = session.current
    case.edits.apply("forget", np.where(np.arange(24)[:, None, None] == 11, 0, case.labels).astype(np.uint8))
    qtbot.waitUntil(lambda: panel.lists.advice.count() and "11" in panel.lists.advice.item(0).text(), timeout=10_000)
    advice = panel.lists.advice
    assert advice.item(0).text() == "Slice 11: The liver is missing between two slices that have it"
    qtbot.mouseClick(advice.viewport(), LEFT, pos=advice.visualItemRect(advice.item(0)).center())
    assert viewer.dims.current_step[0] == 11
    slider = viewer.window._qt_viewer.dims.slider_widgets[0]
    assert slider.curslice_label.text() == "11", "the same number stands beside the slider"
    viewer.dims.set_current_step(0, 3)
    qtbot.mouseClick(advice.viewport(), LEFT, pos=advice.visualItemRect(advice.item(0)).center())
    assert viewer.dims.current_step[0] == 11, "a second click goes there again"


def test_slices_are_those_of_the_shown_plane(alone, session, qtbot):
    viewer, panel = alone
    keyed(panel, "sagittal")
    wanted = [note.index for note in session.current.worth_a_look(2)]
    axial = [note.index for note in session.current.worth_a_look(0)]
    assert wanted != axial

    def listed():
        return [
            int(panel.lists.advice.item(i).text().removeprefix("Slice ").partition(":")[0])
            for i in range(panel.lists.advice.count())
        ]

    qtbot.waitUntil(lambda: listed() == wanted, timeout=10_000)
    panel.lists.advice.setFocus()
    qtbot.keyClick(panel.lists.advice, Qt.Key.Key_Down)
    qtbot.keyClick(panel.lists.advice, Qt.Key.Key_Up)
    assert viewer.dims.current_step[2] == wanted[0]
