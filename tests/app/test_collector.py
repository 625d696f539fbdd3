"""What the search for garbage leaves out, and for how long."""

import gc
import weakref

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_bcp.app import collector


@pytest.fixture(autouse=True)
def nothing_left_out():
    gc.unfreeze()
    collector._docks.clear()
    yield
    gc.unfreeze()
    collector._docks.clear()


class Knot:
    """Garbage that only a search finds."""

    def __init__(self):
        self.itself = self


def test_what_is_there_is_left_out_until_the_last_dock_is_gone():
    first = collector.spare(ViewerModel())
    left_out = gc.get_freeze_count()
    assert left_out > 10_000
    second = collector.spare(ViewerModel())
    assert gc.get_freeze_count() == left_out
    first()
    first()
    assert gc.get_freeze_count() == left_out
    second()
    assert gc.get_freeze_count() == 0


def test_what_comes_later_is_freed():
    collector.spare(ViewerModel())
    later = weakref.ref(Knot())
    gc.collect()
    assert later() is None


def test_garbage_that_is_there_is_freed_before():
    earlier = weakref.ref(Knot())
    collector.spare(ViewerModel())
    assert earlier() is None


def test_beside_layers_that_the_user_has_nothing_is_left_out():
    viewer = ViewerModel()
    viewer.add_image(np.zeros((4, 4)))
    collector.spare(viewer)
    assert gc.get_freeze_count() == 0
