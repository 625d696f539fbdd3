"""Names, colours and other options of the layers of the open case, and how they are set."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal
from weakref import WeakKeyDictionary

import numpy as np
from napari.utils.colormaps import Colormap

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

CHANGES: Final[dict[str, Any]] = {
    "colormap": {None: (0, 0, 0, 0), 0: (0, 0, 0, 0), 1: "#00e000", 2: "#e000e0"},
    "features": {"index": [0, 1, 2], "name": ["as before", "added", "removed"]},
    "opacity": 0.9,
}
"""Options of a layer of `differences`; green and magenta are told apart by everybody, and are no colours of classes."""

NONE_YET: Final[dict[Literal["map", "uncertainty"], str]] = {
    "map": "map: none yet",
    "uncertainty": "uncertainty: none yet",
}
"""Names of the layers, by the part they play, of a map that is to come."""

ORDER: Final = ("scan", "map", "uncertainty", "labels", "changes", "island")
"""The parts that layers play, from the lowest to the highest."""

ISLAND: Final[dict[str, Any]] = {
    "colormap": {None: (0, 0, 0, 0), 0: (0, 0, 0, 0), 1: "#ffffff"},
    "opacity": 0.9,
}
"""Options of a layer with the outline of an island."""

UNCERTAIN: Final = Colormap(
    [[1, 0.9, 0.2, 0], [1, 0.8, 0, 0.85], [1, 0.4, 0, 1], [0.9, 0, 0.1, 1]],
    controls=[0, 0.12, 0.5, 1],
    name="clear to red",
)
"""Of the uncertainty; it becomes opaque early, since doubt is mostly a thin and faint line along borders."""

_COMPARABLE: Final = ("scale", "translate", "contrast_limits", "visible", "opacity", "name", "blending")
_given: WeakKeyDictionary[Any, dict[str, Any]] = WeakKeyDictionary()  # the options that a layer was last given


@cache
def from_clear(colour: str) -> Colormap:
    """Return a colormap from clear to `colour`, so that the scan shines through where there is nothing."""
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return Colormap([[red, green, blue, 0], [red, green, blue, 1]], name=f"clear to {colour}")


def class_for(value: int, chosen: int, classes: Sequence[int]) -> int:
    """Return the class that a number means, chosen after `chosen`: one that is no class's goes on to the next one."""
    further = [one for one in classes if (chosen < one if value > chosen else one < chosen)]
    if value in classes or not further:
        return value if value in classes else chosen
    return min(further) if value > chosen else max(further)


def keep_in_place(layer: Any) -> None:
    """Take back what napari's tool for moving and turning layers does: voxels stay where the scan's are."""

    def put_back(_event: object) -> None:
        straight = np.eye(layer.ndim + 1)
        if not np.array_equal(layer.affine.affine_matrix, straight):
            layer.affine = straight

    layer.events.affine.connect(put_back)


def bind_undo(labels: Any, undo: Callable[[], object], redo: Callable[[], object]) -> None:
    """Let napari's keys for undo and redo do these on a canvas where `labels` is the active layer."""
    labels.bind_key("Control-Z", lambda _: undo(), overwrite=True)
    labels.bind_key("Control-Shift-Z", lambda _: redo(), overwrite=True)


def remember_options(layer: Any, options: Mapping[str, Any]) -> None:
    """Note the options that a layer was made with, for `set_options`."""
    _given.setdefault(layer, {}).update(options)


def set_options(layer: Any, options: Mapping[str, Any]) -> None:
    """Set what is new of a layer's options: napari slices and draws anew even where an option stays as it is."""
    given = _given.setdefault(layer, {})
    for option, value in options.items():
        if option in _COMPARABLE:
            same = np.array_equal(getattr(layer, option), value)
        else:
            same = option in given and (given[option] is value or (isinstance(value, dict) and given[option] == value))
        if not same:
            setattr(layer, option, value)
        given[option] = value
