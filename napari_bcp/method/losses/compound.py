"""Sums of a voxel loss and an overlap loss: the first gives a gradient everywhere, the second ignores imbalance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_bcp.method.losses.overlap import Classes, counted, dice, dice_index, mean_over
from napari_bcp.method.losses.soft import compatible_tversky
from napari_bcp.method.losses.voxel import class_weights, cross_entropy

if TYPE_CHECKING:
    from torch import Tensor

    from napari_bcp.method.losses.inputs import Inputs


def ce_dice(
    v: Inputs,
    *,
    squared: bool,
    batch: bool = False,
    smooth: float = 1e-5,
    background: bool = True,
    classes: Classes = "all",
) -> Tensor:
    """Return ½ cross-entropy + ½ Dice, the pair of BCP (Bai 2023) for one region."""
    overlap = dice(v, squared=squared, batch=batch, smooth=smooth, background=background, classes=classes)
    return 0.5 * cross_entropy(v) + 0.5 * overlap


def ce_dice_balanced(v: Inputs, *, smooth: float = 1e-5, background: bool = True, classes: Classes = "auto") -> Tensor:
    """Return ½ Σ_c w_c CE_c + ½ Dice per sample, w_c ∝ (share of the class in the region)^-½, 1 on average over voxels.

    Dice ignores imbalance only once a class is found: where its probability is near 0, so is the gradient. Until then
    a structure of a few hundred voxels is learnt through its cross-entropy, which large classes drown.
    """
    weights = v.shares.clamp_min(1e-6).rsqrt()
    weights = (weights / (weights * v.shares).sum().clamp_min(1e-6)).view(1, -1, 1)
    overlap = dice(v, squared=False, smooth=smooth, background=background, classes=classes)
    return -0.5 * v.mean(weights * v.mt * v.log_p) + 0.5 * overlap


def ce_compatible(
    v: Inputs, *, alpha: float, beta: float, share: float = 0.75, smooth: float = 1.0, classes: Classes = "auto"
) -> Tensor:
    """Return (1 - share) cross-entropy + share of the compatible Tversky loss over the batch (Wang 2023)."""
    overlap = compatible_tversky(v, alpha=alpha, beta=beta, smooth=smooth, classes=classes)
    return (1 - share) * cross_entropy(v) + share * overlap


def combo(
    v: Inputs, *, share: float = 0.5, foreground: float = 0.5, smooth: float = 1.0, classes: Classes = "auto"
) -> Tensor:
    """Return a·CE with weight β on foreground classes, 1-β on background, minus (1-a)·Dice index (Taghanaki 2019).

    Can be negative: a perfect result has -(1-a).
    """
    weights = class_weights(v, (1 - foreground, foreground))
    ce = -v.mean(weights * v.mt * v.log_p)
    index = dice_index(v, batch=False, smooth=smooth)
    return share * ce - (1 - share) * mean_over(index, counted(v, batch=False, classes=classes))


def exponential_log(
    v: Inputs, *, share: float = 0.8, gamma: float = 0.3, smooth: float = 1e-5, classes: Classes = "auto"
) -> Tensor:
    """Return a·mean_c (-ln D_c)^γ + (1-a)·mean ω (-ln p)^γ with ω = (share of the class in the region)^-½ (Wong 2018).

    D_c is the Dice index over the batch. Logarithms are kept above 1e-6: a power below 1 has an infinite slope at 0.
    """
    index = dice_index(v, batch=True, smooth=smooth)
    overlap = mean_over((-index.log()).clamp_min(1e-6) ** gamma, counted(v, batch=True, classes=classes))
    weights = v.shares.clamp_min(1e-12).rsqrt().view(1, -1, 1)
    voxels = v.mean(weights * v.mt * (-v.log_p).clamp_min(1e-6) ** gamma)
    return share * overlap + (1 - share) * voxels
