"""The table of cases: a model that sorts and filters by itself, and the view with its painted columns.

Ten thousand cases are usual. Sorting here takes 15 ms where Qt's own proxy takes a second, and rows keep one height,
because measuring them takes longer still.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from qtpy.QtCore import QAbstractTableModel, QItemSelection, QItemSelectionModel, QModelIndex, QRectF, QSize, Qt
from qtpy.QtGui import QBrush, QColor, QIcon, QKeyEvent, QPainter, QPen, QResizeEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QWidget,
)

from napari_bcp.app.status_icons import status_colour, status_icon
from napari_bcp.app.wording import full_moment, moment, natural_key
from napari_bcp.metrics.confidence import band, lowest
from napari_bcp.pool import STATUSES

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from qtpy.QtCore import QItemSelectionRange, QObject, QPersistentModelIndex

    from napari_bcp.app.session import Session
    from napari_bcp.app.theme import Colours
    from napari_bcp.pool import Case

COLUMNS: Final = ("Case", "Status", "Quality", "Why", "Changed")
CASE, STATUS, QUALITY, WHY, CHANGED = range(5)
QUALITIES: Final = Qt.ItemDataRole.UserRole
"""Role of the column Quality: [(class name, quality 0..1 or None, class colour), …]."""

_TIPS: Final = (
    "Name of the case",
    "What has been done with the case",
    "Expected quality of the pseudo-label, a bar for each class: a rank to sort by, no measured overlap",
    "Why this case is proposed next, or why it cannot be used",
    "When the case last changed",
)
_MANY: Final = 200  # rows that come or go; beyond it the view starts anew
_LOWEST: Final = 0.5  # expected quality that has an empty bar


class CaseTableModel(QAbstractTableModel):
    """The session's cases, filtered and sorted; only rows that change are told of."""

    def __init__(self, session: Session, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._cases: dict[str, Case] = {}
        self._counts: Counter[str] = Counter()
        self._names: list[str] = []
        self._rows: dict[str, int] = {}
        self._proposed: dict[str, tuple[int, str]] = {}
        self._classes: list[tuple[int, str, str]] = []  # value, name and colour
        self._text = ""
        self._statuses: frozenset[str] = frozenset()
        self._column, self._descending = CASE, False
        self._icons: dict[str, QIcon] = {}
        self._brushes: dict[str, QBrush] = {}
        self.refresh()

    # -- what the panel asks ----------------------------------------------------------------------------------

    def case_at(self, row: int) -> Case | None:
        """Return the case shown in a row; None if it has left the pool, and its row is about to."""
        return self._cases.get(self._names[row])

    def case(self, name: str) -> Case | None:
        """Return the case of that name, shown or not."""
        return self._cases.get(name)

    def row_of(self, name: str) -> int | None:
        """Return the row that shows a case, None if it is filtered out."""
        return self._rows.get(name)

    def why(self, name: str) -> str:
        """Return why a case is proposed, or why it cannot be used; an empty text if there is nothing to say."""
        case = self._cases[name]
        return case.reason if case.status == "unusable" else self._proposed.get(name, (0, ""))[1]

    def counts(self) -> Counter[str]:
        """Return how many cases have each status, shown or not."""
        return self._counts

    # -- changes ----------------------------------------------------------------------------------------------

    def refresh(self, names: Collection[str] = frozenset()) -> None:
        """Take over what the session has; `names` are the cases that changed, all of them if empty."""
        self._cases = {case.name: case for case in self._session.cases}
        self._counts = Counter(case.status for case in self._cases.values())
        proposed = {one.name: (rank, one.reason) for rank, one in enumerate(self._session.proposals)}
        if proposed != self._proposed:
            names = {*names, *proposed, *self._proposed} if names else names
            self._proposed = proposed
        self._classes = [(one.value, one.name, one.colour) for one in self._session.classes]
        self._rearrange(names or self._cases)

    def set_filter(self, text: str, statuses: Iterable[str]) -> None:
        """Show the cases whose name, status or reason has `text` in it, with one of `statuses` (all if none).

        Cases that the rule accepted are found by "rule".
        """
        self._text, self._statuses = text.strip().lower(), frozenset(statuses)
        self._rearrange(())

    def set_colours(self, colours: Colours) -> None:
        """Follow the theme."""
        self._icons = {status: status_icon(status, colours) for status in STATUSES}
        self._brushes = {status: QBrush(QColor(status_colour(status, colours))) for status in STATUSES}
        if self._names:
            self.dataChanged.emit(self.index(0, STATUS), self.index(len(self._names) - 1, STATUS))

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort by a column, equal rows by name; cases without a value come last either way."""
        self._column, self._descending = column, order == Qt.SortOrder.DescendingOrder
        self._rearrange(())

    def _rearrange(self, changed: Collection[str]) -> None:
        """Bring the rows into order with the fewest words to the view, so that selection and place stay."""
        wanted = self._sorted([case for case in self._cases.values() if self._passes(case)])
        kept = set(wanted)
        gone = [row for row, name in enumerate(self._names) if name not in kept]
        come = [name for name in wanted if name not in self._rows]
        if max(len(gone), len(come)) > _MANY:
            self.beginResetModel()
            self._put(wanted)
            self.endResetModel()
            return
        for row in reversed(gone):
            self.beginRemoveRows(QModelIndex(), row, row)
            del self._names[row]
            self.endRemoveRows()
        if come:
            self.beginInsertRows(QModelIndex(), len(self._names), len(self._names) + len(come) - 1)
            self._names += come
            self.endInsertRows()
        if self._names != wanted:
            self.layoutAboutToBeChanged.emit()
            before = self._names
            self._put(wanted)
            old = self.persistentIndexList()
            self.changePersistentIndexList(old, [self.index(self._rows[before[i.row()]], i.column()) for i in old])
            self.layoutChanged.emit()
        self._put(wanted)
        self._tell_changed(changed)

    def _put(self, names: list[str]) -> None:
        self._names = names
        self._rows = {name: row for row, name in enumerate(names)}

    def _tell_changed(self, names: Collection[str]) -> None:
        rows = [self._rows[name] for name in names if name in self._rows]
        if len(rows) > _MANY:
            rows = [min(rows), max(rows)]
            self.dataChanged.emit(self.index(rows[0], 0), self.index(rows[1], len(COLUMNS) - 1))
            return
        for row in rows:
            self.dataChanged.emit(self.index(row, 0), self.index(row, len(COLUMNS) - 1))

    def _passes(self, case: Case) -> bool:
        if self._statuses and case.status not in self._statuses:
            return False
        said = (case.name, _status_text(case), self.why(case.name))
        return not self._text or any(self._text in text.lower() for text in said)

    def _sorted(self, cases: list[Case]) -> list[str]:
        cases.sort(key=lambda case: natural_key(case.name))
        key = self._key()
        if key is not None:
            known = [case for case in cases if key(case) is not None]
            unknown = [case for case in cases if key(case) is None]
            known.sort(key=key, reverse=self._descending)
            return [case.name for case in known + unknown]
        if self._descending:
            cases.reverse()
        return [case.name for case in cases]

    def _key(self) -> Callable[[Case], Any] | None:
        if self._column == STATUS:
            return lambda case: STATUSES.index(case.status)
        if self._column == QUALITY:
            return lowest_quality
        if self._column == WHY:
            return lambda case: self._proposed[case.name][0] if case.name in self._proposed else None
        if self._column == CHANGED:
            return lambda case: case.changed
        return None

    # -- what Qt asks -----------------------------------------------------------------------------------------

    def rowCount(self, parent: QModelIndex | QPersistentModelIndex | None = None) -> int:
        """Return the number of cases shown."""
        return 0 if parent is not None and parent.isValid() else len(self._names)

    def columnCount(self, parent: QModelIndex | QPersistentModelIndex | None = None) -> int:
        """Return the number of columns."""
        return 0 if parent is not None and parent.isValid() else len(COLUMNS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return title or tooltip of a column."""
        if orientation != Qt.Orientation.Horizontal or not 0 <= section < len(COLUMNS):
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return COLUMNS[section]
        return _TIPS[section] if role == Qt.ItemDataRole.ToolTipRole else None

    def data(self, index: QModelIndex | QPersistentModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return what a cell shows, or None."""
        if not index.isValid() or index.row() >= len(self._names):
            return None
        case, column = self.case_at(index.row()), index.column()
        if case is None:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return self._shown(case, column)
        if role == Qt.ItemDataRole.ToolTipRole:
            return self._tip(case, column)
        if role == QUALITIES and column == QUALITY:
            return self._qualities(case)
        if column == STATUS and role == Qt.ItemDataRole.DecorationRole:
            return self._icons.get(case.status)
        if column == STATUS and role == Qt.ItemDataRole.ForegroundRole:
            return self._brushes.get(case.status)
        return None

    def _shown(self, case: Case, column: int) -> str:
        if column == CASE:
            return case.name
        if column == STATUS:
            return _status_text(case)
        if column == WHY:
            return _short(self.why(case.name).partition("\n")[0])
        return moment(case.changed, datetime.now().astimezone()) if column == CHANGED else ""

    def _tip(self, case: Case, column: int) -> str:
        if column == CASE:
            size = " × ".join(map(str, case.shape)) + " voxels" if case.shape else "size unknown"
            spacing = " of " + " × ".join(f"{mm:.3g}" for mm in case.spacing) + " mm" if case.spacing else ""
            changed = full_moment(case.changed, datetime.now().astimezone())
            return f"{case.name}\n{case.path}\n{size}{spacing}\nChanged {changed}"
        if column == STATUS:
            by = {"person": " by a person", "rule": ' by the rule "accept all above"'}.get(case.mask_by or "", "")
            return f"{case.status}{by}" if case.status == "accepted" else case.reason or case.status
        if column == QUALITY:
            return quality_text(self._qualities(case))
        if column == WHY:
            return self.why(case.name)
        return full_moment(case.changed, datetime.now().astimezone())

    def _qualities(self, case: Case) -> list[tuple[str, float | None, str]]:
        if case.map is None:
            return []
        return [(name, case.map.quality.get(value), colour) for value, name, colour in self._classes]


def _status_text(case: Case) -> str:
    return f"{case.status} (rule)" if case.status == "accepted" and case.mask_by == "rule" else case.status


def lowest_quality(case: Case) -> float | None:
    """Return the quality of the class that is worst off, None without a map."""
    return None if case.map is None else lowest(case.map.quality)


def quality_text(qualities: Sequence[tuple[str, float | None, str]]) -> str:
    """Return the expected quality of every class in words."""
    if not qualities:
        return "No map yet"
    lines = (
        f"{name}: {'not found' if value is None else f'{band(value)} ({value:.2f})'}" for name, value, _ in qualities
    )
    return "\n".join(["Expected quality (a rank, no measured overlap)", *lines])


class NameDelegate(QStyledItemDelegate):
    """Leaves out the middle of a long name: what tells cases apart stands at its ends."""

    def initStyleOption(self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex) -> None:
        """Choose where the name is cut."""
        super().initStyleOption(option, index)
        option.textElideMode = Qt.TextElideMode.ElideMiddle


class QualityDelegate(QStyledItemDelegate):
    """Paints a bar for each class in its colour, as high as its quality; low ones have a red frame."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._colours: Colours | None = None

    def set_colours(self, colours: Colours) -> None:
        """Follow the theme."""
        self._colours = colours

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        """Paint the bars over what every cell has: selection and focus."""
        super().paint(painter, option, index)
        qualities = index.data(QUALITIES)
        if not qualities or self._colours is None:
            return
        painter.save()
        rect = QRectF(option.rect).adjusted(5, 4, -5, -4)
        step = min(14.0, rect.width() / len(qualities))
        for place, (_, value, colour) in enumerate(qualities):
            bar = QRectF(rect.left() + place * step, rect.top(), max(2.0, step - 3), rect.height())
            if value is not None:
                filled = bar.adjusted(1, 1, 0, 0)
                filled.setTop(bar.bottom() - bar.height() * max(0.12, min(1.0, (value - _LOWEST) / (1 - _LOWEST))))
                painter.fillRect(filled, QColor(colour))
            is_low = band(value) in ("low", None)
            painter.setPen(QPen(QColor(self._colours.red if is_low else self._colours.dim), 1))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRect(bar)
            if value is None:
                painter.drawLine(bar.bottomLeft(), bar.topRight())
        painter.restore()

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex) -> QSize:
        """Return the room for three classes."""
        return QSize(56, 22)


def _short(reason: str) -> str:
    """Return a reason as a narrow column has room for it; the line below the table has it whole."""
    return reason.replace("the model is unsure about ", "unsure: ").replace("unsure: the ", "unsure: ")


class CaseTable(QTableView):
    """The view: rows of one height, many at a time to select, Enter and a double click to open."""

    def __init__(self, model: CaseTableModel, opened: Callable[[str], object], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._cases = model
        self._opened = opened
        self._kept: list[str] = []
        self._changed_width = self._least = 0
        self._quality = QualityDelegate(self)
        self.setModel(model)
        self._name = NameDelegate(self)
        self.setItemDelegateForColumn(CASE, self._name)
        self.setItemDelegateForColumn(QUALITY, self._quality)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setTabKeyNavigation(False)  # Tab leaves the table
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setIconSize(QSize(13, 13))
        self.setAccessibleName("Cases")
        self.verticalHeader().hide()
        self.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        self.verticalHeader().setDefaultSectionSize(self.fontMetrics().height() + 9)
        header = self.horizontalHeader()
        header.setHighlightSections(False)
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        header.setMinimumSectionSize(40)
        self.setSortingEnabled(True)
        self.sortByColumn(CASE, Qt.SortOrder.AscendingOrder)
        width = self.fontMetrics().horizontalAdvance
        for column, text in (
            (CASE, "phantom-000"),
            (STATUS, "accepted (rule) w"),
            (QUALITY, "Quality v"),
            (CHANGED, "Mar 2020"),
        ):
            self.setColumnWidth(column, width(text) + 14)
        header.setSectionResizeMode(WHY, QHeaderView.ResizeMode.Stretch)
        self._least = width("the mod…")
        self.doubleClicked.connect(self._open_row)
        model.modelAboutToBeReset.connect(self._keep_selection)
        model.modelReset.connect(self._restore_selection)

    def set_colours(self, colours: Colours) -> None:
        """Follow the theme."""
        self._quality.set_colours(colours)
        self._cases.set_colours(colours)
        self.viewport().update()

    def selected(self) -> list[Case]:
        """Return the selected cases, from top to bottom; without those that are no longer in the pool."""
        # By ranges of whole rows: Qt's list of them takes half a second to make for ten thousand.
        parts: Iterable[QItemSelectionRange] = self.selectionModel().selection()  # type: ignore[assignment]
        rows = sorted({row for part in parts for row in range(part.top(), part.bottom() + 1)})
        return [case for row in rows if (case := self._cases.case_at(row)) is not None]

    def select(self, names: Iterable[str]) -> None:
        """Select these cases, as far as they are shown, and nothing else; the keys go to the first of them."""
        rows = [row for row in map(self._cases.row_of, names) if row is not None]
        selection = QItemSelection()
        for row in rows:
            selection.select(self._cases.index(row, 0), self._cases.index(row, len(COLUMNS) - 1))
        self.selectionModel().select(selection, QItemSelectionModel.SelectionFlag.ClearAndSelect)
        if rows:
            self.selectionModel().setCurrentIndex(
                self._cases.index(rows[0], 0), QItemSelectionModel.SelectionFlag.NoUpdate
            )
            self.scrollTo(self._cases.index(rows[0], 0))

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Leave out the last column where there is no room: the name's tooltip says the same."""
        super().resizeEvent(event)
        needed = sum(self.columnWidth(column) for column in (CASE, STATUS, QUALITY)) + self._least
        if not self.isColumnHidden(CHANGED):
            self._changed_width = self.columnWidth(CHANGED)
        sorts = self.horizontalHeader().sortIndicatorSection() == CHANGED
        self.setColumnHidden(CHANGED, not sorts and self.viewport().width() < needed + self._changed_width)

    def sort_by(self, column: int) -> None:
        """Sort by a column as a click on its heading does; the second time the other way round."""
        header = self.horizontalHeader()
        again = header.sortIndicatorSection() == column and header.sortIndicatorOrder() == Qt.SortOrder.AscendingOrder
        self.setColumnHidden(column, False)
        self.sortByColumn(column, Qt.SortOrder.DescendingOrder if again else Qt.SortOrder.AscendingOrder)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Open the current case on Enter."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self.currentIndex().isValid():
            self._open_row(self.currentIndex())
            return
        super().keyPressEvent(event)

    def _open_row(self, index: QModelIndex) -> None:
        case = self._cases.case_at(index.row())
        if case is not None:
            self._opened(case.name)

    def _keep_selection(self) -> None:
        current = self.currentIndex()
        first = self._cases.case_at(current.row()) if current.isValid() else None
        self._kept = [case.name for case in sorted(self.selected(), key=lambda case: case is not first)]

    def _restore_selection(self) -> None:
        if self._kept:
            self.select(self._kept)
