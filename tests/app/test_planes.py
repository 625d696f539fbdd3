"""The three planes of a case, side by side."""

import numpy as np
import pytest
from canvas_cases import HandMadeCase, HandMadeSession
from qtpy.QtCore import QPoint, Qt
from strokes import draw

from napari_bcp.app.panels.review import ReviewPanel
from napari_bcp.app.theme import colours_of
from napari_bcp.app.view import camera_of


@pytest.fixture
def session():
    return HandMadeSession(HandMadeCase())


@pytest.fixture
def shown(session, make_napari_viewer, qtbot):
    """A window with the panel of a case and its three planes."""
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1280, 800)
    panel = ReviewPanel(session, viewer)
    panel.set_colours(colours_of("dark"))
    viewer.window.add_dock_widget(panel, name="Review", area="right")
    qtbot.mouseClick(panel._three, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: panel._planes.content.complete)
    yield viewer, panel
    panel.close_down()


def test_the_other_planes_show_the_same_arrays_and_follow_the_first(shown, session):
    viewer, panel = shown
    planes = panel._planes.content.planes
    assert [plane.view.plane for plane in planes] == ["coronal", "sagittal"]
    for plane in planes:
        assert [layer.name for layer in plane.model.layers] == ["scan", "map: liver", "uncertainty", "labels"]
        assert plane.labels.data is session.current.labels
        assert plane.model.layers["scan"].data is viewer.layers["scan"].data
    panel.layers.show_overlay("nothing")
    panel.layers.set_filled(True)
    viewer.layers["labels"].mode = "erase"
    panel._planes.content._follow()
    for plane in planes:
        assert not plane.model.layers["map: liver"].visible
        assert (plane.labels.contour, plane.labels.mode) == (0, "erase")
    panel.layers.set_plane("sagittal")
    assert [plane.view.plane for plane in planes] == ["axial", "coronal"]


