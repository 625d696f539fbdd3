"""What the layers of the open case are filled with: outlines, differences, and napari's strokes as edits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.ndimage import binary_dilation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_bcp.app.edits import Atom
    from napari_bcp.review.islands import Island

_ISLAND_MARGIN: Final = 3  # voxels around an island, for its outline


def atom_of(stamp: Any) -> Atom:
    """Return one of napari's stamps as Edits takes it: from a brush, or (indices, old, new) from `data_setitem`."""
    if hasattr(stamp, "slice_key"):
        return stamp.slice_key, stamp.mask, stamp.old_values, stamp.new_value
    indices, old, new = stamp
    return indices, None, old, new


def first_box(atoms: Sequence[Atom]) -> tuple[slice, ...]:
    """Return the box of a stroke's first stamp, a slice an axis."""
    place = atoms[0][0]
    return tuple(part if isinstance(part, slice) else slice(int(np.min(part)), int(np.max(part)) + 1) for part in place)


def is_drawn(labels: NDArray[np.uint8], atoms: Sequence[Atom]) -> bool:
    """Return whether `labels` show a stroke already: of a drag napari tells afterwards, of a script's stroke before."""
    if not atoms:
        return False
    place, mask, _, new = atoms[-1]
    region = labels[place] if mask is None else labels[place][mask]
    return bool(np.all(region == new))


def differences(labels: NDArray[np.uint8], proposal: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return 1 where a class has been added or put in place of another, 2 where one has been removed, else 0."""
    removed = (labels == 0).view(np.uint8)
    return np.where(labels == proposal, np.uint8(0), np.uint8(1) + removed)


def outline(island: Island, shape: Sequence[int], axis: int) -> tuple[NDArray[np.uint8], list[int]]:
    """Return the outline of an island in the planes across `axis`, 1 where it is, and the voxel that it begins at.

    It lies beside the island rather than over it: what the island is made of stays in sight.
    """
    box = tuple(
        slice(max(0, part.start - _ISLAND_MARGIN), min(n, part.stop + _ISLAND_MARGIN))
        for part, n in zip(island.box, shape, strict=True)
    )
    start = [part.start for part in box]
    inside = np.zeros([part.stop - part.start for part in box], bool)
    voxels = np.unravel_index(island.indices, tuple(shape))
    inside[tuple(index - first for index, first in zip(voxels, start, strict=True))] = True
    in_plane = np.ones([1 if one == axis else 3 for one in range(3)], bool)
    around = binary_dilation(inside, in_plane, iterations=2) & ~inside
    return around.view(np.uint8), start
