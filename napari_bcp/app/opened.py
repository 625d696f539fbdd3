"""The case on screen: its scan, its map, the labels that a reader edits, and what tools make of them.

Arrays have the axes z, y, x of `scans.geometry.display_arrays`. Nothing here knows Qt or napari.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_bcp.app.contrast import usual_contrast, windows
from napari_bcp.app.edits import Edits
from napari_bcp.app.wording import counted, moment
from napari_bcp.errors import MaskError, PoolError, ScanError, StateError
from napari_bcp.pool.drafts import Draft
from napari_bcp.review.border import MovingBorder
from napari_bcp.review.boxes import box_of
from napari_bcp.review.changes import dice_between, differences
from napari_bcp.review.cleanup import attached, fill_holes, keep_largest, smooth, threshold
from napari_bcp.review.interpolate import interpolate_between, painted_slices
from napari_bcp.review.islands import removed_islands, restore
from napari_bcp.review.uncertainty import entropy
from napari_bcp.review.worst import slices_worth_a_look
from napari_bcp.scans import display_arrays, from_display, read_grid, read_mask, read_scan
from napari_bcp.scans.maps import MapFile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_bcp.app.edits import Change
    from napari_bcp.pool import Case, Pool
    from napari_bcp.pool.edit_records import Record
    from napari_bcp.review.islands import Island
    from napari_bcp.review.worst import SliceNote
    from napari_bcp.scans import ClassSpec, Grid

EDITABLE: Final = ("unlabelled", "predicted", "draft")
"""Statuses in which labels may be edited."""

HALF: Final = 128  # the level of a border that nobody has moved
_MOST_BYTES: Final = 1_500_000_000  # of a whole map in memory; larger ones have no list of islands and slices


class OpenCase:
    """One case, from `load_case`.

    case : its record in the pool, as of the last `take_record`
    scan : float32, z, y, x;  spacing_zyx : mm
    contrast : values shown as black and white;  whole_range : the lowest and the highest value
    windows : of CT by name, empty for other scans
    edits : the labels while they are edited;  source : what they began as: "pseudo-label", "mask", "draft" or "nothing"
    restored : what has come back from a draft, as a sentence, or empty;  notes : what was noticed about the files
    map : the newest map, or None
    """

    def __init__(
        self,
        pool: Pool,
        case: Case,
        classes: Sequence[ClassSpec],
        grid: Grid,
        scan: NDArray[np.float32],
        labels: NDArray[np.uint8],
        source: str,
        draft: Draft | None,
        map_: MapFile | None,
    ) -> None:
        self._pool, self._grid = pool, grid
        self.case, self.classes = case, tuple(classes)
        self.scan = scan
        x, y, z = grid.spacing
        self.spacing_zyx = (z, y, x)
        self.windows = windows(scan)
        self.whole_range = (float(scan.min()), float(scan.max()))
        self.contrast = self.windows.get("soft tissue") or usual_contrast(scan)
        self.source = source
        self.restored = ""
        self.notes: tuple[str, ...] = ()
        self.map = map_
        self.looked = False
        """Whether the reader has gone through its slices."""
        self.outdated = False
        """Whether it is about to be read anew, with a draft that nobody could edit so far; locked until then."""
        self.newer: tuple[NDArray[np.uint8], Change | None] | None = None
        """The pseudo-label of a newer map than the labels on screen are of, and what it changes."""
        self.edits = Edits(labels, self._make_draft, draft)
        self.centre = _centre(labels)
        self._facts = self._facts_of(case, source) if draft is None else draft.facts
        self._probable: tuple[MapFile, int, NDArray[np.uint8]] | None = None  # of the class that was asked for last

    @property
    def name(self) -> str:
        """Name of the case."""
        return self.case.name

    @property
    def labels(self) -> NDArray[np.uint8]:
        """The labels as they are now: to be changed by way of `edits` alone."""
        return self.edits.array

    @property
    def proposal(self) -> NDArray[np.uint8]:
        """The labels that the reader began with; not to be written to."""
        return self.edits.base

    @property
    def editable(self) -> bool:
        """Whether the labels may be changed: not once they are accepted, until the case is reopened."""
        return self.case.status in EDITABLE and not self.outdated

    @property
    def map_stamp(self) -> str:
        """Which run made the map, and after how many steps; empty without one."""
        return self._stamp({} if self.map is None else self.map.facts)

    @property
    def source_stamp(self) -> str:
        """The same of the map whose pseudo-label the labels began as, which may be an older one."""
        return self._stamp(self._facts if "run" in self._facts else {})

    @staticmethod
    def _stamp(facts: Mapping[str, Any]) -> str:
        return f"run {facts.get('run', '?')} · step {facts.get('step', '?')}" if facts else ""

    # -- what the map says ------------------------------------------------------------------------------------

    def probability(self, value: int) -> NDArray[np.uint8]:
        """Return the probability of a class, 0 to 255, not to be written to; zeros where the map has no such class."""
        map_, known = self.map, self._probable
        if map_ is None or value not in map_.classes:
            return np.zeros(self.labels.shape, np.uint8)
        if known is None or known[:2] != (map_, value):
            known = self._probable = map_, value, self._read(map_, value)
        return known[2]

    def _read(self, map_: MapFile, value: int) -> NDArray[np.uint8]:
        shown, _ = display_arrays(map_.read(value), self._grid)
        return np.ascontiguousarray(shown)

    def uncertainty(self) -> NDArray[np.uint8]:
        """Return the predictive entropy, 0 to 255."""
        everything = self._everything()
        return np.zeros(self.labels.shape, np.uint8) if everything is None else entropy(everything)

    def islands(self) -> list[Island]:
        """Return the parts of the map that the labels have nothing of, the largest first."""
        everything = self._everything()
        if everything is None or self.map is None:
            return []
        return removed_islands(everything, self.map.classes, self.edits.settled, self.spacing_zyx)

    def worth_a_look(self, axis: int) -> list[SliceNote]:
        """Return slices across `axis` (z, y, x) that deserve a look, the most urgent first."""
        everything = self._everything()
        if everything is None or self.map is None:
            return []
        names = {one.value: one.name for one in self.classes}
        labels = self.edits.settled
        return slices_worth_a_look(everything, labels, axis, values=self.map.classes, names=names)

    def _everything(self) -> NDArray[np.uint8] | None:
        """Return the map of all classes (classes, z, y, x); None without one, or where it would fill the memory."""
        map_ = self.map
        if map_ is None or self.labels.size * len(map_.classes) > _MOST_BYTES:
            return None
        return np.stack([self._read(map_, value) for value in map_.classes])

    # -- operations: new labels from a copy of those on screen, on any thread ---------------------------------

    def keep_largest(self, labels: NDArray[np.uint8], value: int) -> NDArray[np.uint8]:
        """Return labels with the largest component of a class alone."""
        return keep_largest(labels, value)

    def fill_holes(self, labels: NDArray[np.uint8], value: int) -> NDArray[np.uint8]:
        """Return labels with the holes of a class filled."""
        return fill_holes(labels, value)

    def smooth(self, labels: NDArray[np.uint8], value: int) -> NDArray[np.uint8]:
        """Return labels with the surface of a class smoothed."""
        return smooth(labels, value, self.spacing_zyx)

    def interpolate(self, labels: NDArray[np.uint8], value: int, axis: int) -> NDArray[np.uint8]:
        """Return labels with a class drawn between the slices across `axis` that have it."""
        slices = painted_slices(labels, value, axis)
        return interpolate_between(labels, value, axis, slices, self.spacing_zyx)

    def restore_island(self, labels: NDArray[np.uint8], island: Island) -> NDArray[np.uint8]:
        """Return labels with an island put back."""
        return restore(labels, island)

    def revert(self, _labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the labels that the reader began with."""
        return self.proposal

    def replace(self, labels: NDArray[np.uint8], given: NDArray[Any]) -> NDArray[np.uint8]:
        """Return labels that another tool has made, or `labels` where they are not of this case's shape and classes."""
        known = np.zeros(256, bool)
        known[[0, *(one.value for one in self.classes)]] = True
        fits = given.shape == labels.shape and given.dtype.kind in "biu" and given.min() >= 0 and given.max() <= 255
        if not fits or not known[given.astype(np.uint8)].all():
            return labels
        return given.astype(np.uint8)

    # -- the border of a class along its map ------------------------------------------------------------------

    def moving_border(self, value: int) -> MovingBorder:
        """Return what moves the border of a class; on any thread.

        What was drawn by hand stays, and so do parts of the map that the class has nothing of.
        """
        expected = self.proposal
        for one, level in borders_in(self.edits.operations, self.classes).items():
            map_of_one = self.probability(one)
            expected = attached(expected, threshold(expected, map_of_one, one, level), one)
        return MovingBorder(self.edits.settled, expected, self.proposal, self.probability(value), value)

    def border_name(self, value: int, level: int) -> str:
        """Return the name of the edit that moves the border of a class to `level` (0 to 255)."""
        return border_name(self.classes, value, level)

    def border_at(self, value: int) -> int:
        """Return the level (0 to 255) at which the border of a class is now: half, until it is moved."""
        return borders_in(self.edits.operations, self.classes).get(value, HALF)

    def settle_border(self, value: int, level: int, edit: Record | None) -> None:
        """Make `edit`, which is previewed, one edit."""
        self.edits.settle(self.border_name(value, level), edit)

    # -- the case in the pool ---------------------------------------------------------------------------------

    def take_record(self, case: Case) -> bool:
        """Take over what the pool has of the case now; return whether it has a newer mask than before."""
        newer = (case.mask_version or 0) > (self.case.mask_version or 0)
        self.case = case
        return newer

    def look(self) -> None:
        """Note that the reader goes through the slices; that is work, too."""
        self.looked = True
        self.edits.touch()

    def take_map(self, map_: MapFile, pseudo: NDArray[np.uint8], change: Change | None = None) -> bool:
        """Take over a newer map; its pseudo-label, too, if nobody has touched the labels. Returns whether it was.

        pseudo : of the new map, z, y, x; kept;  change : from `edits.prepare` of it, where that was done already
        What a reader has begun to check must not change below her hands: then it is `newer` until `take_newer`.
        """
        self.map, self.newer = map_, None
        if not self.editable or self.case.mask_version is not None or self.source not in ("pseudo-label", "nothing"):
            return False
        if not self.edits.untouched:
            return False
        self.newer = (pseudo, change)
        return not (self.looked and self.source == "pseudo-label") and self.take_newer()

    def take_newer(self) -> bool:
        """Begin with the pseudo-label of the newer map; returns whether it was, for nobody had touched the labels."""
        newer, self.newer = self.newer, None
        if newer is None:
            return False
        try:
            self.edits.start_from(*newer)
        except StateError:
            return False
        self.source = "pseudo-label"
        self._facts = self._facts_of(self.case, self.source)
        return True

    def fresh_edits(self) -> Edits:
        """Return edits that begin with the labels on screen; on any thread, while nobody edits."""
        return Edits(self.labels, self._make_draft)

    def begin_anew(self, case: Case, edits: Edits) -> None:
        """Let the labels on screen be what a reader begins with (`fresh_edits`), once accepted or reopened."""
        self.edits, self.newer = edits, None
        self.source, self.restored = "mask", ""
        self.take_record(case)
        self._facts = self._facts_of(case, self.source)

    def mask(self) -> NDArray[np.uint8]:
        """Return a copy of the labels as the pool takes them: canonical x, y, z."""
        return from_display(self.labels.copy())

    def effort(self) -> dict[str, Any]:
        """Return what is to be known of an acceptance: time and voxels by hand, and Dice with the pseudo-label."""
        facts: dict[str, Any] = {
            "seconds": round(self.edits.seconds, 1),
            "changed_voxels": self.edits.voxels_changed,
            "changes": {value: list(counts) for value, counts in differences(self.proposal, self.labels).items()},
        }
        if self._facts.get("source") == "pseudo-label":
            values = [one.value for one in self.classes]
            facts["dice"] = {
                value: round(dice, 5) for value, dice in dice_between(self.proposal, self.labels, values).items()
            }
            facts |= {key: self._facts[key] for key in ("run", "step") if key in self._facts}
        return facts

    def _facts_of(self, case: Case, source: str) -> dict[str, Any]:
        """Return what a draft began from."""
        facts: dict[str, Any] = {"source": source, "mask_version": case.mask_version}
        if source == "pseudo-label" and self.map is not None:
            facts |= {key: self.map.facts[key] for key in ("run", "step") if key in self.map.facts}
        return facts

    def _make_draft(self) -> Draft:
        """Begin the journal; the case becomes a draft in the pool before there is one.

        A mask that came while the reader edited stays in force until hers is accepted. To a case that was left out
        meanwhile the journal comes back once it is included again.
        """
        status = self._pool.case(self.name).status
        if status == "accepted":
            self._pool.reopen(self.name)
        elif status in EDITABLE and status != "draft":
            self._pool.begin_draft(self.name)
        path = self._pool.draft_file(self.name)
        path.parent.mkdir(exist_ok=True)
        return Draft.create(path, self.edits.base, self._facts)


