"""Run as a program: a window on a pool, a case open, a stroke every now and then, until it is killed.

python window_killed.py POOL CASE
Prints a line a stroke: its number, the clock, voxels changed so far, and the number of the training process.
"""

import os
import sys
import time
from pathlib import Path

os.environ["NAPARI_CONFIG"] = ""

import napari
from qtpy.QtTest import QTest
from strokes import stroke

from napari_bcp.app.dock import BcpWidget


def main():
    """Paint, in another place each time, and train meanwhile if there is a third argument."""
    viewer = napari.Viewer()
    widget = BcpWidget(viewer)
    viewer.window.add_dock_widget(widget)
    session = widget._session
    session.open_pool(Path(sys.argv[1]))
    wait(lambda: session.pool is not None)
    session.open_case(sys.argv[2])
    wait(lambda: session.current is not None and "labels" in viewer.layers)
    if len(sys.argv) > 3:
        session.start_training("quick", 10, {"width": 4, "patch": [16, 16, 16], "threads": 1})
        wait(lambda: session.training.phase == "training")
    for number in range(1000):
        place = 0.3 + 0.4 * (number % 10) / 10
        viewer.layers["labels"].selected_label = 1 + number % 3
        stroke(viewer, (place, 0.4), (place, 0.6), steps=3)
        wait(lambda number=number: len(session.current.edits.operations) == number + 1)
        told = (number + 1, time.time(), session.current.edits.voxels_changed, session.child or 0)
        sys.stdout.write(" ".join(map(str, told)) + "\n")
        sys.stdout.flush()
        QTest.qWait(200)


def wait(condition):
    """Let the window work until something holds."""
    deadline = time.monotonic() + 120
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        QTest.qWait(10)


if __name__ == "__main__":
    main()
