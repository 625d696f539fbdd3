"""Work beside the window: functions run on threads, and what they return comes back on the window's own thread."""

from __future__ import annotations

import queue
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, Literal, TypeVar, get_args

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

T = TypeVar("T")

Lane = Literal["pool", "intake", "open", "read", "edit", "save", "export"]
"""What shares a lane runs one after the other: changes of the pool, looking through folders of scans (minutes, of which
the pool's lane must not know), the case that is asked for, what else is read for the screen, edits of the open case's
labels, drafts of edits, copies for other programs."""

_LANES: Final[tuple[Lane, ...]] = get_args(Lane)
_KEPT: Final[tuple[Lane, ...]] = ("pool", "save")  # whose work is done to the end when the window closes
_TURN = 0.02  # seconds; a callback that adds a layer takes longer, and two in a row would be felt


class Background:
    """One thread a lane. Callbacks run in `pump`, in the order in which the work ended.

    unexpected : called, in `pump`, with an error that the work's own `failed` is not there for
    """

    def __init__(self, unexpected: Callable[[Exception], object]) -> None:
        self._lanes = {lane: ThreadPoolExecutor(1, thread_name_prefix=f"napari-bcp-{lane}") for lane in _LANES}
        self._done: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._unexpected = unexpected
        self.closing = False
        """Whether the window is gone: long work that can be given up should be."""

    def run(
        self,
        lane: Lane,
        work: Callable[[], T],
        then: Callable[[T], object] | None = None,
        failed: Callable[[Exception], object] | None = None,
        wanted: Callable[[], bool] | None = None,
    ) -> Future[None]:
        """Run `work` on a lane; `then` gets its result, `failed` what it raised. Returns at once, with what tells other
        lanes that the work has ended, however it did.

        wanted : asked before the work, on its thread, and before `then`; otherwise neither is done
        """
        tell = failed or self._unexpected

        def tell_if_wanted(result: T) -> None:
            if then is not None and (wanted is None or wanted()):
                then(result)

        def task() -> None:
            if wanted is not None and not wanted():
                return
            try:
                result = work()
            except Exception as error:  # noqa: BLE001 - the window goes on, whatever it is, and says so
                problem = error
                self._done.put(lambda: tell(problem))
            else:
                self._done.put(lambda: tell_if_wanted(result))

        return self._lanes[lane].submit(task)

    def later(self, callback: Callable[[], object]) -> None:
        """Call `callback` in the next `pump`; may be called from any thread."""
        self._done.put(callback)

    def pump(self) -> None:
        """Do what has come back since the last time, and nothing that comes back meanwhile; what would make the
        window wait is left for the next time."""
        end = time.monotonic() + _TURN
        for _ in range(self._done.qsize()):
            if time.monotonic() > end:
                return
            callback = self._done.get()
            try:
                callback()
            except Exception as error:  # noqa: BLE001 - one that fails must not take the others with it
                self._unexpected(error)

    def close(self) -> None:
        """Wait for what has been begun, and for changes of the pool and drafts that wait; what else waits is dropped.

        Nothing comes back.
        """
        self.closing = True
        for lane in _LANES:
            if lane not in _KEPT:
                self._lanes[lane].shutdown(wait=True, cancel_futures=True)
        for lane in _KEPT:
            self._lanes[lane].shutdown(wait=True)
        self._done = queue.SimpleQueue()
