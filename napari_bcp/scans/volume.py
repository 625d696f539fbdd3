"""What a scan and a mask are in memory. Axis order and units are said here and nowhere else.

Arrays are canonical: axis order x, y, z, running to the patient's right, front and head (RAS+), C order.
Spacing is in mm. A 2-D image is a volume with one slice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

Header: TypeAlias = Nifti1Header | Nifti2Header
Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Grid:
    """Where voxels lie, and everything that is needed to write a file back in the scan's own geometry.

    shape : voxels along canonical x, y, z
    spacing : mm along canonical x, y, z
    affine : (4, 4) from canonical voxel indices to mm in RAS+
    orientation : (3, 2) nibabel orientation, row i says which canonical axis file axis i is, and its direction
    file_shape : shape as in the file, which may have two axes or trailing ones
    header : of the file, as it was read
    notes : what was assumed about the file, a sentence each
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    affine: NDArray[np.float64]
    orientation: NDArray[np.float64]
    file_shape: tuple[int, ...]
    header: Header
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Scan:
    """One image volume: `voxels` float32 (x, y, z) on `grid`; all values are finite."""

    path: Path
    voxels: NDArray[np.float32]
    grid: Grid
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Mask:
    """Classes per voxel: `voxels` uint8 (x, y, z) on its scan's grid, 0 is background."""

    path: Path
    voxels: NDArray[np.uint8]
    notes: tuple[str, ...] = ()
