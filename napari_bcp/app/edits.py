"""Edits: every change of the open case's labels passes here, whichever tool makes it.

Undo, journal, "what changed" and the time spent hang here and nowhere else.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from psygnal import Signal

from napari_bcp.errors import GridMismatchError, PoolError, StateError
from napari_bcp.pool.edit_records import Box, History, Record, bounding_box, difference, put
from napari_bcp.review.effort import Stopwatch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from napari_bcp.pool.drafts import Draft

Atom = tuple[tuple[Any, ...], "NDArray[np.bool_] | None", "ArrayLike", "ArrayLike"]
"""One stamp of a stroke: box (slices, or arrays of indices), mask in the box or None for all of it, old values, new."""

StrokeRule = Callable[[Box, "NDArray[np.uint8]", "NDArray[np.uint8]"], "tuple[Box, NDArray[np.uint8]]"]
"""Gets the box of a stroke, what was in it and what the stroke makes of it; returns a box and new labels for it."""

_LARGE: Final = 8_000_000  # bytes of a journal: thousands of strokes, whose reading holds a case up
_UNDO: Final = "undo"
_REDO: Final = "redo"


@dataclass(frozen=True)
class Change:
    """An edit that was worked out beside the window, by `Edits.prepare`; `version` is that of the labels then."""

    version: int
    record: Record | None


@dataclass
class _Preview:
    operation: str
    box: Box
    before: NDArray[np.uint8]  # what was in the box
    name: str = ""  # of the edit that it would make


class Edits:
    """The labels of the open case while a reader edits them.

    labels : uint8, z, y, x in display order; edited in place and never replaced
    make_draft : makes the journal, from `base`; called by `save` when there is something to save and no `draft` yet
    draft : the journal to go on with; `labels` is then its array

    `save`, `prepare` and what only asks may run on other threads than the window's. `changed` is sent on the thread
    that made the change, with the box (a slice an axis) that holds all changed voxels.
    """

    changed = Signal(object)

    def __init__(self, labels: NDArray[np.uint8], make_draft: Callable[[], Draft], draft: Draft | None = None) -> None:
        if draft is not None and draft.base.shape != labels.shape:
            raise GridMismatchError(
                f"The draft {draft.path} has the shape {draft.base.shape} and its case {labels.shape}; bring the "
                "former scan back, or move the draft away to begin anew.",
                path=draft.path,
            )
        self.array = labels
        self.base = labels.copy() if draft is None else draft.base
        """The labels that the first edit of the draft changed; not to be written to."""
        self.problem: str | None = None
        """Why the newest edits are not on the disk, as a sentence; None if nothing stands in the way."""
        self.version = 0
        """Another number after each edit; previews do not count."""
        self.voxels_changed = 0 if draft is None else int(np.count_nonzero(labels != draft.base))
        """How many voxels differ from `base`."""
        self._make_draft = make_draft
        self._draft = draft
        self._history = History() if draft is None else draft.history
        self._stopwatch = Stopwatch()
        self._seconds_before = 0.0 if draft is None else draft.seconds
        self._pending: deque[tuple[Record | str, float]] = deque()  # what the journal lacks, and the seconds then
        self._unsynced = False
        self._preview: _Preview | None = None
        self._lock = threading.RLock()  # array, history and pending change together
        self._disk = threading.Lock()  # one at a time writes to the journal

    # -- what there is ----------------------------------------------------------------------------------------

    @property
    def untouched(self) -> bool:
        """Whether nobody has edited yet: other labels may be put in their place."""
        with self._lock:
            return self._draft is None and not self._pending

    @property
    def has_draft(self) -> bool:
        """Whether there is a journal of these edits."""
        return self._draft is not None

    @property
    def can_undo(self) -> bool:
        """Whether there is an edit to take back."""
        return bool(self._history.records)

    @property
    def can_redo(self) -> bool:
        """Whether there is an edit to make again."""
        return bool(self._history.undone)

    @property
    def operations(self) -> tuple[str, ...]:
        """Names of the edits that can be undone; the last one is undone next."""
        with self._lock:
            return tuple(record.operation for record in self._history.records)

    @property
    def undone(self) -> tuple[str, ...]:
        """Names of the edits that can be redone; the last one is redone next."""
        with self._lock:
            return tuple(record.operation for record in self._history.undone)

    @property
    def dirty(self) -> bool:
        """Whether an edit is not safely on the disk yet."""
        return bool(self._pending) or self._unsynced

    @property
    def seconds(self) -> float:
        """Time that the reader has spent on this draft, pauses left out."""
        return self._seconds_before + float(self._stopwatch.seconds)

    def touch(self) -> None:
        """Count the reader as active now; every edit does."""
        self._stopwatch.touch(time.monotonic())

    # -- edits ------------------------------------------------------------------------------------------------

    def start_from(self, labels: NDArray[np.uint8], change: Change | None = None) -> Box | None:
        """Put other labels in place of those that nobody has edited; return the box that changed.

        labels : kept, and not to be written to;  change : from `prepare` of them, where that was done already

        Raises StateError once there is an edit, otherwise as `prepare`.
        """
        self.settle()
        change = change or self.prepare("start", lambda _: labels)
        with self._lock:
            if not self.untouched or change.version != self.version:
                raise StateError("The labels have been edited; accept, revert or reject them first.")
            if change.record is not None:
                put(self.array, change.record)
                self.version += 1
                self.base = labels
        return self._told(change.record)

    def record_stroke(
        self, atoms: Sequence[Atom], operation: str = "paint", rule: StrokeRule | None = None
    ) -> Box | None:
        """Take in what a tool paints, as one edit; return its box, None if it changes nothing.

        atoms : the stamps of one drag in their order; they may overlap. The array may show them already, or not yet:
            napari tells of a drag after it and of a fill before it.
        rule : makes something else of the stroke
        """
        places = [(_indices(box, self.array.shape), mask, old, new) for box, mask, old, new in atoms]
        if not places:
            return None
        box = _union([place for place, *_ in places])
        start = [part.start for part in box]
        stamps = [(_moved(place, [-n for n in start]), mask, old, new) for place, mask, old, new in places]
        with self._lock:
            before = self.array[box].copy()
            for place, mask, old, _ in reversed(stamps):  # so that what the first stamp found is written last
                _write(before, place, mask, old)
            if self._preview is not None:
                self.array[box] = before
                self.settle()
            after = before.copy()
            for place, mask, _, new in stamps:
                _write(after, place, mask, new)
            if rule is not None:
                self.array[box] = before
                box, after = rule(box, before, after)
                before, start = self.array[box].copy(), [part.start for part in box]
            record = _within_whole(difference(operation, before, after), start)
            self.array[box] = after
            if record is not None:
                self._take(record)
        return self._told(record)

    def prepare(self, operation: str, make: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]) -> Change:
        """Work an edit out, for `take`; on any thread, while strokes go on.

        make : gets a copy of the labels without what is previewed, and returns new ones; what it raises goes on

        Raises GridMismatchError for another shape, ValueError for anything but uint8.
        """
        with self._lock:
            version, before = self.version, self.settled.copy()
        after = make(before)
        self._check(after, f"'{operation}'")
        return Change(version, difference(operation, before, after))

    def take(self, change: Change) -> Box | None:
        """Make an edit that was worked out; what was painted since then stays where the two do not meet.

        Returns its box, None if it changes nothing.
        """
        self.settle()
        record = change.record
        with self._lock:
            if record is not None and change.version != self.version:
                mask, _, new = record.values()
                before, start = self.array[record.box], [part.start for part in record.box]
                after = before.copy()
                after[mask] = new
                record = _within_whole(difference(record.operation, before, after), start)
            if record is not None:
                put(self.array, record)
                self._take(record)
        return self._told(record)

    def apply(self, operation: str, new_labels: NDArray[np.uint8]) -> Box | None:
        """Make the array equal to `new_labels` as one edit; return its box, None if nothing changed.

        Raises as `prepare`.
        """
        self.settle()
        return self.take(self.prepare(operation, lambda _: new_labels))

    def preview(
        self, operation: str, new_labels: NDArray[np.uint8], box: Box | None = None, name: str | None = None
    ) -> Box | None:
        """Show `new_labels` for now; `settle`, or the next edit of any kind, makes one edit of what was shown last.

        operation : what goes on; another one, or another box, is another edit
        box : the part of the array that they are for; all of it without
        name : of the edit that would be made of this; that of the operation without

        Returns the box that changed on the screen. Raises as `prepare`.
        """
        box = tuple(slice(0, n) for n in self.array.shape) if box is None else box
        shown = self.array[box]
        self._check(new_labels, f"'{operation}'", shown.shape)
        with self._lock:
            if self._preview is None or (self._preview.operation, self._preview.box) != (operation, box):
                self.settle()
                self._preview = _Preview(operation, box, shown.copy())
            self._preview.name = name or operation
            moved = bounding_box(shown != new_labels)
            if moved is None:
                return None
            shown[moved] = new_labels[moved]
        moved = _moved(moved, [part.start for part in box])
        self.changed.emit(moved)
        return moved

    @property
    def settled(self) -> NDArray[np.uint8]:
        """The labels without what is only previewed; not to be written to."""
        with self._lock:
            if self._preview is None:
                return self.array
            labels = self.array.copy()
            labels[self._preview.box] = self._preview.before
            return labels

    def settle(self, operation: str | None = None, known: Record | None = None) -> Box | None:
        """Make one edit of what is previewed; return its box, None if there is nothing.

        operation : another name for it;  known : the edit, in the preview's box, where it has been worked out already
        """
        with self._lock:
            if self._preview is None:
                return None
            preview, self._preview = self._preview, None
            name = operation or preview.name
            found = difference(name, preview.before, self.array[preview.box]) if known is None else known
            record = _within_whole(found, [part.start for part in preview.box])
            if record is not None:
                self._take(record)
        return self._told(record)

    def undo(self) -> Box | None:
        """Take the newest edit back; return its box, or None if there is none."""
        self.settle()
        with self._lock:
            if not self.can_undo:
                return None
            record = self._history.undo()
            self._step_over(record, _UNDO, back=True)
        return self._told(record)

    def redo(self) -> Box | None:
        """Make the newest undone edit again; return its box, or None if there is none."""
        self.settle()
        with self._lock:
            if not self.can_redo:
                return None
            record = self._history.redo()
            self._step_over(record, _REDO, back=False)
        return self._told(record)

    # -- the journal ------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Bring the journal up to date and wait for the disk. Never raises: what fails is kept for the next call.

        Nothing is lost from memory by a failure; `problem` says what stands in the way.
        """
        with self._disk:
            try:
                while self._pending:
                    self._unsynced = True
                    if self._draft is None:
                        self._draft = self._new_draft()
                    what, seconds = self._pending[0]
                    if isinstance(what, Record):
                        self._draft.append(what, seconds)
                    elif what == _UNDO:
                        self._draft.append_undo(seconds)
                    else:
                        self._draft.append_redo(seconds)
                    self._pending.popleft()
                if self._unsynced and self._draft is not None:
                    self._draft.sync()
                    self._unsynced = False
                self.problem = None
            except (OSError, PoolError, MemoryError) as error:
                self.problem = _sentence(error)

    def compact(self, beyond: int = _LARGE) -> None:
        """Save, and write a large journal anew without what could be undone: for a case that is left. Never raises.

        beyond : bytes up to which a journal stays whole, so that the case comes back with its undo
        A journal that cannot be saved stays as it is, and so does what can be undone.
        """
        self.save()
        with self._disk, self._lock:
            if self._draft is None or self.dirty or self._draft.mark[0] <= beyond:
                return
            try:
                self._draft.compact()
                self._history = self._draft.history
            except (OSError, MemoryError):
                pass  # the edits are on the disk, and the next time will do
            except PoolError as error:
                self.problem = str(error)

    def discard(self) -> None:
        """Remove the journal, of a case that is accepted or rejected; what it lacks is not written any more.

        Never raises, as `save`: `problem` says why the file is still there.
        """
        with self._disk:
            with self._lock:
                self._pending.clear()
                self._unsynced = False
            try:
                if self._draft is not None:
                    self._draft.delete()
                    self._draft = None
                self.problem = None
            except OSError as error:
                self.problem = _sentence(error)

    # -- inside -----------------------------------------------------------------------------------------------

    def _check(self, labels: NDArray[np.uint8], what: str, shape: tuple[int, ...] | None = None) -> None:
        shape = self.array.shape if shape is None else shape
        if labels.shape != shape:
            raise GridMismatchError(
                f"The labels of {what} have the shape {labels.shape} and the open case {shape}; make them on the grid "
                "of its scan."
            )
        if labels.dtype != np.uint8:
            raise ValueError(f"The labels of {what} are {labels.dtype} numbers, not uint8.")

    def _new_draft(self) -> Draft:
        """Make the journal; PoolError if it would bring back other labels than these."""
        draft = self._make_draft()
        if not np.array_equal(draft.base, self.base):
            draft.delete()
            raise PoolError(
                f"The draft {draft.path} was begun from other labels than those on screen; open the case anew.",
                path=draft.path,
            )
        self.base = draft.base  # one copy is enough
        return draft

    def _take(self, record: Record) -> None:
        """Keep an edit that the array shows already."""
        self.touch()
        self._count(record, back=False)
        self._history.add(record)
        self.version += 1
        self._pending.append((record, self.seconds))

    def _step_over(self, record: Record, what: str, back: bool) -> None:
        """Take an edit back or make it again."""
        self.touch()
        put(self.array, record, back=back)
        self._count(record, back=back)
        self.version += 1
        self._pending.append((what, self.seconds))

    def _count(self, record: Record, back: bool) -> None:
        mask, old, new = record.values()
        base = self.base[record.box][mask]
        more = int(np.count_nonzero(new != base)) - int(np.count_nonzero(old != base))
        self.voxels_changed += -more if back else more

    def _told(self, record: Record | None) -> Box | None:
        """Tell everybody of an edit, outside the lock; return its box."""
        if record is None:
            return None
        self.changed.emit(record.box)
        return record.box


