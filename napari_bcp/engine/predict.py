"""From a network and a scan to a map and a pseudo-label in the scan's own grid."""

from __future__ import annotations

import math
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from napari_bcp.engine.cache import network_shape, to_network
from napari_bcp.engine.sliding import sliding_slabs
from napari_bcp.method.pseudo_labels import Connectivity, count_values, keep_largest
from napari_bcp.metrics import Confidence
from napari_bcp.networks import build_network
from napari_bcp.scans.maps import MapWriter
from napari_bcp.scans.resample import axis_weights, resample_linear

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from napari_bcp.engine.plan import Plan
    from napari_bcp.scans import Grid, Scan

_SLAB_VOXELS = 24_000_000  # of one class at full resolution held in float32 at a time, all classes together


@dataclass
class Prediction:
    """What was found in one scan.

    labels : pseudo-label (x, y, z) uint8 class values, cleaned.  raw : the same before the clean-up.
    map : probabilities of the classes, compressed.  quality : per class value soft Dice confidence (see
    napari_bcp.metrics), None where it is not predicted.  entropy : mean over voxels that are not surely
    background, nats.  islands : per class value, sizes in voxels of removed components.  note : a sentence on how it
    was found, where that was not as usual.
    """

    labels: NDArray[np.uint8]
    map: MapWriter
    quality: dict[int, float | None]
    entropy: float
    volume_ml: dict[int, float]
    islands: dict[int, list[int]] = field(default_factory=dict)
    seconds: float = 0.0
    note: str = ""


class _StoppedError(Exception):
    """Raised between two blocks when the caller wants to stop."""


def network_of(plan: Plan) -> nn.Module:
    """Build the plan's network, untrained."""
    return build_network(plan.network, len(plan.classes) + 1, plan.width, plan.strides)


def arithmetic(device: torch.device, bfloat16: bool) -> AbstractContextManager[Any]:
    """Return the context in which the network runs: bfloat16 where asked, else the tensors' own precision."""
    return torch.autocast(device.type, torch.bfloat16) if bfloat16 else nullcontext()


def memory_format(plan: Plan, channels_last: bool = True) -> torch.memory_format:
    """Return the memory format of the plan's network."""
    if not channels_last:
        return torch.contiguous_format
    return torch.channels_last_3d if plan.dimensions == 3 else torch.channels_last


def predict_scan(
    network: nn.Module,
    plan: Plan,
    scan: Scan,
    *,
    device: torch.device,
    bfloat16: bool = False,
    components: str = "auto",
    connectivity: Connectivity = "corner",
    sparing: bool = False,
    stop: Callable[[], bool] | None = None,
) -> Prediction | None:
    """Segment one scan; returns None when `stop` said so in between.

    sparing : take blocks of the plan's patch one by one, also where the whole scan would do: slower, with less memory

    The network's mode is left as it was. Memory beyond the scan itself: the scan on the network's grid, scores one
    block deep, one slab at full resolution, the label and the compressed map.
    """
    start = time.perf_counter()
    grid = scan.grid
    image = to_network(plan, scan)
    was_training = network.training
    network.eval()
    form = memory_format(plan)

    def probabilities(x: Tensor) -> Tensor:
        if stop is not None and stop():
            raise _StoppedError
        with arithmetic(device, bfloat16):
            logits = network(x.contiguous(memory_format=form))
        return torch.softmax(logits.float(), dim=1)

    block, stride = (plan.patch, plan.stride) if sparing else blocks_of(plan, image.shape)
    slabs = sliding_slabs(
        probabilities,
        image,
        block,
        stride,
        blend=plan.blend,
        padding=plan.padding,
        batch=1 if sparing else max(1, plan.batch),
        device=device,
    )
    writer = MapWriter(grid.shape, plan.classes)
    labels = np.zeros(grid.shape, dtype=np.uint8)
    confidence = Confidence(plan.classes)
    entropy_sum, entropy_count = 0.0, 0
    values = np.array([0, *plan.classes], dtype=np.uint8)
    try:
        for z, part in to_scan_grid(slabs, plan, grid):
            channel = (part[1] > 0.5).astype(np.uint8) if len(part) == 2 else highest(part)
            unsure = part[0] < 0.99
            if unsure.any():
                p = part[:, unsure]
                entropy_sum -= float((p * np.log(np.maximum(p, 1e-12))).sum())
                entropy_count += int(unsure.sum())
            given = values[channel]
            confidence.add(part[1:], given)
            labels[:, :, z : z + part.shape[3]] = given
            writer.add(z, np.rint(part[1:] * 255).astype(np.uint8))
    except _StoppedError:
        return None
    finally:
        network.train(was_training)
    islands: dict[int, list[int]] = {}
    if components != "all":
        labels, islands = keep_largest(labels, connectivity, plan.parts_kept(components, plan.classes))
    counts = count_values(labels)
    voxel_ml = float(np.prod(grid.spacing)) / 1000
    return Prediction(
        labels=labels,
        map=writer,
        quality=confidence.result(),
        entropy=entropy_sum / entropy_count if entropy_count else 0.0,
        volume_ml={v: float(counts[v]) * voxel_ml for v in plan.classes},
        islands=islands,
        seconds=time.perf_counter() - start,
    )


