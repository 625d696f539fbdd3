"""Slices of the open case that deserve a look first."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np

from napari_bcp.review.boxes import Box, box_of
from napari_bcp.review.uncertainty import entropy_nats
from napari_bcp.review.wording import the

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

GAP: Final = 2
"""Up to so many slices without a class between slices with it count as forgotten; more may be anatomy, or a plan."""
JUMP: Final = 2.0
"""By what factor the area in a slice has to differ from both neighbours, which differ less from each other."""

_FEW: Final = 20  # voxels: smaller areas jump by nature
_GAP_SCORE, _JUMP_SCORE = 2.0, 1.5  # doubt has at most 1: what is odd by itself comes first


@dataclass(frozen=True)
class SliceNote:
    """A slice worth a look: its index, how much so (the larger, the more), and why, as a sentence."""

    index: int
    score: float
    reason: str


def slices_worth_a_look(
    probabilities: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    axis: int,
    count: int = 5,
    *,
    values: Sequence[int] | None = None,
    names: Mapping[int, str] | None = None,
) -> list[SliceNote]:
    """Return at most `count` slices across `axis`, the most urgent first, that do not lie side by side.

    probabilities : (classes, *labels.shape), 0 to 255, without the background
    values : the class of each channel, 1, 2, … if not given;  names : of the classes

    A slice is worth a look where a class is missing between slices that have it, where its area jumps for one slice,
    or where the map is unsure. Doubt is the summed entropy over the square root of the labelled area, which the
    length of an outline grows with: large slices shall not win by their size. Raises ValueError where shapes differ.
    """
    if probabilities.shape[1:] != labels.shape:
        raise ValueError(f"the map is {probabilities.shape[1:]}, the labels {labels.shape}")
    values = range(1, len(probabilities) + 1) if values is None else values
    names = names or {}
    areas = {value: _areas(labels, value, axis) for value in values}
    notes = [note for value, area in areas.items() for note in _oddities(area, the(names, value))]
    notes += _doubts(probabilities, areas, axis, names)
    notes.sort(key=lambda note: (-note.score, note.index))
    return _spread(notes, count, labels.shape[axis])


def _areas(labels: NDArray[np.uint8], value: int, axis: int) -> NDArray[np.int64]:
    """Return how many voxels of the class each slice has."""
    areas = np.zeros(labels.shape[axis], np.int64)
    box = box_of(labels, value)
    if box is not None:
        others = tuple(i for i in range(labels.ndim) if i != axis)
        areas[box[axis]] = np.count_nonzero(labels[box] == value, axis=others)
    return areas


def _oddities(areas: NDArray[np.int64], name: str) -> Iterator[SliceNote]:
    """Yield where a class is forgotten, or larger or smaller than just before and after."""
    filled = np.flatnonzero(areas)
    for before, after in pairwise(filled.tolist()):
        if 1 < after - before <= GAP + 1:
            yield SliceNote(before + 1, _GAP_SCORE, f"{_begin(name)} is missing between two slices that have it")
    for index in range(1, len(areas) - 1):
        low, high = sorted((int(areas[index - 1]), int(areas[index + 1])))
        if low < _FEW or high >= JUMP * low or not areas[index]:
            continue
        for odd, word in ((areas[index] >= JUMP * high, "larger"), (JUMP * areas[index] <= low, "smaller")):
            if odd:
                yield SliceNote(index, _JUMP_SCORE, f"{_begin(name)} is much {word} here than in the slices beside it")


def _doubts(
    probabilities: NDArray[np.uint8], areas: Mapping[int, NDArray[np.int64]], axis: int, names: Mapping[int, str]
) -> Iterator[SliceNote]:
    """Yield every slice in which the map has doubts, scored from 0 to 1, with the class that it doubts most."""
    box = _not_empty(probabilities)
    if box is None:
        return
    part = probabilities[(slice(None), *box)]
    doubt = np.zeros(part.shape[axis + 1])
    by_class = np.zeros((len(part), part.shape[axis + 1]))
    for index in range(part.shape[1]):  # planes as they lie in memory, whatever the axis
        channels = part[:, index]
        entropy = entropy_nats(channels)
        shares = entropy * channels
        if axis == 0:
            doubt[index] = entropy.sum()
            by_class[:, index] = shares.sum(axis=(1, 2))
        else:
            doubt += entropy.sum(axis=2 - axis)
            by_class += shares.sum(axis=3 - axis)
    area = np.sum(list(areas.values()), axis=0)
    usual = np.maximum(area[box[axis]], max(1, area.max() / 4))
    scores = doubt / np.sqrt(usual)
    for index in np.flatnonzero(scores > 0).tolist():
        value = list(areas)[int(by_class[:, index].argmax())]
        reason = f"The model is unsure about {the(names, value)} here"
        yield SliceNote(index + box[axis].start, float(scores[index] / scores.max()), reason)


def _not_empty(probabilities: NDArray[np.uint8]) -> Box | None:
    """Return the box of all voxels that are not surely background."""
    highest = probabilities[0] if len(probabilities) == 1 else probabilities.max(axis=0)
    return box_of(highest > 0, True)


def _spread(notes: Sequence[SliceNote], count: int, slices: int) -> list[SliceNote]:
    """Return the first `count` notes, leaving out what is close to one before: a look there shows both."""
    apart = max(2, slices // (4 * max(count, 1)))
    chosen: list[SliceNote] = []
    for note in notes:
        if len(chosen) < count and all(abs(note.index - other.index) >= apart for other in chosen):
            chosen.append(note)
    return chosen


def _begin(name: str) -> str:
    """Return a name as the begin of a sentence."""
    return name[:1].upper() + name[1:]
