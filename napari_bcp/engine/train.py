"""Training: one loop, top to bottom, over a state that can be saved between any two steps.

`train` is a generator of events. It stops when its budget is used up, when it is asked to, or when the caller
closes it; what was learnt is saved in each case.
"""

from __future__ import annotations

import os
import time
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from napari_bcp.engine import checkpoint
from napari_bcp.engine.cache import Cache, CaseFiles
from napari_bcp.engine.device import available_cores, out_of_memory
from napari_bcp.engine.log import RunLog
from napari_bcp.engine.model import Model
from napari_bcp.engine.predict import arithmetic, memory_format
from napari_bcp.engine.sampler import Sampler
from napari_bcp.engine.state import State, new_optimiser, new_state
from napari_bcp.engine.survey import plan_for
from napari_bcp.errors import BcpError, CheckpointError, DeviceError, ScanAwayError, TrainingError
from napari_bcp.events import CaseUnusable, Event, Finished, Note, Planned, Progress, Saved, Step, Validated
from napari_bcp.method import decide, draw_boxes, keep_mask, learning_rate, mixed_loss, paste, update_teacher
from napari_bcp.method.losses import get_loss
from napari_bcp.method.pseudo_labels import clean_batch
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
        if self.steps is not None:
            return steps_done / max(self.steps, 1)
        return (time.monotonic() - self.start) / max(self.seconds or 0.0, 1e-9)


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
    log = RunLog(folder)
    try:
        if plan is None:
            plan = yield from plan_for(source, classes, config, device, stop)
            if plan is None:
                yield Finished(reason="stopped")
                return
        state = new_state(plan, config, device)
        if resume:
            state.restore(checkpoint.load_newest(folder), device)
        cache = Cache(cache_folder, plan, plan.classes)
        loop = _Loop(source, folder, cache, plan, config, budget, device, state, stop, between)
        with closing(loop.run()) as events:  # so that it saves at once when the caller goes away
            for event in events:
                log.add(event)
                yield event
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        smaller = f"batch={max(1, plan.batch // 2)}, or with a smaller --set patch." if plan else "a smaller patch."
        raise DeviceError(
            f"Device {device} ran out of memory in run {folder.name}; start over with --fresh --set {smaller}"
        ) from None
    finally:
        log.close()
        torch.set_num_threads(former_threads)


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
        self.source, self.folder, self.cache = source, folder, cache
        self.plan, self.config, self.budget, self.device = plan, config, budget, device
        self.state, self.stop, self.between = state, stop, between
        self.sampler = Sampler(plan, config, state.rng, cache.get)
        self.loss = get_loss(config.loss)
        self.early_loss, self.late_loss = get_loss("ce-dice-balanced"), self.loss
        self.bfloat16 = plan.bfloat16_on(device)
        self.form = memory_format(plan, config.channels_last)
        self.dropped: set[CaseFiles] = set()
        self.held_out: list[CaseFiles] = []
        self.waiting: list[CaseFiles] = []  # unlabelled cases that are not prepared yet
        self.ready: list[CaseFiles] = []
        self.preparing = 0.0  # seconds spent on them
        self.prepared: set[CaseFiles] = set()
        self.revision: int | None = None
        self.agreement: float | None = None

    # -- the loop ---------------------------------------------------------------------------------------------

    def run(self) -> Generator[Event, None, None]:
        """Train until the budget is used up or `stop` says so."""
        state, config, budget = self.state, self.config, self.budget
        first_step, started = state.step, time.monotonic()
        elapsed_before = state.elapsed + budget.paused
        yield from self._refresh(first=True)
        yield Planned(
            run=self.folder.name,
            plan=self.plan.model_dump(mode="json"),
            settings=config.model_dump(mode="json"),
            labelled=len(self.sampler.labelled.names),
            unlabelled=len(self.ready) + len(self.waiting),
            step=state.step,
        )
        reason: Literal["budget", "stopped"] = "budget"
        saved_at, validated_share, speed = time.monotonic(), 0.0, 0.0
        healthy = True
        try:
            # One step at least, also when preparing took the whole time: a run without a checkpoint is of no use.
            while (share := budget.share(state.step - first_step)) < 1 or state.step == first_step:
                if self.stop():
                    reason = "stopped"
                    break
                step_started = time.monotonic()
                self._check_folder()
                yield from self._refresh()
                if self.stop():
                    continue
                yield from self._prepare_one(time.monotonic() - started)
                stage = self._stage(share)
                lr = self._set_rate(share)
                try:
                    loss = self._step(stage, share)
                except FloatingPointError as error:
                    healthy = False  # the step left the network as it was, but it led here: keep what was saved
                    raise TrainingError(
                        f"{error} at step {state.step + 1} of run {self.folder.name}; go on from its last checkpoint "
                        f"with a smaller rate, --set lr={config.lr / 3:.1g}."
                    ) from None
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
                    share=min(share, 1.0),
                    eta_s=self._eta(first_step, speed),
                    agreement=self.agreement,
                )
                if self.held_out and share - validated_share >= config.validate_every:
                    yield from self._validate()
                    # Counted from its end: where validating takes long, training still gets most of the time.
                    validated_share = budget.share(state.step - first_step)
                if now - saved_at >= config.save_every:
                    saved_at = now
                    yield self._save()
                if self.between is not None:
                    yield from self.between(self._model())
        finally:
            # Also when the caller closes the generator: nothing that was learnt is lost.
            if state.step > first_step and healthy:
                saved = self._save()
        if self.held_out and reason == "budget":
            yield from self._validate()
        if state.step > first_step:
            yield saved
        yield Finished(reason=reason, step=state.step, elapsed_s=state.elapsed)

    # -- the cases --------------------------------------------------------------------------------------------

    def _refresh(self, first: bool = False) -> Iterator[Event]:
        """Take over what has changed in the pool since the last step."""
        revision = self.source.revision()
        if revision == self.revision:
            return
        self.revision = revision
        labelled = [c for c in self.source.labelled() if c not in self.dropped]
        known = set(self.sampler.labelled.names)
        usable = []
        for i, case in enumerate(labelled):
            if first:
                yield Progress(task="preparing labelled scans", done=i, total=len(labelled), case=case.name)
            bad = self._prepare(case)
            if bad is None:
                usable.append(case)
            else:
                yield bad
            if self.stop():
                break
        if first and not self.stop():  # else not all of them may have been looked at
            self.held_out = self._choose_held_out(usable)
            names = [c.name for c in self.held_out]
            if names != self.state.held_out:  # another set, another scale: no earlier network is the best on it
                self.state.held_out, self.state.best = names, -1.0
                (self.folder / checkpoint.BEST).unlink(missing_ok=True)
        held = {c.name for c in self.held_out}
        usable = [c for c in usable if c.name not in held]
        if not usable and not self.stop():
            raise TrainingError("No case has a mask to learn from; accept at least one, then train again.")
        unlabelled = [c for c in self.source.unlabelled() if c not in self.dropped]
        ready = {c.name for c in self.ready}
        self.ready = [c for c in unlabelled if c.name in ready]
        self.waiting = [c for c in unlabelled if c.name not in ready]
        order = self.state.rng.permutation(len(self.waiting)) if first else range(len(self.waiting))
        self.waiting = [self.waiting[i] for i in order]
        self.state.trained_on = sorted({*self.state.trained_on, *(c.name for c in usable)})
        self.sampler.set_cases(usable, self.ready)
        joined = [c.name for c in usable if c.name not in known]
        if joined and not first:
            yield Note(text=f"{', '.join(joined)} joined the training at step {self.state.step}.")

    def _prepare(self, case: CaseFiles) -> CaseUnusable | None:
        if case in self.prepared:
            return None
        try:
            self.cache.get(case)
        except (BcpError, OSError) as error:
            self.dropped.add(case)
            return CaseUnusable(case=case.name, reason=str(error), lasting=_lasting(error))
        self.prepared.add(case)
        return None

    def _drop(self, error: BcpError | OSError) -> Iterator[Event]:
        """Go on without the case that could not be read in the middle of training."""
        case = self.sampler.failed
        if case is None:
            raise error
        self.sampler.failed = None
        self.dropped.add(case)
        yield CaseUnusable(case=case.name, reason=str(error), lasting=_lasting(error))
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

    def _choose_held_out(self, cases: list[CaseFiles]) -> list[CaseFiles]:
        """Hold out one labelled case in five from ten on, or as many as the settings say; always the same ones."""
        count = self.config.hold_out
        if count is None:
            count = len(cases) // 5 if len(cases) >= 10 else 0
        count = min(count, len(cases) - 1)
        if count <= 0:
            return []
        names = [c.name for c in cases]
        kept = [n for n in self.state.held_out if n in names][:count]
        seen = set(kept) | set(self.state.trained_on)
        fresh = sorted(n for n in names if n not in seen)  # a case that was trained on can judge nothing any more
        wanted = min(count - len(kept), len(fresh))
        kept += np.random.default_rng(self.config.seed).choice(fresh, wanted, replace=False).tolist() if wanted else []
        return [c for c in cases if c.name in set(kept)]

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
            group["lr"] = lr
        return lr

    def _step(self, stage: Literal[1, 2], share: float) -> float:
        """Do one optimiser step and move the teacher; returns the loss."""
        state, config = self.state, self.config
        early = state.stage2_from is None and share < config.balanced_share
        self.loss = self.early_loss if early else self.late_loss
        outer = torch.get_rng_state()
        torch.set_rng_state(state.torch_rng)
        try:
            state.student.train()
            mixing = config.mixing + (config.mixing_late - config.mixing) * min(share, 1.0)
            if state.rng.random() >= mixing:
                loss = self._whole_loss()
            elif stage == 1:
                loss = self._labelled_mix_loss()
            else:
                loss = self._bidirectional_loss()
            if not bool(torch.isfinite(loss)):
                raise FloatingPointError(f"The loss became {loss.item()}")
            state.optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            state.optimiser.step()
        finally:
            state.torch_rng = torch.get_rng_state()
            torch.set_rng_state(outer)
        if config.teacher_from_start:
            # The teacher averages about the last tenth of the steps: a plain mean of them all, or a long memory,
            # would hold weights from before the student had seen the smaller structures.
            decay = min(config.ema, state.step / (state.step + 10))
            update_teacher(state.teacher, state.student, decay, config.buffers)
        elif stage == 2:
            update_teacher(state.teacher, state.student, config.ema, config.buffers)
        return float(loss.detach())

    def _whole_loss(self) -> Tensor:
        """Labelled blocks as they are."""
        images, labels = self.sampler.draw_labelled(self.plan.batch)
        return self.loss(self._student(self.sampler.vary(images)), labels.to(self.device), None)

    def _labelled_mix_loss(self) -> Tensor:
        """Stage 1: one labelled block pasted into another."""
        count = self.plan.stage1_batch
        outer, outer_labels = self.sampler.draw_labelled(count)
        inner, inner_labels = self.sampler.draw_labelled(count)
        keep = self._draw_mask()
        mixed = paste(self.sampler.vary(outer), self.sampler.vary(inner), keep)
        logits = self._student(mixed)
        if self.config.stage1_regions:
            targets = outer_labels.to(self.device), inner_labels.to(self.device)
            total = mixed_loss(self.loss, logits, *targets, keep.to(self.device), 1.0, 1.0)
            return total / 2 if self.config.mean_loss else total
        return self.loss(logits, paste(outer_labels, inner_labels, keep).to(self.device), None)

    def _bidirectional_loss(self) -> Tensor:
        """Stage 2: unlabelled into labelled (in) and labelled into unlabelled (out), judged by the teacher's labels."""
        config = self.config
        ways = ("in", "out") if config.direction == "both" else (config.direction,)
        half = max(1, self.plan.batch // len(ways))
        pairs = []
        for _ in ways:
            labelled, labels = self.sampler.draw_labelled(half)
            pairs.append((labelled, labels, self.sampler.draw_unlabelled(half)))
        pseudo = self._pseudo_labels([unlabelled for _, _, unlabelled in pairs])
        keep = self._draw_mask()
        mixed, targets = [], []
        for way, (labelled, labels, unlabelled), guess in zip(ways, pairs, pseudo, strict=True):
            hand, teacher = labels.to(self.device), guess.to(self.device)
            a, b = self.sampler.vary(labelled), self.sampler.vary(unlabelled)
            mixed.append(paste(a, b, keep) if way == "in" else paste(b, a, keep))
            targets.append((hand, teacher, 1.0, config.alpha) if way == "in" else (teacher, hand, config.alpha, 1.0))
        if config.joint_passes:
            logits = list(self._student(torch.cat(mixed)).split(half))  # type: ignore[no-untyped-call]
        else:
            logits = [self._student(m) for m in mixed]
        keep = keep.to(self.device)
        total = sum(
            mixed_loss(self.loss, z, outer, inner, keep, outer_weight, inner_weight)
            for z, (outer, inner, outer_weight, inner_weight) in zip(logits, targets, strict=True)
        )
        assert isinstance(total, Tensor)  # noqa: S101 - there is at least one way
        with torch.no_grad():
            self._measure_agreement(ways, logits, targets, keep)
        # The published loss is a sum of four terms, each about as large as one supervised loss. With whole blocks
        # in between, a step that weighs several times as much would change what the learning rate means.
        return total / (len(ways) * (1 + config.alpha)) if config.mean_loss else total

    @torch.no_grad()
    def _pseudo_labels(self, images: list[Tensor]) -> list[Tensor]:
        """Let the teacher label blocks, one pass each as published or all at once, and clean its labels."""
        teacher = self.state.teacher
        teacher.train(self.config.teacher_mode == "train")
        if self.config.joint_passes:
            logits = list(self._forward(teacher, torch.cat(images)).split(len(images[0])))  # type: ignore[no-untyped-call]
        else:
            logits = [self._forward(teacher, one) for one in images]
        labels = [decide(z) for z in logits]
        if self.config.components == "largest":
            labels = [clean_batch(one, self.config.connectivity) for one in labels]
        return [one.long() for one in labels]

    def _measure_agreement(self, ways: Sequence[str], logits: list[Tensor], targets: list[Any], keep: Tensor) -> None:
        """Follow how far the student draws what the teacher drew, on unlabelled voxels; Dice over all classes."""
        found = []
        for way, z, (outer, inner, *_) in zip(ways, logits, targets, strict=True):
            teacher, region = (outer, keep) if way == "out" else (inner, ~keep)
            student = z.argmax(1) * region
            teacher = teacher * region
            both = float(((student == teacher) & (teacher > 0)).sum())
            size = float((student > 0).sum() + (teacher > 0).sum())
            if size:
                found.append(2 * both / size)
        if found:
            value = float(np.mean(found))
            self.agreement = value if self.agreement is None else 0.9 * self.agreement + 0.1 * value

    def _draw_mask(self) -> Tensor:
        boxes = draw_boxes(self.plan.block, self.state.rng, strategy=self.config.mask, beta=self.config.beta)
        return keep_mask(self.plan.block, boxes)

    def _student(self, images: Tensor) -> Tensor:
        return self._forward(self.state.student, images)

    def _forward(self, network: nn.Module, images: Tensor) -> Tensor:
        with arithmetic(self.device, self.bfloat16):
            logits: Tensor = network(images.to(self.device).contiguous(memory_format=self.form))
        return logits

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
        if best:
            self.state.best = mean
            self._save(checkpoint.BEST)
        yield Validated(step=self.state.step, dice=means, best=best)


def _lasting(error: BcpError | OSError) -> bool:
    """Say whether a case that failed is at fault itself, and not a file that is away or memory that is short."""
    return not isinstance(error, ScanAwayError | OSError)
