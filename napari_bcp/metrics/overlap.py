"""Overlap of two masks, from four counts of voxels.

What an empty mask leaves undefined is NaN, never 0 or 1: with both masks empty everything except specificity; with
an empty prediction precision; with an empty truth sensitivity. One empty mask alone makes Dice and Jaccard 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

_CHUNK = 1 << 20  # voxels counted at once


@dataclass(frozen=True)
class Counts:
    """Voxels in both masks, in the prediction alone, in the truth alone, and in neither."""

    both: int
    prediction_only: int
    truth_only: int
    neither: int

    @property
    def dice(self) -> float:
        """2|P∩T| / (|P| + |T|)."""
        return _ratio(2 * self.both, 2 * self.both + self.prediction_only + self.truth_only)

    @property
    def jaccard(self) -> float:
        """|P∩T| / |P∪T|."""
        return _ratio(self.both, self.both + self.prediction_only + self.truth_only)

    @property
    def precision(self) -> float:
        """Share of the prediction that is true."""
        return _ratio(self.both, self.both + self.prediction_only)

    @property
    def sensitivity(self) -> float:
        """Share of the truth that was predicted (recall)."""
        return _ratio(self.both, self.both + self.truth_only)

    @property
    def specificity(self) -> float:
        """Share of the voxels outside the truth that the prediction leaves out."""
        return _ratio(self.neither, self.neither + self.prediction_only)


def count(prediction: NDArray[Any], truth: NDArray[Any]) -> Counts:
    """Count the voxels of two masks of one shape; everything except 0 belongs to a mask.

    Raises ValueError where the shapes differ.
    """
    _check(prediction, truth)
    inside_prediction, inside_truth = prediction.astype(bool, copy=False), truth.astype(bool, copy=False)
    both = int(np.count_nonzero(inside_prediction & inside_truth))
    prediction_only = int(np.count_nonzero(inside_prediction)) - both
    truth_only = int(np.count_nonzero(inside_truth)) - both
    return Counts(both, prediction_only, truth_only, truth.size - both - prediction_only - truth_only)


def count_classes(
    prediction: NDArray[np.uint8], truth: NDArray[np.uint8], classes: Iterable[int] | None = None
) -> dict[int, Counts]:
    """Count per class of two arrays of class values of one shape.

    classes : values to count; when None all that occur, without the background 0.

    Raises ValueError where the shapes differ, a type is not uint8 or a class is not in 0..255.
    """
    joint = _joint_histogram(prediction, truth)
    predicted, true = joint.sum(axis=1), joint.sum(axis=0)
    if classes is None:
        classes = np.flatnonzero(predicted + true).tolist()
        classes = [value for value in classes if value != 0]
    counts = {}
    for value in sorted(set(classes)):
        if not 0 <= value <= 255:
            raise ValueError(f"class {value} is not in 0..255")
        both = int(joint[value, value])
        prediction_only, truth_only = int(predicted[value]) - both, int(true[value]) - both
        counts[value] = Counts(both, prediction_only, truth_only, truth.size - both - prediction_only - truth_only)
    return counts


def dice(prediction: NDArray[Any], truth: NDArray[Any]) -> float:
    """Return the Dice of two masks (0 to 1), NaN where both are empty."""
    return count(prediction, truth).dice


def dice_per_class(prediction: NDArray[np.uint8], truth: NDArray[np.uint8], classes: Iterable[int]) -> dict[int, float]:
    """Return the Dice of each class of two arrays of class values, NaN for a class that is in neither."""
    return {value: counts.dice for value, counts in count_classes(prediction, truth, classes).items()}


def _joint_histogram(prediction: NDArray[np.uint8], truth: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return how often each pair of values (prediction, truth) occurs, (256, 256), in one bounded pass.

    Masks hold long stretches of one pair, so that stretches are counted, weighted by their lengths.
    """
    _check(prediction, truth)
    if prediction.dtype != np.uint8 or truth.dtype != np.uint8:
        raise ValueError(f"class values are {prediction.dtype} and {truth.dtype}, expected uint8")
    pairs = np.zeros(256 * 256, np.int64)
    predicted, true = prediction.ravel(), truth.ravel()
    for start in range(0, true.size, _CHUNK):
        some, others = predicted[start : start + _CHUNK], true[start : start + _CHUNK]
        new = np.flatnonzero((some[1:] != some[:-1]) | (others[1:] != others[:-1])) + 1
        begins = np.concatenate([[0], new])
        lengths = np.diff(begins, append=some.size)
        found = np.bincount(some[begins].astype(np.uint16) << 8 | others[begins], lengths, pairs.size)
        pairs += found.astype(np.int64)  # sums of whole numbers below 2**53: exact
    return pairs.reshape(256, 256)


def _check(prediction: NDArray[Any], truth: NDArray[Any]) -> None:
    if prediction.shape != truth.shape:
        raise ValueError(f"the prediction is {prediction.shape}, the truth {truth.shape}")


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
