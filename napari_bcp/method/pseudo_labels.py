"""From the teacher's scores to cleaned labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import cc3d
import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

Connectivity = Literal["face", "edge", "corner"]

_NEIGHBOURS = {2: {"face": 4, "edge": 8, "corner": 8}, 3: {"face": 6, "edge": 18, "corner": 26}}


def decide(logits: Tensor) -> Tensor:
    """Return the label of each voxel, (B, *S) uint8, from logits (B, C, *S).

    Two classes: foreground where its softmax is at least 0.5 (a tie is foreground). More: the class with the
    highest softmax, the lower one in a tie.
    """
    if logits.shape[1] == 2:
        return (torch.softmax(logits.float(), dim=1)[:, 1] >= 0.5).to(torch.uint8)
    return torch.softmax(logits.float(), dim=1).argmax(dim=1).to(torch.uint8)


def keep_largest(
    labels: NDArray[np.uint8], connectivity: Connectivity = "corner"
) -> tuple[NDArray[np.uint8], dict[int, list[int]]]:
    """Keep the largest connected component of each class of one image.

    labels : (*S) uint8 in two or three dimensions, 0 is background and never filtered.
    Returns the cleaned copy and, per class, the sizes in voxels of the islands that were removed, largest first.
    Of components of equal size the one met first in C order stays; an empty class stays empty.
    """
    cleaned = labels.copy()
    removed: dict[int, list[int]] = {}
    for value in np.flatnonzero(count_values(labels)[1:]) + 1:
        where = _bounding_box(labels == value)
        inside = labels[where] == value
        # With an empty border around, because cc3d 4.1 fails on some boxes that are one voxel thin.
        framed, count = cc3d.connected_components(
            np.pad(inside, 1), connectivity=_NEIGHBOURS[labels.ndim][connectivity], return_N=True
        )
        parts = framed[(slice(1, -1),) * labels.ndim]
        if count < 2:
            continue
        sizes = count_values(parts, count + 1)[1:]
        winners = np.flatnonzero(sizes == sizes.max()) + 1
        kept = winners[0]
        if len(winners) > 1:  # the first one in C order, however the library numbers them
            flat = parts.ravel()
            kept = flat[np.isin(flat, winners).argmax()]
        cleaned[where][inside & (parts != kept)] = 0
        removed[int(value)] = sorted((int(n) for i, n in enumerate(sizes, 1) if i != kept), reverse=True)
    return cleaned, removed


def count_values(labels: NDArray[Any], values: int = 256) -> NDArray[np.int64]:
    """Return how often each whole number below `values` occurs; plane by plane, since bincount copies to 64 bit."""
    counts = np.zeros(values, dtype=np.int64)
    for plane in labels:
        counts += np.bincount(plane.ravel(), minlength=values)
    return counts


def clean_batch(labels: Tensor, connectivity: Connectivity = "corner") -> Tensor:
    """Apply keep_largest to each image of a batch, (B, *S) uint8; the result lies on the same device."""
    arrays = labels.cpu().numpy()
    cleaned = np.stack([keep_largest(image, connectivity)[0] for image in arrays])
    return torch.from_numpy(cleaned).to(labels.device)


def _bounding_box(inside: NDArray[np.bool_]) -> tuple[slice, ...]:
    box = []
    for axis in range(inside.ndim):
        others = tuple(i for i in range(inside.ndim) if i != axis)
        filled = np.flatnonzero(inside.any(axis=others))
        box.append(slice(int(filled[0]), int(filled[-1]) + 1))
    return tuple(box)
