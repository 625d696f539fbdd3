"""The verbs: what the command line and Python users call, one function each.

A pool is given as an open `Pool` or as its folder. Work that takes long is a generator of events
(`napari_bcp.events`); close it, or let `stop` return True, to end it early with everything kept.
Nothing heavy is imported before it is needed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
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
    from napari_bcp.scans import ClassSpec

    PoolLike = Pool | str | os.PathLike[str]

Stop = Callable[[], bool]


# -- the pool ---------------------------------------------------------------------------------------------------


def new_pool(
    root: str | os.PathLike[str],
    images: str | os.PathLike[str],
    labels: str | os.PathLike[str] | None = None,
    classes: str | os.PathLike[str] | Sequence[ClassSpec] | None = None,
    progress: Callable[[int, int, str], None] | None = None,
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
    progress: Callable[[int, int, str], None] | None = None,
    *,
    note: Callable[[str], None] | None = None,
) -> list[str]:
    """Add the scans in `images` that the pool does not know, and masks of cases that never had one; returns new names.

    progress : called with done, total and the case's name;  note : with what was assumed or left out
    Raises ScanError when a folder cannot be read, PoolError when there is no scan.
    """
    with _opened(pool, write=True) as opened:
        names = opened.extend(Path(images), None if labels is None else Path(labels), progress)
        _tell(opened.notes, note)
        return names


def exclude(pool: PoolLike, cases: Sequence[str]) -> None:
    """Leave cases out of training and predictions until they are included again.

    Raises UnknownCaseError for a name that is none, StateError for an unusable case.
    """
    _change(pool, "exclude", cases)


def include(pool: PoolLike, cases: Sequence[str]) -> None:
    """Take excluded cases in again with the status they had, and unusable ones whose file was mended.

    Raises as `exclude`, and ScanError or MaskError when a file still cannot be used.
    """
    _change(pool, "include", cases)


def reset(pool: PoolLike, cases: Sequence[str]) -> None:
    """Make cases unlabelled: map and draft go, accepted masks are put aside and stay in the pool's folder.

    Raises as `include`.
    """
    _change(pool, "reset", cases)


def accept(
    pool: PoolLike, case: str, mask: str | os.PathLike[str], *, note: Callable[[str], None] | None = None
) -> int:
    """Make the file `mask` the accepted mask of `case`; returns its version.

    note : called with what was noticed, such as that the mask is empty, or that an unfinished draft of the case was
        put aside.
    Raises MaskError or GridMismatchError when it does not fit, StateError when the case is excluded.
    """
    with _opened(pool, write=True) as opened:
        version = opened.accept(case, Path(mask))
        _tell(opened.notes, note)
        return version


def export(
    pool: PoolLike,
    dest: str | os.PathLike[str],
    layout: Literal["plain", "nnunet"] = "plain",
    progress: Callable[[int, int, str], None] | None = None,
    *,
    replace: bool = False,
) -> dict[str, int]:
    """Write masks and pseudo-labels under `dest`; returns how many files of each sort.

    replace : whether an earlier export in `dest` may go; otherwise the folder has to be new or empty
    """
    with _opened(pool) as opened:
        return opened.export(Path(dest), layout, progress, replace=replace)


def relocate(
    pool: PoolLike,
    old: str | os.PathLike[str],
    new: str | os.PathLike[str],
    *,
    note: Callable[[str], None] | None = None,
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
    """Return the pool's state as plain values: root, classes, counts, runs, and cases with the paths of their scans."""
    with _opened(pool) as opened:
        return {
            "root": str(opened.root),
            "classes": [{"value": c.value, "name": c.name, "colour": c.colour} for c in opened.classes],
            "counts": dict(opened.counts()),
            "runs": [
                {"id": r.id, "preset": r.preset, "step": r.step, "elapsed_s": r.elapsed_s, "status": r.status}
                for r in opened.runs()
            ],
            "cases": [
                {
                    "name": c.name,
                    "status": c.status,
                    "path": str(c.path),
                    "reason": c.reason,
                    "quality": None if c.map is None else {str(k): v for k, v in c.map.quality.items()},
                    "mask_version": c.mask_version,
                    "changed": c.changed,
                }
                for c in opened.cases()
            ],
        }


