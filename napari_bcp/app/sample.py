"""Sample data for napari: one scan that the package draws itself, with its mask."""

from __future__ import annotations

from pathlib import Path

from nibabel.nifti1 import Nifti1Image

from napari_bcp.app.reader import LayerData, mask_layer, scan_layer
from napari_bcp.scans.geometry import grid_from_header
from napari_bcp.scans.phantom import PHANTOM_CLASSES, make_case


def phantom() -> list[LayerData]:
    """Return the layers of a phantom: the scan, and the mask with its classes."""
    case = make_case(seed=0, index=0)
    header = Nifti1Image(case.voxels, case.affine).header
    grid = grid_from_header(header, case.voxels.shape, Path(case.name))
    return [scan_layer(case.voxels, grid, case.name), mask_layer(case.mask, grid, f"{case.name} mask", PHANTOM_CLASSES)]
