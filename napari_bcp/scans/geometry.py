"""Between a file's axes, the canonical axes that napari-bcp computes in, and the axes of the screen.

Nothing else in napari-bcp flips or permutes axes of a scan.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from nibabel.spatialimages import HeaderDataError

from napari_bcp.errors import GridMismatchError, ScanError
from napari_bcp.scans.volume import Array, Grid, Header

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

MAX_SHEAR = 0.01
"""Cosine between two axes up to which they count as perpendicular: lengths are then off by less than 1 %."""
SPACINGS_MM = (1e-5, 1e4)
"""Smallest and largest spacing that is believed."""
GRID_TOLERANCE = 0.1
"""Largest distance, in voxels and anywhere in the volume, between two grids that count as the same."""

_MM_PER_UNIT = {1: 1000.0, 2: 1.0, 3: 0.001}  # NIfTI's codes for metre, millimetre, micron


def grid_from_header(header: Header, file_shape: tuple[int, ...], path: Path) -> Grid:
    """Return the grid that a NIfTI header describes.

    `file_shape` has at least two axes, and ones from the fourth on. Raises ScanError, naming `path`, where the
    header's orientation or spacing describes no box of voxels: zero, infinite, sheared.
    """
    notes: list[str] = []
    shape = _three_axes(file_shape)
    unit = int(header["xyzt_units"]) & 0b111
    if unit not in _MM_PER_UNIT:
        notes.append(f"{path.name} does not say the unit of its spacing: mm are assumed.")
    with np.errstate(all="ignore"):
        affine = _file_affine(header, shape, path, notes)
        affine[:3] *= _MM_PER_UNIT.get(unit, 1.0)
        _check_affine(affine, path)
    orientation = io_orientation(affine)
    order = np.argsort(orientation[:, 0])
    canonical = affine @ inv_ornt_aff(orientation, shape)
    sizes = np.linalg.norm(canonical[:3, :3], axis=0)
    return Grid(
        shape=tuple(int(shape[axis]) for axis in order),  # type: ignore[arg-type]
        # Headers are float32: beyond six digits there is only rounding, which would tell equal spacings apart.
        spacing=tuple(float(f"{size:.6g}") for size in sizes),  # type: ignore[arg-type]
        affine=canonical,
        orientation=orientation,
        file_shape=file_shape,
        header=header.copy(),
        notes=tuple(notes),
    )


def to_canonical(array: Array, grid: Grid) -> Array:
    """Return `array`, in the file's axes and shape, in canonical axes x, y, z (a view where that is possible).

    Raises GridMismatchError if `array` has not the file's shape.
    """
    if array.shape != grid.file_shape:
        raise GridMismatchError(f"An array of shape {array.shape} cannot lie in a file of shape {grid.file_shape}.")
    view: Array = apply_orientation(array.reshape(_three_axes(grid.file_shape)), grid.orientation)
    return view


def from_canonical(array: Array, grid: Grid) -> Array:
    """Return `array`, in canonical axes x, y, z, in the file's axes and shape: the inverse of `to_canonical`.

    Raises GridMismatchError if `array` has not the grid's shape.
    """
    if array.shape != grid.shape:
        raise GridMismatchError(f"An array of shape {array.shape} does not lie on a grid of shape {grid.shape}.")
    return file_view(array, grid.orientation).reshape(grid.file_shape)


def file_view(array: Array, orientation: NDArray[np.float64]) -> Array:
    """Return a view of a canonical (x, y, z) array whose axes run as the three of the file; writing to it writes."""
    axes = orientation[:, 0].astype(int)
    steps = tuple(slice(None, None, int(step)) for step in orientation[:, 1])
    return array.transpose(axes)[steps]


def display_arrays(voxels: Array, grid: Grid) -> tuple[Array, tuple[float, float, float]]:
    """Return `voxels` as napari should show them, and the `scale` of the layer in mm.

    The array is a view with axes z, y, x running to the feet, the back and the patient's left: patient's right is
    then on the viewer's left, anterior is up, and 3-D is not mirrored. The rotation of an oblique scan is left out.
    """
    x, y, z = grid.spacing
    return voxels[::-1, ::-1, ::-1].transpose(2, 1, 0), (z, y, x)


def from_display(array: Array) -> Array:
    """Return what `display_arrays` made in canonical axes x, y, z again (a view)."""
    return array.transpose(2, 1, 0)[::-1, ::-1, ::-1]


def orientation_on(grid: Grid, other: Grid) -> NDArray[np.float64] | None:
    """Return how the file axes of `other` map to the canonical axes of `grid`, or None if the voxels differ.

    The files may store their axes in different orders and directions. Their voxels are the same if the numbers
    along each axis agree and no corner lies further than GRID_TOLERANCE voxels from its counterpart.
    """
    shape = _three_axes(other.file_shape)
    file_affine = other.affine @ np.linalg.inv(inv_ornt_aff(other.orientation, shape))
    to_voxels = np.linalg.inv(grid.affine)
    # Relative to the scan, not to the patient: at 45 degrees rounding alone may turn the nearest patient axis.
    orientation = io_orientation(to_voxels @ file_affine)
    order = np.argsort(orientation[:, 0])
    if tuple(shape[axis] for axis in order) != grid.shape:
        return None
    shift = to_voxels @ file_affine @ inv_ornt_aff(orientation, shape) - np.eye(4)
    corners = np.array([(*corner, 1) for corner in product(*((0, size - 1) for size in grid.shape))]).T
    if np.abs((shift @ corners)[:3]).max() > GRID_TOLERANCE:
        return None
    found: NDArray[np.float64] = orientation
    return found


def _three_axes(file_shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return the shape of a file as three axes."""
    x, y, z = (*file_shape, 1)[:3]
    return x, y, z


