"""Islands: parts of a map that are in no draft, because the clean-up removed them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_bcp.review.boxes import Box, box_of
from napari_bcp.review.cleanup import TOUCHING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Island:
    """A component that can be restored.

    value : its class;  voxels, volume_ml : its size, of what is background now
    mean_probability : 0 to 1, of the class
    box : where it lies;  centre : its voxel nearest to its middle;  indices : its voxels in the flattened array
    """

    value: int
    voxels: int
    volume_ml: float
    mean_probability: float
    box: Box
    centre: tuple[int, ...]
    indices: NDArray[np.int64]


def removed_islands(
    probabilities: NDArray[np.uint8],
    values: Sequence[int],
    labels: NDArray[np.uint8],
    spacing: Sequence[float],
    limit: int = 50,
) -> list[Island]:
    """Return the largest `limit` components of the map's labels that `labels` have nothing of, largest first.

    probabilities : (classes, *labels.shape), 0 to 255, without the background;  values : the class of each channel
    labels : with three axes;  spacing : mm, in their order

    Raises ValueError where shapes do not fit.
    """
    likely = most_likely(probabilities, values)
    if likely.shape != labels.shape:
        raise ValueError(f"the map is {likely.shape}, the labels {labels.shape}")
    found = [
        island
        for channel, value in zip(probabilities, values, strict=True)
        for island in _of_class(likely, channel, value, labels, spacing, limit)
    ]
    return sorted(found, key=lambda island: -island.voxels)[:limit]


def restore(labels: NDArray[np.uint8], island: Island) -> NDArray[np.uint8]:
    """Return new labels with the island where they are background."""
    result = np.array(labels, order="C")
    flat = result.reshape(-1)
    flat[island.indices[flat[island.indices] == 0]] = island.value
    return result


def most_likely(probabilities: NDArray[np.uint8], values: Sequence[int]) -> NDArray[np.uint8]:
    """Return the most probable class of each voxel, as pseudo-labels have it before their clean-up.

    probabilities : (classes, *shape), 0 to 255, without the background;  values : the class of each channel
    One class: where its probability is above one half. More: the highest, background included; in a tie background,
    then the first channel. Raises ValueError unless there is a value for each channel.
    """
    if len(values) != len(probabilities):
        raise ValueError(f"the map has {len(probabilities)} classes, expected {len(values)}")
    result = np.zeros(probabilities.shape[1:], np.uint8)
    for index, plane in enumerate(result):
        channels = probabilities[:, index]
        if len(values) == 1:
            plane[channels[0] > 127] = values[0]
            continue
        highest = 255 - np.minimum(channels.sum(axis=0, dtype=np.uint16), 255)
        for channel, value in zip(channels, values, strict=True):
            better = channel > highest
            plane[better] = value
            np.maximum(highest, channel, out=highest)
    return result


def _of_class(
    likely: NDArray[np.uint8],
    probability: NDArray[np.uint8],
    value: int,
    labels: NDArray[np.uint8],
    spacing: Sequence[float],
    limit: int,
) -> Iterator[Island]:
    """Yield the largest islands of one class."""
    box = box_of(likely, value)
    if box is None:
        return
    drawn = labels[box]
    parts, count = ndimage.label(likely[box] == value, TOUCHING)
    sizes = np.bincount(parts[drawn == 0], minlength=count + 1)
    sizes[parts[drawn == value]] = 0
    sizes[0] = 0
    boxes = ndimage.find_objects(parts)
    offset = np.array([part.start for part in box])
    for part in np.argsort(-sizes, kind="stable")[:limit]:
        if not sizes[part]:
            return
        local = boxes[part - 1]
        inside = (parts[local] == part) & (drawn[local] == 0)
        corner = offset + [one.start for one in local]
        places: NDArray[np.int64] = np.argwhere(inside)
        distance = (((places - places.mean(axis=0)) * np.asarray(spacing)) ** 2).sum(axis=1)
        places += corner
        indices: NDArray[np.int64] = np.ravel_multi_index(tuple(places.T), labels.shape)
        yield Island(
            value=int(value),
            voxels=len(places),
            volume_ml=len(places) * float(np.prod(spacing)) / 1000,
            mean_probability=float(probability[box][local][inside].mean(dtype=np.float64)) / 255,
            box=tuple(slice(int(low), int(low) + size) for low, size in zip(corner, inside.shape, strict=True)),
            centre=tuple(int(place) for place in places[distance.argmin()]),
            indices=indices,
        )
