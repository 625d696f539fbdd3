"""Opens NIfTI files in napari: upright, in millimetres, patient's right on the viewer's left; and pools in the dock."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from napari_bcp.errors import PoolError
from napari_bcp.scans import ClassSpec, Grid, display_arrays, is_nifti, read_grid, read_mask, read_scan, stem

if TYPE_CHECKING:
    from napari_bcp.app.session import Session

LayerData = tuple[NDArray[Any], dict[str, Any], str]
Reader = Callable[[str | Sequence[str]], list[LayerData]]
NothingToAdd = list[tuple[None]]
"""napari's word for a file that was opened without a layer: `[(None,)]`."""
PoolReader = Callable[[str | Sequence[str]], NothingToAdd]

PLUGIN: Final = "napari-bcp"
DOCK: Final = "Bidirectional Copy-Paste"
"""Name of the dock in the manifest."""
POOL_TABLE: Final = "pool.sqlite"
"""The file that makes a folder a pool: `pool.store.TABLE`, here again because napari asks about every folder."""

_MASK_FILE = re.compile(  # napari itself calls labels "scan - Labels", the next ones "scan - Labels [1]"
    r"(?:mask|label|seg)s?(?:[ ._-].*)?|.*[ ._-](?:mask|label|seg|segmentation|pseudo)s?(?: \[\d+\])?", re.IGNORECASE
)
_MASK_FOLDER = re.compile(r"(?:labels|masks|truth|pseudo|accepted)(?:Tr|Ts)?", re.IGNORECASE)
_SHOWN_PERCENTILES = (1, 99.5)
_VALUES_FOR_PERCENTILES = 1_000_000


def get_reader(path: str | Sequence[str]) -> Reader | None:
    """Return the function that reads `path`, or None if it is no NIfTI file (napari asks for every file)."""
    paths = [path] if isinstance(path, str) else path
    return read_layers if paths and all(is_nifti(one) for one in paths) else None


def get_pool_reader(path: str | Sequence[str]) -> PoolReader | None:
    """Return the function that opens the pool in the folder `path`, or None if it is no pool.

    napari asks for every folder; the pool's table itself may be given, too.
    """
    paths = [path] if isinstance(path, str) else path
    return open_pool if len(paths) == 1 and _pool_at(paths[0]) is not None else None


def open_pool(path: str | Sequence[str]) -> NothingToAdd:
    """Show the dock in the current window and open the pool there, in the background; no layer comes of it.

    Raises PoolError if `path` is no pool, or if there is no window.
    """
    given = path if isinstance(path, str) else path[0]
    root = _pool_at(given)
    if root is None:
        raise PoolError(f"{given} is no pool (it holds no {POOL_TABLE}): choose a pool's own folder.", path=given)
    show_dock().open_pool(root)
    return [(None,)]


def show_dock() -> Session:
    """Bring the dock to the front of the current window, adding it if it is not there; return its session.

    Raises PoolError if napari has no window, as in a script without one.
    """
    import napari

    viewer = napari.current_viewer()
    if viewer is None:
        raise PoolError("A pool is opened in napari's window, and there is none: open a viewer first.")
    dock, _ = viewer.window.add_plugin_dock_widget(PLUGIN, DOCK)
    dock.show()
    dock.raise_()
    from napari_bcp.app.application import get_keeper

    return get_keeper().session


def read_layers(path: str | Sequence[str]) -> list[LayerData]:
    """Return a layer for each file: labels where the name of the file or its folder says mask, else an image.

    Raises ScanError or MaskError, which napari shows, if a file cannot be used.
    """
    return [_read(Path(one)) for one in ([path] if isinstance(path, str) else path)]


def scan_layer(voxels: NDArray[Any], grid: Grid, name: str, source: Path | None = None) -> LayerData:
    """Return the image layer of a scan: `voxels` canonical (x, y, z), `source` the file that they are from."""
    sample = voxels.ravel()[:: max(1, voxels.size // _VALUES_FOR_PERCENTILES)]
    low, high = (float(value) for value in np.percentile(sample, _SHOWN_PERCENTILES))
    limits = (low, high if high > low else low + 1)
    options = {"name": name, "colormap": "gray", "contrast_limits": limits, **source_options(source)}
    return _layer(voxels, grid, options, "image")


def mask_layer(
    voxels: NDArray[np.uint8],
    grid: Grid,
    name: str,
    classes: Sequence[ClassSpec] = (),
    source: Path | None = None,
) -> LayerData:
    """Return the labels layer of a mask: `voxels` canonical (x, y, z), 0 is background.

    `classes` give colours, and the names that napari shows under the pointer; `source` is the mask's own file.
    """
    options = {"name": name, **class_options(classes), **source_options(source, is_mask=True)}
    return _layer(voxels, grid, options, "labels")


def source_options(source: str | Path | None, *, is_mask: bool = False) -> dict[str, Any]:
    """Return the options of a layer that say in which file's geometry its labels, or labels over it, are saved.

    is_mask : whether that file holds a mask, which may be overwritten, rather than a scan
    """
    if source is None:
        return {}
    path = str(Path(source).absolute())
    return {"metadata": {PLUGIN: {"scan": path, "mask": path} if is_mask else {"scan": path}}}


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
        return mask_layer(read_mask(path, grid).voxels, grid, stem(path), source=path)
    scan = read_scan(path)
    return scan_layer(scan.voxels, scan.grid, stem(path), source=path)


def _pool_at(path: str) -> Path | None:
    """Return the folder of the pool that a path names, by its folder or its table; None if there is none."""
    given = Path(path).absolute()
    root = given.parent if given.name == POOL_TABLE else given
    return root if os.path.isfile(root / POOL_TABLE) else None  # not Path.is_file, which raises for a locked folder


def _layer(voxels: NDArray[Any], grid: Grid, options: dict[str, Any], kind: str) -> LayerData:
    """Return a layer whose geometry is the same for every layer of one grid, as napari needs it."""
    array, scale = display_arrays(voxels, grid)
    geometry = {"scale": scale, "units": ("mm",) * 3, "axis_labels": ("z", "y", "x")}
    return np.ascontiguousarray(array), {**geometry, **options}, kind
