"""What changes over time."""

from __future__ import annotations

import math
from typing import Literal


def learning_rate(
    schedule: Literal["decay-at-end", "constant", "step-2500"], peak: float, *, share: float, stage2_step: int
) -> float:
    """Return the learning rate.

    share : part of the budget that is used, 0 to 1;  stage2_step : steps since stage 2 began, 0 before.
    decay-at-end : up over the first hundredth, `peak` until two thirds, then a half cosine down to a hundredth
        of it, so a run that is stopped early has lost little and one that goes on later starts from a good model.
    step-2500 : peak · 0.1^⌊stage2_step / 2500⌋, as published for the left atrium.
    """
    if schedule == "constant":
        return peak
    if schedule == "step-2500":
        return peak * 0.1 ** (stage2_step // 2500)
    if share < 0.01:
        return peak * (0.1 + 0.9 * share / 0.01)
    if share <= 2 / 3:
        return peak
    fall = min((share - 2 / 3) * 3, 1.0)
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * fall)))


def consistency_ramp(iteration: int, length: float, weight: float = 1.0, per: int = 150) -> float:
    """Return weight · exp(−5·(1 − e/length)²), e = ⌊iteration / per⌋ clipped to [0, length].

    The published code logs this value and multiplies no loss with it; it is here to compare logs.
    """
    if length == 0:
        return weight
    epoch = min(max(iteration // per, 0), length)
    return weight * math.exp(-5.0 * (1.0 - epoch / length) ** 2)
