"""Asks where masks and pseudo-labels are to be written for other programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QLabel,
    QVBoxLayout,
    QWidget,
)

from napari_bcp.app.folder_lines import folder_line, folder_of, with_browser
from napari_bcp.app.parts import wrapped_label
from napari_bcp.errors import PoolError
from napari_bcp.pool.export import find_former

if TYPE_CHECKING:
    from pathlib import Path

    from qtpy.QtGui import QShowEvent

    from napari_bcp.pool.export import Layout

_WIDTH: Final = 480
_LAYOUTS: Final[tuple[tuple[str, Layout, str], ...]] = (
    ("Masks and pseudo-labels", "plain", "Folders accepted and pseudo, each mask named as its case"),
    ("nnU-Net, version 2", "nnunet", "imagesTr, labelsTr, imagesTs and dataset.json; scans are copied"),
)


class ExportDialog(QDialog):
    """A folder, and how the files are laid out in it."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Export masks")
        self.setMinimumWidth(_WIDTH)
        self.folder = folder_line("A new or empty folder; a list of the cases, cases.csv, is written with the masks")
        self.layouts = QComboBox()
        for place, (text, _, tip) in enumerate(_LAYOUTS):
            self.layouts.addItem(text)
            self.layouts.setItemData(place, tip, Qt.ItemDataRole.ToolTipRole)
        self.layouts.setToolTip("\n".join(f"{text}: {tip}" for text, _, tip in _LAYOUTS))
        self.replacing = QCheckBox("Replace the export that lies there")
        self.replacing.setToolTip("What was changed there by hand since is lost")
        self._problem = wrapped_label()
        self._buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel, Qt.Orientation.Horizontal
        )
        self._ok = self._buttons.button(QDialogButtonBox.StandardButton.Ok)
        self._ok.setText("Export")
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("&Folder", with_browser(self.folder, self._browse))
        form.addRow("&Layout", self.layouts)
        form.addRow("", self.replacing)
        item = form.itemAt(0, QFormLayout.ItemRole.LabelRole)
        label = None if item is None else item.widget()
        if isinstance(label, QLabel):
            label.setBuddy(self.folder)
        column = self._column = QVBoxLayout(self)
        column.addWidget(
            wrapped_label(
                "Accepted masks, and apart from them pseudo-labels, are written as NIfTI in each scan's grid."
            )
        )
        column.addLayout(form)
        column.addWidget(self._problem)
        column.addWidget(self._buttons)
        self._buttons.accepted.connect(self.accept)
        self._buttons.rejected.connect(self.reject)
        self.folder.textChanged.connect(self._check)
        self.replacing.toggled.connect(self._check)
        self._check()

    def showEvent(self, event: QShowEvent) -> None:
        """Look at the folder again: since the last time something may have been written to it."""
        super().showEvent(event)
        self.replacing.setChecked(False)
        self._check()

    def choice(self) -> tuple[Path, Layout, bool]:
        """Return the folder, the layout, and whether an export that lies there may be replaced."""
        return folder_of(self.folder.text()), _LAYOUTS[self.layouts.currentIndex()][1], self.replacing.isChecked()

    # -- inside -----------------------------------------------------------------------------------------------

    def _check(self, *_: object) -> None:
        named, problem = bool(self.folder.text().strip()), ""
        try:
            if named:
                find_former(folder_of(self.folder.text()), self.replacing.isChecked())
        except PoolError as error:
            problem = str(error)
        except (OSError, ValueError):
            problem = "That folder cannot be read; name another."
        self._problem.setText(problem)
        self._ok.setEnabled(named and not problem)
        needed = self._column.totalHeightForWidth(self.width())  # a window does not grow by itself with its text
        if needed > self.height():
            self.resize(self.width(), needed)

    def _browse(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Folder to export to", self.folder.text())
        if path:
            self.folder.setText(path)
