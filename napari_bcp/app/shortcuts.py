"""Keys that work wherever the focus is in napari's window, also while their panel floats beside it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import ref

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtGui import QKeySequence, QShortcut

from napari_bcp.app.canvas import itself

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qtpy.QtWidgets import QWidget


class Shortcuts(QObject):
    """The keys of a panel; they do nothing while it is hidden.

    panel : whose keys they are;  viewer : in whose window they work

    They are the window's, not the panel's: Qt looks for a panel's own in the window that the panel is in, and a
    floating one is in a window of its own, while the reader's hand is on the canvas.
    """

    def __init__(self, panel: QWidget, viewer: Any) -> None:
        super().__init__(panel)
        window = getattr(itself(viewer), "window", None)
        self._panel = panel
        self._host: ref[QWidget] = ref(getattr(window, "_qt_window", None) or panel)
        self._all: list[QShortcut] = []
        panel.installEventFilter(self)

    def add(self, keys: Sequence[str], slot: Callable[[], object], repeats: bool = True) -> None:
        """Do `slot` at each of the keys; again and again while one is held down, if it `repeats`."""
        host = self._host()
        if host is None:
            return  # the window is gone
        shortcut = QShortcut(host)
        shortcut.setKeys([QKeySequence(key) for key in keys])
        shortcut.setContext(Qt.ShortcutContext.WindowShortcut)  # the canvas has the focus most of the time
        shortcut.setAutoRepeat(repeats)
        shortcut.setEnabled(self._panel.isVisible())
        shortcut.activated.connect(slot)
        shortcut.activatedAmbiguously.connect(slot)  # two docks in a window: one of them does it
        self._all.append(shortcut)

    def close_down(self) -> None:
        """Take the keys away; may be called twice."""
        for shortcut in self._all:
            with suppress(RuntimeError):  # they have gone with the window
                shortcut.activated.disconnect()
                shortcut.activatedAmbiguously.disconnect()
                shortcut.setEnabled(False)
                shortcut.deleteLater()
        self._all.clear()

    def eventFilter(self, _panel: QObject, event: QEvent) -> bool:
        """Follow the panel as it is shown and hidden."""
        if event.type() in (QEvent.Type.Show, QEvent.Type.Hide):
            for shortcut in self._all:
                shortcut.setEnabled(event.type() == QEvent.Type.Show)
        return False
