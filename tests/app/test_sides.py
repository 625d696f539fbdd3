"""The letters at the edges of a canvas."""

import nibabel as nib
import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtWidgets import QWidget

from napari_bcp.app.sides import Sides
from napari_bcp.app.view import View, camera_of
from napari_bcp.scans import display_arrays, read_scan

_TOWARDS = {"left": "L", "right": "R", "front": "A", "back": "P", "head": "S", "feet": "I"}
_AXIS = {"left": 0, "right": 0, "front": 1, "back": 1, "head": 2, "feet": 2}


@pytest.fixture
def shown(qtbot):
    """A viewer of a scan, a widget as its canvas, and the letters over it."""
    viewer, canvas = ViewerModel(), QWidget()
    qtbot.addWidget(canvas)
    canvas.resize(400, 300)
    canvas.show()
    viewer.add_image(np.zeros((12, 10, 8), np.float32))
    sides = Sides(viewer, canvas)
    sides.show(True)
    return viewer, canvas, sides


def letters(sides):
    return {edge: label.text() for edge, label in sides.edges.items() if label.isVisible()}


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "ASL"])
@pytest.mark.parametrize("side", _TOWARDS)
def test_the_letter_stands_where_that_side_of_the_patient_is(shown, tmp_path, codes, side):
    """A bright half towards one side, in a file with its axes in whatever order, is shown by that letter's edge."""
    viewer, _, sides = shown
    towards = side in ("right", "front", "head")  # nibabel's affines run to the right, the front and the head
    towards = not towards if side in ("left", "right") else towards
    bright = np.zeros((8, 10, 12), np.float32)  # x to the left here, y to the front, z to the head
    half = [slice(None)] * 3
    axis = _AXIS[side]
    half[axis] = slice(bright.shape[axis] // 2, None) if towards else slice(0, bright.shape[axis] // 2)
    bright[tuple(half)] = 1
    image = nib.Nifti1Image(bright, np.diag([-1.0, 1, 1, 1]))
    turn = nib.orientations.ornt_transform(
        nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(tuple(codes))
    )
    nib.save(image.as_reoriented(turn), tmp_path / "scan.nii.gz")
    scan = read_scan(tmp_path / "scan.nii.gz")
    data, _ = display_arrays(scan.voxels, scan.grid)
    viewer.layers[0].data = data
    seen = 0
    for plane in ("axial", "coronal", "sagittal"):
        View(viewer).show_plane(plane)
        found = {letter: edge for edge, letter in letters(sides).items()}
        assert len(found) == 4
        if _TOWARDS[side] not in found:
            continue  # it lies before or behind this plane
        seen += 1
        rows, columns = (np.argwhere(data == 1)[:, axis].mean() / data.shape[axis] for axis in viewer.dims.displayed)
        near = {"top": rows < 0.4, "bottom": rows > 0.6, "left": columns < 0.4, "right": columns > 0.6}
        assert near[found[_TOWARDS[side]]], plane
    assert seen == 2


def test_a_canvas_that_was_turned_round_has_its_letters_turned(shown):
    viewer, _, sides = shown
    before = letters(sides)
    assert before == {"top": "A", "bottom": "P", "left": "R", "right": "L"}
    camera = camera_of(viewer)
    if not hasattr(camera, "orientation"):
        pytest.skip("this napari has no way to turn the canvas round")
    camera.orientation = ("towards", "up", "left")
    assert letters(sides) == {"top": "P", "bottom": "A", "left": "L", "right": "R"}


def test_there_are_none_in_3d_nor_before_there_is_a_case(shown):
    viewer, _, sides = shown
    viewer.dims.ndisplay = 3
    assert letters(sides) == {}
    viewer.dims.ndisplay = 2
    assert len(letters(sides)) == 4
    sides.show(False)
    assert letters(sides) == {}


def test_they_stay_at_the_edges_of_a_canvas_of_another_size(shown):
    _, canvas, sides = shown
    canvas.resize(200, 500)
    right, bottom = sides.edges["right"].geometry(), sides.edges["bottom"].geometry()
    assert right.right() < 200
    assert right.right() > 180
    assert abs(right.center().y() - 250) <= 1
    assert abs(bottom.center().x() - 100) <= 1
    assert 480 < bottom.bottom() < 500
    sides.close_down()
    sides.close_down()
    canvas.resize(100, 100)
    assert letters(sides) == {}
