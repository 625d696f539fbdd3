"""Overlap losses whose minimum is at p = t for soft targets too: JML, DML and CTL (Wang et al. 2023, 2024).

The intersection is Σm·min(p,t) instead of Σmpt: with Δ = Σm|p - t|, T = (S_p + S_t - Δ)/2, F₊ = S_p - T,
F₋ = S_t - T, the loss of a class is 1 - (T + s) / (T + αF₊ + βF₋ + s). For hard targets they equal the Jaccard,
Dice and Tversky losses. MONAI's `soft_label` has no region and no choice of classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from napari_bcp.method.losses.overlap import Classes, counted, mean_over

if TYPE_CHECKING:
    from torch import Tensor

    from napari_bcp.method.losses.inputs import Inputs


def compatible_tversky(
    v: Inputs,
    *,
    alpha: float = 0.3,
    beta: float = 0.7,
    smooth: float = 1e-3,
    power: float = 1.0,
    log: bool = False,
    norm: Literal[1, 2] = 1,
    by_image: float = 0.0,
    by_class: float = 0.0,
    classes: Classes = "auto",
) -> Tensor:
    """Return the compatible Tversky loss; alpha = beta = 1 is the Jaccard (JML), ½ the Dice metric loss (DML).

    alpha, beta : weights of false positives and false negatives
    power : exponent of each class's loss
    log : minus the logarithm of the index instead of 1 minus it
    norm : 1 takes |p - t|, 2 squares (which turns the Dice form into squared Dice)
    by_image, by_class : shares of the mean over images of the mean over their classes, and of the mean over classes
        of the mean over the images that show them; what is left of 1 goes to sums over the whole batch
    """
    difference = v.p - v.t
    gap = v.cut(difference.abs() if norm == 1 else difference.square()).sum(2)
    predicted = v.cut(v.p if norm == 1 else v.p.square()).sum(2)
    true = (v.mt if norm == 1 else v.mt * v.t).sum(2)

    def class_losses(gap: Tensor, predicted: Tensor, true: Tensor) -> Tensor:
        both = (predicted + true - gap) / 2
        index = (both + smooth) / (both + alpha * (predicted - both) + beta * (true - both) + smooth)
        loss = -index.log() if log else 1 - index
        return loss if power == 1 else loss**power

    total = gap.new_zeros(())
    if by_image + by_class < 1:
        sums = (x.sum(0, keepdim=True) for x in (gap, predicted, true))
        pooled = mean_over(class_losses(*sums), counted(v, batch=True, classes=classes))
        total = total + (1 - by_image - by_class) * pooled
    if by_image + by_class > 0:
        losses = class_losses(gap, predicted, true)
        counts = counted(v, batch=False, classes=classes)
        total = total + by_image * mean_over(losses, counts) + by_class * mean_over(losses.T, counts.T)
    return total
