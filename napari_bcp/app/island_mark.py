"""Outlines one island of the map: for good, or in passing while the reader points at it in the list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_bcp.app.layer_data import outline
from napari_bcp.app.layer_options import ISLAND

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_bcp.app.view import View
    from napari_bcp.review.islands import Island


class IslandMark:
    """The outline of an island in the open case.

    place : shows an array as the layer of a part it plays, with options;  drop : takes that layer away
    """

    def __init__(self, view: View, place: Callable[..., Any], drop: Callable[[str], None]) -> None:
        self._view, self._place, self._drop = view, place, drop
        self._shape: tuple[int, ...] | None = None  # of the case's labels
        self._shown: Island | None = None  # the one that is shown until another is
        self._stay: int | None = None  # the slice to go back to from an island that is only looked at in passing

    def begin(self, shape: tuple[int, ...] | None) -> None:
        """Show none, in a case of this shape; None where no case is open."""
        self._shape, self._shown, self._stay = shape, None, None
        self._drop("island")

    def show(self, island: Island | None) -> None:
        """Go to `island` and outline it; None takes the outline away."""
        self._shown, self._stay = island, None
        if island is not None and self._shape is not None:
            self._view.look_around(island.centre, first=False)
        self._outline(island)

    def peek(self, island: Island | None) -> None:
        """Outline `island` in passing; None goes back to the slice and to the island that were shown before."""
        if island is not None:
            self._stay = self._view.index if self._stay is None else self._stay
            self._go_to(island.centre[self._view.axis])
            self._outline(island)
        elif self._stay is not None:
            self._go_to(self._stay)
            self._stay = None
            self._outline(self._shown)

    def _go_to(self, index: int) -> None:
        if self._shape is not None:
            self._view.go_to_slice(self._view.axis, index)

    def _outline(self, island: Island | None) -> None:
        if island is None or self._shape is None:
            return self._drop("island")
        around, start = outline(island, self._shape, self._view.axis)
        corner = [first * mm for first, mm in zip(start, self._view.spacing, strict=True)]
        self._place("island", "island", around, translate=corner, **ISLAND)
