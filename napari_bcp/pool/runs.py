"""Which run a training goes on with, or the new one that it begins; and the maps that a run has made."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from napari_bcp.config import TrainConfig, make_config
from napari_bcp.errors import ScanError, SettingError, TrainingError
from napari_bcp.events import Note
from napari_bcp.pool.paths import inside

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from napari_bcp.events import MapMade
    from napari_bcp.pool.records import RunRecord
    from napari_bcp.pool.store import Pool

NEWEST: Final = "last.pt"
BEST: Final = "best.pt"

LASTING_SETTINGS: Final = (
    "seed",
    "dimensions",
    "network",
    "width",
    "spacing",
    "patch",
    "batch",
    "stage1_batch",
    "normalise",
    "fit",
    "precision",
)
"""Settings of a run's first draws and of its plan, which cannot change while it goes on."""


@dataclass(frozen=True)
class ChosenRun:
    """The run to train, with its settings.

    resume : it goes on from its checkpoint with its plan; else it is new, and its plan is still to be made
    notes : what was decided on the way, to be told
    """

    record: RunRecord
    config: TrainConfig
    resume: bool
    notes: tuple[Note, ...] = ()


def choose_run(
    pool: Pool,
    preset: str | None,
    settings: Mapping[str, Any],
    fresh: bool,
    check_plan: Callable[[Mapping[str, Any]], object] = dict,
) -> ChosenRun:
    """Return the last run if it can go on, else a new one, recorded in the pool.

    preset : None for that of the last run, "quick" where there is none;  settings : laid over the run's own
    check_plan : raises ValueError for a plan that cannot be used
    A note names each case whose scan is another file than when its mask was made.
    Raises TrainingError when the pool has no accepted mask, SettingError for settings that cannot be, PoolError where a
    link would let the training write outside the pool.
    """
    masked = [case.name for case in pool.cases(("accepted", "draft")) if case.has_mask]
    if not pool.classes or not masked:
        raise TrainingError(
            f"The pool {pool.root} has no accepted mask; accept one in the window, or with 'napari-bcp accept'."
        )
    last = last_trained(pool)
    for place in (("cache",), ("maps",), *([] if last is None else [("runs", last.id)])):
        inside(pool.root, *place)
    notes = _about_changed_scans(pool, masked)
    if last is not None and not fresh:
        why_new = _why_new(pool, last, preset, check_plan)
        if not why_new:
            own = {key: value for key, value in last.config.items() if key in TrainConfig.model_fields}
            config = make_config(last.preset, {**own, **settings})
            wanted = config.model_dump(mode="json")
            for key in settings:
                if key in LASTING_SETTINGS and wanted[key] != last.config.get(key):
                    raise SettingError(
                        f"Setting '{key}' cannot change while run {last.id} goes on; begin a new run (--fresh)."
                    )
            return ChosenRun(last, config, resume=True, notes=tuple(notes))
        notes.append(Note(text=why_new))
    preset = preset or (last.preset if last is not None else "quick")
    config = make_config(preset, settings)
    record = pool.new_run(preset, config.model_dump(mode="json"), {})
    return ChosenRun(record, config, resume=False, notes=tuple(notes))


def last_trained(pool: Pool) -> RunRecord | None:
    """Return the newest run that has a checkpoint."""
    return next((run for run in reversed(pool.runs()) if (run.path / NEWEST).exists()), None)


def best_checkpoint(run: RunRecord) -> Path:
    """Return the best checkpoint on held-out cases where there is one, else the newest."""
    best = run.path / BEST
    return best if best.exists() else run.path / NEWEST


def record_made(pool: Pool, made: MapMade) -> None:
    """Make a map that has been written the newest of its case; raises as `Pool.record_map` does."""
    pool.record_map(
        made.case,
        run=made.run,
        step=made.step,
        map_file=made.map_path,
        pseudo_file=made.pseudo_path,
        quality=made.quality,
        entropy=made.entropy,
        volume_ml=made.volume_ml,
        islands=made.islands,
    )


def _why_new(pool: Pool, last: RunRecord, preset: str | None, check_plan: Callable[[Mapping[str, Any]], object]) -> str:
    """Return why the last run cannot go on, or an empty text."""
    if preset is not None and preset != last.preset:
        return f"Run {last.id} used preset {last.preset}; a new run begins with {preset}."
    try:
        check_plan(last.plan)
        classes = sorted(last.plan["classes"])
    except (ValueError, TypeError, KeyError):  # the table is a file that anybody may have written to
        return f"The plan of run {last.id} cannot be read; a new run begins."
    if classes != sorted(one.value for one in pool.classes):
        return f"The classes have changed since run {last.id}; a new run begins."
    return ""


def _about_changed_scans(pool: Pool, names: Sequence[str]) -> list[Note]:
    """Return a note for each of these cases whose scan has another content than when it came into the pool."""
    changed = []
    for name in names:
        with suppress(ScanError):  # away: training says so
            if pool.check_changed(name):
                changed.append(name)
    return [
        Note(text=f"The scan of case '{name}' is another file than when its mask was made: look whether the mask fits.")
        for name in changed
    ]
