"""Overlapping blocks over a whole image, finished slab by slab so that memory stays bounded."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

Predict = Callable[[Tensor], Tensor]
"""From images (B, 1, *block) to probabilities (B, C, *block)."""


def starts(size: int, block: int, stride: int) -> list[int]:
    """Return where blocks begin along an axis: every `stride`, the last one flush with the end."""
    count = math.ceil(max(size - block, 0) / stride) + 1
    return sorted({min(k * stride, max(size - block, 0)) for k in range(count)})


def gaussian(block: Sequence[int], sigma: float = 0.125) -> Tensor:
    """Return weights of a block, a Gaussian of `sigma` sides around its middle, at least a thousandth."""
    weights = torch.ones(())
    for n in block:
        axis = torch.exp(-0.5 * ((torch.arange(n) - (n - 1) / 2) / (sigma * n)) ** 2)
        weights = weights[..., None] * axis
    return weights.clamp(min=1e-3)


@torch.no_grad()
def sliding_slabs(
    predict: Predict,
    image: NDArray[np.float32],
    block: Sequence[int],
    stride: Sequence[int],
    *,
    blend: Literal["gaussian", "mean"] = "gaussian",
    padding: Literal["edge", "zero"] = "edge",
    batch: int = 2,
    device: torch.device | str = "cpu",
) -> Iterator[tuple[int, Tensor]]:
    """Yield (z, probabilities (C, X, Y, dz) float32) in order of z until the whole image is covered.

    image : (X, Y, Z);  block, stride : along x, y, z. With a block of depth 1 the network sees slices (B, 1, x, y).
    An image smaller than the block is padded, the odd voxel behind, and cut back. At most one block's depth of the
    image is held in scores at a time.
    """
    pad = [((b - n) // 2, b - n - (b - n) // 2) if n < b else (0, 0) for n, b in zip(image.shape, block, strict=True)]
    if any(p != (0, 0) for p in pad):
        image = np.pad(image, pad, mode="edge" if padding == "edge" else "constant")
    flat = block[2] == 1
    weights = gaussian(block) if blend == "gaussian" else torch.ones(tuple(block))
    weights = weights.to(device)
    whole = torch.from_numpy(np.require(image, np.float32, ("C", "W"))).to(device)  # once, not block by block
    places = list(product(*(starts(n, b, s) for n, b, s in zip(image.shape[:2], block[:2], stride[:2], strict=True))))
    norm = torch.zeros((*image.shape[:2], block[2]), device=device)
    scores: Tensor | None = None
    z_starts = starts(image.shape[2], block[2], stride[2])
    for i, z in enumerate(z_starts):
        for at in range(0, len(places), batch):
            group = places[at : at + batch]
            cuts = [whole[x : x + block[0], y : y + block[1], z : z + block[2]] for x, y in group]
            inputs = torch.stack(cuts)[:, None]
            outputs = predict(inputs[..., 0] if flat else inputs).float()
            outputs = outputs[..., None] if flat else outputs
            if scores is None:
                scores = torch.zeros((outputs.shape[1], *norm.shape), device=device)
            for (x, y), output in zip(group, outputs, strict=True):
                scores[:, x : x + block[0], y : y + block[1]] += output * weights
                norm[x : x + block[0], y : y + block[1]] += weights
        assert scores is not None  # noqa: S101 - there is at least one place
        done = (z_starts[i + 1] if i + 1 < len(z_starts) else z + block[2]) - z
        low, high = max(z, pad[2][0]), min(z + done, image.shape[2] - pad[2][1])
        if high > low:
            part = scores[..., low - z : high - z] / norm[..., low - z : high - z]
            (x0, x1), (y0, y1) = pad[0], pad[1]
            yield low - pad[2][0], part[:, x0 : part.shape[1] - x1, y0 : part.shape[2] - y1].cpu()
        if i + 1 < len(z_starts):  # slide the window of scores down
            scores = torch.cat([scores[..., done:], torch.zeros_like(scores[..., :done])], dim=3)
            norm = torch.cat([norm[..., done:], torch.zeros_like(norm[..., :done])], dim=2)
