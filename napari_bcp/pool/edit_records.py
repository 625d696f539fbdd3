"""Single edits of a case's labels: what a journal holds and what can be undone. Arrays are uint8 with three axes."""

from __future__ import annotations

import zlib
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Box = tuple[slice, ...]
"""The part of an array that a change lies in: a slice an axis, each with start and stop."""

UNDO_LIMIT_BYTES: Final = 200_000_000
"""How much of the newest edits is kept for undo. Journals depend on it: reading must forget what writing forgot."""
FASTEST: Final = 1
"""zlib's level: an edit must be written within milliseconds, and labels are long runs."""

_RECORD_OVERHEAD: Final = 500  # bytes that a record takes in memory beside its values


@dataclass(frozen=True)
class Record:
    """One edit, kept compressed.

    operation : its name, for the undo button
    box : where it lies
    changed : how many voxels it changed
    packed : which voxels of the box, and their old and new values, as the journal holds them
    """

    operation: str
    box: Box
    changed: int
    packed: bytes

    @classmethod
    def between(cls, operation: str, box: Box, before: NDArray[np.uint8], after: NDArray[np.uint8]) -> Self:
        """Return the edit that makes `after` of `before`, both the content of `box`."""
        mask = before != after
        old, new = before[mask], after[mask]
        content = np.packbits(mask).tobytes() + old.tobytes() + new.tobytes()
        return cls(operation, box, len(old), zlib.compress(content, FASTEST))

    @property
    def nbytes(self) -> int:
        """About how much memory it takes."""
        return len(self.packed) + _RECORD_OVERHEAD

    def values(self) -> tuple[NDArray[np.bool_], NDArray[np.uint8], NDArray[np.uint8]]:
        """Return which voxels of the box changed (bool, in the box's shape), their old and their new values (1-D).

        Raises ValueError if `packed` holds anything else.
        """
        shape = tuple(part.stop - part.start for part in self.box)
        size = int(np.prod(shape))
        bits = (size + 7) // 8
        content = np.frombuffer(inflate(self.packed, bits + 2 * self.changed), np.uint8)
        mask = np.unpackbits(content[:bits], count=size).view(np.bool_).reshape(shape)
        if int(np.count_nonzero(mask)) != self.changed:
            raise ValueError("an edit counts other voxels than it marks")
        return mask, content[bits : bits + self.changed], content[bits + self.changed :]


@dataclass
class History:
    """What can be undone and redone; the newest is last in both.

    Beyond `limit` bytes the oldest edits are forgotten: they stay done.
    """

    limit: int = UNDO_LIMIT_BYTES
    records: deque[Record] = field(default_factory=deque)
    undone: list[Record] = field(default_factory=list)
    _nbytes: int = 0

    def add(self, record: Record) -> None:
        """Take in a new edit; what had been undone is gone."""
        self._nbytes += record.nbytes - sum(one.nbytes for one in self.undone)
        self.undone.clear()
        self.records.append(record)
        while self._nbytes > self.limit:
            self._nbytes -= self.records.popleft().nbytes

    def undo(self) -> Record:
        """Return the edit to take back. Raises IndexError if there is none."""
        self.undone.append(self.records.pop())
        return self.undone[-1]

    def redo(self) -> Record:
        """Return the edit to make again. Raises IndexError if there is none."""
        self.records.append(self.undone.pop())
        return self.records[-1]


def difference(operation: str, before: NDArray[np.uint8], after: NDArray[np.uint8]) -> Record | None:
    """Return the edit that makes `after` of `before`, in the smallest box, or None if they are equal.

    Both uint8, of the same shape with three axes.
    """
    box = bounding_box(before != after)
    return None if box is None else Record.between(operation, box, before[box], after[box])


def bounding_box(mask: NDArray[np.bool_]) -> Box | None:
    """Return the smallest box that holds every True voxel, or None if there is none."""
    box: Box = ()
    for axis in range(mask.ndim):
        # the axes before this one are narrowed already
        others = tuple(other for other in range(mask.ndim) if other != axis)
        found = np.flatnonzero(mask[box].any(axis=others))
        if not len(found):
            return None
        box = (*box, slice(int(found[0]), int(found[-1]) + 1))
    return box


def put(array: NDArray[np.uint8], record: Record, back: bool = False) -> None:
    """Make an edit in `array`, in place, or take it back. Raises ValueError, changing nothing, for a broken one."""
    mask, old, new = record.values()
    array[record.box][mask] = old if back else new


def inflate(packed: bytes, size: int) -> bytes:
    """Return what was compressed if it has `size` bytes; ValueError, without taking more memory, if not."""
    unpack = zlib.decompressobj()
    try:
        content = unpack.decompress(packed, size + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if len(content) != size or not unpack.eof or unpack.unused_data:
        raise ValueError(f"not {size} bytes")
    return content
