"""Which labelled cases judge the network instead of teaching it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from napari_bcp.config import TrainConfig
    from napari_bcp.engine.cache import CaseFiles


def choose_held_out(
    cases: Sequence[CaseFiles], config: TrainConfig, before: Sequence[str], trained_on: Collection[str]
) -> list[CaseFiles]:
    """Hold out one labelled case in five from ten on, or as many as the settings say; always the same ones.

    before : names of those that were held out;  trained_on : of those that the network has learnt from
    """
    names = [c.name for c in cases]
    kept = [n for n in before if n in names]
    count = config.hold_out
    if count is None:  # where a few cases are missing, those that were held out stay so
        count = max(len(cases) // 5 if len(cases) >= 10 else 0, len(kept))
    count = min(count, len(cases) - 1)
    if count <= 0:
        return []
    kept = kept[:count]
    seen = {*kept, *trained_on}
    fresh = sorted(n for n in names if n not in seen)  # a case that was trained on can judge nothing any more
    wanted = min(count - len(kept), len(fresh))
    kept += np.random.default_rng(config.seed).choice(fresh, wanted, replace=False).tolist() if wanted else []
    return [c for c in cases if c.name in set(kept)]
