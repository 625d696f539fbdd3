"""The canvas that a viewer is shown in."""

import numpy as np
from napari.components import ViewerModel
from napari.utils._proxies import PublicOnlyProxy
from qtpy.QtCore import QPoint
from qtpy.QtTest import QTest
from vispy.gloo import gl

from napari_bcp.app.canvas import canvas_of, guard, uncover_brush


def test_each_drawing_waits_for_the_one_before(make_napari_viewer, qtbot, monkeypatch):
    viewer = make_napari_viewer(show=True)
    canvas, waited = canvas_of(viewer), []
    monkeypatch.setattr(gl, "glFinish", lambda: waited.append("finish"))
    canvas._scene_canvas.events.draw.connect(lambda _: waited.append("drawn"), position="last")
    guard(canvas)
    QTest.qWait(50)
    waited.clear()
    canvas.native.update()
    qtbot.waitUntil(lambda: "drawn" in waited)
    assert waited[0] == "finish"


def test_the_canvas_is_found_by_what_napari_hands_to_plugins(make_napari_viewer):
    viewer = make_napari_viewer()
    assert canvas_of(PublicOnlyProxy(viewer)) is canvas_of(viewer)


def test_nothing_covers_what_lies_under_the_brush(make_napari_viewer, qtbot):
    viewer = make_napari_viewer(show=True)
    viewer.add_image(np.ones((40, 40)), contrast_limits=(0, 1))
    labels = viewer.add_labels(np.zeros((40, 40), np.uint8))
    labels.brush_size, labels.mode = 12, "paint"
    viewer.add_labels(np.zeros((40, 40), np.uint8))  # only when layers change while somebody paints does the box come
    viewer.layers.selection.active = labels
    widget = canvas_of(viewer).native
    middle = QPoint(widget.width() // 2, widget.height() // 2)

    def under_the_brush():
        for step in (4, 0):
            QTest.mouseMove(widget, middle + QPoint(step, 0))
            QTest.qWait(30)
        picture = viewer.screenshot(flash=False)
        y, x = picture.shape[0] // 2, picture.shape[1] // 2
        return picture[y - 2 : y + 3, x - 2 : x + 3, :3]

    uncover_brush(PublicOnlyProxy(viewer))
    assert (under_the_brush() == 255).all()


def test_a_viewer_without_a_window_has_no_canvas(qapp):
    assert canvas_of(ViewerModel()) is None
