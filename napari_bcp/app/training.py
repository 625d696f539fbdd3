"""The training that goes on beside the window: its child process, and its state as the panels show it."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from napari_bcp.worker.host import Worker
from napari_bcp.worker.messages import Attend, Cases, Failed, Pause, Predict, PredictNow, Resume, Stop, Train

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from napari_bcp.events import Event
    from napari_bcp.pool import RunRecord
    from napari_bcp.worker.messages import CaseInfo, Report

Phase = Literal["idle", "starting", "preparing", "training", "paused", "stopping", "failed"]

_MOST_POINTS: Final = 4000
"""Points of a curve that are kept; beyond it every other one is forgotten, and fewer are added."""
_REST_S: Final = 5.0  # for a child to save when the window closes; it goes on saving by itself after that


@dataclass
class Curves:
    """What a run has reported: losses and agreements by step, Dice on held-out cases by step and class value.

    every : steps from one point to the next; the last one is the newest in any case
    """

    steps: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    agreements: list[float | None] = field(default_factory=list)
    dice: list[tuple[int, dict[int, float]]] = field(default_factory=list)
    every: int = 1

    def add(self, event: Event) -> None:
        """Take in what an event tells; most tell nothing."""
        if event.kind == "validated":
            self.dice.append((event.step, event.dice))
        if event.kind != "step":
            return
        if self.steps and event.step <= self.steps[-1]:  # a run that goes on from an older checkpoint
            self._forget(slice(bisect_left(self.steps, event.step), None))
            self.dice = [one for one in self.dice if one[0] < event.step]
        if len(self.steps) > 1 and self.steps[-1] - self.steps[-2] < self.every:
            self._forget(slice(-1, None))
        elif len(self.steps) >= _MOST_POINTS:
            self._forget(slice(1, None, 2))
            self.every *= 2
        self.steps.append(event.step)
        self.losses.append(event.loss)
        self.agreements.append(event.agreement)

    def _forget(self, part: slice) -> None:
        del self.steps[part], self.losses[part], self.agreements[part]


@dataclass
class TrainingState:
    """What the panels show of the training.

    run, preset, settings : the newest run, the preset it began with, and its settings, as they are stored
    held_out : of the labelled cases, judge the network only
    share : of the time budget that is used up, 0 to 1;  dice : the newest on held-out cases, by class value
    making_maps : maps are made, and nothing trains
    problem : why it failed, a sentence;  log_tail : what the child last wrote
    """

    phase: Phase = "idle"
    run: str = ""
    preset: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    stage: int = 0
    step: int = 0
    steps_per_s: float = 0.0
    eta_s: float | None = None
    share: float = 0.0
    labelled: int = 0
    unlabelled: int = 0
    held_out: int = 0
    device: str = ""
    threads: int = 0
    memory_mb: float = 0.0
    dice: dict[int, float] = field(default_factory=dict)
    curves: Curves = field(default_factory=Curves)
    making_maps: bool = False
    problem: str = ""
    log_tail: str = ""

    @property
    def active(self) -> bool:
        """Whether a training goes on, in whatever way."""
        return self.phase not in ("idle", "failed")


class Trainer:
    """Commands a child process, which is started when it is first needed.

    heard : called in `pump` with every report of the child, after the state has taken it in
    """

    def __init__(self, heard: Callable[[Report], None], make_worker: Callable[[], Worker] = Worker) -> None:
        self.state = TrainingState()
        self._heard, self._make_worker = heard, make_worker
        self._worker: Worker | None = None
        self._jobs: list[Literal["train", "predict"]] = []  # sent, and not ended
        self._attend = Attend()

    @property
    def busy(self) -> bool:
        """Whether the child has a job, or will have one."""
        return bool(self._jobs)

    @property
    def pid(self) -> int | None:
        """Number of the child's process, None while there is none."""
        return None if self._worker is None else self._worker.pid

    # -- commands ---------------------------------------------------------------------------------------------

    def train(self, job: Train, run: RunRecord) -> None:
        """Let a run train; what the child does now ends first. Raises OSError if no process can be started."""
        old = self.state
        stopped = old.phase == "stopping" and not self._jobs  # before the child was told of the job
        kept = old.curves if old.run == run.id and job.resume else Curves()
        labelled = sum(case.mask is not None for case in job.cases)
        self._start(job)
        self.state = TrainingState(
            phase="starting",
            run=run.id,
            preset=run.preset,
            settings=job.config,
            step=run.step,
            labelled=labelled,
            unlabelled=len(job.cases) - labelled,
            curves=kept,
        )
        if stopped:
            self.stop()

    def predict(self, job: Predict) -> None:
        """Let maps be made with a checkpoint. Raises OSError if no process can be started."""
        self._start(job)

    def _start(self, job: Train | Predict) -> None:
        if self._worker is None:
            self._worker = self._make_worker()
        self._worker.send(self._attend)
        self._worker.send(job)
        self._jobs.append(job.kind)

    def pause(self) -> None:
        """Let the training rest."""
        self._send(Pause())

    def resume(self) -> None:
        """Let it go on."""
        self._send(Resume())

    def stop(self) -> None:
        """Let the training save and end."""
        if self.state.active:
            self.state.phase = "stopping"
            self._send(Stop())

    def stop_all(self) -> None:
        """End whatever the child does."""
        if self._jobs:
            self._send(Stop())

    def tell_cases(self, changed: Sequence[CaseInfo], gone: Sequence[str]) -> None:
        """Tell of cases that changed, joined or left."""
        if changed or gone:
            self._send(Cases(changed=tuple(changed), gone=tuple(gone)))

    def attend(self, visible: str | None, proposed: Sequence[str]) -> None:
        """Tell which case is on screen, and which will be."""
        wish = Attend(visible=visible, proposed=tuple(proposed))
        if wish != self._attend:
            self._attend = wish
            self._send(wish)

    def predict_now(self, name: str) -> None:
        """Have the map of a case made before the next step."""
        self._send(PredictNow(name=name))

    def _send(self, command: Pause | Resume | Stop | Cases | Attend | PredictNow) -> None:
        if self._worker is not None and self._jobs:
            self._worker.send(command)

    # -- reports ----------------------------------------------------------------------------------------------

    def pump(self) -> bool:
        """Take in what the child has reported; return whether the state is another one."""
        worker = self._worker
        if worker is None:
            return False
        reports = worker.poll()
        for report in reports:
            self._take(report)
            self._heard(report)
        if not worker.running:
            self._mourn(worker)
        making_maps = self.busy and not self.state.active
        changed = bool(reports) or self._worker is None or making_maps != self.state.making_maps
        self.state.making_maps = making_maps
        return changed

    def _take(self, report: Report) -> None:
        """Let the state follow a report."""
        state = self.state
        trains = self._jobs[:1] == ["train"] and self._jobs.count("train") == 1  # else it makes room for the next
        if report.kind == "ended":
            del self._jobs[:1]
            if report.job == "train" and "train" not in self._jobs and state.active:
                state.phase = "idle"
        elif report.kind == "failed" and trains:
            self._fail(report.text)
        elif report.kind == "vitals":
            state.device, state.threads, state.memory_mb = report.device, report.threads, report.memory_mb
            if trains and state.phase == "starting":
                state.phase = "preparing"
        elif trains:
            self._follow_run(report)

    def _follow_run(self, report: Report) -> None:
        state = self.state
        if report.kind == "planned":
            state.labelled, state.unlabelled, state.step = report.labelled, report.unlabelled, report.step
            state.held_out = report.held_out
        elif report.kind == "step":
            state.curves.add(report)
            state.stage, state.step, state.share = report.stage, report.step, report.share
            state.steps_per_s, state.eta_s = report.steps_per_s, report.eta_s
            if state.phase in ("starting", "preparing"):
                state.phase = "training"
        elif report.kind == "validated":
            state.curves.add(report)
            state.dice = dict(report.dice)
        elif report.kind in ("paused", "resumed"):
            if state.phase in ("preparing", "training", "paused"):
                going: Phase = "training" if state.stage else "preparing"
                state.phase = "paused" if report.kind == "paused" else going
        elif report.kind == "finished" and state.active:
            state.phase, state.eta_s = "idle", None

    def _fail(self, problem: str) -> None:
        self.state.phase, self.state.problem, self.state.eta_s = "failed", problem, None
        self.state.log_tail = "" if self._worker is None else self._worker.log_tail

    def _mourn(self, worker: Worker) -> None:
        """Say why the child has ended, unless it was told to."""
        self._worker = None
        jobs, self._jobs = self._jobs, []
        if not jobs:
            return
        problem = _how_it_ended(worker.exit_code)
        if "train" in jobs:
            self._fail(problem)
            self.state.log_tail = worker.log_tail
        self._heard(Failed(text=problem, error="ProcessEnded"))

    # -- the end ----------------------------------------------------------------------------------------------

    def close(self, seconds: float = _REST_S) -> None:
        """Let the child save and end, and wait for it so long; reports that still come are heard."""
        worker = self._worker
        if worker is None:
            return
        worker.close()
        worker.wait(seconds)
        while reports := worker.poll():
            for report in reports:
                self._take(report)
                self._heard(report)
        self._worker = None
        self._jobs.clear()
        if self.state.active:
            self.state.phase = "idle"


def _how_it_ended(code: int | None) -> str:
    """Return how a process has ended, and the way on, as a sentence."""
    if code is not None and code < 0:
        how = "was killed, most likely because the memory was short" if code == -9 else f"crashed (signal {-code})"
    else:
        how = f"ended unexpectedly (code {code})"
    return f"The training process {how}; what it had saved is kept, and the training can go on from there."
