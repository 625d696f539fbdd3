"""The 3-D network of the paper: a V-Net (Milletari et al., 2016) without residual connections."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Norm = Literal["batch", "instance"]


def _norm(kind: Norm, channels: int) -> nn.Module:
    return nn.BatchNorm3d(channels) if kind == "batch" else nn.InstanceNorm3d(channels)


def _convs(count: int, channels_in: int, channels: int, norm: Norm) -> nn.Sequential:
    """Return `count` times convolution 3³, norm, ReLU."""
    layers: list[nn.Module] = []
    for i in range(count):
        layers += [
            nn.Conv3d(channels_in if i == 0 else channels, channels, 3, padding=1),
            _norm(norm, channels),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


def _down(channels: int, norm: Norm) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(channels, 2 * channels, 2, stride=2), _norm(norm, 2 * channels), nn.ReLU(inplace=True)
    )


def _up(channels: int, norm: Norm) -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose3d(channels, channels // 2, 2, stride=2), _norm(norm, channels // 2), nn.ReLU(inplace=True)
    )


class VNet(nn.Module):
    """V-Net with 1-2-3-3-3 convolutions down and 3-3-2-1 up; skips are added.

    forward : (B, channels, X, Y, Z) -> logits (B, classes, X, Y, Z); X, Y, Z multiples of 16.
    width : channels of the first level, doubled at each further one (16 in the paper).
    norm, dropout : "batch" and 0.5 for the left atrium, "instance" and 0 for the pancreas.
    """

    def __init__(
        self, channels: int, classes: int, width: int = 16, norm: Norm = "batch", dropout: float = 0.5
    ) -> None:
        super().__init__()
        down: list[nn.Module] = []
        for level, count in enumerate((1, 2, 3, 3, 3)):
            wide = width * 2**level
            down.append(_convs(count, channels if level == 0 else wide, wide, norm))
            if level < 4:
                down.append(_down(wide, norm))
        self.down = nn.ModuleList(down)
        up: list[nn.Module] = []
        for level, count in zip((3, 2, 1, 0), (3, 3, 2, 1), strict=True):
            wide = width * 2**level
            up += [_up(2 * wide, norm), _convs(count, wide, wide, norm)]
        self.up = nn.ModuleList(up)
        self.out = nn.Conv3d(width, classes, 1)
        self.dropout = nn.Dropout3d(dropout) if dropout else nn.Identity()

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the last decoder sum (before its last block) and that block's output, both (B, width, X, Y, Z)."""
        skips: list[Tensor] = []
        for i, block in enumerate(self.down):
            x = block(x)
            if i % 2 == 0:
                skips.append(x)
        x = self.dropout(skips.pop())
        total = x
        for up, block in zip(self.up[::2], self.up[1::2], strict=True):
            total = up(x) + skips.pop()
            x = block(total)
        return total, x

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.out(self.dropout(self.features(x)[1]))
        return logits.contiguous(memory_format=torch.contiguous_format)
