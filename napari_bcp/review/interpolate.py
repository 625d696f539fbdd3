"""Shapes between painted slices."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_bcp.review.boxes import box_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray


def painted_slices(labels: NDArray[np.uint8], value: int, axis: int) -> list[int]:
    """Return the slices across `axis` that hold the class, in order."""
    box = box_of(labels, value)
    if box is None:
        return []
    others = tuple(i for i in range(labels.ndim) if i != axis)
    filled = (labels[box] == value).any(axis=others)
    return [int(index) + box[axis].start for index in np.flatnonzero(filled)]


def interpolate_between(
    labels: NDArray[np.uint8],
    value: int,
    axis: int,
    slices: Iterable[int],
    spacing: Sequence[float] | None = None,
) -> NDArray[np.uint8]:
    """Return new labels with the class interpolated between each two neighbours among `slices`, across `axis`.

    slices : those to hold on to; one that does not hold the class is left out, so painted_slices() fills all gaps
    spacing : mm, in the array's order; without it voxels count as cubes

    Shape-based interpolation (Raya and Udupa, IEEE Trans. Med. Imaging 9, 1990): the signed distances of both shapes
    to their outlines are mixed. Shapes that do not overlap, of which nothing would be left half way, first move along
    the line between their centres. In between, the class is what was interpolated and nothing else; voxels of other
    classes stay. Raises IndexError for a slice that there is not.
    """
    result = labels.copy()
    planes, new = np.moveaxis(labels, axis, 0), np.moveaxis(result, axis, 0)
    held = [index for index in sorted(set(slices)) if np.any(planes[index] == value)]
    sides = [1.0, 1.0] if spacing is None else [mm for i, mm in enumerate(spacing) if i != axis]
    for low, high in pairwise(held):
        if high - low < 2:
            continue
        first, last = planes[low] == value, planes[high] == value
        box = _square(first | last)
        between = _Between(first[box], last[box], sides)
        for index in range(low + 1, high):
            plane = new[index]
            plane[plane == value] = 0
            part = plane[box]
            part[between.shape((index - low) / (high - low)) & (part == 0)] = value
    return result


class _Between:
    """The shapes between two shapes of one size, (rows, columns) bool, neither of them empty."""

    def __init__(self, first: NDArray[np.bool_], last: NDArray[np.bool_], sides: Sequence[float]) -> None:
        self._way = None if np.any(first & last) else _centre(last) - _centre(first)
        frame = 1 if self._way is None else 2 + int(np.abs(self._way).max())  # room to move in
        self._first = _signed_distance(np.pad(first, frame), sides)
        self._last = _signed_distance(np.pad(last, frame), sides)
        self._inner = slice(frame, -frame)

    def shape(self, share: float) -> NDArray[np.bool_]:
        """Return the shape at `share` (0 to 1) of the way."""
        first, last = self._first, self._last
        if self._way is not None:
            done = np.rint(share * self._way).astype(int)  # whole pixels, or a shape of few of them would fade away
            first = np.roll(first, done, axis=(0, 1))
            last = np.roll(last, done - np.rint(self._way).astype(int), axis=(0, 1))
        mixed: NDArray[np.bool_] = (1 - share) * first + share * last >= 0
        return mixed[self._inner, self._inner]


def _signed_distance(inside: NDArray[np.bool_], sides: Sequence[float]) -> NDArray[np.float64]:
    """Return each pixel's distance to the outline, positive inside; the outline runs half a pixel off the centres."""
    distance: NDArray[np.float64] = ndimage.distance_transform_edt(inside, sides)
    distance -= ndimage.distance_transform_edt(~inside, sides)
    return distance - np.sign(distance) * min(sides) / 2


def _centre(inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the middle of the pixels inside."""
    middle: NDArray[np.float64] = np.argwhere(inside).mean(axis=0)
    return middle


def _square(inside: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Return the smallest rectangle around the pixels inside."""
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
