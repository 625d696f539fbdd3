"""Report: how the cohort came to its masks, and what it cost by hand."""

from __future__ import annotations

import csv
import io
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QFileDialog, QFrame, QHBoxLayout, QScrollArea, QVBoxLayout, QWidget

from napari_bcp.app.listen import listen
from napari_bcp.app.parts import MessageLine, Note, button, wrapped_label
from napari_bcp.app.plots import Line, Plot, save_picture
from napari_bcp.app.status_icons import status_colour
from napari_bcp.app.theme import colours_of
from napari_bcp.app.wording import counted, duration
from napari_bcp.errors import BcpError, PoolError
from napari_bcp.files import write_text
from napari_bcp.review.report import ROUND, csv_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qtpy.QtGui import QShowEvent

    from napari_bcp.app.session import Session
    from napari_bcp.app.theme import Colours
    from napari_bcp.review.report import ReportData
    from napari_bcp.scans import ClassSpec

_SHOWN: Final = ("accepted", "draft", "predicted", "unlabelled")
_UNITS: Final = (("days", 86400), ("hours", 3600), ("minutes", 60))
_PAUSE_MS: Final = 2000  # between two readings of the history while the pool changes


class ReportPanel(QWidget):
    """The history of the pool in figures."""

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._colours: Colours | None = None
        self._data: ReportData | None = None
        self.message = MessageLine()
        self._summary = wrapped_label()
        self._statuses = Plot("Cases", "How many cases had each status, since the pool was made", "", counted="y")
        self._dice = Plot(
            "Dice of pseudo-labels",
            f"How much of the pseudo-labels was right as it was, by class; a point is the mean of {ROUND} masks",
            "masks accepted by hand",
            span=(0, 1),
            counted="x",
        )
        self._effort = Plot(
            "Minutes by hand", "Time spent on each case, in the order of their acceptance", "case", counted="x"
        )
        self._csv = button("Save table…", "Save a row for each mask that was accepted, as CSV", self._ask_csv)
        self._png = button("Save picture…", "Save the plots as PNG", self._ask_png)
        self._figures = QWidget()
        self._lay_out()
        self._due = QTimer(self)
        self._due.setSingleShot(True)
        self._due.setInterval(_PAUSE_MS)
        self._due.timeout.connect(self.refresh)
        listen(self, session.cases_changed, self._refresh_soon)
        listen(self, session.pool_changed, self._refresh_now)
        self._draw()

    def set_colours(self, colours: Colours) -> None:
        """Follow the theme."""
        self._colours = colours
        self.message.set_colours(colours)
        for plot in (self._statuses, self._dice, self._effort):
            plot.set_colours(colours)
        self._draw()

    def showEvent(self, event: QShowEvent) -> None:
        """Read the history when somebody looks."""
        super().showEvent(event)
        self.refresh()

    def refresh(self) -> None:
        """Read the pool's history, and show it once it is read."""
        if self._session.pool is None:
            self._take(None)
        else:
            self._session.ask_report(self._take)

    def save_csv(self, path: str | Path) -> None:
        """Write a row for each mask that was accepted. Raises PoolError if the file cannot be written."""
        names = {one.value: one.name for one in self._session.classes}
        text = io.StringIO()
        if self._data is not None:
            csv.writer(text, lineterminator="\n").writerows(csv_rows(self._data, names))
        try:
            write_text(path, text.getvalue())
        except OSError as error:
            raise PoolError(f"{path} cannot be written ({error.strerror}); choose another place.", path=path) from None

    def save_png(self, path: str | Path) -> None:
        """Write the plots on white paper. Raises PoolError if the file cannot be written."""
        shown, paper = self._colours, colours_of("light")
        try:
            self.set_colours(paper)
            save_picture(self._figures, path, "#ffffff", paper.text)
        finally:
            if shown is not None:
                self.set_colours(shown)

    # -- inside -----------------------------------------------------------------------------------------------

    def _take(self, data: ReportData | None) -> None:
        self._data = data
        self._draw()

    def _lay_out(self) -> None:
        inner = QVBoxLayout(self._figures)
        inner.setContentsMargins(6, 6, 6, 6)
        inner.setSpacing(8)
        inner.addWidget(self._summary)
        for plot in (self._statuses, self._dice, self._effort):
            inner.addWidget(plot)
        inner.addStretch()
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setWidget(self._figures)
        buttons = QHBoxLayout()
        buttons.setContentsMargins(6, 0, 6, 6)
        buttons.addWidget(self._csv)
        buttons.addWidget(self._png)
        buttons.addStretch()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.message)
        column.addWidget(area, 1)
        column.addLayout(buttons)

    def _refresh_soon(self, *_: object) -> None:
        if self.isVisible() and not self._due.isActive():
            self._due.start()

    def _refresh_now(self) -> None:
        self._take(None)  # figures of another pool are worse than none
        if self.isVisible():
            self.refresh()

    def _draw(self) -> None:
        data, colours = self._data, self._colours
        lines = _dice_lines(data, self._session.classes) if data is not None else []
        minutes = [one.minutes for one in data.efforts] if data is not None else []
        self._csv.setEnabled(data is not None)
        self._png.setEnabled(data is not None)
        self._statuses.setVisible(data is not None and len(data.statuses.times) > 1)
        self._dice.setVisible(bool(lines))
        self._effort.setVisible(bool(minutes))
        self._summary.setText(_summary(data))
        if colours is None:
            return
        unit, seconds = _unit(data)
        self._statuses.name_x(f"{unit} since the pool was made")
        self._statuses.show_lines(_status_lines(data, colours, seconds) if data is not None else [])
        self._dice.show_lines(lines)
        self._effort.show_bars("", colours.blue, minutes)

    def _ask_csv(self) -> None:
        self._ask("Save table", "report.csv", "Table (*.csv)", self.save_csv)

    def _ask_png(self) -> None:
        self._ask("Save picture", "report.png", "Picture (*.png)", self.save_png)

    def _ask(self, title: str, name: str, kinds: str, save: Callable[[str], None]) -> None:
        path, _ = QFileDialog.getSaveFileName(self, title, name, kinds)
        if not path:
            return
        if not Path(path).suffix:
            path += Path(name).suffix
        try:
            save(path)
        except BcpError as error:
            self.message.show_message(Note("error", str(error)))
        else:
            self.message.show_message(Note("info", f"Saved as {path}."))


