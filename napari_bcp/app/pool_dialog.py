"""Asks for what a new pool is made from, or for scans that are added to one."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from qtpy.QtWidgets import QFileDialog, QLineEdit, QWidget

from napari_bcp.app.folder_form import FolderForm, folder_line, folder_of, holds
from napari_bcp.errors import SettingError
from napari_bcp.scans import ClassSpec
from napari_bcp.scans.classes import default_colour, read_classes

_CLASS_FILES: Final = (".json", ".txt")


class PoolDialog(FolderForm):
    """Folders of scans and masks; for a new pool also its own folder and the classes.

    What was typed stays until the application ends, so that nothing is lost when a pool cannot be made.
    """

    def __init__(self, parent: QWidget | None = None, *, extend: bool = False) -> None:
        super().__init__(
            "Add scans" if extend else "New pool",
            "Scans are NIfTI files (.nii, .nii.gz) and are only read. A mask has its scan's name, also with _mask, "
            "_label or _seg behind it. What matches nothing is listed afterwards.",
            "Add" if extend else "Make the pool",
            parent,
        )
        self._extend = extend
        self._own_place = False
        self.images = folder_line("Folder of NIfTI files, or of a data set as nnU-Net or the Decathlon lay it out")
        self.labels = folder_line("Folder of masks with their scans' names; leave empty if they lie among the scans")
        self.place = folder_line("Folder for table, masks, maps and runs; scans stay where they are")
        self.classes = QLineEdit()
        self.classes.setPlaceholderText("liver, stomach, aorta – needed where no scan has a mask yet")
        self.classes.setToolTip(
            "Names of the values 1, 2, 3 … in the masks, or a file that names them; empty: from the data set or masks"
        )
        self.add_path("&Scans", self.images, self._browse_images)
        self.add_path("&Masks (optional)", self.labels, self._browse_labels)
        if not extend:
            self.add_path("&Pool goes to", self.place, self._browse_place)
            self.add_path("&Classes", self.classes, self._browse_classes)
        self.images.textChanged.connect(self._suggest)
        self.place.textEdited.connect(self._placed)
        for line in (self.images, self.labels, self.place, self.classes):
            line.textChanged.connect(self._check)
        self._check()

    def folders(self) -> tuple[Path, Path | None]:
        """Return the folders of scans and of masks, None for the latter if it was left empty."""
        labels = self.labels.text().strip()
        return folder_of(self.images.text()), folder_of(labels) if labels else None

    def pool_folder(self) -> Path:
        """Return where the pool goes."""
        return folder_of(self.place.text())

    def class_specs(self) -> Path | list[ClassSpec] | None:
        """Return a file of classes, the classes named, or None.

        Raises SettingError for a name that is none and for a file that is not there.
        """
        text = self.classes.text().strip()
        if not text:
            return None
        if holds(Path.is_file, folder_of(text)):
            return folder_of(text)
        if "," not in text and ("/" in text or text.lower().endswith(_CLASS_FILES)):
            raise SettingError(f"There is no file of classes at {text}.")
        names = [name.strip() for name in text.split(",") if name.strip()]
        if len({name.lower() for name in names}) < len(names):
            raise SettingError("Two classes have the same name; give every class its own.")
        return [ClassSpec(value, name, default_colour(value)) for value, name in enumerate(names, start=1)]

    # -- inside -----------------------------------------------------------------------------------------------

    def _suggest(self, text: str) -> None:
        """Place the pool beside the scans until the reader names a place."""
        if not self._own_place and text.strip():
            images = folder_of(text)
            self.place.setText(str(images.parent / f"{images.name}-pool"))

    def _placed(self, text: str) -> None:
        self._own_place = bool(text.strip())

    def _check(self, *_: object) -> None:
        self.show_problem(self._find_problem(), complete=bool(self.images.text().strip()))

    def _find_problem(self) -> str:
        if not self.images.text().strip():
            return ""
        images, labels = self.folders()
        for what, folder in (("scans", images), ("masks", labels)):
            if folder is not None and not holds(Path.is_dir, folder):
                return f"There is no folder of {what} at {folder}."
        if self._extend:
            return ""
        if not self.place.text().strip():
            return "Name a folder for the pool."
        place = self.pool_folder()
        if holds(Path.exists, place / "pool.sqlite"):
            return f"{place} is a pool already: open it, or choose another folder."
        if holds(Path.is_file, place):
            return f"{place} is a file: name a folder for the pool."
        try:
            classes = self.class_specs()
            if isinstance(classes, Path):
                read_classes(classes)
        except SettingError as error:
            return str(error)
        return ""

    def _browse_images(self) -> None:
        self._browse(self.images, "Folder of scans")

    def _browse_labels(self) -> None:
        self._browse(self.labels, "Folder of masks")

    def _browse_place(self) -> None:
        before = self.place.text()
        self._browse(self.place, "Folder for the pool")
        if self.place.text() != before:
            self._placed(self.place.text())

    def _browse_classes(self) -> None:
        kinds = " ".join(f"*{ending}" for ending in _CLASS_FILES)
        path, _ = QFileDialog.getOpenFileName(self, "File of classes", self.images.text(), f"Classes ({kinds})")
        if path:
            self.classes.setText(path)

    def _browse(self, line: QLineEdit, title: str) -> None:
        path = QFileDialog.getExistingDirectory(self, title, line.text() or self.images.text())
        if path:
            line.setText(path)
