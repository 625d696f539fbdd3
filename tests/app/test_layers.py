"""The open case on napari's canvas: its layers, and strokes on them."""

import numpy as np
import pytest
from canvas_cases import SHAPE, HandMadeCase, HandMadeSession
from napari.components import ViewerModel
from qtpy.QtCore import Qt
from strokes import press, stroke

from napari_bcp.app import layers as layers_module
from napari_bcp.app.layers import CaseLayers

OWN = ["scan", "map: liver", "uncertainty", "labels"]


def names(viewer):
    return [layer.name for layer in viewer.layers]


@pytest.fixture
def viewer(qapp):
    """A viewer without a window, which is all that the layers need; a window takes seconds."""
    return ViewerModel()


@pytest.fixture
def session():
    return HandMadeSession(HandMadeCase())


@pytest.fixture
def canvas(session, viewer):
    layers = CaseLayers(session, viewer)
    yield layers
    layers.close()


@pytest.fixture
def shown(session, make_napari_viewer):
    """A viewer on the screen, for strokes of the mouse."""
    viewer = make_napari_viewer(show=True)
    layers = CaseLayers(session, viewer)
    yield viewer, layers
    layers.close()


# -- layers of a case ---------------------------------------------------------------------------------------------


def test_a_case_has_its_layers_alike_in_geometry_and_the_labels_ready_to_paint(canvas, viewer, session):
    assert names(viewer) == OWN
    for layer in viewer.layers:
        assert tuple(layer.scale) == (3, 1, 1)
        assert tuple(str(unit) for unit in layer.units) == ("millimeter",) * 3
        assert layer.axis_labels == ("z", "y", "x")
        assert layer.data.shape == SHAPE
    labels = viewer.layers["labels"]
    assert labels.data is session.current.edits.array, "strokes must land in the array of the edits"
    assert viewer.layers.selection.active == labels
    assert str(labels.mode) == "paint"
    assert labels.selected_label == 1
    assert list(labels.features["name"]) == ["background", "liver", "spleen", "aorta"]
    assert viewer.layers["scan"].contrast_limits == [-20, 250]
    assert [layer.visible for layer in viewer.layers] == [True, True, False, True]


def test_opening_shows_the_middle_of_the_structure(canvas, viewer, session):
    assert viewer.dims.point == (12 * 3, 32, 21)


def test_without_a_map_its_layers_wait_empty_and_say_so(canvas, viewer, session):
    before = [viewer.layers[name] for name in ("map: liver", "uncertainty")]
    session.open(HandMadeCase("case_bb", with_map=False))
    assert names(viewer) == ["scan", "map: none yet", "uncertainty: none yet", "labels"]
    assert [viewer.layers[place] for place in (1, 2)] == before, "new layers would hold the window up"
    assert not any(layer.data.any() for layer in before)
    session.open(HandMadeCase())
    assert names(viewer) == ["scan", "map: liver", "uncertainty", "labels"]
    assert before[0].data.any()


def test_the_first_case_without_a_map_has_its_layers_too(viewer):
    canvas = CaseLayers(HandMadeSession(HandMadeCase(with_map=False)), viewer)
    assert names(viewer) == ["scan", "map: none yet", "uncertainty: none yet", "labels"]
    canvas.close()


def test_options_that_stay_are_not_set_again(canvas, viewer, session):
    drawn = []
    for name in ("map: liver", "labels"):
        layer = viewer.layers[name]
        for event in ("visible", "opacity", "colormap"):
            getattr(layer.events, event).connect(lambda event: drawn.append(event.type))
    session.open(HandMadeCase("case_bb"))
    assert drawn == [], "napari slices and draws for each"
    viewer.layers["map: liver"].colormap = "magma"
    session.open(HandMadeCase("case_cc"))
    assert drawn == ["colormap"]


