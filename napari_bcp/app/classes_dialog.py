"""Asks what the classes of a pool are called, how they look, and whether there are more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qtpy.QtGui import QColor
from qtpy.QtWidgets import QColorDialog, QHBoxLayout, QLabel, QLineEdit, QSpinBox, QWidget

from napari_bcp.app.folder_form import FolderForm
from napari_bcp.app.panels.review_parts import swatch
from napari_bcp.app.parts import button, guard_wheel
from napari_bcp.errors import SettingError
from napari_bcp.scans import ClassSpec, check_classes
from napari_bcp.scans.classes import default_colour

if TYPE_CHECKING:
    from collections.abc import Sequence

_LARGEST: Final = 255
_VALUE_WIDTH: Final = 80


class ClassesDialog(FolderForm):
    """A row for each class with its value, name and colour, and room for more."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(
            "Classes",
            "The value that stands for a class in the masks, its name and its colour. A class that is there stays, "
            "because masks may hold it; another one makes the next training begin a new run.",
            "Save",
            parent,
        )
        self.rows: list[ClassRow] = []
        self.more = button("Another class", "Add a row for a class that masks shall hold from now on", self.add_row)
        self._column.insertWidget(self._column.count() - 2, self.more)

    def show_classes(self, classes: Sequence[ClassSpec]) -> None:
        """Begin with the classes that there are."""
        while self._form.rowCount():
            self._form.removeRow(0)
        self.rows.clear()
        for one in classes:
            self._add(ClassRow(one.value, one.name, one.colour, known=True))
        if not classes:
            self.add_row()
        self._check()

    def add_row(self) -> None:
        """Add a row for another class, with the next free value."""
        taken = {row.value for row in self.rows}
        free = next((value for value in range(max(taken, default=0) + 1, _LARGEST + 1) if value not in taken), _LARGEST)
        row = ClassRow(free, "", default_colour(free), known=False)
        self._add(row)
        row.name.setFocus()
        self._check()

    def specs(self) -> list[ClassSpec]:
        """Return the classes; an added one without a name is left out. Raises SettingError for what cannot be."""
        found = [ClassSpec(row.value, row.name.text().strip(), row.colour) for row in self.rows if not row.is_blank]
        check_classes(found)
        return found

    def _add(self, row: ClassRow) -> None:
        self.rows.append(row)
        self._form.addRow(row.label, row)
        row.name.textChanged.connect(self._check)
        if isinstance(row.label, QSpinBox):
            row.label.valueChanged.connect(self._check)

    def _check(self, *_: object) -> None:
        problem, found = "", []
        try:
            found = self.specs()
        except SettingError as error:
            problem = str(error)
        self.show_problem(problem, complete=bool(found))
        self.more.setEnabled(len(self.rows) < _LARGEST)


class ClassRow(QWidget):
    """Name and colour of one class; `label` shows its value, which can be chosen unless the class is `known`."""

    def __init__(self, value: int, name: str, colour: str, *, known: bool) -> None:
        super().__init__()
        self._value, self._known, self.colour = value, known, colour
        self.name = QLineEdit(name)
        self.name.setPlaceholderText("name, such as tumour")
        self.name.setAccessibleName(f"Name of class {value}")
        self._swatch = button("", "Choose another colour", self._choose_colour)
        self._swatch.setAccessibleName(f"Colour of class {value}")
        self._swatch.setIcon(swatch(colour))
        self.label: QLabel | QSpinBox = QLabel(str(value))
        if not known:
            self.label = QSpinBox()
            self.label.setRange(1, _LARGEST)
            self.label.setValue(value)
            self.label.setMaximumWidth(_VALUE_WIDTH)
            self.label.setToolTip("The value that stands for this class in the masks")
            self.label.setAccessibleName("Value")
            guard_wheel(self.label)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.name, 1)
        row.addWidget(self._swatch)

    @property
    def value(self) -> int:
        """The value in the masks."""
        return self.label.value() if isinstance(self.label, QSpinBox) else self._value

    @property
    def is_blank(self) -> bool:
        """Whether it is a row for another class that nobody has named."""
        return not self._known and not self.name.text().strip()

    def show_colour(self, colour: str) -> None:
        """Show the class in this colour, #rrggbb."""
        self.colour = colour
        self._swatch.setIcon(swatch(colour))

    def _choose_colour(self) -> None:
        chosen = QColorDialog.getColor(QColor(self.colour), self, f"Colour of {self.name.text() or 'the class'}")
        if chosen.isValid():
            self.show_colour(chosen.name())
