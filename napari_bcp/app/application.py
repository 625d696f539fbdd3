"""The one session of the process: it outlives docks that are closed, and ends with the last window that showed one."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from napari.utils.colormaps import label_colormap
from napari.utils.transforms import Affine
from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtWidgets import QApplication, QMessageBox, QWidget
from vispy.visuals.line.dash_atlas import DashAtlas

from napari_bcp.app.session import Session

_PUMP_MS: Final = 20


class SessionKeeper(QObject):
    """Pumps a session's work into Qt's loop, and closes it when nobody is left who could see it."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self._windows: list[QWidget] = []
        # For its first layers napari needs pandas, the units of measurement, scikit-image's colours and patterns of
        # dashes, which would hold the window up for a quarter to half a second each. Not in a thread: a collection of
        # garbage there may end objects of Qt, and the process.
        import_module("pandas")
        Affine(ndim=3)
        label_colormap(2)
        DashAtlas()
        self._timer = QTimer(self)
        self._timer.setInterval(_PUMP_MS)
        self._timer.timeout.connect(self._pump)
        self._timer.start()
        application = QApplication.instance()
        if application is not None:
            application.aboutToQuit.connect(self.close)

    @property
    def running(self) -> bool:
        """Whether the session is still open."""
        return self._timer.isActive()

    def watch(self, window: QWidget) -> None:
        """Keep the session until this window, too, is closed."""
        if window not in self._windows:
            self._windows.append(window)
            window.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """See a window close; whether it really does is known only after its own handling, which may ask."""
        if event.type() == QEvent.Type.Close and isinstance(watched, QWidget) and watched in self._windows:
            if not self._may_close(watched):
                event.ignore()
                return True
            QTimer.singleShot(0, self._look)
        return False

    def _may_close(self, window: QWidget) -> bool:
        """Save what is not saved yet; where that cannot be done, ask before the last window takes it along."""
        if any(_is_open(other) for other in self._windows if other is not window):
            return True
        lost = self.session.save_now()
        if not lost:
            return True
        text = f"{lost}\n\nClosing the window now loses them."
        box = QMessageBox(QMessageBox.Icon.Warning, "Not saved", text, parent=window)  # in the window's own look
        stay = box.addButton("Stay", QMessageBox.ButtonRole.RejectRole)
        leave = box.addButton("Close and lose them", QMessageBox.ButtonRole.DestructiveRole)
        box.setDefaultButton(stay)
        box.exec()
        return box.clickedButton() is leave

    def close(self) -> None:
        """Save, end the training so that it can go on later, and close the pool. Nothing is asked."""
        if self.running:
            self._timer.stop()
            self._windows.clear()
            self.session.close()

    def _pump(self) -> None:
        self.session.pump()

    def _look(self) -> None:
        self._windows = [window for window in self._windows if _is_open(window)]
        if not self._windows:
            self.close()


_keeper: SessionKeeper | None = None


def get_keeper() -> SessionKeeper:
    """Return the keeper of the process's session; a new one after the former was closed."""
    global _keeper
    if _keeper is None or not _keeper.running:
        _keeper = SessionKeeper(Session())
    return _keeper


def _is_open(window: QWidget) -> bool:
    try:
        return window.isVisible()
    except RuntimeError:  # Qt has deleted it
        return False
