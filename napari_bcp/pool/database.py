"""The table file: opening, bringing up to date, transactions; SQLite's errors become sentences here.

Rollback journal, not WAL, because clinics keep data on network shares where WAL does not work.
"""

from __future__ import annotations

import sqlite3
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from napari_bcp.errors import PoolError, PoolVersionError
from napari_bcp.pool.migrations import APPLICATION_ID, MIGRATIONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_WAIT_S = 10.0
"""A reader waits this long for a writer's commit, which takes milliseconds."""


class Database:
    """One connection, usable from any thread; calls from several threads queue.

    write : allow changes and bring an older table up to date
    Raises PoolError if the file is no pool's table or damaged, PoolVersionError if it is newer (or, without
    `write`, older) than this program.
    """

    def __init__(self, path: Path, *, write: bool) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._depth = 0
        with self._sentences():
            # mode=rw also for readers: rolling back what a killed writer left half done needs it, and SQLite itself
            # falls back to reading where the file is write-protected
            self._connection = sqlite3.connect(
                f"{path.resolve().as_uri()}?mode=rw",
                uri=True,
                timeout=_WAIT_S,
                isolation_level=None,
                check_same_thread=False,
            )
        try:
            with self._sentences():
                self._connection.row_factory = sqlite3.Row
                for pragma in ("trusted_schema = OFF", "foreign_keys = ON", "cell_size_check = ON"):
                    self._connection.execute(f"PRAGMA {pragma}")
                self._check_kind()
                if write:
                    self._check_whole()
                    self._migrate()
                else:
                    self._connection.execute("PRAGMA query_only = ON")
        except BaseException:
            self._connection.close()
            raise

    @classmethod
    def create(cls, path: Path) -> Self:
        """Make a new file with empty tables, opened for writing."""
        path.touch(exist_ok=False)
        connection = sqlite3.connect(path)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.close()
        return cls(path, write=True)

    @property
    def version(self) -> int:
        """The version of the table's layout."""
        return int(self.rows("PRAGMA user_version")[0][0])

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[sqlite3.Row]:
        """Return all rows of a query."""
        with self._sentences(), self._lock:
            return self._connection.execute(sql, values).fetchall()

    def change(self, sql: str, values: Sequence[object] = ()) -> None:
        """Run one changing statement; call it inside `transaction()`."""
        with self._sentences(), self._lock:
            self._connection.execute(sql, values)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All changes inside happen together or not at all; an inner transaction belongs to the outer one."""
        with self._lock:
            if self._depth == 0:
                self.change("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
                if self._depth == 1:
                    self.change("COMMIT")
            except BaseException:
                if self._depth == 1 and self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            finally:
                self._depth -= 1

    def close(self) -> None:
        """Close the connection; a second call does nothing."""
        with self._lock:
            self._connection.close()

    def _check_kind(self) -> None:
        """Refuse what is no pool's table, or one of another version that cannot be used."""
        if int(self._connection.execute("PRAGMA application_id").fetchone()[0]) != APPLICATION_ID:
            raise PoolError(
                f"{self.path} is a database of another program, not a pool's table; choose a pool's folder.",
                path=self.path,
            )
        if self.version > len(MIGRATIONS):
            raise PoolVersionError(
                f"Pool {self.path.parent} was made by a newer napari-bcp (table version {self.version}, this program "
                f"knows {len(MIGRATIONS)}); update napari-bcp.",
                path=self.path,
            )

    def _check_whole(self) -> None:
        """Refuse to write to a damaged table."""
        found = self._connection.execute("PRAGMA quick_check(1)").fetchone()
        if found is None or found[0] != "ok":
            raise sqlite3.DatabaseError("database disk image is malformed")

    def _migrate(self) -> None:
        """Bring an older table up to date, each step whole or not at all."""
        for version in range(self.version, len(MIGRATIONS)):
            with self.transaction():
                for statement in MIGRATIONS[version]:
                    self.change(statement)
                self.change(f"PRAGMA user_version = {version + 1}")

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        """Turn what SQLite raises into a PoolError of one sentence."""
        try:
            yield
        except (sqlite3.Error, sqlite3.Warning, OverflowError) as error:
            raise PoolError(f"{self.path}: {_explain(error)}.", path=self.path) from error


def _explain(error: Exception) -> str:
    """Return what is wrong and what to do, in plain words."""
    text = str(error)
    if "not a database" in text:
        return "this file is no pool's table; restore it from a copy, or choose another folder"
    if "malformed" in text or "no such" in text or "decode" in text:
        return f"the pool's table is damaged ({text}); restore it from a copy (the masks beside it are unharmed)"
    if "locked" in text or "busy" in text:
        return "another process has kept the pool's table busy for too long; try again when it is done"
    if "readonly" in text:
        return "the pool's table is read-only; make the file and its folder writable, or open the pool for reading"
    if "unable to open" in text:
        return "the pool's table cannot be opened; check that it exists and that you may read it"
    if "full" in text:
        return "the disk is full; free some space"
    return f"the pool's table could not be used ({text}); check the disk, or restore the table from a copy"
