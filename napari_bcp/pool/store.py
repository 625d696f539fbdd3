"""The pool as its users see it: cases, masks, maps, runs and history of one cohort.

POOL/pool.sqlite              the table
POOL/masks/CASE/0001.nii.gz   every accepted version, never overwritten
POOL/maps/CASE/               the newest map of a case
POOL/runs/0001/               one training
POOL/pool.lock                who writes
"""

from __future__ import annotations

import difflib
import getpass
import json
import math
import os
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from napari_bcp.errors import (
    BcpError,
    GridMismatchError,
    MaskError,
    PoolError,
    ScanError,
    SettingError,
    UnknownCaseError,
    unknown_name,
)
from napari_bcp.pool.database import Database
from napari_bcp.pool.export import export
from napari_bcp.pool.fingerprint import Fingerprint, fingerprint
from napari_bcp.pool.lock import WriterLock
from napari_bcp.pool.migrations import MIGRATIONS
from napari_bcp.pool.paths import check_name, inside, relative_inside, settled, stored_scan
from napari_bcp.pool.records import (
    CASE_COLUMNS,
    RUN_STATUSES,
    Case,
    Event,
    MapRecord,
    RunRecord,
    case_from,
    checked,
    event_from,
    run_from,
)
from napari_bcp.pool.status import STATUSES, Action, Status, next_status
from napari_bcp.scans import (
    ClassSpec,
    Grid,
    Pairing,
    default_classes,
    pair,
    read_classes,
    read_grid,
    read_mask,
    write_mask,
)

if TYPE_CHECKING:
    from types import TracebackType

    from numpy.typing import NDArray

Progress = Callable[[int, int, str], None]
"""Called with how many are done, of how many, and the name of the case at hand."""

TABLE = "pool.sqlite"
STAGING = ".creating"


