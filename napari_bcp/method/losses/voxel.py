"""Losses that are a mean over voxels: the cross-entropy family.

Always Σmℓ / Σm over the region, never divided by class weights. Written here because torch divides by the weights
when the target is hard and not when it is soft, and MONAI's focal loss divides by the number of classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_bcp.errors import SettingError

if TYPE_CHECKING:
    from torch import Tensor

    from napari_bcp.method.losses.inputs import Inputs


def cross_entropy(v: Inputs) -> Tensor:
    """Return the mean of -Σ_c t_c ln p_c."""
    return -v.mean(v.mt * v.log_p)


def weighted_ce(v: Inputs, *, weights: tuple[float, ...] = (1.0, 2.0)) -> Tensor:
    """Return the mean of -Σ_c w_c t_c ln p_c; a foreground weight above 1 misses less, below 1 invents less."""
    return -v.mean(class_weights(v, weights) * v.mt * v.log_p)


def balanced_ce(v: Inputs, *, floor: float = 0.05) -> Tensor:
    """Return the cross-entropy with w_c = 1 - (share of class c in the batch's region) (Xie & Tu 2015).

    Weights stay above `floor`: a batch of background alone would teach nothing otherwise.
    """
    weights = (1 - v.shares).clamp_min(floor).view(1, -1, 1)
    return -v.mean(weights * v.mt * v.log_p)


def focal(v: Inputs, *, gamma: float = 2.0, weights: tuple[float, ...] = (0.75, 0.25)) -> Tensor:
    """Return the mean of -Σ_c a_c t_c (1 - p_c)^γ ln p_c (Lin 2017); weights of (1.0,) give it without a."""
    doubt = (1 - v.p).clamp_min(1e-7) ** gamma  # a power below 1 has an infinite slope at 0
    return -v.mean(class_weights(v, weights) * v.mt * doubt * v.log_p)


def class_weights(v: Inputs, weights: tuple[float, ...]) -> Tensor:
    """Return one weight a class, (1, C, 1); the last one given holds for all further classes."""
    classes = v.p.shape[1]
    if len(weights) > classes:
        raise SettingError(f"{len(weights)} class weights were given for {classes} classes; give at most {classes}.")
    return v.p.new_tensor([*weights, *weights[-1:] * (classes - len(weights))]).view(1, -1, 1)
