"""How good a mask is: overlap, distances in mm, quality expected without a truth, calibration."""

from napari_bcp.metrics.confidence import Confidence, band, soft_dice_confidence
from napari_bcp.metrics.overlap import Counts, count, dice, dice_per_class
from napari_bcp.metrics.report import Report, Row, Summary, evaluate_folder, measure, measure_case
from napari_bcp.metrics.surface import SurfaceDistances, border, surface_distances

__all__ = [
    "Confidence",
    "Counts",
    "Report",
    "Row",
    "Summary",
    "SurfaceDistances",
    "band",
    "border",
    "count",
    "dice",
    "dice_per_class",
    "evaluate_folder",
    "measure",
    "measure_case",
    "soft_dice_confidence",
    "surface_distances",
]
