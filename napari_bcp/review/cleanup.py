"""Clean-up of one class of a draft.

Labels are uint8 arrays with three axes in any order, 0 is background. Each function returns a new array; only voxels
of the class itself and background change, never those of another class. Neighbours meet at faces, edges or corners.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import ndimage

from napari_bcp.review.boxes import box_of, grown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

TOUCHING: Final = np.ones((3, 3, 3), bool)
"""Neighbours of a voxel of a structure: faces, edges and corners."""

_REACH: Final = 3.0  # standard deviations at which the Gaussian is cut off
_SPECK: Final = 8  # voxels: what is smaller has no outline to smooth
_LEVELS: Final = (0.3, 0.7)  # a smoothed outline is looked for between these, so that a thick part never feeds on air


def keep_largest(labels: NDArray[np.uint8], value: int) -> NDArray[np.uint8]:
    """Remove all components of the class but the largest; of equal ones the first in C order stays."""
    result = labels.copy()
    box = box_of(labels, value)
    if box is None:
        return result
    inside = labels[box] == value
    parts, count = ndimage.label(inside, TOUCHING)
    if count > 1:
        largest = 1 + int(np.bincount(parts.ravel())[1:].argmax())
        result[box][inside & (parts != largest)] = 0
    return result


def fill_holes(labels: NDArray[np.uint8], value: int, axis: int | None = 0) -> NDArray[np.uint8]:
    """Fill the background that the class encloses in a slice across `axis`, or on all sides with `axis` None.

    What is enclosed on all sides is enclosed in each slice too, so filling slices fills both. Background that touches
    other classes alone, such as a hole of a chamber inside the wall that is filled, is left to them.
    """
    result = labels.copy()
    box = box_of(labels, value)
    if box is not None:
        part = result[box]
        for piece in [part] if axis is None else np.moveaxis(part, axis, 0):
            _fill(piece, value)
    return result


def smooth(
    labels: NDArray[np.uint8], value: int, spacing: Sequence[float], radius_mm: float = 1.5
) -> NDArray[np.uint8]:
    """Smooth the outline of each component of the class; roughness much finer than `radius_mm` goes.

    spacing : mm, in the array's order
    radius_mm : standard deviation of the Gaussian that the mask is blurred with, in mm whatever the voxel's shape

    The blurred mask gets back what blurring its remainder finds ("twicing", Tukey, Exploratory Data Analysis, 1977),
    or round structures would shrink, the thinner the more; the level of the new outline is the one that keeps the
    volume. A component that would lose most of itself stays as it is. Voxels of other classes are left out of the
    blur, so borders between classes do not open.
    """
    result = labels.copy()
    sigmas = [radius_mm / mm for mm in spacing]
    reach = [math.ceil(_REACH * sigma) for sigma in sigmas]
    outer = box_of(labels, value)
    if outer is None or radius_mm <= 0:
        return result
    outer = grown(outer, reach, labels.shape)
    part, target = labels[outer], result[outer]
    parts, count = ndimage.label(part == value, TOUCHING)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    for number, tight in enumerate(ndimage.find_objects(parts), 1):
        if sizes[number] < _SPECK:
            continue
        box = grown(tight, reach, part.shape)
        inside = parts[box] == number
        after = _smoothed(inside, part[box], value, sigmas)
        if 2 * np.count_nonzero(after & inside) >= sizes[number]:
            target[box][inside & ~after] = 0
            target[box][after] = value
    return result


def threshold(
    labels: NDArray[np.uint8],
    probability: NDArray[np.uint8],
    value: int,
    level: int,
    pinned: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint8]:
    """Move the border of the class along its map: to where the probability is at least `level`.

    probability : of the class, 0 to 255, in the shape of the labels
    level : 0 to 255;  pinned : voxels that stay as they are, such as those painted by hand

    Background with a probability of at least `level` becomes the class, voxels of the class below it background.
    Raises ValueError where shapes differ or the level is out of range.
    """
    if probability.shape != labels.shape or (pinned is not None and pinned.shape != labels.shape):
        raise ValueError(f"labels are {labels.shape}; the map or what is pinned has another shape")
    if not 0 <= level <= 255:
        raise ValueError(f"level is {level}, expected 0 to 255")
    result = labels.copy()
    for index, plane in enumerate(result):  # plane by plane: fast enough to follow a slider
        above = probability[index] >= level
        change = np.where(above, plane == 0, plane == value)
        if pinned is not None:
            change &= ~pinned[index]
        plane[change] = above[change] * np.uint8(value)
    return result


def attached(
    before: NDArray[np.uint8], after: NDArray[np.uint8], value: int, anchor: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Return `after` without what the class has won in it away from where it was: parts that touch nothing of it.

    anchor : labels in which the class may have been elsewhere, too

    A border that moves outwards takes in what it meets; parts elsewhere in the map are islands, to be restored one by
    one. A class that was nowhere may appear anywhere.
    """
    result = after.copy()
    box = box_of(after, value)
    if box is None:
        return result
    inside = after[box] == value
    was = before[box] == value
    if anchor is not None:
        was |= anchor[box] == value
    if not was.any() and not np.any(before == value) and (anchor is None or not np.any(anchor == value)):
        return result
    parts, count = ndimage.label(inside, TOUCHING)
    kept = np.zeros(count + 1, bool)
    kept[parts[was & inside]] = True
    lost = inside & ~kept[parts] & (before[box] != value)
    result[box][lost] = before[box][lost]
    return result


