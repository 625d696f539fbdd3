"""The dock below the canvas that holds the other two planes."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Qt, QTimer, Signal

from napari_bcp.app.canvas import itself
from napari_bcp.app.planes import OtherPlanes

if TYPE_CHECKING:
    from napari_bcp.app.layers import CaseLayers


class PlanesDock(QObject):
    """Made when it is first shown; hidden, it stays and holds nothing of the case, so that it comes back at once.

    layers : of the open case;  viewer : whose window gets the dock
    """

    shown_changed = Signal(bool)
    """It is shown or no more, whoever did it."""

    def __init__(self, layers: CaseLayers, viewer: Any, parent: QObject) -> None:
        super().__init__(parent)
        self._layers, self._viewer = layers, itself(viewer)
        self._dock: Any = None
        self.content: OtherPlanes | None = None
        self._shown = False

    def show(self, shown: bool) -> None:
        """Show the other two planes, or hide them."""
        if self._removed():
            self.close()
        if shown == self._shown:
            return
        self._shown = shown
        if self.content is None:
            self._make()
        else:
            self._dock.setVisible(shown)
            (self.content.wake if shown else self.content.rest)()
        self.shown_changed.emit(shown)

    def close(self) -> None:
        """Take the dock out of the window; may be called twice."""
        content, self.content = self.content, None
        if content is not None:
            content.close_down()
            with suppress(LookupError, RuntimeError):  # the user has closed the dock, or the window
                self._viewer.window.remove_dock_widget(content)
        if self._shown:
            self._shown = False
            self.shown_changed.emit(False)

    def _make(self) -> None:
        self.content = OtherPlanes(self._layers, self._viewer)
        self._dock = self._viewer.window.add_dock_widget(self.content, name="Other planes", area="bottom")
        window = self._dock.parent()
        window.setCorner(Qt.Corner.BottomLeftCorner, Qt.DockWidgetArea.LeftDockWidgetArea)
        window.setCorner(Qt.Corner.BottomRightCorner, Qt.DockWidgetArea.RightDockWidgetArea)
        window.resizeDocks([self._dock], [window.height() // 2 - 60], Qt.Orientation.Vertical)
        self._dock.visibilityChanged.connect(self._follow_dock)

    def _follow_dock(self, visible: bool) -> None:
        if self._removed():  # by its cross
            self.close()
        elif visible:  # by napari's menu, perhaps
            self.show(True)
        else:  # for good, or for a moment on its way out of the window
            QTimer.singleShot(0, self._hide_if_hidden)

    def _hide_if_hidden(self) -> None:
        if self.content is not None and not self._removed() and self._dock.isHidden():
            self.show(False)

    def _removed(self) -> bool:
        """Return whether napari has taken the dock out of the window; it is deleted soon then."""
        return self.content is not None and self.content.parent() is None
