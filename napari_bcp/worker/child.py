"""The child process: takes commands from standard input, trains and makes maps, and reports on standard output.

It never writes the pool's table: it writes checkpoints and maps, and the parent records them. When its input ends,
because the window was closed or killed, it saves and ends.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil
import torch

from napari_bcp.config import make_config
from napari_bcp.engine.cache import CaseFiles
from napari_bcp.engine.device import available_cores, out_of_memory, pick_device
from napari_bcp.engine.model import Model
from napari_bcp.engine.plan import Plan
from napari_bcp.engine.train import Budget, train
from napari_bcp.errors import (
    BcpError,
    CheckpointError,
    DeviceError,
    DeviceLostError,
    PoolError,
    ScanAwayError,
    ScanError,
)
from napari_bcp.events import CaseUnusable, Event, Finished, Note, Paused, Planned, Progress, Resumed, Vitals
from napari_bcp.pool.paths import inside
from napari_bcp.pool.runs import BEST
from napari_bcp.worker.desk import Desk
from napari_bcp.worker.messages import (
    Ended,
    Failed,
    Predict,
    Quit,
    Ready,
    Report,
    Train,
    UnknownLineError,
    decode_command,
    encode,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from napari_bcp.engine.plan import Plan as PlanType

_NICE: Final = 10
_PATIENCE_S: Final = 60.0  # to save, once nobody listens any more
_VITALS_S: Final = 2.0
_PAUSE_S: Final = 1.0
_FIRST_MAP: Final = 10  # steps; before, a network draws nothing of use
_REPLACE_FROM: Final = 0.5  # share of the budget from which a new run's maps replace another's
_LINE_LIMIT: Final = 64 * 2**20


def main() -> None:
    """Serve until told to quit, or until the input ends."""
    with suppress(OSError, AttributeError):
        os.nice(_NICE)
    out = os.dup(1)
    os.dup2(2, 1)  # whatever prints shall not come between the messages
    desk = Desk()
    signal.signal(signal.SIGTERM, lambda *_: desk.take(Quit()))  # the session ends, or the computer
    threading.Thread(target=_listen, args=(desk,), daemon=True).start()
    with suppress(BrokenPipeError):  # nobody is left to tell
        _serve(desk, lambda report: _write(out, encode(report)))


def _serve(desk: Desk, send: Callable[[Report], None]) -> None:
    send(Ready(pid=os.getpid()))
    lost = False
    while not lost and (job := desk.next_job()) is not None:
        events = _train(job, desk) if isinstance(job, Train) else _predict(job, desk)
        try:
            for event in events:
                send(event)
        except BcpError as error:
            lost = isinstance(error, DeviceLostError)  # another process can use the card; this one must end
            send(Failed(text=str(error), error=type(error).__name__))
        except BrokenPipeError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the window must hear of it
            traceback.print_exc()
            what = " ".join("".join(traceback.format_exception_only(error)).split())
            text = f"Something unexpected went wrong ({what}); the log below says where."
            if out_of_memory(error):
                text = "The memory ran out; close other programs and try again."
            send(Failed(text=text, error=type(error).__name__))
        finally:
            events.close()
            if torch.cuda.is_initialized() and not lost:  # type: ignore[no-untyped-call]
                torch.cuda.empty_cache()  # the window draws with the same card
        send(Ended(job=job.kind))


def _listen(desk: Desk) -> None:
    """Hand commands to the desk until the input ends; then see to it that the process ends, too."""
    try:
        _read(desk)
    finally:  # whatever happened: nobody can be heard any more
        desk.take(Quit())
        time.sleep(_PATIENCE_S)
        os._exit(3)


def _read(desk: Desk) -> None:
    rest = b""
    while chunk := os.read(0, 1 << 16):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            try:
                desk.take(decode_command(line))
            except UnknownLineError as error:
                sys.stderr.write(f"A command was passed over: {error}\n")
        if len(rest) > _LINE_LIMIT:
            break


def _write(out: int, line: bytes) -> None:
    left = memoryview(line)
    while left:
        left = left[os.write(out, left) :]


# -- jobs -------------------------------------------------------------------------------------------------------


def _train(job: Train, desk: Desk) -> Generator[Event, None, None]:
    device = pick_device(job.device)
    config = make_config("quick", job.config)
    threads = config.threads or _threads(job.threads)
    plan: PlanType | None = None
    if job.plan is not None:
        try:
            plan = Plan.model_validate(job.plan)
        except ValueError:
            raise CheckpointError(
                f"The plan of run {Path(job.run).name} cannot be read; begin a new run.", path=job.run
            ) from None
    budget = Budget(seconds=None if job.minutes is None else 60 * job.minutes, steps=job.steps)
    between = _Between(job, desk, budget)
    finished: Finished | None = None
    yield between.vitals(str(device), threads)
    events = train(
        _Source(desk),
        Path(job.run),
        Path(job.cache),
        plan,
        config,
        budget,
        device=device,
        classes=job.classes,
        threads=threads,
        resume=job.resume,
        stop=desk.stopping,
        between=between,
    )
    try:
        for event in events:
            if isinstance(event, CaseUnusable):
                desk.drop(event.case)
            if isinstance(event, Finished):
                finished = event
            yield event
            if isinstance(event, Progress | Planned):  # it prepares; later `between` looks after pauses
                yield from between.rest()
    finally:
        events.close()
    if finished is not None and finished.reason == "budget":
        best = Path(job.run) / BEST
        if best.exists():
            between.model = Model.load(best, job.device)
        torch.set_num_threads(threads)
        yield from between.sweep()


def _predict(job: Predict, desk: Desk) -> Generator[Event, None, None]:
    model = Model.load(Path(job.checkpoint), job.device)
    maker = _Maker(Path(job.maps), desk)
    todo = [(case.name, Path(case.scan)) for case in job.cases if case.name in set(job.names)]
    torch.set_num_threads(_threads(job.threads))
    yield from maker.all(model, todo)
    while (more := desk.wanted()) is not None and not desk.stopping():
        yield from maker.one(model, *more)
    if not desk.stopping():  # else `ended` says it: `finished` with "stopped" tells of a training
        yield Finished(reason="done", step=model.step)


class _Source:
    """The cases that the desk knows, as training asks for them, see `napari_bcp.engine.sources`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def revision(self) -> int:
        """Return a number that changes with the cases."""
        return self._desk.revision()

    def labelled(self) -> list[CaseFiles]:
        """Return the cases with a mask."""
        return [CaseFiles(c.name, Path(c.scan), Path(c.mask)) for c in self._desk.cases() if c.mask is not None]

    def unlabelled(self) -> list[CaseFiles]:
        """Return the cases without one."""
        return [CaseFiles(c.name, Path(c.scan)) for c in self._desk.cases() if c.mask is None]

    def grids(self) -> list[tuple[tuple[int, int, int], tuple[float, float, float]]]:
        """Return shape and spacing of every case."""
        return [(c.shape, c.spacing) for c in self._desk.cases() if c.shape and c.spacing]


