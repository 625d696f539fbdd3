"""The draft of one case: an append-only journal of a reader's edits, safe against `kill -9` and a torn disk.

    b"bcpdraft", version (uint16)
    facts   JSON: what the draft began from, its shape, axes and time
    base    the labels that it began from, compressed
    then, in the order in which they happened:
    edit    operation, box, changed voxels with old and new values
    undo    takes the newest edit back
    redo    makes the newest undone edit again
    state   all differences to the base at once, which cannot be undone: what a compacted journal begins with

Each of these is a frame: length, kind, checksum, payload; numbers are little-endian. A checksum covers the one before
it too, so a frame that is lost, doubled or moved is noticed like a changed one. Reading ends at the first frame that
is not whole, and writing goes on there. Every length is checked before memory is taken for it.
"""

from __future__ import annotations

import errno
import json
import os
import struct
import zlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from napari_bcp.errors import PoolError, PoolVersionError
from napari_bcp.files import atomic_path
from napari_bcp.pool.edit_records import FASTEST, History, Record, difference, inflate, put
from napari_bcp.pool.table import now, to_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from io import FileIO
    from typing import BinaryIO

    from numpy.typing import NDArray

AXES: Final = "z,y,x display"

_MAGIC: Final = b"bcpdraft"
_VERSION: Final = 1
_VERSION_CODE: Final = struct.Struct("<H")
_FRAME: Final = struct.Struct("<IBI")  # length of the payload, kind, checksum
_CHECKED: Final = struct.Struct("<IB")
_SECONDS: Final = struct.Struct("<d")
_EDIT: Final = struct.Struct("<6IIB")  # start and stop along each axis, changed voxels, length of the operation's name
_FACTS, _BASE, _STATE, _UNDO, _REDO, _CHANGE = range(6)
_FACTS_LIMIT: Final = 64 * 1024
_NAME_LIMIT: Final = 255


