"""Losses of overlap: the Dice family, per class and unit, then averaged.

A unit is one sample, or the whole batch (`batch=True`). For each class and unit, with region m, probabilities p
and target t: S_p = Σmp, S_t = Σmt, I = Σmpt, false positives FP = S_p - I, false negatives FN = S_t - I.

They are written here and not taken from a library because none of those at hand cuts the probabilities (instead
of the logits) by a region, takes soft targets, and leaves absent classes out by choice, all at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from napari_bcp.method.losses.inputs import Inputs

Classes = Literal["auto", "present", "all"]

PRESENT = 0.01  # a class counts as present in a unit where its target reaches above this


class Sizes(NamedTuple):
    """I, S_p and S_t, each (units, C)."""

    both: Tensor
    predicted: Tensor
    true: Tensor


def sizes(v: Inputs, *, batch: bool, squared: bool = False) -> Sizes:
    """Return the sums of the module's docstring; `squared` gives Σmp² and Σmt² for S_p and S_t."""

    def add_up(x: Tensor) -> Tensor:
        per_sample = x.sum(2)
        return per_sample.sum(0, keepdim=True) if batch else per_sample

    predicted = v.p.square() if squared else v.p
    true = v.mt * v.t if squared else v.mt
    return Sizes(add_up(v.p * v.mt), add_up(v.cut(predicted)), add_up(true))


def counted(v: Inputs, *, batch: bool, classes: Classes, background: bool = True) -> Tensor:
    """Return which classes are averaged in each unit, (units, C) bool.

    Present classes alone, because for an absent one the loss is 1 - s/(S_p + s): near 1 and almost without gradient
    as soon as anything is predicted. "auto" counts those that are present in a hard target, all of a soft one.
    """
    if classes == "all" or (classes == "auto" and not v.hard):
        counts = torch.ones(v.p.shape[:2], dtype=torch.bool, device=v.p.device)
    else:
        counts = v.mt.amax(2) > PRESENT
    if batch:
        counts = counts.any(0, keepdim=True)
    if not background:
        counts[:, 0] = False
    return counts


def mean_over(x: Tensor, counts: Tensor) -> Tensor:
    """Average `x` (units, C) over each unit's counted classes, then over the units that have any; 0 without any."""
    per_unit = (x * counts).sum(1) / counts.sum(1).clamp_min(1)
    return per_unit.sum() / counts.any(1).sum().clamp_min(1)


def dice_index(v: Inputs, *, batch: bool, smooth: float, squared: bool = False) -> Tensor:
    """Return (2I + s) / (S_p + S_t + s), (units, C)."""
    n = sizes(v, batch=batch, squared=squared)
    return (2 * n.both + smooth) / (n.predicted + n.true + smooth)


def dice(
    v: Inputs,
    *,
    squared: bool,
    batch: bool = False,
    smooth: float = 1e-5,
    background: bool = True,
    classes: Classes = "all",
) -> Tensor:
    """Return 1 - (2I + s) / (S_p + S_t + s).

    Plain and per sample it is the 3-D Dice loss of BCP; squared (Milletari 2016), over the batch, with s = 1e-10
    its 2-D one. Both average absent classes in, as published.
    """
    index = dice_index(v, batch=batch, smooth=smooth, squared=squared)
    return mean_over(1 - index, counted(v, batch=batch, classes=classes, background=background))


def log_cosh_dice(
    v: Inputs, *, batch: bool = False, smooth: float = 1e-5, background: bool = True, classes: Classes = "auto"
) -> Tensor:
    """Return ln cosh of the plain Dice loss (Jadon 2020)."""
    loss = dice(v, squared=False, batch=batch, smooth=smooth, background=background, classes=classes)
    return loss.cosh().log()


def soft_jaccard(
    v: Inputs, *, batch: bool = True, smooth: float = 1e-5, background: bool = True, classes: Classes = "auto"
) -> Tensor:
    """Return 1 - (I + s) / (S_p + S_t - I + s) (Rahman & Wang 2016)."""
    n = sizes(v, batch=batch)
    index = (n.both + smooth) / (n.predicted + n.true - n.both + smooth)
    return mean_over(1 - index, counted(v, batch=batch, classes=classes, background=background))


def tversky(
    v: Inputs,
    *,
    alpha: float = 0.3,
    beta: float = 0.7,
    batch: bool = False,
    smooth: float = 1.0,
    background: bool = True,
    classes: Classes = "auto",
) -> Tensor:
    """Return 1 - (I + s) / (I + αFP + βFN + s) (Salehi 2017); alpha weighs false positives, beta false negatives."""
    index = _tversky_index(sizes(v, batch=batch), alpha, beta, smooth)
    return mean_over(1 - index, counted(v, batch=batch, classes=classes, background=background))


def focal_tversky(
    v: Inputs,
    *,
    alpha: float = 0.3,
    beta: float = 0.7,
    gamma: float = 0.75,
    batch: bool = False,
    smooth: float = 1.0,
    background: bool = True,
    classes: Classes = "auto",
) -> Tensor:
    """Return the Tversky loss of each class to the power of `gamma` (Abraham 2019).

    The base is kept above 1e-6: a gamma below 1 has an infinite slope at 0.
    """
    base = 1 - _tversky_index(sizes(v, batch=batch), alpha, beta, smooth)
    return mean_over(base.clamp_min(1e-6) ** gamma, counted(v, batch=batch, classes=classes, background=background))


def sensitivity_specificity(v: Inputs, *, weight: float = 0.05, smooth: float = 1e-5) -> Tensor:
    """Return w Σm(t-p)²t / Σmt + (1-w) Σm(t-p)²(1-t) / Σm(1-t), per sample and class above 0 (Brosch 2015)."""
    t, mt = v.t[:, 1:], v.mt[:, 1:]
    miss = (t - v.p[:, 1:]).square()
    outside = v.cut(1 - t)
    inner = (miss * mt).sum(2) / (mt.sum(2) + smooth)
    outer = (miss * outside).sum(2) / (outside.sum(2) + smooth)
    return (weight * inner + (1 - weight) * outer).mean()


def lovasz_softmax(v: Inputs) -> Tensor:
    """Return the Lovász extension of the Jaccard loss over the present classes of the batch (Berman 2018).

    Errors |t - p| are sorted, largest first, and weighted by how much each lowers the Jaccard index. That index is
    one of sets, so the target must be hard; the registry refuses others.
    """
    true = v.mt.movedim(1, 0).flatten(1)
    outside = v.cut(1 - v.t).movedim(1, 0).flatten(1)
    errors, order = v.cut((v.t - v.p).abs()).movedim(1, 0).flatten(1).sort(dim=1, descending=True)
    total = true.sum(1, keepdim=True)
    missed = total - true.gather(1, order).cumsum(1)
    union = total + outside.gather(1, order).cumsum(1)
    jaccard = 1 - missed / union.clamp_min(1e-12)
    steps = torch.diff(jaccard, dim=1, prepend=torch.zeros_like(total))
    return mean_over((errors * steps).sum(1).unsqueeze(0), counted(v, batch=True, classes="present"))


def _tversky_index(n: Sizes, alpha: float, beta: float, smooth: float) -> Tensor:
    """Return (I + s) / (I + αFP + βFN + s)."""
    return (n.both + smooth) / (n.both + alpha * (n.predicted - n.both) + beta * (n.true - n.both) + smooth)
