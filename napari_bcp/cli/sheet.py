"""The contact sheet: a picture with a row a case that shows at a glance what a run has learnt.

Each row shows one slice four times: the scan, the map over it, the outlines of the pseudo-label, and those of the
mask where there is one. The display is radiological: the patient's right is on the left, anterior is up.
"""

from __future__ import annotations

import math
import textwrap
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from matplotlib.textpath import TextToPath

from napari_bcp.errors import GridMismatchError, SettingError
from napari_bcp.files import atomic_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_bcp.scans.classes import ClassSpec

# Everything is laid out in pixels from the top left corner of the picture.
ROW, GAP, MARGIN, SIDE = 250, 8, 16, 220
LINE = 18
SMALL, NAME, LARGE = 12.5, 14.0, 18.0
POINTS = 72 / 100  # a pixel, at 100 pixels an inch
MOST = 100  # rows; more would make a picture that few programs open
PAPER, INK, FAINT = "#101216", "#e8e8e8", "#9098a4"
HEAT = colormaps["inferno"]
PLANES = {2: ("axial", "R"), 1: ("coronal", "R"), 0: ("sagittal", "A")}  # axis: name, what its left edge shows


@dataclass(frozen=True, eq=False)
class SheetRow:
    """One case of the sheet; all arrays lie on the scan's grid, canonical axes x, y, z.

    scan : brightness.  pseudo, truth : class values.  spacing : mm.
    map : (classes, x, y, z), 0 to 255 for probability 0 to 1; a plane of background before them is left out.
    dice : by class value.  note : a remark to show with the name.
    """

    name: str
    scan: NDArray[Any]
    map: NDArray[np.uint8] | None
    pseudo: NDArray[np.uint8]
    truth: NDArray[np.uint8] | None
    spacing: tuple[float, float, float]
    dice: dict[int, float] | None = None
    note: str = ""


def write_sheet(path: str | Path, rows: Sequence[SheetRow], classes: Sequence[ClassSpec], title: str = "") -> None:
    """Write the contact sheet of `rows` as a PNG to `path`.

    The slice shown is the one with the most foreground, each class counting alike, in the mask or, without one, in
    the pseudo-label. The mask's column is left out if no row has one. Of more than 100 rows the first 100 are shown,
    and the title says so. Raises GridMismatchError if the arrays of a row differ in shape, and SettingError if there
    is no row.
    """
    if not rows:
        raise SettingError("A contact sheet needs at least one case: choose the cases to show.")
    if len(rows) > MOST:
        title = f"{title} (the first {MOST} of {len(rows):,} cases)".strip()
        rows = rows[:MOST]
    for row in rows:
        _check(row)
    columns = ["scan", "map", "pseudo-label"] + ["mask"] * any(row.truth is not None for row in rows)
    cuts = [_choose_cut(row) for row in rows]
    shapes = [_extent(row, axis) for row, (axis, _) in zip(rows, cuts, strict=True)]
    panel_width = round(ROW * min(1.8, max(0.6, *(width / height for width, height in shapes))))
    width = 2 * MARGIN + SIDE + len(columns) * (panel_width + GAP)
    legend = _flow_legend(classes, width - 2 * MARGIN)
    top = MARGIN + (LINE + 14 if title else 0) + (legend[-1][1] + 1 if legend else 0) * (LINE + 4) + LINE + 8
    page = _Page(width, top + len(rows) * (ROW + GAP) + MARGIN - GAP)

    y = MARGIN
    if title:
        page.text(MARGIN, y, title, LARGE, width=width - 2 * MARGIN, weight="bold")
        y += LINE + 14
    for spec, (x, line) in zip(classes, legend, strict=False):
        page.box(MARGIN + x, y + line * (LINE + 4) + 3, 12, 12, spec.colour)
        page.text(MARGIN + x + 18, y + line * (LINE + 4), spec.name, width=width - 2 * MARGIN - 18)
    for number, column in enumerate(columns):
        page.text(MARGIN + SIDE + number * (panel_width + GAP), top - LINE - 6, column, color=FAINT)
    _draw_bar(page, MARGIN + SIDE + 2 * panel_width, top - LINE - 6)
    for number, (row, (axis, place)) in enumerate(zip(rows, cuts, strict=True)):
        y = top + number * (ROW + GAP)
        _draw_words(page, row, classes, axis, place, y, ROW)
        for index, column in enumerate(columns):
            x = MARGIN + SIDE + index * (panel_width + GAP)
            _draw_panel(page.panel(x, y, panel_width, ROW), row, column, classes, axis, place)
    page.write(path)


