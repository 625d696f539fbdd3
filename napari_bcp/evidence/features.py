"""How a network sees labelled and unlabelled scans: the distribution of its last features, class by class."""

from __future__ import annotations

import csv
import hashlib
import io
import math
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from napari_bcp.engine.cache import Cache
from napari_bcp.engine.model import Model
from napari_bcp.engine.predict import arithmetic, blocks_of, memory_format
from napari_bcp.engine.sources import PoolSource
from napari_bcp.errors import BcpError, CheckpointError, PoolError
from napari_bcp.events import CaseUnusable, Finished, Note, Progress
from napari_bcp.evidence.pictures import draw_features
from napari_bcp.files import write_text
from napari_bcp.metrics.features import FeatureShift, channel_mean, class_features, draw_equally, feature_shift
from napari_bcp.pool.paths import inside
from napari_bcp.pool.runs import BEST, NEWEST, last_trained

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from napari_bcp.engine.cache import Prepared
    from napari_bcp.events import Event
    from napari_bcp.pool import Pool

A_SCAN: Final = 4000
"""Most voxels of a class that are kept of one scan before the draw."""
DRAWN: Final = 2000
"""Most voxels of a class that are drawn on each side."""
_LONGEST: Final = 100  # characters of a file's name


@dataclass
class ClassFeatures:
    """Features of one class to one network.

    labelled, unlabelled : channel means of as many voxels of each side;  shift : between the two, None without voxels
    floor : the same between two halves of the labelled scans, what chance alone gives; None with fewer than two scans
    """

    name: str
    labelled: NDArray[np.float64]
    unlabelled: NDArray[np.float64]
    shift: FeatureShift | None
    floor: FeatureShift | None


@dataclass
class NetworkFeatures:
    """What one run's network makes of all scans.  unlabelled : how many scans without a mask the run had at hand."""

    run: str
    step: int
    unlabelled: int
    classes: list[ClassFeatures] = field(default_factory=list)


def compare_features(
    pool: Pool,
    runs: Sequence[str] = (),
    *,
    seed: int = 0,
    device: str = "auto",
    stop: Callable[[], bool] | None = None,
) -> Iterator[Event]:
    """Compare features of labelled and unlabelled scans in the pool's last run, or in `runs`, and write the results.

    runs : numbers of runs of the pool, or paths of checkpoints. The table (CSV) and the picture lie in POOL/features;
    when `stop` says so before the last scan of the last run, nothing is written.
    Voxels that the network gives a class are taken, of labelled scans only those that truly have it.
    Raises CheckpointError, PoolError.
    """
    stop = stop or (lambda: False)
    source, found = PoolSource(pool), []
    sides = source.labelled(), source.unlabelled()
    if not sides[0] or not sides[1]:
        raise PoolError(f"The pool {pool.root} needs scans with masks and scans without; it has not both.")
    for path in _checkpoints(pool, runs):
        model = Model.load(path, device)
        # A class that was added since counts as background here: the network knows nothing of it.
        cache = Cache(inside(pool.root, "cache"), model.plan, [spec.value for spec in pool.classes])
        samples: tuple[list[dict[int, NDArray[Any]]], list[dict[int, NDArray[Any]]]] = ([], [])
        everything = [(0, case) for case in sides[0]] + [(1, case) for case in sides[1]]
        total, started = len(everything), time.monotonic()
        for done, (side, case) in enumerate(everything):
            left = (time.monotonic() - started) / done * (total - done) if done else None
            yield Progress(task=f"features of run {model.run}", done=done, total=total, case=case.name, eta_s=left)
            if stop():
                yield Finished(reason="stopped", step=model.step)
                return
            try:
                prepared = cache.get(case)
            except (BcpError, OSError) as error:
                yield CaseUnusable(case=case.name, reason=str(error), lasting=False)
                continue
            samples[side].append(_sample(model, prepared, np.random.default_rng([seed, done])))
        yield Progress(task=f"features of run {model.run}", done=total, total=total)
        found.append(_compare(pool, model, *samples, seed))
    paths = _write(pool, found)
    yield Note(text=f"Table and picture: {', '.join(str(path) for path in paths)}")
    yield Finished(reason="done")


def _checkpoints(pool: Pool, runs: Sequence[str]) -> list[Path]:
    if not runs:
        last = last_trained(pool)
        if last is None:
            raise CheckpointError(f"The pool {pool.root} has no run; train first with 'napari-bcp train'.")
        runs = [last.id]
    folders = [pool.root / "runs" / run if (pool.root / "runs" / run).is_dir() else Path(run) for run in runs]
    for run, folder in zip(runs, folders, strict=True):
        if not folder.exists():
            trained = [one.id for one in pool.runs() if (one.path / NEWEST).exists()]
            have = f"its runs are {', '.join(trained)}" if trained else "none was trained in it"
            raise CheckpointError(f"There is no run '{run}' in the pool {pool.root}, nor a file of that name; {have}.")
    return [one if one.is_file() else (one / BEST if (one / BEST).exists() else one / NEWEST) for one in folders]


