"""Slices of the open case that deserve a look first."""

from __future__ import annotations

from collections import Counter
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
_FAINT: Final = 0.1  # of the largest doubt: one that is less does not come before another class's for being its turn


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
    or where the map is unsure. Doubt about a class is the summed entropy, shared among the classes by their
    probability, over the square root of the class's area, which the length of its outline grows with: neither large
    slices nor large classes shall win by their size. Classes take turns. Raises ValueError where shapes differ.
    """
    if probabilities.shape[1:] != labels.shape:
        raise ValueError(f"the map is {probabilities.shape[1:]}, the labels {labels.shape}")
    values = range(1, len(probabilities) + 1) if values is None else values
    names = names or {}
    areas = {value: _areas(labels, value, axis) for value in values}
    notes = [(value, note) for value, area in areas.items() for note in _oddities(area, the(names, value))]
    notes += _doubts(probabilities, areas, axis, names)
    return _in_turns(notes, count, labels.shape[axis])


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
) -> list[tuple[int, SliceNote]]:
    """Return every class and slice in which the map has doubts about it, scored from 0 to 1."""
    box = _not_empty(probabilities)
    if box is None:
        return []
    part = probabilities[(slice(None), *box)]
    doubt = np.zeros((len(part), part.shape[axis + 1]))
    for index in range(part.shape[1]):  # planes as they lie in memory, whatever the axis
        channels = part[:, index]
        shares = entropy_nats(channels) * channels
        if axis == 0:
            doubt[:, index] = shares.sum(axis=(1, 2))
        else:
            doubt += shares.sum(axis=3 - axis)
    area = np.stack([one[box[axis]] for one in areas.values()])
    largest = np.array([[one.max()] for one in areas.values()])
    scores = doubt / np.sqrt(np.maximum(area, np.maximum(_FEW, largest / 4)))
    scores /= scores.max() or 1
    found = []
    for place, value in enumerate(areas):
        reason = f"The model is unsure about {the(names, value)} here"
        for index in np.flatnonzero(scores[place] > 0).tolist():
            found.append((value, SliceNote(index + box[axis].start, float(scores[place, index]), reason)))
    return found


def _not_empty(probabilities: NDArray[np.uint8]) -> Box | None:
    """Return the box of all voxels that are not surely background."""
    highest = probabilities[0] if len(probabilities) == 1 else probabilities.max(axis=0)
    return box_of(highest > 0, True)


def _in_turns(notes: Sequence[tuple[int, SliceNote]], count: int, slices: int) -> list[SliceNote]:
    """Return `count` of the notes (a class each), leaving out what is close to another: a look there shows both.

    Of notes of a kind the class that has fewest so far comes next, so that none fills the list alone.
    """
    apart = max(2, slices // (4 * max(count, 1)))
    chosen: list[SliceNote] = []
    turns: Counter[int] = Counter()

    def urgency(one: tuple[int, SliceNote]) -> tuple[float, int, float, int]:
        value, note = one
        kind = max(note.score, 1.0) if note.score >= _FAINT else 0.0
        return -kind, turns[value], -note.score, note.index

    left = list(notes)
    while left and len(chosen) < count:
        value, note = min(left, key=urgency)
        turns[value] += 1
        chosen.append(note)
        left = [one for one in left if abs(one[1].index - note.index) >= apart]
    return sorted(chosen, key=lambda note: (-note.score, note.index))


def _begin(name: str) -> str:
    """Return a name as the begin of a sentence."""
    return name[:1].upper() + name[1:]
