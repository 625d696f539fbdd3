"""The verbs: what the command line and Python users call, one function each.

A pool is given as an open `Pool` or as its folder. Work that takes long is a generator of events
(`napari_bcp.events`); close it, or let `stop` return True, to end it early with everything kept.
Nothing heavy is imported before it is needed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from napari_bcp.config import make_config
from napari_bcp.errors import (
    BcpError,
    CheckpointError,
    DeviceError,
    DeviceLostError,
    PoolError,
    ScanAwayError,
    ScanError,
    SettingError,
    StateError,
)
from napari_bcp.events import CaseUnusable, Event, Finished, Note, Planned, Progress, Saved, Step
from napari_bcp.files import check_writable

if TYPE_CHECKING:
    from napari_bcp.engine.model import Model
    from napari_bcp.metrics import Report
    from napari_bcp.pool import Pool
    from napari_bcp.review.proposals import Proposal
    from napari_bcp.scans import ClassSpec

    PoolLike = Pool | str | os.PathLike[str]

Stop = Callable[[], bool]
Tell = Callable[[str], None]
Reporter = Callable[[int, int, str], None]


# -- the pool ---------------------------------------------------------------------------------------------------


def new_pool(
    root: str | os.PathLike[str],
    images: str | os.PathLike[str],
    labels: str | os.PathLike[str] | None = None,
    classes: str | os.PathLike[str] | Sequence[ClassSpec] | None = None,
    progress: Reporter | None = None,
) -> Pool:
    """Create a pool in the folder `root` from the scans in `images` and the masks in `labels`.

    classes : a file with the classes' names (see docs/formats.md), or the classes themselves.
    progress : called with done, total and the case's name.
    Returns the pool, open for writing; use it with `with`. `pool.notes` lists what was assumed or left out.
    Raises PoolError when `root` holds a pool already or there are no scans.
    """
    from napari_bcp.pool import Pool

    named = Path(classes) if isinstance(classes, str | os.PathLike) else classes
    return Pool.create(Path(root), Path(images), None if labels is None else Path(labels), named, progress)


def open_pool(root: str | os.PathLike[str], write: bool = False) -> Pool:
    """Open the pool in `root`. Raises PoolError, PoolLockedError or PoolVersionError."""
    from napari_bcp.pool import Pool

    return Pool.open(Path(root), write=write)


def add(
    pool: PoolLike,
    images: str | os.PathLike[str],
    labels: str | os.PathLike[str] | None = None,
    progress: Reporter | None = None,
    *,
    note: Tell | None = None,
) -> list[str]:
    """Add the scans in `images` that the pool does not know, and masks of cases that never had one; returns new names.

    progress : called with done, total and the case's name;  note : with what was assumed or left out
    Raises ScanError when a folder cannot be read, PoolError when there is no scan.
    """
    with _opened(pool, write=True) as opened:
        names = opened.extend(Path(images), None if labels is None else Path(labels), progress)
        _tell(opened.notes, note)
        return names


def exclude(pool: PoolLike, cases: str | Sequence[str]) -> None:
    """Leave one case or several out of training and predictions until they are included again.

    Raises, before anything is changed, UnknownCaseError for a name that is none, StateError for an unusable case.
    """
    _change(pool, "exclude", cases)


def include(pool: PoolLike, cases: str | Sequence[str]) -> None:
    """Take excluded cases in again with the status they had, and unusable ones whose file was mended.

    Cases that take part already stay as they are. Raises UnknownCaseError and, when a scan still cannot be used,
    ScanError before anything is changed; MaskError when a mask does not lie on its mended scan, with the cases before
    it taken in.
    """
    _change(pool, "include", cases)


def reset(pool: PoolLike, cases: str | Sequence[str]) -> None:
    """Make cases unlabelled: map and draft go, accepted masks are put aside and stay in the pool's folder.

    Raises, before anything is changed, UnknownCaseError, StateError for an excluded case, and ScanError for an
    unusable one whose scan still cannot be used.
    """
    _change(pool, "reset", cases)


def reopen(pool: PoolLike, cases: str | Sequence[str]) -> None:
    """Make accepted cases drafts again; their masks stay in force until others are accepted.

    Raises, before anything is changed, UnknownCaseError, and StateError for a case that is not accepted.
    """
    _change(pool, "reopen", cases)


def reject(pool: PoolLike, cases: str | Sequence[str], *, note: Tell | None = None) -> None:
    """Turn down the pseudo-labels or drafts of cases: no mask is in force, they are proposed last until a newer map.

    note : called with what was noticed, such as that an unfinished draft was put aside
    Raises, before anything is changed, UnknownCaseError, and StateError for a case that is neither predicted nor a
    draft.
    """
    _change(pool, "reject", cases, note)


def name_classes(
    pool: PoolLike, names: Mapping[int, str], colours: Mapping[int, str] | None = None, *, note: Tell | None = None
) -> tuple[ClassSpec, ...]:
    """Name classes by their value in masks, and add those that the pool does not have yet; returns all of them.

    colours : as #rrggbb, by value; without one a class keeps its own, or gets the usual one
    note : called with what adding a class means for masks that there are
    Raises SettingError for a value, name or colour that is none, and for a name that another class has.
    """
    from napari_bcp.scans import ClassSpec
    from napari_bcp.scans.classes import default_colour

    with _opened(pool, write=True) as opened:
        named = {spec.value: spec.name for spec in opened.classes} | dict(names)
        coloured = {spec.value: spec.colour for spec in opened.classes} | dict(colours or {})
        values = {**names, **(colours or {})}
        opened.change_classes([ClassSpec(k, named.get(k, ""), coloured.get(k, default_colour(k))) for k in values])
        _tell(opened.notes, note)
        return opened.classes


def propose(pool: PoolLike, number: int | None = None) -> list[Proposal]:
    """Return the cases that wait for a verdict, those most worth a look first, as the window proposes them.

    number : of cases at the most, all when None
    Each has `name`, `reason` (a phrase), `kind` ("uncertain", "random" or "unseen") and `score` (how unsure its map
    is). The order stays until something is accepted, rejected or predicted.
    """
    from napari_bcp.review.waiting import rank, rejected_in

    with _opened(pool) as opened:
        return rank(opened.cases(), opened.classes, rejected_in(opened.history()))[:number]


def accept(
    pool: PoolLike,
    case: str,
    mask: str | os.PathLike[str] | None = None,
    *,
    pseudo_label: bool = False,
    note: Tell | None = None,
) -> int:
    """Make the file `mask`, or the pseudo-label as it is, the accepted mask of `case`; returns its version.

    note : called with what was noticed, such as that the mask is empty, or that an unfinished draft of the case was
        put aside.
    Raises MaskError or GridMismatchError when it does not fit, StateError when the case is excluded or has no
    pseudo-label, SettingError unless there is either a mask or `pseudo_label`.
    """
    from napari_bcp.review.waiting import accept_as_it_is

    if (mask is None) != pseudo_label:
        raise SettingError(f"Name a mask for case '{case}', or ask for its pseudo-label (--pseudo-label): one of them.")
    with _opened(pool, write=True) as opened:
        version = accept_as_it_is(opened, case) if mask is None else opened.accept(case, Path(mask))
        _tell(opened.notes, note)
        return version


def accept_above(
    pool: PoolLike, quality: float, progress: Reporter | None = None, *, note: Tell | None = None
) -> list[str]:
    """Accept, by the rule, the pseudo-labels in which every class was found with at least this expected quality.

    quality : 0 to 1; it ranks cases and is no Dice
    progress : called with done, total and the case's name;  note : with why a case could not be accepted
    Returns the names of the accepted cases. Raises SettingError for another quality, PoolError when a mask cannot be
    written.
    """
    from napari_bcp.review.waiting import accept_all_above

    if not 0 <= quality <= 1:
        raise SettingError(f"An expected quality of {quality:g} cannot be: give a number from 0 to 1, such as 0.95.")
    with _opened(pool, write=True) as opened:
        accepted, refused = accept_all_above(opened, quality, progress)
        _tell(refused, note)
        return accepted


def export(
    pool: PoolLike,
    dest: str | os.PathLike[str],
    layout: Literal["plain", "nnunet"] = "plain",
    progress: Reporter | None = None,
    *,
    replace: bool = False,
) -> dict[str, int]:
    """Write masks and pseudo-labels under `dest`; returns how many files of each sort.

    layout : "plain" (dest/accepted, dest/pseudo, dest/cases.csv), or that of nnU-Net
    progress : called with done, total and the case's name
    replace : whether an earlier export in `dest` may go; otherwise the folder has to be new or empty
    Raises PoolError when `dest` holds anything else or cannot be written, MaskError or ScanError for a broken file.
    """
    with _opened(pool) as opened:
        return opened.export(Path(dest), layout, progress, replace=replace)


def relocate(
    pool: PoolLike, old: str | os.PathLike[str], new: str | os.PathLike[str], *, note: Tell | None = None
) -> int:
    """Let scans that lay under `old` be found under `new`, if they are there; returns how many cases that concerns.

    note : called with a sentence on the scans that are not under `new`, where there are any.
    Raises PoolError when none is there, or one of them is another case's scan already.
    """
    with _opened(pool, write=True) as opened:
        moved = opened.relocate(Path(old), Path(new))
        _tell(opened.notes, note)
        return moved


def status(pool: PoolLike) -> dict[str, Any]:
    """Return the pool's state as plain values, as `napari-bcp status --json` prints it (fields: docs/formats.md)."""
    from napari_bcp.pool.plain import plain_state

    with _opened(pool) as opened:
        return plain_state(opened)


