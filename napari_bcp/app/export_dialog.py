"""Asks where masks and pseudo-labels are to be written for other programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QComboBox, QFileDialog, QWidget

from napari_bcp.app.folder_form import FolderForm, folder_line, folder_of
from napari_bcp.errors import PoolError
from napari_bcp.pool.export import find_former

if TYPE_CHECKING:
    from pathlib import Path

    from qtpy.QtGui import QShowEvent

    from napari_bcp.pool.export import Layout

_LAYOUTS: Final[tuple[tuple[str, Layout, str], ...]] = (
    ("Masks and pseudo-labels", "plain", "Folders accepted and pseudo, each mask named as its case"),
    ("nnU-Net, version 2", "nnunet", "imagesTr, labelsTr, imagesTs and dataset.json; scans are copied"),
)


class ExportDialog(FolderForm):
    """A folder, and how the files are laid out in it."""

    def __init__(self, parent: QWidget | None = None) -> None:
        explanation = "Accepted masks, and apart from them pseudo-labels, are written as NIfTI in each scan's grid."
        super().__init__("Export masks", explanation, "Export", parent)
        self.folder = folder_line("A new or empty folder; a list of the cases, cases.csv, is written with the masks")
        self.layouts = QComboBox()
        for place, (text, _, tip) in enumerate(_LAYOUTS):
            self.layouts.addItem(text)
            self.layouts.setItemData(place, tip, Qt.ItemDataRole.ToolTipRole)
        self.layouts.setToolTip("\n".join(f"{text}: {tip}" for text, _, tip in _LAYOUTS))
        self.replacing = QCheckBox("Replace the export that lies there")
        self.replacing.setToolTip("What was changed there by hand since is lost")
        self.add_path("&Folder", self.folder, self._browse)
        self._form.addRow("&Layout", self.layouts)
        self._form.addRow("", self.replacing)
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
        self.show_problem(problem, named)

    def _browse(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Folder to export to", self.folder.text())
        if path:
            self.folder.setText(path)
