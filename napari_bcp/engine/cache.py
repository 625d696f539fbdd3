"""Scans on the network's grid, on disk, made once and memory-mapped after."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_bcp.engine.fingerprint import has_air
from napari_bcp.errors import ScanAwayError, ScanError
from napari_bcp.files import atomic_path, remove_parts
from napari_bcp.scans import Grid, read_grid, read_mask, read_scan
from napari_bcp.scans.resample import new_shape, resample_labels, resample_linear, resample_nearest

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_bcp.engine.plan import Plan
    from napari_bcp.scans import Scan


_MOST_VOXELS: Final = 100_000_000
_MOST_TIMES: Final = 12  # as many voxels as the scan has: a slice of 5 mm may well be cut into eight or ten


@dataclass(frozen=True)
class CaseFiles:
    """A case as training needs it: its scan's file and, when labelled, its mask's."""

    name: str
    scan: Path
    mask: Path | None = None


@dataclass(frozen=True, eq=False)
class Prepared:
    """A case on the network's grid: image (x, y, z) float16 or float32, labels (x, y, z) uint8 channel numbers.

    seeds : voxels (n, 3) of structures, at most 5,000 a class, drawn evenly; empty when unlabelled.
    spacing : of these voxels along x, y, z, mm; 1 between the slices of a plan in two dimensions.
    """

    name: str
    image: NDArray[Any]
    labels: NDArray[np.uint8] | None
    seeds: tuple[NDArray[np.int32], ...]
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)

    @cached_property
    def levels(self) -> NDArray[np.float32]:
        """Quantiles of the intensities, 65 of them, from the lowest to the highest."""
        every = max(1, round((self.image.size / 50_000) ** (1 / 3)))
        some = np.asarray(self.image[::every, ::every, ::every], np.float32)
        return np.quantile(some, np.linspace(0, 1, 65)).astype(np.float32)


def network_shape(plan: Plan, grid: Grid) -> tuple[int, ...]:
    """Return the shape of a scan on the network's grid."""
    if plan.fit == "resize":
        return (plan.patch[0], plan.patch[1], grid.shape[2])
    target = [wanted or own for wanted, own in zip(plan.spacing, grid.spacing, strict=True)]
    return new_shape(grid.shape, grid.spacing, target)


def checked_shape(plan: Plan, scan: Scan) -> tuple[int, ...]:
    """Return the shape of a scan on the network's grid.

    Raises ScanError where that takes vastly more voxels than the scan has, as where its header gives sizes in metres.
    """
    grid, shape = scan.grid, network_shape(plan, scan.grid)
    if math.prod(shape) > max(_MOST_VOXELS, _MOST_TIMES * math.prod(grid.shape)):
        sides = " × ".join(f"{size:.3g}" for size in grid.spacing)
        raise ScanError(
            f"{scan.path} has voxels of {sides} mm by its header, which would be {math.prod(shape):.1e} voxels of this "
            "run's size; correct the header, or exclude the case.",
            path=scan.path,
        )
    return shape


def to_network(plan: Plan, scan: Scan) -> NDArray[np.float32]:
    """Normalise a scan (x, y, z) and bring it to the network's grid. Raises ScanError as `checked_shape` does."""
    voxels, shape = scan.voxels, checked_shape(plan, scan)
    if plan.fit == "resize":
        image = np.asarray(resample_nearest(voxels, shape), dtype=np.float32)
    else:
        image = resample_linear(voxels, shape)
    return normalise(plan, image, voxels)


