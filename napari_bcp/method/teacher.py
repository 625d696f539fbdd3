"""The teacher: a moving average of the student."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn


@torch.no_grad()
def update_teacher(
    teacher: nn.Module, student: nn.Module, decay: float, buffers: Literal["own", "average"] = "average"
) -> None:
    """Move the teacher towards the student after an optimiser step: θ_T ← λ·θ_T + (1−λ)·θ_S.

    buffers : "average" treats the statistics of normalisation layers like parameters (the paper's ACDC code);
        "own" leaves them to the teacher's own passes in training mode (its LA and Pancreas code).
    Counters stay the teacher's own.
    """
    mine = [p.data for p in teacher.parameters()]
    theirs = [p.data for p in student.parameters()]
    if buffers == "average":
        pairs = [(t, s) for t, s in zip(teacher.buffers(), student.buffers(), strict=True) if t.is_floating_point()]
        mine += [t for t, _ in pairs]
        theirs += [s for _, s in pairs]
    torch._foreach_lerp_(mine, theirs, 1.0 - decay)
