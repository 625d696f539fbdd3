"""Training: one loop, top to bottom, over a state that can be saved between any two steps.

`train` is a generator of events. It stops when its budget is used up, when it is asked to, or when the caller
closes it; what was learnt is saved in each case.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import torch
from filelock import FileLock, Timeout

from napari_bcp.engine import checkpoint
from napari_bcp.engine.bank import Bank
from napari_bcp.engine.cache import Cache, CaseFiles
from napari_bcp.engine.device import available_cores, is_lost, out_of_memory
from napari_bcp.engine.held_out import choose_held_out
from napari_bcp.engine.log import RunLog
from napari_bcp.engine.model import Model
from napari_bcp.engine.plan import smaller
from napari_bcp.engine.sampler import Sampler
from napari_bcp.engine.state import State, new_optimiser, new_state
from napari_bcp.engine.step import Learner
from napari_bcp.engine.survey import plan_for
from napari_bcp.errors import BcpError, CheckpointError, DeviceError, DeviceLostError, ScanAwayError, TrainingError
from napari_bcp.events import CaseUnusable, Event, Finished, Note, Planned, Progress, Saved, Step, Validated
from napari_bcp.files import remove_parts
from napari_bcp.method import learning_rate
from napari_bcp.metrics import dice_per_class
from napari_bcp.scans import read_mask, read_scan

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from pathlib import Path

    from napari_bcp.config import TrainConfig
    from napari_bcp.engine.plan import Plan
    from napari_bcp.engine.sources import CaseSource

    Between = Callable[[Model], Iterator[Event]]
    """Done after every step, with the network as it is then: maps, pauses. Its events are passed on."""


_SMALLER_RATE: Final = 1 / 3
_MOST_SETBACKS: Final = 5
_SAVING_S: Final = 60.0


@dataclass
class Budget:
    """How long to train: wall-clock seconds since `start` (time.monotonic), or a number of steps."""

    seconds: float | None = None
    steps: int | None = None
    start: float = field(default_factory=time.monotonic)
    paused: float = 0.0
    """Seconds that do not count."""

    def pause(self, seconds: float) -> None:
        """Let `seconds` that have passed not count."""
        self.start += seconds
        self.paused += seconds

    def share(self, steps_done: int) -> float:
        """Return the part that is used up, 0 to 1 and beyond."""
        return self.share_of_all(steps_done)

    def share_of_all(self, steps_done: int, steps_before: int = 0, seconds_before: float = 0.0) -> float:
        """Return the part that is used up of all the time that the run has had, with what it trained before this.

        So a run that was stopped and goes on for what was left of its time does just what it would have done.
        """
        if self.steps is not None:
            return (steps_before + steps_done) / max(steps_before + self.steps, 1)
        passed = time.monotonic() - self.start
        return (seconds_before + passed) / max(seconds_before + (self.seconds or 0.0), 1e-9)


def train(
    source: CaseSource,
    folder: Path,
    cache_folder: Path,
    plan: Plan | None,
    config: TrainConfig,
    budget: Budget,
    *,
    device: torch.device,
    classes: Sequence[int] = (),
    threads: int | None = None,
    resume: bool = False,
    stop: Callable[[], bool] | None = None,
    between: Between | None = None,
) -> Generator[Event, None, None]:
    """Train a run in `folder` and report; checkpoints are `last.pt`, `previous.pt` and, with held-out cases, `best.pt`.

    plan : None to have it made, for `classes`, from the source's cases; the event `planned` tells it
    threads : of the processor, where the settings name no number; all cores without it
    between : done after every step, see `Between`
    What is reported also goes into `log.jsonl`. Raises TrainingError when no labelled case can be used,
    CheckpointError when a run to resume cannot be read, DeviceError when memory runs out.
    """
    former_threads = torch.get_num_threads()
    torch.set_num_threads(config.threads or threads or available_cores())
    stop = stop or _never
    log, lock = RunLog(folder), FileLock(folder / ".training", thread_local=False)
    try:
        if not _taken(lock, stop):
            yield Finished(reason="stopped")
            return
        remove_parts(folder)  # of a process that was killed while it saved
        if plan is None:
            plan = yield from plan_for(source, classes, config, device, stop)
            if plan is None:
                yield Finished(reason="stopped")
                return
        if plan.device != device.type:
            yield Note(
                text=f"This run was planned for another kind of device than {device.type}, with blocks and batches as "
                "they suit that; a new run suits this one."
            )
        state = new_state(plan, config, device)
        if resume:
            content = checkpoint.load_newest(folder)
            state.restore(content, device)
            if "note" in content:
                yield Note(text=content["note"])
        cache = Cache(cache_folder, plan, plan.classes)
        loop = _Loop(source, folder, cache, plan, config, budget, device, state, stop, between)
        with closing(loop.run()) as events:  # so that it saves at once when the caller goes away
            for event in events:
                log.add(event)
                yield event
    except (MemoryError, RuntimeError) as error:
        if is_lost(error):
            raise DeviceLostError(
                f"Device {device} has failed in run {folder.name} ({str(error).splitlines()[0]}); train on from what "
                "was saved, and restart the computer if it happens again."
            ) from error
        if not out_of_memory(error):
            raise
        raise DeviceError(
            f"Device {device} ran out of memory in run {folder.name}, and smaller batches and blocks did not help; "
            "close other programs, or train on another device."
        ) from None
    finally:
        log.close()
        lock.release()
        torch.set_num_threads(former_threads)


def _taken(lock: FileLock, stop: Callable[[], bool]) -> bool:
    """Wait until nobody else trains the run: a process that was left may still save. False when stopped meanwhile."""
    deadline = time.monotonic() + _SAVING_S
    while True:
        try:
            lock.acquire(timeout=0.2)
            return True
        except Timeout:
            if stop():
                return False
            if time.monotonic() > deadline:
                run = os.path.basename(os.path.dirname(lock.lock_file))
                raise TrainingError(f"Another process trains run {run}; wait for it, or begin a new run.") from None
        except OSError as error:
            raise CheckpointError(
                f"{lock.lock_file} cannot be written ({error.strerror or error}); give access, or begin a new run."
            ) from None


def _never() -> bool:
    return False


class _Loop:
    """The loop's parts; `run` is the loop."""

    def __init__(
        self,
        source: CaseSource,
        folder: Path,
        cache: Cache,
        plan: Plan,
        config: TrainConfig,
        budget: Budget,
        device: torch.device,
        state: State,
        stop: Callable[[], bool],
        between: Between | None,
    ) -> None:
        self.told_kinds = False  # whether a scan of another kind was named
        self.source, self.folder, self.cache = source, folder, cache
        self.plan, self.config, self.budget, self.device = plan, config, budget, device
        self.state, self.stop, self.between = state, stop, between
        self.sampler = Sampler(plan, config, state.rng, cache.get, device)
        self.learner = Learner(plan, config, state, self.sampler, device)
        self.dropped: set[CaseFiles] = set()
        self.held_out: list[CaseFiles] = []
        self.waiting: list[CaseFiles] = []  # unlabelled cases that are not prepared yet
        self.ready: list[CaseFiles] = []
        self.preparing = 0.0  # seconds spent on them
        self.prepared: set[CaseFiles] = set()
        self.revision: int | None = None
        self.setbacks = 0
        self.first_step, self.seconds_before = state.step, state.elapsed

    # -- the loop ---------------------------------------------------------------------------------------------

    def run(self) -> Generator[Event, None, None]:
        """Train until the budget is used up or `stop` says so."""
        state, config, budget = self.state, self.config, self.budget
        first_step, started, elapsed_before = self.first_step, time.monotonic(), state.elapsed + budget.paused
        yield from self._refresh(first=True)
        yield self._planned()
        reason: Literal["budget", "stopped"] = "budget"
        saved_at, speed = time.monotonic(), 0.0
        # A run with more time than was known has used up less of it now than when it was judged last.
        state.validated = min(state.validated, self._used())
        healthy = True
        try:
            # One step at least, also when preparing took the whole time: a run without a checkpoint is of no use.
            while (used := budget.share(state.step - first_step)) < 1 or state.step == first_step:
                if self.stop():
                    reason = "stopped"
                    break
                step_started = time.monotonic()
                self._check_folder()
                yield from self._refresh()
                if self.stop():
                    continue
                yield from self._prepare_one(time.monotonic() - started)
                share = self._used()
                stage = self._stage(share)
                lr = self._set_rate(share)
                try:
                    loss = self.learner.step(stage, share)
                except FloatingPointError as error:
                    healthy = False  # the step left the network as it was, but it led here: keep what was saved
                    yield self._step_back(error)
                    healthy = True
                    continue
                except (MemoryError, RuntimeError) as error:
                    if not out_of_memory(error):
                        raise
                    yield from self._take_less(error.with_traceback(None))  # its frames hold the step's memory
                    continue
                except (BcpError, OSError) as error:
                    yield from self._drop(error)
                    continue
                state.step += 1
                now = time.monotonic()
                state.elapsed = elapsed_before + now - started - budget.paused
                pace = 1 / max(now - step_started, 1e-9)
                speed = pace if not speed else 0.95 * speed + 0.05 * pace
                yield Step(
                    step=state.step,
                    stage=stage,
                    loss=loss,
                    lr=lr,
                    elapsed_s=state.elapsed,
                    steps_per_s=speed,
                    share=min(used, 1.0),
                    eta_s=self._eta(first_step, speed),
                    agreement=self.learner.agreement,
                )
                if self.held_out and share - state.validated >= config.validate_every:
                    yield from self._validate()
                if now - saved_at >= config.save_every:
                    saved_at = now
                    yield self._save()
                if self.between is not None:
                    yield from self.between(self._model())
        finally:
            # Also when the caller closes the generator: nothing that was learnt is lost, but with the card it lay on.
            if state.step > first_step and healthy and not is_lost(sys.exception()):
                saved = self._save()
        if self.held_out and reason == "budget":
            yield from self._validate()
        if state.step > first_step:
            yield saved
        yield from self._end(reason)

    def _used(self) -> float:
        """Return the part of all the time that the run has had which is used up."""
        return self.budget.share_of_all(self.state.step - self.first_step, self.first_step, self.seconds_before)

    def _end(self, reason: Literal["budget", "stopped"]) -> Generator[Event, None, None]:
        state = self.state
        shortest, others = self.config.stage1_steps, self.ready or self.waiting
        if reason == "budget" and state.step <= shortest and others and self.config.stage1_share < 1:
            yield Note(
                text="So far the network has learnt from masks alone and used no unlabelled scan: stage 1 takes "
                f"{shortest} steps, and {state.step} are done; train on, or set stage1_steps lower."
            )
        yield Finished(reason=reason, step=state.step, elapsed_s=state.elapsed)

    def _planned(self) -> Planned:
        return Planned(
            run=self.folder.name,
            plan=self.plan.model_dump(mode="json"),
            settings=self.config.model_dump(mode="json"),
            labelled=len(self.sampler.labelled.names) + len(self.held_out),
            held_out=len(self.held_out),
            unlabelled=len(self.ready) + len(self.waiting),
            step=self.state.step,
        )

    def _step_back(self, error: FloatingPointError) -> Note:
        """Go back to what was saved last, with a smaller rate. Raises TrainingError if that has not helped."""
        self.setbacks += 1
        step, scale = self.state.step + 1, self.state.rate_scale * _SMALLER_RATE
        if self.setbacks > _MOST_SETBACKS:
            raise TrainingError(
                f"{error} at step {step} of run {self.folder.name}, again with smaller rates; look at the scans and "
                "the settings, or begin a new run."
            ) from None
        self.state.restore(self._last_good(), self.device)
        self.state.rate_scale = scale
        if self.state.order:
            self._take_order()
        self.revision = None  # cases may have changed since it was saved
        return Note(
            text=f"{error} at step {step}; training went back to step {self.state.step} and goes on with "
            f"{scale:.2g} times the learning rate."
        )

    def _last_good(self) -> dict[str, Any]:
        """Return what the newest checkpoint holds; the beginning before there is one."""
        if (self.folder / checkpoint.LAST).exists():
            return checkpoint.load_newest(self.folder)
        return {**new_state(self.plan, self.config, self.device).content(), "order": self._order()}

    def _take_less(self, error: MemoryError | RuntimeError) -> Iterator[Event]:
        """Go on with a smaller batch or block, or without the case that could not be read, or raise the error again."""
        if isinstance(error, MemoryError) and self.sampler.failed is not None:
            yield from self._drop(error)
            return
        plan = smaller(self.plan)
        if plan is None:
            raise error
        self.state.optimiser.zero_grad(set_to_none=True)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        before, self.plan = self.plan, plan
        self.sampler.plan = self.learner.plan = plan
        self.learner.bank = Bank(plan, self.config, self.state, self.device)
        what = f"batches of {plan.batch}" if plan.batch < before.batch else f"blocks of {_by(plan.block)} voxels"
        yield Note(text=f"The memory ran out at step {self.state.step + 1}; training goes on with {what}.")
        yield self._planned()

    # -- the cases --------------------------------------------------------------------------------------------

    def _refresh(self, first: bool = False) -> Iterator[Event]:
        """Take over what has changed in the pool since the last step."""
        revision = self.source.revision()
        if revision == self.revision:
            return
        self.revision = revision
        labelled = [c for c in self.source.labelled() if c not in self.dropped]
        known = set(self.sampler.labelled.names)
        usable, problem = [], ""
        for i, case in enumerate(labelled):
            if first:
                yield Progress(task="preparing labelled scans", done=i, total=len(labelled), case=case.name)
            bad = self._prepare(case)
            if bad is None:
                usable.append(case)
            else:
                problem = bad.reason
                yield bad
            if self.stop():
                break
        if first and not self.stop():  # else not all of them may have been looked at
            self._hold_out(choose_held_out(usable, self.config, self.state.held_out, self.state.trained_on))
            if self.config.hold_out and len(self.held_out) < min(self.config.hold_out, len(usable) - 1):
                yield Note(
                    text=f"Not {self.config.hold_out} cases are held out but {len(self.held_out)}: the run has learnt "
                    "from the others already; begin a new run to hold out more."
                )
        elif (self.held_out or self.state.held_out) and not self.stop():
            held = {c.name for c in self.held_out}
            self._hold_out([c for c in usable if c.name in held])
        yield from self._tell_kinds()
        held = {c.name for c in self.held_out}
        usable = [c for c in usable if c.name not in held]
        if not usable and not self.stop():
            if problem:
                raise TrainingError(f"No case with a mask can be used: {problem}")
            raise TrainingError("No case has a mask to learn from; accept at least one, then train again.")
        self._sort_unlabelled([c for c in self.source.unlabelled() if c not in self.dropped], first)
        self.state.trained_on = sorted({*self.state.trained_on, *(c.name for c in usable)})
        self.sampler.set_cases(usable, self.ready)
        joined = [c.name for c in usable if c.name not in known]
        if joined and not first:
            yield Note(text=f"{', '.join(joined)} joined the training at step {self.state.step}.")

    def _sort_unlabelled(self, unlabelled: list[CaseFiles], first: bool) -> None:
        """Tell those that are ready from those that wait to be prepared, in the order of a run that goes on."""
        if first and self.state.order:
            self._take_order(unlabelled)
            return
        ready = {c.name for c in self.ready}
        self.ready = [c for c in unlabelled if c.name in ready]
        self.waiting = [c for c in unlabelled if c.name not in ready]
        if first:
            self.waiting = [self.waiting[i] for i in self.state.rng.permutation(len(self.waiting))]

    def _take_order(self, unlabelled: list[CaseFiles] | None = None) -> None:
        """Let sampler and waiting cases be where they were when the state was saved; newcomers wait at the end."""
        cases = {c.name: c for c in [*self.ready, *self.waiting, *(unlabelled or ())]}
        self.sampler.restore(self.state.order)
        self.learner.bank.restore(self.state.bank)
        self.ready = [cases[name] for name in self.state.order["unlabelled"] if name in cases]
        known = {c.name for c in self.ready}
        waiting = [name for name in self.state.order["waiting"] if name in cases and name not in known]
        known.update(waiting)
        self.waiting = [cases[name] for name in waiting] + [c for c in cases.values() if c.name not in known]

    def _order(self) -> dict[str, list[str]]:
        return {**self.sampler.content(), "waiting": [c.name for c in self.waiting]}

    def _prepare(self, case: CaseFiles) -> CaseUnusable | None:
        if case in self.prepared:
            return None
        try:
            self.cache.get(case)
        except (BcpError, OSError, MemoryError) as error:
            self.dropped.add(case)
            return unusable(case, error)
        self.prepared.add(case)
        return None

    def _drop(self, error: BcpError | OSError | MemoryError) -> Iterator[Event]:
        """Go on without the case that could not be read in the middle of training."""
        case = self.sampler.failed
        if case is None:
            raise error
        self.sampler.failed = None
        self.dropped.add(case)
        yield unusable(case, error)
        self.revision = None
        yield from self._refresh()

    def _prepare_one(self, elapsed: float) -> Iterator[Event]:
        """Prepare one more unlabelled scan between two steps, unless that has taken a third of the time so far."""
        slow = self.budget.seconds is not None and self.ready and self.preparing > elapsed / 3
        if not self.waiting or slow:
            return
        case = self.waiting.pop(0)
        begun = time.monotonic()
        bad = self._prepare(case)
        self.preparing += time.monotonic() - begun
        if bad is not None:
            yield bad
            return
        self.ready.append(case)
        self.sampler.add_unlabelled(case)
        yield from self._tell_kinds()

    def _tell_kinds(self) -> Iterator[Event]:
        """Name the first scan of another kind than those with masks, once."""
        if self.cache.unlike and not self.told_kinds and self.config.normalise == "auto":
            self.told_kinds = True
            case = self.cache.unlike[0]
            one, others = (
                ("like no CT", "CT") if self.plan.air or self.plan.normalise == "ct" else ("like a CT", "none")
            )
            yield Note(
                text=f"{case} looks {one}, and scans with masks are {others}: exclude what is of another kind, "
                "since CT and MR in one pool spoil each other. Others of that kind are not named."
            )

    def _hold_out(self, cases: list[CaseFiles]) -> None:
        """Judge on these cases; on others, or by other masks than before, the next network is the best so far."""
        names, masks = [c.name for c in cases], [c.mask.name for c in cases if c.mask is not None]
        if (names, masks) != (self.state.held_out, self.state.held_masks):
            self.state.held_out, self.state.held_masks, self.state.best = names, masks, -1.0
            if not names:
                (self.folder / checkpoint.BEST).unlink(missing_ok=True)
        self.held_out = cases

    # -- one step ---------------------------------------------------------------------------------------------

    def _stage(self, share: float) -> Literal[1, 2]:
        state = self.state
        grown = share >= self.config.stage1_share and state.step >= self.config.stage1_steps
        if state.stage2_from is None and grown and self.ready:
            state.stage2_from = state.step
            if not self.config.teacher_from_start:
                state.teacher.load_state_dict(state.student.state_dict())
            if self.config.new_optimiser:
                state.optimiser = new_optimiser(self.config, state.student)
        return 2 if state.stage2_from is not None and self.ready else 1

    def _set_rate(self, share: float) -> float:
        stage2_step = 0 if self.state.stage2_from is None else self.state.step - self.state.stage2_from
        lr = learning_rate(self.config.schedule, self.config.lr, share=share, stage2_step=stage2_step)
        for group in self.state.optimiser.param_groups:
            group["lr"] = lr * self.state.rate_scale
        return lr * self.state.rate_scale

    # -- around the steps -------------------------------------------------------------------------------------

    def _eta(self, first_step: int, speed: float) -> float:
        if self.budget.seconds is not None:
            return max(0.0, self.budget.seconds - (time.monotonic() - self.budget.start))
        return max(0.0, ((self.budget.steps or 0) - (self.state.step - first_step)) / max(speed, 1e-9))

    def _in_use(self) -> Literal["teacher", "student"]:
        """Return which network makes maps: the teacher, once it has begun to follow the student."""
        untrained = not self.config.teacher_from_start and self.state.stage2_from is None
        return "student" if self.config.predict_with == "student" or untrained else "teacher"

    def _model(self) -> Model:
        """Return the network that makes maps now."""
        network = self.state.teacher if self._in_use() == "teacher" else self.state.student
        return Model(network, self.plan, self.config, self.device, self.folder.name, self.state.step)

    def _check_folder(self) -> None:
        """Raise CheckpointError when the run's folder is gone: saving would make it anew, perhaps on another disk."""
        if not os.path.isdir(self.folder):
            raise CheckpointError(f"The folder {self.folder} is gone; bring it back, or begin a new run.")

    def _save(self, name: str = checkpoint.LAST) -> Saved:
        self._check_folder()
        path = self.folder / name
        self.state.order, self.state.bank = self._order(), self.learner.bank.content()
        checkpoint.save(
            path,
            {
                **self.state.content(),
                "plan": self.plan.model_dump_json(),
                "config": self.config.model_dump_json(),
                "use": self._in_use(),
                "run": self.folder.name,
            },
        )
        return Saved(step=self.state.step, path=str(path))

    def _validate(self) -> Iterator[Event]:
        """Segment the held-out cases as a user would see them and keep the best network."""
        model = self._model()
        scores: dict[int, list[float]] = {v: [] for v in self.plan.classes}
        complete = True
        for case in self.held_out:
            assert case.mask is not None  # noqa: S101 - held-out cases are labelled
            try:
                scan = read_scan(case.scan)
                truth = read_mask(case.mask, scan.grid).voxels
                found = model.segment(scan, self.stop)
            except (BcpError, OSError) as error:  # it may be there again the next time
                complete = False
                yield Note(text=f"{case.name} is held out and cannot be judged now: {error}")
                continue
            if found is None:
                return
            for value, dice in dice_per_class(found.labels, truth, self.plan.classes).items():
                if not np.isnan(dice):
                    scores[value].append(dice)
        means = {v: float(np.mean(s)) for v, s in scores.items() if s}
        mean = float(np.mean(list(means.values()))) if means else 0.0
        best = complete and mean > self.state.best
        # Counted from its end: where validating takes long, training still gets most of the time.
        self.state.validated = self._used()
        if best:
            self.state.best = mean
            self._save(checkpoint.BEST)
            self._save()  # else a run that goes on would not know of it, and put a worse network in its place
        yield Validated(step=self.state.step, dice=means, best=best)


def _by(sides: Sequence[int]) -> str:
    return "×".join(str(n) for n in sides)


def unusable(case: CaseFiles, error: BcpError | OSError | MemoryError) -> CaseUnusable:
    """Return the event that tells of a case which could not be prepared.

    It is lasting where the case is at fault itself, and not a file that is away or memory that is short.
    """
    lasting = not isinstance(error, ScanAwayError | OSError | MemoryError)
    return CaseUnusable(case=case.name, reason=_reason(error), lasting=lasting)


def _reason(error: BcpError | OSError | MemoryError) -> str:
    """Return why a case cannot be used, as a sentence."""
    if isinstance(error, BcpError):
        return str(error)
    if isinstance(error, MemoryError):
        return "It could not be prepared, since the memory ran out; close other programs, and train again."
    return f"It could not be prepared ({error.strerror or error}); free some space or give access, and train again."
