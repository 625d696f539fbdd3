"""Keys, clean-ups and brushes of the Review panel, with what they are called and what they do."""

from __future__ import annotations

from typing import Final

KEYS: Final = {
    "undo": ("Ctrl+Z",),
    "redo": ("Ctrl+Shift+Z",),
    "accept": ("Ctrl+Return", "Ctrl+Enter"),
    "accept and next": ("Ctrl+Shift+Return", "Ctrl+Shift+Enter"),
    "reject": ("Ctrl+D",),
    "skip": ("N",),
    "reopen": ("Ctrl+B",),
    "revert": ("Ctrl+Shift+R",),
    "what changed": ("Ctrl+L",),
    "outline": ("Ctrl+Shift+L",),
    "fill_holes": ("Ctrl+H",),
    "smooth": ("Ctrl+J",),
    "keep_largest": ("Ctrl+K",),
    "interpolate": ("Ctrl+I",),
    "overlay": ("Ctrl+Space",),
    "brush": ("Ctrl+Shift+B",),
    "axial": ("Ctrl+1",),
    "coronal": ("Ctrl+2",),
    "sagittal": ("Ctrl+3",),
    "3-D": ("Ctrl+4",),
    "three planes": ("Ctrl+5",),
}
"""Keys that work in the whole window while the panel is shown. Of napari's own, only undo and redo are among them."""

CLEAN_UPS: Final = (
    ("fill_holes", "Fill holes", "Fill the holes of the chosen class, in 3-D and in every axial slice"),
    ("smooth", "Smooth", "Smooth the surface of the chosen class; its volume stays"),
    ("keep_largest", "Largest only", "Keep the largest connected part of the chosen class"),
    ("interpolate", "Interpolate", "Fill the slices between those that have the chosen class, along the shown axis"),
)
BRUSHES: Final = (
    ("Plain", "Brush and eraser paint all they cover (Ctrl+Shift+B: the next of the four)"),
    (
        "Map",
        "They paint only where the class's map has a tenth or more, and erase only where it has nine tenths or less",
    ),
    ("Grey", "They keep to grey values like those where the stroke begins"),
    (
        "Smart",
        "Scribble with the brush inside, or with the eraser outside: the border follows, in the slices around too",
    ),
)