class _Maker:
    """Makes maps and reports them; a case that cannot be read is reported and left out."""

    def __init__(self, folder: Path, desk: Desk) -> None:
        self._folder, self._desk = folder, desk
        self._told: set[str] = set()  # cases of which a note was told
        self.spent = 0.0

    def one(self, model: Model, name: str, scan: Path) -> Iterator[Event]:
        """Make the map of one case."""
        begun = time.monotonic()
        try:
            made = model.make_map(name, scan, inside(self._folder.resolve(), name), self._desk.stopping)
        except ScanAwayError as error:  # for a while perhaps; training has what it needs of it
            self._desk.made(name, model.run, model.step)  # not again at once
            if name not in self._told:
                self._told.add(name)
                yield Note(text=f"The map of {name} could not be made: {error}", case=name)
            return
        except ScanError as error:
            self._desk.drop(name)
            yield CaseUnusable(case=name, reason=str(error))
            return
        except PoolError as error:  # a link leads elsewhere
            self._desk.give_up(name, model.run)
            yield Note(text=f"The map of {name} could not be made: {error}", case=name)
            return
        except DeviceLostError:
            raise
        except DeviceError as error:  # too large a scan for the memory that is left; training goes on
            self._desk.give_up(name, model.run)
            yield Note(text=f"The map of {name} could not be made: {error}", case=name)
            return
        except OSError as error:
            self._desk.made(name, model.run, model.step)  # not again and again
            yield Note(text=f"The map of {name} could not be written ({error}); free some space.", case=name)
            return
        finally:
            self.spent += time.monotonic() - begun
        if made is not None:
            self._desk.made(name, model.run, model.step)
            if made.note and name not in self._told:
                self._told.add(name)
                yield Note(text=made.note, case=name)
            yield made

    def all(self, model: Model, cases: list[tuple[str, Path]]) -> Iterator[Event]:
        """Make the maps of `cases`, and in between of those that somebody asks for."""
        begun = time.monotonic()
        for done, (name, scan) in enumerate(cases):
            while (asked := self._desk.wanted()) is not None and not self._desk.stopping():
                yield from self.one(model, *asked)
            if self._desk.stopping():
                return
            left = (time.monotonic() - begun) / done * (len(cases) - done) if done else None
            yield Progress(task="making maps", done=done, total=len(cases), case=name, eta_s=left)
            yield from self.one(model, name, scan)
        if cases:
            yield Progress(task="making maps", done=len(cases), total=len(cases))


