"""From the cases of a cohort to a plan: the labelled scans are read once and measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_bcp.engine.fingerprint import Survey
from napari_bcp.engine.plan import Plan, make_plan
from napari_bcp.errors import MaskError, ScanAwayError, ScanError, TrainingError
from napari_bcp.events import CaseUnusable, Event, Progress
from napari_bcp.scans import read_mask, read_scan

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    import torch

    from napari_bcp.config import TrainConfig
    from napari_bcp.engine.sources import CaseSource

_ENOUGH = 20  # labelled scans: more tell no more


def plan_for(
    source: CaseSource, classes: Sequence[int], config: TrainConfig, device: torch.device, stop: Callable[[], bool]
) -> Generator[Event, None, Plan | None]:
    """Measure the cohort and derive a plan; a generator of events that returns it, or None when `stop` said so.

    classes : the pool's class values without background, one at least
    Raises TrainingError when no labelled case can be read, SettingError when settings contradict each other.
    """
    labelled = source.labelled()[:_ENOUGH]
    survey = Survey()
    for done, case in enumerate(labelled):
        yield Progress(task="measuring labelled scans", done=done, total=len(labelled), case=case.name)
        if stop():
            return None
        assert case.mask is not None  # noqa: S101 - the case is labelled
        try:
            scan = read_scan(case.scan)
            survey.add(scan, read_mask(case.mask, scan.grid, classes=classes))
        except (ScanError, MaskError) as error:
            yield CaseUnusable(case=case.name, reason=str(error), lasting=not isinstance(error, ScanAwayError))
    if not survey.scans:
        raise TrainingError(
            "None of the labelled cases can be read; see 'napari-bcp status', and accept a mask that can."
        )
    return make_plan(survey.fingerprint(source.grids()), classes, config, device)