def _summary(data: ReportData | None) -> str:
    """Return the figures that matter most in a sentence or two."""
    if data is None:
        return "Open a pool to see its history."
    if not data.efforts:
        return "No mask has been accepted by hand yet: this fills while you review."
    minutes = sorted(one.minutes for one in data.efforts)
    voxels = sorted(one.changed_voxels for one in data.efforts)
    if len(minutes) == 1:
        return f"1 case accepted by hand in {duration(60 * minutes[0])}, with {counted(voxels[0], 'changed voxel')}."
    middle = len(minutes) // 2
    return (
        f"{counted(len(minutes), 'case')} accepted by hand in {duration(60 * data.minutes)}; the middle one took "
        f"{duration(60 * minutes[middle])} and {counted(voxels[middle], 'changed voxel')}."
    )


def _dice_lines(data: ReportData, classes: Sequence[ClassSpec]) -> list[Line]:
    """Return a line a class over the number of masks that had been accepted."""
    lines = []
    for one in classes:
        points = [(part.last, part.dice[one.value]) for part in data.rounds if one.value in part.dice]
        if points:
            lines.append(Line(one.name, one.colour, [x for x, _ in points], [y for _, y in points], dots=True))
    return lines


def _unit(data: ReportData | None) -> tuple[str, int]:
    """Return in which unit the pool's age is told, and its seconds."""
    age = _ages(data)[-1] if data is not None and data.statuses.times else 0.0
    return next(((unit, seconds) for unit, seconds in _UNITS if age >= 2 * seconds), _UNITS[-1])


def _ages(data: ReportData) -> list[float]:
    """Return the seconds from the first point of the curve to each."""
    times = [datetime.fromisoformat(time).timestamp() for time in data.statuses.times]
    return [time - times[0] for time in times]


def _status_lines(data: ReportData, colours: Colours, unit: int) -> list[Line]:
    """Return a line a status over the time since the first event, in units of so many seconds."""
    ages = [age / unit for age in _ages(data)]
    return [
        Line(status, status_colour(status, colours), ages, data.statuses.counts[status])
        for status in _SHOWN
        if any(data.statuses.counts[status])
    ]