def test_another_case_takes_over_the_layers_and_leaves_the_users_own(canvas, viewer, session):
    mine = viewer.add_points(np.zeros((1, 3)), name="my landmarks", units=("mm",) * 3, axis_labels=("z", "y", "x"))
    before = {name: viewer.layers[name] for name in OWN}
    viewer.layers["labels"].brush_size = 17
    other = HandMadeCase("case_bb", shape=(10, 40, 30), spacing=(2.0, 0.5, 0.5))
    session.open(other)
    assert {name: viewer.layers[name] for name in OWN} == before, "new layers flicker and are slow"
    assert sorted(names(viewer)) == sorted([*OWN, "my landmarks"])
    for name in OWN:
        assert tuple(viewer.layers[name].scale) == (2, 0.5, 0.5)
        assert viewer.layers[name].data.shape == (10, 40, 30)
    np.testing.assert_array_equal(viewer.layers["map: liver"].data, other.probability(1))
    assert viewer.layers["labels"].data is other.labels
    assert viewer.layers["labels"].brush_size == 17
    session.open(None)
    assert names(viewer) == ["my landmarks"]
    assert mine in viewer.layers


def test_until_its_own_map_is_read_no_other_cases_map_lies_over_a_scan(canvas, viewer, session, monkeypatch):
    monkeypatch.setattr(session, "ask_current", lambda question, then: None)
    session.open(HandMadeCase("case_bb"))
    assert not viewer.layers["map: liver"].data.any()
    assert not viewer.layers["uncertainty"].data.any()


def test_coming_back_to_the_open_case_finds_it_as_it_was_left(canvas, viewer, session):
    canvas.go_to_slice(0, 3)
    canvas.set_contrast(0, 50)
    canvas.show_changes(True)
    session.case_opened.emit()
    assert canvas.view.index == 3
    assert viewer.layers["scan"].contrast_limits == [0, 50]
    assert canvas.changes_shown


def test_a_ct_window_that_was_chosen_is_that_of_the_next_cases(canvas, viewer, session):
    canvas.set_contrast(-1350, 150, "lung")
    for window, wanted in (({"lung": (-1300.0, 100.0)}, [-1300, 100]), ({}, [-20, 250])):  # the second is no CT
        other = HandMadeCase("case_bb")
        other.windows = window
        session.open(other)
        assert viewer.layers["scan"].contrast_limits == wanted


@pytest.mark.parametrize("act", ["take_brush", "choose", "open"])
def test_the_labels_are_the_active_layer_again_once_there_is_something_to_paint(canvas, viewer, session, act):
    """A click on the scan, to change its contrast, takes brush and keys away from the labels."""
    viewer.layers.selection.active = viewer.layers["scan"]
    acts = {
        "take_brush": lambda: canvas.take_brush("smart"),
        "choose": lambda: canvas.choose(2),
        "open": lambda: session.open(HandMadeCase("case_bb")),
    }
    acts[act]()
    assert viewer.layers.selection.active is viewer.layers["labels"]


def test_going_through_the_slices_is_noted(canvas, viewer, session):
    assert not session.current.looked, "opening a case is not reading it"
    viewer.dims.set_point(0, 0)
    assert session.current.looked
    canvas.restore()
    viewer.layers.remove(viewer.layers["scan"])
    canvas.restore()
    assert session.current.looked, "nobody has looked less for a layer that was put back"
    session.open(HandMadeCase("case_bb"))
    assert not session.current.looked


def test_in_3d_no_map_comes_before_the_labels_and_a_choice_made_there_holds(canvas, viewer, session):
    canvas.set_plane("3-D")
    canvas.choose(2)
    session.open(HandMadeCase("case_bb"))
    canvas.show_overlay("uncertainty")
    assert [layer.name for layer in viewer.layers if layer.visible] == ["labels"]
    canvas.set_plane("axial")
    assert [layer.name for layer in viewer.layers if layer.visible] == ["scan", "uncertainty", "labels"]
    viewer.layers["scan"].visible = False
    canvas.set_plane("3-D")
    canvas.set_plane("axial")
    assert not viewer.layers["scan"].visible, "it was hidden by hand"


