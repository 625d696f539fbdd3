"""What every loss is computed from, prepared once: log-probabilities, target and region on flattened voxels."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import torch

from napari_bcp.errors import GridMismatchError, MaskError

if TYPE_CHECKING:
    from torch import Tensor


class Loss(Protocol):
    """A loss with its constants bound."""

    def __call__(self, logits: Tensor, target: Tensor, region: Tensor | None = None) -> Tensor:
        """Return the loss as a scalar tensor, float64 for float64 logits, else float32.

        logits : (B, C, *S) float, one to three spatial axes, two classes or more; half precision is widened
        target : (B, *S) integer classes below C, or (B, C, *S) float probabilities
        region : (B, *S) or (B, 1, *S), bool or float in [0, 1]; voxels outside (0) count nowhere. Probabilities
            are computed first and then cut; a region without any voxel gives 0 with a gradient of 0

        Raises GridMismatchError if the shapes do not belong together, MaskError if the target holds a class
        that the logits do not have.
        """
        ...


class Inputs:
    """Logits, target and region of one call, spatial axes flattened to N voxels.

    log_p : (B, C, N), logarithm of the softmax
    p : (B, C, N), the softmax
    t : (B, C, N), target without the region, one-hot when hard
    mt : (B, C, N), target times region
    m : (B, 1, N) region as float, or None where every voxel counts
    size : () region's size in voxels (sum of m)
    shape : spatial shape
    hard : whether the target was given as classes
    """

    def __init__(self, logits: Tensor, target: Tensor, region: Tensor | None) -> None:
        if logits.ndim not in (3, 4, 5) or logits.shape[1] < 2 or logits.numel() == 0:
            raise GridMismatchError(
                f"Logits of shape {tuple(logits.shape)} are no (batch, classes, 1 to 3 axes) with two or more "
                "classes; give the network's output before softmax."
            )
        self.shape = tuple(logits.shape[2:])
        self.classes = logits.shape[1]
        self.hard = not (target.is_floating_point() and target.ndim == logits.ndim)
        wide = logits if logits.dtype == torch.float64 else logits.float()
        self.log_p = wide.flatten(2).log_softmax(1)
        self._target = target.detach()
        expected = (logits.shape[0], *self.shape) if self.hard else tuple(logits.shape)
        if tuple(target.shape) != expected:
            raise GridMismatchError(
                f"The target has shape {tuple(target.shape)}, logits of {tuple(logits.shape)} need {expected}; "
                "cut both from the same block."
            )
        if self.hard:
            self._check_classes(target)
        self.m = None if region is None else self._flat_region(region)

    @cached_property
    def p(self) -> Tensor:
        """Probabilities, (B, C, N)."""
        return self.log_p.exp()

    @cached_property
    def t(self) -> Tensor:
        """Target as probabilities, (B, C, N)."""
        if self.hard:
            return self._one_hot(self.log_p.new_ones(()).expand(self.log_p.shape[0], 1, self.log_p.shape[2]))
        return self._target.to(self.log_p.dtype).flatten(2)

    @cached_property
    def mt(self) -> Tensor:
        """Target inside the region, (B, C, N)."""
        if self.m is None:
            return self.t
        return self._one_hot(self.m) if self.hard else self.t * self.m

    @cached_property
    def size(self) -> Tensor:
        """Voxels of the region, a scalar."""
        if self.m is not None:
            return self.m.sum()
        return self.log_p.new_full((), self.log_p.shape[0] * self.log_p.shape[2])

    @cached_property
    def shares(self) -> Tensor:
        """Share of the batch's region that belongs to each class, (C,)."""
        return self.mt.sum((0, 2)) / (self.size + 1e-16)

    def cut(self, x: Tensor) -> Tensor:
        """Return `x` (broadcastable to (B, C, N)) times the region."""
        return x if self.m is None else x * self.m

    def mean(self, x: Tensor) -> Tensor:
        """Return the sum of `x`, already cut, per voxel of the region; 0 for an empty region."""
        return x.sum() / (self.size + 1e-16)

    def _one_hot(self, values: Tensor) -> Tensor:
        """Return the (B, 1, N) values at each voxel's class and 0 elsewhere, (B, C, N)."""
        places = self._target.long().flatten(1).unsqueeze(1)
        return torch.zeros_like(self.log_p, requires_grad=False).scatter_(1, places, values)

    def _check_classes(self, target: Tensor) -> None:
        """Refuse classes that the logits do not have."""
        if target.is_floating_point() or target.is_complex():
            raise MaskError(f"A target of classes must hold integers, not {target.dtype}; convert it with .long().")
        low, high = torch.stack(torch.aminmax(target.to(torch.int64))).tolist()
        if low < 0 or high >= self.classes:
            raise MaskError(
                f"The target holds class {low if low < 0 else high}, the logits have classes 0 to {self.classes - 1}; "
                "train a network with as many classes as the masks have."
            )

    def _flat_region(self, region: Tensor) -> Tensor:
        """Return the region as (B, 1, N) of the logits' type."""
        batch = self.log_p.shape[0]
        if tuple(region.shape) not in ((batch, *self.shape), (batch, 1, *self.shape)):
            raise GridMismatchError(
                f"The region has shape {tuple(region.shape)}, the block {(batch, *self.shape)}; give one value a voxel."
            )
        return region.to(self.log_p.dtype).reshape(batch, 1, -1)
