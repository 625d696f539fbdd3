"""Varying blocks: where and how they are cut, and how their intensities change.

Drawing is apart from applying: every random number comes from the generator that is passed in.
Blocks are (x, y, z); in two dimensions z is 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Augmentation = Literal["strong", "light", "paper-la", "paper-acdc", "none"]


@dataclass(frozen=True)
class Warp:
    """How strongly shapes vary: rotation in degrees, scale as a factor, elastic shift as a share of a side."""

    rotation: float
    scale: float
    elastic: float


WARPS = {"strong": Warp(rotation=20.0, scale=1.25, elastic=0.03), "light": Warp(rotation=8.0, scale=1.1, elastic=0.0)}


def cut_plain(array: NDArray[Any], start: Sequence[int], block: Sequence[int]) -> Tensor:
    """Cut a block at whole voxels; what lies outside the array is zero. Returns a float32 or uint8 tensor."""
    out = np.zeros(tuple(block), dtype=np.uint8 if array.dtype == np.uint8 else np.float32)
    inside = [slice(max(s, 0), min(s + b, n)) for s, b, n in zip(start, block, array.shape, strict=True)]
    if all(i.stop > i.start for i in inside):
        place = tuple(slice(i.start - s, i.stop - s) for i, s in zip(inside, start, strict=True))
        out[place] = array[tuple(inside)]
    return torch.from_numpy(out)


def draw_matrix(rng: np.random.Generator, warp: Warp, spacing: Sequence[float], dimensions: int) -> NDArray[np.float64]:
    """Draw a 3×3 matrix from block offsets to scan offsets, both in voxels: rotation and scale in mm.

    In two dimensions it turns and scales within the slice only.
    """
    limit = math.radians(warp.rotation)
    angles = rng.uniform(-limit, limit, 3)
    factors = np.exp(rng.uniform(-1, 1, 4) * math.log(warp.scale))
    if dimensions == 2:
        angles[:2] = 0
    else:
        angles[:2] *= 0.5  # scans lie on a table: they are turned less about x and y than about z
    scale = np.array([factors[0] * factors[k + 1] ** 0.4 for k in range(3)])
    if dimensions == 2:
        scale[2] = 1.0
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        i, j = [(1, 2), (0, 2), (0, 1)][axis]
        one = np.eye(3)
        one[i, i] = one[j, j] = math.cos(angle)
        one[i, j], one[j, i] = -math.sin(angle), math.sin(angle)
        turn = turn @ one
    size = np.asarray(spacing, dtype=float)
    matrix: NDArray[np.float64] = np.diag(1 / size) @ turn @ np.diag(scale) @ np.diag(size)
    return matrix


def draw_shifts(rng: np.random.Generator, warp: Warp, block: Sequence[int]) -> Tensor | None:
    """Draw how far the knots of a block are shifted, in voxels, (knots, 3), in two of three cases; else None.

    Knots as in `spread`, each shifted by a normal draw whose SD is at most the warp's share of the side: stronger or
    finer shifts make shapes that no scan has, and the network then learns little.
    """
    if warp.elastic <= 0 or rng.random() < 1 / 3:
        return None
    drawn = rng.standard_normal((1, 3, *_knots(block))).astype(np.float32)[0] * rng.uniform(0, warp.elastic)
    sides = [b if b > 1 else 0 for b in block]
    return torch.from_numpy(np.moveaxis(drawn, 0, -1) * np.asarray(sides, dtype=np.float32))


def spread(coarse: Tensor, block: Sequence[int]) -> Tensor:
    """Interpolate values at the knots of a block, (knots, values), linearly to its voxels, (x, y, z, values).

    Four knots an axis, evenly from its first to its last voxel; one along an axis of a single voxel. Axis by axis
    with small matrices: a tenth of the time of interpolating all three at once.
    """
    x, y, z = (_weights(knots, n, coarse.device) for knots, n in zip(coarse.shape, block, strict=False))
    fine = torch.einsum("zc,abcv->abzv", z, coarse)
    fine = torch.einsum("yb,abzv->ayzv", y, fine)
    return (x @ fine.reshape(len(fine), -1)).reshape(*block, coarse.shape[-1])


def cut_warped(
    image: NDArray[Any],
    labels: NDArray[np.uint8] | None,
    centre: NDArray[np.float64],
    matrix: NDArray[np.float64],
    shifts: Tensor | None,
    block: Sequence[int],
    device: torch.device | str = "cpu",
) -> tuple[Tensor, Tensor | None]:
    """Cut a block around `centre` (voxels) through `matrix` and `shifts`; outside the scan its border goes on.

    Only the part of the scan that the block touches is read. Returns float32 and uint8 tensors of shape `block`, made
    on `device`: cutting takes a processor longer than all else takes a graphics card.
    """
    half = (np.asarray(block) - 1) / 2
    reach = np.abs(matrix) @ half + 1.5 + (float(shifts.abs().max()) if shifts is not None else 0.0)
    limit = np.asarray(image.shape) - 1
    low = np.clip(np.floor(centre - reach), 0, limit).astype(int)
    high = np.clip(np.ceil(centre + reach), 0, limit).astype(int) + 1
    part = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    # Turning is linear, so where the knots go says where each voxel between them goes.
    axes = [np.linspace(-h, h, knots) for h, knots in zip(half, _knots(block), strict=True)]
    places = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1) @ matrix.T + (centre - low)
    if shifts is not None:
        places = places + shifts.numpy()
    # grid_sample counts axes backwards and from -1 to 1.
    places = (places * 2 / np.maximum(high - low - 1, 1) - 1)[..., ::-1].astype(np.float32)
    grid = spread(torch.from_numpy(places).to(device), block)[None]
    source = torch.from_numpy(np.array(image[part])).to(device).float()[None, None]
    cut = F.grid_sample(source, grid, mode="bilinear", padding_mode="border", align_corners=True)[0, 0]
    if labels is None:
        return cut, None
    truth = torch.from_numpy(np.array(labels[part])).to(device).float()[None, None]
    cut_labels = F.grid_sample(truth, grid, mode="nearest", padding_mode="border", align_corners=True)[0, 0]
    return cut, cut_labels.to(torch.uint8)


def _knots(block: Sequence[int]) -> list[int]:
    return [4 if n > 1 else 1 for n in block]


@lru_cache(maxsize=16)
def _weights(knots: int, voxels: int, device: torch.device) -> Tensor:
    """Return what each knot weighs at each voxel, (voxels, knots)."""
    place = torch.linspace(0, knots - 1, voxels)[:, None]
    return (1 - (place - torch.arange(knots)).abs()).clamp(min=0).to(device)


def vary_intensity(rng: np.random.Generator, image: Tensor, strength: float = 1.0) -> Tensor:
    """Vary contrast, brightness, gamma, bias field, noise and sharpness of one block (x, y, z); returns a new one."""
    out = image * float(np.exp(rng.uniform(-0.3, 0.3) * strength)) + float(rng.uniform(-0.3, 0.3) * strength)
    if rng.random() < 0.4 * strength:
        low, high = torch.aminmax(out)
        span = (high - low).clamp(min=1e-6)
        out = ((out - low) / span).clamp_(min=0).pow(float(np.exp(rng.uniform(-0.5, 0.5)))) * span + low
    if rng.random() < 0.3 * strength:
        knots = [3 if n > 1 else 1 for n in out.shape]
        coarse = torch.from_numpy(rng.uniform(-0.25, 0.25, (1, 1, *knots)).astype(np.float32)).to(out.device)
        out = out * torch.exp(F.interpolate(coarse, size=out.shape, mode="trilinear", align_corners=True)[0, 0])
    if rng.random() < 0.2 * strength:
        kernel = tuple(3 if n > 2 else 1 for n in out.shape)
        blurred = F.avg_pool3d(
            out[None, None], kernel, stride=1, padding=tuple(k // 2 for k in kernel), count_include_pad=False
        )[0, 0]
        out = out + float(rng.uniform(0.3, 1.0)) * (blurred - out)
    if rng.random() < 0.3 * strength:
        out = out + _noise(rng, out) * float(rng.uniform(0, 0.15))
    return out


def take_style(rng: np.random.Generator, image: Tensor, own: NDArray[np.float32], other: NDArray[np.float32]) -> Tensor:
    """Give a block the distribution of intensities of another scan, in part or all of it.

    own, other : quantiles of the block's scan and of the other one, as many of each
    """
    part = float(rng.uniform(0.3, 1.0))
    if image.device.type == "cpu":
        mapped = torch.from_numpy(np.interp(image.numpy(), own, other).astype(np.float32))
    else:
        places, values = (torch.from_numpy(np.asarray(x, np.float32)).to(image.device) for x in (own, other))
        mapped = interpolate(image, places, values)
    return image + part * (mapped - image)


def interpolate(x: Tensor, places: Tensor, values: Tensor) -> Tensor:
    """Return what numpy's `interp` does, on any device: `values` at rising `places`, linear in between."""
    after = torch.bucketize(x, places, right=True).clamp(1, len(places) - 1)
    low, high = places[after - 1], places[after]
    share = ((x - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)
    return torch.lerp(values[after - 1], values[after], share)


def _noise(rng: np.random.Generator, like: Tensor) -> Tensor:
    """Return standard normal noise, drawn where the block is."""
    if like.device.type == "cpu":
        return torch.from_numpy(rng.standard_normal(tuple(like.shape), dtype=np.float32))
    generator = torch.Generator(like.device).manual_seed(int(rng.integers(2**62)))
    return torch.randn(like.shape, generator=generator, device=like.device)


def turn_and_flip(rng: np.random.Generator, *blocks: Tensor | None) -> tuple[Tensor | None, ...]:
    """Turn all blocks alike by a random multiple of 90° in x, y, then flip one of these axes (as published)."""
    quarter, axis = int(rng.integers(4)), int(rng.integers(2))
    first = next(b for b in blocks if b is not None)
    if first.shape[0] != first.shape[1]:
        quarter = 2 * (quarter // 2)  # a quarter turn would change the block's shape
    return tuple(None if b is None else torch.rot90(b, quarter, (0, 1)).flip(axis).contiguous() for b in blocks)


def turn_by_degrees(rng: np.random.Generator, *blocks: Tensor | None) -> tuple[Tensor | None, ...]:
    """Turn all blocks alike by a whole angle in [−20°, 20°) in x, y, by nearest neighbour (as published)."""
    angle = int(rng.integers(-20, 20))
    return tuple(
        None if b is None else torch.from_numpy(ndimage.rotate(b.numpy(), angle, axes=(0, 1), order=0, reshape=False))
        for b in blocks
    )