def test_a_former_cases_strokes_cannot_be_undone_into_the_next(canvas, viewer, session):
    viewer.layers["labels"].paint((12, 10, 10), 2)
    other = HandMadeCase("case_bb")
    before = other.labels.copy()
    session.open(other)
    viewer.layers["labels"].undo()
    canvas.undo()
    np.testing.assert_array_equal(other.labels, before)


def test_closing_takes_only_the_own_layers_away_and_listens_no_more(canvas, viewer, session):
    viewer.add_image(np.zeros(SHAPE), name="mine", units=("mm",) * 3, axis_labels=("z", "y", "x"))
    canvas.close()
    session.open(HandMadeCase("case_bb"))
    assert names(viewer) == ["mine"]
    assert not session.painting()


def test_a_second_canvas_of_a_session_closes_the_first(canvas, viewer, session):
    second = CaseLayers(session, viewer)
    assert names(viewer) == OWN
    viewer.layers["labels"].paint((12, 3, 3), 2)
    assert session.current.edits.operations == ("paint",), "one stroke is one edit"
    second.close()


def test_a_layer_that_the_user_deleted_comes_back_when_asked(canvas, viewer, session):
    viewer.layers.remove("labels")
    assert not canvas.complete
    canvas.restore()
    assert canvas.complete
    assert viewer.layers["labels"].data is session.current.labels
    viewer.layers["labels"].paint((12, 3, 3), 2)
    assert session.current.edits.operations == ("paint",)


# -- class, overlay, plane ----------------------------------------------------------------------------------------


def test_choosing_a_class_paints_it_and_shows_its_map(canvas, viewer, session):
    canvas.choose(2)
    assert viewer.layers["labels"].selected_label == 2
    assert names(viewer) == ["scan", "map: spleen", "uncertainty", "labels"]
    np.testing.assert_array_equal(viewer.layers["map: spleen"].data, session.current.probability(2))


@pytest.mark.parametrize(("start", "asked", "given"), [(1, 2, 2), (2, 3, 5), (5, 4, 2), (5, 6, 5), (1, 200, 2)])
def test_a_number_of_no_class_goes_on_to_the_next_class(canvas, viewer, start, asked, given):
    """napari's keys − and = step by one, and M takes the next free number."""
    canvas.choose(start)
    viewer.layers["labels"].selected_label = asked
    assert (viewer.layers["labels"].selected_label, canvas.chosen) == (given, given)


def test_the_background_may_be_painted_and_the_class_stays_chosen(canvas, viewer):
    canvas.choose(2)
    viewer.layers["labels"].selected_label = 0
    assert (viewer.layers["labels"].selected_label, canvas.chosen) == (0, 2)
    canvas.choose(2)
    assert viewer.layers["labels"].selected_label == 2, "choosing the class again leads back to it"


def test_no_tool_moves_or_turns_the_layers(canvas, viewer, session):
    """They would lie beside the scan, in this case and in all that follow."""
    labels = viewer.layers["labels"]
    labels.mode = "fill"
    labels.mode = "transform"
    assert str(labels.mode) == "fill"
    for layer in viewer.layers:
        layer.affine = [[1, 0, 0, 4], [0, 1, 0, 0], [0, 0, 1, 7], [0, 0, 0, 1]]
        np.testing.assert_array_equal(layer.affine.affine_matrix, np.eye(4))


@pytest.mark.parametrize("brush", ["map", "smart"])
def test_a_brush_that_paints_the_background_erases(canvas, viewer, session, brush, monkeypatch):
    asked = []
    monkeypatch.setattr(layers_module, "stroke_rule", lambda *facts: asked.append(facts[1:4]))
    canvas.take_brush(brush)
    labels = viewer.layers["labels"]
    session.current.labels[...] = 1
    labels.selected_label = 0
    with labels.block_history():
        labels.paint((12, 24, 14), 0)
    assert asked == [(brush, 1, False)]


