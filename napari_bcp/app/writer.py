"""Saves labels layers as masks in the geometry of their scan, whatever way up they are on the screen.

A mask gets the grid of the file that the layer itself was opened from, else that of the scan it lies over. Only where
neither is known is its place made up from the layer's own scale, and that is said.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from nibabel.nifti1 import Nifti1Header

from napari_bcp.app.reader import PLUGIN, POOL_TABLE
from napari_bcp.errors import BcpError, GridMismatchError, MaskError, ScanError
from napari_bcp.scans import Grid, from_display, is_nifti, read_grid, to_canonical, write_mask
from napari_bcp.scans.geometry import grid_from_header, orientation_on

if TYPE_CHECKING:
    from numpy.typing import NDArray

_OWN_FOLDERS: Final = frozenset({"cache", "drafts", "maps", "masks", "runs"})  # of a pool
_SAME_PLACE: Final = 0.1  # voxels that layers may be apart and still count as lying on each other


def save_labels(path: str, data: Any, attributes: Mapping[str, Any]) -> list[str]:
    """Save a labels layer for napari: `write_labels`, with errors that napari lets through.

    napari takes a ValueError for the news that no writer fits, and tells the user that instead of the message.
    """
    try:
        return write_labels(path, data, attributes)
    except (MaskError, ScanError) as error:
        raise BcpError(str(error), path=error.path) from error


def write_labels(path: str | Path, data: Any, attributes: Mapping[str, Any]) -> list[str]:
    """Save a labels layer as a mask and return the path of the file.

    path : of the file; without .nii or .nii.gz at its end it gets .nii.gz
    data : whole numbers from 0 to 255, axes z, y, x as `display_arrays` makes them
    attributes : the layer's, as `Layer.as_layer_data_tuple` gives them

    The geometry, and the order of axes in the file, are those of the file in the layer's metadata (as
    `reader.source_options` puts it there); else of an opened scan that the layer lies over, in the current viewer.
    Without either, the file gets the layer's scale, translation and unit, and a notification says so; rotation and
    shear are left out. An array of two axes becomes a file of one slice.

    Raises MaskError if the labels are no classes, do not fit the scan or cannot be written there, ScanError if the
    file with the geometry cannot be read.
    """
    name = str(attributes.get("name") or "Labels")
    array = _classes(data, name, attributes)
    target = _target(Path(path))
    layers = _opened_layers()
    own = _source(attributes.get("metadata"))
    _keep_scans(target, own, layers)
    source = own.get("scan") or _scan_below(array, attributes, layers, name)
    if source is not None:
        grid = read_grid(source)
        _check_shape(array, grid, Path(source), name)
        voxels = from_display(array)
    else:
        grid, voxels = _made_up(array, attributes, target)
    try:
        write_mask(target, voxels, grid)
    except OSError as error:
        raise MaskError(
            f"{target} cannot be written ({error.strerror or error}): choose another folder or make room.", path=target
        ) from None
    if source is None:
        _warn(
            f"{target.name} has the spacing of layer '{name}', but no place in the patient: to get one, open the scan "
            "with napari-bcp beneath the layer and save again."
        )
    return [str(target)]


def _classes(data: Any, name: str, attributes: Mapping[str, Any]) -> NDArray[np.uint8]:
    """Return a layer's data as uint8 of two or three axes."""
    if attributes.get("multiscale"):
        raise MaskError(f"Layer '{name}' has several resolutions, and a mask has one: save its finest one.")
    array = np.asarray(data)
    if array.dtype.kind not in "bui" or not array.size:
        raise MaskError(f"Layer '{name}' holds no whole numbers: a mask needs one class a voxel.")
    if array.ndim not in (2, 3):
        raise MaskError(f"Layer '{name}' has {array.ndim} axes, and a mask has three: save one volume of it.")
    low, high = int(array.min()), int(array.max())
    if low < 0 or high > 255:
        raise MaskError(
            f"Layer '{name}' has values from {low} to {high}, but classes go from 0 to 255: renumber its labels."
        )
    return array.astype(np.uint8, copy=False)


def _target(path: Path) -> Path:
    """Return the file to write; refuse one that only a pool may write, or that nobody has been asked about."""
    path = path.absolute()
    if not is_nifti(path):
        path = path.with_name(path.name + ".nii.gz")
        if path.exists():  # a dialog has asked about the name without the ending only
            raise MaskError(f"{path.name} is there already: give the name with its ending to replace it.", path=path)
    if _is_pools_own(path):
        raise MaskError(
            f"{path.name} would lie among the files that a pool keeps itself: save it elsewhere, then accept it as "
            "the mask of its case.",
            path=path,
        )
    return path


def _is_pools_own(path: Path) -> bool:
    """Return whether a file lies, or would lie, where a pool keeps its masks (never overwritten), maps and runs."""
    path = path.resolve()
    pools = [folder for folder in path.parent.parents if os.path.isfile(folder / POOL_TABLE)]
    return any(path.relative_to(pool).parts[0] in _OWN_FOLDERS for pool in pools)


def _opened_layers() -> list[Any]:
    """Return the layers of the current viewer that say which file they are from."""
    import napari

    viewer = napari.current_viewer()
    return [] if viewer is None else [layer for layer in viewer.layers if _source(layer.metadata)]


