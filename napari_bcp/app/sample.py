"""Sample data for napari: a scan with its mask that the package draws itself, and a cohort of such in a pool."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from nibabel.nifti1 import Nifti1Image

from napari_bcp.app.reader import LayerData, NothingToAdd, PoolReader, mask_layer, scan_layer, show_dock
from napari_bcp.scans.geometry import grid_from_header
from napari_bcp.scans.phantom import PHANTOM_CLASSES, make_case

if TYPE_CHECKING:
    from collections.abc import Sequence

COHORT: Final = "napari-bcp://phantom-cohort"
"""Address of the cohort in the manifest. napari refuses a sample command that adds no layer, but not such a reader."""


def phantom() -> list[LayerData]:
    """Return the layers of a phantom: the scan, and the mask with its classes."""
    case = make_case(seed=0, index=0)
    header = Nifti1Image(case.voxels, case.affine).header
    grid = grid_from_header(header, case.voxels.shape, Path(case.name))
    return [scan_layer(case.voxels, grid, case.name), mask_layer(case.mask, grid, f"{case.name} mask", PHANTOM_CLASSES)]


def get_cohort_reader(path: str | Sequence[str]) -> PoolReader | None:
    """Return the function that opens the phantom cohort if `path` is its address, else None."""
    return open_cohort if path in (COHORT, [COHORT]) else None


def open_cohort(_path: str | Sequence[str] = COHORT) -> NothingToAdd:
    """Show the dock and open the pool of the phantom cohort there; it is drawn in the background the first time.

    Raises PoolError if napari has no window.
    """
    import platformdirs

    show_dock().open_sample(Path(platformdirs.user_data_path("napari-bcp")) / "sample")
    return [(None,)]