def evaluate(
    predictions: str | os.PathLike[str],
    truth: str | os.PathLike[str],
    *,
    paper: bool = False,
    classes: str | os.PathLike[str] | Sequence[ClassSpec] | None = None,
    progress: Reporter | None = None,
) -> Report:
    """Compare the masks of two folders, matched by name; see napari_bcp.metrics.

    paper : Dice, Jaccard, 95HD and ASD in voxels, as published, instead of measures in mm.
    classes : a file with the classes' names, as `new_pool` takes it, or the classes themselves; values that it does
        not name are measured as well
    progress : called with done, total and the case's name
    What cannot be measured is in the report's `missing`, `refused` and `extra`. Raises MaskError where a folder does
    not exist or holds no mask, SettingError for a file that names no classes.
    """
    from napari_bcp.metrics import evaluate_folder
    from napari_bcp.scans import read_classes

    named = read_classes(Path(classes)) if isinstance(classes, str | os.PathLike) else classes or ()
    report = evaluate_folder(Path(predictions), Path(truth), paper=paper, progress=progress)
    report.classes |= {spec.value: spec.name for spec in named if spec.value in report.classes}
    return report


# -- training ---------------------------------------------------------------------------------------------------


def train(
    pool: PoolLike,
    *,
    preset: str | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    settings: Mapping[str, Any] | None = None,
    device: str = "auto",
    fresh: bool = False,
    stop: Stop | None = None,
) -> Iterator[Event]:
    """Train on the pool's accepted masks and its other scans, for `minutes` (5 if nothing is said) or `steps`.

    preset : one of `config.PRESETS`; when None that of the last run, or "quick"
    settings : fields of `config.TrainConfig`, laid over the preset, or over those of the run that goes on
    device : "auto", "cpu" or "cuda:N"
    fresh : begin a new run; else the last one goes on, unless another preset or other classes ask for a new one
    stop : asked between two steps; once it returns True the training saves and ends with Finished(reason="stopped")

    Masks that are accepted while it trains (through the same `Pool`) join at the next step.
    Raises SettingError for a budget, preset or setting that cannot be, TrainingError without a mask or where losses
    stay no numbers, CheckpointError for one that cannot be read, DeviceError for a device that is not there or has too
    little memory, PoolError when the pool cannot be written.
    """
    started = time.monotonic()
    if minutes is not None and steps is not None:
        raise SettingError("Give minutes or steps, not both.")
    if (minutes is not None and not minutes > 0) or (steps is not None and steps < 1):
        raise SettingError("The budget must be greater than zero; give --minutes 5, for example.")
    if preset is not None:
        make_config(preset)
    with _opened(pool, write=True) as opened:
        from napari_bcp.engine.device import pick_device
        from napari_bcp.engine.plan import Plan
        from napari_bcp.engine.sources import PoolSource
        from napari_bcp.engine.train import Budget
        from napari_bcp.engine.train import train as run_training
        from napari_bcp.pool.runs import NEWEST, choose_run

        place = pick_device(device)
        chosen = choose_run(opened, preset, settings or {}, fresh, Plan.model_validate)
        yield from chosen.notes
        run, config = chosen.record, chosen.config
        plan = Plan.model_validate(run.plan) if chosen.resume else None
        seconds = None if steps is not None else 60.0 * (minutes if minutes is not None else 5.0)
        budget = Budget(seconds=seconds, steps=steps, start=started)
        opened.update_run(run.id, status="running", config=config.model_dump(mode="json"))
        ended = "failed"
        last_step, elapsed = run.step, run.elapsed_s
        checkpoint: Path | None = run.checkpoint
        training = run_training(
            PoolSource(opened),
            run.path,
            opened.root / "cache",
            plan,
            config,
            budget,
            device=place,
            classes=[c.value for c in opened.classes],
            resume=chosen.resume,
            stop=stop,
        )
        try:
            for event in training:
                if isinstance(event, Planned):
                    opened.update_run(run.id, plan=event.plan)
                elif isinstance(event, Step):
                    last_step, elapsed = event.step, event.elapsed_s
                elif isinstance(event, Saved):
                    checkpoint = Path(event.path)
                    opened.update_run(run.id, step=last_step, elapsed_s=elapsed, checkpoint=checkpoint)
                elif isinstance(event, CaseUnusable):
                    if event.lasting:
                        opened.mark_unusable(event.case, event.reason)
                elif isinstance(event, Finished):
                    ended = "finished" if event.reason == "budget" else "stopped"
                yield event
        except GeneratorExit:
            ended = "stopped"
            raise
        finally:
            training.close()  # saves, when the caller went away
            newest = run.path / NEWEST
            opened.update_run(
                run.id,
                status=ended,
                step=last_step,
                elapsed_s=elapsed,
                checkpoint=newest if newest.exists() else checkpoint,
            )


