"""Map files: the probability of each class, 8 bit, on a scan's canonical grid.

One file a case, a Blosc2 frame of shape (classes, x, y, z): compressed, and any part can be read by itself. What is
zero, most of every map, costs next to nothing. The frame is read from memory, never opened by Blosc2 itself, whose
`open` would also evaluate stored expressions.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import blosc2
import numpy as np

from napari_bcp.errors import ScanError
from napari_bcp.files import atomic_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_SLAB = 16


class MapWriter:
    """Collects a map slab by slab along z, compressed, and writes it in one go."""

    def __init__(self, shape: Sequence[int], classes: Sequence[int]) -> None:
        self.classes = tuple(int(c) for c in classes)
        full = (len(self.classes), *(int(n) for n in shape))
        chunk = (1, full[1], full[2], min(_SLAB, full[3]))
        self._array = blosc2.zeros(
            full,
            dtype=np.uint8,
            chunks=chunk,
            cparams={"codec": blosc2.Codec.ZSTD, "clevel": 1, "nthreads": 1, "filters": [blosc2.Filter.NOFILTER]},
        )

    def add(self, start: int, slab: NDArray[np.uint8]) -> None:
        """Write slab (classes, x, y, dz) at z = start."""
        self._array[:, :, :, start : start + slab.shape[3]] = np.ascontiguousarray(slab)

    def read(self, channel: int) -> NDArray[np.uint8]:
        """Return one class, (x, y, z), by its place among the classes."""
        part: NDArray[np.uint8] = self._array[channel]
        return part

    def save(self, path: Path, facts: dict[str, Any]) -> None:
        """Write the file atomically with `facts` (JSON-able: run, step, …) beside the classes."""
        self._array.schunk.vlmeta["map"] = json.dumps({**facts, "classes": list(self.classes)})
        with atomic_path(path) as part:
            part.write_bytes(self._array.to_cframe())


class MapFile:
    """A map that was written: `classes`, `shape` (x, y, z), `facts`, and its voxels on demand."""

    def __init__(self, path: Path, shape: Sequence[int] | None = None) -> None:
        """Open a map file; `shape` (x, y, z) is that of its scan, where it is known.

        Raises ScanError when it is missing, torn, no map, or of another shape: what a damaged file claims is then
        never believed, and no memory is taken for it.
        """
        try:
            array = blosc2.ndarray_from_cframe(path.read_bytes())
            facts = json.loads(array.schunk.vlmeta["map"])
            classes = tuple(int(c) for c in facts["classes"])
            good = array.dtype == np.uint8 and array.ndim == 4 and array.shape[0] == len(set(classes)) == len(classes)
            good = good and all(1 <= c <= 255 for c in classes)
            good = good and (shape is None or tuple(array.shape[1:]) == tuple(shape))
        except (OSError, RuntimeError, ValueError, KeyError, TypeError):
            good = False
        if not good:
            raise _unreadable(path)
        self._array, self._path = array, path
        self.classes, self.facts = classes, facts
        self.shape: tuple[int, int, int] = tuple(array.shape[1:])

    def read(self, value: int, where: tuple[slice, ...] = ()) -> NDArray[np.uint8]:
        """Return the probabilities (0 to 255) of class `value` in the box `where` of (x, y, z).

        Raises ScanError where the file is damaged inside.
        """
        return self._part((self.classes.index(value), *where))

    def read_all(self) -> NDArray[np.uint8]:
        """Return all classes, (classes, x, y, z). Raises ScanError where the file is damaged inside."""
        return self._part(...)

    def _part(self, where: Any) -> NDArray[np.uint8]:
        try:
            part: NDArray[np.uint8] = self._array[where]
        except RuntimeError:
            raise _unreadable(self._path) from None
        return part


def _unreadable(path: Path) -> ScanError:
    return ScanError(f"{path} is no map that can be read; make it anew with 'napari-bcp predict'.", path=path)
