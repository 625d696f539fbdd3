"""The quick network: a U-Net whose first convolution halves the grid, for training on an ordinary processor.

Most of the time of a U-Net goes into its first level, where the grid is largest and the channels say least. Here
the trunk works on the halved grid, and its last layer gives the scores of the full grid at once, eight voxels for one
of its own. Along an axis where the block is too small nothing is halved. What comes up a level is added to what goes
across and not put beside it, which would double the channels of the widest convolution, a quarter of a step's time.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence

_CONV: dict[int, Any] = {2: nn.Conv2d, 3: nn.Conv3d}
_CONV_UP: dict[int, Any] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_NORM: dict[int, Any] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class QuickNet(nn.Module):
    """Light U-Net in two or three dimensions.

    forward : (B, channels, *S) -> logits (B, classes, *S); each axis a multiple of the product of its strides.
    strides : one tuple a level, the factor by which each axis shrinks on entering the level; the first is the
        stem's, relative to the image.
    widths : channels of each level.

    Scores are linear in all channels of the first level. A layer of a few channels in between, none of which can be
    negative, starves small structures: the first steps push all classes down together, and a class whose few weights
    have all become negative comes back late or never.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        strides: Sequence[Sequence[int]],
        widths: Sequence[int],
    ) -> None:
        super().__init__()
        self.dims = len(strides[0])
        self.strides = [tuple(s) for s in strides]
        down: list[nn.Module] = []
        before = channels
        for level, (stride, wide) in enumerate(zip(self.strides, widths, strict=True)):
            kernel = tuple(4 if level == 0 and s == 2 else 3 for s in stride)
            down.append(
                nn.Sequential(self._conv(before, wide, kernel, stride), self._conv(wide, wide, (3,) * self.dims))
            )
            before = wide
        self.down = nn.ModuleList(down)
        up: list[nn.Module] = []
        for level in range(len(widths) - 1, 0, -1):
            stride, wide = self.strides[level], widths[level - 1]
            up.append(_CONV_UP[self.dims](widths[level], wide, stride, stride=stride))
            up.append(self._conv(wide, wide, (3,) * self.dims))
        self.up = nn.ModuleList(up)
        stem = self.strides[0]
        halved = any(s > 1 for s in stem)
        self.out = (_CONV_UP if halved else _CONV)[self.dims](widths[0], classes, stem, stride=stem)
        self._expect_background()
        if halved:
            self._begin_smooth()

    @torch.no_grad()
    def _expect_background(self) -> None:
        """Start from nine voxels of background in ten, or the first steps are lost on learning just that."""
        assert self.out.bias is not None  # noqa: S101 - both kinds of layer have one
        self.out.bias.zero_()
        self.out.bias[0] = math.log(9 * max(1, len(self.out.bias) - 1))

    @torch.no_grad()
    def _begin_smooth(self) -> None:
        """Start with the same weights for all voxels that a voxel of the halved grid gives scores to.

        Else early maps look like chessboards, and later ones keep a trace of it (Aitken et al., arXiv 1707.02937).
        """
        weight = self.out.weight
        first = tuple(slice(0, 1) for _ in range(self.dims))
        weight.copy_(weight[(slice(None), slice(None), *first)].expand_as(weight))

    def _conv(self, before: int, wide: int, kernel: Sequence[int], stride: Sequence[int] | int = 1) -> nn.Sequential:
        padding = tuple((k - 1) // 2 for k in kernel)
        conv = _CONV[self.dims](before, wide, tuple(kernel), stride=stride, padding=padding, bias=False)
        return nn.Sequential(conv, _NORM[self.dims](wide), nn.ReLU(inplace=True))

    def features(self, x: Tensor) -> Tensor:
        """Return what the output layer sees, (B, widths[0], *S), each axis of S shrunk by the stem's stride."""
        skips: list[Tensor] = []
        for block in self.down:
            x = block(x)
            skips.append(x)
        x = skips.pop()
        for widen, block in zip(self.up[::2], self.up[1::2], strict=True):
            x = block(skips.pop() + widen(x))
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.out(self.features(x))
        return logits.contiguous()
