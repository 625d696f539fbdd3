"""Where a mean over voxels is worth taking: near a structure, not over the air around the patient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import maximum_filter1d

if TYPE_CHECKING:
    from numpy.typing import NDArray


def near(mask: NDArray[Any], margin: int = 5) -> NDArray[np.bool_]:
    """Return the voxels at most `margin` voxels along every axis from a voxel of `mask` (everything except 0).

    Raises ValueError for a negative margin.
    """
    if margin < 0:
        raise ValueError(f"margin is {margin}, expected 0 or more")
    grown = mask.astype(bool).view(np.uint8)
    for axis in range(mask.ndim):
        grown = maximum_filter1d(grown, 2 * margin + 1, axis=axis, mode="constant")
    return grown.view(bool)