def border_name(classes: Sequence[ClassSpec], value: int, level: int) -> str:
    """Return the name of the edit that moves the border of a class to `level` (0 to 255)."""
    name = next((one.name for one in classes if one.value == value), f"class {value}")
    return f"border of {name} at {round(level / 2.55)} %"


def borders_in(operations: Sequence[str], classes: Sequence[ClassSpec]) -> dict[int, int]:
    """Return the level of each border that these edits have moved, by class, in the order in which they were moved."""
    levels: dict[int, int] = {}
    starts = {one.value: border_name(classes, one.value, 0).removesuffix("0 %") for one in classes}
    for operation in operations:
        if operation == "revert":
            levels.clear()
        for value, start in starts.items() if operation.startswith("border of ") else ():
            percent = operation.removeprefix(start).removesuffix(" %")
            if operation.startswith(start) and percent.isdecimal():
                levels.pop(value, None)
                levels[value] = round(int(percent) * 2.55)
    return levels


def load_case(pool: Pool, name: str) -> OpenCase:
    """Read a case for the screen: its draft, else the mask in force, else the pseudo-label, else nothing to begin with.

    Raises ScanError or MaskError if a file cannot be used, StateError for a case that cannot be shown.
    """
    case = pool.case(name)
    if case.status == "unusable":
        raise StateError(f"Case '{name}' cannot be shown: {case.reason}", case=name)
    grid = read_grid(case.path)
    if case.shape is not None and grid.shape != case.shape:
        raise ScanError(
            f"{case.path} is {grid.shape} now and was {case.shape} when case '{name}' came into the pool; bring "
            "the former file back, or exclude the case.",
            path=case.path,
            case=name,
        )
    changed = case.fingerprint is not None and pool.check_changed(name)
    with ThreadPoolExecutor(1) as beside:  # both are unpacked at the same time
        begun = beside.submit(_begin, pool, case, grid)
        scan = read_scan(case.path, for_screen=True)
        source, labels, draft, begin_notes = begun.result()
    shown, _ = display_arrays(scan.voxels, grid)
    notes = [*scan.notes, *begin_notes]
    if changed and (source != "nothing" or case.map is not None):
        notes.append("The scan's file is another one than when it came into the pool: look whether its labels fit.")
    map_ = None
    try:
        map_ = read_map(case, grid)
    except ScanError as error:
        notes.append(str(error))
    opened = OpenCase(pool, case, pool.classes, grid, np.ascontiguousarray(shown), labels, source, draft, map_)
    opened.notes = tuple(notes)
    if draft is not None:
        opened.restored = _restored(draft, opened.edits.voxels_changed)
    return opened


