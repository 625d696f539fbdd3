"""The table as records: every SQL statement about cases, masks, maps, runs and history stands here."""

from __future__ import annotations

import difflib
import getpass
import json
from datetime import UTC, datetime
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_bcp.errors import PoolError, UnknownCaseError, unknown_name
from napari_bcp.pool.records import (
    CASE_COLUMNS,
    Case,
    Event,
    RunRecord,
    case_from,
    checked,
    class_from,
    event_from,
    run_from,
)
from napari_bcp.pool.status import STATUSES, Action, Status, next_status

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from napari_bcp.pool.database import Database
    from napari_bcp.pool.fingerprint import Fingerprint
    from napari_bcp.scans import ClassSpec

_LINES: Final[Mapping[str, str]] = {"reject": "rejected", "take back": "taken back"}
"""What the history calls an action, where it is not the action's name."""


class Table:
    """The rows of the pool in `root`. A change that belongs to a case is logged in the same transaction."""

    def __init__(self, root: Path, database: Database) -> None:
        self._root = root
        self._database = database

    def transaction(self) -> AbstractContextManager[None]:
        """All changes inside happen together or not at all."""
        return self._database.transaction()

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    # -- classes ----------------------------------------------------------------------------------------------

    def classes(self) -> tuple[ClassSpec, ...]:
        """Return the classes by value."""
        rows = self._database.rows("SELECT value, name, colour FROM classes ORDER BY value")
        return tuple(checked(self._root, class_from, row) for row in rows)

    def add_classes(self, specs: Sequence[ClassSpec]) -> None:
        """Add classes whose values are not there yet."""
        for spec in specs:
            self._database.change(
                "INSERT OR IGNORE INTO classes (value, name, colour) VALUES (?, ?, ?)",
                (spec.value, spec.name, spec.colour),
            )

    def put_classes(self, specs: Sequence[ClassSpec]) -> None:
        """Add classes, and give those whose values are there already these names and colours."""
        for spec in specs:
            self._database.change(
                "INSERT INTO classes (value, name, colour) VALUES (?, ?, ?) "
                "ON CONFLICT (value) DO UPDATE SET name = excluded.name, colour = excluded.colour",
                (spec.value, spec.name, spec.colour),
            )

    # -- cases ------------------------------------------------------------------------------------------------

    def cases(self, status: str | Collection[str] | None) -> list[Case]:
        """Return all cases, or those of some statuses, by name."""
        where, wanted = "", []
        if status is not None:
            wanted = [status] if isinstance(status, str) else sorted(set(status))
            for one in wanted:
                if one not in STATUSES:
                    raise unknown_name("status", one, STATUSES)
            where = f"WHERE cases.status IN ({', '.join('?' * len(wanted))})"
        rows = self._database.rows(f"{CASE_COLUMNS} {where} ORDER BY cases.name", wanted)
        return [checked(self._root, case_from, row) for row in rows]

    def case(self, name: str) -> Case:
        """Return one case; UnknownCaseError, with the nearest name there is, if there is none."""
        return checked(self._root, case_from, self._row(name))

    def counts(self) -> dict[Status, int]:
        """Return how many cases each status has."""
        rows = self._database.rows("SELECT status, count(*) FROM cases GROUP BY status")
        found = {row[0]: int(row[1]) for row in rows}
        return {status: found.get(status, 0) for status in STATUSES}

    def add_case(
        self,
        name: str,
        scan: str,
        grid: Mapping[str, str],
        seen: Fingerprint | None,
        problem: str,
        notes: Sequence[str],
    ) -> None:
        """Insert a case, unlabelled or, with a `problem`, unusable.

        scan : its path as `stored_scan` makes it;  grid : the columns that `grid_columns` makes
        """
        self._insert(
            "cases",
            name=name,
            scan=scan,
            status="unusable" if problem else "unlabelled",
            before="unlabelled" if problem else None,
            reason=problem,
            changed=now(),
            **grid,
            **_seen_columns(seen),
        )
        details = ({"reason": problem} if problem else {}) | ({"notes": list(notes)} if notes else {})
        self.log("case added", name, **details)

    def move(self, name: str, action: Action, details: Mapping[str, Any] | None = None, **columns: Any) -> Status:
        """Change a case's status by the table of transitions, and `columns` with it; return the new status."""
        with self.transaction():
            row = self._row(name)
            old: Status = row["status"]
            untouched: Status = "unlabelled" if row["map_run"] is None else "predicted"
            new = next_status(name, action, old, row["before"] or untouched)
            leaves = new in ("excluded", "unusable")
            columns |= {"status": new, "before": (row["before"] or old) if leaves else None}
            self._update_case(name, columns)
            self.log(_LINES.get(action, action), name, **(dict(details or {}) | {"from": old, "to": new}))
        return new

    def refresh_scan(self, name: str, grid: Mapping[str, str], seen: Fingerprint | None) -> None:
        """Record what a case's file is like now."""
        self._update_case(name, {**grid, **_seen_columns(seen)})

    def touch(self, name: str, mtime_ns: int) -> None:
        """Record a file's new modification time; nothing that a reader cares about has changed."""
        self._database.change("UPDATE cases SET mtime_ns = ? WHERE name = ?", (mtime_ns, name))

    def move_scan(self, name: str, scan: str) -> None:
        """Record where a case's scan is now."""
        self._update_case(name, {"scan": scan})

    # -- masks and maps ---------------------------------------------------------------------------------------

    def newest_version(self, name: str) -> int:
        """Return the number of the newest mask that was ever accepted, 0 if none was."""
        return int(self._database.rows("SELECT ifnull(max(version), 0) FROM masks WHERE case_name = ?", (name,))[0][0])

    def accept(
        self, name: str, version: int, by: str, facts: Mapping[str, Any], seen: Fingerprint | None = None
    ) -> None:
        """Record a mask that has been written, and put it in force; `seen` is what it was made for: the scan's file."""
        with self.transaction():
            self._insert("masks", case_name=name, version=version, accepted_by=by, time=now())
            details = dict(facts) | {"version": version, "by": by}
            self.move(
                name,
                "accept" if by == "person" else "accept by rule",
                details,
                mask_version=version,
                **_seen_columns(seen),
            )

    def put_map(self, name: str, run: str, step: int, **columns: Any) -> None:
        """Record the newest map of a case."""
        with self.transaction():
            self.move(name, "predict", {"run": run, "step": step})
            self._database.change(
                "UPDATE cases SET before = 'predicted' WHERE name = ? AND before = 'unlabelled'", (name,)
            )
            self._database.change("DELETE FROM maps WHERE case_name = ?", (name,))
            self._insert("maps", case_name=name, run=run, step=step, time=now(), **columns)

    def drop_map(self, name: str) -> None:
        """Forget the map of a case; a predicted one is unlabelled again."""
        self._database.change("DELETE FROM maps WHERE case_name = ?", (name,))
        self._database.change("UPDATE cases SET status = 'unlabelled' WHERE name = ? AND status = 'predicted'", (name,))

    # -- runs -------------------------------------------------------------------------------------------------

    def runs(self) -> list[RunRecord]:
        """Return all runs, oldest first."""
        rows = self._database.rows("SELECT * FROM runs ORDER BY length(id), id")
        return [checked(self._root, run_from, row) for row in rows]

    def run(self, run: str) -> RunRecord:
        """Return one run; PoolError if there is none of that number."""
        for row in self._database.rows("SELECT * FROM runs WHERE id = ?", (run,)):
            return checked(self._root, run_from, row)
        raise PoolError(f"Pool {self._root} has no run '{run}'; list its runs to see their numbers.", path=self._root)

    def add_run(self, run: str, preset: str, config: Mapping[str, Any], plan: Mapping[str, Any]) -> None:
        """Record a new run."""
        with self.transaction():
            time = now()
            texts = {"config": to_json(config), "plan": to_json(plan)}
            self._insert("runs", id=run, preset=preset, **texts, status="planned", started=time, changed=time)
            self.log("run planned", run=run, preset=preset)

    def update_run(self, run: str, columns: Mapping[str, Any]) -> None:
        """Change a run; a new status is logged."""
        with self.transaction():
            before = self.run(run).status
            columns = {**columns, "changed": now()}
            pairs = ", ".join(f"{key} = ?" for key in columns)
            self._database.change(f"UPDATE runs SET {pairs} WHERE id = ?", (*columns.values(), run))
            after = self.run(run)
            if after.status != before:
                self.log(f"run {after.status}", run=run, step=after.step)

    def end_runs(self) -> None:
        """Let runs that a killed process left as running be stopped."""
        running = [row["id"] for row in self._database.rows("SELECT id FROM runs WHERE status = 'running'")]
        if running:
            with self.transaction():
                self._database.change(
                    "UPDATE runs SET status = 'stopped', changed = ? WHERE status = 'running'", (now(),)
                )
                for run in running:
                    self.log("run stopped", run=run, why="its process was gone")

    # -- history ----------------------------------------------------------------------------------------------

    def log(self, what: str, case: str | None = None, /, **details: Any) -> None:
        """Add a line to the history."""
        self._insert("events", time=now(), case_name=case, what=what, details=to_json(details), who=_who())

    def history(self, name: str | None, limit: int | None) -> list[Event]:
        """Return lines of the history, oldest first; the newest `limit` of them."""
        where, values = ("", ()) if name is None else ("WHERE case_name = ?", (self._row(name)["name"],))
        rows = self._database.rows(
            f"SELECT * FROM events {where} ORDER BY id DESC LIMIT ?", (*values, -1 if limit is None else limit)
        )
        return [checked(self._root, event_from, row) for row in reversed(rows)]

    def revision(self) -> int:
        """Return the number of the newest line of the history."""
        newest: int | None = self._database.rows("SELECT max(id) AS newest FROM events")[0]["newest"]
        return newest or 0

    # -- inside -----------------------------------------------------------------------------------------------

    def _row(self, name: str) -> sqlite3.Row:
        rows = self._database.rows(f"{CASE_COLUMNS} WHERE cases.name = ?", (str(name),))
        if rows and rows[0]["name"] == name:
            return rows[0]
        names = [str(row[0]) for row in self._database.rows("SELECT name FROM cases")]
        near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'?" if near else "list its cases to see their names."
        raise UnknownCaseError(f"Pool {self._root} has no case '{name}'; {hint}", path=self._root, case=str(name))

    def _insert(self, table: str, **columns: Any) -> None:
        marks = ", ".join("?" * len(columns))
        self._database.change(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", tuple(columns.values()))

    def _update_case(self, name: str, columns: Mapping[str, Any]) -> None:
        columns = {**columns, "changed": now()}
        pairs = ", ".join(f"{key} = ?" for key in columns)
        self._database.change(f"UPDATE cases SET {pairs} WHERE name = ?", (*columns.values(), name))


def now() -> str:
    """Return the time, UTC, ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat("T", "milliseconds")


def to_json(values: Mapping[Any, Any]) -> str:
    """Return a table as JSON text; numpy's numbers and paths are written as plain ones."""
    return json.dumps(dict(values), default=_plain)


def grid_columns(shape: Sequence[int], spacing: Sequence[float]) -> dict[str, str]:
    """Return the columns that hold a scan's shape and spacing."""
    return {"shape": json.dumps([int(n) for n in shape]), "spacing": json.dumps([float(mm) for mm in spacing])}


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, PurePath):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be written to the pool's table")


def _seen_columns(seen: Fingerprint | None) -> dict[str, Any]:
    return {} if seen is None else {"size": seen.size, "mtime_ns": seen.mtime_ns, "digest": seen.digest}


def _who() -> str:
    """Return the user's name, as far as the system tells."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "unknown"