def test_a_stroke_in_another_plane_is_an_edit_of_the_case_and_can_be_undone_there(shown, session, qtbot):
    _, panel = shown
    coronal, before = panel._planes.content.planes[0], session.current.labels.copy()
    draw(coronal._canvas.canvas.native, (0.3, 0.3), (0.6, 0.4))
    qtbot.waitUntil(lambda: session.current.edits.operations == ("paint",))
    changed = np.argwhere(session.current.labels != before)
    assert len(changed) > 10
    assert set(changed[:, 1]) == {coronal.view.index}
    qtbot.keyClick(coronal._canvas.canvas.native, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    np.testing.assert_array_equal(session.current.labels, before)


def test_a_slice_of_one_is_the_cursor_of_all(shown):
    viewer, panel = shown
    planes = panel._planes.content.planes
    panel.layers.go_to_slice(0, 5)
    assert [plane.model.dims.point[0] for plane in planes] == [viewer.dims.point[0]] * 2
    planes[1].view.go_to_slice(2, 7)
    assert viewer.dims.point[2] == planes[0].model.dims.point[2] == planes[1].model.dims.point[2]


def test_the_first_view_goes_on_showing_the_whole_scan_in_the_room_that_is_left(shown, qtbot):
    viewer, panel = shown
    view, camera = panel.layers.view, camera_of(viewer)
    view.show_whole()
    others = [camera_of(plane.model).zoom for plane in panel._planes.content.planes]
    window = viewer.window._qt_window
    for size in ((1500, 1000), (800, 560)):
        before = view.whole
        window.resize(*size)
        qtbot.waitUntil(lambda before=before: view.shows_whole and view.whole != before)
        zoom = camera.zoom
        viewer.reset_view()
        assert camera.zoom == pytest.approx(zoom)
    assert not panel.whole_keeper._soon.isActive()
    fits = [plane.view.whole for plane in panel._planes.content.planes]
    assert [camera_of(plane.model).zoom for plane in panel._planes.content.planes] == pytest.approx(fits)
    assert others != pytest.approx(fits), "they have another size, too"


def test_who_has_zoomed_in_keeps_to_that_in_another_room(shown, qtbot):
    viewer, panel = shown
    view, camera = panel.layers.view, camera_of(viewer)
    view.show_whole()
    camera.zoom *= 3
    before = viewer.window._qt_window.size()
    viewer.window._qt_window.resize(1500, 1000)
    qtbot.waitUntil(lambda: viewer.window._qt_window.size() != before)
    assert not panel.whole_keeper._soon.isActive()
    assert camera.zoom > 2 * view.whole


def test_zooming_one_zooms_all(shown, qtbot):
    viewer, panel = shown
    views = [panel.layers.view, *(plane.view for plane in panel._planes.content.planes)]
    qtbot.waitUntil(lambda: all(view.whole for view in views))  # the canvases have taken their room
    before = [camera_of(plane.model).zoom for plane in panel._planes.content.planes]
    camera_of(viewer).zoom *= 2
    after = [camera_of(plane.model).zoom for plane in panel._planes.content.planes]
    assert after == pytest.approx([2 * zoom for zoom in before])


def test_another_case_takes_over_the_planes_and_without_one_they_are_empty(shown, session):
    _, panel = shown
    session.open(HandMadeCase("case_bb"))
    for plane in panel._planes.content.planes:
        assert plane.labels.data is session.current.labels
    session.open(None)
    for plane in panel._planes.content.planes:
        assert not any(layer.visible or layer.data.any() for layer in plane.model.layers)
        assert not plane.labels.editable


def test_layers_that_come_and_go_do_so_in_all_planes(shown, qtbot):
    viewer, panel = shown
    planes = panel._planes.content.planes
    panel.layers.show_changes(True)
    qtbot.waitUntil(lambda: all("changes" in plane.model.layers for plane in planes))
    assert all(plane.model.layers["changes"].data is viewer.layers["changes"].data for plane in planes)
    panel.layers.show_changes(False)
    qtbot.waitUntil(lambda: not any(plane.model.layers["changes"].visible for plane in planes))


def test_all_planes_are_led_where_napari_hands_out_its_viewer_as_a_proxy(session, make_napari_viewer_proxy, qtbot):
    viewer = make_napari_viewer_proxy(show=True)
    panel = ReviewPanel(session, viewer)
    panel.set_colours(colours_of("dark"))
    viewer.window.add_dock_widget(panel, name="Review", area="right")
    qtbot.mouseClick(panel._three, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: panel._planes.content.complete)
    planes = panel._planes.content.planes
    panel.layers.go_to_slice(0, 5)
    assert [plane.model.dims.point[0] for plane in planes] == [viewer.dims.point[0]] * 2
    before = [camera_of(plane.model).zoom for plane in planes]
    camera_of(viewer).zoom *= 2
    assert [camera_of(plane.model).zoom for plane in planes] == pytest.approx([2 * zoom for zoom in before])
    panel.close_down()


def test_the_planes_stay_while_a_stroke_goes_on(shown, session):
    _, panel = shown
    session.painting = lambda: True
    panel.show_planes(False)
    assert panel._three.isChecked()
    assert panel._planes.content.isVisible()


def test_a_locked_case_is_locked_in_all_planes(shown, session):
    _, panel = shown
    session.open(HandMadeCase("case_bb", status="accepted"))
    panel._planes.content._follow()
    assert [plane.labels.editable for plane in panel._planes.content.planes] == [False, False]


def test_the_planes_go_at_a_second_click_and_nothing_of_them_stays(shown, session, qtbot):
    viewer, panel = shown
    qtbot.mouseClick(panel._three, Qt.MouseButton.LeftButton)
    assert not panel._planes.content.isVisible()
    assert panel.layers.others() == []
    for plane in panel._planes.content.planes:
        assert not any(layer.visible or layer.data.any() for layer in plane.model.layers)
    viewer.layers["labels"].paint((12, 3, 3), 1)
    assert session.current.edits.operations == ("paint",)


def test_the_planes_come_back_with_the_case_that_is_open_then(shown, session, qtbot):
    viewer, panel = shown
    made = panel._planes.content.planes
    qtbot.mouseClick(panel._three, Qt.MouseButton.LeftButton)
    session.open(HandMadeCase("case_bb", shape=(30, 40, 44)))
    panel.layers.go_to_slice(0, 27)
    qtbot.mouseClick(panel._three, Qt.MouseButton.LeftButton)
    planes = panel._planes.content.planes
    assert planes == made
    for plane in planes:
        assert plane.isVisible()
        assert plane.labels.data is session.current.labels
        assert plane.labels.visible
        assert plane.labels.editable
        assert plane.model.dims.point[0] == viewer.dims.point[0]
        assert plane.model.dims.range == viewer.dims.range


def test_the_cross_of_the_dock_ends_the_planes_and_the_button_makes_them_anew(shown, qtbot):
    _, panel = shown
    panel._planes._dock.destroyOnClose()
    qtbot.waitUntil(lambda: not panel._three.isChecked())
    assert panel._planes.content is None
    qtbot.mouseClick(panel._three, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: panel._planes.content.complete)
    assert panel._three.isChecked()


def test_a_crosshair_in_each_view_shows_where_the_others_are(shown):
    viewer, panel = shown
    planes = panel._planes.content
    panel.layers.view.look_at((9, 20, 14))
    for model, crosshair in [(viewer, planes.first_crosshair)] + [(one.model, one.crosshair) for one in planes.planes]:
        camera = camera_of(model)
        crosshair.parent().resize(300, 200)
        assert (crosshair.width(), crosshair.height()) == (300, 200)
        spacing = panel.layers.view.spacing
        shown_at = [(9, 20, 14)[axis] * spacing[axis] for axis in model.dims.displayed]
        row = (shown_at[0] - camera.center[-2]) * camera.zoom + 100
        column = (shown_at[1] - camera.center[-1]) * camera.zoom + 150
        place = crosshair.place
        assert (place.y(), place.x()) == pytest.approx((row, column))
    panel.layers.set_plane("3-D")
    assert planes.first_crosshair.place is None


def test_what_the_brush_must_leave_alone_it_leaves_alone_in_all_planes(shown, session, qtbot):
    viewer, panel = shown
    coronal = panel._planes.content.planes[0]
    viewer.layers["labels"].preserve_labels = True
    qtbot.waitUntil(lambda: coronal.labels.preserve_labels)
    coronal.labels.preserve_labels = False
    assert not viewer.layers["labels"].preserve_labels


def test_labels_hidden_in_one_plane_are_hidden_in_all_and_come_back_with_their_tool(shown, qtbot):
    viewer, panel = shown
    coronal, labels = panel._planes.content.planes[0], viewer.layers["labels"]
    assert str(labels.mode) == "paint"
    coronal.labels.visible = False
    assert not labels.visible
    coronal.labels.visible = True
    assert labels.visible
    assert str(labels.mode) == "paint"


def test_an_outline_that_is_not_closed_goes_with_its_plane(shown, session, qtbot):
    """Its voxels would stay in the labels, and in no edit."""
    _, panel = shown
    coronal, before = panel._planes.content.planes[0], session.current.labels.copy()
    if not hasattr(coronal.labels, "_begin_stroke"):
        pytest.skip("this napari draws no outline with the right button")
    native = coronal._canvas.canvas.native
    place = native.rect().center()
    qtbot.mouseClick(native, Qt.MouseButton.RightButton, pos=place)
    qtbot.mouseMove(native, place + QPoint(12, 0))
    qtbot.waitUntil(lambda: bool((session.current.labels != before).any()))
    panel._planes.close()
    np.testing.assert_array_equal(session.current.labels, before)
    assert session.current.edits.operations == ()


def test_the_crosshair_of_the_first_view_goes_with_the_planes(shown, qtbot):
    _, panel = shown
    crosshair = panel._planes.content.first_crosshair
    assert crosshair.isVisible()
    qtbot.mouseClick(panel._three, Qt.MouseButton.LeftButton)
    assert not crosshair.isVisible()
