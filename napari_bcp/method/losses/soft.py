"""Overlap losses whose minimum is at p = t for soft targets too: JML, DML and CTL (Wang et al. 2023).

The intersection is T = Σm·min(p,t) instead of Σmpt (which is half of S_p + S_t less Σm|p - t|); with F₊ = S_p - T and
F₋ = S_t - T the loss of a class is 1 - (T + s) / (T + αF₊ + βF₋ + s). For hard targets they equal the Jaccard, Dice
and Tversky losses. MONAI's `soft_label` has no region and no choice of classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

from napari_bcp.errors import SettingError
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
    norm : 1 as above; 2 takes Σmpt, Σmp² and Σmt² instead (which turns the Dice form into squared Dice)
    by_image, by_class : shares of the mean over images of the mean over their classes, and of the mean over classes
        of the mean over the images that show them; what is left of 1 goes to sums over the whole batch

    Raises SettingError if those shares exceed 1, or for norm 2 with alpha unlike beta, where it would be negative.
    """
    if by_image + by_class > 1:
        raise SettingError(f"by_image {by_image} and by_class {by_class} add up to more than 1; lower one of them.")
    if norm == 2 and alpha != beta:
        raise SettingError(f"Norm 2 needs alpha ({alpha}) and beta ({beta}) to be equal; take norm 1.")
    product = v.hard or norm == 2  # where t is 0 or 1, min(p, t) is p·t
    both = (v.p * v.mt if product else v.cut(torch.minimum(v.p, v.t))).sum(2)
    predicted = v.cut(v.p if norm == 1 else v.p.square()).sum(2)
    true = (v.mt if norm == 1 else v.mt * v.t).sum(2)

    def class_losses(both: Tensor, predicted: Tensor, true: Tensor) -> Tensor:
        index = (both + smooth) / (both + alpha * (predicted - both) + beta * (true - both) + smooth)
        loss = -index.log() if log else 1 - index
        return loss if power == 1 else loss.clamp_min(0) ** power  # rounding can make it negative in norm 2

    total = both.new_zeros(())
    if by_image + by_class < 1:
        sums = (x.sum(0, keepdim=True) for x in (both, predicted, true))
        pooled = mean_over(class_losses(*sums), counted(v, batch=True, classes=classes))
        total = total + (1 - by_image - by_class) * pooled
    if by_image + by_class > 0:
        losses = class_losses(both, predicted, true)
        counts = counted(v, batch=False, classes=classes)
        total = total + by_image * mean_over(losses, counts) + by_class * mean_over(losses.T, counts.T)
    return total
