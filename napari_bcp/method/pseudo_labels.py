"""From the teacher's scores to cleaned labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

Connectivity = Literal["face", "edge", "corner"]

PART: Final = 0.1
"""A component of at least this share of its class's largest is a part of the structure, such as a second kidney."""

_RANK = {"face": 1, "edge": 2, "corner": 3}  # how many coordinates of a neighbour may differ


def decide(logits: Tensor) -> Tensor:
    """Return the label of each voxel, (B, *S) uint8, from logits (B, C, *S).

    Two classes: foreground where its softmax is at least 0.5 (a tie is foreground). More: the class with the
    highest softmax, the lower one in a tie.
    """
    if logits.shape[1] == 2:
        return (torch.softmax(logits.float(), dim=1)[:, 1] >= 0.5).to(torch.uint8)
    return torch.softmax(logits.float(), dim=1).max(dim=1).indices.to(torch.uint8)


def keep_largest(
    labels: NDArray[np.uint8], connectivity: Connectivity = "corner", parts: Mapping[int, int] | None = None
) -> tuple[NDArray[np.uint8], dict[int, list[int]]]:
    """Keep the largest connected component of each class of one image.

    labels : (*S) uint8 in two or three dimensions, 0 is background and never filtered.
    parts : how many components of a class stay at most, where it is not one; all but the largest must be parts (PART).
    Returns the cleaned copy and, per class, the sizes in voxels of the islands that were removed, largest first.
    Of components of equal size the one met first in C order stays; an empty class stays empty.
    """
    cleaned = labels.copy()
    removed: dict[int, list[int]] = {}
    for value, where, numbers, sizes in _components(labels, connectivity):
        order = np.argsort(-sizes, kind="stable")  # numbered in C order, so a tie goes to the first
        kept = _parts(sizes[order])[: (parts or {}).get(value, 1)].size
        if kept < len(sizes):
            goes = np.zeros(len(sizes) + 1, bool)
            goes[1 + order[kept:]] = True
            cleaned[where][goes[numbers]] = 0
            removed[value] = sizes[order[kept:]].tolist()
    return cleaned, removed


def count_parts(labels: NDArray[np.uint8], connectivity: Connectivity = "corner") -> dict[int, int]:
    """Return how many parts (PART) each class of a mask, (*S) uint8, consists of; two for both kidneys in one class."""
    return {value: _parts(np.sort(sizes)[::-1]).size for value, _, _, sizes in _components(labels, connectivity)}


def _components(
    labels: NDArray[np.uint8], connectivity: Connectivity
) -> Iterator[tuple[int, tuple[slice, ...], NDArray[Any], NDArray[np.int64]]]:
    """Yield for each class its bounding box, the numbers from 1 of its components in it, and their sizes."""
    structure = ndimage.generate_binary_structure(labels.ndim, min(_RANK[connectivity], labels.ndim))
    for value in np.flatnonzero(count_values(labels)[1:]) + 1:
        where = _bounding_box(labels == value)
        numbers, count = ndimage.label(labels[where] == value, structure)
        yield int(value), where, numbers, count_values(numbers, count + 1)[1:]


def _parts(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return those sizes of components, largest first, that make them parts."""
    large: NDArray[np.int64] = sizes[sizes >= PART * sizes[0]]
    return large


def count_values(labels: NDArray[Any], values: int = 256) -> NDArray[np.int64]:
    """Return how often each whole number below `values` occurs; plane by plane, since bincount copies to 64 bit."""
    counts = np.zeros(values, dtype=np.int64)
    for plane in labels:
        counts += np.bincount(plane.ravel(), minlength=values)
    return counts


def clean_batch(
    labels: Tensor, connectivity: Connectivity = "corner", parts: Mapping[int, int] | None = None
) -> Tensor:
    """Apply keep_largest to each image of a batch, (B, *S) uint8; the result lies on the same device."""
    arrays = labels.cpu().numpy()
    cleaned = np.stack([keep_largest(image, connectivity, parts)[0] for image in arrays])
    return torch.from_numpy(cleaned).to(labels.device)


def _bounding_box(inside: NDArray[np.bool_]) -> tuple[slice, ...]:
    box = []
    for axis in range(inside.ndim):
        others = tuple(i for i in range(inside.ndim) if i != axis)
        filled = np.flatnonzero(inside.any(axis=others))
        box.append(slice(int(filled[0]), int(filled[-1]) + 1))
    return tuple(box)