def load_twice(pool: Pool, name: str) -> OpenCase:
    """Read a case; once more if its map was replaced just then."""
    try:
        case = load_case(pool, name)
        return load_case(pool, name) if case.case.map is not None and case.map is None else case
    except ScanError:
        return load_case(pool, name)


def load_again(pool: Pool, case: OpenCase) -> OpenCase:
    """Read a case anew, without its edits."""
    case.edits.discard()
    return load_case(pool, case.name)


def read_map(case: Case, grid: Grid | None = None) -> MapFile | None:
    """Return the newest map of a case, or None. Raises ScanError if it cannot be read or is not on the scan's grid."""
    if case.map is None:
        return None
    return MapFile(case.map.map_path, case.shape if grid is None else grid.shape)


def read_newer(case: OpenCase, record: Case) -> tuple[MapFile, NDArray[np.uint8], Change]:
    """Return the map that a newer record of an open case names, its pseudo-label, and what that would change.

    Raises ScanError or MaskError if they cannot be read: they may have been replaced meanwhile.
    """
    map_ = read_map(record)
    if map_ is None:
        raise ScanError(f"The map of {record.name} is gone.")
    pseudo = read_pseudo(record, read_grid(record.path), [one.value for one in case.classes])
    return map_, pseudo, case.edits.prepare("start", lambda _: pseudo)