class Pool:
    """A cohort's state on disk; made by `Pool.create` or `Pool.open`, a context manager that closes itself.

    Every change is one transaction and one line of history. Arrays are canonical (RAS+), axis order x, y, z.
    Usable from several threads; one process at a time may have it open for writing.
    """

    def __init__(self, root: Path, table: Database, lock: WriterLock | None) -> None:
        self.root = root
        self.notes: tuple[str, ...] = ()
        """What `create` or `extend` had to say: files that match nothing, masks and scans that cannot be used."""
        self._table = table
        self._lock = lock
        self._masks = root / "masks"

    # -- opening and closing ----------------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        root: str | Path,
        images: str | Path,
        labels: str | Path | None = None,
        classes: str | Path | Sequence[ClassSpec] | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Make a pool in the folder `root` from the scans in `images` and masks among them or in `labels`.

        Of scans only headers are read; a scan that cannot be used becomes an unusable case with the reason. Masks
        found are read, checked and copied in as accepted; one that cannot be used leaves its case unlabelled and is
        named in `notes`. Classes come from `classes` (a file or a list), else from the data set's own description,
        else from the values in the masks; a pool without any gets them from the first mask that is accepted.
        It is made aside and put in place in one step: a killed creation leaves no pool and can be repeated.

        Returns the pool, open for writing. Raises PoolError if `root` already holds a pool, or `images` no scan.
        """
        root = Path(os.path.abspath(root))
        pairing = pair(Path(images), None if labels is None else Path(labels))
        if not pairing.pairs:
            raise PoolError(
                f"There is no scan (.nii or .nii.gz) in {images}; name the folder that holds them.", path=images
            )
        specs = _given_classes(classes) or tuple(pairing.classes or ())
        _check_classes(specs)
        lock = _lock_new_root(root)
        root = root.resolve()
        stage = root / STAGING
        try:
            _clear_unfinished(root, stage)
            (stage / "masks").mkdir(parents=True)
            pool = cls(root, Database.create(stage / TABLE), lock)
            pool._masks = stage / "masks"
            try:
                with pool._table.transaction():
                    pool._set_classes(specs)
                    pool._log("pool created", images=str(images), labels=None if labels is None else str(labels))
                    pool._take_in(pairing, progress)
            finally:
                pool._table.close()
            os.replace(stage / "masks", root / "masks")
            os.replace(stage / TABLE, root / TABLE)
            stage.rmdir()
            opened = cls(root, Database(root / TABLE, write=True), lock)
            opened.notes = pool.notes
        except BaseException:
            if not (root / TABLE).exists():
                shutil.rmtree(stage, ignore_errors=True)
            lock.release()
            raise
        return opened

    @classmethod
    def open(cls, root: str | Path, *, write: bool = False) -> Self:
        """Open the pool in the folder `root`; with `write`, as the one process that may change it.

        Raises PoolLockedError if another process writes and `write` is asked for, PoolVersionError if a newer
        napari-bcp made it, PoolError if there is none or its table is damaged.
        """
        root = Path(root).resolve()
        if not (root / TABLE).is_file():
            unfinished = "its creation was interrupted; create it again" if (root / STAGING).is_dir() else "create one"
            raise PoolError(f"There is no pool in {root}: {unfinished}, or name another folder.", path=root)
        if not write:
            table = Database(root / TABLE, write=False)
            if table.version == len(MIGRATIONS):
                return cls(root, table, None)
            table.close()
            cls.open(root, write=True).close()  # brings an older table up to date
            return cls(root, Database(root / TABLE, write=False), None)
        lock = WriterLock(root)
        lock.take()
        try:
            return cls(root, Database(root / TABLE, write=True), lock)
        except BaseException:
            lock.release()
            raise

    def close(self) -> None:
        """Close the table and give the right to write back; a second call does nothing."""
        self._table.close()
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def writable(self) -> bool:
        """Whether it was opened for writing."""
        return self._lock is not None

    # -- cases ------------------------------------------------------------------------------------------------

    @property
    def classes(self) -> tuple[ClassSpec, ...]:
        """The classes of masks and maps, by value; empty until the first mask if none were given."""
        rows = self._table.rows("SELECT value, name, colour FROM classes ORDER BY value")
        return tuple(checked(self.root, lambda _, r: ClassSpec(int(r[0]), str(r[1]), str(r[2])), row) for row in rows)

    def cases(self, status: str | Collection[str] | None = None) -> list[Case]:
        """Return all cases, or those of one status or several, by name. Raises SettingError for an unknown status."""
        if status is None:
            rows = self._table.rows(f"{CASE_COLUMNS} ORDER BY cases.name")
        else:
            wanted = [status] if isinstance(status, str) else sorted(set(status))
            for one in wanted:
                if one not in STATUSES:
                    raise unknown_name("status", one, STATUSES)
            marks = ", ".join("?" * len(wanted))
            rows = self._table.rows(f"{CASE_COLUMNS} WHERE cases.status IN ({marks}) ORDER BY cases.name", wanted)
        return [checked(self.root, case_from, row) for row in rows]

    def case(self, name: str) -> Case:
        """Return the case of that name. Raises UnknownCaseError, with the nearest name there is."""
        return checked(self.root, case_from, self._row(name))

    def counts(self) -> dict[Status, int]:
        """Return how many cases each status has."""
        found = {str(row[0]): int(row[1]) for row in self._table.rows("SELECT status, count(*) FROM cases GROUP BY 1")}
        return {status: found.get(status, 0) for status in STATUSES}

    def extend(
        self, images: str | Path, labels: str | Path | None = None, progress: Progress | None = None
    ) -> list[str]:
        """Add the scans in `images` that the pool does not know yet; return the new cases' names.

        A mask found for a known scan is taken in if that case never had one, so a mended mask can be handed in.
        All of it is recorded or nothing. `notes` says what could not be used.
        """
        self._must_write()
        pairing = pair(Path(images), None if labels is None else Path(labels))
        if not pairing.pairs:
            raise PoolError(
                f"There is no scan (.nii or .nii.gz) in {images}; name the folder that holds them.", path=images
            )
        with self._table.transaction():
            if not self.classes and pairing.classes:
                self._set_classes(pairing.classes)
            self._log("pool extended", images=str(images), labels=None if labels is None else str(labels))
            return self._take_in(pairing, progress)

    def scan_path(self, name: str) -> Path:
        """Return the absolute path of a case's scan."""
        return self.case(name).path

    def exclude(self, name: str) -> None:
        """Leave a case out until it is included again."""
        self._move(name, "exclude")

    def include(self, name: str) -> None:
        """Take an excluded case back, with the status it had."""
        self._move(name, "include")

    def reset(self, name: str) -> None:
        """Make a case unlabelled: its map is removed and no mask is in force (the versions stay on disk)."""
        with self._table.transaction():
            old = self.case(name).map
            self._move(name, "reset", mask_version=None)
            self._table.change("DELETE FROM maps WHERE case_name = ?", (name,))
        self._remove_map_files(old, None)

    def mark_unusable(self, name: str, reason: str) -> None:
        """Leave a case out because of its scan; `reason` is the sentence to show."""
        self._move(name, "mark unusable", reason=reason)

    def mark_usable(self, name: str) -> None:
        """Look at an unusable case's scan again and take it back with the status it had.

        Raises ScanError if the scan still cannot be used, MaskError if its mask does not lie on it any more.
        """
        case = self.case(name)
        grid = read_grid(case.path)
        if case.mask_version is not None:
            read_mask(self._version_path(name, case.mask_version), grid)
        with self._table.transaction():
            self._move(name, "mark usable", reason="", **_columns(grid, _seen(case.path)))
            row = self._row(name)
            if case.map is not None and tuple(grid.shape) != case.shape:
                self._table.change("DELETE FROM maps WHERE case_name = ?", (name,))
                if row["status"] == "predicted":
                    self._table.change("UPDATE cases SET status = 'unlabelled' WHERE name = ?", (name,))

    def check_changed(self, name: str) -> bool:
        """Return whether a scan's content differs from when the pool last looked.

        A mere new modification time is recorded silently (if the pool is open for writing). Raises ScanError if the
        file is gone.
        """
        case = self.case(name)
        try:
            stat = case.path.stat()
            known = case.fingerprint
            if known is not None and (stat.st_size, stat.st_mtime_ns) == (known.size, known.mtime_ns):
                return False
            now = fingerprint(case.path)
        except OSError as error:
            raise ScanError(
                f"{case.path}: the scan of case '{name}' cannot be read ({error.strerror or error}); bring it back, or "
                "tell the pool where it is now with 'napari-bcp relocate'.",
                path=case.path,
                case=name,
            ) from None
        if known is None or now.digest != known.digest:
            return True
        if self.writable:
            with self._table.transaction():
                self._table.change("UPDATE cases SET mtime_ns = ? WHERE name = ?", (now.mtime_ns, name))
        return False

    def relocate(self, old: str | Path, new: str | Path) -> int:
        """Make cases whose scans lay below the folder `old` point below `new`; return how many.

        Raises PoolError, changing nothing, if not one of those scans is found below `new`.
        """
        self._must_write()
        before, after = settled(old), settled(new)
        moved = [
            (case.name, after / case.path.relative_to(before))
            for case in self.cases()
            if case.path.is_relative_to(before)
        ]
        if moved and not any(path.is_file() for _, path in moved):
            raise PoolError(
                f"None of the {len(moved)} scans is in {after} (the first would be {moved[0][1]}); "
                "name the folder that they were moved to.",
                path=after,
            )
        with self._table.transaction():
            for name, path in moved:
                self._table.change(
                    "UPDATE cases SET scan = ?, changed = ? WHERE name = ?",
                    (stored_scan(self.root, path), _now(), name),
                )
            self._log("scans relocated", old=str(before), new=str(after), cases=len(moved))
        return len(moved)

    # -- masks ------------------------------------------------------------------------------------------------

    def mask_path(self, name: str) -> Path | None:
        """Return the file of the accepted mask in force, or None."""
        version = self.case(name).mask_version
        return None if version is None else self._version_path(name, version)

    def mask(self, name: str) -> NDArray[np.uint8]:
        """Return the accepted mask in force: uint8 class values, canonical x, y, z.

        Raises MaskError if there is none or its file cannot be used.
        """
        case = self.case(name)
        if case.mask_version is None:
            raise MaskError(f"Case '{name}' has no accepted mask; accept one first.", case=name)
        path = self._version_path(name, case.mask_version)
        try:
            grid = read_grid(path)
        except ScanError as error:
            raise MaskError(str(error), path=path, case=name) from None
        if grid.shape != case.shape:
            raise GridMismatchError(
                f"{path} has the shape {grid.shape}, but the scan of case '{name}' has {case.shape}; "
                "restore it from a copy, or reset the case.",
                path=path,
                case=name,
            )
        return read_mask(path, grid, classes=[spec.value for spec in self.classes]).voxels

    def accept(self, name: str, mask: NDArray[Any] | str | Path, *, by: Literal["person", "rule"] = "person") -> int:
        """Store a mask as the next version of a case and put it in force; return the version's number.

        mask : class values, canonical x, y, z in the scan's shape (integers or booleans); or a file on the scan's grid
        by : "rule" never replaces what a person has begun or accepted
        Raises StateError, GridMismatchError for another grid, MaskError for other values than the pool's classes.
        """
        self._must_write()
        if by not in ("person", "rule"):
            raise unknown_name("way to accept", by, ("person", "rule"))
        case = self.case(name)
        action: Action = "accept" if by == "person" else "accept by rule"
        next_status(name, action, case.status)
        grid = read_grid(case.path)
        known = self.classes
        allowed = [spec.value for spec in known] or None
        if isinstance(mask, (str, Path)):
            voxels = read_mask(Path(mask), grid, classes=allowed).voxels
            source: str | None = str(mask)
        else:
            voxels, source = _checked_array(mask, case, grid, known), None
        with self._table.transaction():
            if not known:
                self._set_classes(default_classes(_values(voxels)))
            return self._store_mask(name, voxels, grid, action, by, source)

    def begin_draft(self, name: str) -> None:
        """A reader starts to edit a case that is not accepted (an accepted one is reopened)."""
        self._move(name, "draft")

    def reopen(self, name: str) -> None:
        """Make an accepted case a draft again; its mask stays in force until the next one is accepted."""
        self._move(name, "reopen")

    # -- maps and runs ----------------------------------------------------------------------------------------

    def record_map(
        self,
        name: str,
        *,
        run: str,
        step: int,
        map_file: str | Path,
        pseudo_file: str | Path,
        quality: Mapping[int, float | None],
        entropy: float,
        volume_ml: Mapping[int, float],
        islands: Mapping[int, int],
    ) -> None:
        """Make the given files, which lie in the pool, the newest map and pseudo-label of a case.

        An unlabelled case becomes predicted; every other keeps its status. The files of the map before are removed
        once the table points to the new ones. The fields are those of MapRecord. Raises StateError for an unusable
        case, PoolError for files outside the pool or missing.
        """
        self._must_write()
        case = self.case(name)
        stored = []
        for file in (map_file, pseudo_file):
            stored.append(relative_inside(self.root, Path(file)))
            if not (self.root / stored[-1]).exists():
                raise PoolError(f"{file}, the new map of case '{name}', is missing; predict the case again.", path=file)
        numbers = [entropy, *volume_ml.values(), *(value for value in quality.values() if value is not None)]
        if not all(math.isfinite(number) for number in numbers):
            raise PoolError(
                f"The map of case '{name}' comes with numbers that are not finite; predict it again.", case=name
            )
        with self._table.transaction():
            self._move(name, "predict", details={"run": run, "step": step})
            self._table.change(
                "UPDATE cases SET before = 'predicted' WHERE name = ? AND before = 'unlabelled'", (name,)
            )
            self._table.change(
                "REPLACE INTO maps (case_name, run, step, map_file, pseudo_file, quality, entropy, volume_ml, islands, "
                "time) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (name, run, step, *stored, _json(quality), entropy, _json(volume_ml), _json(islands), _now()),
            )
            new = self.case(name).map
        self._remove_map_files(case.map, new)

    def map_of(self, name: str) -> MapRecord | None:
        """Return the newest map of a case, or None."""
        return self.case(name).map

    def new_run(self, preset: str, config: Mapping[str, Any], plan: Mapping[str, Any]) -> RunRecord:
        """Record a new run, status "planned", and make its folder `runs/0001` (next free number)."""
        self._must_write()
        with self._table.transaction():
            taken = [int(run.id) for run in self.runs()]
            folder = inside(self.root, "runs")
            if folder.is_dir():
                taken += [int(path.name) for path in folder.iterdir() if path.name.isascii() and path.name.isdigit()]
            run = f"{max(taken, default=0) + 1:04d}"
            inside(self.root, "runs", run).mkdir(parents=True)
            self._table.change(
                "INSERT INTO runs (id, preset, config, plan, status, started, changed) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (run, preset, _json(config), _json(plan), "planned", _now(), _now()),
            )
            self._log("run planned", run=run, preset=preset)
            return self._run(run)

    def runs(self) -> list[RunRecord]:
        """Return all runs, oldest first."""
        rows = self._table.rows("SELECT * FROM runs ORDER BY length(id), id")
        return [checked(self.root, run_from, row) for row in rows]

    def last_run(self) -> RunRecord | None:
        """Return the newest run, or None."""
        return next(reversed(self.runs()), None)

    def update_run(self, run: str, **fields: Any) -> RunRecord:
        """Record how far a run came: `step`, `elapsed_s`, `status` (one of RUN_STATUSES), `checkpoint` (in the pool).

        Raises PoolError for an unknown run or a checkpoint outside the pool, SettingError for other fields.
        """
        self._must_write()
        for key in fields:
            if key not in ("step", "elapsed_s", "status", "checkpoint"):
                raise unknown_name("field of a run", key, ("step", "elapsed_s", "status", "checkpoint"))
        if "status" in fields and fields["status"] not in RUN_STATUSES:
            raise unknown_name("status of a run", str(fields["status"]), RUN_STATUSES)
        values = dict(fields)
        if values.get("checkpoint") is not None:
            values["checkpoint"] = relative_inside(self.root, Path(values["checkpoint"]))
        with self._table.transaction():
            before = self._run(run)
            values["changed"] = _now()
            assignments = ", ".join(f"{key} = ?" for key in values)
            self._table.change(f"UPDATE runs SET {assignments} WHERE id = ?", (*values.values(), run))
            after = self._run(run)
            if after.status != before.status:
                self._log(f"run {after.status}", run=run, step=after.step)
        return after

    # -- history ----------------------------------------------------------------------------------------------

    def history(self, name: str | None = None, limit: int | None = None) -> list[Event]:
        """Return what happened, oldest first: to one case or to all and the pool; with `limit`, only the newest."""
        where, values = "", []
        if name is not None:
            self._row(name)
            where, values = "WHERE case_name = ?", [name]
        rows = self._table.rows(
            f"SELECT * FROM events {where} ORDER BY id DESC LIMIT ?", [*values, -1 if limit is None else limit]
        )
        return [checked(self.root, event_from, row) for row in reversed(rows)]

    def export(
        self, dest: str | Path, layout: Literal["plain", "nnunet"] = "plain", progress: Progress | None = None
    ) -> dict[str, int]:
        """Write accepted masks and, apart from them, pseudo-labels to the new or empty folder `dest`.

        See `napari_bcp.pool.export.export` for the layouts. Returns how many files of each sort were written.
        """
        cases = self.cases()
        masks = {
            case.name: self._version_path(case.name, case.mask_version)
            for case in cases
            if case.status == "accepted" and case.mask_version is not None
        }
        return export(cases, self.classes, masks, Path(dest), layout, progress)

    # -- inside -----------------------------------------------------------------------------------------------

    def _row(self, name: str) -> Any:
        rows = self._table.rows(f"{CASE_COLUMNS} WHERE cases.name = ?", (name,))
        if rows and rows[0]["name"] == name:
            return rows[0]
        names = [str(row[0]) for row in self._table.rows("SELECT name FROM cases")]
        near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'?" if near else "list its cases to see their names."
        raise UnknownCaseError(f"Pool {self.root} has no case '{name}'; {hint}", path=self.root, case=name)

    def _run(self, run: str) -> RunRecord:
        rows = self._table.rows("SELECT * FROM runs WHERE id = ?", (run,))
        if not rows:
            raise PoolError(
                f"Pool {self.root} has no run '{run}'; its runs are: {', '.join(r.id for r in self.runs())}."
            )
        return checked(self.root, run_from, rows[0])

    def _must_write(self) -> None:
        if self._lock is None:
            raise PoolError(
                f"Pool {self.root} is open for reading only; open it for writing to change it.", path=self.root
            )

    def _log(self, what: str, case: str | None = None, **details: Any) -> None:
        self._table.change(
            "INSERT INTO events (time, case_name, what, details, who) VALUES (?, ?, ?, ?, ?)",
            (_now(), case, what, _json(details), _who()),
        )

    def _move(self, name: str, action: Action, details: Mapping[str, Any] | None = None, **columns: Any) -> None:
        """Change a case's status by the table of transitions, other `columns` with it, and log it."""
        self._must_write()
        with self._table.transaction():
            row = self._row(name)
            old: Status = row["status"]
            new = next_status(name, action, old, row["before"])
            if new in ("excluded", "unusable"):
                columns["before"] = row["before"] or old
            else:
                columns["before"] = None
            columns |= {"status": new, "changed": _now()}
            assignments = ", ".join(f"{key} = ?" for key in columns)
            self._table.change(f"UPDATE cases SET {assignments} WHERE name = ?", (*columns.values(), name))
            more = {"reason": columns["reason"]} if columns.get("reason") else {}
            self._log(action, case=name, **{"from": old, "to": new}, **(details or {}), **more)

    def _set_classes(self, specs: Sequence[ClassSpec]) -> None:
        for spec in specs:
            self._table.change("REPLACE INTO classes VALUES (?, ?, ?)", (spec.value, spec.name, spec.colour))

    def _take_in(self, pairing: Pairing, progress: Progress | None) -> list[str]:
        """Add the new cases of a pairing and take in masks; inside a transaction. Sets `notes`."""
        notes = list(pairing.notes)
        known = {self.root.joinpath(case.path): case for case in self.cases()}
        taken = {case.name.lower() for case in known.values()}
        allowed = [spec.value for spec in self.classes] or None
        seen: set[int] = set()
        added = []
        for done, (given, image, mask) in enumerate(pairing.pairs):
            if progress is not None:
                progress(done, len(pairing.pairs), given)
            path = settled(image)
            case = known.get(Path(os.path.normpath(path)))
            if case is None:
                name = _free_name(check_name(given), taken)
                if name != given:
                    notes.append(f"{path} became case '{name}', because there is a case '{given}' already.")
                taken.add(name.lower())
                added.append(name)
                problem = self._add_case(name, path)
                if problem is not None:
                    notes.append(f"Case '{name}' is unusable: {problem}")
                    continue
            else:
                name = case.name
                had = self._table.rows("SELECT 1 FROM masks WHERE case_name = ?", (name,))
                if had or case.status not in ("unlabelled", "predicted"):
                    continue
            if mask is not None:
                try:
                    grid = read_grid(path)
                    voxels = read_mask(mask, grid, classes=allowed).voxels
                    seen.update(_values(voxels))
                    self._store_mask(name, voxels, grid, "accept", "person", str(mask))
                except BcpError as error:
                    notes.append(f"The mask of case '{name}' was not taken in: {error}")
                    self._log("mask refused", case=name, source=str(mask), reason=str(error))
        if allowed is None:
            self._set_classes(default_classes(sorted(seen)))
        if progress is not None:
            progress(len(pairing.pairs), len(pairing.pairs), "")
        self.notes = tuple(notes)
        return added

    def _add_case(self, name: str, path: Path) -> str | None:
        """Insert a case from its scan's header; return why it is unusable, or None."""
        grid, problem = None, None
        try:
            grid = read_grid(path)
        except ScanError as error:
            problem = str(error)
        columns: dict[str, Any] = {
            "name": name,
            "scan": stored_scan(self.root, path),
            "status": "unlabelled" if problem is None else "unusable",
            "before": None if problem is None else "unlabelled",
            "reason": problem or "",
            "changed": _now(),
            **_columns(grid, _seen(path)),
        }
        marks = ", ".join("?" * len(columns))
        self._table.change(f"INSERT INTO cases ({', '.join(columns)}) VALUES ({marks})", tuple(columns.values()))
        self._log("case added", case=name, **({"reason": problem} if problem else {}))
        return problem

    def _version_path(self, name: str, version: int) -> Path:
        return inside(self.root, *self._masks.relative_to(self.root).parts, check_name(name), f"{version:04d}.nii.gz")

    def _store_mask(
        self, name: str, voxels: NDArray[np.uint8], grid: Grid, action: Action, by: str, source: str | None
    ) -> int:
        """Write the next version and put it in force; inside a transaction."""
        rows = self._table.rows("SELECT max(version) FROM masks WHERE case_name = ?", (name,))
        version = (rows[0][0] or 0) + 1
        while self._version_path(name, version).exists():
            version += 1  # written, but not recorded, by a process that was killed
        path = self._version_path(name, version)
        write_mask(path, voxels, grid)
        with self._table.transaction():
            self._table.change("INSERT INTO masks VALUES (?, ?, ?, ?)", (name, version, by, _now()))
            details = {"version": version, "by": by} | ({} if source is None else {"source": source})
            self._move(name, action, details=details, mask_version=version)
        return version

    def _remove_map_files(self, old: MapRecord | None, new: MapRecord | None) -> None:
        """Remove the files of a map that the table no longer names; a file that resists is left."""
        if old is None:
            return
        kept = set() if new is None else {new.map_path, new.pseudo_path}
        for path in {old.map_path, old.pseudo_path} - kept:
            with suppress(OSError):
                inside(self.root, str(path)).unlink()