def _source(metadata: Any) -> dict[str, str]:
    """Return what `reader.source_options` has put into a layer's metadata: "scan", and "mask" for a mask."""
    found = metadata.get(PLUGIN) if isinstance(metadata, Mapping) else None
    if not isinstance(found, Mapping) or not isinstance(found.get("scan"), str):
        return {}
    return {key: found[key] for key in ("scan", "mask") if isinstance(found.get(key), str)}


def _keep_scans(target: Path, own: Mapping[str, str], layers: list[Any]) -> None:
    """Raise MaskError if the mask would take the place of an opened scan."""
    for one in (own, *(_source(layer.metadata) for layer in layers)):
        if one and "mask" not in one and target.resolve() == Path(one["scan"]).resolve():
            raise MaskError(f"{target.name} is the scan: choose another name for its mask.", path=target)


def _scan_below(array: NDArray[np.uint8], attributes: Mapping[str, Any], layers: list[Any], name: str) -> str | None:
    """Return the file of the scan that labels lie over; of a mask that lies there, if there is no scan.

    Raises MaskError if more than one could be meant, or if a scan is there and the labels are 2-D.
    """
    fitting = [layer for layer in layers if _lies_on(array, attributes, layer)]
    if not fitting and array.ndim == 2 and layers:
        raise MaskError(f"Layer '{name}' is 2-D and the opened scan 3-D: make the labels over the scan.")
    scans = [layer for layer in fitting if "mask" not in _source(layer.metadata)] or fitting
    shown = [layer for layer in scans if layer.visible] or scans
    paths = list(dict.fromkeys(_source(layer.metadata)["scan"] for layer in shown))
    if not paths:
        return None
    first, *others = paths
    for other in others:
        if orientation_on(read_grid(first), read_grid(other)) is None:
            raise MaskError(
                f"Layer '{name}' could belong to {Path(first).name} or {Path(other).name}: hide the layers of all "
                "scans but the right one and save again."
            )
    return first


def _lies_on(array: NDArray[np.uint8], attributes: Mapping[str, Any], layer: Any) -> bool:
    """Return whether labels have the voxels of a layer."""
    if tuple(layer.data.shape) != array.shape:
        return False
    scale, translate = _per_axis(attributes, "scale", 1.0, 3), _per_axis(attributes, "translate", 0.0, 3)
    sizes = np.asarray(layer.scale, float)
    return bool(
        np.allclose(scale, sizes, rtol=_SAME_PLACE / max(array.shape), atol=0)
        and (np.abs(translate - layer.translate) <= _SAME_PLACE * np.abs(sizes)).all()
    )


def _check_shape(array: NDArray[np.uint8], grid: Grid, source: Path, name: str) -> None:
    """Raise GridMismatchError unless labels have as many voxels as their scan, axis by axis."""
    wanted = grid.shape[::-1]
    if array.shape == wanted:
        return
    if array.ndim == 2:
        raise GridMismatchError(f"Layer '{name}' is 2-D and {source.name} 3-D: make the labels over the scan.")
    raise GridMismatchError(
        f"Layer '{name}' has {' × '.join(map(str, array.shape))} voxels and {source.name} "
        f"{' × '.join(map(str, wanted))}: make the labels over the whole scan.",
        path=source,
    )


def _made_up(array: NDArray[np.uint8], attributes: Mapping[str, Any], target: Path) -> tuple[Grid, NDArray[np.uint8]]:
    """Return a grid that our reader shows as the layer is shown, and the labels on it in canonical axes.

    napari's axes z, y, x are taken to run to the feet, the back and the patient's left, in the layer's unit.
    """
    volume = array.reshape((1,) * (3 - array.ndim) + array.shape)
    unit = _mm_per_unit(attributes)
    scale, translate = _per_axis(attributes, "scale", 1.0, 3) * unit, _per_axis(attributes, "translate", 0.0, 3) * unit
    stored = from_display(volume)
    last = translate + scale * (np.array(volume.shape) - 1)  # of the first voxel of `stored`, along z, y, x
    affine = np.diag([*scale[::-1], 1.0])
    affine[:3, 3] = -last[::-1]
    header = Nifti1Header()
    header.set_data_shape(stored.shape)
    header.set_data_dtype(np.uint8)
    header.set_xyzt_units("mm")
    header.set_qform(affine, 1)
    header.set_sform(affine, 1)
    grid = grid_from_header(header, stored.shape, target)
    return grid, to_canonical(stored, grid)


def _per_axis(attributes: Mapping[str, Any], key: str, default: float, axes: int) -> NDArray[np.float64]:
    """Return an option of a layer along its last `axes` axes; those that it does not have get the default."""
    given = attributes.get(key)
    values = [] if given is None else [float(value) for value in np.atleast_1d(given)]
    return np.array(([default] * axes + values)[-axes:])


def _mm_per_unit(attributes: Mapping[str, Any]) -> NDArray[np.float64]:
    """Return the length of a layer's units z, y, x in mm; what is no length, as napari's pixel, counts as mm."""
    given = attributes.get("units")
    units = [] if given is None or isinstance(given, str) else list(given)
    factors = []
    for unit in ([None] * 3 + units)[-3:]:
        try:
            factors.append(float((1 * unit).to("mm").magnitude))
        except (AttributeError, TypeError, ValueError):
            factors.append(1.0)
    return np.array(factors)


def _warn(text: str) -> None:
    from napari.utils.notifications import show_warning

    show_warning(text)
