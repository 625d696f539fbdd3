"""The case that will be asked for next, read while nobody waits for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_bcp.app.opened import OpenCase, load_case

if TYPE_CHECKING:
    from napari_bcp.app.background import Background
    from napari_bcp.pool import Case, Pool


class Ahead:
    """Keeps one case ready. Lives on the window's thread."""

    def __init__(self, background: Background) -> None:
        self._background = background
        self._ready: OpenCase | None = None
        self._reading = False
        self._unreadable: Case | None = None  # what could not be read, as it was then
        self._turn = 0  # counts `forget`: what was begun before it is not wanted any more

    @property
    def name(self) -> str:
        """Name of the case that is ready, empty without one."""
        return "" if self._ready is None else self._ready.name

    def take(self, record: Case | None) -> OpenCase | None:
        """Hand the case over if it has been read as it is now."""
        if not self._has(record):
            return None
        ready, self._ready = self._ready, None
        return ready

    def _has(self, record: Case | None) -> bool:
        return self._ready is not None and self._ready.case == record

    def forget(self) -> None:
        """Keep nothing, nor what is being read: the pool is another one."""
        self._ready = None
        self._turn += 1

    def read(self, pool: Pool, record: Case) -> None:
        """Read a case, unless it is there, or is being read."""
        if self._reading or record == self._unreadable or self._has(record):
            return
        turn = self._turn

        def keep(case: OpenCase) -> None:
            self._reading = False
            if turn == self._turn:
                self._ready = case

        def failed(_: Exception) -> None:  # it will be told if somebody opens the case
            self._reading, self._unreadable = False, record

        self._reading = True
        self._background.run("read", lambda: load_case(pool, record.name), keep, failed)