# -- maps -------------------------------------------------------------------------------------------------------


def predict(
    pool: PoolLike,
    cases: str | Sequence[str] | None = None,
    *,
    device: str = "auto",
    stop: Stop | None = None,
) -> Iterator[Event]:
    """Make maps and pseudo-labels with the newest run, for `cases` or for every case without an accepted mask.

    cases : names; when None all but those whose map this run and step made already, so that an interrupted call can
        be repeated
    device : "auto", "cpu" or "cuda:N";  stop : once it returns True the work ends, and what is done stays
    A case that cannot be read, or is too large for the memory, is reported (CaseUnusable) and the others go on.
    Raises CheckpointError when nothing was trained, UnknownCaseError for a name that is none, StateError for an
    unusable case, DeviceError for a device that is not there, DeviceLostError for a graphics card that fails,
    PoolError when a map cannot be written.
    """
    started = time.monotonic()
    with _opened(pool, write=True) as opened, ExitStack() as stack:
        from napari_bcp.pool.many import names_of
        from napari_bcp.pool.paths import inside
        from napari_bcp.pool.runs import best_checkpoint, last_trained, record_made

        run = last_trained(opened)
        if run is None:
            raise CheckpointError(f"The pool {opened.root} has no run; train first with 'napari-bcp train'.")
        maps = inside(opened.root, "maps")
        with _writing(maps, "move the pool to another disk"):
            check_writable(maps)
        model = stack.enter_context(_loaded(best_checkpoint(run), device))
        if cases is not None:
            chosen = [opened.case(name) for name in names_of(cases)]
            for case in chosen:
                if case.status == "unusable":
                    raise StateError(f"Case '{case.name}' is unusable: {case.reason}", case=case.name)
        else:
            chosen = [
                c
                for c in opened.cases(("unlabelled", "predicted", "draft"))
                if c.map is None or (c.map.run, c.map.step) != (run.id, model.step)
            ]
        for i, case in enumerate(chosen):
            yield Progress(
                task="predicting", done=i, total=len(chosen), case=case.name, eta_s=_eta(started, i, len(chosen))
            )
            folder = opened.map_folder(case.name)
            try:
                with _writing(folder, "move the pool to another disk; what is done already is kept"):
                    made = model.make_map(case.name, case.path, folder, stop)
            except ScanError as error:
                yield _leave_out(opened, case.name, error)
                continue
            except DeviceLostError:
                raise
            except DeviceError as error:  # too large for the memory that is left; the others may not be
                yield CaseUnusable(case=case.name, reason=str(error), lasting=False)
                continue
            if made is None:
                yield Finished(reason="stopped", step=model.step, elapsed_s=time.monotonic() - started)
                return
            record_made(opened, made)
            if made.note:
                yield Note(text=made.note, case=case.name)
            yield made
        yield Progress(task="predicting", done=len(chosen), total=len(chosen))
        yield Finished(reason="done", step=model.step, elapsed_s=time.monotonic() - started)