def evaluate(
    predictions: str | os.PathLike[str],
    truth: str | os.PathLike[str],
    *,
    paper: bool = False,
    progress: Callable[[int, int, str], None] | None = None,
) -> Report:
    """Compare the masks of two folders, matched by name; see napari_bcp.metrics.

    paper : Dice, Jaccard, 95HD and ASD in voxels, as published, instead of measures in mm.
    """
    from napari_bcp.metrics import evaluate_folder

    return evaluate_folder(Path(predictions), Path(truth), paper=paper, progress=progress)


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

    The last run goes on, unless `fresh`, or another preset or other classes ask for a new one. Masks that are
    accepted while it trains (through the same `Pool`) join at the next step.
    Raises SettingError, TrainingError, CheckpointError, DeviceError, and PoolError when the pool cannot be written.
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
    cases: Sequence[str] | None = None,
    *,
    device: str = "auto",
    stop: Stop | None = None,
) -> Iterator[Event]:
    """Make maps and pseudo-labels with the newest run, for `cases` or for every case without an accepted mask.

    Without `cases` those whose map this run and step made already are left out, so an interrupted call can be repeated.
    Raises CheckpointError when nothing was trained, UnknownCaseError for a name that is none, PoolError when a map
    cannot be written.
    """
    started = time.monotonic()
    with _opened(pool, write=True) as opened, ExitStack() as stack:
        from napari_bcp.pool.paths import inside
        from napari_bcp.pool.runs import best_checkpoint, last_trained, record_made

        run = last_trained(opened)
        if run is None:
            raise CheckpointError(f"The pool {opened.root} has no run; train first with 'napari-bcp train'.")
        maps = inside(opened.root, "maps")
        with _writing(maps, "move the pool to another disk"):
            check_writable(maps)
        model = stack.enter_context(_loaded(best_checkpoint(run), device))
        if cases:
            chosen = [opened.case(name) for name in dict.fromkeys(cases)]
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
    A file that cannot be used is reported and the rest goes on. Raises CheckpointError, ScanError when there is
    nothing to segment, and PoolError when `out` cannot be written.
    """
    from napari_bcp.pool.runs import best_checkpoint, last_trained
    from napari_bcp.scans import read_scan, stem, write_map, write_mask

    started = time.monotonic()
    files = _scans_among(images)
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
        targets = {
            file: [out / f"{stem(file)}.nii.gz", *(_probability(out, file, k) for k in values)] for file in files
        }
        refused = _without_a_place(targets, out, own)
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


def _change(pool: PoolLike, action: Literal["exclude", "include", "reset"], cases: Sequence[str]) -> None:
    """Do one of the pool's actions with these cases, once all of them are known."""
    with _opened(pool, write=True) as opened:
        for name in [opened.case(one).name for one in dict.fromkeys(cases)]:
            getattr(opened, action)(name)


def _scans_among(images: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """Return the files that are named, and those in folders that are named, each once. ScanError if there is none."""
    from napari_bcp.pool.paths import settled
    from napari_bcp.scans import is_nifti

    files: list[Path] = []
    for image in map(Path, images):
        if image.is_dir():
            files += sorted(path for path in image.iterdir() if is_nifti(path) and not path.name.startswith("."))
        else:
            files.append(image)
    if not files:
        raise ScanError("There is no NIfTI file to segment; name .nii or .nii.gz files, or a folder of them.")
    return list({settled(file): file for file in files}.values())


def _probability(out: Path, file: Path, value: int) -> Path:
    """Return the file for the probability of a class."""
    from napari_bcp.scans import stem

    return out / f"{stem(file)}_prob_{value}.nii.gz"


def _without_a_place(targets: Mapping[Path, Sequence[Path]], out: Path, own: Collection[Path]) -> dict[Path, str]:
    """Return the scans whose files must not be written to the folder `out`, with the sentence why.

    targets : what is to be written of each scan;  own : scans of the pool
    A scan must not get what another one gets, and no file may take a scan's place or lie beside it under its name.
    """
    from napari_bcp.scans import stem

    owners: dict[Path, list[Path]] = {}
    for file, wanted in targets.items():
        for target in wanted:
            owners.setdefault(target, []).append(file)
    scans = {file.resolve() for file in targets}
    beside = {stem(file) for file in targets if file.parent.resolve() == out.resolve()}
    refused = {}
    for file, wanted in targets.items():
        for target in wanted:
            others = [other for other in owners[target] if other != file]
            if others:
                refused[file] = f"{file} and {others[0]} would both become {target}: rename one, or leave one out."
            elif target.resolve() in scans or target.resolve() in own or stem(target) in beside:
                refused[file] = (
                    f"What is made of {file} would be named as a scan in {out}: choose another folder with -o."
                )
    return refused


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


def _tell(notes: Sequence[str], note: Callable[[str], None] | None) -> None:
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
