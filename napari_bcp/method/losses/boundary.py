"""Losses of borders and structure. What weighs the voxels is computed on the CPU, without gradient, from whole blocks;
the region then cuts what is summed.

`spacing` gives the voxel's size along each axis; without it distances are in voxels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage

from napari_bcp.errors import SettingError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_bcp.method.losses.inputs import Inputs

Spacing = tuple[float, ...] | None


def distance_ce(v: Inputs, *, spacing: Spacing = None) -> Tensor:
    """Return the mean of (1 + φ)·CE, φ = (d_max - d)/d_max, d the distance to the foreground's border (Caliva 2019).

    φ is highest at the border and 0 farthest from it, per sample; 0 where a sample has no border.
    """
    _check_spacing(v, spacing)
    foreground = _numpy(v, 1 - v.t[:, :1] > 0.5)[:, 0]
    distances = np.stack([_to_opposite(mask, spacing) for mask in foreground])
    farthest = distances.max(axis=tuple(range(1, distances.ndim)), keepdims=True)
    near = np.where(farthest > 0, 1 - distances / np.where(farthest > 0, farthest, 1), 0.0)
    phi = _tensor(v, near)
    return -v.mean((1 + phi) * v.mt * v.log_p)


def hausdorff(v: Inputs, *, power: float = 2.0, spacing: Spacing = None) -> Tensor:
    """Return the mean of (p - t)²·(d_p^α + d_t^α) over classes above 0 (Karimi 2019).

    d is the distance to the opposite set of the map above ½. Both are 0 where a map is empty or full, so that an
    empty target with a full prediction costs nothing: start with another loss.
    """
    _check_spacing(v, spacing)
    maps = np.stack([_numpy(v, x[:, 1:] > 0.5) for x in (v.p, v.t)])
    distances = np.stack([_to_opposite(mask, spacing) for mask in maps.reshape(-1, *v.shape)])
    fields = (distances.reshape(maps.shape) ** power).sum(0)
    error = v.cut((v.p[:, 1:] - v.t[:, 1:]).square() * _tensor(v, fields)).sum(2)
    size = error.new_tensor(v.p.shape[2]) if v.m is None else v.m.sum(2)
    return (error / (size + 1e-16)).mean()


def shape_aware(v: Inputs, *, spacing: Spacing = None) -> Tensor:
    """Return the mean of (1 + E·[argmax p ≠ argmax t])·CE (Hayder 2017).

    E is, per sample, the mean distance of the predicted foreground's border to the true one; 0 if either is empty.
    """
    _check_spacing(v, spacing)
    predicted, true = v.p.max(1).indices, v.t.max(1).indices
    pairs = zip(_numpy(v, predicted > 0), _numpy(v, true > 0), strict=True)
    curve = [_border_distance(a, b, spacing) for a, b in pairs]
    wrong = (predicted != true).unsqueeze(1)
    return -v.mean((1 + v.p.new_tensor(curve).view(-1, 1, 1) * wrong) * v.mt * v.log_p)


def correlation_ssim(v: Inputs, *, constant: float = 0.01, threshold: float = 0.1) -> Tensor:
    """Return binary CE over the voxels and classes whose structure differs most (Zhao 2019).

    e = |(t - μ_t + C)/(σ_t + C) - (p - μ_p + C)/(σ_p + C)| with Gaussian means over 3 voxels an axis (σ 1.5); the
    loss is Σ e·BCE over those with e above `threshold` of its highest value, divided by their number.
    """
    with torch.no_grad():
        true, predicted = (_standardised(x.cpu().double(), v.shape, constant) for x in (v.t, v.p))
        error = v.cut((true - predicted).abs().to(v.p))
        kept = v.cut(error > threshold * error.amax())
        weights = kept * error
        number = kept.sum().clamp_min(1e-12)
    return -(weights * (v.t * v.log_p + (1 - v.t) * _log_rest(v.log_p))).sum() / number


def _check_spacing(v: Inputs, spacing: Spacing) -> None:
    """Refuse a spacing of another number of axes."""
    if spacing is not None and len(spacing) != len(v.shape):
        raise SettingError(f"Spacing {spacing} does not fit blocks of {len(v.shape)} axes; give one value an axis.")


def _to_opposite(mask: NDArray[np.bool_], spacing: Spacing) -> NDArray[np.float64]:
    """Return each voxel's distance to the nearest one on the other side of the mask; 0 if there is none."""
    if mask.all() or not mask.any():
        return np.zeros(mask.shape)
    inside: NDArray[np.float64] = ndimage.distance_transform_edt(mask, sampling=spacing)
    outside: NDArray[np.float64] = ndimage.distance_transform_edt(~mask, sampling=spacing)
    return inside + outside


def _border_distance(a: NDArray[np.bool_], b: NDArray[np.bool_], spacing: Spacing) -> float:
    """Return the mean distance of a's border voxels to b's border; 0 if either mask is empty."""
    if not a.any() or not b.any():
        return 0.0
    distance = ndimage.distance_transform_edt(~_border(b), sampling=spacing)
    return float(distance[_border(a)].mean())


def _border(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the voxels of the mask with a face neighbour outside it; beyond the array is outside."""
    inner: NDArray[np.bool_] = mask & ~ndimage.binary_erosion(mask)
    return inner


def _standardised(x: Tensor, shape: tuple[int, ...], constant: float) -> Tensor:
    """Return (x - μ + C)/(σ + C) of (B, C, N), μ and σ of each voxel's neighbourhood.

    In float64: σ is the root of a difference, and its error in float32 would be as large as C.
    """
    grid = x.reshape(*x.shape[:2], *shape)
    mean = _blurred(grid)
    spread = (_blurred(grid * grid) - mean * mean).clamp_min(0).sqrt()
    return ((grid - mean + constant) / (spread + constant)).flatten(2)


def _blurred(x: Tensor) -> Tensor:
    """Return the Gaussian mean over 3 voxels along every axis; outside the grid nothing counts."""
    side = float(np.exp(-1 / (2 * 1.5**2)))
    for axis in range(2, x.ndim):
        last = x.shape[axis] - 1
        total, weight = x.clone(), torch.ones(last + 1, dtype=x.dtype, device=x.device)
        total.narrow(axis, 1, last).add_(x.narrow(axis, 0, last), alpha=side)
        total.narrow(axis, 0, last).add_(x.narrow(axis, 1, last), alpha=side)
        weight[1:] += side
        weight[:-1] += side
        x = total / weight.view(-1, *[1] * (x.ndim - 1 - axis))
    return x


def _log_rest(log_p: Tensor) -> Tensor:
    """Return ln(1 - p), exact where p rounds to 1: the log of the sum of the other classes."""
    classes = range(log_p.shape[1])
    return torch.stack([log_p[:, [k for k in classes if k != c]].logsumexp(1) for c in classes], dim=1)


def _numpy(v: Inputs, mask: Tensor) -> NDArray[np.bool_]:
    """Return a bool tensor (..., N) as an array with its spatial axes back."""
    array: NDArray[np.bool_] = mask.detach().cpu().numpy().reshape(*mask.shape[:-1], *v.shape)
    return array


def _tensor(v: Inputs, values: NDArray[np.float64]) -> Tensor:
    """Return an array (B, *S) or (B, K, *S) as a tensor (B, K, N) beside the logits."""
    return torch.from_numpy(values).to(v.p).reshape(v.p.shape[0], -1, v.p.shape[2])