def segment(
    source: str | os.PathLike[str],
    images: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    probabilities: bool = False,
    replace: bool = False,
    device: str = "auto",
    stop: Stop | None = None,
) -> Iterator[Event]:
    """Segment files outside the pool with a pool's newest run or a checkpoint file.

    images : NIfTI files, or folders of them.  out : folder for masks, each named as its image, on its grid.
    probabilities : also write NAME_prob_CLASS.nii.gz, 8 bit.
    replace : make files anew that are in `out` already; otherwise they stay, so that an interrupted call can be
        repeated, and a note says how many. Neither these scans nor those of the pool are ever replaced.
    device, stop : as `predict` has them
    A file that cannot be used is reported and the rest goes on. Raises CheckpointError, ScanError when there is
    nothing to segment, DeviceError for a device that is not there, and PoolError when `out` cannot be written.
    """
    from napari_bcp.pool.outside import scans_among, targets_of, without_a_place
    from napari_bcp.pool.runs import best_checkpoint, last_trained
    from napari_bcp.scans import read_scan, stem, write_map, write_mask

    started = time.monotonic()
    files = scans_among(images)
    source, out = Path(source), Path(out)
    if source.is_dir():
        with _opened(source) as opened:
            run, own = last_trained(opened), {case.path for case in opened.cases()}
        if run is None:
            raise CheckpointError(f"The pool {source} has no run; train first with 'napari-bcp train'.", path=source)
        checkpoint = best_checkpoint(run)
    else:
        checkpoint, own = source, set()
    with _writing(out, "choose another folder with -o"):
        check_writable(out)
    with _loaded(checkpoint, device) as model:
        values = model.plan.classes if probabilities else ()
        targets = {file: targets_of(file, out, values) for file in files}
        refused = without_a_place(targets, out, own)
        for file, reason in refused.items():
            yield CaseUnusable(case=stem(file), reason=reason)
        wanted = [target for file in files if file not in refused for target in targets[file]]
        there = set() if replace else {target for target in wanted if target.exists()}
        if there:
            held = f"{out} holds {len(there)} of {len(wanted)} files already"
            yield Note(text=f"{held}, and these stay as they are; add --replace to make them anew.")
        todo = [file for file in files if file not in refused and not there.issuperset(targets[file])]
        for i, file in enumerate(todo):
            yield Progress(
                task="segmenting", done=i, total=len(todo), case=stem(file), eta_s=_eta(started, i, len(todo))
            )
            mask, *maps = targets[file]
            try:
                scan = read_scan(file)
                for note in scan.notes:
                    yield Note(text=note, case=stem(file))
                found = None if stop is not None and stop() else model.segment(scan, stop)
            except DeviceLostError:
                raise
            except (ScanError, DeviceError) as error:
                yield CaseUnusable(case=stem(file), reason=str(error))
                continue
            if found is None:
                yield Finished(reason="stopped", step=model.step, elapsed_s=time.monotonic() - started)
                return
            with _writing(out, "choose another folder with -o, or repeat the command then"):
                for k, target in enumerate(maps):
                    if target not in there:
                        write_map(target, found.map.read(k), scan.grid)
                if mask not in there:
                    write_mask(mask, found.labels, scan.grid)
            if found.note:
                yield Note(text=found.note, case=stem(file))
            yield model.event(stem(file), mask, mask, found)
        yield Progress(task="segmenting", done=len(todo), total=len(todo))
        yield Finished(reason="done", step=model.step, elapsed_s=time.monotonic() - started)