class _Page:
    """A dark figure on which things are put by pixel."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width / 100, height / 100), dpi=100, facecolor=PAPER)
        self.canvas = FigureCanvasAgg(self.figure)

    def text(
        self, x: float, y: float, text: str, size: float = SMALL, *, width: float | None = None, **style: Any
    ) -> None:
        """Put a line of text with its top left corner at (x, y); what goes beyond `width` is cut off with a sign."""
        looks: dict[str, Any] = {"color": INK, "va": "top", "parse_math": False, "fontsize": size * POINTS} | style
        if width is not None:
            text = _shorten(text, width, size, str(style.get("weight", "normal")))
        self.figure.text(x / self.width, 1 - y / self.height, text, **looks)

    def box(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        """Put a filled rectangle."""
        place = (x / self.width, 1 - (y + height) / self.height)
        size = (width / self.width, height / self.height)
        self.figure.add_artist(Rectangle(place, *size, transform=self.figure.transFigure, color=colour, lw=0))

    def panel(self, x: float, y: float, width: float, height: float) -> Any:
        """Return empty black axes."""
        place = (x / self.width, 1 - (y + height) / self.height, width / self.width, height / self.height)
        axes = self.figure.add_axes(place, facecolor="black", xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        return axes

    def write(self, path: str | Path) -> None:
        """Write the page as a PNG."""
        with atomic_path(path) as part, _any_letter():
            self.canvas.print_png(str(part))


def _check(row: SheetRow) -> None:
    """Raise GridMismatchError unless all arrays of `row` have the scan's shape."""
    for what, shape in (
        ("map", row.map.shape[1:] if row.map is not None else row.scan.shape),
        ("pseudo-label", row.pseudo.shape),
        ("mask", row.truth.shape if row.truth is not None else row.scan.shape),
    ):
        if shape != row.scan.shape:
            raise GridMismatchError(
                f"The {what} of case '{row.name}' is {shape}, its scan {row.scan.shape}: make the {what} anew.",
                case=row.name,
            )


def _choose_cut(row: SheetRow) -> tuple[int, int]:
    """Return the axis across which `row` is shown, and the slice with the most foreground along it.

    The axis is z, or the one of a flat scan. Each class counts as a share of its largest area in any slice, so that
    a small one is not overruled by a large one.
    """
    axis = next((a for a in (2, 1, 0) if row.scan.shape[a] == 1), 2)
    labels = row.truth if row.truth is not None and row.truth.any() else row.pseudo
    across = tuple({0, 1, 2} - {axis})
    areas = [(labels == value).sum(across) for value in np.unique(labels[labels > 0])]
    if not areas:
        return axis, row.scan.shape[axis] // 2
    return axis, int(np.sum([area / area.max() for area in areas], axis=0).argmax())


def _extent(row: SheetRow, axis: int) -> tuple[float, float]:
    """Return width and height in mm of a slice across `axis`."""
    right, up = (a for a in range(3) if a != axis)
    return row.scan.shape[right] * row.spacing[right], row.scan.shape[up] * row.spacing[up]


def _slice(array: NDArray[Any], axis: int, place: int) -> NDArray[Any]:
    """Return the slice as it is shown: (up, right) with the patient's right, or anterior, on the left."""
    return np.asarray(np.take(array, place, axis)[::-1].T)


def _window(row: SheetRow, axis: int, place: int) -> tuple[float, float]:
    """Return what is black and what is white: percentiles of the brightness around the foreground in the slice."""
    shown = _slice(row.scan, axis, place).astype(np.float32)
    labels = _slice(row.pseudo if row.truth is None else np.maximum(row.pseudo, row.truth), axis, place)
    box = []
    for across in (1, 0):
        where = np.flatnonzero(labels.any(across)) if labels.any() else np.arange(labels.shape[1 - across])
        more = (where[-1] - where[0]) // 3 + 2
        box.append(slice(max(0, where[0] - more), where[-1] + more + 1))
    near = shown[box[0], box[1]]
    low, high = np.percentile(near[np.isfinite(near)], (1, 99.5)) if np.isfinite(near).any() else (0.0, 1.0)
    return float(low), float(high) if high > low else float(low) + 1


