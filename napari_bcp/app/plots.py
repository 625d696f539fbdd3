"""Small plots for the panels: lines and bars in the theme's colours, that leave the wheel to the panel."""

from __future__ import annotations

from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyqtgraph
from qtpy.QtCore import QBuffer, QIODevice, QPoint, Qt
from qtpy.QtGui import QColor, QImage, QPainter
from qtpy.QtWidgets import QGraphicsView, QLabel, QSizePolicy, QVBoxLayout, QWidget

from napari_bcp.app.parts import wrapped_label
from napari_bcp.errors import PoolError
from napari_bcp.files import atomic_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_bcp.app.theme import Colours

_LEFT: Final = 46  # pixels for the numbers at the left, so that plots above each other agree
_BELOW: Final = 4  # pixels between marks, numbers and name of the lower axis
_NUDGE: Final = 5  # pixels by which pyqtgraph puts the name of an axis out of its room
_FEWEST_BARS: Final = 5  # that there is room for
_SCALE: Final = 2  # pixels of a picture for a pixel of the screen
_DRAWN: Final = 1000  # points of a line


@dataclass(frozen=True)
class Line:
    """One line of a plot. `dots` marks every point, for values that are rare; `fill` fills the room below it."""

    name: str
    colour: str
    x: Sequence[float]
    y: Sequence[float]
    dots: bool = False
    fill: bool = False


class _WholeAxis(pyqtgraph.AxisItem):  # type: ignore[misc]
    """An axis of things that are counted: no mark stands between two of them."""

    def tickSpacing(self, minVal: float, maxVal: float, size: float) -> list[tuple[float, float]]:
        """Return distances of large and small marks, and where they begin."""
        found = [(round(distance), start) for distance, start in super().tickSpacing(minVal, maxVal, size)]
        return [(distance, start) for distance, start in found if distance] or [(1, 0)]


