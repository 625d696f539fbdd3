"""How far a map can be trusted without a truth: expected quality, uncertainty, and how two networks differ.

None of these numbers is a Dice and none may be shown as one; they put cases into an order. A network that is wrong
with conviction keeps a high confidence: an overconfident map was seen at .88 where its Dice was .76, and doubt that
concerns a whole structure is not seen at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy.special import entr

from napari_bcp.metrics.overlap import dice_per_class
from napari_bcp.metrics.regions import near

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

Band = Literal["high", "medium", "low"]

HIGH, MEDIUM = 0.90, 0.75
"""Lowest confidence of the bands "high" and "medium". A first choice, for sorting a list by eye: not calibrated."""


class Confidence:
    """Soft Dice confidence per class, from sums that a caller may add up slab by slab.

    For a class with the probabilities p and the voxels ŷ that were given this class it is 2 Σ pŷ / (Σ p + Σ ŷ) over
    the whole scan: the Dice to be expected where p is calibrated and voxels are independent (Borges et al., 2024,
    arXiv 2402.10665).

    classes : class value of each channel of the probabilities, in their order; the background may be left out
    """

    def __init__(self, classes: Sequence[int]) -> None:
        self.classes = tuple(int(value) for value in classes)
        self._agreeing = [0.0] * len(self.classes)
        self._expected = [0.0] * len(self.classes)
        self._given = [0] * len(self.classes)

    def add(self, probabilities: NDArray[Any], labels: NDArray[Any]) -> None:
        """Count a part of the scan; each voxel is to be added once.

        probabilities : (channels, *spatial), a float type in 0..1, or uint8 in 0..255
        labels : (*spatial), class values: the argmax of the probabilities, or the pseudo-label

        Raises ValueError where shapes or types do not fit.
        """
        check_probabilities(probabilities, labels.shape, len(self.classes))
        for index, (value, channel) in enumerate(zip(self.classes, probabilities, strict=True)):
            region = labels == value
            self._agreeing[index] += _total(channel[region])
            self._expected[index] += _total(channel)
            self._given[index] += int(np.count_nonzero(region))

    def result(self) -> dict[int, float | None]:
        """Return the confidence (0 to 1) of each class, None for a class that no voxel was given."""
        sums = zip(self.classes, self._agreeing, self._expected, self._given, strict=True)
        return {
            value: 2 * agreeing / (expected + given) if given else None for value, agreeing, expected, given in sums
        }


def soft_dice_confidence(
    probabilities: NDArray[Any], labels: NDArray[Any], classes: Sequence[int]
) -> dict[int, float | None]:
    """Return the confidence of a whole scan per class; arguments and errors as in `Confidence`."""
    confidence = Confidence(classes)
    confidence.add(probabilities, labels)
    return confidence.result()


def lowest(quality: Mapping[Any, float | None]) -> float | None:
    """Return the confidence of the class that is worst off, 0 where one was not found; None without any class."""
    return min((0.0 if value is None else value for value in quality.values()), default=None)


def band(value: float | None) -> Band | None:
    """Return the band of a confidence: "high" from HIGH on, "medium" from MEDIUM on, None where it is undefined."""
    if value is None or np.isnan(value):
        return None
    if value >= HIGH:
        return "high"
    return "medium" if value >= MEDIUM else "low"


def predictive_entropy(probabilities: NDArray[Any]) -> NDArray[Any]:
    """Return -Σ p ln p of each voxel, (*spatial) in nats: 0 where one class is certain, at most ln(classes).

    probabilities : (classes, *spatial) of all classes, background too; a float type in 0..1 or uint8 in 0..255.
    The result has the type of the probabilities, float32 for uint8.

    Raises ValueError for another type.
    """
    check_probabilities(probabilities, probabilities.shape[1:], probabilities.shape[0])
    entropy = np.zeros(probabilities.shape[1:], np.float32 if probabilities.dtype == np.uint8 else probabilities.dtype)
    for channel in probabilities:
        entropy += _ENTROPY_OF_BYTE[channel] if channel.dtype == np.uint8 else entr(channel)
    return entropy


def mean_entropy(probabilities: NDArray[Any], labels: NDArray[Any], margin: int = 5) -> float:
    """Return the mean predictive entropy (nats) of the foreground and its surroundings.

    probabilities : as in `predictive_entropy`
    labels : (*spatial), class values; foreground is everything except 0
    margin : how many voxels the surroundings reach

    The mean is over the whole scan where there is no foreground. Raises ValueError where shapes do not fit.
    """
    check_probabilities(probabilities, labels.shape, len(probabilities))
    region = near(labels, margin)
    inside = probabilities[:, region] if region.any() else probabilities
    return float(predictive_entropy(inside).mean(dtype=np.float64))


def jensen_shannon(one: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
    """Return the Jensen-Shannon divergence of two networks at each voxel, (*spatial) in nats: 0 to ln 2.

    one, other : (classes, *spatial) probabilities of all classes, background too; both of one float type

    Raises ValueError where shapes or types do not fit.
    """
    if one.dtype != other.dtype or not np.issubdtype(one.dtype, np.floating):
        raise ValueError(f"probabilities are {one.dtype} and {other.dtype}, expected one float type")
    check_probabilities(other, one.shape[1:], one.shape[0])
    alone = (predictive_entropy(one) + predictive_entropy(other)) / 2
    divergence: NDArray[Any] = predictive_entropy((one + other) / 2) - alone
    divergence[divergence < 0] = 0  # rounding can leave a value just below
    return divergence


def disagreement(teacher: NDArray[np.uint8], student: NDArray[np.uint8], classes: Sequence[int]) -> dict[int, float]:
    """Return 1 - Dice between the labels of teacher and student per class, NaN where neither gave it.

    teacher, student : (*spatial), class values, uint8

    Raises ValueError where shapes or types do not fit.
    """
    return {value: 1 - overlap for value, overlap in dice_per_class(teacher, student, classes).items()}


def check_probabilities(probabilities: NDArray[Any], spatial: tuple[int, ...], channels: int) -> None:
    """Raise ValueError unless the probabilities are (channels, *spatial), and of a float type or uint8."""
    if probabilities.shape != (channels, *spatial):
        raise ValueError(f"probabilities are {probabilities.shape}, expected {(channels, *spatial)}")
    if probabilities.dtype != np.uint8 and not np.issubdtype(probabilities.dtype, np.floating):
        raise ValueError(f"probabilities are {probabilities.dtype}, expected a float type or uint8")


_ENTROPY_OF_BYTE = entr(np.arange(256) / 255).astype(np.float32)


def _total(values: NDArray[Any]) -> float:
    """Return the sum of probabilities; bytes are added exactly."""
    if values.dtype == np.uint8:
        return int(values.sum(dtype=np.int64)) / 255
    return float(values.sum(dtype=np.float64))