def _file_affine(header: Header, shape: tuple[int, ...], path: Path, notes: list[str]) -> NDArray[np.float64]:
    """Return the 4x4 affine of the file's three axes in the header's unit: sform, else qform, else spacing alone."""
    fixed = header.copy()
    fixed["pixdim"][0] = -1 if header["pixdim"][0] < 0 else 1  # NIfTI: 0 means 1
    fixed["pixdim"][1:4] = np.abs(header["pixdim"][1:4])
    if shape[2] == 1:
        fixed["pixdim"][3] = fixed["pixdim"][3] or 1  # thickness of a single slice, which many writers leave at 0
    affine: NDArray[np.float64]
    if header["sform_code"] != 0:
        affine = fixed.get_sform().astype(np.float64)
    else:
        if not (fixed["pixdim"][1:4] > 0).all():
            raise ScanError(
                f"{path} has a voxel spacing of {_numbers(header['pixdim'][1:4])}: convert it again from its source.",
                path=path,
            )
        if header["qform_code"] != 0:
            try:
                affine = fixed.get_qform()
            except (HeaderDataError, ValueError):
                raise ScanError(
                    f"{path} has an orientation that is no rotation: convert it again from its source.", path=path
                ) from None
        else:
            sizes = fixed["pixdim"][1:4].astype(np.float64) * (-1, 1, 1)  # x to the left, as in Analyze files
            affine = np.diag([*sizes, 1.0])
            affine[:3, 3] = -sizes * (np.array(shape) - 1) / 2
            notes.append(
                f"{path.name} does not say how it is oriented: axes to the patient's left, front and head are assumed."
            )
    if shape[2] == 1 and not affine[:3, 2].any():
        normal = np.cross(affine[:3, 0], affine[:3, 1])
        affine[:3, 2] = normal / (np.linalg.norm(normal) or 1)
    return affine


def _check_affine(affine: NDArray[np.float64], path: Path) -> None:
    """Raise ScanError unless `affine` (in mm) places a box of voxels in space."""
    if not np.isfinite(affine).all():
        raise ScanError(f"{path} has an orientation that is not finite: convert it again from its source.", path=path)
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    if not (sizes > 0).all():
        raise ScanError(
            f"{path} has an orientation that flattens it (its axes have lengths {_numbers(sizes)} mm): "
            "convert it again from its source.",
            path=path,
        )
    low, high = SPACINGS_MM
    if sizes.min() < low or sizes.max() > high:
        raise ScanError(
            f"{path} has a voxel spacing of {_numbers(sizes)} mm, which is not believable: "
            "set the right spacing and unit in its header.",
            path=path,
        )
    axes = affine[:3, :3] / sizes
    if np.abs(axes.T @ axes - np.eye(3)).max() > MAX_SHEAR:
        raise ScanError(
            f"{path} is sheared (its axes are not perpendicular, as with a tilted gantry): "
            "resample it to perpendicular axes first.",
            path=path,
        )


def _numbers(values: Array) -> str:
    return " × ".join(f"{value:.3g}" for value in values)
