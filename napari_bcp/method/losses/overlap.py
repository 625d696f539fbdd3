"""Losses of overlap (Dice family)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from napari_bcp.method.losses.inputs import Inputs


def dice(v: Inputs, *, squared: bool = False, batch: bool = False, smooth: float = 1e-5) -> Tensor:
    """Return 1 - (2 I + s) / (S_p + S_t + s), mean over classes and units."""
    axes = (0, 2) if batch else (2,)
    both = (v.p * v.mt).sum(axes)
    predicted = v.cut(v.p * v.p if squared else v.p).sum(axes)
    true = (v.mt * v.t if squared else v.mt).sum(axes)
    return (1 - (2 * both + smooth) / (predicted + true + smooth)).mean()
