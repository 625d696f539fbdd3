"""Opens NIfTI files in napari: upright, in millimetres, patient's right on the viewer's left."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_bcp.scans import ClassSpec, Grid, display_arrays, is_nifti, read_grid, read_mask, read_scan, stem

LayerData = tuple[NDArray[Any], dict[str, Any], str]
Reader = Callable[[str | Sequence[str]], list[LayerData]]

_MASK_FILE = re.compile(
    r"(?:mask|label|seg)s?(?:[._-].*)?|.*[._-](?:mask|label|seg|segmentation|pseudo)s?", re.IGNORECASE
)
_MASK_FOLDER = re.compile(r"(?:labels|masks|truth|pseudo|accepted)(?:Tr|Ts)?", re.IGNORECASE)
_SHOWN_PERCENTILES = (1, 99.5)
_VALUES_FOR_PERCENTILES = 1_000_000


def get_reader(path: str | Sequence[str]) -> Reader | None:
    """Return the function that reads `path`, or None if it is no NIfTI file (napari asks for every file)."""
    paths = [path] if isinstance(path, str) else path
    return read_layers if paths and all(is_nifti(one) for one in paths) else None


def read_layers(path: str | Sequence[str]) -> list[LayerData]:
    """Return a layer for each file: labels where the name of the file or its folder says mask, else an image.

    Raises ScanError or MaskError, which napari shows, if a file cannot be used.
    """
    return [_read(Path(one)) for one in ([path] if isinstance(path, str) else path)]


def scan_layer(voxels: NDArray[Any], grid: Grid, name: str) -> LayerData:
    """Return the image layer of a scan: `voxels` canonical (x, y, z)."""
    sample = voxels.ravel()[:: max(1, voxels.size // _VALUES_FOR_PERCENTILES)]
    low, high = (float(value) for value in np.percentile(sample, _SHOWN_PERCENTILES))
    limits = (low, high if high > low else low + 1)
    return _layer(voxels, grid, {"name": name, "colormap": "gray", "contrast_limits": limits}, "image")


def mask_layer(voxels: NDArray[np.uint8], grid: Grid, name: str, classes: Sequence[ClassSpec] = ()) -> LayerData:
    """Return the labels layer of a mask: `voxels` canonical (x, y, z), 0 is background.

    `classes` give colours, and the names that napari shows under the pointer.
    """
    return _layer(voxels, grid, {"name": name, **class_options(classes)}, "labels")


def class_options(classes: Sequence[ClassSpec]) -> dict[str, Any]:
    """Return the options of a labels layer that give it the colours and names of `classes`; none without classes."""
    if not classes:
        return {}
    clear = (0.0, 0.0, 0.0, 0.0)
    return {
        "colormap": {None: clear, 0: clear, **{one.value: one.colour for one in classes}},
        "features": {
            "index": [0, *(one.value for one in classes)],
            "name": ["background", *(one.name for one in classes)],
        },
    }


def _read(path: Path) -> LayerData:
    folders = path.absolute().parents[:2]  # two, for a pool has masks/CASE/0001.nii.gz
    if _MASK_FILE.fullmatch(stem(path)) or any(_MASK_FOLDER.fullmatch(folder.name) for folder in folders):
        grid = read_grid(path)
        return mask_layer(read_mask(path, grid).voxels, grid, stem(path))
    scan = read_scan(path)
    return scan_layer(scan.voxels, scan.grid, stem(path))


def _layer(voxels: NDArray[Any], grid: Grid, options: dict[str, Any], kind: str) -> LayerData:
    """Return a layer whose geometry is the same for every layer of one grid, as napari needs it."""
    array, scale = display_arrays(voxels, grid)
    geometry = {"scale": scale, "units": ("mm",) * 3, "axis_labels": ("z", "y", "x")}
    return np.ascontiguousarray(array), {**geometry, **options}, kind
