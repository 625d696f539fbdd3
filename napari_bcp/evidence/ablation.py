"""Ablations: the same training with one thing changed, judged on cases of the pool that have no mask in it.

Everything lies under POOL/ablations: a folder a training with its checkpoints and `report.json`, and a table (CSV,
Markdown) and a picture a subject. A training that is there is not done again; one that was interrupted goes on.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import statistics
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from napari_bcp.config import make_config
from napari_bcp.engine import checkpoint
from napari_bcp.engine.cache import Cache
from napari_bcp.engine.device import available_cores, pick_device
from napari_bcp.engine.model import Model
from napari_bcp.engine.plan import Plan
from napari_bcp.engine.sources import PoolSource
from napari_bcp.engine.survey import plan_for
from napari_bcp.engine.train import Budget, train, unusable
from napari_bcp.errors import (
    BcpError,
    CheckpointError,
    DeviceError,
    MaskError,
    PoolError,
    ScanAwayError,
    ScanError,
    SettingError,
)
from napari_bcp.events import CaseUnusable, Finished, Note, Progress
from napari_bcp.evidence.pictures import draw_ablation
from napari_bcp.evidence.variations import Variant, subject_of, variants_of
from napari_bcp.files import write_text
from napari_bcp.metrics import Report, measure_case
from napari_bcp.pool.fingerprint import fingerprint
from napari_bcp.pool.paths import inside
from napari_bcp.scans import is_nifti, read_grid, read_mask, read_scan, stem

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence

    from napari_bcp.config import TrainConfig
    from napari_bcp.engine.cache import CaseFiles
    from napari_bcp.engine.sources import CaseSource
    from napari_bcp.events import Event
    from napari_bcp.pool import Pool

REPORT: Final = "report.json"
MEASURES: Final = ("dice", "sensitivity", "specificity", "hd95")
_FORMAT: Final = 4
_FACTS: Final = "facts.json"
_TRAINED: Final = "trained.json"
_PACKAGE: Final = Path(__file__).parents[1]
_TRAINS: Final = ("method", "networks", "engine")


@dataclass(frozen=True)
class Line:
    """One line of the table: means over the judged cases and classes, and their mean and SD over the seeds.

    dice : of each seed;  means, sds : by measure, SD over the seeds, None for one;  classes : Dice by class's name
    missed : structures of all seeds that were not found at all: they have a Dice of 0 and no distance
    steps, seconds : of one training, on average;  folders : of the trainings
    """

    variant: str
    dice: tuple[float, ...]
    means: dict[str, float | None]
    sds: dict[str, float | None]
    classes: dict[str, float | None]
    missed: int
    steps: float
    seconds: float
    folders: tuple[str, ...]


@dataclass(frozen=True)
class _Training:
    """One training of a sweep."""

    variant: Variant
    config: TrainConfig
    folder: Path


def ablate(
    pool: Pool,
    truth: Path,
    vary: str,
    *,
    only: Sequence[str] = (),
    preset: str = "quick",
    minutes: float | None = None,
    steps: int | None = None,
    seeds: int = 1,
    settings: Mapping[str, Any] | None = None,
    device: str = "auto",
    stop: Callable[[], bool] | None = None,
) -> Iterator[Event]:
    """Train and judge each variant of `vary` with each of `seeds` seeds, and write table and picture.

    truth : folder with masks named as cases; cases whose mask in the pool is trained on are not judged
    vary : a name of `VARIATIONS`, or a setting with its values, such as lr=0.001,0.004
    minutes, steps : of each training, 2 minutes if nothing is said
    The last event says how it ended; `table` returns the lines. Raises SettingError, PoolError, MaskError, and what
    training raises.
    """
    if minutes is not None and steps is not None:
        raise SettingError("Give minutes or steps, not both.")
    if (minutes is not None and not minutes > 0) or (steps is not None and steps < 1):
        raise SettingError("The budget must be greater than zero; give --minutes 2, for example.")
    if seeds < 1:
        raise SettingError("One seed is the least.")
    stop, place = stop or _never, pick_device(device)
    for part in ("cache", "ablations"):
        inside(pool.root, part)
    source = _AsItWas(PoolSource(pool))
    judged = _judged(pool, source, truth)
    contents = _contents(pool, {case.name for case in [*source.labelled(), *source.unlabelled()]} | set(judged))
    truths = {name: [_digest(path), *contents[name]] for name, path in judged.items()}
    budget = {"minutes": 2.0 if minutes is None and steps is None else minutes, "steps": steps}
    facts = {
        "format": _FORMAT,
        "labelled": [
            [case.name, os.path.relpath(case.mask or "", pool.root), *contents[case.name]] for case in source.labelled()
        ],
        "unlabelled": [[case.name, *contents[case.name]] for case in source.unlabelled()],
        "classes": [spec.value for spec in pool.classes],
        "device": place.type,
        "program": _program(_PACKAGE),
        **budget,
    }
    trainings = _trainings(pool, facts, vary, only, preset, seeds, settings or {})
    todo = [one for one in trainings if _known(one, truths) is None]
    used = [*source.labelled(), *(source.unlabelled() if any(one.variant.unlabelled for one in todo) else ())]
    _check_there(used if todo else ())
    started, did = time.monotonic(), 0
    refused = (yield from _refused(pool, judged, stop)) if todo else {}
    for done, one in enumerate(trainings):
        if one not in todo:
            continue
        left = (time.monotonic() - started) / did * (len(todo) - did) if did else None
        yield Progress(task=vary, done=done, total=len(trainings), case=one.variant.name, eta_s=left)
        finished = yield from _train_one(one, pool, source, budget, place, stop)
        if not finished or stop() or not (yield from _judge(one, pool, judged, refused, truths, device, stop)):
            yield Finished(reason="stopped", elapsed_s=time.monotonic() - started)
            return
        did += 1
        _write(pool, vary, trainings, truths)
    paths = _write(pool, vary, trainings, truths)
    yield Progress(task=vary, done=len(trainings), total=len(trainings))
    yield Note(text=f"Table and picture: {', '.join(str(path) for path in paths)}")
    yield Finished(reason="done", elapsed_s=time.monotonic() - started)


def table(pool: Pool, vary: str) -> list[dict[str, str]]:
    """Return the table of a subject that was written last, a dict of texts a line; empty before there is one.

    vary : as in `ablate`
    """
    try:
        text = (pool.root / "ablations" / f"{subject_of(vary)}.csv").read_text(encoding="utf-8")
    except OSError:
        return []
    return list(csv.DictReader(io.StringIO(text)))


def _judged(pool: Pool, source: CaseSource, truth: Path) -> dict[str, Path]:
    """Return the masks in `truth` of cases that are not trained on with a mask of the pool, by case."""
    if not source.labelled():
        raise PoolError(f"The pool {pool.root} has no accepted mask to train on; accept some first.")
    if not truth.is_dir():
        raise MaskError(f"There is no folder {truth}; name one that holds true masks.", path=truth)
    free = {case.name for case in pool.cases() if case.status != "unusable"}
    free -= {case.name for case in source.labelled()}  # that of a reopened case, too
    found = {stem(path): path for path in sorted(truth.iterdir()) if is_nifti(path)}
    judged = {name: path for name, path in found.items() if name in free}
    if not judged:
        raise MaskError(f"No mask in {truth} is named as a case without a mask in the pool {pool.root}.", path=truth)
    return judged


def _check_there(cases: Sequence[CaseFiles]) -> None:
    """Raise PoolError where a scan is away: all variants have to train on the same ones."""
    away = [case for case in cases if not case.scan.is_file()]
    if away:
        others = f", nor are {len(away) - 1} others where they were" if len(away) > 1 else ""
        raise PoolError(
            f"The scan of case '{away[0].name}' is not at {away[0].scan}{others}: bring them back, say where they are "
            "with 'napari-bcp relocate', or exclude the cases; all variants have to train on the same ones.",
            path=away[0].scan,
        )


def _contents(pool: Pool, names: Collection[str]) -> dict[str, list[Any]]:
    """Return what changes with the content of scans, by case; as the pool knew it of those that are away."""
    found: dict[str, list[Any]] = {}
    for case in pool.cases():
        if case.name in names:
            now = case.fingerprint
            with suppress(ScanError, OSError):
                now = fingerprint(case.path) if pool.check_changed(case.name) else now
            found[case.name] = [] if now is None else [now.size, now.digest]
    return found


def _refused(
    pool: Pool, judged: Mapping[str, Path], stop: Callable[[], bool]
) -> Generator[Event, None, dict[str, str]]:
    """Read all true masks and return why some cannot be used, by case. Raises MaskError where none can."""
    refused: dict[str, str] = {}
    classes = [spec.value for spec in pool.classes]
    for done, (name, mask) in enumerate(judged.items()):
        yield Progress(task="reading true masks", done=done, total=len(judged), case=name)
        if stop():
            return refused
        try:
            read_mask(mask, read_grid(pool.case(name).path), classes=classes)
        except ScanAwayError:
            continue  # it may be there when it is judged
        except BcpError as error:
            refused[name] = str(error)
            yield CaseUnusable(case=name, reason=str(error), lasting=False)
    if len(refused) == len(judged):
        raise MaskError(f"None of the true masks can be used: {next(iter(refused.values()))}")
    return refused


@cache
def _program(package: Path) -> str:
    """Return a word that changes with the code that trains and segments, and with its place in the package."""
    digest = hashlib.sha256()
    for part in _TRAINS:
        for path in sorted((package / part).rglob("*.py")):
            for said in (path.relative_to(package).as_posix().encode(), path.read_bytes()):
                digest.update(len(said).to_bytes(8, "big") + said)
    return digest.hexdigest()[:16]


def _trainings(
    pool: Pool,
    facts: Mapping[str, Any],
    vary: str,
    only: Sequence[str],
    preset: str,
    seeds: int,
    settings: Mapping[str, Any],
) -> list[_Training]:
    """Return all trainings; `facts` are what they have in common and what makes them others."""
    found = []
    for variant in variants_of(vary, only):
        for number in range(seeds):
            # All masks are learnt from: the true ones judge, and a share held out would differ from seed to seed.
            wanted = {"hold_out": 0, **settings, **variant.settings}
            seed = make_config(preset, wanted).seed + number
            config = make_config(preset, {**wanted, "seed": seed})
            key = {**facts, "config": config.model_dump(mode="json"), "uses": variant.unlabelled}
            name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
            found.append(_Training(variant, config, pool.root / "ablations" / "runs" / name))
    return found


def _train_one(
    one: _Training, pool: Pool, source: _AsItWas, budget: Mapping[str, Any], device: Any, stop: Callable[[], bool]
) -> Generator[Event, None, bool]:
    """Train until the budget is used up; returns whether it is. Raises PoolError when a case is away meanwhile."""
    one.folder.mkdir(parents=True, exist_ok=True)
    plan, steps, seconds = None, budget["steps"], 60 * (budget["minutes"] or 0)
    try:
        content = checkpoint.load_newest(one.folder)
        plan = Plan.model_validate_json(content["plan"])
        steps = None if steps is None else steps - content["step"]
        seconds -= content["elapsed"]
        if _is_trained(one, content["step"]) or (seconds if steps is None else steps) <= 0:
            return True
    except (CheckpointError, KeyError, ValueError):
        pass  # it has not begun, or begins anew
    left = Budget(seconds=None if steps is not None else seconds, steps=steps)
    events = _events(one, pool, source, plan, left, device, stop)
    ended = Finished(reason="stopped")
    try:
        for event in events:
            if isinstance(event, Finished):
                ended = event
            elif isinstance(event, Note):
                yield event.model_copy(update={"text": f"'{one.variant.name}' · {event.text}"})
            elif isinstance(event, CaseUnusable) and not event.lasting:  # other variants would train with it
                raise PoolError(
                    f"'{one.variant.name}' cannot be compared without the case '{event.case}': {event.reason} "
                    "Then call it again: what is done stays."
                )
            else:
                yield event
    finally:
        events.close()
    if ended.reason == "budget":
        # Of a time, the seconds that the checkpoint tells are always a little less.
        write_text(one.folder / _TRAINED, json.dumps({"step": ended.step}))
    return ended.reason == "budget"


def _events(
    one: _Training,
    pool: Pool,
    source: _AsItWas,
    plan: Plan | None,
    budget: Budget,
    device: torch.device,
    stop: Callable[[], bool],
) -> Generator[Event, None, None]:
    """Prepare all cases, where time counts, and train; goes on where there is a plan.

    What is not told by a last event was stopped.
    """
    cases = source if one.variant.unlabelled else _LabelledOnly(source)
    classes, resume = [spec.value for spec in pool.classes], plan is not None
    former = torch.get_num_threads()
    try:
        torch.set_num_threads(one.config.threads or available_cores())  # as in training: a plan times arithmetic
        if plan is None:
            plan = yield from plan_for(cases, classes, one.config, device, stop)
        if plan is None:
            return
        cache = Cache(pool.root / "cache", plan, plan.classes)
        wanted = (cache.folder, one.variant.unlabelled)
        if budget.seconds is not None and wanted not in source.ready:
            if not (yield from _prepare(cases, cache, stop)):
                return
            source.ready.add(wanted)
        budget.start = time.monotonic()  # before, the first variant would pay for what the others find ready
        yield from train(
            cases, one.folder, pool.root / "cache", plan, one.config, budget,
            device=device, classes=classes, resume=resume, stop=stop,
        )  # fmt: skip
    finally:
        torch.set_num_threads(former)


def _prepare(cases: CaseSource, cache: Cache, stop: Callable[[], bool]) -> Generator[Event, None, bool]:
    """Prepare all cases, and tell which are away; returns False when stopped. Training tells what else is wrong."""
    everything, started = [*cases.labelled(), *cases.unlabelled()], time.monotonic()
    for done, case in enumerate(everything):
        left = (time.monotonic() - started) / done * (len(everything) - done) if done else None
        yield Progress(task="preparing scans", done=done, total=len(everything), case=case.name, eta_s=left)
        if stop():
            return False
        try:
            cache.get(case)
        except (BcpError, OSError, MemoryError) as error:
            found = unusable(case, error)
            if not found.lasting:
                yield found
    return True


def _is_trained(one: _Training, step: int) -> bool:
    """Say whether the budget was used up by the training whose checkpoint is of this step."""
    try:
        return bool(json.loads((one.folder / _TRAINED).read_text(encoding="utf-8"))["step"] <= step)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _judge(
    one: _Training,
    pool: Pool,
    judged: Mapping[str, Path],
    refused: Mapping[str, str],
    truths: Mapping[str, Any],
    device: str,
    stop: Callable[[], bool],
) -> Generator[Event, None, bool]:
    """Segment the judged cases but those that were refused, and write the report; returns False when stopped.

    There is no report while a case could not be judged that may be another time: it is judged anew then.
    """
    best = one.folder / checkpoint.BEST
    model = Model.load(best if best.exists() else one.folder / checkpoint.LAST, device)
    names = {spec.value: spec.name for spec in pool.classes}
    report, later = Report(classes=names, refused=dict(refused)), False
    for done, (name, mask) in enumerate(judged.items()):
        if name in refused:
            continue
        yield Progress(task="judging", done=done, total=len(judged), case=name)
        try:
            scan = read_scan(pool.case(name).path)
            true = read_mask(mask, scan.grid, classes=names)
            found = model.segment(scan, stop)
        except BcpError as error:
            later = later or isinstance(error, ScanAwayError | DeviceError)
            report.refused[name] = str(error)
            yield CaseUnusable(case=name, reason=str(error), lasting=False)
            continue
        if found is None:
            return False
        report.rows += measure_case(name, found.labels, true.voxels, scan.grid.spacing, classes=names)
    if later:
        yield Note(
            text=f"'{one.variant.name}' is not in the table yet: call it again when all its cases can be judged."
        )
        return True
    content = checkpoint.load_newest(one.folder)
    facts = {"step": content["step"], "elapsed_s": content["elapsed"], "truths": truths}
    (one.folder / _FACTS).unlink(missing_ok=True)
    report.to_json(one.folder / REPORT)
    write_text(one.folder / _FACTS, json.dumps(facts))  # it vouches for the report, and so comes last
    return True


def _known(one: _Training, truths: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Return report and facts of a training that was judged on these very scans and masks, None of any other."""
    try:
        facts, report = (json.loads((one.folder / name).read_text(encoding="utf-8")) for name in (_FACTS, REPORT))
    except (OSError, ValueError):
        return None
    return (report, facts) if facts.get("truths") == truths else None