class Plot(QWidget):
    """A titled plot with its legend beside the title.

    title : what is shown;  tip : what it means;  span : fixed limits of y, or None to fit what there is
    counted : axes on which there are whole numbers only: "x", "y" or "xy"
    """

    def __init__(
        self,
        title: str,
        tip: str,
        x_name: str,
        span: tuple[float, float] | None = None,
        height: int = 130,
        counted: str = "",
    ) -> None:
        super().__init__()
        self._title, self._span = title, span
        self._x_name = x_name
        self._label_colour = ""
        self._lines: tuple[Line, ...] = ()
        self._heading: QLabel = wrapped_label(title)
        self._heading.setToolTip(tip)
        axes = {side: _WholeAxis(side) for way, side in (("x", "bottom"), ("y", "left")) if way in counted}
        self._plot = pyqtgraph.PlotWidget(background=None, axisItems=axes)
        self._plot.setFixedHeight(height)
        self._plot.setToolTip(tip)
        self._plot.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        item = self._plot.getPlotItem()
        item.setMenuEnabled(False)
        item.setMouseEnabled(False, False)
        item.hideButtons()
        item.getAxis("left").setWidth(_LEFT)
        item.getAxis("bottom").setHeight(2 * self.fontMetrics().height() + _BELOW)
        item.setContentsMargins(0, 0, 0, _NUDGE)
        for side in ("left", "bottom"):
            item.getAxis(side).enableAutoSIPrefix(False)  # "days (x0.001)" is nothing to read
        item.showGrid(x=False, y=True, alpha=0.15)
        if span is not None:
            item.setYRange(*span, padding=0.02)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(self._heading)
        column.addWidget(self._plot)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)  # else the heading takes room left

    def set_colours(self, colours: Colours) -> None:
        """Follow the theme."""
        item = self._plot.getPlotItem()
        for side in ("left", "bottom"):
            item.getAxis(side).setPen(colours.dim)
            item.getAxis(side).setTextPen(colours.dim)
        self._label_colour = colours.dim
        item.setLabel("bottom", self._x_name, color=colours.dim)

    @property
    def x_name(self) -> str:
        """What the lower axis shows."""
        return self._x_name

    def name_x(self, name: str) -> None:
        """Say what the lower axis shows now."""
        if name != self._x_name:
            self._x_name = name
            self._plot.getPlotItem().setLabel("bottom", name, color=self._label_colour)

    @property
    def lines(self) -> tuple[Line, ...]:
        """What is shown."""
        return self._lines

    def show_lines(self, lines: Sequence[Line]) -> None:
        """Show these lines instead of the former."""
        lines = tuple(replace(line, x=_thinned(line.x), y=_thinned(line.y)) for line in lines)
        if lines == self._lines:
            return
        self._lines = lines
        item = self._plot.getPlotItem()
        item.clear()
        for line in self._lines:
            pen = pyqtgraph.mkPen(line.colour, width=1.5)
            few = line.dots or len(line.x) == 1
            item.plot(
                list(line.x),
                list(line.y),
                pen=pen,
                symbol="o" if few else None,
                symbolSize=5,
                symbolBrush=line.colour,
                symbolPen=None,
                fillLevel=0 if line.fill else None,
                brush=line.colour if line.fill else None,
            )
        item.enableAutoRange(x=True, y=self._span is None)
        self._head()

    def show_bars(self, name: str, colour: str, values: Sequence[float]) -> None:
        """Show a bar for each value, numbered from 1."""
        self._lines = (Line(name, colour, tuple(range(1, len(values) + 1)), tuple(values)),)
        item = self._plot.getPlotItem()
        item.clear()
        if values:
            item.addItem(
                pyqtgraph.BarGraphItem(
                    x=list(range(1, len(values) + 1)), height=list(values), width=0.7, brush=colour, pen=None
                )
            )
        # From 0, where bars begin, also if all of them are empty; a few bars stay as narrow as many.
        item.setYRange(0, max(values, default=0) or 1, padding=0.05)
        item.setXRange(0.4, max(len(values), _FEWEST_BARS) + 0.6, padding=0)
        few = [(float(place), str(place)) for place in range(1, len(values) + 1)]
        item.getAxis("bottom").setTicks([few] if len(values) < _FEWEST_BARS else None)
        self._head()

    def _head(self) -> None:
        keys = "".join(
            f' &nbsp;<span style="color:{line.colour}">■</span>&nbsp;{_unbroken(line.name)}'
            for line in self._lines
            if line.name
        )
        self._heading.setText(escape(self._title) + keys)


def _unbroken(name: str) -> str:
    """Return a name as HTML that stays on one line."""
    return escape(name).replace(" ", "&nbsp;")


def _thinned(values: Sequence[float]) -> tuple[float, ...]:
    """Return a copy with no more values than can be seen, evenly, with the newest."""
    step = -(-len(values) // _DRAWN) or 1
    return tuple(values[::-step][::-1])


def _restyle(widget: QWidget, style: str) -> None:
    widget.setStyleSheet(style)
    for view in widget.findChildren(QGraphicsView):
        view.resetCachedContent()  # plots remember their background


def save_picture(widget: QWidget, path: str | Path, background: str, text: str) -> None:
    """Write what `widget` shows as a PNG, twice as fine as on the screen.

    background, text : colours of paper and words, #rrggbb, in place of those of the window's theme
    Raises PoolError if the file cannot be written.
    """
    image = QImage(widget.size() * _SCALE, QImage.Format.Format_RGB32)
    image.setDevicePixelRatio(_SCALE)
    image.fill(QColor(background))
    style = widget.styleSheet()
    try:
        _restyle(widget, f"QWidget {{ background-color: {background}; color: {text}; }}")
        painter = QPainter(image)
        widget.render(painter, QPoint(0, 0))
        painter.end()
    finally:
        _restyle(widget, style)
    buffer = QBuffer()
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    image.save(buffer, "PNG")  # type: ignore[call-overload]
    try:
        with atomic_path(Path(path)) as temporary:
            temporary.write_bytes(bytes(buffer.data().data()))
    except OSError as error:
        raise PoolError(f"{path} cannot be written ({error.strerror}); choose another place.", path=path) from None
