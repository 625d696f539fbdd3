"""Work of minutes beside the window: it says how far it is, and can be given up with nothing kept of it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TypeVar

from napari_bcp.errors import PoolError

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_bcp.app.background import Background, Lane
    from napari_bcp.app.telling import Telling, Where
    from napari_bcp.pool.store import Progress

T = TypeVar("T")


class Cancelled(PoolError):
    """The reader, or the end of the window or the pool, has given work up."""


class LongWork:
    """Runs such work. Lives on the window's thread."""

    def __init__(self, background: Background, telling: Telling) -> None:
        self._background, self._telling = background, telling

    def run(
        self,
        lane: Lane,
        task: str,
        work: Callable[[Progress], T],
        then: Callable[[T], object],
        where: Where = "",
        *,
        undo: Callable[[], object] | None = None,
        wanted: Callable[[], bool] | None = None,
        can_cancel: bool = True,
    ) -> None:
        """Run `work` on a lane with progress as `task`, and a way to cancel it if it `can_cancel`.

        work : gets what it reports its progress to, which raises Cancelled once the work is to be given up: it must
            then leave everything as it was, and once it reports no more it is done to its end
        then : gets its result;  where, undo : as `Telling.failed` has them
        wanted : asked at each report, and once before the work: whether anybody still waits for it
        """
        given_up = threading.Event()
        telling, giving_up = self._telling, f"cancelling {task}"

        def cancel() -> None:
            given_up.set()
            telling.end_progress(task)
            telling.show_progress(giving_up)

        def report(done: int, total: int, _name: str = "") -> None:
            if self._background.closing or given_up.is_set() or (wanted is not None and not wanted()):
                raise Cancelled(f"{task.capitalize()} was cancelled; nothing was kept of it.")
            self._background.later(lambda: show(done, total))

        def show(done: int, total: int) -> None:
            if not given_up.is_set():
                telling.show_progress(task, done, total, cancel=cancel if can_cancel else None)

        def begun() -> T:
            report(0, 0)
            return work(report)

        def end() -> None:
            telling.end_progress(task)
            telling.end_progress(giving_up)

        def ended(result: T) -> None:
            end()
            then(result)

        def failed(error: Exception) -> None:
            end()
            if not isinstance(error, Cancelled):
                telling.failed(where, undo)(error)
                return
            if undo is not None:
                undo()
            telling.tell("info", str(error), where)

        show(0, 0)
        self._background.run(lane, begun, ended, failed)