def normalise(plan: Plan, image: NDArray[np.float32], voxels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale intensities of `image` by the statistics of the whole scan `voxels` as the plan says."""
    if plan.normalise == "none":
        return image
    if plan.normalise == "ct":
        low, high, mean, sd = plan.ct_window
        return ((np.clip(image, low, high) - mean) / sd).astype(np.float32)
    if plan.normalise == "minmax":
        low, high = float(voxels.min()), float(voxels.max())
        return ((image - low) / ((high - low) or 1.0)).astype(np.float32)
    mean = float(voxels.mean(dtype=np.float64))
    # Plane by plane, since std() would copy the scan twice in double precision.
    sd = float(np.sqrt(np.mean([np.square(p - mean).mean(dtype=np.float64) for p in voxels])))
    return ((image - mean) / (sd or 1.0)).astype(np.float32)


class Cache:
    """Prepared cases under `folder`, one pair of files a case and plan.

    A file's name holds a key of the plan, the source's path, size and time of change, so that a changed scan, mask
    or plan is prepared anew. The folder can be deleted at any time.
    """

    def __init__(self, folder: Path, plan: Plan, classes: Collection[int]) -> None:
        self.folder = folder / plan.grid_key
        remove_parts(self.folder)  # of a process that was killed while it wrote
        self.plan = plan
        self.classes = tuple(classes)
        self.unlike: list[str] = []
        """Cases prepared here whose values are no Hounsfield units where the plan is for these, or the other way."""

    def get(self, case: CaseFiles) -> Prepared:
        """Return the prepared case, preparing it first where needed.

        Raises ScanError or MaskError when a file cannot be used.
        """
        image_file = self.folder / f"{case.name}.{_key(case.scan)}.image.npy"
        labels_file = None
        if case.mask is not None:
            labels_file = self.folder / f"{case.name}.{_key(case.scan, case.mask)}.labels.npy"
        image = _load(image_file)
        labels = _load(labels_file) if labels_file is not None else None
        if image is None or (labels_file is not None and labels is None):
            self._prepare(case, image_file if image is None else None, labels_file)
            image = _load(image_file)
            labels = _load(labels_file) if labels_file is not None else None
        assert image is not None  # noqa: S101 - written a line above
        spacing = self._spacing(case, image.shape)
        return Prepared(case.name, image, labels, _seeds(labels, len(self.plan.classes)), spacing)

    def _spacing(self, case: CaseFiles, shape: tuple[int, ...]) -> tuple[float, float, float]:
        """Return the size of the voxels of a prepared case: the plan's, where it has one, else what the scan says."""
        x, y, z = self.plan.spacing
        if self.plan.dimensions == 2:  # slices are never turned out of their plane
            z = 1.0
        if not (x and y and z):
            grid = read_grid(case.scan)
            own = [size * n / now for size, n, now in zip(grid.spacing, grid.shape, shape, strict=True)]
            x, y, z = x or own[0], y or own[1], z or own[2]
        return (x, y, z)

    def _prepare(self, case: CaseFiles, image_file: Path | None, labels_file: Path | None) -> None:
        scan = read_scan(case.scan)
        if image_file is not None and has_air(scan.voxels) != (self.plan.air or self.plan.normalise == "ct"):
            self.unlike.append(case.name)
        shape = checked_shape(self.plan, scan)
        if labels_file is not None and case.mask is not None:
            mask = read_mask(case.mask, scan.grid, classes=self.classes)
            channels = np.zeros(256, dtype=np.uint8)
            channels[list(self.plan.classes)] = np.arange(1, len(self.plan.classes) + 1)
            labels = channels[mask.voxels]
            if self.plan.fit == "resize":
                small = np.asarray(resample_nearest(labels, shape), dtype=np.uint8)
            else:
                small = resample_labels(labels, shape, len(self.plan.classes) + 1)
            _save(labels_file, small)
        if image_file is not None:
            # Half precision holds a normalised image; values as they are in the file, and the published recipes,
            # get all of it.
            paper = self.plan.blend == "mean"
            kind = np.float32 if paper or self.plan.normalise == "none" else np.float16
            _save(image_file, to_network(self.plan, scan).astype(kind))


def _key(*files: Path) -> str:
    parts = []
    for file in files:
        try:
            facts = file.stat()
        except OSError as error:
            raise ScanAwayError(
                f"{file} cannot be read ({error.strerror or error}): bring it back, say where it is "
                "(Pool › Scans have moved…, or 'napari-bcp relocate'), or exclude its case.",
                path=file,
            ) from None
        parts.append(f"{file.resolve()}|{facts.st_size}|{facts.st_mtime_ns}")
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:16]


def _save(target: Path, array: NDArray[Any]) -> None:
    with atomic_path(target) as part, part.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def _load(file: Path) -> NDArray[Any] | None:
    """Map a cached array, or return None when it is missing or torn."""
    try:
        array: NDArray[Any] = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return array if array.ndim == 3 else None


def _seeds(labels: NDArray[np.uint8] | None, classes: int) -> tuple[NDArray[np.int32], ...]:
    if labels is None:
        return ()
    found = []
    for channel in range(1, classes + 1):
        flat = np.flatnonzero(labels == channel)
        flat = flat[:: max(1, len(flat) // 5000)]
        if len(flat):
            found.append(np.stack(np.unravel_index(flat, labels.shape), axis=1).astype(np.int32))
    return tuple(found)