def _digest(path: Path) -> str:
    """Return a word that changes with the content of a file."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except OSError:
        return ""  # judging says what is the matter with it


def _write(pool: Pool, vary: str, trainings: Sequence[_Training], truths: Mapping[str, Any]) -> tuple[Path, Path, Path]:
    """Write the table, as CSV and Markdown, and the picture of what is done."""
    lines = _lines(trainings, truths, {spec.value: spec.name for spec in pool.classes})
    folder, subject = pool.root / "ablations", subject_of(vary)
    paths = folder / f"{subject}.csv", folder / f"{subject}.md", folder / f"{subject}.png"
    rows = [_texts(line) for line in lines]
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]) if rows else ["variant"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(paths[0], out.getvalue())
    heads = list(rows[0]) if rows else []
    marked = [" | ".join(heads), " | ".join("---" for _ in heads), *(" | ".join(row.values()) for row in rows)]
    write_text(paths[1], "".join(f"| {line} |\n" for line in marked))
    draw_ablation(paths[2], subject, {line.variant: line.dice for line in lines})
    return paths


def _lines(trainings: Sequence[_Training], truths: Mapping[str, Any], classes: Mapping[int, str]) -> list[Line]:
    found: dict[str, list[tuple[str, dict[str, Any], dict[str, Any]]]] = {}
    for one in trainings:
        known = _known(one, truths)
        if known is not None:  # else it is not done yet
            found.setdefault(one.variant.name, []).append((one.folder.name, *known))
    return [_line(name, several, classes) for name, several in found.items()]


def _line(
    variant: str, several: Sequence[tuple[str, dict[str, Any], dict[str, Any]]], classes: Mapping[int, str]
) -> Line:
    """Return the line of a variant; `classes` have the names that the pool has now, which may be others since."""
    reports = [report for _, report, _ in several]
    by_seed = {measure: [_mean_of(report, measure) for report in reports] for measure in MEASURES}
    return Line(
        variant=variant,
        dice=tuple(value for value in by_seed["dice"] if value is not None),
        means={measure: _mean(values) for measure, values in by_seed.items()},
        sds={measure: _sd(values) for measure, values in by_seed.items()},
        classes={
            name: _mean([_mean_of(report, "dice", value) for report in reports]) for value, name in classes.items()
        },
        missed=sum(int(line["misses"]) for report in reports for line in report["summary"] if _of_a_class(line)),
        steps=statistics.fmean(facts["step"] for *_, facts in several),
        seconds=statistics.fmean(facts["elapsed_s"] for *_, facts in several),
        folders=tuple(folder for folder, *_ in several),
    )


def _of_a_class(line: Mapping[str, Any]) -> bool:
    return line["measure"] == "dice" and line["class"] is not None


def _mean_of(report: Mapping[str, Any], measure: str, value: int | None = None) -> float | None:
    """Return the mean of a measure over the cases: of one class, or of the classes' means."""
    of_classes = {line["class"]: line["mean"] for line in report["summary"] if line["measure"] == measure}
    if value is not None:
        return of_classes.get(value)
    return _mean([mean for key, mean in of_classes.items() if key is not None])


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _sd(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.stdev(known) if len(known) > 1 else None


def _texts(line: Line) -> dict[str, str]:
    heads = {"dice": "Dice", "sensitivity": "sensitivity", "specificity": "specificity", "hd95": "HD95 (mm)"}
    row = {"variant": line.variant, "seeds": str(len(line.dice))}
    for measure, head in heads.items():
        row[head] = _text(line.means[measure], 1 if measure == "hd95" else 4)
        if line.sds[measure] is not None:
            row[head] += f" ± {_text(line.sds[measure], 1 if measure == 'hd95' else 4)}"
    if len(line.classes) > 1:
        row |= {f"Dice of {name}": _text(value, 4) for name, value in line.classes.items()}
    row |= {"missed": str(line.missed), "steps": f"{line.steps:.0f}", "seconds": f"{line.seconds:.0f}"}
    return row | {"folders": " ".join(line.folders)}


def _text(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


class _AsItWas:
    """The cases at the beginning: a mask accepted meanwhile would reach the later variants only."""

    def __init__(self, source: CaseSource) -> None:
        self._labelled, self._unlabelled = source.labelled(), source.unlabelled()
        self._grids = source.grids()
        self.ready: set[tuple[Path, bool]] = set()
        """Where all of them, or those with a mask, are prepared: folders of the cache."""

    def revision(self) -> int:
        """Return a number that never changes."""
        return 0

    def labelled(self) -> list[CaseFiles]:
        """Return the cases with a mask."""
        return self._labelled

    def unlabelled(self) -> list[CaseFiles]:
        """Return the other cases."""
        return self._unlabelled

    def grids(self) -> Sequence[tuple[Sequence[float], Sequence[float]]]:
        """Return shape and spacing of all of them."""
        return self._grids


class _LabelledOnly(_AsItWas):
    """A source without the scans that have no mask."""

    def unlabelled(self) -> list[CaseFiles]:
        """Return nothing."""
        return []


def _never() -> bool:
    return False
