"""Which values of a scan are shown from black to white."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

CT_WINDOWS: Final = {
    "soft tissue": (-160.0, 240.0),
    "lung": (-1350.0, 150.0),
    "bone": (-450.0, 1050.0),
    "brain": (0.0, 80.0),
}
"""Usual windows of CT, in Hounsfield units."""

_PERCENTILES: Final = (1, 99.5)
_ENOUGH: Final = 1_000_000  # voxels that percentiles are taken from
_AIR, _METAL = -200.0, 33_000.0  # HU: below and above what no MR that is stored in whole numbers has


def usual_contrast(voxels: NDArray[Any]) -> tuple[float, float]:
    """Return the values to show as black and white: the middle 98.5 per cent of them."""
    low, high = (float(value) for value in np.percentile(_sample(voxels), _PERCENTILES))
    return low, high if high > low else low + 1


def windows(voxels: NDArray[Any]) -> dict[str, tuple[float, float]]:
    """Return the windows by name for a scan whose values look like Hounsfield units, else none."""
    sample = _sample(voxels)
    whole = bool((sample == np.rint(sample)).all())
    looks_like_ct = float(np.percentile(sample, 0.5)) < _AIR and float(sample.max()) < _METAL and whole
    return dict(CT_WINDOWS) if looks_like_ct else {}


def _sample(voxels: NDArray[Any]) -> NDArray[Any]:
    return voxels.ravel()[:: max(1, voxels.size // _ENOUGH)]
