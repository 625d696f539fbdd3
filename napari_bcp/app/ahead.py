"""The case that will be asked for next, read while nobody waits for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_bcp.app.opened import OpenCase, load_case

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_bcp.app.background import Background
    from napari_bcp.pool import Case, Pool


class Ahead:
    """Keeps one case ready. Lives on the window's thread.

    ended : called when a case has been read, or could not be: another one may be wanted by now
    """

    def __init__(self, background: Background, ended: Callable[[], object]) -> None:
        self._background, self._ended = background, ended
        self._ready: OpenCase | None = None
        self._reading = False
        self._tried: Case | None = None  # what was read last, or could not be, as it was known then
        self._turn = 0  # counts `forget`: what was begun before it is not wanted any more

    @property
    def name(self) -> str:
        """Name of the case that is ready, empty without one."""
        return "" if self._ready is None else self._ready.name

    def take(self, record: Case | None) -> OpenCase | None:
        """Hand the case over if it has been read as it is now."""
        if self._ready is None or self._ready.case != record:
            return None
        ready, self._ready, self._tried = self._ready, None, None
        return ready

    def forget(self) -> None:
        """Keep nothing, nor what is being read: the pool is another one."""
        self._ready = self._tried = None
        self._turn += 1

    def read(self, pool: Pool, record: Case) -> None:
        """Read a case, unless one is being read, or that one was already."""
        if self._reading or record == self._tried:
            return
        turn, self._tried = self._turn, record

        def keep(case: OpenCase) -> None:
            self._reading = False
            if turn == self._turn:
                self._ready = case
            self._ended()

        def failed(_: Exception) -> None:  # it will be told if somebody opens the case
            self._reading = False
            self._ended()

        self._reading = True
        self._background.run("read", lambda: load_case(pool, record.name), keep, failed)