def highest(probabilities: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the channel of (C, ...) that is highest at each voxel; by torch, many times as fast as numpy's argmax."""
    indices: NDArray[np.int64] = torch.from_numpy(probabilities).max(0).indices.numpy()
    return indices


def whole_probabilities(
    network: nn.Module, plan: Plan, image: NDArray[np.float32], device: torch.device, *, sparing: bool = False
) -> NDArray[np.float32]:
    """Return the probabilities (C, x, y, z) of a scan on the network's grid; the network's mode is left as it is.

    sparing : take blocks of the plan's patch one by one
    """
    form, bfloat16 = memory_format(plan), plan.bfloat16_on(device)

    def probabilities(x: Tensor) -> Tensor:
        with arithmetic(device, bfloat16):
            logits = network(x.contiguous(memory_format=form))
        return torch.softmax(logits.float(), dim=1)

    block, stride = (plan.patch, plan.stride) if sparing else blocks_of(plan, image.shape)
    batch = 1 if sparing else max(1, plan.batch)
    slabs = sliding_slabs(
        probabilities, image, block, stride, blend=plan.blend, padding=plan.padding, batch=batch, device=device
    )
    return np.concatenate([slab.numpy() for _, slab in slabs], axis=3)


def blocks_of(plan: Plan, shape: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return block and stride: the plan's, or the whole image in one pass where it is not much larger."""
    multiples = [math.prod(level[i] for level in plan.strides) for i in range(plan.dimensions)]
    multiples += [1] * (3 - plan.dimensions)
    whole = tuple(math.ceil(n / m) * m for n, m in zip(shape, multiples, strict=True))
    if plan.dimensions == 2:
        whole = (whole[0], whole[1], 1)
    if plan.blend == "gaussian" and math.prod(whole) <= 6 * math.prod(plan.patch):
        return whole, whole
    return plan.patch, plan.stride


def to_scan_grid(
    slabs: Iterator[tuple[int, Tensor]], plan: Plan, grid: Grid
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Turn slabs of the network's grid into slabs (C, x, y, dz) of the scan's, in order of z.

    Interpolation is linear and needs one more slice of the coarse grid on either side, so a slice comes out as soon
    as its upper neighbour is known.
    """
    coarse = network_shape(plan, grid)
    x, y, z_out = grid.shape
    weights = axis_weights(coarse[2], z_out)
    last_needed = [int(np.flatnonzero(row)[-1]) for row in weights]
    first_needed = [int(np.flatnonzero(row)[0]) for row in weights]
    held: NDArray[np.float32] | None = None
    held_from = 0
    done = 0
    for z, slab in slabs:
        part = slab.numpy()
        if plan.fit == "resize":
            part = _nearest_xy(part, (x, y))
        held = part if held is None else np.concatenate([held, part], axis=3)
        known = z + part.shape[3]
        while done < z_out and last_needed[done] < known:
            depth = max(1, _SLAB_VOXELS // (x * y * held.shape[0]))
            end = done
            while end < min(z_out, done + depth) and last_needed[end] < known:
                end += 1
            low, high = first_needed[done], last_needed[end - 1] + 1
            lines = held[..., low - held_from : high - held_from]
            mixed = lines @ weights[done:end, low:high].T
            yield done, resample_linear(mixed, (x, y, end - done))
            done = end
        if done < z_out and first_needed[done] > held_from:
            held = held[..., first_needed[done] - held_from :].copy()
            held_from = first_needed[done]


def _nearest_xy(part: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Bring (C, x, y, dz) to `shape` in x, y by nearest neighbour, as the published code zooms labels back."""
    index = []
    for size, new in zip(part.shape[1:3], shape, strict=True):
        step = (size - 1) / (new - 1) if new > 1 else 0.0
        index.append(np.minimum(np.floor(np.arange(new) * step + 0.5).astype(int), size - 1))
    return np.ascontiguousarray(part[:, index[0]][:, :, index[1]])