def test_the_overlay_is_the_map_or_the_uncertainty_or_nothing_also_by_naparis_own_buttons(canvas, viewer):
    canvas.show_overlay("uncertainty")
    assert [layer.visible for layer in viewer.layers] == [True, False, True, True]
    canvas.show_overlay("nothing")
    assert [layer.visible for layer in viewer.layers] == [True, False, False, True]
    viewer.layers["map: liver"].visible = True
    assert canvas.overlay == "map"
    viewer.layers["map: liver"].opacity = 0.8
    assert canvas.opacity == 0.8


def test_a_newer_map_replaces_the_former_in_place(canvas, viewer, session):
    layer = viewer.layers["map: liver"]
    canvas.set_opacity(0.3)
    canvas.show_overlay("nothing")
    session.current.probabilities = session.current.probabilities // 2
    session.map_changed.emit("another_case")
    assert layer.data.max() > 200
    session.map_changed.emit("case_a")
    np.testing.assert_array_equal(layer.data, session.current.probability(1))
    assert viewer.layers["map: liver"] is layer
    assert (layer.opacity, layer.visible) == (0.3, False)


def test_planes_are_naparis_orders_of_the_axes(canvas, viewer):
    assert canvas.view.plane == "axial"
    for plane, order in (("coronal", (1, 0, 2)), ("sagittal", (2, 0, 1)), ("axial", (0, 1, 2))):
        canvas.set_plane(plane)
        assert (viewer.dims.order, canvas.view.plane, canvas.view.axis) == (order, plane, order[0])
    canvas.set_plane("3-D")
    assert (viewer.dims.ndisplay, canvas.view.plane) == (3, "3-D")
    canvas.set_plane("coronal")
    assert (viewer.dims.ndisplay, canvas.view.plane) == (2, "coronal")


def test_a_users_layer_with_time_leaves_planes_and_slices_where_they_belong(canvas, viewer, session):
    viewer.add_image(np.zeros((2, *SHAPE)), name="movie", units=("s", "mm", "mm", "mm"), axis_labels=tuple("tzyx"))
    canvas.set_plane("sagittal")
    assert viewer.dims.order == (0, 3, 1, 2)
    canvas.go_to_slice(2, 17)
    assert viewer.dims.point[3] == 17
    canvas.view.look_at((4, 30, 40))
    assert tuple(viewer.dims.point[1:]) == (12, 30, 40)


# -- edits --------------------------------------------------------------------------------------------------------


