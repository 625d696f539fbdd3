"""The pool as its users see it: cases, masks, maps, runs and history of one cohort.

POOL/pool.sqlite              the table
POOL/masks/CASE/0001.nii.gz   every accepted version, never overwritten
POOL/drafts/CASE.journal      a reader's edits since the last accepted or proposed state
POOL/maps/CASE/               the newest map of a case
POOL/runs/0001/               one training
POOL/pool.lock                held by the process that writes, which pool.lock.json names
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from napari_bcp.errors import GridMismatchError, MaskError, PoolError, ScanError, StateError, unknown_name
from napari_bcp.pool.creation import make_room, remove_unfinished
from napari_bcp.pool.database import Database
from napari_bcp.pool.drafts import put_aside
from napari_bcp.pool.export import export
from napari_bcp.pool.fingerprint import fingerprint
from napari_bcp.pool.intake import choose_classes, find_pairs, fingerprint_or_none, look, record
from napari_bcp.pool.lock import WriterLock
from napari_bcp.pool.masks import MaskFolder, about_added_classes, checked_array, values_in
from napari_bcp.pool.migrations import MIGRATIONS
from napari_bcp.pool.paths import STAGING, TABLE, inside, printable, relative_inside
from napari_bcp.pool.records import RUN_STATUSES
from napari_bcp.pool.relocation import move_scans
from napari_bcp.pool.status import next_status
from napari_bcp.pool.table import Table, grid_columns, to_json
from napari_bcp.scans import check_classes, default_classes, read_grid, read_mask

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from napari_bcp.pool.records import Case, Event, MapRecord, RunRecord
    from napari_bcp.pool.status import Action, Status
    from napari_bcp.scans import ClassSpec

Progress = Callable[[int, int, str], None]
"""Called with how many are done, of how many, and the name of the case at hand."""

_RUN_FIELDS = ("step", "elapsed_s", "status", "checkpoint", "config", "plan")


class Pool:
    """A cohort's state on disk, from `Pool.create` or `Pool.open`; as a context manager it closes itself.

    Every change is one transaction and a line of history. Arrays are canonical (RAS+), axis order x, y, z.
    Usable from several threads; one process at a time may have it open for writing.
    """

    def __init__(self, root: Path, table: Table, masks: MaskFolder, lock: WriterLock | None) -> None:
        self.root = root
        """The pool's folder, absolute."""
        self.notes: tuple[str, ...] = ()
        """What the last change had to say: files that match nothing or cannot be used, empty masks, scans not moved."""
        self._table = table
        self._masks = masks
        self._lock = lock

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
        """Make a pool in the folder `root` from the scans in `images` and the masks among them or in `labels`.

        Of scans only headers are read; one that cannot be used becomes an unusable case with the reason. Masks are
        read, checked and copied in as accepted; one that cannot be used leaves its case unlabelled. `notes` names
        both. Classes come from `classes` (a file or a list), else from the data set's own description, else from
        the values in the masks; a pool that has none yet gets them from the first mask that is accepted.
        The pool is made aside and put in place at the end: a killed creation leaves none and can be repeated.

        Returns it open for writing. Raises PoolError if there is a pool already or no scan, ScanError if a folder
        cannot be read, SettingError if the classes cannot be used.
        """
        pairing = find_pairs(Path(images), None if labels is None else Path(labels))
        specs = choose_classes(Path(classes) if isinstance(classes, str) else classes, pairing)
        root = Path(root).resolve()
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PoolError(f"{root} cannot be made a folder ({error.strerror}); choose another.", path=root) from None
        lock = WriterLock(root)
        lock.take()
        stage = root / STAGING
        try:
            make_room(root)
            (stage / "masks").mkdir(parents=True)
            table = Table(root, Database(stage / TABLE, write=True, new=True))
            try:
                intake = look(root, pairing, specs, table, MaskFolder(stage / "masks"), progress)
                with table.transaction():
                    table.log("pool created", **_folders(images, labels))
                    record(intake, specs, table)
            finally:
                table.close()
            os.replace(stage / "masks", root / "masks")
            os.replace(stage / TABLE, root / TABLE)
            pool = cls._opened(root, lock)
        except BaseException as error:
            with suppress(OSError):
                remove_unfinished(root)
            lock.release()
            if isinstance(error, OSError):
                raise PoolError(f"The pool {root} could not be made ({error}); free some space.", path=root) from None
            raise
        pool.notes = tuple(intake.notes)
        return pool

    @classmethod
    def open(cls, root: str | Path, *, write: bool = False) -> Self:
        """Open the pool in the folder `root`; with `write`, as the one process that may change it.

        Raises PoolLockedError if another process writes and `write` is asked for, PoolVersionError if a newer
        napari-bcp made it, PoolError if there is none or its table is damaged.
        """
        root = Path(root).resolve()
        if not (root / TABLE).is_file():
            how = "its creation was interrupted, create it again" if (root / STAGING).exists() else "create one"
            raise PoolError(f"There is no pool in {root}: {how}, or name another folder.", path=root)
        if write:
            lock = WriterLock(root)
            lock.take()
            try:
                return cls._opened(root, lock)
            except BaseException:
                lock.release()
                raise
        database = Database(root / TABLE, write=False)
        if database.version < len(MIGRATIONS):
            database.close()
            cls.open(root, write=True).close()  # brings the table up to date
            database = Database(root / TABLE, write=False)
        return cls(root, Table(root, database), MaskFolder(root / "masks"), None)

    @classmethod
    def _opened(cls, root: Path, lock: WriterLock) -> Self:
        """Return the pool in `root`, open for writing under a lock that is held."""
        database = Database(root / TABLE, write=True)
        with suppress(OSError):
            (root / STAGING).rmdir()  # left empty if the creation was killed at its very end
        table = Table(root, database)
        try:
            table.end_runs()
        except BaseException:
            table.close()
            raise
        return cls(root, table, MaskFolder(root / "masks"), lock)

    def close(self) -> None:
        """Close the table and give the right to write back; a second call does nothing."""
        self._table.close()
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def writable(self) -> bool:
        """Whether it was opened for writing."""
        return self._lock is not None

    # -- cases ------------------------------------------------------------------------------------------------

    @property
    def classes(self) -> tuple[ClassSpec, ...]:
        """The classes of masks and maps, by value; empty until the first mask if none were given."""
        return self._table.classes()

    def change_classes(self, specs: Sequence[ClassSpec]) -> None:
        """Give classes, by their value, other names and colours, and add those whose value is not there yet.

        None is ever removed: masks may hold it. Raises SettingError for a name that another class has.
        """
        self._must_write()
        known = {spec.value: spec for spec in self.classes}
        check_classes((known | {spec.value: spec for spec in specs}).values())
        with self._table.transaction():
            self._table.put_classes(specs)
            self._table.log("classes changed", classes={spec.value: spec.name for spec in specs})
        added = [spec.name for spec in specs if spec.value not in known]
        self.notes = about_added_classes(added, self.cases())

    def cases(self, status: str | Collection[str] | None = None) -> list[Case]:
        """Return all cases, or those of one status or several, by name. Raises SettingError for an unknown status."""
        return self._table.cases(status)

    def case(self, name: str) -> Case:
        """Return the case of that name. Raises UnknownCaseError, with the nearest name there is."""
        return self._table.case(name)

    def counts(self) -> dict[Status, int]:
        """Return how many cases each status has."""
        return self._table.counts()

    def extend(
        self, images: str | Path, labels: str | Path | None = None, progress: Progress | None = None
    ) -> list[str]:
        """Add the scans in `images` that the pool does not know yet; return the new cases' names.

        A mask of a known case is taken in if that case never had one, so a mended mask can be handed in. All of it
        is recorded or nothing; `notes` says what could not be used, how many masks of known cases were taken in, and
        which were passed over. Raises as `create` does.
        """
        self._must_write()
        pairing = find_pairs(Path(images), None if labels is None else Path(labels))
        specs = self.classes or choose_classes(None, pairing)
        intake = look(self.root, pairing, specs, self._table, self._masks, progress)
        with self._table.transaction():
            self._table.log("pool extended", **_folders(images, labels))
            names = record(intake, specs, self._table)
        self.notes = tuple(intake.notes)
        return names

    def exclude(self, name: str) -> None:
        """Leave a case out until it is included again."""
        self._move(name, "exclude")

    def include(self, name: str) -> None:
        """Take an excluded case back, with the status it had; an unusable one as `mark_usable` does."""
        if self.case(name).status == "unusable":
            return self.mark_usable(name)
        self._move(name, "include")

    def reset(self, name: str) -> None:
        """Make a case unlabelled: map and draft are removed, no mask is in force (the versions stay on disk).

        The scan of an unusable case is looked at again first. Raises ScanError if it still cannot be used.
        """
        case = self.case(name)
        grid = read_grid(case.path) if case.status == "unusable" else None
        with self._table.transaction():
            self._move(name, "reset", mask_version=None, reason="")
            if grid is not None:
                self._table.refresh_scan(name, grid_columns(grid.shape, grid.spacing), fingerprint_or_none(case.path))
            self._table.drop_map(name)
        self._remove_map_files(name, case.map)
        self._end_draft(name, is_done=True)

    def mark_unusable(self, name: str, reason: str) -> None:
        """Leave a case out because of its scan; `reason` is the sentence to show."""
        self._move(name, "mark unusable", {"reason": reason}, reason=reason)

    def mark_usable(self, name: str) -> None:
        """Look at an unusable case's scan again, and take the case back with the status it had.

        A map that does not fit the scan any more is dropped. Raises ScanError if the scan still cannot be used,
        MaskError if the mask in force does not lie on it any more.
        """
        case = self.case(name)
        next_status(name, "mark usable", case.status)
        grid = read_grid(case.path)
        if case.mask_version is not None:
            read_mask(self._masks.path(name, case.mask_version), grid)
        with self._table.transaction():
            self._move(name, "mark usable", reason="")
            self._table.refresh_scan(name, grid_columns(grid.shape, grid.spacing), fingerprint_or_none(case.path))
            if tuple(grid.shape) != case.shape:
                self._table.drop_map(name)
        self._remove_map_files(name, case.map)

    def check_changed(self, name: str) -> bool:
        """Return whether the content of a scan's file differs from when the pool last looked.

        A new modification time alone is recorded silently, if the pool is open for writing. Raises ScanError if
        the file cannot be read.
        """
        case = self.case(name)
        known = case.fingerprint
        try:
            stat = case.path.stat()
            if known is not None and (stat.st_size, stat.st_mtime_ns) == (known.size, known.mtime_ns):
                return False
            now = fingerprint(case.path)
        except OSError as error:
            raise ScanError(
                f"{case.path}, the scan of case '{name}', cannot be read ({error.strerror or error}); bring it back, "
                "or say where it is now (Pool › Scans have moved…, or 'napari-bcp relocate').",
                path=case.path,
                case=name,
            ) from None
        if known is None or (now.size, now.digest) != (known.size, known.digest):
            return True
        if self.writable:
            self._table.touch(name, now.mtime_ns)
        return False

    def relocate(self, old: str | Path, new: str | Path, *, only_away: bool = False) -> int:
        """Make the cases whose scans lay below the folder `old` point below `new`; return how many.

        Only those whose file is there move, and with `only_away` those whose file is not where it was; `notes` names
        the first of the others. Raises PoolError, changing nothing, if none lay below `old` or is below `new`, or one
        is another case's already.
        """
        self._must_write()
        moved, self.notes = move_scans(self.root, self._table, Path(old).resolve(), Path(new).resolve(), only_away)
        return moved

    # -- masks ------------------------------------------------------------------------------------------------

    def mask_path(self, name: str) -> Path | None:
        """Return the file of the accepted mask in force, or None."""
        return self.mask_file(self.case(name))

    def mask_file(self, case: Case) -> Path | None:
        """Return the file of the mask that was in force when `case` was read, or None; asks no table."""
        return None if case.mask_version is None else self._masks.path(case.name, case.mask_version)

    def mask(self, name: str) -> NDArray[np.uint8]:
        """Return the accepted mask in force: uint8 class values, canonical x, y, z.

        Raises MaskError if there is none or its file cannot be used, GridMismatchError if it is of another shape.
        """
        case = self.case(name)
        if case.mask_version is None:
            raise MaskError(f"Case '{name}' has no accepted mask; accept one first.", case=name)
        path = self._masks.path(name, case.mask_version)
        try:
            grid = read_grid(path)
        except ScanError as error:
            raise MaskError(str(error), path=path, case=name) from None
        if tuple(grid.shape) != case.shape:
            raise GridMismatchError(
                f"{path} has the shape {tuple(grid.shape)} and the scan of case '{name}' {case.shape}; restore the "
                "file from a copy, or reset the case.",
                path=path,
                case=name,
            )
        return read_mask(path, grid, classes=[spec.value for spec in self.classes]).voxels

    def accept(
        self,
        name: str,
        mask: NDArray[Any] | str | Path,
        *,
        by: Literal["person", "rule"] = "person",
        details: Mapping[str, Any] | None = None,
        draft_is_done: bool = False,
    ) -> int:
        """Store a mask as the next version of a case and put it in force; return the version's number.

        mask : class values (integers or booleans), canonical x, y, z in the scan's shape; or a file on its grid
        by : "rule" never replaces what a person has begun or accepted
        details : further facts for the line of history, such as the time it took
        draft_is_done : the mask is what the case's draft came to, so its journal is removed; else one that is there
            is kept as `PATH.before`, and `notes` says so
        Raises StateError if the case's status forbids it, GridMismatchError for another grid, MaskError for values
        that are no classes of the pool, ScanError if the scan cannot be read.
        """
        self._must_write()
        if by not in ("person", "rule"):
            raise unknown_name("way to accept", by, ("person", "rule"))
        case = self.case(name)
        next_status(name, "accept" if by == "person" else "accept by rule", case.status)
        source = {"source": str(mask)} if isinstance(mask, str | Path) else {}
        facts = json.loads(to_json({**(details or {}), **source}))  # refuses what cannot be recorded in time
        grid, classes = read_grid(case.path), self.classes
        if tuple(grid.shape) != case.shape:
            raise GridMismatchError(
                f"{case.path} is {tuple(grid.shape)} now and was {case.shape} when case '{name}' came into the pool; "
                "bring the former file back, or mark the case unusable and then usable to take the new one.",
                path=case.path,
                case=name,
            )
        if isinstance(mask, str | Path):
            read = read_mask(mask, grid, classes=[spec.value for spec in classes] or None)
            voxels, self.notes = read.voxels, read.notes
        else:
            voxels, self.notes = checked_array(mask, name, grid, classes), ()
        version = self._masks.write_next(name, self._table.newest_version(name), voxels, grid)
        try:
            with self._table.transaction():
                if not classes:
                    self._table.add_classes(default_classes(values_in(voxels)))
                self._table.accept(name, version, by, facts, fingerprint_or_none(case.path))
        except PoolError:
            self._masks.remove(name, version)
            raise
        self._end_draft(name, draft_is_done)
        return version

    def begin_draft(self, name: str) -> None:
        """Record that a reader edits a case that is not accepted (an accepted one is reopened)."""
        self._move(name, "draft")

    def reject(self, name: str, *, draft_is_done: bool = False) -> None:
        """Record that a reader finds the proposal of a case no good: its draft ends, no mask is in force.

        The case is predicted again, or unlabelled if it has no map; the map and older masks stay on disk.
        draft_is_done : the draft was what the reader rejected; as `accept` has it
        """
        found = self.case(name).map
        stamp = {} if found is None else {"run": found.run, "step": found.step}
        self._move(name, "reject", stamp, mask_version=None)
        self.notes = ()
        self._end_draft(name, draft_is_done)

    def take_back(self, name: str) -> None:
        """Undo an acceptance by the rule: the case is predicted again, or unlabelled if it has no map.

        No mask is in force any more; map, pseudo-label and the mask's file stay. Raises StateError unless the mask
        in force was accepted by the rule.
        """
        self._must_write()
        with self._table.transaction():
            case = self.case(name)
            if case.status == "accepted" and case.mask_by != "rule":
                raise StateError(
                    f"Case '{name}' was accepted by a person and not by the rule; reopen or reset it instead.",
                    case=name,
                )
            self._move(name, "take back", mask_version=None)

    def draft_file(self, name: str) -> Path:
        """Return the file for a case's draft, sure to lie in the pool. Raises PoolError if it would not."""
        return inside(self.root, "drafts", f"{self.case(name).name}.journal")

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
        """Make two files that lie in the pool the newest map and pseudo-label of a case.

        An unlabelled case becomes predicted; every other keeps its status. The files of the map before are removed
        once the table names the new ones. The fields are those of MapRecord. Raises StateError for an unusable
        case, PoolError for files that are missing or outside the pool, or numbers that are not finite.
        """
        self._must_write()
        old = self.case(name).map
        files = []
        for file in (map_file, pseudo_file):
            files.append(relative_inside(self.root, Path(file)))
            if not (self.root / files[-1]).exists():
                raise PoolError(f"{file}, of the new map of case '{name}', is missing; predict it again.", path=file)
        numbers = [entropy, *volume_ml.values(), *(value for value in quality.values() if value is not None)]
        if not all(math.isfinite(number) for number in numbers):
            raise PoolError(f"The map of case '{name}' has numbers that are not finite; predict it again.", case=name)
        self._table.put_map(
            name,
            run=str(run),
            step=int(step),
            map_file=files[0],
            pseudo_file=files[1],
            quality=to_json({int(key): None if value is None else float(value) for key, value in quality.items()}),
            entropy=float(entropy),
            volume_ml=to_json({int(key): float(value) for key, value in volume_ml.items()}),
            islands=to_json({int(key): int(value) for key, value in islands.items()}),
        )
        self._remove_map_files(name, old)

    def map_folder(self, name: str) -> Path:
        """Return the folder for a case's map, sure to lie in the pool. Raises PoolError if it would not."""
        return inside(self.root, "maps", self.case(name).name)

    def map_of(self, name: str) -> MapRecord | None:
        """Return the newest map of a case, or None."""
        return self.case(name).map

    def new_run(self, preset: str, config: Mapping[str, Any], plan: Mapping[str, Any]) -> RunRecord:
        """Record a run, status "planned", and make its folder under the next free number: `runs/0001`."""
        self._must_write()
        with self._table.transaction():
            folder = inside(self.root, "runs")
            try:
                folder.mkdir(exist_ok=True)
                taken = [int(path.name) for path in folder.iterdir() if path.name.isascii() and path.name.isdigit()]
                run = f"{max([*taken, *(int(run.id) for run in self.runs())], default=0) + 1:04d}"
                (folder / run).mkdir()
            except OSError as error:
                raise PoolError(f"{folder} cannot be written ({error}); free some space.", path=folder) from None
            self._table.add_run(run, preset, config, plan)
            return self._table.run(run)

    def runs(self) -> list[RunRecord]:
        """Return all runs, oldest first."""
        return self._table.runs()

    def last_run(self) -> RunRecord | None:
        """Return the newest run, or None."""
        return next(reversed(self.runs()), None)

    def update_run(self, run: str, **fields: Any) -> RunRecord:
        """Record how far a run came: `step`, `elapsed_s`, `status` (one of RUN_STATUSES), `checkpoint` (a path in the
        pool), the `config` that it goes on with, or the `plan` once it is made.

        Raises PoolError for an unknown run or a checkpoint outside the pool, SettingError for another field or
        status.
        """
        self._must_write()
        for key in fields:
            if key not in _RUN_FIELDS:
                raise unknown_name("field of a run", key, _RUN_FIELDS)
        columns: dict[str, Any] = dict(fields)
        columns |= {key: to_json(columns[key]) for key in ("config", "plan") if key in columns}
        if "status" in columns and columns["status"] not in RUN_STATUSES:
            raise unknown_name("status of a run", str(columns["status"]), RUN_STATUSES)
        if "step" in columns:
            columns["step"] = int(columns["step"])
        if "elapsed_s" in columns:
            columns["elapsed_s"] = float(columns["elapsed_s"])
        if columns.get("checkpoint") is not None:
            columns["checkpoint"] = relative_inside(self.root, Path(columns["checkpoint"]))
        self._table.update_run(run, columns)
        return self._table.run(run)

    # -- history and export -----------------------------------------------------------------------------------

    def history(self, name: str | None = None, limit: int | None = None) -> list[Event]:
        """Return what happened, oldest first: to one case, or to all and the pool; with `limit`, only the newest."""
        return self._table.history(name, limit)

    @property
    def revision(self) -> int:
        """A number that grows with every line of history; how far a run has come makes none."""
        return self._table.revision()

    def export(
        self,
        dest: str | Path,
        layout: Literal["plain", "nnunet"] = "plain",
        progress: Progress | None = None,
        *,
        replace: bool = False,
    ) -> dict[str, int]:
        """Write accepted masks and, apart from them, pseudo-labels to the folder `dest`.

        `napari_bcp.pool.export.export` describes the layouts. Returns how many files of each sort were written.
        Raises PoolError if `dest` holds anything but, with `replace`, an earlier export, or cannot be written,
        MaskError or ScanError for a broken file.
        """
        return export(self, Path(dest), layout, replace, progress)

    # -- inside -----------------------------------------------------------------------------------------------

    def _must_write(self) -> None:
        if self._lock is None:
            raise PoolError(f"Pool {self.root} is open for reading only; open it for writing to change it.")

    def _move(self, name: str, action: Action, details: Mapping[str, Any] | None = None, **columns: Any) -> None:
        self._must_write()
        self._table.move(name, action, details, **columns)

    def _end_draft(self, name: str, is_done: bool) -> None:
        """Remove a draft that is done with, or put it aside with a note; a file that resists stays."""
        with suppress(OSError, PoolError):
            path = self.draft_file(name)
            if is_done:
                path.unlink()
            elif (aside := put_aside(path)) is not None:
                self.notes += (f"An unfinished draft of case '{name}' was put aside as {aside}.",)

    def _remove_map_files(self, name: str, old: MapRecord | None) -> None:
        """Remove the files of a former map that the table names no more; a file that resists stays."""
        if old is None:
            return
        new = self.map_of(name)
        kept = set() if new is None else {new.map_path, new.pseudo_path}
        for path in {old.map_path, old.pseudo_path} - kept:
            with suppress(OSError, PoolError):
                inside(self.root, str(path)).unlink()


def _folders(images: str | Path, labels: str | Path | None) -> dict[str, str | None]:
    """Return the details of an event that takes folders in."""
    return {"images": printable(str(images)), "labels": None if labels is None else printable(str(labels))}
