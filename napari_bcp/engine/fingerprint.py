"""What the plan needs to know of a cohort: sizes, spacings, intensities, how large the structures are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from pydantic import BaseModel

from napari_bcp.method.pseudo_labels import count_parts, count_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_bcp.scans import Mask, Scan


_AIR: Final = -200.0  # Hounsfield units; air has -1000
_HIGHEST: Final = 33_000.0


class Fingerprint(BaseModel, frozen=True):
    """Sizes in mm along x, y, z; medians over scans.

    ct : whether values are Hounsfield units as scanners write them.  air : whether they may be any.
    foreground : 0.5, 50 and 99.5 percentile, mean and SD of the values inside the structures, over labelled scans.
    diameters : per class value, diameter in mm of a ball of the class's median volume.  parts : per class value, of
    how many parts it consists in the mask with most of them.
    """

    shape: tuple[float, float, float]
    spacing: tuple[float, float, float]
    extent: tuple[float, float, float]
    ct: bool
    foreground: tuple[float, float, float, float, float]
    diameters: dict[int, float]
    parts: dict[int, int] = {}
    air: bool = False


def has_air(voxels: NDArray[np.float32]) -> bool:
    """Return whether a scan's values (x, y, z) may be Hounsfield units: a CT has air, and MR hardly values below 0."""
    return float(np.percentile(voxels[::4, ::4, ::4], 0.5)) < _AIR and float(voxels.max()) < _HIGHEST


class Survey:
    """Collects what a fingerprint needs, scan by scan, keeping samples and sums only."""

    def __init__(self) -> None:
        self.scans = 0
        self._ct: list[bool] = []
        self._air: list[bool] = []
        self._inside: list[NDArray[np.float32]] = []
        self._anywhere: list[NDArray[np.float32]] = []
        self._volumes: dict[int, list[float]] = {}
        self._parts: dict[int, int] = {}

    def add(self, scan: Scan, mask: Mask) -> None:
        """Look at one labelled scan."""
        self.scans += 1
        sample = scan.voxels[::4, ::4, ::4]
        self._air.append(has_air(scan.voxels))
        self._ct.append(self._air[-1] and bool((sample == np.rint(sample)).all()))
        values = scan.voxels[mask.voxels > 0]
        self._inside.append(values[:: max(1, len(values) // 50_000)].copy())
        self._anywhere.append(sample.ravel()[:: max(1, sample.size // 50_000)].copy())
        counts = count_values(mask.voxels)
        for value in np.flatnonzero(counts[1:]) + 1:
            self._volumes.setdefault(int(value), []).append(counts[value] * float(np.prod(scan.grid.spacing)))
        for given, parts in count_parts(mask.voxels).items():
            self._parts[given] = max(parts, self._parts.get(given, 1))

    def fingerprint(self, grids: Sequence[tuple[Sequence[float], Sequence[float]]]) -> Fingerprint:
        """Return the fingerprint; `grids` holds shape and spacing of every scan (headers are enough)."""
        shapes = np.array([shape for shape, _ in grids], dtype=float)
        spacings = np.array([spacing for _, spacing in grids], dtype=float)
        inside = any(len(v) for v in self._inside)
        values = np.concatenate(self._inside if inside else self._anywhere)
        percentiles = np.percentile(values, [0.5, 50, 99.5])
        return Fingerprint(
            shape=_triple(np.median(shapes, axis=0)),
            spacing=_triple(np.median(spacings, axis=0)),
            extent=_triple(np.median(shapes * spacings, axis=0)),
            ct=all(self._ct),
            foreground=(*map(float, percentiles), float(values.mean()), float(values.std()) or 1.0),
            diameters={k: float((6 * np.median(v) / np.pi) ** (1 / 3)) for k, v in sorted(self._volumes.items())},
            parts=dict(sorted(self._parts.items())),
            air=all(self._air),
        )


def _triple(values: NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = (float(v) for v in values)
    return (x, y, z)
