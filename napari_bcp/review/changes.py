"""What a reader changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_bcp.metrics import dice_per_class

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray


def differences(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> dict[int, tuple[int, int]]:
    """Return, per class that changed, how many voxels were added to it and how many taken away.

    Raises ValueError where the shapes differ.
    """
    _check(before, after)
    added, removed = np.zeros(256, np.int64), np.zeros(256, np.int64)
    for old, new in zip(before, after, strict=True):
        changed = old != new
        if changed.any():
            added += np.bincount(new[changed], minlength=256)
            removed += np.bincount(old[changed], minlength=256)
    return {
        value: (int(added[value]), int(removed[value])) for value in range(1, 256) if added[value] or removed[value]
    }


def dice_between(before: NDArray[np.uint8], after: NDArray[np.uint8], values: Iterable[int]) -> dict[int, float]:
    """Return the Dice (0 to 1) of each class between two arrays of labels; a class that is in neither is left out.

    Raises ValueError where the shapes differ.
    """
    _check(before, after)
    found = dice_per_class(before, after, values)
    return {value: overlap for value, overlap in found.items() if not np.isnan(overlap)}


def _check(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> None:
    if before.shape != after.shape:
        raise ValueError(f"labels were {before.shape} before and are {after.shape} after")
