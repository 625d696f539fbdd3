"""The mouse on napari's canvas and on widgets, as a hand moves it."""

from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication


def stroke(viewer, first, last, steps=6):
    """Draw on a viewer's canvas, as `draw`."""
    draw(viewer.window._qt_viewer.canvas.native, first, last, steps)


def draw(canvas, first, last, steps=6):
    """Draw with the left button from `first` to `last`, each as shares of the canvas's width and height."""
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


def roll(widget, angle=-120):
    """Turn the wheel over the middle of `widget`, by one notch towards the hand; return the event."""
    place = QPointF(widget.rect().center())
    wheel = QWheelEvent(
        place,
        QPointF(widget.mapToGlobal(place.toPoint())),
        QPoint(),
        QPoint(0, angle),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(widget, wheel)
    return wheel


def paint_cube(case, value=1, size=4):
    """Paint a cube into an open case, as a stroke; return its box."""
    box = tuple(slice(n // 2, n // 2 + size) for n in case.labels.shape)
    old = case.labels[box].copy()
    case.labels[box] = value
    case.edits.record_stroke([(box, None, old, value)])
    return box
