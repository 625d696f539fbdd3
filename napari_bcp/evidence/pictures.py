"""Pictures of what was compared, as PNG; colours that the colour-blind can tell apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from napari_bcp.files import atomic_path
from napari_bcp.metrics.features import density_curve

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from napari_bcp.evidence.features import NetworkFeatures

_BLUE, _ORANGE, _GREY = "#0072b2", "#d55e00", "#767676"
_DPI: Final = 150


def draw_ablation(path: Path, subject: str, dice: Mapping[str, Sequence[float]]) -> None:
    """Draw the Dice of each variant: a dot a seed, a line at their mean."""
    figure = Figure(figsize=(6.4, 1.4 + 0.32 * max(1, len(dice))), layout="constrained")
    axes: Any = figure.add_subplot()
    for place, values in enumerate(dice.values()):
        axes.plot(values, [place] * len(values), "o", color=_BLUE, alpha=0.6, markeredgewidth=0)
        if values:
            axes.plot([float(np.mean(values))] * 2, [place - 0.3, place + 0.3], color=_ORANGE, linewidth=2)
    axes.set_yticks(range(len(dice)), list(dice))
    axes.invert_yaxis()
    axes.set_xlabel("Dice, mean of cases and classes; a dot a seed, a line at their mean")
    axes.set_title(subject, loc="left")
    axes.grid(axis="x", alpha=0.3)
    _save(figure, path)


def draw_features(path: Path, found: Sequence[NetworkFeatures]) -> None:
    """Draw densities of labelled and unlabelled features: a row a network, a column a class."""
    columns = max((len(network.classes) for network in found), default=1)
    figure = Figure(figsize=(0.6 + 3.0 * max(1, columns), 0.5 + 2.4 * max(1, len(found))), layout="constrained")
    for row, network in enumerate(found):
        for column, one in enumerate(network.classes):
            axes: Any = figure.add_subplot(max(1, len(found)), max(1, columns), row * columns + column + 1)
            for values, colour, name in ((one.labelled, _BLUE, "labelled"), (one.unlabelled, _ORANGE, "unlabelled")):
                try:
                    places, heights = density_curve(values)
                except ValueError:  # too few voxels for a density
                    continue
                axes.plot(places, heights, color=colour, label=name)
                axes.fill_between(places, heights, color=colour, alpha=0.15, linewidth=0)
            shown = "–" if one.shift is None else f"{one.shift.distance:.2f}"
            chance = "–" if one.floor is None else f"{one.floor.distance:.2f}"
            axes.set_title(f"{one.name}\ndistance {shown} (by chance {chance})", fontsize=9, loc="left")
            axes.tick_params(labelsize=7, colors=_GREY)
            axes.set_yticks([])
            axes.set_xlabel("mean of the last features", fontsize=8)
            if column == 0:
                used = f"with {network.unlabelled}" if network.unlabelled else "without"
                axes.set_ylabel(f"run {network.run}, step {network.step}\n{used} unlabelled scans", fontsize=8)
            if row == column == 0 and axes.lines:
                axes.legend(fontsize=8, frameon=False)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    with atomic_path(path) as part:
        figure.savefig(part, dpi=_DPI, format="png")
