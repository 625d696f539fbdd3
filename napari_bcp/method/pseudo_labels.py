"""From the teacher's scores to cleaned labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

Connectivity = Literal["face", "edge", "corner"]

_RANK = {"face": 1, "edge": 2, "corner": 3}  # how many coordinates of a neighbour may differ


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
    rank = min(_RANK[connectivity], labels.ndim)
    removed: dict[int, list[int]] = {}
    for value in np.flatnonzero(count_values(labels)[1:]) + 1:
        where = _bounding_box(labels == value)
        inside = labels[where] == value
        parts, count = ndimage.label(inside, ndimage.generate_binary_structure(labels.ndim, rank))
        if count < 2:
            continue
        sizes = count_values(parts, count + 1)[1:]
        kept = 1 + int(sizes.argmax())  # components are numbered in C order, so a tie goes to the first
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
