"""What a command shows while it works and when it is done.

Results go to standard output; the way there goes to standard error, as bars on a terminal and as a line now and then
elsewhere. With --json standard output carries the events alone, one JSON object a line.
"""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from napari_bcp.cli.arguments import count
from napari_bcp.cli.leaving import OutputClosed, Stop, silence_output

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from rich.progress import TaskID

    from napari_bcp.events import Event, Finished, Planned, Progress, Step

_LINES_A_TASK = 10


class Display(Protocol):
    """Where a command's events and results go; one display serves one command."""

    def show(self, event: Event) -> None:
        """Show one event of work that goes on."""

    def say(self, text: str) -> None:
        """Show a result."""


@contextmanager
def open_display(as_json: bool = False) -> Iterator[Display]:
    """Yield the display that fits: JSON lines if asked for, bars on a terminal, plain lines elsewhere."""
    if as_json:
        yield JsonLines()
    elif sys.stderr.isatty():
        with Bars() as bars:
            yield bars
    else:
        yield PlainLines()


@dataclass
class Outcome:
    """What a stream of events came to."""

    made: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    first_step: int | None = None  # that of the run when the training began
    finished: Finished | None = None

    @property
    def stopped(self) -> bool:
        """Whether the work ended because the user asked."""
        return self.finished is not None and self.finished.reason == "stopped"


def follow(events: Iterable[Event], display: Display, stop: Stop) -> Outcome:
    """Show `events` to their end and return what they came to.

    If nobody reads the output any more, the work is asked to stop, runs on in silence until it has saved,
    and OutputClosed is raised then.
    """
    outcome, closed = Outcome(), False
    for event in events:
        if event.kind == "map":
            outcome.made.append(event.case)
        elif event.kind == "unusable":
            outcome.skipped.append(event.case)
        elif event.kind == "planned" and outcome.first_step is None:
            outcome.first_step = event.step
        elif event.kind == "finished":
            outcome.finished = event
        if not closed:
            try:
                display.show(event)
            except BrokenPipeError:
                closed = stop.asked = True
                silence_output()
    if closed:
        raise OutputClosed
    return outcome


def reporter(task: str, display: Display) -> Callable[[int, int, str], None]:
    """Return a callback (done, total, name of a case) that shows the progress of `task`."""
    from napari_bcp.events import Progress

    start = time.monotonic()

    def report(done: int, total: int, name: str = "") -> None:
        eta = (time.monotonic() - start) / done * (total - done) if done else None
        display.show(Progress(task=task, done=done, total=total, case=name or None, eta_s=eta))

    return report


class JsonLines:
    """Events as JSON lines on standard output; results become notes, so that every line is an event."""

    def show(self, event: Event) -> None:
        sys.stdout.write(event.model_dump_json() + "\n")
        sys.stdout.flush()

    def say(self, text: str) -> None:
        from napari_bcp.events import Note

        self.show(Note(text=text))


class PlainLines:
    """Lines for log files and pipes: of progress only some, of everything else all."""

    def __init__(self) -> None:
        self._shown: dict[str, int] = {}

    def show(self, event: Event) -> None:
        text = sentence(event)
        if text and self._is_due(event):
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()

    def say(self, text: str) -> None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    def _is_due(self, event: Event) -> bool:
        """Return whether a tenth of its task has passed since the last line about it, or it has begun anew."""
        if event.kind == "progress":
            task, share = event.task, event.done / max(event.total, 1)
        elif event.kind == "step":
            task, share = "train", event.share
        else:
            return True
        tenth = int(share * _LINES_A_TASK)
        due = tenth != self._shown.get(task, -1)
        if due:
            self._shown[task] = tenth
        return due


class Bars:
    """A progress bar for the task at hand on a terminal, everything else above it."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        self._console = Console(stderr=True, highlight=False)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=12),
            TaskProgressColumn(),
            TextColumn("{task.fields[text]}", markup=False),
            console=self._console,
        )
        self._bar: TaskID | None = None

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def show(self, event: Event) -> None:
        if event.kind == "progress":
            self._move(event.task, event.done / max(event.total, 1), _progress_text(event))
        elif event.kind == "step":
            self._move("train", event.share, _step_text(event))
        elif text := sentence(event):
            self._console.print(text, markup=False, style="yellow" if event.kind in ("note", "unusable") else None)

    def say(self, text: str) -> None:
        self._progress.stop()  # leaves the bar as it is, above the result
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    def _move(self, task: str, share: float, text: str) -> None:
        """Set the bar, which is made when the first task begins, to `share` of `task`."""
        if self._bar is None:
            self._bar = self._progress.add_task(task, total=1.0, text=text)
        self._progress.update(self._bar, description=task, completed=share, text=text)


def sentence(event: Event) -> str:
    """Return the line that tells a person of `event`; empty where there is nothing worth a line."""
    if event.kind == "progress":
        return f"{event.task}: {_progress_text(event)}"
    if event.kind == "step":
        return f"train: {_step_text(event)}"
    if event.kind == "planned":
        return _planned_text(event)
    if event.kind == "note":
        return event.text if event.case is None else f"{event.case}: {event.text}"
    if event.kind == "unusable":
        return f"{event.case} is left out: {event.reason}"
    if event.kind == "validated":
        dice = ", ".join(f"class {value}: {score:.3f}" for value, score in event.dice.items())
        return f"Dice on the held-out cases after step {event.step}: {dice}{' (best so far)' if event.best else ''}"
    return ""


def duration(seconds: float) -> str:
    """Return `seconds` as a clock shows them, for example 4:05 or 1:02:00."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _planned_text(event: Planned) -> str:
    verb = f"goes on after step {event.step}" if event.step else "starts"
    held = f" ({event.held_out} held out to judge it)" if event.held_out else ""
    return f"Run {event.run} {verb}: {count(event.labelled)} with masks{held}, {event.unlabelled} without."


def _step_text(event: Step) -> str:
    left = "" if event.eta_s is None else f", {duration(event.eta_s)} left"
    return f"stage {event.stage}, step {event.step}, loss {event.loss:.3f}, {event.steps_per_s:.1f} steps/s{left}"


def _progress_text(event: Progress) -> str:
    case = f", {event.case}" if event.case else ""
    left = f", {duration(event.eta_s)} left" if event.eta_s and event.done < event.total else ""
    return f"{event.done} of {event.total}{case}{left}"
