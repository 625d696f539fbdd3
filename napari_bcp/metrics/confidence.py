"""How far a map can be trusted without a truth: expected quality, entropy, and how two networks differ.

None of these numbers is a Dice, and none may be shown as one: they rank cases. A whole organ that is taken for
another with conviction keeps a high value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Band = Literal["high", "medium", "low"]

HIGH, MEDIUM = 0.90, 0.75
"""Lowest soft Dice confidence of the bands "high" and "medium"."""


class Confidence:
    """Soft Dice confidence per class, summed slab by slab (Borges et al., 2024, arXiv 2402.10665).

    For a class with probabilities p and the region ŷ that was given this class: 2 Σ pŷ / (Σ p + Σ ŷ) over the
    whole scan. Where voxels are independent and p is calibrated it is close to the Dice to be expected.

    classes : class value of every channel of the probabilities, in their order; background may be left out.
    """

    def __init__(self, classes: Sequence[int]) -> None:
        self.classes = tuple(classes)
        self._inside = [0.0] * len(self.classes)
        self._mass = [0.0] * len(self.classes)
        self._voxels = [0] * len(self.classes)

    def add(self, probabilities: NDArray[Any], labels: NDArray[Any]) -> None:
        """Count one part of a scan; every voxel is to be added once.

        probabilities : (channels, *spatial), float in 0..1 or uint8 in 0..255
        labels : (*spatial), class values: argmax of the map, or its pseudo-label

        Raises ValueError where shapes or types do not fit.
        """
        probabilities, scale = _check(probabilities, labels, len(self.classes))
        for index, value in enumerate(self.classes):
            region = labels == value
            self._inside[index] += _sum(probabilities[index][region]) * scale
            self._mass[index] += _sum(probabilities[index]) * scale
            self._voxels[index] += int(np.count_nonzero(region))

    def result(self) -> dict[int, float | None]:
        """Return the value (0 to 1) of every class, None for a class that no voxel was given."""
        return {
            value: 2 * inside / (mass + voxels) if voxels else None
            for value, inside, mass, voxels in zip(self.classes, self._inside, self._mass, self._voxels, strict=True)
        }


def soft_dice_confidence(
    probabilities: NDArray[Any], labels: NDArray[Any], classes: Sequence[int]
) -> dict[int, float | None]:
    """Return the soft Dice confidence of a whole scan per class; see `Confidence`."""
    confidence = Confidence(classes)
    confidence.add(probabilities, labels)
    return confidence.result()


def band(value: float | None) -> Band | None:
    """Return the band of a soft Dice confidence, None where it is undefined."""
    if value is None or np.isnan(value):
        return None
    return "high" if value >= HIGH else "medium" if value >= MEDIUM else "low"


def _check(probabilities: NDArray[Any], labels: NDArray[Any], channels: int) -> tuple[NDArray[Any], float]:
    """Return the probabilities and the factor that brings them to 0..1, or raise ValueError."""
    if probabilities.shape != (channels, *labels.shape):
        raise ValueError(f"probabilities are {probabilities.shape}, expected {(channels, *labels.shape)}")
    if probabilities.dtype == np.uint8:
        return probabilities, 1 / 255
    if np.issubdtype(probabilities.dtype, np.floating):
        return probabilities, 1.0
    raise ValueError(f"probabilities are {probabilities.dtype}, expected a float type or uint8")


def _sum(values: NDArray[Any]) -> float:
    return float(values.sum(dtype=np.int64 if values.dtype == np.uint8 else np.float64))