class Draft:
    """The journal of one case, from `Draft.create` or `Draft.open`. Arrays are uint8, z, y, x in display order.

    The attributes tell what the file held when it was opened; appending writes to the file and leaves them alone.
    Not for several threads at once.
    """

    def __init__(self, path: Path, facts: dict[str, Any], base: NDArray[np.uint8]) -> None:
        self.path = path
        self.facts = facts
        """What the draft began from, and its shape, axes and time of creation."""
        self.base = base
        """The labels that the draft began from, read-only."""
        self.array = base
        """The labels with all edits made; to be written to only after `open`."""
        self.history = History()
        """What can be undone and redone; whoever goes on with the draft goes on with this object."""
        self.seconds = 0.0
        """Time spent by the reader, as the newest edit says."""
        self.note = ""
        """What was lost, as a sentence; empty if nothing was."""
        self._steps = 0  # edits, undos and redos in the file
        self._end = 0  # up to where the file is whole
        self._checksum = 0
        self._file: FileIO | None = None

    @property
    def mark(self) -> tuple[int, int]:
        """Up to where the file is whole, and the checksum there: journals with equal marks are equal."""
        return self._end, self._checksum

    @property
    def records(self) -> list[Record]:
        """The edits that can be undone, oldest first."""
        return list(self.history.records)

    @property
    def undone(self) -> list[Record]:
        """The edits that can be redone, the next one last."""
        return list(self.history.undone)

    # -- making and opening -----------------------------------------------------------------------------------

    @classmethod
    def create(cls, path: str | Path, base: NDArray[np.uint8], facts: Mapping[str, Any]) -> Self:
        """Begin a journal at `path`; one that lies there already is kept as `PATH.before`.

        base : the labels before the first edit, uint8, z, y, x
        facts : anything that JSON can hold: source, run, step, version of the mask
        Raises OSError as the file system does, PoolError for facts of more than 64 KiB.
        """
        path = Path(path)
        if base.dtype != np.uint8 or base.ndim != 3:
            raise ValueError(f"A draft is made of uint8 labels with three axes, not of {base.dtype} {base.shape}.")
        text = to_json({**facts, "shape": base.shape, "axes": AXES, "time": now()})
        base = _read_only(base.tobytes(), base.shape)
        put_aside(path)
        return cls._written(path, text, base, None, 0.0)

    @classmethod
    def open(cls, path: str | Path, shape: tuple[int, ...]) -> Self:
        """Read a journal and make its edits again; the file is left as it is.

        shape : that of the case's labels, z, y, x
        An edit that was not written to its end, or damaged, ends the reading; `note` says so. Raises PoolError if
        the file cannot be read, its begin is damaged or it belongs to another shape, PoolVersionError if a newer
        napari-bcp wrote it.
        """
        path = Path(path)
        try:
            with path.open("rb") as file:
                return cls._read(path, file, tuple(int(n) for n in shape))
        except OSError as error:
            raise PoolError(
                f"The draft {path} cannot be read ({error.strerror or error}); bring it back, or make it readable.",
                path=path,
            ) from None

    @classmethod
    def _read(cls, path: Path, file: BinaryIO, shape: tuple[int, ...]) -> Self:
        size = int(np.prod(shape, dtype=object))
        frames = _Frames(file, limit=_FACTS_LIMIT + 3 * size)
        _check_version(path, file)
        try:
            facts = _facts_from(frames.next(_FACTS, limit=_FACTS_LIMIT))
        except ValueError as error:
            raise _damaged(path, error) from None
        if facts.get("shape") != list(shape):
            raise PoolError(
                f"The draft {path} has the shape {str(facts.get('shape'))[:60]} and its case {list(shape)}; bring the "
                "former scan back, or move the draft away to begin anew.",
                path=path,
            )
        try:
            draft = cls(path, facts, _read_only(inflate(frames.next(_BASE), size), shape))
        except ValueError as error:
            raise _damaged(path, error) from None
        draft.array = draft.base.copy()
        draft._keep_up(frames)
        while not frames.at_end():
            try:
                draft._replay(*frames.any())
            except (ValueError, IndexError) as error:
                draft.note = (
                    f"Of {path.name} all is there up to edit {draft._steps}; what came after it was not written "
                    f"completely or is damaged ({error})."
                )
                break
            draft._keep_up(frames)
        return draft

    def _replay(self, kind: int, payload: bytes) -> None:
        """Make what a frame says, wholly or not at all; ValueError or IndexError if it says what cannot be."""
        (seconds,) = _unpacked(_SECONDS, payload)
        rest = payload[_SECONDS.size :]
        if kind == _UNDO and not rest:
            put(self.array, self.history.undo(), back=True)
        elif kind == _REDO and not rest:
            put(self.array, self.history.redo())
        elif kind == _CHANGE or (kind == _STATE and not self._steps):
            record = _record_from(rest, self.array.shape)
            put(self.array, record)
            if kind == _CHANGE:
                self.history.add(record)
        else:
            raise ValueError(f"a frame of kind {kind} out of place")
        self._steps += kind != _STATE
        self.seconds = max(0.0, seconds) if np.isfinite(seconds) else 0.0

    def _keep_up(self, frames: _Frames) -> None:
        self._end, self._checksum = frames.end, frames.checksum

    # -- writing ----------------------------------------------------------------------------------------------

    def append(self, record: Record, seconds: float = 0.0) -> None:
        """Write an edit to the file, without waiting for the disk; `seconds` is the time spent by the reader so far.

        Raises OSError as the file system does; the file then ends where it ended before, or is cut there by the
        next call.
        """
        self._append(_CHANGE, _to_payload(record, seconds))

    def append_undo(self, seconds: float = 0.0) -> None:
        """Write that the newest edit was taken back, as `append` does."""
        self._append(_UNDO, _SECONDS.pack(seconds))

    def append_redo(self, seconds: float = 0.0) -> None:
        """Write that the newest undone edit was made again, as `append` does."""
        self._append(_REDO, _SECONDS.pack(seconds))

    def sync(self) -> None:
        """Wait until all that was appended is on the disk, and close the file until the next edit. Raises OSError."""
        try:
            os.fsync(self._opened().fileno())
        finally:
            self.close()

    def compact(self) -> None:
        """Write the journal anew as its base and one frame with all differences; what could be undone is gone.

        The file is the former or the new one at any time. Raises OSError as the file system does, PoolError if the
        file on the disk is not what was written; the journal then stays as it was.
        """
        self.close()
        if self._steps == 0:
            return
        held = self.open(self.path, self.base.shape)
        if held.mark != self.mark:
            raise PoolError(
                f"The draft {self.path} is not what was written to it; check the disk, and restore it from a copy.",
                path=self.path,
            )
        state = difference("earlier edits", held.base, held.array)
        self._end, self._checksum = self._written(self.path, to_json(held.facts), held.base, state, held.seconds).mark
        self.history = History()
        self._steps = 0

    def close(self) -> None:
        """Close the file until the next edit; a second call does nothing."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def delete(self) -> None:
        """Close and remove the file, if it is there."""
        self.close()
        self.path.unlink(missing_ok=True)

    @classmethod
    def _written(cls, path: Path, facts: str, base: NDArray[np.uint8], state: Record | None, seconds: float) -> Self:
        """Write a whole new journal and return it."""
        if len(facts.encode()) > _FACTS_LIMIT:
            raise PoolError(f"The draft {path} has more facts than it can hold; leave some out.", path=path)
        draft = cls(path, json.loads(facts), base)
        frames = [(_FACTS, facts.encode()), (_BASE, zlib.compress(base.data, FASTEST))]
        if state is not None:
            frames.append((_STATE, _to_payload(state, seconds)))
        content = _MAGIC + _VERSION_CODE.pack(_VERSION)
        for kind, payload in frames:
            frame, draft._checksum = _framed(kind, payload, draft._checksum)
            content += frame
        for torn in path.parent.glob(f".tmp-*-{path.name}"):  # of a killed process; this one is the only writer
            torn.unlink()
        with atomic_path(path) as part:
            part.write_bytes(content)
        draft._end = len(content)
        return draft

    def _append(self, kind: int, payload: bytes) -> None:
        frame, checksum = _framed(kind, payload, self._checksum)
        file = self._opened()
        try:
            left = memoryview(frame)
            while left:
                left = left[file.write(left) :]
        except OSError:
            with suppress(OSError):
                file.truncate(self._end)
            with suppress(OSError):
                self.close()
            raise
        self._end += len(frame)
        self._checksum = checksum
        self._steps += 1

    def _opened(self) -> FileIO:
        """Return the file, open for writing where it is whole; what is torn is cut off. Raises OSError."""
        if self._file is None:
            file = self.path.open("r+b", buffering=0)
            try:
                if file.seek(0, os.SEEK_END) < self._end:
                    raise OSError(errno.EIO, "the draft is shorter than what was written to it", str(self.path))
                file.truncate(self._end)
                file.seek(self._end)
            except OSError:
                file.close()
                raise
            self._file = file
        return self._file


def _read_only(content: bytes, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    return np.frombuffer(content, np.uint8).reshape(shape)


# -- frames -------------------------------------------------------------------------------------------------------


class _Frames:
    """The frames of a file from where it is read now; each is checked before it is handed out.

    limit : length that no payload exceeds;  end, checksum : of the newest whole frame
    """

    def __init__(self, file: BinaryIO, limit: int) -> None:
        self._file = file
        self._limit = limit
        self._size = os.fstat(file.fileno()).st_size
        self.end = len(_MAGIC) + _VERSION_CODE.size
        self.checksum = 0

    def at_end(self) -> bool:
        """Whether there is nothing more."""
        return self.end >= self._size

    def any(self, limit: int | None = None) -> tuple[int, bytes]:
        """Return kind and payload of the next frame; ValueError if it is not whole."""
        length, kind, checksum = _unpacked(_FRAME, self._file.read(_FRAME.size))
        if length > min(self._limit if limit is None else limit, self._size - self.end - _FRAME.size):
            raise ValueError("it ends too early")
        payload = self._file.read(length)
        if len(payload) != length or checksum != _checksum(kind, payload, self.checksum):
            raise ValueError("its checksum is wrong")
        self.end += _FRAME.size + length
        self.checksum = checksum
        return kind, payload

    def next(self, kind: int, limit: int | None = None) -> bytes:
        """Return the payload of the next frame, which must be of that kind; ValueError if it is not."""
        found, payload = self.any(limit)
        if found != kind:
            raise ValueError(f"a frame of kind {found} out of place")
        return payload


def _framed(kind: int, payload: bytes, before: int) -> tuple[bytes, int]:
    """Return a frame and its checksum; `before` is the checksum of the frame before it."""
    checksum = _checksum(kind, payload, before)
    return _FRAME.pack(len(payload), kind, checksum) + payload, checksum


def _checksum(kind: int, payload: bytes, before: int) -> int:
    return zlib.crc32(payload, zlib.crc32(_CHECKED.pack(len(payload), kind), before))


def _to_payload(record: Record, seconds: float) -> bytes:
    name = record.operation.encode(errors="replace")[:_NAME_LIMIT]
    places = (place for part in record.box for place in (part.start, part.stop))
    return _SECONDS.pack(seconds) + _EDIT.pack(*places, record.changed, len(name)) + name + record.packed


def _record_from(content: bytes, shape: tuple[int, ...]) -> Record:
    *places, changed, name = _unpacked(_EDIT, content)
    box = tuple(slice(start, stop) for start, stop in zip(places[::2], places[1::2], strict=True))
    if not all(part.start < part.stop <= n for part, n in zip(box, shape, strict=True)):
        raise ValueError("an edit lies outside the scan")
    if not 0 < changed <= np.prod([part.stop - part.start for part in box]):
        raise ValueError("an edit changes more voxels than it holds")
    begin = _EDIT.size + name
    return Record(content[_EDIT.size : begin].decode(errors="replace"), box, changed, content[begin:])


def _unpacked(code: struct.Struct, content: bytes) -> tuple[Any, ...]:
    """Return the numbers that `content` begins with; ValueError if it is too short."""
    if len(content) < code.size:
        raise ValueError("it ends too early")
    return code.unpack_from(content)


def put_aside(path: Path) -> Path | None:
    """Keep a journal as `PATH.before`, in place of an earlier one there; return that, or None if there is no journal.

    Raises OSError as the file system does.
    """
    aside = path.with_name(path.name + ".before")
    try:
        os.replace(path, aside)
    except FileNotFoundError:
        return None
    return aside


# -- the begin of a file ------------------------------------------------------------------------------------------


def _check_version(path: Path, file: BinaryIO) -> None:
    if file.read(len(_MAGIC)) != _MAGIC:
        raise _damaged(path, "it does not begin as one")
    code = file.read(_VERSION_CODE.size)
    if len(code) < _VERSION_CODE.size:
        raise _damaged(path, "it ends too early")
    (version,) = _VERSION_CODE.unpack(code)
    if version > _VERSION:
        raise PoolVersionError(
            f"The draft {path} was written by a newer napari-bcp (version {version}, this program knows {_VERSION}); "
            "update napari-bcp.",
            path=path,
        )
    if version < _VERSION:
        raise _damaged(path, f"there is no version {version}")


def _facts_from(payload: bytes) -> dict[str, Any]:
    try:
        facts = json.loads(payload)
    except RecursionError:
        raise ValueError("its facts are nested too deeply") from None
    if not isinstance(facts, dict):
        raise ValueError("its facts are no table")
    return facts


def _damaged(path: Path, reason: object) -> PoolError:
    return PoolError(
        f"The draft {path} is damaged at its begin, or no draft ({reason}); restore it from a copy, or move it away to "
        "begin anew.",
        path=path,
    )
