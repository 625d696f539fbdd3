"""Two thin lines over a canvas, where the other planes cut the one that it shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from qtpy.QtCore import QEvent, QPointF, Qt
from qtpy.QtGui import QColor, QPainter, QPen
from qtpy.QtWidgets import QWidget

from napari_bcp.app.view import camera_of

if TYPE_CHECKING:
    from qtpy.QtCore import QObject
    from qtpy.QtGui import QPaintEvent

_LINE: Final = QColor(255, 225, 110, 170)
_GAP: Final = 12  # pixels around the place that stay free, so that the voxels there can be seen


class Crosshair(QWidget):
    """The place that a viewer's dims are at, over its canvas; the mouse does not notice it.

    viewer : what the canvas shows;  canvas : the widget that it is drawn in
    """

    def __init__(self, viewer: Any, canvas: QWidget) -> None:
        super().__init__(canvas)
        self._viewer, self._canvas = viewer, canvas
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.setAttribute(Qt.WidgetAttribute.WA_NoSystemBackground)
        camera = camera_of(viewer)
        self._events = (
            *(getattr(viewer.dims.events, name) for name in ("point", "order", "ndisplay")),
            camera.events.center,
            camera.events.zoom,
        )
        for event in self._events:
            event.connect(self._moved)
        canvas.installEventFilter(self)
        self.resize(canvas.size())
        self.show()

    def close_down(self) -> None:
        """Follow nothing any more, and go."""
        for event in self._events:
            event.disconnect(self._moved)
        self._canvas.removeEventFilter(self)
        self.hide()
        self.deleteLater()

    @property
    def place(self) -> QPointF | None:
        """Where the lines cross, in pixels of the canvas, or None where a plane is not what is shown."""
        dims, camera = self._viewer.dims, camera_of(self._viewer)
        if dims.ndisplay != 2 or dims.ndim < 3 or getattr(self._viewer, "canvas", self._viewer).grid.enabled:
            return None
        down, right = getattr(camera, "orientation2d", ("down", "right"))
        signs = 1 if str(down) == "down" else -1, 1 if str(right) == "right" else -1
        row, column = (
            (dims.point[axis] - middle) * camera.zoom * sign
            for axis, middle, sign in zip(dims.displayed, camera.center[-2:], signs, strict=True)
        )
        return QPointF(column + self.width() / 2, row + self.height() / 2)

    def eventFilter(self, canvas: QObject, event: QEvent) -> bool:
        """Stay as large as the canvas."""
        if event.type() == QEvent.Type.Resize and isinstance(canvas, QWidget):
            self.resize(canvas.size())
        return False

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Draw the lines."""
        place = self.place
        if place is None:
            return
        painter = QPainter(self)
        painter.setPen(QPen(_LINE, 1))
        x, y = place.x(), place.y()
        for start, end in (
            (QPointF(x, 0), QPointF(x, y - _GAP)),
            (QPointF(x, y + _GAP), QPointF(x, self.height())),
            (QPointF(0, y), QPointF(x - _GAP, y)),
            (QPointF(x + _GAP, y), QPointF(self.width(), y)),
        ):
            painter.drawLine(start, end)
        painter.end()

    def _moved(self) -> None:
        self.update()