def _fill(labels: NDArray[np.uint8], value: int) -> None:
    """Fill, in place, the background that the class encloses in a slice or a box."""
    inside = labels == value
    # What leaks out through a corner is enclosed all the same: background meets at faces alone.
    regions, count = ndimage.label(np.pad(~inside, 1, constant_values=True))
    if count < 2:
        return
    enclosed = np.ones(count + 1, bool)
    enclosed[[0, regions.flat[0]]] = False  # the class, and what the frame belongs to
    holes = enclosed[regions][(slice(1, -1),) * labels.ndim]
    fill = holes & (labels == 0)
    if np.any(holes & (labels != 0)):
        parts, count = ndimage.label(fill)
        own = np.zeros(count + 1, bool)
        own[parts[ndimage.binary_dilation(inside)]] = True
        own[0] = False
        fill = own[parts]
    labels[fill] = value


def _smoothed(
    inside: NDArray[np.bool_], labels: NDArray[np.uint8], value: int, sigmas: Sequence[float]
) -> NDArray[np.bool_]:
    """Return the voxels inside the smoothed outline of one component, none of them of another class."""
    seen = (labels == 0) | (labels == value)
    below = None if seen.all() else np.maximum(_gaussian(seen.astype(np.float32), sigmas), np.float32(1e-6))

    def blur(image: NDArray[np.float32]) -> NDArray[np.float32]:
        blurred = _gaussian(image if below is None else image * seen, sigmas)
        if below is not None:
            blurred /= below
        return blurred

    mask = inside.astype(np.float32)
    field = blur(mask)
    field += blur(mask - field)
    free = inside | (labels == 0)  # what belongs to other components is theirs to keep or lose
    smoothed: NDArray[np.bool_] = free & (field >= _level(field[free], int(np.count_nonzero(inside))))
    return smoothed


def _gaussian(image: NDArray[np.float32], sigmas: Sequence[float]) -> NDArray[np.float32]:
    """Return the Gaussian mean around each voxel; beyond the border of a scan its image goes on mirrored."""
    blurred: NDArray[np.float32] = ndimage.gaussian_filter(image, sigmas, truncate=_REACH, mode="reflect")
    return blurred


def _level(field: NDArray[np.float32], voxels: int) -> float:
    """Return the level that `voxels` of the values reach, within _LEVELS."""
    low, high = _LEVELS
    sure = int(np.count_nonzero(field >= high))
    near = field[(field >= low) & (field < high)]
    wanted = voxels - sure
    if wanted <= 0:
        return high
    if wanted > near.size:
        return low
    return float(np.partition(near, near.size - wanted)[near.size - wanted])
