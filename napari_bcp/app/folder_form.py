"""A window in which files and folders are named."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

from napari_bcp.app.parts import button, wrapped_label

if TYPE_CHECKING:
    from collections.abc import Callable

_WIDTH: Final = 480


class FolderForm(QDialog):
    """Rows that name what is asked for, and below them what is wrong with it, while something is.

    explanation : stands above the rows;  ok : text of the button that accepts
    """

    def __init__(self, title: str, explanation: str, ok: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.setMinimumWidth(_WIDTH)
        self._form = QFormLayout()
        self._form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self._problem = wrapped_label()
        buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel, Qt.Orientation.Horizontal
        )
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        self._ok = buttons.button(QDialogButtonBox.StandardButton.Ok)
        self._ok.setText(ok)
        self._column = QVBoxLayout(self)
        self._column.addWidget(wrapped_label(explanation))
        self._column.addLayout(self._form)
        self._column.addWidget(self._problem)
        self._column.addWidget(buttons)

    def add_path(self, label: str, line: QLineEdit, browse: Callable[[], None]) -> None:
        """Add a row with a line for a path, and a button beside it that lets the reader choose."""
        holder, name = QWidget(), QLabel(label)
        row = QHBoxLayout(holder)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(line, 1)
        row.addWidget(button("Browse…", "Choose in a window", browse))
        name.setBuddy(line)
        self._form.addRow(name, holder)

    def show_problem(self, problem: str, complete: bool) -> None:
        """Show what is wrong, if anything is; accepting needs that nothing is, and that the rows are `complete`."""
        self._problem.setText(problem)
        self._ok.setEnabled(complete and not problem)
        needed = self._column.totalHeightForWidth(self.width())  # a window does not grow by itself with its text
        if needed > self.height():
            self.resize(self.width(), needed)


def folder_line(tip: str) -> QLineEdit:
    """Return a line for a path."""
    line = QLineEdit()
    line.setToolTip(tip)
    return line


def folder_of(text: str) -> Path:
    """Return what was typed as a path; "~" is the reader's own folder."""
    path = Path(text.strip())
    try:
        return path.expanduser()
    except RuntimeError:  # "~a" while somebody types, and there is no user of that name
        return path


def holds(question: Callable[[Path], bool], path: Path) -> bool:
    """Return the answer of a path, "no" where the disk gives none: closed folders, endless names."""
    try:
        return question(path)
    except (OSError, ValueError):
        return False
