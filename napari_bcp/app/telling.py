"""What the reader is told: messages, and how far long work is."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from psygnal import Signal

from napari_bcp.errors import BcpError

if TYPE_CHECKING:
    from collections.abc import Callable

Level = Literal["info", "warning", "error"]
Where = Literal["", "cases", "train", "review", "report"]


@dataclass(frozen=True)
class Message:
    """A sentence for the reader, and details in the lines below it; `where` is its panel, "" the header."""

    level: Level
    text: str
    where: Where = ""


@dataclass(frozen=True)
class Progress:
    """How far a task is; with a total of 0 nobody knows."""

    task: str
    done: int = 0
    total: int = 0
    eta_s: float | None = None


class Telling:
    """The one way by which a session speaks."""

    told = Signal(object)
    """A Message."""
    progress_changed = Signal(object)
    """A Progress, or None once the task is done."""

    def __init__(self) -> None:
        self.progress: Progress | None = None

    def tell(self, level: Level, text: str, where: Where = "") -> None:
        """Say something."""
        self.told.emit(Message(level, text, where))

    def failed(self, where: Where, undo: Callable[[], object] | None = None) -> Callable[[Exception], None]:
        """Return what says why work has failed, after `undo` has put back what it left half done."""

        def tell(error: Exception) -> None:
            self.end_progress()
            if undo is not None:
                undo()
            self.tell("error", _sentence(error), where)

        return tell

    def unexpected(self, error: Exception) -> None:
        """Say that something failed which nobody has foreseen."""
        self.tell("error", _sentence(error))

    def show_progress(self, task: str, done: int = 0, total: int = 0, eta_s: float | None = None) -> None:
        """Say how far a task is."""
        self.progress = Progress(task, done, total, eta_s)
        self.progress_changed.emit(self.progress)

    def end_progress(self) -> None:
        """Say that the task is done."""
        if self.progress is not None:
            self.progress = None
            self.progress_changed.emit(None)


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