def test_a_stroke_of_the_mouse_is_one_edit_and_control_z_takes_it_back(shown, session, qtbot):
    viewer, _ = shown
    edits, before = session.current.edits, session.current.labels.copy()
    stroke(viewer, (0.45, 0.2), (0.55, 0.25))
    qtbot.waitUntil(lambda: edits.operations == ("paint",))
    after = session.current.labels.copy()
    changed = np.argwhere(after != before)
    assert len(changed) > 50
    assert set(changed[:, 0]) == {12}, "the brush paints the shown slice"
    assert (after[after != before] == 1).all()
    press(viewer, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    np.testing.assert_array_equal(session.current.labels, before)
    both = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier
    press(viewer, Qt.Key.Key_Z, both)
    np.testing.assert_array_equal(session.current.labels, after)


def drag(labels, place):
    """Paint as a hand does: napari tells of it once the button is let go."""
    with labels.block_history():
        labels.paint(place, 1)


@pytest.mark.parametrize("brush", ["map", "grey", "smart"])
def test_a_brush_that_knows_the_case_makes_one_edit_of_its_own_of_a_stroke(canvas, viewer, session, brush):
    labels, case = viewer.layers["labels"], session.current
    before = case.labels.copy()
    labels.mode, labels.brush_size = "paint", 5
    canvas.take_brush("plain")
    drag(labels, (12, 24, 14))
    plain = case.labels.copy()
    canvas.undo()
    np.testing.assert_array_equal(case.labels, before)
    canvas.take_brush(brush)
    drag(labels, (12, 24, 14))
    assert case.edits.operations == (
        ("scribble" if brush == "smart" else "paint",) if np.any(case.labels != before) else ()
    )
    if brush != "smart":
        assert np.all((case.labels == plain) | (case.labels == before))
    else:
        np.testing.assert_array_equal(case.labels[plain != before], 1)
    canvas.undo()
    np.testing.assert_array_equal(case.labels, before)


def test_a_brush_that_keeps_to_the_map_leaves_no_paint_where_the_map_has_nothing(canvas, viewer, session):
    labels, case = viewer.layers["labels"], session.current
    case.probability = lambda _: np.zeros(SHAPE, np.uint8)
    canvas.take_brush("map")
    drag(labels, (12, 3, 3))
    np.testing.assert_array_equal(case.labels, case.proposal)
    assert not case.edits.operations


def test_taking_a_brush_takes_up_the_brush(canvas, viewer):
    labels = viewer.layers["labels"]
    labels.mode = "pan_zoom"
    canvas.take_brush("smart")
    assert (labels.mode, canvas.brush) == ("paint", "smart")
    labels.mode = "erase"
    canvas.take_brush("grey")
    assert labels.mode == "erase"


def test_napari_keeps_no_history_beside_the_edits(canvas, viewer):
    labels = viewer.layers["labels"]
    for place in range(5):
        labels.paint((12, 3 + place, 3), 2)
    assert len(labels._undo_history) == 0


def test_undo_waits_until_a_stroke_is_over(canvas, viewer, session):
    labels, edits = viewer.layers["labels"], session.current.edits
    labels.paint((12, 3, 3), 2)
    with labels.block_history():
        labels.paint((12, 30, 3), 2)
        assert session.painting()
        canvas.undo()
    assert edits.operations == ("paint", "paint")
    assert not session.painting()
    before = session.current.proposal
    canvas.undo()
    canvas.undo()
    np.testing.assert_array_equal(session.current.labels, before)


def test_stamps_of_one_stroke_may_overlap(canvas, viewer, session):
    labels = viewer.layers["labels"]
    with labels.block_history():
        for value in (2, 5, 0, 1):
            labels.paint((12, 30, 20 + value), value)
    assert session.current.edits.operations == ("paint",)
    canvas.undo()
    np.testing.assert_array_equal(session.current.labels, session.current.proposal)


def test_the_bucket_and_a_script_are_edits_too(canvas, viewer, session):
    labels = viewer.layers["labels"]
    labels.mode = "fill"
    labels.fill((12, 32, 20), 2)
    labels.mode = "erase"
    labels.data_setitem((np.array([0, 1]), np.array([0, 1]), np.array([0, 1])), 5)
    assert session.current.edits.operations == ("fill", "erase")
    canvas.undo()
    canvas.undo()
    np.testing.assert_array_equal(session.current.labels, session.current.proposal)


def test_an_edit_of_another_tool_is_shown_and_undo_goes_where_it_was(canvas, viewer, session):
    case = session.current
    new = case.labels.copy()
    new[3, 5:9, 5:9] = 2
    case.edits.apply("restore", new)
    assert viewer.dims.point[0] == 36
    canvas.undo()
    assert viewer.dims.point[0] == 9, "what is taken back is shown"
    canvas.redo()
    shown = viewer.layers["labels"]._slice.image.raw
    assert (np.asarray(shown)[5:9, 5:9] == 2).all()


def test_labels_put_in_place_by_another_plugin_become_an_edit(canvas, viewer, session):
    case, labels = session.current, viewer.layers["labels"]
    new = case.labels.astype(np.int32)
    new[0, :3] = 5
    labels.data = new
    assert labels.data is case.edits.array
    assert (case.labels[0, :3] == 5).all()
    assert case.edits.operations == ("replace",)
    labels.data = np.full(SHAPE, 77, np.int32)
    assert labels.data is case.edits.array, "77 is no class"
    assert case.edits.operations == ("replace",)


def test_an_accepted_case_is_locked_until_it_is_reopened(canvas, viewer, session):
    labels = viewer.layers["labels"]
    labels.paint((12, 3, 3), 2)
    labels.mode = "erase"
    session.change(status="accepted", editable=False)
    assert not labels.editable
    canvas.undo()
    assert session.current.edits.can_undo, "nothing is undone in a locked case"
    session.change(status="draft", editable=True)
    assert labels.editable
    assert str(labels.mode) == "erase", "the tool is back"


def test_painting_beside_the_scan_does_nothing_and_the_tool_comes_back(shown, session, qtbot):
    """With a longer layer of the user's the slider leaves the scan, where napari fails (napari#7325)."""
    viewer, _ = shown
    labels = viewer.layers["labels"]
    viewer.add_image(np.zeros((60, 64, 64)), scale=(3, 1, 1), units=("mm",) * 3, axis_labels=("z", "y", "x"))
    viewer.layers.selection.active = labels
    viewer.dims.set_point(0, 40 * 3)
    stroke(viewer, (0.4, 0.4), (0.6, 0.6))
    press(viewer, Qt.Key.Key_P)
    stroke(viewer, (0.4, 0.4), (0.6, 0.6))
    np.testing.assert_array_equal(session.current.labels, session.current.proposal)
    viewer.dims.set_point(0, 12 * 3)
    assert str(labels.mode) == "paint"
    viewer.reset_view()  # without a tool the strokes have moved the scan
    stroke(viewer, (0.4, 0.2), (0.5, 0.2))
    qtbot.waitUntil(lambda: session.current.edits.operations == ("paint",))


def test_labels_are_outlines_until_areas_are_asked_for_and_in_3d_nothing_hides_them(canvas, viewer):
    labels = viewer.layers["labels"]
    assert (labels.contour, canvas.filled) == (1, False), "an area would hide what it is about"
    canvas.set_filled(True)
    assert labels.contour == 0
    canvas.set_filled(False)
    canvas.set_plane("3-D")
    assert [layer.visible for layer in viewer.layers] == [False, False, False, True]
    assert labels.contour == 0
    canvas.set_plane("coronal")
    assert [layer.visible for layer in viewer.layers] == [True, True, False, True]
    assert labels.contour == 1
    assert canvas.overlay == "map"


# -- island and changes -------------------------------------------------------------------------------------------


def test_an_island_is_outlined_and_looked_at(canvas, viewer, session):
    (island,) = session.current.islands()
    canvas.island.show(island)
    layer = viewer.layers["island"]
    low = np.round(np.asarray(layer.translate) / layer.scale).astype(int)
    whole = np.zeros(SHAPE, np.uint8)
    whole[tuple(slice(a, a + n) for a, n in zip(low, layer.data.shape, strict=True))] = layer.data
    inside = np.zeros(SHAPE, bool)
    inside.flat[island.indices] = True
    assert not whole[inside].any(), "what it is made of stays in sight"
    assert whole[:, 3:10, 4:10].any()
    assert set(np.argwhere(whole)[:, 0]) <= {2, 3}
    assert round(viewer.dims.point[0] / 3) in (2, 3)
    assert viewer.layers.selection.active == viewer.layers["labels"]
    canvas.island.show(None)
    assert "island" not in viewer.layers


def test_what_changed_is_shown_and_follows_the_strokes(canvas, viewer, session):
    labels = viewer.layers["labels"]
    labels.paint((12, 3, 3), 2)
    canvas.show_changes(True)
    changes = viewer.layers["changes"]
    added = session.current.labels != session.current.proposal
    np.testing.assert_array_equal(changes.data, added)
    labels.paint((12, 32, 20), 0)
    removed = (session.current.labels == 0) & (session.current.proposal != 0)
    assert removed.any()
    np.testing.assert_array_equal(changes.data == 2, removed)
    canvas.undo()
    np.testing.assert_array_equal(changes.data, added)
    canvas.show_changes(False)
    assert not canvas.changes_shown
    assert names(viewer) == OWN
