"""What strokes of the brush and the eraser become: all they cover, what map or grey values allow, or a new border."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_bcp.review.scribble import follow_scribble, grey_agrees, map_agrees, scribble_box

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_bcp.app.edits import StrokeRule
    from napari_bcp.app.opened import OpenCase
    from napari_bcp.pool.edit_records import Box

Brush = Literal["plain", "map", "grey", "smart"]
"""Paint all that is covered, only where the map or the grey values agree, or draw the border to the scribble."""


def stroke_rule(case: OpenCase, brush: Brush, value: int, paint: bool, first: Box) -> StrokeRule | None:
    """Return what `brush` makes of a stroke that paints class `value` in `case`, or erases it; None for the plain one.

    first : the box of the stroke's first dab, for the brush that keeps to the grey values under it

    Without a map, the brush that keeps to it is a plain one, and a scribble goes by grey values alone.
    """
    if brush == "plain" or (brush == "map" and case.map is None):
        return None
    probability = None if brush == "grey" or case.map is None else case.probability(value)

    def keep(box: Box, before: NDArray[np.uint8], after: NDArray[np.uint8]) -> tuple[Box, NDArray[np.uint8]]:
        if probability is None:
            agrees = grey_agrees(case.scan[box], case.scan[first], case.contrast)
        else:
            agrees = map_agrees(before, value, probability[box], paint)
        return box, np.where(agrees, after, before)

    def follow(box: Box, before: NDArray[np.uint8], after: NDArray[np.uint8]) -> tuple[Box, NDArray[np.uint8]]:
        wide = scribble_box(box, case.spacing_zyx, case.labels.shape)
        inner = tuple(
            slice(part.start - around.start, part.stop - around.start) for part, around in zip(box, wide, strict=True)
        )
        drawn = np.zeros([part.stop - part.start for part in wide], bool)
        drawn[inner] = before != after
        chance = None if probability is None else probability[wide]
        return wide, follow_scribble(case.labels[wide], value, drawn, paint, case.scan[wide], chance, case.spacing_zyx)

    return follow if brush == "smart" else keep
