"""Whether labelled and unlabelled scans look alike to a network: how its features of one class are distributed.

Scales differ between networks, so compare only normalised values, before and after training, beside the value
between two halves of the labelled scans: that is what chance alone gives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

Values = NDArray[np.float64]

_BANDWIDTH = 0.5
"""Share of Scott's rule, n^(-1/5) SD, that is taken as the bandwidth of a density; the same as in the BCP plots."""


def class_features(
    features: NDArray[Any], prediction: NDArray[Any], value: int, truth: NDArray[Any] | None = None
) -> NDArray[Any]:
    """Return the features of the voxels that were predicted as class `value`, (voxels, channels).

    features : (channels, *spatial)
    prediction : (*spatial), class values
    truth : (*spatial), class values; where given (labelled scans), only voxels that truly are `value` are taken

    Raises ValueError where shapes differ.
    """
    if features.shape[1:] != prediction.shape or (truth is not None and truth.shape != prediction.shape):
        raise ValueError(f"features are {features.shape}, the prediction is {prediction.shape}: they do not fit")
    chosen = prediction == value
    if truth is not None:
        chosen &= truth == value
    return features[:, chosen].T


def draw_equally(
    labelled: Sequence[NDArray[Any]], unlabelled: Sequence[NDArray[Any]], *, limit: int = 500, seed: int = 0
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Draw the same number of voxels, at most `limit`, at random without replacement from both sides.

    labelled, unlabelled : one array (voxels, channels) a scan; every voxel is equally likely, whatever its scan

    The same seed draws the same voxels. Returns two arrays (n, channels); n is 0 where a side has no voxel.
    """
    sides = [np.concatenate(list(side)) if len(side) else np.empty((0, 1)) for side in (labelled, unlabelled)]
    n = min(limit, *(len(side) for side in sides))
    random = np.random.default_rng(seed)
    one, other = (side[np.sort(random.choice(len(side), n, replace=False))] for side in sides)
    return one, other


def channel_mean(features: NDArray[Any]) -> NDArray[Any]:
    """Return the mean over the channels of each voxel: (voxels, channels) to (voxels,)."""
    mean: NDArray[Any] = features.mean(axis=1)
    return mean


def wasserstein(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Return the distance W₁ = ∫|F - G| dx of two samples, in their unit; F and G are their distributions.

    Raises ValueError for an empty sample.
    """
    one, other = _sample(one, 1), _sample(other, 1)
    ends = np.sort(np.concatenate([one, other]))
    below_one = np.searchsorted(one, ends[:-1], side="right") / one.size
    below_other = np.searchsorted(other, ends[:-1], side="right") / other.size
    return float(np.sum(np.abs(below_one - below_other) * np.diff(ends)))


def normalised_wasserstein(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Return W₁ divided by the pooled SD √((s² + t²)/2) of the samples: 0 where they are alike.

    Two equal constants give 0, two different ones NaN. Raises ValueError for fewer than two values.
    """
    one, other = _sample(one, 2), _sample(other, 2)
    distance = wasserstein(one, other)
    spread = float(np.sqrt((_variance(one) + _variance(other)) / 2))
    if spread == 0:
        return 0.0 if distance == 0 else float("nan")
    return distance / spread


def density_curve(sample: NDArray[Any], points: int = 200) -> tuple[Values, Values]:
    """Return places and Gaussian kernel density of a sample, for a plot.

    The bandwidth is 0.5 n^(-1/5) SD; the places reach three bandwidths beyond the sample.
    Raises ValueError for fewer than two different values.
    """
    values = _sample(sample, 2)
    width = _bandwidth(values)
    places = np.linspace(values[0] - 3 * width, values[-1] + 3 * width, points)
    return places, _density(values, width, places)


def density_overlap(one: NDArray[Any], other: NDArray[Any], points: int = 1000) -> float:
    """Return ∫ min(f, g) dx of the kernel densities of two samples: 1 where they are alike, 0 where apart.

    Both densities are taken at `points` places that reach three of the larger bandwidth beyond the samples.
    Raises ValueError for fewer than two different values.
    """
    one, other = _sample(one, 2), _sample(other, 2)
    widths = _bandwidth(one), _bandwidth(other)
    reach = 3 * max(widths)
    places = np.linspace(min(one[0], other[0]) - reach, max(one[-1], other[-1]) + reach, points)
    lower = np.minimum(_density(one, widths[0], places), _density(other, widths[1], places))
    return float(lower.sum() * (places[1] - places[0]))


@dataclass(frozen=True)
class FeatureShift:
    """How far the features of labelled and unlabelled scans lie apart.

    distance : normalised W₁ of the channel means; 0 where aligned
    overlap : overlap of the densities of the channel means, 0 to 1
    channel_distance : mean over the channels of their own normalised W₁, since opposite shifts cancel in a mean
    """

    distance: float
    overlap: float
    channel_distance: float


def feature_shift(labelled: NDArray[Any], unlabelled: NDArray[Any]) -> FeatureShift:
    """Compare two arrays of features (voxels, channels) of one class; see `draw_equally`.

    Raises ValueError where the channels differ or a side has fewer than two different voxels.
    """
    if labelled.shape[1:] != unlabelled.shape[1:]:
        raise ValueError(f"features are {labelled.shape} and {unlabelled.shape}: the channels differ")
    one, other = channel_mean(labelled), channel_mean(unlabelled)
    channels = [normalised_wasserstein(a, b) for a, b in zip(labelled.T, unlabelled.T, strict=True)]
    return FeatureShift(normalised_wasserstein(one, other), density_overlap(one, other), float(np.mean(channels)))


def _sample(values: NDArray[Any], least: int) -> Values:
    """Return the values sorted, as float64."""
    if values.ndim != 1 or values.size < least:
        raise ValueError(f"a sample is {values.shape}, expected one axis with at least {least} values")
    return np.sort(values.astype(np.float64))


def _variance(values: Values) -> float:
    """Return the variance (ddof 1) of a sorted sample: 0 for a constant, whatever rounding would leave."""
    return float(values.var(ddof=1)) if values[0] < values[-1] else 0.0


def _bandwidth(values: Values) -> float:
    width = float(_BANDWIDTH * values.size**-0.2 * np.sqrt(_variance(values)))
    if width == 0:
        raise ValueError("a sample has one value only: it has no density")
    return width


def _density(values: Values, width: float, places: Values) -> Values:
    kernels = np.exp(-0.5 * ((places[:, None] - values) / width) ** 2)
    density: Values = kernels.sum(axis=1) / (values.size * width * np.sqrt(2 * np.pi))
    return density