def _lock_new_root(root: Path) -> WriterLock:
    """Make the folder of a new pool and take its lock."""
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PoolError(
            f"The folder {root} cannot be made: {error.strerror or error}; choose another.", path=root
        ) from None
    lock = WriterLock(root.resolve())
    lock.take()
    return lock


def _clear_unfinished(root: Path, stage: Path) -> None:
    """Remove what a killed creation left in `root`; refuse a root that holds a pool or a folder of masks."""
    if (root / TABLE).exists():
        raise PoolError(f"There is a pool in {root} already; open it, or choose another folder.", path=root)
    if (stage / TABLE).exists() and not (stage / "masks").exists() and (root / "masks").exists():
        os.replace(root / "masks", stage / "masks")  # killed between the last two renames
    if (root / "masks").exists():
        raise PoolError(
            f"The folder {root} has a folder 'masks', whose place a pool needs; choose another folder.", path=root
        )
    if stage.exists():
        shutil.rmtree(stage)


def _given_classes(classes: str | Path | Sequence[ClassSpec] | None) -> tuple[ClassSpec, ...]:
    if classes is None:
        return ()
    if isinstance(classes, (str, Path)):
        return tuple(read_classes(Path(classes)))
    return tuple(classes)


def _check_classes(specs: Sequence[ClassSpec]) -> None:
    """Raise SettingError unless values are 1 to 255 and every value and name stands once."""
    for spec in specs:
        if not 1 <= spec.value <= 255:
            raise SettingError(
                f"Class '{spec.name}' has the value {spec.value}, but masks hold 1 to 255 (0 is background); renumber it."
            )
    for what in ([spec.value for spec in specs], [spec.name for spec in specs]):
        twice = [value for value in what if what.count(value) > 1]
        if twice:
            raise SettingError(f"The classes name '{twice[0]}' twice; give every class its own value and name.")


