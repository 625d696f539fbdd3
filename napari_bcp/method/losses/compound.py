"""Sums of a voxel loss and an overlap loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_bcp.method.losses.overlap import dice

if TYPE_CHECKING:
    from torch import Tensor

    from napari_bcp.method.losses.inputs import Inputs


def ce_dice(v: Inputs, *, squared: bool = False, batch: bool = False, smooth: float = 1e-5) -> Tensor:
    """Return half the cross-entropy plus half the Dice loss."""
    ce = -(v.mt * v.log_p).sum() / (v.size + 1e-16)
    return 0.5 * ce + 0.5 * dice(v, squared=squared, batch=batch, smooth=smooth)
