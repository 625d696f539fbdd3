"""What the plan needs to know of a cohort: sizes, spacings, intensities, how large the structures are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_bcp.scans import Mask, Scan


class Fingerprint(BaseModel, frozen=True):
    """Sizes in mm along x, y, z; medians over scans.

    ct : whether values look like Hounsfield units.  foreground : 0.5, 50 and 99.5 percentile, mean and SD of the
    values inside the structures, over labelled scans.  diameters : per class value, diameter in mm of a ball of
    the class's median volume.
    """

    shape: tuple[float, float, float]
    spacing: tuple[float, float, float]
    extent: tuple[float, float, float]
    ct: bool
    foreground: tuple[float, float, float, float, float]
    diameters: dict[int, float]


def take_fingerprint(
    grids: Sequence[tuple[Sequence[float], Sequence[float]]], labelled: Sequence[tuple[Scan, Mask]]
) -> Fingerprint:
    """Measure a cohort.

    grids : shape and spacing of every scan (headers are enough);  labelled : some scans with their masks, one at
    least.
    """
    shapes = np.array([shape for shape, _ in grids], dtype=float)
    spacings = np.array([spacing for _, spacing in grids], dtype=float)
    inside: list[NDArray[np.float32]] = []
    volumes: dict[int, list[float]] = {}
    looks_ct = []
    for scan, mask in labelled:
        values = scan.voxels[mask.voxels > 0]
        inside.append(values[:: max(1, len(values) // 50_000)])
        low = float(np.percentile(scan.voxels[::4, ::4, ::4], 0.5))
        sample = scan.voxels[::4, ::4, ::4]
        looks_ct.append(low < -200 and scan.voxels.max() < 33_000 and bool((sample == np.rint(sample)).all()))
        counts = np.bincount(mask.voxels.ravel())
        for value in np.flatnonzero(counts[1:]) + 1:
            volumes.setdefault(int(value), []).append(counts[value] * float(np.prod(scan.grid.spacing)))
    values = (
        np.concatenate(inside)
        if any(len(v) for v in inside)
        else np.concatenate([s.voxels.ravel() for s, _ in labelled])
    )
    percentiles = np.percentile(values, [0.5, 50, 99.5])
    return Fingerprint(
        shape=tuple(np.median(shapes, axis=0)),
        spacing=tuple(np.median(spacings, axis=0)),
        extent=tuple(np.median(shapes * spacings, axis=0)),
        ct=all(looks_ct) and bool(looks_ct),
        foreground=(*map(float, percentiles), float(values.mean()), float(values.std()) or 1.0),
        diameters={k: float((6 * np.median(v) / np.pi) ** (1 / 3)) for k, v in sorted(volumes.items())},
    )