def _checked_array(mask: NDArray[Any], case: Case, grid: Grid, known: Sequence[ClassSpec]) -> NDArray[np.uint8]:
    """Return the array as uint8 if it lies on the grid and holds only known classes."""
    array = np.asarray(mask)
    if array.shape != grid.shape:
        raise GridMismatchError(
            f"The mask for case '{case.name}' has the shape {array.shape}, but its scan has {grid.shape}; "
            "make it in the scan's own grid.",
            case=case.name,
        )
    if array.dtype != np.bool_ and not np.issubdtype(array.dtype, np.integer):
        raise MaskError(
            f"The mask for case '{case.name}' holds {array.dtype} numbers; make it whole class values.", case=case.name
        )
    if array.size and (array.min() < 0 or array.max() > 255):
        raise MaskError(
            f"The mask for case '{case.name}' holds values outside 0 to 255; renumber its classes.", case=case.name
        )
    voxels = array.astype(np.uint8)
    strange = set(_values(voxels)) - {spec.value for spec in known}
    if known and strange:
        listed = ", ".join(f"{spec.value} {spec.name}" for spec in known)
        raise MaskError(
            f"The mask for case '{case.name}' holds the value {min(strange)}, which is no class of this pool ({listed}); "
            "renumber it.",
            case=case.name,
        )
    return voxels


