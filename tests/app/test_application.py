"""The session of the process lives as long as a window that has shown it."""

import pytest
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QApplication, QWidget

from napari_bcp.app import application
from napari_bcp.app.application import SessionKeeper, get_keeper


class CountedSession:
    """Counts what it is called for."""

    def __init__(self):
        self.pumped, self.closed, self.unsaved = 0, 0, ""

    def pump(self):
        self.pumped += 1

    def save_now(self):
        return self.unsaved

    def close(self):
        self.closed += 1


@pytest.fixture
def counted(qapp):
    """A keeper of a session that counts."""
    made = SessionKeeper(CountedSession())
    yield made
    made.close()


@pytest.fixture
def window(qtbot):
    """Return a function that shows an empty window."""

    def make():
        shown = QWidget()
        qtbot.addWidget(shown)
        shown.show()
        qtbot.waitExposed(shown)
        return shown

    return make


def test_the_session_is_pumped_as_long_as_it_is_kept(counted, qtbot):
    qtbot.waitUntil(lambda: counted.session.pumped >= 3)
    counted.close()
    assert (counted.running, counted.session.closed) == (False, 1)
    before = counted.session.pumped
    QApplication.processEvents()
    assert counted.session.pumped == before


def test_it_ends_with_the_last_window_and_not_before(counted, window, qtbot):
    first, second = window(), window()
    counted.watch(first)
    counted.watch(second)
    counted.watch(second)
    first.close()
    QApplication.processEvents()
    assert counted.running
    second.close()
    qtbot.waitUntil(lambda: not counted.running)
    assert counted.session.closed == 1


@pytest.mark.parametrize(("text", "closes"), [("Stay", False), ("Close and lose them", True)])
def test_edits_that_cannot_be_saved_are_asked_about(counted, window, qtbot, text, closes):
    counted.session.unsaved = "phantom_004 has edits that are not saved. The disk is full."
    shown, said = window(), []
    counted.watch(shown)

    def answer():
        box = QApplication.activeModalWidget()
        said.append(box.text())
        qtbot.mouseClick(next(one for one in box.buttons() if one.text() == text), Qt.MouseButton.LeftButton)

    QTimer.singleShot(100, answer)
    assert shown.close() == closes
    assert "The disk is full." in said[0]
    QApplication.processEvents()
    qtbot.waitUntil(lambda: counted.running != closes)
    counted.session.unsaved = ""


def test_a_window_that_refuses_to_close_keeps_the_session(counted, qtbot):
    class Refusing(QWidget):
        def closeEvent(self, event):
            event.ignore()

    refusing = Refusing()
    refusing.show()
    qtbot.waitExposed(refusing)
    counted.watch(refusing)
    refusing.close()
    QApplication.processEvents()
    assert counted.running
    refusing.hide()
    refusing.deleteLater()


def test_a_window_that_qt_has_deleted_counts_as_closed(counted, window, qtbot):
    gone, last = window(), window()
    counted.watch(gone)
    counted.watch(last)
    ended = []
    gone.destroyed.connect(lambda: ended.append(True))
    gone.deleteLater()
    qtbot.waitUntil(lambda: bool(ended))
    assert counted.running
    last.close()
    qtbot.waitUntil(lambda: not counted.running)


def test_quitting_the_program_closes_the_session_once(counted, qapp):
    qapp.aboutToQuit.emit()
    counted.close()
    assert (counted.running, counted.session.closed) == (False, 1)


def test_there_is_one_keeper_until_it_is_closed(monkeypatch, qapp):
    monkeypatch.setattr(application, "_keeper", None)
    monkeypatch.setattr(application, "Session", CountedSession)
    first = get_keeper()
    assert get_keeper() is first
    first.close()
    second = get_keeper()
    assert second is not first
    assert second.running
    second.close()
