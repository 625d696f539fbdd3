"""NIfTI files to canonical arrays and back, and everything about where voxels lie."""

from napari_bcp.scans.classes import ClassSpec, check_classes, default_classes, read_classes, write_classes
from napari_bcp.scans.geometry import display_arrays, from_canonical, from_display, to_canonical
from napari_bcp.scans.nifti import is_nifti, read_grid, read_mask, read_scan, stem, write_map, write_mask
from napari_bcp.scans.pairing import Pair, Pairing, pair
from napari_bcp.scans.volume import Grid, Mask, Scan

__all__ = [
    "ClassSpec",
    "Grid",
    "Mask",
    "Pair",
    "Pairing",
    "Scan",
    "check_classes",
    "default_classes",
    "display_arrays",
    "from_canonical",
    "from_display",
    "is_nifti",
    "pair",
    "read_classes",
    "read_grid",
    "read_mask",
    "read_scan",
    "stem",
    "to_canonical",
    "write_classes",
    "write_map",
    "write_mask",
]
