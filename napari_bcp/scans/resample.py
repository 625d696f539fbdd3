"""Changing the grid of an array while its outer faces stay where they are.

Resampling is separable: one small matrix an axis, applied as a matrix product. Where the new grid is finer, the
matrix interpolates linearly; where it is coarser, it averages over the new voxel's width, so that nothing aliases.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

Floats = NDArray[np.float32]


def new_shape(shape: Sequence[int], spacing: Sequence[float], target: Sequence[float]) -> tuple[int, ...]:
    """Return the shape, at least one voxel an axis, of a grid of `target` mm over the same extent."""
    return tuple(max(1, round(n * s / t)) for n, s, t in zip(shape, spacing, target, strict=True))


@lru_cache(maxsize=64)
def axis_weights(size: int, new: int) -> Floats:
    """Return the (new, size) matrix that resamples one axis; rows sum to 1 and reach no further than the border."""
    scale = size / new
    if new < size:
        low = np.arange(new)[:, None] * scale
        voxel = np.arange(size)[None, :]
        weights = np.clip(np.minimum(low + scale, voxel + 1) - np.maximum(low, voxel), 0, None)
    else:
        centres = np.clip((np.arange(new) + 0.5) * scale - 0.5, 0, size - 1)
        weights = np.maximum(0.0, 1.0 - np.abs(np.arange(size)[None, :] - centres[:, None]))
    weights /= weights.sum(axis=1, keepdims=True)
    rows: Floats = weights.astype(np.float32)
    return rows


def resample_linear(array: NDArray[np.generic], shape: Sequence[int]) -> Floats:
    """Resample the last len(shape) axes of `array` to `shape`; returns float32."""
    result = np.asarray(array, dtype=np.float32)
    lead = result.ndim - len(shape)
    # The axis that shrinks most goes first: later products are then smaller.
    for axis in sorted(range(len(shape)), key=lambda i: shape[i] / result.shape[lead + i]):
        size = result.shape[lead + axis]
        if size != shape[axis]:
            result = _apply(result, axis_weights(size, shape[axis]), lead + axis)
    return result


def _apply(array: Floats, weights: Floats, axis: int) -> Floats:
    """Multiply one axis with a matrix, keeping the order of axes (and C order)."""
    new, size = weights.shape
    before = int(np.prod(array.shape[:axis]))
    after = int(np.prod(array.shape[axis + 1 :]))
    stacked = np.ascontiguousarray(array).reshape(before, size, after)
    out = np.matmul(weights, stacked) if after > 1 else (stacked[..., 0] @ weights.T)[..., None]
    return out.reshape(*array.shape[:axis], new, *array.shape[axis + 1 :])


def resample_labels(labels: NDArray[np.uint8], shape: Sequence[int], classes: int) -> NDArray[np.uint8]:
    """Resample labels (x, y, z), values below `classes`, to `shape`: the class with the largest share of a voxel.

    One class at a time is interpolated, so memory does not grow with the number of classes.
    """
    if tuple(labels.shape) == tuple(shape):
        return labels.copy()
    best = np.full(tuple(shape), -1.0, dtype=np.float32)
    result = np.zeros(tuple(shape), dtype=np.uint8)
    seen = np.zeros(256, dtype=bool)
    for plane in labels:  # counting them all at once would copy them to 64 bit
        seen[plane] = True
    for value in np.flatnonzero(seen[:classes]):
        share = resample_linear(labels == value, shape)
        wins = share > best
        result[wins] = value
        np.maximum(best, share, out=best)
    return result


def resample_nearest(array: NDArray[np.generic], shape: Sequence[int]) -> NDArray[np.generic]:
    """Resample (x, y, z) by taking the nearest voxel, as scipy.ndimage.zoom does at order 0 (corners on corners)."""
    index = []
    for size, new in zip(array.shape, shape, strict=True):
        step = (size - 1) / (new - 1) if new > 1 else 0.0
        index.append(np.minimum(np.floor(np.arange(new) * step + 0.5).astype(int), size - 1))
    return array[np.ix_(*index)]