def _within_whole(record: Record | None, start: Sequence[int]) -> Record | None:
    """Return an edit of a part of the array, which begins at `start`, as one of the array."""
    if record is None:
        return None
    return Record(record.operation, _moved(record.box, start), record.changed, record.packed)


def _indices(box: tuple[Any, ...], shape: tuple[int, ...]) -> tuple[Any, ...]:
    """Return where a stamp lies: slices with start and stop, or arrays of indices, none of them negative."""
    return tuple(
        _within(part, n) if isinstance(part, slice) else np.asarray(part) % n
        for part, n in zip(box, shape, strict=True)
    )


def _within(part: slice, n: int) -> slice:
    start, stop, _ = part.indices(n)
    return slice(start, max(start, stop))


def _union(places: Sequence[tuple[Any, ...]]) -> Box:
    """Return the box that holds all places."""
    return tuple(
        slice(min(_ends(part)[0] for part in parts), max(_ends(part)[1] for part in parts))
        for parts in zip(*places, strict=True)
    )


def _ends(part: Any) -> tuple[int, int]:
    """Return start and stop of a slice or of the indices along one axis."""
    if isinstance(part, slice):
        return part.start, part.stop
    return int(part.min(initial=np.iinfo(np.int64).max)), int(part.max(initial=-1)) + 1


def _moved(place: tuple[Any, ...], by: Sequence[int]) -> tuple[Any, ...]:
    """Return a place moved along each axis."""
    return tuple(
        slice(part.start + n, part.stop + n) if isinstance(part, slice) else part + n
        for part, n in zip(place, by, strict=True)
    )


def _write(
    region: NDArray[np.uint8], place: tuple[Any, ...], mask: NDArray[np.bool_] | None, values: ArrayLike
) -> None:
    if mask is None:
        region[place] = values
    else:
        region[place][mask] = values


def _sentence(error: Exception) -> str:
    """Return why edits are not saved, and what to do."""
    if isinstance(error, PoolError):
        return str(error)
    if isinstance(error, MemoryError):
        return "The edits are not on the disk yet: the memory is short; close other programs."
    reason = getattr(error, "strerror", None) or error
    where = getattr(error, "filename", None)
    return (
        f"The edits are not on the disk yet ({reason}{f': {where}' if where else ''}); free some space, or make the "
        "folder of the drafts writable."
    )
