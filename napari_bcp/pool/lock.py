"""One process writes to a pool: a lock of the operating system, and a small text that says who holds it."""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from napari_bcp.errors import PoolError, PoolLockedError
from napari_bcp.files import write_text

if TYPE_CHECKING:
    from pathlib import Path


class WriterLock:
    """The right to write to the pool in `root`, from `take()` to `release()`.

    The lock itself ends with the process, however it ends. The text beside it may then be left over, which does
    not matter: it is only read when the lock is refused.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = FileLock(root / "pool.lock", timeout=0, thread_local=False)
        self._holder = root / "pool.lock.json"

    def take(self) -> None:
        """Take the lock at once, or raise PoolLockedError saying who has it (PoolError if the folder is read-only)."""
        try:
            self._lock.acquire()
        except Timeout:
            raise PoolLockedError(
                f"Pool {self._root} is being written by {self._describe_holder()}; "
                "close that program, or wait until it is done.",
                path=self._root,
            ) from None
        except OSError as error:
            raise PoolError(
                f"Pool {self._root} cannot be written: {error.strerror or error}; "
                "make its folder writable, or open it for reading only.",
                path=self._root,
            ) from None
        me = {"pid": os.getpid(), "host": socket.gethostname(), "since": datetime.now(UTC).isoformat("T", "seconds")}
        try:
            write_text(self._holder, json.dumps(me) + "\n")
        except OSError as error:
            self._lock.release()
            raise PoolError(
                f"Pool {self._root} cannot be written: {error.strerror or error}; free some space or make it writable.",
                path=self._root,
            ) from None

    def release(self) -> None:
        """Give the lock back; a second call does nothing."""
        if self._lock.is_locked:
            with suppress(OSError):
                self._holder.unlink()
            self._lock.release()

    def _describe_holder(self) -> str:
        """Return who wrote the text beside the lock, as far as it can be read."""
        try:
            with self._holder.open("rb") as file:
                who = json.loads(file.read(4096))
            return f"process {int(who['pid'])} on {str(who['host'])[:80]} since {str(who['since'])[:40]}"
        except (OSError, ValueError, KeyError, TypeError):
            return "another process"
