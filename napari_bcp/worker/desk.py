"""What the child has been told and has to do: filled by the thread that reads the pipe, looked at between two steps."""

from __future__ import annotations

import sys
import threading
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Final

from napari_bcp.worker.messages import (
    Attend,
    Cases,
    Pause,
    Predict,
    PredictNow,
    Quit,
    Resume,
    Stop,
    Train,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_bcp.worker.messages import CaseInfo, Command

FRESH_STEPS: Final = 20
"""A map is not made anew before the network has trained for so many more steps."""


class Desk:
    """Jobs, cases and wishes. `take` may be called from any thread; it never waits for work."""

    def __init__(self) -> None:
        self._news = threading.Condition()
        self._jobs: deque[tuple[Train | Predict, list[Command]]] = deque()  # with what was told about each
        self._cases: dict[str, CaseInfo] = {}
        self._revision = 0
        self._maps: dict[str, tuple[str, int]] = {}  # run and step of each case's newest map
        self._wanted: deque[str] = deque()
        self._attend = Attend()
        self._turn = 0
        self._stop = self._quit = self._paused = False

    # -- told -------------------------------------------------------------------------------------------------

    def take(self, command: Command) -> None:
        """Take a command in."""
        with self._news:
            if isinstance(command, Train | Predict):
                self._jobs.append((command, []))
            elif isinstance(command, Quit):
                self._stop = self._quit = True
            elif self._jobs:  # about the newest job, which has not begun
                self._jobs[-1][1].append(command)
            else:
                self._heed(command)
            self._news.notify_all()

    def _heed(self, command: Command) -> None:
        """Do what a command about the job at hand says."""
        if isinstance(command, Cases):
            self._change(command.changed, command.gone)
        elif isinstance(command, Attend):
            self._attend = command
        elif isinstance(command, PredictNow):
            if command.name not in self._wanted:
                self._wanted.append(command.name)
        elif isinstance(command, Pause | Resume):
            self._paused = isinstance(command, Pause)
        elif isinstance(command, Stop):
            self._stop = True

    def _change(self, changed: Iterable[CaseInfo], gone: Iterable[str]) -> None:
        for name in gone:
            self._cases.pop(name, None)
        for case in changed:
            self._cases[case.name] = case
            if case.map_run is None or case.map_step is None:
                self._maps.pop(case.name, None)
            else:
                self._maps[case.name] = (case.map_run, case.map_step)
        self._revision += 1

    # -- jobs -------------------------------------------------------------------------------------------------

    def next_job(self) -> Train | Predict | None:
        """Wait for a job and return it; None when the process shall end."""
        with self._news:
            self._news.wait_for(lambda: self._jobs or self._quit)
            if self._quit:
                return None
            job, told = self._jobs.popleft()
            self._stop = self._paused = False
            self._cases.clear()
            self._maps.clear()
            self._wanted.clear()
            self._change(job.cases, ())
            for command in told:
                self._heed(command)
            return job

    def stopping(self) -> bool:
        """Whether the job shall end: asked to, or another one waits."""
        return self._stop or bool(self._jobs)

    @property
    def paused(self) -> bool:
        """Whether the training shall rest."""
        return self._paused and not self.stopping()

    def wait(self, seconds: float, *, maps: bool) -> None:
        """Wait while paused until something new is told, at most for `seconds`.

        maps : return at once if somebody waits for one
        """
        with self._news:
            if self.paused and not (maps and self._wanted):
                self._news.wait(seconds)

    # -- maps -------------------------------------------------------------------------------------------------

    def wanted(self) -> tuple[str, Path] | None:
        """Take the next case whose map somebody waits for, with its scan."""
        with self._news:
            while self._wanted:
                case = self._cases.get(self._wanted.popleft())
                if case is not None:
                    return case.name, Path(case.scan)
            return None

    def next_map(self, run: str, step: int, *, replace: bool) -> tuple[str, Path] | None:
        """Return the case whose map is due, with its scan: the visible one every other time, then those proposed.

        replace : also maps that another run made, which may be better than those of one that has just begun
        """
        with self._news:
            self._turn += 1
            first = [self._attend.visible] if self._attend.visible else []
            queue = [*first, *self._attend.proposed] if self._turn % 2 else list(self._attend.proposed)
            for name in queue:
                if name in self._cases and self._is_due(name, run, step, replace):
                    return name, Path(self._cases[name].scan)
            due = [name for name in self._cases if self._is_due(name, run, step, replace)]
            if not due:
                return None
            # Those without a map first, then the oldest ones; a case with a mask of a person needs none.
            name = min(due, key=lambda one: (self._cases[one].mask is not None, self._age(one, run)))
            if self._cases[name].mask is not None:
                return None
            return name, Path(self._cases[name].scan)

    def _is_due(self, name: str, run: str, step: int, replace: bool) -> bool:
        made = self._maps.get(name)
        if made is None:
            return True
        return step >= made[1] + FRESH_STEPS if made[0] == run else replace

    def _age(self, name: str, run: str) -> tuple[int, int]:
        made = self._maps.get(name)
        if made is None:
            return (0, 0)
        return (2, made[1]) if made[0] == run else (1, 0)

    def made(self, name: str, run: str, step: int) -> None:
        """Note that a map was made."""
        with self._news:
            self._maps[name] = (run, step)

    def give_up(self, name: str, run: str) -> None:
        """Note that a map cannot be made by this run; it is tried again at the end only, or when it is asked for."""
        self.made(name, run, sys.maxsize)

    def drop(self, name: str) -> None:
        """Leave a case out that cannot be read."""
        with self._news:
            self._change((), (name,))

    def stale(self, run: str, step: int) -> list[tuple[str, Path]]:
        """Return the cases without a mask whose map is not of this run and step, as they shall be made."""
        with self._news:
            names = [n for n, case in self._cases.items() if case.mask is None and self._maps.get(n) != (run, step)]
            first = [name for name in (self._attend.visible, *self._attend.proposed) if name in names]
            order = dict.fromkeys([*first, *names])
            return [(name, Path(self._cases[name].scan)) for name in order]

    # -- cases ------------------------------------------------------------------------------------------------

    def revision(self) -> int:
        """Return a number that changes with the cases."""
        return self._revision

    def cases(self) -> list[CaseInfo]:
        """Return the cases that take part."""
        with self._news:
            return list(self._cases.values())