def _values(voxels: NDArray[np.uint8]) -> list[int]:
    """Return the foreground values in a mask."""
    return [int(value) for value in np.flatnonzero(np.bincount(voxels.ravel(), minlength=256)) if value]


def _free_name(name: str, taken: Collection[str]) -> str:
    """Return the name, numbered if another case has it already (however its letters are written)."""
    number, free = 1, name
    while free.lower() in taken:
        number += 1
        free = f"{name}-{number}"
    return free


def _seen(path: Path) -> Fingerprint | None:
    try:
        return fingerprint(path)
    except OSError:
        return None


def _columns(grid: Grid | None, seen: Fingerprint | None) -> dict[str, Any]:
    """Return what the table keeps about a scan's file."""
    columns: dict[str, Any] = {}
    if grid is not None:
        columns |= {"shape": json.dumps([int(n) for n in grid.shape])}
        columns |= {"spacing": json.dumps([float(mm) for mm in grid.spacing])}
    if seen is not None:
        columns |= {"size": seen.size, "mtime_ns": seen.mtime_ns, "digest": seen.digest}
    return columns


def _json(value: Mapping[Any, Any]) -> str:
    return json.dumps(dict(value), default=str)


def _now() -> str:
    return datetime.now(UTC).isoformat("T", "milliseconds")


def _who() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "unknown"
