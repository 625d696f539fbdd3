"""The mouse on napari's canvas, as a hand moves it."""

from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest


def stroke(viewer, first, last, steps=6):
    """Draw with the left button from `first` to `last`, each as shares of the canvas's width and height."""
    canvas = viewer.window._qt_viewer.canvas.native
    size = canvas.size()
    places = [
        QPoint(
            round(size.width() * (first[0] + (last[0] - first[0]) * i / steps)),
            round(size.height() * (first[1] + (last[1] - first[1]) * i / steps)),
        )
        for i in range(steps + 1)
    ]
    QTest.mouseMove(canvas, places[0])
    QTest.mousePress(canvas, Qt.MouseButton.LeftButton, pos=places[0])
    for place in places:
        QTest.mouseMove(canvas, place)
        QTest.qWait(10)  # napari takes one move in five milliseconds
    QTest.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=places[-1])


def press(viewer, key, modifier=Qt.KeyboardModifier.NoModifier):
    """Press a key with the canvas having the focus."""
    QTest.keyClick(viewer.window._qt_viewer.canvas.native, key, modifier)
