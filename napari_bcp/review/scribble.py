"""Strokes that know the map and the scan: a border that follows a scribble, and brushes that paint where both agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import ndimage

from napari_bcp.review.boxes import box_of, grown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_bcp.review.boxes import Box

_REACH: Final = 0.2  # of a scribble's length: a longer one moves the border in a wider circle
_NEAREST_MM, _FARTHEST_MM = 1.5, 6.0  # bounds of that reach, the SD of a bell
_SDS: Final = 2.5  # of the bell: nothing changes farther off
_ALIKE: Final = 1.0  # how unlike the scribble's a grey value may be, in SDs of those around it
_BLUR_MM: Final = 0.7  # of the scan, against its noise
_OVER: Final = 0.3  # by how much, in log-odds, the scribble's own voxels are moved past the border
_DRAWN: Final = 0.5  # log-odds, at least, of what the labels say against the map: somebody has drawn it
_LEAST, _MOST = 26, 229  # of 255: where a brush that follows the map may paint a class, and may erase it
_SPREAD: Final = 2.5  # in SDs: what a brush that follows the grey values takes for the same
_NARROWEST: Final = 0.05  # of the scan's contrast: the smallest such SD


def scribble_box(box: Box, spacing: Sequence[float], shape: Sequence[int]) -> Box:
    """Return the box, around that of a scribble, in which its border may move; `spacing` in mm."""
    return grown(box, [round(_SDS * _FARTHEST_MM / mm) for mm in spacing], shape)


def follow_scribble(
    labels: NDArray[np.uint8],
    value: int,
    scribble: NDArray[np.bool_],
    inside: bool,
    scan: NDArray[np.float32],
    probability: NDArray[np.uint8] | None,
    spacing: Sequence[float],
) -> NDArray[np.uint8]:
    """Return new labels with the border of a class drawn to a scribble, in three dimensions.

    labels, scribble, scan, probability : of one shape, z, y, x; the class's probability is 0 to 255, None without a map
    inside : whether the scribbled voxels belong to the class, or do not;  spacing : mm, z, y, x

    The map's log-odds are moved: at the scribble by what its own voxels need to change sides, elsewhere by as much as
    at the nearest voxel of it, less with the distance and with the difference of grey values (bells both). What
    changes sides then and hangs together with the scribble changes. So an error that the map makes in several slices
    is mended in all of them. A scribble inside takes no voxel away and one outside adds none; other classes stay, but
    for what is scribbled over.
    """
    after = labels.copy()
    tight = box_of(scribble.view(np.uint8), 1)
    if tight is None:
        return after
    length = max((part.stop - part.start) * mm for part, mm in zip(tight, spacing, strict=True))
    reach = float(np.clip(_REACH * length, _NEAREST_MM, _FARTHEST_MM))
    box = grown(tight, [max(1, round(_SDS * reach / mm)) for mm in spacing], labels.shape)
    was, held = labels[box] == value, scribble[box]
    sign = 1 if inside else -1
    odds = sign * _odds(was, None if probability is None else probability[box])
    distance, nearest = ndimage.distance_transform_edt(~held, spacing, return_indices=True)
    place = tuple(nearest)
    grey = ndimage.gaussian_filter(scan[box], [_BLUR_MM / mm for mm in spacing])
    usual = float(grey[ndimage.binary_dilation(held, iterations=3)].std()) * _ALIKE or 1.0
    move = np.clip(_OVER - odds, 0, None)[place]
    move *= np.exp(-0.5 * (distance / reach) ** 2 - 0.5 * ((grey - grey[place]) / usual) ** 2)
    changed = (odds + move > 0) & ((labels[box] == 0) if inside else was)
    changed |= held & (~was if inside else was)
    parts, _ = ndimage.label(changed)
    touched = np.zeros(int(parts.max(initial=0)) + 1, bool)
    touched[parts[held]] = True
    touched[0] = False
    after[box][touched[parts]] = value if inside else 0
    return after


def map_agrees(before: NDArray[np.uint8], value: int, probability: NDArray[np.uint8], paint: bool) -> NDArray[np.bool_]:
    """Return where a brush may paint class `value` (or erase it) if it keeps to the map: arrays of one shape.

    Painted is where the class has a chance of a tenth or more, erased where it has nine tenths or less.
    """
    return probability >= _LEAST if paint else (before != value) | (probability <= _MOST)


def grey_agrees(scan: NDArray[np.float32], start: NDArray[np.float32], contrast: Sequence[float]) -> NDArray[np.bool_]:
    """Return where the scan looks like `start`, the values under the first dab of a stroke.

    contrast : the values that are shown black and white
    """
    middle = float(np.median(start))
    spread = 1.4826 * float(np.median(np.abs(start - middle)))  # the SD, of a bell
    spread = max(spread, _NARROWEST * (contrast[1] - contrast[0]))
    agrees: NDArray[np.bool_] = np.abs(scan - middle) <= _SPREAD * spread
    return agrees


def _odds(was: NDArray[np.bool_], probability: NDArray[np.uint8] | None) -> NDArray[np.float32]:
    """Return the log-odds of the map, on the side of the border where the labels are."""
    odds = np.zeros(was.shape, np.float32)
    if probability is not None:
        chance = (probability.astype(np.float32) + 0.5) / 256
        odds = np.log(chance / (1 - chance))
    return np.where(was, np.maximum(odds, _DRAWN), np.minimum(odds, -_DRAWN)).astype(np.float32)
