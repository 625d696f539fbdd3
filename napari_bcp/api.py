"""The verbs: what the command line and Python users call, one function each.

A pool is given as an open `Pool` or as its folder. Work that takes long is a generator of events
(`napari_bcp.events`); close it, or let `stop` return True, to end it early with everything kept.
Nothing heavy is imported before it is needed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from napari_bcp.config import TrainConfig, make_config
from napari_bcp.errors import (
    BcpError,
    CheckpointError,
    DeviceError,
    MaskError,
    ScanAwayError,
    ScanError,
    SettingError,
    StateError,
    TrainingError,
)
from napari_bcp.events import CaseUnusable, Event, Finished, MapMade, Note, Progress, Saved, Step

if TYPE_CHECKING:
    import torch

    from napari_bcp.engine.cache import CaseFiles
    from napari_bcp.engine.plan import Plan
    from napari_bcp.engine.predict import Prediction
    from napari_bcp.metrics import Report
    from napari_bcp.pool import Pool, RunRecord
    from napari_bcp.scans import ClassSpec, Scan

    PoolLike = Pool | str | os.PathLike[str]

Stop = Callable[[], bool]

PLAN_SETTINGS = (
    "dimensions",
    "network",
    "width",
    "spacing",
    "patch",
    "batch",
    "stage1_batch",
    "normalise",
    "fit",
)
"""Settings that shape the plan, and so cannot change while a run goes on."""


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


def accept(
    pool: PoolLike, case: str, mask: str | os.PathLike[str], *, note: Callable[[str], None] | None = None
) -> int:
    """Make the file `mask` the accepted mask of `case`; returns its version.

    note : called with what was noticed about the file, such as that the mask is empty.
    Raises MaskError or GridMismatchError when it does not fit, StateError when the case is excluded.
    """
    with _opened(pool, write=True) as opened:
        version = opened.accept(case, Path(mask))
        for text in opened.notes:
            if note is not None:
                note(text)
        return version


def export(
    pool: PoolLike,
    dest: str | os.PathLike[str],
    layout: Literal["plain", "nnunet"] = "plain",
    progress: Callable[[int, int, str], None] | None = None,
) -> dict[str, int]:
    """Write masks and pseudo-labels under `dest`; returns how many files of each sort."""
    with _opened(pool) as opened:
        return opened.export(Path(dest), layout, progress)


def relocate(pool: PoolLike, old: str | os.PathLike[str], new: str | os.PathLike[str]) -> int:
    """Let scans that lay under `old` be found under `new`; returns how many cases that concerns."""
    with _opened(pool, write=True) as opened:
        return opened.relocate(Path(old), Path(new))


def status(pool: PoolLike) -> dict[str, Any]:
    """Return the pool's state as plain values: root, classes, counts, runs and cases."""
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
        from napari_bcp.engine.train import Budget
        from napari_bcp.engine.train import train as run_training

        place = pick_device(device)
        run, config, plan, resume, notes = _run_to_train(opened, preset, settings or {}, fresh)
        yield from notes
        if plan is None:
            plan = yield from _make_plan(opened, config, place)
            run = opened.new_run(preset or "quick", config.model_dump(mode="json"), plan.model_dump(mode="json"))
        assert run is not None  # noqa: S101 - a run to go on with, or the one made above
        seconds = None if steps is not None else 60.0 * (minutes if minutes is not None else 5.0)
        budget = Budget(seconds=seconds, steps=steps, start=started)
        opened.update_run(run.id, status="running", config=config.model_dump(mode="json"))
        ended = "failed"
        last_step, elapsed = run.step, run.elapsed_s
        checkpoint: Path | None = run.checkpoint
        training = run_training(
            _PoolSource(opened),
            run.path,
            opened.root / "cache",
            plan,
            config,
            budget,
            device=place,
            resume=resume,
            stop=stop,
        )
        try:
            for event in training:
                if isinstance(event, Step):
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
            newest = run.path / "last.pt"
            opened.update_run(
                run.id,
                status=ended,
                step=last_step,
                elapsed_s=elapsed,
                checkpoint=newest if newest.exists() else checkpoint,
            )


