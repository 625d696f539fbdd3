"""The table's file: opening, bringing up to date, transactions; SQLite's errors become sentences here.

Rollback journal, not WAL, because clinics keep data on network shares, where WAL does not work.
"""

from __future__ import annotations

import sqlite3
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from napari_bcp.errors import PoolError, PoolVersionError
from napari_bcp.pool.migrations import APPLICATION_ID, MIGRATIONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_WAIT_S = 10.0
"""How long a reader waits for a writer's commit, or a writer for readers; both take milliseconds."""


class Database:
    """One connection, usable from any thread: calls from several threads queue.

    write : allow changes, and bring an older table up to date
    new : make the file, which must not exist
    Raises PoolError if the file is no pool's table or damaged, PoolVersionError if a newer program made it.
    """

    def __init__(self, path: Path, *, write: bool, new: bool = False) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._depth = 0
        with self._sentences():
            if path.exists() == new:
                raise sqlite3.OperationalError("unable to open")
            # not mode=ro for readers: rolling back what a killed writer left half done needs writing, and SQLite
            # itself falls back to reading where the file is write-protected
            self._connection = sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False)
        try:
            with self._sentences():
                self._connection.row_factory = sqlite3.Row
                for pragma in ("trusted_schema = OFF", "foreign_keys = ON", "cell_size_check = ON"):
                    self._connection.execute(f"PRAGMA {pragma}")
                if new:
                    self._connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                self._check_kind()
                if write:
                    self._check_whole()
                    self._migrate()
                else:
                    self._connection.execute("PRAGMA query_only = ON")
        except BaseException:
            self._connection.close()
            raise

    @property
    def version(self) -> int:
        """The version of the table's layout."""
        return int(self.rows("PRAGMA user_version")[0][0])

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[sqlite3.Row]:
        """Return all rows of a query."""
        with self._lock, self._sentences():
            return self._connection.execute(sql, values).fetchall()

    def change(self, sql: str, values: Sequence[object] = ()) -> None:
        """Run one changing statement; call it inside `transaction()`."""
        with self._lock, self._sentences():
            self._connection.execute(sql, values)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All changes inside happen together or not at all; an inner transaction is part of the outer one."""
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
                    self.change("ROLLBACK")
                raise
            finally:
                self._depth -= 1

    def close(self) -> None:
        """Close the connection; a second call does nothing."""
        with self._lock:
            self._connection.close()

    def _check_kind(self) -> None:
        """Refuse another program's database, and a newer table."""
        if int(self._connection.execute("PRAGMA application_id").fetchone()[0]) != APPLICATION_ID:
            raise PoolError(
                f"{self.path} is empty or another program's database, not a pool's table; restore it from a copy, or "
                "name the folder of a pool.",
                path=self.path,
            )
        if self.version > len(MIGRATIONS):
            raise PoolVersionError(
                f"Pool {self.path.parent} was made by a newer napari-bcp (its table has version {self.version}, this "
                f"program knows {len(MIGRATIONS)}); update napari-bcp.",
                path=self.path,
            )

    def _check_whole(self) -> None:
        """Refuse to write to a damaged table."""
        found = self._connection.execute("PRAGMA quick_check(1)").fetchone()
        if found is None or found[0] != "ok":
            raise sqlite3.DatabaseError("malformed")

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
        except (sqlite3.Error, sqlite3.Warning, OverflowError, UnicodeError) as error:
            raise PoolError(f"{self.path}: {_explain(str(error))}.", path=self.path) from error


_EXPLANATIONS = (
    ("not a database", "this file is no pool's table; restore it from a copy, or name another folder"),
    ("locked", "another program has kept the pool's table busy for too long; try again when it is done"),
    ("busy", "another program has kept the pool's table busy for too long; try again when it is done"),
    ("readonly", "the pool's table is read-only; make the file and its folder writable"),
    ("unable to open", "the pool's table cannot be opened; check that it exists and that you may read it"),
    ("disk I/O", "the disk or network share does not take part; check the connection and the free space"),
    ("disk is full", "the disk is full; free some space"),
    ("closed database", "the pool has been closed; open it again"),
)


def _explain(text: str) -> str:
    """Return what is wrong and what to do, in plain words."""
    for part, sentence in _EXPLANATIONS:
        if part in text:
            return sentence
    return f"the pool's table is damaged ({text}); restore it from a copy, the masks beside it are unharmed"
