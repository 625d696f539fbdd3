"""The whole loop as a reader goes it: train in the real child, look, mend with the mouse, accept, see it join."""

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from strokes import press, stroke
from tiny import QUICK

from napari_bcp.app.dock import BcpWidget
from napari_bcp.pool import Pool
from napari_bcp.scans import from_display

MINUTE = 60_000


def tab(widget, qtbot, place):
    """Click on the tab of a panel."""
    bar = widget.tabs.tabBar()
    qtbot.mouseClick(bar, Qt.MouseButton.LeftButton, pos=bar.tabRect(place).center())
    assert widget.tabs.currentIndex() == place


def click(qtbot, button):
    assert button.isEnabled()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


@pytest.mark.timeout(600)
def test_train_look_mend_accept_and_the_mask_joins_the_training(make_napari_viewer, qtbot, keeper, phantom_pool):
    viewer = make_napari_viewer(show=True)
    widget = BcpWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Bidirectional Copy-Paste")
    viewer.window.activate()
    session = keeper.session
    told = []
    session.told.connect(lambda message: told.append(message.text))
    session.open_pool(phantom_pool)
    qtbot.waitUntil(lambda: bool(session.proposals), timeout=MINUTE)

    # train, by the button, with settings of the form
    tab(widget, qtbot, 1)
    widget.train.form.set_values(QUICK)
    click(qtbot, widget.train._start)
    qtbot.waitUntil(lambda: session.training.phase == "training", timeout=2 * MINUTE)
    assert (session.training.labelled, session.training.unlabelled) == (3, 5)
    first = session.training.step

    # look: the proposed case, its map arrives while the training goes on
    tab(widget, qtbot, 0)
    name = session.proposals[0].name
    qtbot.mouseClick(widget.cases.table.viewport(), Qt.MouseButton.LeftButton, pos=QPoint(20, 10))
    qtbot.waitUntil(lambda: widget.cases.table.hasFocus(), timeout=MINUTE)
    qtbot.keyClick(widget.cases.table, Qt.Key.Key_N)
    qtbot.waitUntil(lambda: session.current is not None and session.current.name == name, timeout=MINUTE)
    assert widget.tabs.currentIndex() == 2
    qtbot.waitUntil(lambda: "map: liver" in viewer.layers, timeout=2 * MINUTE)
    qtbot.waitUntil(lambda: viewer.layers["map: liver"].data.any(), timeout=2 * MINUTE)
    assert session.training.step > first

    # mend: clear the labels, then draw with the mouse; undo and redo by keys
    case = session.current
    case.edits.apply("clear", np.zeros_like(case.labels))
    stroke(viewer, (0.4, 0.5), (0.6, 0.5))
    qtbot.waitUntil(lambda: case.edits.operations[-1:] == ("paint",), timeout=MINUTE)
    painted = case.labels.copy()
    assert np.unique(painted).tolist() == [0, 1]
    press(viewer, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert not case.labels.any()
    press(viewer, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier)
    np.testing.assert_array_equal(case.labels, painted)
    draft = phantom_pool / "drafts" / f"{name}.journal"
    qtbot.waitUntil(lambda: draft.exists() and not case.edits.dirty, timeout=MINUTE)
    qtbot.waitUntil(lambda: case.case.status == "draft", timeout=MINUTE)

    # accept, by the button: a version on disk, and the training takes it in
    click(qtbot, widget.review.verdict.accept)
    qtbot.waitUntil(lambda: case.case.status == "accepted" and not session.busy, timeout=MINUTE)
    assert not case.editable
    assert not draft.exists()
    qtbot.waitUntil(lambda: any(f"{name} joined the training" in text for text in told), timeout=2 * MINUTE)
    assert session.training.labelled == 4

    # stop and keep
    tab(widget, qtbot, 1)
    click(qtbot, widget.train._stop)
    qtbot.waitUntil(lambda: session.training.phase == "idle", timeout=2 * MINUTE)
    viewer.close()
    keeper.close()
    with Pool.open(phantom_pool) as pool:
        np.testing.assert_array_equal(pool.mask(name), from_display(painted))
        [accepted] = [event for event in pool.history(name) if event.what == "accept"]
        assert accepted.details["changed_voxels"] > 0
        [run] = pool.runs()
        assert (run.status, run.checkpoint is not None, run.plan["patch"]) == ("stopped", True, [16, 16, 16])
        assert run.step > first