def _run_to_train(
    pool: Pool, preset: str | None, settings: Mapping[str, Any], fresh: bool
) -> tuple[RunRecord | None, TrainConfig, Plan | None, bool, list[Event]]:
    """Return the run that goes on with its plan, or the settings of one that is to be made."""
    from napari_bcp.engine.plan import Plan

    last = _last_trained(pool)
    notes: list[Event] = []
    if last is not None and not fresh:
        wanted = tuple(sorted(c.value for c in pool.classes))
        if preset is not None and preset != last.preset:
            notes.append(Note(text=f"Run {last.id} used preset {last.preset}; a new run begins with {preset}."))
        elif tuple(last.plan.get("classes", ())) != wanted:
            notes.append(Note(text=f"The classes have changed since run {last.id}; a new run begins."))
        else:
            wanted_config = make_config(last.preset, {**_known(last.config), **settings}).model_dump(mode="json")
            clash = [k for k in settings if k in PLAN_SETTINGS and wanted_config[k] != last.config.get(k)]
            if clash:
                raise SettingError(
                    f"Setting '{clash[0]}' cannot change while run {last.id} goes on; add --fresh to start over."
                )
            try:
                config = make_config(last.preset, {**_known(last.config), **settings})
                return last, config, Plan.model_validate(last.plan), True, notes
            except (ValueError, SettingError) as error:
                if isinstance(error, SettingError) and settings:
                    raise
                notes.append(Note(text=f"The plan of run {last.id} cannot be read; a new run begins."))
    return None, make_config(preset or "quick", settings), None, False, notes


def _known(config: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in config.items() if k in TrainConfig.model_fields}


def _make_plan(pool: Pool, config: TrainConfig, device: torch.device) -> Generator[Event, None, Plan]:
    """Measure the cohort and derive a plan; a generator whose return value is the plan."""
    from napari_bcp.engine.fingerprint import Survey
    from napari_bcp.engine.plan import make_plan
    from napari_bcp.scans import read_mask, read_scan

    values = [c.value for c in pool.classes]
    labelled = pool.cases("accepted")
    if not labelled or not values:
        raise TrainingError(
            f"The pool {pool.root} has no accepted mask; give some with 'napari-bcp accept POOL CASE MASK'."
        )
    survey = Survey()
    for i, case in enumerate(labelled[:20]):  # twenty tell as much as all
        yield Progress(task="measuring labelled scans", done=i, total=min(len(labelled), 20), case=case.name)
        path = pool.mask_path(case.name)
        try:
            scan = read_scan(case.path)
            assert path is not None  # noqa: S101 - the case is accepted
            survey.add(scan, read_mask(path, scan.grid, classes=values))
        except (ScanError, MaskError) as error:
            yield _leave_out(pool, case.name, error)
    if not survey.scans:
        raise TrainingError(f"No accepted case of {pool.root} can be read; see 'napari-bcp status {pool.root}'.")
    usable = [c for c in pool.cases() if c.shape and c.spacing and c.status not in ("unusable", "excluded")]
    grids = [(c.shape, c.spacing) for c in usable if c.shape and c.spacing]
    return make_plan(survey.fingerprint(grids), values, config, device)