class _Between:
    """What is done between two steps of a training: news of the process, maps, pauses."""

    def __init__(self, job: Train, desk: Desk, budget: Budget) -> None:
        self._desk, self._budget = desk, budget
        self._share = job.map_share
        self._maker = _Maker(Path(job.maps), desk)
        self._begun = time.monotonic()
        self._first_step: int | None = None
        self._told = 0.0
        self._process = psutil.Process()
        self._place = ("", 0)
        self.model: Model | None = None

    def __call__(self, model: Model) -> Iterator[Event]:
        desk, self.model = self._desk, model
        if self._first_step is None:
            self._first_step = model.step - 1
        if time.monotonic() - self._told > _VITALS_S:
            yield self.vitals()
        if model.step >= _FIRST_MAP:
            yield from self._asked(model)
        yield from self.rest(model)
        steps = model.step - self._first_step
        passed = time.monotonic() - self._begun - self._budget.paused
        if steps >= _FIRST_MAP and self._maker.spent < self._share * passed and not desk.stopping():
            due = desk.next_map(model.run, model.step, replace=self._budget.share(steps) >= _REPLACE_FROM)
            if due is not None:
                yield from self._maker.one(model, *due)

    def rest(self, model: Model | None = None) -> Iterator[Event]:
        """Do nothing while told to pause, except maps that somebody asks for, once there is a network."""
        desk, step = self._desk, 0 if model is None else model.step
        if not desk.paused:
            return
        yield Paused(step=step)
        begun = time.monotonic()
        while desk.paused:
            desk.wait(_PAUSE_S, maps=model is not None)
            if model is not None:
                yield from self._asked(model)
        self._budget.pause(time.monotonic() - begun)
        yield Resumed(step=step)

    def _asked(self, model: Model) -> Iterator[Event]:
        while not self._desk.stopping() and (asked := self._desk.wanted()) is not None:
            yield from self._maker.one(model, *asked)

    def sweep(self) -> Iterator[Event]:
        """Make all maps that are older than the network."""
        if self.model is not None:
            yield from self._maker.all(self.model, self._desk.stale(self.model.run, self.model.step))

    def vitals(self, device: str = "", threads: int = 0) -> Vitals:
        """Return what the process runs on and needs now; device and threads are told the first time."""
        self._told = time.monotonic()
        if device:
            self._place = (device, threads)
        memory = self._process.memory_info().rss / 2**20
        return Vitals(device=self._place[0], threads=self._place[1], memory_mb=memory)


def _threads(wanted: int | None) -> int:
    """Return how many threads to compute with: one core is the window's."""
    return wanted or max(1, available_cores() - 1)
