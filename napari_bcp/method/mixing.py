"""Mixed images and the loss on them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

LossFunction = Callable[[Tensor, Tensor, "Tensor | None"], Tensor]


def paste(outer: Tensor, inner: Tensor, keep: Tensor) -> Tensor:
    """Take `outer` where `keep` is True and `inner` elsewhere: X·M + X'·(1−M).

    outer, inner : (B, C, *S) images or (B, *S) labels, of one shape;  keep : (*S) bool.
    Raises ValueError when the shapes do not fit.
    """
    if outer.shape != inner.shape or outer.shape[-keep.ndim :] != keep.shape:
        raise ValueError(f"cannot paste {tuple(inner.shape)} into {tuple(outer.shape)} under {tuple(keep.shape)}")
    return torch.where(keep, outer, inner)


def mixed_loss(
    loss: LossFunction,
    logits: Tensor,
    outer_target: Tensor,
    inner_target: Tensor,
    keep: Tensor,
    outer_weight: float,
    inner_weight: float,
    outer_valid: Tensor | None = None,
    inner_valid: Tensor | None = None,
) -> Tensor:
    """Return outer_weight · loss where `keep` is True plus inner_weight · loss where it is False.

    logits : (B, C, *S);  targets : (B, *S) labels or (B, C, *S) probabilities;  keep : (*S) bool.
    outer_valid, inner_valid : (B, *S) bool, voxels of the targets that count; all of them without
    Each region is normalised by its own size, so the pasted box weighs as much as its surroundings. With
    `ce-dice` this is the paper's mix loss, half the sum of two Dice and two cross-entropy terms.
    """
    region = keep.expand(logits.shape[0], *keep.shape)
    outside = region if outer_valid is None else region & outer_valid
    inside = ~region if inner_valid is None else ~region & inner_valid
    return outer_weight * loss(logits, outer_target, outside) + inner_weight * loss(logits, inner_target, inside)