class _PoolSource:
    """The pool as training sees it."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def revision(self) -> int:
        """Return a number that changes with the pool."""
        return self._pool.revision

    def labelled(self) -> list[CaseFiles]:
        """Return the accepted cases."""
        from napari_bcp.engine.cache import CaseFiles

        masks = [(c, self._pool.mask_path(c.name)) for c in self._pool.cases("accepted")]
        return [CaseFiles(c.name, c.path, mask) for c, mask in masks if mask is not None]

    def unlabelled(self) -> list[CaseFiles]:
        """Return the cases without a mask."""
        from napari_bcp.engine.cache import CaseFiles

        return [CaseFiles(c.name, c.path) for c in self._pool.cases(("unlabelled", "predicted", "draft"))]


# -- maps -------------------------------------------------------------------------------------------------------


def predict(
    pool: PoolLike,
    cases: Sequence[str] | None = None,
    *,
    device: str = "auto",
    stop: Stop | None = None,
) -> Iterator[Event]:
    """Make maps and pseudo-labels with the newest run, for `cases` or for every case without an accepted mask.

    A case whose map this run and step made already is left out, so an interrupted call can be repeated.
    Raises CheckpointError when nothing was trained, UnknownCaseError for a name that is none.
    """
    started = time.monotonic()
    with _opened(pool, write=True) as opened:
        from napari_bcp.scans import write_mask

        run = _last_trained(opened)
        if run is None:
            raise CheckpointError(f"The pool {opened.root} has no run; train first with 'napari-bcp train'.")
        model = _Model.load(_checkpoint_of(run.path), device)
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
            try:
                scan, found = model.predict(case.path, stop)
            except ScanError as error:
                yield _leave_out(opened, case.name, error)
                continue
            if found is None:
                yield Finished(reason="stopped", step=model.step, elapsed_s=time.monotonic() - started)
                return
            folder = opened.map_folder(case.name)
            name = f"run{run.id}-step{model.step:07d}"
            map_path, pseudo_path = folder / f"{name}.map.b2nd", folder / f"{name}.pseudo.nii.gz"
            found.map.save(map_path, {"run": run.id, "step": model.step})
            write_mask(pseudo_path, found.labels, scan.grid)
            made = _map_made(case.name, run.id, model.step, map_path, pseudo_path, found)
            opened.record_map(
                case.name,
                run=run.id,
                step=model.step,
                map_file=map_path,
                pseudo_file=pseudo_path,
                quality=made.quality,
                entropy=made.entropy,
                volume_ml=made.volume_ml,
                islands=made.islands,
            )
            yield made
        yield Progress(task="predicting", done=len(chosen), total=len(chosen))
        yield Finished(reason="done", step=model.step, elapsed_s=time.monotonic() - started)


def segment(
    source: str | os.PathLike[str],
    images: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    probabilities: bool = False,
    device: str = "auto",
    stop: Stop | None = None,
) -> Iterator[Event]:
    """Segment files outside the pool with a pool's newest run or a checkpoint file.

    images : NIfTI files, or folders of them.  out : folder for masks, each named as its image, on its grid.
    probabilities : also write NAME_prob_CLASS.nii.gz, 8 bit.
    A file that cannot be used is reported and the rest goes on. Raises CheckpointError, and ScanError when there is
    nothing to segment.
    """
    from napari_bcp.scans import is_nifti, stem, write_map, write_mask

    started = time.monotonic()
    files: list[Path] = []
    for image in map(Path, images):
        files += sorted(p for p in image.iterdir() if is_nifti(p)) if image.is_dir() else [image]
    if not files:
        raise ScanError("There is no NIfTI file to segment; name .nii or .nii.gz files, or a folder of them.")
    source, out = Path(source), Path(out)
    if source.is_dir():
        with _opened(source) as opened:
            run = _last_trained(opened)
        if run is None:
            raise CheckpointError(f"The pool {source} has no run; train first with 'napari-bcp train'.", path=source)
        model = _Model.load(_checkpoint_of(run.path), device)
    else:
        model = _Model.load(source, device)
    taken: set[Path] = set()
    for i, file in enumerate(files):
        yield Progress(task="segmenting", done=i, total=len(files), case=stem(file), eta_s=_eta(started, i, len(files)))
        target = out / f"{stem(file)}.nii.gz"
        try:
            if target in taken or (target.exists() and target.resolve() == file.resolve()):
                raise ScanError(
                    f"The mask of {file} would overwrite {target}; choose another folder with -o.", path=file
                )
            scan, found = model.predict(file, stop)
            if found is None:
                yield Finished(reason="stopped", step=model.step, elapsed_s=time.monotonic() - started)
                return
            taken.add(target)
            write_mask(target, found.labels, scan.grid)
            if probabilities:
                for k, value in enumerate(model.plan.classes):
                    write_map(out / f"{stem(file)}_prob_{value}.nii.gz", found.map.read(k), scan.grid)
        except ScanError as error:
            yield CaseUnusable(case=stem(file), reason=str(error))
            continue
        yield _map_made(stem(file), model.run, model.step, target, target, found)
    yield Progress(task="segmenting", done=len(files), total=len(files))
    yield Finished(reason="done", step=model.step, elapsed_s=time.monotonic() - started)


class _Model:
    """A trained network with its plan, ready to predict."""

    def __init__(self, content: dict[str, Any], device: str) -> None:
        import torch

        from napari_bcp.engine.device import available_cores, pick_device
        from napari_bcp.engine.plan import Plan
        from napari_bcp.engine.predict import memory_format, network_of

        try:
            self.plan = Plan.model_validate_json(content["plan"])
            self.config = TrainConfig.model_validate_json(content["config"])
            self.run, self.step = str(content["run"]), int(content["step"])
            network = network_of(self.plan)
            network.load_state_dict(content[content["use"]])
        except (KeyError, ValueError, RuntimeError, TypeError, BcpError):
            raise CheckpointError("The checkpoint holds no network that fits its plan; train again.") from None
        self.device = pick_device(device)
        if self.device.type == "cpu":
            torch.set_num_threads(self.config.threads or available_cores())
        form = memory_format(self.plan, self.config.channels_last)
        self.network = network.to(device=self.device, memory_format=form)  # type: ignore[call-overload]
        self.bfloat16 = self.plan.bfloat16_on(self.device)

    @classmethod
    def load(cls, path: Path, device: str) -> _Model:
        """Read a checkpoint. Raises CheckpointError."""
        from napari_bcp.engine import checkpoint

        if path.name == checkpoint.LAST:
            return cls(checkpoint.load_newest(path.parent), device)
        try:
            return cls(checkpoint.load(path), device)
        except CheckpointError:
            if path.name != checkpoint.BEST:
                raise
            return cls(checkpoint.load_newest(path.parent), device)

    def predict(self, file: Path, stop: Stop | None) -> tuple[Any, Prediction | None]:
        """Read and segment one scan. Raises ScanError."""
        from napari_bcp.engine.device import out_of_memory
        from napari_bcp.scans import read_scan

        if stop is not None and stop():
            return None, None
        scan = read_scan(file)
        try:
            found = self._segment(scan, stop)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            raise DeviceError(
                f"Device {self.device} ran out of memory on {file.name}; close other programs or use --device cpu.",
                path=file,
            ) from None
        return scan, found

    def _segment(self, scan: Scan, stop: Stop | None) -> Prediction | None:
        from napari_bcp.engine.predict import predict_scan

        return predict_scan(
            self.network,
            self.plan,
            scan,
            device=self.device,
            bfloat16=self.bfloat16,
            components=self.config.map_components,
            connectivity=self.config.connectivity,
            stop=stop,
        )


# -- small things -----------------------------------------------------------------------------------------------


def _leave_out(pool: Pool, name: str, error: BcpError) -> CaseUnusable:
    """Report a case that cannot be read; it becomes unusable in the pool unless it may be read another time."""
    lasting = not isinstance(error, ScanAwayError)
    if lasting:
        pool.mark_unusable(name, str(error))
    return CaseUnusable(case=name, reason=str(error), lasting=lasting)


def _last_trained(pool: Pool) -> RunRecord | None:
    """Return the newest run that has a checkpoint."""
    return next((run for run in reversed(pool.runs()) if (run.path / "last.pt").exists()), None)


def _checkpoint_of(folder: Path) -> Path:
    """Return the best checkpoint on held-out cases where there is one, else the newest."""
    best = folder / "best.pt"
    return best if best.exists() else folder / "last.pt"


def _map_made(case: str, run: str, step: int, map_path: Path, pseudo_path: Path, found: Prediction) -> MapMade:
    return MapMade(
        case=case,
        run=run,
        step=step,
        map_path=str(map_path),
        pseudo_path=str(pseudo_path),
        quality=found.quality,
        entropy=found.entropy,
        volume_ml=found.volume_ml,
        islands={v: len(sizes) for v, sizes in found.islands.items()},
        seconds=found.seconds,
    )


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