def read_pseudo(case: Case, grid: Grid, values: Sequence[int]) -> NDArray[np.uint8]:
    """Return the pseudo-label of a case that has a map, z, y, x, writable. Raises MaskError."""
    assert case.map is not None  # noqa: S101 - the caller has looked
    return _labels(read_mask(case.map.pseudo_path, grid, classes=values, for_screen=True).voxels, grid)


def _draft_of(pool: Pool, case: Case, shape: tuple[int, ...]) -> Draft | None:
    """Return the draft of a case that may be edited; one of an accepted case is left over and counts no more."""
    path = pool.draft_file(case.name)
    return Draft.open(path, shape) if case.status in EDITABLE and path.exists() else None


def _begin(pool: Pool, case: Case, grid: Grid) -> tuple[str, NDArray[np.uint8], Draft | None, list[str]]:
    """Return what labels begin as, the labels, their draft, and what is to be said about it."""
    notes = []
    try:
        draft = _draft_of(pool, case, grid.shape[::-1])
    except PoolError as error:  # it stays where it is; the reader begins anew
        draft = None
        notes.append(str(error))
    if draft is not None:
        return "draft", draft.array, draft, [draft.note] if draft.note else []
    values = [one.value for one in pool.classes]
    mask = pool.mask_file(case)
    if mask is not None:
        voxels = read_mask(mask, grid, classes=values or None, for_screen=True).voxels
        return "mask", _labels(voxels, grid), None, notes
    notes += _refused(pool, case)
    if case.map is not None:
        try:
            return "pseudo-label", read_pseudo(case, grid, values), None, notes
        except (MaskError, ScanError) as error:
            notes.append(str(error))
    return "nothing", np.zeros(grid.shape[::-1], np.uint8), None, notes


