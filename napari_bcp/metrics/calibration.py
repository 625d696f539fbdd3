"""Whether a probability means what it says: of the voxels called 0.8, do eight in ten hold?

Expected calibration error (ECE): voxels are sorted into bins of equal width by their probability; the error is the
mean over the bins, weighted by their voxels, of |share that holds - mean probability|. All sums are float64: in
float32 they stop growing at 16.8 million voxels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_bcp.metrics.confidence import check_probabilities

if TYPE_CHECKING:
    from collections.abc import Sequence

Sums = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Bins:
    """Sums of each bin of probability, lowest first: voxels, those that hold, and the sum of the probabilities."""

    voxels: Sums
    holding: Sums
    probability: Sums

    @property
    def error(self) -> float:
        """Expected calibration error (0 to 1), NaN without voxels."""
        total = float(self.voxels.sum())
        return float(np.abs(self.holding - self.probability).sum()) / total if total else float("nan")

    def curve(self) -> tuple[Sums, Sums]:
        """Return mean probability and share that holds of each bin that has voxels, for a reliability diagram."""
        used = self.voxels > 0
        return self.probability[used] / self.voxels[used], self.holding[used] / self.voxels[used]

    def __add__(self, other: Bins) -> Bins:
        """Return the bins of both sets of voxels together."""
        return Bins(self.voxels + other.voxels, self.holding + other.holding, self.probability + other.probability)


def sort_into_bins(probability: NDArray[Any], holds: NDArray[Any], bins: int = 10) -> Bins:
    """Sort voxels into `bins` bins [k/bins, (k+1)/bins); the last one takes 1 too.

    probability : any shape, float in 0..1 or uint8 in 0..255
    holds : same shape, True where what the probability was given to is so

    Raises ValueError where shapes differ or `bins` is not positive.
    """
    if probability.shape != holds.shape or bins < 1:
        raise ValueError(f"{probability.shape} and {holds.shape} in {bins} bins do not fit")
    value = probability.ravel() / 255 if probability.dtype == np.uint8 else probability.ravel().astype(np.float64)
    index = np.clip((value * bins).astype(np.intp), 0, bins - 1)
    return Bins(
        np.bincount(index, minlength=bins).astype(np.float64),
        np.bincount(index, weights=holds.ravel(), minlength=bins).astype(np.float64),
        np.bincount(index, weights=value, minlength=bins).astype(np.float64),
    )


class Calibration:
    """Calibration of maps against masks, image by image.

    classes : class value of each channel of the probabilities, background too, in their order
    bins : number of bins of probability
    """

    def __init__(self, classes: Sequence[int], bins: int = 10) -> None:
        self.classes = tuple(int(value) for value in classes)
        self.bins = bins
        nothing = Bins(np.zeros(bins), np.zeros(bins), np.zeros(bins))
        self.decisions = nothing
        """Bins of the highest probability of each voxel, over all images."""
        self.by_class = dict.fromkeys(self.classes, nothing)
        """Bins of the probability of each class, over all images."""
        self._image_errors: list[float] = []

    def add(self, probabilities: NDArray[Any], truth: NDArray[Any], region: NDArray[np.bool_] | None = None) -> None:
        """Count one image.

        probabilities : (classes, *spatial), a float type in 0..1, or uint8 in 0..255
        truth : (*spatial), class values
        region : (*spatial), the voxels to count; `near(truth)` is wise, since easy background hides the error

        Raises ValueError where shapes or types do not fit.
        """
        check_probabilities(probabilities, truth.shape, len(self.classes))
        if region is None:
            probabilities, truth = probabilities.reshape(len(self.classes), -1), truth.ravel()
        else:
            probabilities, truth = probabilities[:, region], truth[region]
        decided = np.array(self.classes)[probabilities.argmax(axis=0)]
        image = sort_into_bins(probabilities.max(axis=0), decided == truth, self.bins)
        self.decisions += image
        if truth.size:
            self._image_errors.append(image.error)
        for value, channel in zip(self.classes, probabilities, strict=True):
            self.by_class[value] += sort_into_bins(channel, truth == value, self.bins)

    @property
    def pooled_error(self) -> float:
        """ECE of the highest probability over the voxels of all images (ECE-D), NaN without voxels."""
        return self.decisions.error

    @property
    def image_error(self) -> float:
        """ECE of the highest probability of each image, mean over the images (ECE-I), NaN without voxels."""
        return float(np.mean(self._image_errors)) if self._image_errors else float("nan")

    @property
    def class_errors(self) -> dict[int, float]:
        """ECE of the probability of each class over the voxels of all images, NaN without voxels."""
        return {value: bins.error for value, bins in self.by_class.items()}
