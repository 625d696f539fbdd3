"""The canvas that a viewer is shown in."""

from napari.components import ViewerModel
from napari.utils._proxies import PublicOnlyProxy
from qtpy.QtTest import QTest
from vispy.gloo import gl

from napari_bcp.app.canvas import canvas_of, guard


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


def test_a_viewer_without_a_window_has_no_canvas(qapp):
    assert canvas_of(ViewerModel()) is None
