"""Small plots for the panels: lines and bars in the theme's colours, that leave the wheel to the panel."""

from __future__ import annotations

from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyqtgraph
from qtpy.QtCore import QBuffer, QIODevice, QPoint, Qt
from qtpy.QtGui import QImage, QPainter
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_bcp.app.parts import wrapped_label
from napari_bcp.errors import PoolError
from napari_bcp.files import atomic_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_bcp.app.theme import Colours

_LEFT: Final = 46  # pixels for the numbers at the left, so that plots above each other agree
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


class Plot(QWidget):
    """A titled plot with its legend beside the title.

    title : what is shown;  tip : what it means;  span : fixed limits of y, or None to fit what there is
    """

    def __init__(
        self, title: str, tip: str, x_name: str, span: tuple[float, float] | None = None, height: int = 130
    ) -> None:
        super().__init__()
        self._title, self._span = title, span
        self._x_name = x_name
        self._lines: tuple[Line, ...] = ()
        self._heading: QLabel = wrapped_label(title)
        self._heading.setToolTip(tip)
        self._plot = pyqtgraph.PlotWidget(background=None)
        self._plot.setFixedHeight(height)
        self._plot.setToolTip(tip)
        self._plot.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        item = self._plot.getPlotItem()
        item.setMenuEnabled(False)
        item.setMouseEnabled(False, False)
        item.hideButtons()
        item.getAxis("left").setWidth(_LEFT)
        item.showGrid(x=False, y=True, alpha=0.15)
        if span is not None:
            item.setYRange(*span, padding=0.02)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(self._heading)
        column.addWidget(self._plot)

    def set_colours(self, colours: Colours) -> None:
        """Follow the theme."""
        item = self._plot.getPlotItem()
        for side in ("left", "bottom"):
            item.getAxis(side).setPen(colours.dim)
            item.getAxis(side).setTextPen(colours.dim)
        item.setLabel("bottom", self._x_name, color=colours.dim)

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
        item.enableAutoRange()
        self._head()

    def _head(self) -> None:
        keys = "".join(
            f' &nbsp;<span style="color:{line.colour}">■</span>&nbsp;{escape(line.name)}'
            for line in self._lines
            if line.name
        )
        self._heading.setText(escape(self._title) + keys)


def _thinned(values: Sequence[float]) -> tuple[float, ...]:
    """Return a copy with no more values than can be seen, evenly, with the newest."""
    step = -(-len(values) // _DRAWN) or 1
    return tuple(values[::-step][::-1])


def save_picture(widget: QWidget, path: str | Path, background: str) -> None:
    """Write what `widget` shows as a PNG, twice as fine as on the screen.

    background : colour of the paper, #rrggbb
    Raises PoolError if the file cannot be written.
    """
    image = QImage(widget.size() * _SCALE, QImage.Format.Format_RGB32)
    image.setDevicePixelRatio(_SCALE)
    image.fill(background)
    painter = QPainter(image)
    widget.render(painter, QPoint(0, 0))
    painter.end()
    buffer = QBuffer()
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    image.save(buffer, "PNG")  # type: ignore[call-overload]
    try:
        with atomic_path(Path(path)) as temporary:
            temporary.write_bytes(bytes(buffer.data().data()))
    except OSError as error:
        raise PoolError(f"{path} cannot be written ({error.strerror}); choose another place.", path=path) from None
