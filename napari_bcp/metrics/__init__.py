"""How good masks are: overlap, distances in mm, quality expected without a truth, calibration, feature alignment.

Arrays in, numbers out, with NumPy and SciPy alone; only `evaluate_folder` reads files.
"""

from napari_bcp.metrics.calibration import Bins, Calibration, sort_into_bins
from napari_bcp.metrics.cases import MEASURES, Row, measure, measure_case
from napari_bcp.metrics.confidence import (
    HIGH,
    MEDIUM,
    Band,
    Confidence,
    band,
    disagreement,
    jensen_shannon,
    mean_entropy,
    predictive_entropy,
    soft_dice_confidence,
)
from napari_bcp.metrics.features import (
    FeatureShift,
    channel_mean,
    class_features,
    density_curve,
    density_overlap,
    draw_equally,
    feature_shift,
    normalised_wasserstein,
    wasserstein,
)
from napari_bcp.metrics.overlap import Counts, count, count_classes, dice, dice_per_class
from napari_bcp.metrics.regions import near
from napari_bcp.metrics.report import Report, Summary, evaluate_folder
from napari_bcp.metrics.surface import SurfaceDistances, border, surface_distances

__all__ = [
    "HIGH",
    "MEASURES",
    "MEDIUM",
    "Band",
    "Bins",
    "Calibration",
    "Confidence",
    "Counts",
    "FeatureShift",
    "Report",
    "Row",
    "Summary",
    "SurfaceDistances",
    "band",
    "border",
    "channel_mean",
    "class_features",
    "count",
    "count_classes",
    "density_curve",
    "density_overlap",
    "dice",
    "dice_per_class",
    "disagreement",
    "draw_equally",
    "evaluate_folder",
    "feature_shift",
    "jensen_shannon",
    "mean_entropy",
    "measure",
    "measure_case",
    "near",
    "normalised_wasserstein",
    "predictive_entropy",
    "soft_dice_confidence",
    "sort_into_bins",
    "surface_distances",
    "wasserstein",
]
