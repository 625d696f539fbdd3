"""Letters at the edges of a canvas: on which side of the patient what it shows lies."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import QLabel

from napari_bcp.app.view import camera_of

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

_ENDS: Final = (("S", "I"), ("A", "P"), ("R", "L"))
"""Of the display arrays' axes z, y, x: to the head and feet, front and back, the patient's right and left."""

_STYLE: Final = (
    "color: rgb(255, 225, 110); background: rgba(0, 0, 0, 120); border-radius: 3px; padding: 0 4px; font-weight: bold"
)
_MARGIN: Final = 4  # pixels to the edge of the canvas


class Sides(QObject):
    """S, I, A, P, R or L at the edges of a canvas that shows a plane; the mouse does not notice them.

    viewer : whose last three axes are z, y, x of the display arrays;  canvas : the widget that it is drawn in
    In a scan that was taken at a slant they name the nearest direction.
    """

    def __init__(self, viewer: Any, canvas: QWidget) -> None:
        super().__init__(canvas)
        self._viewer, self._canvas = viewer, canvas
        self._wanted = False
        self.edges = {edge: QLabel(canvas) for edge in ("left", "right", "top", "bottom")}
        for label in self.edges.values():
            label.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
            label.setStyleSheet(_STYLE)
            label.hide()
        turns = getattr(camera_of(viewer).events, "orientation", None)  # napari before 0.6 cannot turn an axis round
        self._events = tuple(
            event for event in (viewer.dims.events.order, viewer.dims.events.ndisplay, turns) if event is not None
        )
        for event in self._events:
            event.connect(self._follow)
        canvas.installEventFilter(self)

    def show(self, wanted: bool) -> None:
        """Show the letters where a plane is shown, or no more."""
        if wanted != self._wanted:
            self._wanted = wanted
            self._follow()

    def close_down(self) -> None:
        """Follow nothing any more, and go; may be called twice."""
        for event in self._events:
            event.disconnect(self._follow)
        self._events = ()
        with suppress(RuntimeError):  # the window is gone, and the canvas with it
            self._canvas.removeEventFilter(self)
            for label in self.edges.values():
                label.hide()
                label.deleteLater()

    def eventFilter(self, canvas: QObject, event: QEvent) -> bool:
        """Stay at the edges of the canvas."""
        if event.type() == QEvent.Type.Resize and canvas is self._canvas:
            self._arrange()
        return False

    def _follow(self, _event: Any = None) -> None:
        dims = self._viewer.dims
        shown = self._wanted and dims.ndisplay == 2 and dims.ndim >= 3
        ends = [_ENDS[axis - dims.ndim] if shown and axis >= dims.ndim - 3 else ("", "") for axis in dims.displayed]
        ends = ends if shown else [("", "")] * 2
        down, right = getattr(camera_of(self._viewer), "orientation2d", ("down", "right"))
        rows = ends[0] if str(down) == "down" else ends[0][::-1]
        columns = ends[1] if str(right) == "right" else ends[1][::-1]
        for edge, letter in zip(("top", "bottom", "left", "right"), (*rows, *columns), strict=True):
            self.edges[edge].setText(letter)
            self.edges[edge].setVisible(bool(letter))
        self._arrange()

    def _arrange(self) -> None:
        width, height = self._canvas.width(), self._canvas.height()
        for edge, label in self.edges.items():
            label.adjustSize()
            x, y = (width - label.width()) // 2, (height - label.height()) // 2
            x = {"left": _MARGIN, "right": width - label.width() - _MARGIN}.get(edge, x)
            y = {"top": _MARGIN, "bottom": height - label.height() - _MARGIN}.get(edge, y)
            label.move(x, y)