def _refused(pool: Pool, case: Case) -> list[str]:
    """Return why there is no mask although one was given."""
    told = [event for event in pool.history(case.name) if event.what in ("mask refused", "accept")]
    if not told or told[-1].what == "accept":
        return []
    details = told[-1].details
    return [f"The mask {details.get('source')} was left out: {details.get('reason')}"]


def _labels(voxels: NDArray[np.uint8], grid: Grid) -> NDArray[np.uint8]:
    shown, _ = display_arrays(voxels, grid)
    return np.ascontiguousarray(shown)


def _restored(draft: Draft, changed: int) -> str:
    now = datetime.now().astimezone()
    begun = moment(str(draft.facts.get("time", "")), now)
    return f"Your draft, begun {begun}, is back: {counted(changed, 'voxel')} changed."


def _centre(labels: NDArray[np.uint8]) -> tuple[int, int, int]:
    """Return the voxel to look at first: in the middle of what is labelled, else of the scan."""
    filled = labels > 0
    box = box_of(filled, True)
    if box is None:
        z, y, x = (n // 2 for n in labels.shape)
        return z, y, x
    per_slice = np.count_nonzero(filled[box], axis=(1, 2))
    middle = int(np.searchsorted(np.cumsum(per_slice), per_slice.sum() / 2))
    _, y, x = (round((part.start + part.stop - 1) / 2) for part in box)
    return box[0].start + middle, y, x
