"""The list of all keys, for those who would rather not look for them in tooltips."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QDialog, QGridLayout, QLabel, QVBoxLayout

from napari_bcp.app.panels.cases import NEXT_KEY
from napari_bcp.app.panels.review_keys import KEYS
from napari_bcp.app.panels.review_parts import bold

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

_REVIEW: Final = {
    "undo": "Undo",
    "redo": "Redo",
    "accept": "Accept",
    "accept and next": "Accept, and on to the next case",
    "reject": "Reject",
    "skip": "The next case, without a verdict",
    "reopen": "Reopen an accepted case",
    "what changed": "What changed",
    "revert": "Back to what the case began with",
    "overlay": "Map, uncertainty, nothing",
    "outline": "Labels as outlines or areas",
    "brush": "Next brush: plain, map, grey, smart",
    "fill_holes": "Fill holes",
    "smooth": "Smooth",
    "keep_largest": "Largest part only",
    "interpolate": "Interpolate slices",
    "axial": "Axial",
    "coronal": "Coronal",
    "sagittal": "Sagittal",
    "3-D": "3-D",
    "three planes": "All three planes",
}
SECTIONS: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "Everywhere": (
        ("Alt+1 … Alt+4", "Cases, Train, Review, Report"),
        ("F1", "This list"),
    ),
    "Cases": (
        (NEXT_KEY, "The case that is most worth a look"),
        ("Enter", "Open the chosen case"),
        ("Ctrl+F", "Search"),
        ("Ctrl+P", "Predict now"),
        ("Delete, Insert", "Exclude, include"),
        ("Ctrl+U", "Back to unlabelled"),
    ),
    "Review": tuple((KEYS[name][-1], what) for name, what in _REVIEW.items()),
    "On the canvas (napari's own)": (
        ("1 … 6", "Tools of the labels: erase, paint, polygon, fill, pick, move"),
        ("[ and ]", "Smaller, larger brush"),
        ("- and =", "The class before, the next one"),
        ("Right click", "While painting: begin a shape, filled when it is closed"),
        ("Escape", "Drop a shape that is not closed"),
        ("Space, held", "Move and zoom without leaving the brush"),
        ("Ctrl and wheel", "Scroll through the slices"),
        ("Shift and mouse", "Lead all three planes to the voxel under the mouse"),
    ),
}
"""Keys and what they do, by where they work."""


class KeyList(QDialog):
    """All keys, in a window of its own that stays open beside the work."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("Keys")
        self.setWindowModality(Qt.WindowModality.NonModal)
        columns = QGridLayout(self)
        columns.setHorizontalSpacing(28)
        sides: tuple[tuple[str, ...], ...] = (("Everywhere", "Cases", "On the canvas (napari's own)"), ("Review",))
        for place, names in enumerate(sides):
            side = QVBoxLayout()
            for name in names:
                side.addLayout(_section(name))
                side.addSpacing(10)
            side.addStretch()
            columns.addLayout(side, 0, place)


def _section(name: str) -> QGridLayout:
    grid = QGridLayout()
    grid.setHorizontalSpacing(14)
    title = QLabel(name)
    bold(title)
    grid.addWidget(title, 0, 0, 1, 2)
    for row, (key, what) in enumerate(SECTIONS[name], 1):
        written = QKeySequence(key).toString(QKeySequence.SequenceFormat.NativeText) if " " not in key else key
        grid.addWidget(QLabel(written), row, 0)
        grid.addWidget(QLabel(what), row, 1)
    grid.setColumnStretch(1, 1)
    return grid
