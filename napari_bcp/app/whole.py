"""What shows a scan as a whole goes on doing so in a canvas of another size."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from qtpy.QtCore import QEvent, QObject, QTimer

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

    from napari_bcp.app.view import View

_MS: Final = 15  # until then a canvas may change its size several times


class WholeKeeper(QObject):
    """Shows the whole scan again when `canvas` gets another size, unless the reader has zoomed or moved to a part.

    canvas : the widget that draws;  view : what it shows
    """

    def __init__(self, canvas: QWidget, view: View) -> None:
        super().__init__(canvas)
        self._canvas, self._view = canvas, view
        self._soon = QTimer(self, interval=_MS, singleShot=True)
        self._soon.timeout.connect(self._show)
        canvas.installEventFilter(self)

    def close_down(self) -> None:
        """Look at the canvas no more."""
        self._soon.stop()
        with suppress(RuntimeError):  # the window is gone, and the canvas with it
            self._canvas.removeEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """See the canvas change its size, before it has done so."""
        if event.type() == QEvent.Type.Resize and self._view.shows_whole:
            self._view.whole = 0.0  # what happens to the zoom until then is nobody's wish
            self._soon.start()
        return False

    def _show(self) -> None:
        self._view.show_whole()
