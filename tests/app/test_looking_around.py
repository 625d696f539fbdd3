"""Where the view looks when another case is opened."""

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_bcp.app.view import View, camera_of


@pytest.fixture
def looked(qapp):
    """A viewer in which the whole of one scan is shown, and its view."""
    viewer = ViewerModel()
    viewer.add_image(np.zeros((10, 40, 40), np.float32))
    view = View(viewer)
    view.look_around((3, 5, 5), first=True)
    return viewer, view


def test_the_whole_scan_stays_in_the_middle_of_a_canvas_of_another_size(looked):
    viewer, view = looked
    camera = camera_of(viewer)
    viewer.canvas.size = tuple(2 * n for n in viewer.canvas.size)
    camera.zoom *= 2  # so the canvas goes on showing what it showed
    view.look_around((7, 30, 30), first=False)
    assert tuple(camera.center)[-2:] == pytest.approx((19.5, 19.5))
    assert view.index == 7


def test_who_has_zoomed_in_goes_on_so_at_the_voxel(looked):
    viewer, view = looked
    camera = camera_of(viewer)
    zoom = 3 * camera.zoom
    camera.zoom = zoom
    view.look_around((7, 30, 30), first=False)
    assert camera.zoom == pytest.approx(zoom)
    assert tuple(camera.center)[-2:] == pytest.approx((30, 30))
    view.look_around((7, 30, 30), first=True)
    assert camera.zoom == pytest.approx(zoom / 3)
