"""All measures of one case: overlap and distances of every class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from napari_bcp.metrics.overlap import Counts, count, count_classes
from napari_bcp.metrics.surface import surface_distances

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

Mode = Literal["mm", "paper"]
Status = Literal["found", "missed", "false alarm", "absent"]

MEASURES: dict[Mode, dict[str, str]] = {
    "mm": {
        "dice": "Dice",
        "jaccard": "Jaccard",
        "precision": "Precision",
        "sensitivity": "Sensitivity",
        "specificity": "Specificity",
        "hd": "HD (mm)",
        "hd95": "HD95 (mm)",
        "assd": "ASSD (mm)",
    },
    "paper": {
        "dice": "Dice",
        "jaccard": "Jaccard",
        "hd95_pooled": "95HD (voxels)",
        "asd": "ASD (voxels)",
    },
}
"""The measures of both modes with their headings.

"mm" is for judging masks: distances in mm, HD95 as the larger of both directions. "paper" is for comparing with
publications on BCP: 95HD over both directions joined, ASD from the prediction to the truth only, and both in voxels
whatever their size. Unlike there, an empty mask gives no distance rather than a perfect 0.
"""


@dataclass(frozen=True)
class Row:
    """The measures of one class of one case.

    status : "found" where both masks have the class, "missed" where only the truth has it, "false alarm" where only
        the prediction has it, "absent" where neither has it
    measures : name (see MEASURES) to value, NaN where undefined
    """

    case: str
    value: int
    status: Status
    measures: Mapping[str, float]


def measure(
    prediction: NDArray[Any], truth: NDArray[Any], spacing: Sequence[float], *, paper: bool = False
) -> dict[str, float]:
    """Return the measures of two masks of one shape by name; everything except 0 belongs to a mask.

    spacing : voxel size in mm along each axis of the arrays, in their order (not used in "paper" mode)

    Raises ValueError where shapes differ or the spacing does not fit.
    """
    return _measure(count(prediction, truth), prediction, truth, spacing, "paper" if paper else "mm")


def measure_case(
    case: str,
    prediction: NDArray[np.uint8],
    truth: NDArray[np.uint8],
    spacing: Sequence[float],
    *,
    classes: Iterable[int] | None = None,
    paper: bool = False,
) -> list[Row]:
    """Return a row for each class of two arrays of class values of one shape, in the order of their values.

    spacing : voxel size in mm along each axis of the arrays, in their order
    classes : the values to measure; when None all that occur, without the background 0

    Raises ValueError where shapes, types or spacing do not fit.
    """
    return [
        Row(
            case,
            value,
            _status(counts),
            _measure(counts, prediction == value, truth == value, spacing, "paper" if paper else "mm"),
        )
        for value, counts in count_classes(prediction, truth, classes).items()
    ]


def _measure(
    counts: Counts, prediction: NDArray[Any], truth: NDArray[Any], spacing: Sequence[float], mode: Mode
) -> dict[str, float]:
    distances = surface_distances(prediction, truth, spacing if mode == "mm" else (1.0,) * truth.ndim)
    return {name: getattr(counts if hasattr(counts, name) else distances, name) for name in MEASURES[mode]}


def _status(counts: Counts) -> Status:
    predicted, true = counts.both + counts.prediction_only > 0, counts.both + counts.truth_only > 0
    if true:
        return "found" if predicted else "missed"
    return "false alarm" if predicted else "absent"
