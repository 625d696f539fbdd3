"""The folder of accepted masks: one file a version, never overwritten, always inside the pool."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_bcp.errors import GridMismatchError, MaskError, PoolError
from napari_bcp.pool.paths import check_name, inside
from napari_bcp.scans import write_mask

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_bcp.pool.records import Case
    from napari_bcp.scans import ClassSpec, Grid


class MaskFolder:
    """The files FOLDER/CASE/0001.nii.gz and on.

    folder : `masks` in the pool, or where it is being made
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._one_at_a_time = threading.Lock()

    def path(self, name: str, version: int) -> Path:
        """Return the file of a version, sure to lie in the folder. Raises PoolError if it would not."""
        return inside(self._folder, check_name(name), f"{version:04d}.nii.gz")

    def write_next(self, name: str, recorded: int, voxels: NDArray[np.uint8], grid: Grid) -> int:
        """Write a mask under the next free number and return that.

        recorded : the newest version that the table knows; a killed process may have written a newer file
        Raises PoolError if the disk does not take it.
        """
        with self._one_at_a_time:
            version = recorded + 1
            while (path := self.path(name, version)).exists():
                version += 1
            try:
                for torn in path.parent.glob(".tmp-*"):  # of a killed process; this one is the only writer
                    torn.unlink()
                write_mask(path, voxels, grid)
            except OSError as error:
                raise PoolError(
                    f"The mask of case '{name}' could not be written ({error.strerror or error}); free some space, or "
                    f"make {path.parent} writable.",
                    path=path,
                    case=name,
                ) from None
            return version

    def remove(self, name: str, version: int) -> None:
        """Remove a version that was written but never recorded."""
        with suppress(OSError):
            self.path(name, version).unlink()


def checked_array(mask: NDArray[Any], name: str, grid: Grid, classes: Sequence[ClassSpec]) -> NDArray[np.uint8]:
    """Return an array of class values as uint8.

    classes : what may occur beside 0; anything from 1 to 255 if empty
    Raises GridMismatchError if its shape is not the grid's, MaskError if it holds anything but these classes.
    """
    array = np.asarray(mask)
    if array.shape != tuple(grid.shape):
        raise GridMismatchError(
            f"The mask for case '{name}' has the shape {array.shape} and its scan {tuple(grid.shape)}; "
            "make it in the scan's own grid.",
            case=name,
        )
    if array.dtype.kind not in "bui":
        raise MaskError(f"The mask for case '{name}' holds {array.dtype} numbers; give whole class values.", case=name)
    if array.size and not 0 <= int(array.min()) <= int(array.max()) <= 255:
        raise MaskError(f"The mask for case '{name}' has values outside 0 to 255; renumber its classes.", case=name)
    voxels = array.astype(np.uint8, copy=False)
    unknown = sorted(set(values_in(voxels)) - {spec.value for spec in classes})
    if classes and unknown:
        known = ", ".join(f"{spec.value} {spec.name}" for spec in classes)
        raise MaskError(
            f"The mask for case '{name}' has voxels of class {', '.join(map(str, unknown))}, but the classes are "
            f"{known}; renumber them, or add the class (Pool › Classes…, or 'napari-bcp classes').",
            case=name,
        )
    return voxels


def about_added_classes(names: Sequence[str], cases: Sequence[Case]) -> tuple[str, ...]:
    """Return what adding classes means for the masks that there are, if it means anything."""
    if not names or not any(case.has_mask for case in cases):
        return ()
    no = " and no ".join(names)
    return (f"The masks that there are have no {no}: reopen the cases that show it, or it is learnt as background.",)


def values_in(voxels: NDArray[np.uint8]) -> list[int]:
    """Return the values other than 0 in a mask, ascending."""
    seen = np.zeros(256, bool)
    outer = int(np.argmax(np.abs(voxels.strides)))  # so that a plane lies together in memory
    for plane in np.moveaxis(voxels, outer, 0):  # all at once would be sorted, which takes seconds for a large CT
        row = plane.ravel(order="K")
        seen[row[:1]] = True
        seen[row[1:][row[1:] != row[:-1]]] = True  # where a stretch of one value begins
    return [int(value) for value in np.flatnonzero(seen) if value]