@torch.no_grad()
def _sample(model: Model, case: Prepared, rng: np.random.Generator) -> dict[int, NDArray[Any]]:
    """Return features (voxels, channels) of each class of one scan, at most A_SCAN voxels of each."""
    network: Any = model.network
    network.eval()
    plan = model.plan
    values = np.array([0, *plan.classes], np.uint8)
    kept: dict[int, list[NDArray[Any]]] = {value: [] for value in plan.classes}
    sides, _ = blocks_of(plan, case.image.shape)
    for start in _tiles(case.image.shape, sides):
        where = tuple(slice(first, first + side) for first, side in zip(start, sides, strict=True))
        block = np.asarray(case.image[where], np.float32)
        pads = [(0, side - n) for side, n in zip(sides, block.shape, strict=True)]
        image = torch.from_numpy(np.pad(block, pads, mode="edge")).reshape(1, 1, *sides[: plan.dimensions])
        image = image.to(model.device)
        image = image.contiguous(memory_format=memory_format(plan, model.config.channels_last))
        with arithmetic(model.device, plan.bfloat16_on(model.device)):
            features = network.features(image)
            logits = network.out(features[-1] if isinstance(features, tuple) else features)
        features = features[0] if isinstance(features, tuple) else features
        fine = torch.nn.functional.interpolate(features.float(), size=image.shape[2:], mode="nearest")[0].cpu().numpy()
        given = values[logits[0].float().argmax(0).cpu().numpy()]
        inside = tuple(slice(0, n) for n in block.shape[: plan.dimensions])
        truth = None
        if case.labels is not None:
            truth = np.array([0, *plan.classes], np.uint8)[
                case.labels[where].reshape([block.shape[i] for i in range(plan.dimensions)])
            ]
        for value in plan.classes:
            kept[value].append(class_features(fine[(slice(None), *inside)], given[inside], value, truth))
    joined = {value: np.concatenate(parts) for value, parts in kept.items()}
    return {
        value: all_ if len(all_) <= A_SCAN else all_[np.sort(rng.choice(len(all_), A_SCAN, replace=False))]
        for value, all_ in joined.items()
    }


def _tiles(shape: Sequence[int], block: Sequence[int]) -> Iterator[tuple[int, ...]]:
    counts = [math.ceil(n / side) for n, side in zip(shape, block, strict=True)]
    for place in np.ndindex(*counts):
        yield tuple(int(k) * side for k, side in zip(place, block, strict=True))


def _compare(
    pool: Pool,
    model: Model,
    labelled: list[dict[int, NDArray[Any]]],
    unlabelled: list[dict[int, NDArray[Any]]],
    seed: int,
) -> NetworkFeatures:
    made = NetworkFeatures(model.run, model.step, model.unlabelled)
    for spec in pool.classes:
        if spec.value not in model.plan.classes:
            continue
        sides = [one[spec.value] for one in labelled], [one[spec.value] for one in unlabelled]
        a, b = draw_equally(*sides, limit=DRAWN, seed=seed)
        halves = draw_equally(sides[0][::2], sides[0][1::2], limit=DRAWN, seed=seed)
        made.classes.append(ClassFeatures(spec.name, channel_mean(a), channel_mean(b), _shift(a, b), _shift(*halves)))
    return made


def _shift(a: NDArray[Any], b: NDArray[Any]) -> FeatureShift | None:
    try:
        return feature_shift(a, b)
    except ValueError:  # too few voxels, or all alike
        return None


def _write(pool: Pool, found: Sequence[NetworkFeatures]) -> tuple[Path, Path]:
    out = io.StringIO()
    heads = ["run", "step", "unlabelled scans", "class", "voxels", "distance", "overlap", "channel distance"]
    heads += ["distance by chance", "overlap by chance", "channel distance by chance"]
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(heads)
    for network in found:
        for one in network.classes:
            facts = (network.run, network.step, network.unlabelled, one.name, len(one.labelled))
            writer.writerow([*facts, *_numbers(one.shift), *_numbers(one.floor)])
    folder = inside(pool.root, "features")
    name = _file_name([network.run for network in found])
    table, picture = folder / f"{name}.csv", folder / f"{name}.png"
    write_text(table, out.getvalue())
    draw_features(picture, found)
    return table, picture


def _file_name(runs: Sequence[str]) -> str:
    """Return a name of results, of the runs' names: these stand in checkpoints, and may be anything."""
    name = "-".join(runs)
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", name)
    if plain == name and 0 < len(name) <= _LONGEST:
        return name
    return f"{plain[:_LONGEST]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _numbers(shift: FeatureShift | None) -> list[str]:
    if shift is None:
        return ["", "", ""]
    return [f"{number:.4f}" for number in (shift.distance, shift.overlap, shift.channel_distance)]
