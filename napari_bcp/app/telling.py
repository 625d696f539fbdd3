"""What the reader is told: messages, and how far long work is."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from psygnal import Signal

from napari_bcp.errors import BcpError

if TYPE_CHECKING:
    from collections.abc import Callable

Level = Literal["info", "warning", "error"]
Where = Literal["", "cases", "train", "review", "report"]

_TELLING_S: Final = 1.0  # until then nothing can be told of the rest


@dataclass(frozen=True)
class Message:
    """A sentence for the reader, and details in the lines below it; `where` is its panel, "" the header."""

    level: Level
    text: str
    where: Where = ""


@dataclass(frozen=True)
class Progress:
    """How far a task is; with a total of 0 nobody knows. `cancel` gives it up, None where it has to be done."""

    task: str
    done: int = 0
    total: int = 0
    eta_s: float | None = None
    cancel: Callable[[], None] | None = None


class Telling:
    """The one way by which a session speaks."""

    told = Signal(object)
    """A Message."""
    progress_changed = Signal(object)
    """A Progress, or None once the task is done."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tasks: dict[str, tuple[float, Progress]] = {}  # when each began, and how far it is; the newest last

    @property
    def progress(self) -> Progress | None:
        """The task that was told of last, of those that go on."""
        return next((progress for _, progress in reversed(self._tasks.values())), None)

    def tell(self, level: Level, text: str, where: Where = "") -> None:
        """Say something."""
        self.told.emit(Message(level, text, where))

    def failed(
        self, where: Where, undo: Callable[[], object] | None = None, task: str = ""
    ) -> Callable[[Exception], None]:
        """Return what says why work has failed, after `undo` has put back what it left half done; it ends `task`."""

        def tell(error: Exception) -> None:
            self.end_progress(task)
            if undo is not None:
                undo()
            self.tell("error", _sentence(error), where)

        return tell

    def unexpected(self, error: Exception) -> None:
        """Say that something failed which nobody has foreseen."""
        self.tell("error", _sentence(error))

    def show_progress(
        self,
        task: str,
        done: int = 0,
        total: int = 0,
        eta_s: float | None = None,
        cancel: Callable[[], None] | None = None,
    ) -> None:
        """Say how far a task is; without `eta_s` how long it still takes is told by what it took so far."""
        now = self._clock()
        began, _ = self._tasks.pop(task, (now, None))
        if eta_s is None and 0 < done < total and now - began > _TELLING_S:
            eta_s = (now - began) / done * (total - done)
        self._tasks[task] = began, Progress(task, done, total, eta_s, cancel)
        self.progress_changed.emit(self.progress)

    def end_progress(self, task: str) -> None:
        """Say that a task is done; of those that go on one is shown again."""
        if self._tasks.pop(task, None) is not None:
            self.progress_changed.emit(self.progress)


def _sentence(error: Exception) -> str:
    """Return an error as a reader understands it; what is unexpected with its traceback as details."""
    if isinstance(error, BcpError):
        return str(error)
    if isinstance(error, MemoryError):
        return "The memory is short; close other programs and try again."
    if isinstance(error, OSError):
        where = f": {error.filename}" if error.filename else ""
        return f"The disk refused it ({error.strerror or error}{where}); free some space or give access, and try again."
    details = "".join(traceback.format_exception(error))
    return f"Something unexpected went wrong; your work is kept. Please report it with the details.\n{details}"