# -- small things -----------------------------------------------------------------------------------------------


@contextmanager
def _loaded(checkpoint: Path, device: str) -> Iterator[Model]:
    """Read a checkpoint and yield the model; torch has its number of threads, which the model sets, back in the end."""
    import torch

    from napari_bcp.engine.model import Model

    former = torch.get_num_threads()
    try:
        yield Model.load(checkpoint, device)
    finally:
        torch.set_num_threads(former)


def _change(
    pool: PoolLike,
    action: Literal["exclude", "include", "reset", "reopen", "reject"],
    cases: str | Sequence[str],
    note: Tell | None = None,
) -> None:
    from napari_bcp.pool.many import change_all

    with _opened(pool, write=True) as opened:
        _tell(change_all(opened, action, cases), note)


@contextmanager
def _writing(place: Path, otherwise: str) -> Iterator[None]:
    """Turn what goes wrong while writing to `place` into a PoolError; `otherwise` is what else can be done."""
    try:
        yield
    except OSError as error:
        why = error.strerror or error
        raise PoolError(
            f"{place} cannot be written ({why}); free some space, make it writable, or {otherwise}.", path=place
        ) from None


def _leave_out(pool: Pool, name: str, error: BcpError) -> CaseUnusable:
    """Report a case that cannot be read; it becomes unusable in the pool unless it may be read another time."""
    lasting = not isinstance(error, ScanAwayError)
    if lasting:
        pool.mark_unusable(name, str(error))
    return CaseUnusable(case=name, reason=str(error), lasting=lasting)


def _tell(notes: Sequence[str], note: Tell | None) -> None:
    if note is not None:
        for text in notes:
            note(text)


def _eta(started: float, done: int, total: int) -> float | None:
    return (time.monotonic() - started) / done * (total - done) if done else None


@contextmanager
def _opened(pool: Any, write: bool = False) -> Iterator[Pool]:
    """Yield an open pool; one that was handed in open stays open."""
    from napari_bcp.pool import Pool

    if isinstance(pool, Pool):
        yield pool
        return
    with Pool.open(Path(pool), write=write) as opened:
        yield opened
