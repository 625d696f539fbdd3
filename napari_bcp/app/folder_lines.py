"""Lines of a form in which a file or folder is named."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QHBoxLayout, QLineEdit, QWidget

from napari_bcp.app.parts import button

if TYPE_CHECKING:
    from collections.abc import Callable


def folder_line(tip: str) -> QLineEdit:
    """Return a line for a path."""
    line = QLineEdit()
    line.setToolTip(tip)
    return line


def with_browser(line: QLineEdit, browse: Callable[[], None]) -> QWidget:
    """Return `line` with a button beside it that lets the reader choose."""
    holder = QWidget()
    row = QHBoxLayout(holder)
    row.setContentsMargins(0, 0, 0, 0)
    row.addWidget(line, 1)
    row.addWidget(button("Browse…", "Choose in a window", browse))
    return holder


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
