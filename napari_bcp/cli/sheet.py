"""The contact sheet: a picture with a row a case, to see at a glance what a run has learnt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from napari_bcp.files import atomic_path


@dataclass(frozen=True, eq=False)
class SheetRow:
    """One case: arrays x, y, z (RAS+); `map` (classes, x, y, z) 0 to 255."""

    name: str
    scan: NDArray[Any]
    map: NDArray[np.uint8] | None
    pseudo: NDArray[np.uint8]
    truth: NDArray[np.uint8] | None
    spacing: tuple[float, float, float]
    dice: dict[int, float] | None = None
    note: str = ""


def write_sheet(path: str | Path, rows: Sequence[SheetRow], classes: Sequence[Any], title: str = "") -> None:
    """Write a PNG with one row a case: scan, map, pseudo-label, truth."""
    figure = Figure(figsize=(12, 3 * len(rows)))
    canvas = FigureCanvasAgg(figure)
    for number, row in enumerate(rows):
        k = int(np.argmax((row.pseudo > 0).sum((0, 1))))
        arrays = [row.scan, None if row.map is None else row.map.max(0), row.pseudo, row.truth]
        for column, array in enumerate(arrays):
            axes = figure.add_subplot(len(rows), 4, number * 4 + column + 1)
            axes.axis("off")
            if array is not None:
                axes.imshow(array[::-1, ::-1, k].T, aspect=row.spacing[1] / row.spacing[0])
    with atomic_path(path) as part:
        canvas.print_png(str(part))