def _draw_panel(axes: Any, row: SheetRow, column: str, classes: Sequence[ClassSpec], axis: int, place: int) -> None:
    """Draw one picture of a row."""
    centred = {"color": FAINT, "va": "center", "transform": axes.transAxes}
    if (row.map if column == "map" else row.truth if column == "mask" else row.scan) is None:
        axes.text(0.5, 0.5, f"no {column}", fontsize=9, ha="center", **centred)
        return
    width, height = _extent(row, axis)
    low, high = _window(row, axis, place)
    image = {"origin": "lower", "extent": (0, width, 0, height), "interpolation": "nearest"}
    axes.imshow(_slice(row.scan, axis, place), cmap="gray", vmin=low, vmax=high, **image)
    if column == "scan":
        shade = {"facecolor": "black", "alpha": 0.5, "lw": 0, "pad": 1}
        axes.text(0.02, 0.5, PLANES[axis][1], fontsize=8, bbox=shade, **centred)
    elif column == "map" and row.map is not None:
        sure = np.sum([_slice(plane, axis, place) for plane in row.map[-len(classes) :]], axis=0) / 255
        colours = HEAT(np.clip(sure, 0, 1))
        colours[..., 3] = np.clip(4 * sure, 0, 0.8)
        axes.imshow(colours, **image)
    else:
        labels = row.truth if column == "mask" and row.truth is not None else row.pseudo
        _draw_outlines(axes, _slice(labels, axis, place), classes, width, height)
    axes.set(xlim=(0, width), ylim=(0, height), aspect="equal", anchor="C")


def _draw_outlines(axes: Any, labels: NDArray[Any], classes: Sequence[ClassSpec], width: float, height: float) -> None:
    """Draw the border of every class of a slice in its colour."""
    padded = np.pad(labels, 1)  # closes the outlines of what reaches the edge
    across = (np.arange(padded.shape[1]) - 0.5) * width / labels.shape[1]
    up = (np.arange(padded.shape[0]) - 0.5) * height / labels.shape[0]
    for spec in classes:
        if (labels == spec.value).any():
            axes.contour(across, up, padded == spec.value, levels=[0.5], colors=[spec.colour], linewidths=1.3)


def _draw_words(
    page: _Page, row: SheetRow, classes: Sequence[ClassSpec], axis: int, place: int, y: float, height: float
) -> None:
    """Write name, slice, note and Dice beside a row; Dice lines that find no room are counted."""
    room = SIDE - GAP
    page.text(MARGIN, y, row.name, NAME, width=room, weight="bold")
    lines = [(f"{PLANES[axis][0]} slice {place + 1} of {row.scan.shape[axis]}", FAINT)]
    lines += [(line, FAINT) for line in textwrap.wrap(row.note, 30, max_lines=3, placeholder="…")]
    dice = [(spec, (row.dice or {})[spec.value]) for spec in classes if spec.value in (row.dice or {})]
    known = [value for _, value in dice if math.isfinite(value)]
    if len(known) > 1:
        lines.append((f"Dice, mean {sum(known) / len(known):.3f}", INK))
    elif dice:
        lines.append(("Dice", INK))
    fit = max(0, int(height // LINE) - 1 - len(lines))
    shown = dice if len(dice) <= fit else dice[: max(0, fit - 1)]
    y += LINE + 4
    for text, colour in lines:
        page.text(MARGIN, y, text, color=colour, width=room)
        y += LINE
    for spec, value in shown:
        page.box(MARGIN, y + 3, 10, 10, spec.colour)
        page.text(MARGIN + 16, y, f"{value:.3f}" if math.isfinite(value) else "–")
        page.text(MARGIN + 62, y, spec.name, color=FAINT, width=room - 62)
        y += LINE
    if len(shown) < len(dice):
        page.text(MARGIN, y, f"and {len(dice) - len(shown)} more", color=FAINT)


def _draw_bar(page: _Page, right: float, y: float) -> None:
    """Draw the colour bar of the map, from 0 to 1, ending at `right`."""
    page.text(right, y, "1", color=FAINT, ha="right")
    page.text(right - 112, y, "0", color=FAINT, ha="right")
    bar = page.panel(right - 106, y + 3, 90, 10)
    bar.imshow(HEAT(np.linspace(0, 1, 90))[None], aspect="auto")


def _flow_legend(classes: Sequence[ClassSpec], width: float) -> list[tuple[float, int]]:
    """Return for each class where its entry starts, and in which line, when entries fill lines of `width`."""
    places, x, line = [], 0.0, 0
    for spec in classes:
        need = 18 + _text_width(spec.name, SMALL) + 24
        if x and x + need > width:
            x, line = 0.0, line + 1
        places.append((x, line))
        x += need
    return places


def _text_width(text: str, size: float, weight: str = "normal") -> float:
    """Return how many pixels wide a line of text is."""
    font = FontProperties(size=size * POINTS, weight=weight)
    with _any_letter():
        points: float = TextToPath().get_text_width_height_descent(text, font, False)[0]
    return points / POINTS


def _shorten(text: str, width: float, size: float, weight: str) -> str:
    """Return `text`, or as much of its beginning as fits into `width` pixels with an ellipsis."""
    if _text_width(text, size, weight) <= width:
        return text
    while text and _text_width(text + "…", size, weight) > width:
        text = text[:-1]
    return text + "…"


@contextmanager
def _any_letter() -> Iterator[None]:
    """Do not warn of letters that the font lacks (they become boxes): a class may have any name."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        yield
