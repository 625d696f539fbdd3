"""The window that asks where masks go."""

import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QDialogButtonBox, QFileDialog

from napari_bcp.app import export_dialog
from napari_bcp.app.export_dialog import ExportDialog

LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def dialog(qtbot):
    made = ExportDialog()
    qtbot.addWidget(made)
    with qtbot.waitActive(made):
        made.open()
        made.activateWindow()
    return made


def ok(dialog):
    return dialog.findChild(QDialogButtonBox).button(QDialogButtonBox.StandardButton.Ok)


def write(qtbot, dialog, path):
    dialog.folder.selectAll()
    qtbot.keyClicks(dialog.folder, str(path))


def test_a_new_folder_is_enough(dialog, tmp_path, qtbot):
    assert not ok(dialog).isEnabled()
    write(qtbot, dialog, tmp_path / "out")
    with qtbot.waitSignal(dialog.accepted):
        qtbot.mouseClick(ok(dialog), LEFT)
    assert dialog.choice() == (tmp_path / "out", "plain", False)


def test_an_earlier_export_is_replaced_only_if_that_is_ticked(dialog, tmp_path, qtbot):
    (tmp_path / "cases.csv").write_text("case,status,source,file,scan,reason\r\n")
    write(qtbot, dialog, tmp_path)
    assert "is not empty" in dialog._problem.text()
    assert not ok(dialog).isEnabled()
    qtbot.mouseClick(dialog.replacing, LEFT, pos=QPoint(8, dialog.replacing.height() // 2))
    assert dialog._problem.text() == ""
    dialog.layouts.setCurrentText("nnU-Net, version 2")
    assert dialog.choice() == (tmp_path, "nnunet", True)
    (tmp_path / "mine.txt").write_text("")
    dialog.hide()
    dialog.open()
    assert not dialog.replacing.isChecked(), "it is asked anew each time"
    dialog.replacing.setChecked(True)
    assert "mine.txt" in dialog._problem.text()
    assert not ok(dialog).isEnabled()


def test_a_folder_is_chosen_in_a_window(dialog, tmp_path, qtbot, monkeypatch):
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path / "chosen"))
    dialog._browse()
    assert dialog.choice()[0] == tmp_path / "chosen"


def test_a_folder_that_cannot_be_read_is_refused_in_words(dialog, qtbot, monkeypatch, tmp_path):
    def closed(*_):
        raise PermissionError

    monkeypatch.setattr(export_dialog, "find_former", closed)
    write(qtbot, dialog, tmp_path)
    assert dialog._problem.text() == "That folder cannot be read; name another."
