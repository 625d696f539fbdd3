"""Labels whose text can be coloured, and taken along by mouse and keyboard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt

if TYPE_CHECKING:
    from qtpy.QtWidgets import QLabel, QPlainTextEdit

_SELECTABLE = Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.TextSelectableByKeyboard


def selectable(widget: QLabel | QPlainTextEdit) -> None:
    """Let a reader copy the text, by mouse or keyboard; Qt gives text that is only read to the mouse alone."""
    widget.setTextInteractionFlags(_SELECTABLE)


def colour_text(label: QLabel, colour: str) -> None:
    """Write in `colour`; napari's style sheet overrules a palette."""
    label.setStyleSheet(f"color: {colour}")
