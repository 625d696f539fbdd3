"""The 2-D network of the paper: a U-Net (Ronneberger et al., 2015) with bilinear upsampling."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _block(channels_in: int, channels: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, 3, padding=1),
        nn.BatchNorm2d(channels),
        nn.LeakyReLU(),
        nn.Dropout(dropout),
        nn.Conv2d(channels, channels, 3, padding=1),
        nn.BatchNorm2d(channels),
        nn.LeakyReLU(),
    )


class UNet2d(nn.Module):
    """U-Net of five levels, dropout 0.05 to 0.5 down the encoder, none in the decoder.

    forward : (B, channels, X, Y) -> logits (B, classes, X, Y); X, Y multiples of 16.
    width : channels of the first level, doubled at each further one (16 in the paper).
    """

    def __init__(self, channels: int, classes: int, width: int = 16) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(5)]
        self.down = nn.ModuleList(
            _block(before, wide, dropout)
            for before, wide, dropout in zip([channels, *widths], widths, (0.05, 0.1, 0.2, 0.3, 0.5), strict=False)
        )
        up: list[nn.Module] = []
        for wide in reversed(widths[:-1]):
            up += [nn.Conv2d(2 * wide, wide, 1), _block(2 * wide, wide, 0.0)]
        self.up = nn.ModuleList(up)
        self.out = nn.Conv2d(width, classes, 3, padding=1)

    def features(self, x: Tensor) -> Tensor:
        """Return the last decoder output before the output convolution, (B, width, X, Y)."""
        skips: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if level else x)
            skips.append(x)
        x = skips.pop()
        for shrink, block in zip(self.up[::2], self.up[1::2], strict=True):
            x = F.interpolate(shrink(x), scale_factor=2, mode="bilinear", align_corners=True)
            x = block(torch.cat([skips.pop(), x], dim=1))
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.out(self.features(x))
        return logits.contiguous()
