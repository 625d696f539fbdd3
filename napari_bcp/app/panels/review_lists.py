"""The lists of the Review panel: slices that are worth a look, and parts of the map that the clean-up removed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QObject, Qt, Signal
from qtpy.QtWidgets import (
    QHeaderView,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QTabWidget,
    QTreeWidget,
    QTreeWidgetItem,
    QWidget,
)

from napari_bcp.app.panels.review_parts import swatch
from napari_bcp.app.parts import button
from napari_bcp.review.wording import millilitres

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_bcp.review.islands import Island
    from napari_bcp.review.worst import SliceNote
    from napari_bcp.scans import ClassSpec

_DATA = Qt.ItemDataRole.UserRole


class ReviewLists(QTabWidget):
    """Both lists, each on a tab with its length."""

    slice_chosen = Signal(int, int)
    """Axis (z, y, x) and index of a slice to go to."""
    island_chosen = Signal(object)
    """The Island that is selected, or None."""
    island_pointed_at = Signal(object)
    """The Island that the pointer rests on, or None once it has left."""
    island_restored = Signal(object)
    """The Island that is to be put back."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.advice = QListWidget()
        self.advice.setToolTip("Slices worth a look, the most urgent first, by their number beside napari's slider")
        self.advice.setAccessibleName("Worth a look")
        self.advice.setWordWrap(True)
        self.advice.setSpacing(2)
        self.advice.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.advice.currentItemChanged.connect(self._choose_slice)
        self.advice.itemClicked.connect(self._choose_slice)
        self.islands = QTreeWidget()
        self.islands.setToolTip("Rest the pointer on one, or select it, to see it; Enter or Restore puts it back")
        self.islands.setAccessibleName("Removed islands")
        self.islands.setHeaderLabels(["Class", "Volume", "Probability", ""])
        self.islands.setRootIsDecorated(False)
        header = self.islands.header()
        header.setStretchLastSection(False)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for column in (1, 2, 3):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        self._viewport = self.islands.viewport()
        self._pointed_at: Island | None = None
        self._listed: tuple[Any, ...] = ()  # what tells the islands that are listed from others
        self._restore_buttons: dict[QObject, Island] = {}
        self.islands.setMouseTracking(True)
        self._viewport.installEventFilter(self)
        self.islands.itemEntered.connect(lambda item, _: self._point_at(item.data(0, _DATA)))
        self.islands.currentItemChanged.connect(self._choose_island)
        self.islands.itemActivated.connect(lambda item, _: self.island_restored.emit(item.data(0, _DATA)))
        self.setDocumentMode(True)
        self.tabBar().setDrawBase(False)
        self.addTab(self.advice, "Worth a look")
        self.addTab(self.islands, "Removed islands")
        self.setTabToolTip(0, "Slices of the shown plane that deserve a look first")
        self.setTabToolTip(1, "Parts of the map that the clean-up removed")
        self.setMinimumHeight(150)

    def show_advice(self, notes: Sequence[SliceNote], axis: int) -> None:
        """List slices across `axis`."""
        self.advice.blockSignals(True)
        self.advice.clear()
        for note in notes:
            item = QListWidgetItem(f"Slice {note.index}: {note.reason}")
            item.setData(_DATA, (axis, note.index))
            item.setToolTip(note.reason)
            self.advice.addItem(item)
        self.advice.blockSignals(False)
        self.setTabText(0, f"Worth a look ({len(notes)})")

    def show_islands(self, islands: Sequence[Island], classes: Sequence[ClassSpec]) -> None:
        """List islands; if they are those that are listed already, the selection stays."""
        listed = tuple((one.value, one.voxels, one.mean_probability, one.box) for one in islands)
        if listed == self._listed and listed:
            return
        self._listed = listed
        self._point_at(None)
        specs = {one.value: one for one in classes}
        self.islands.blockSignals(True)
        self.islands.clear()
        self._restore_buttons.clear()
        for island in islands:
            self._add_island(island, specs.get(island.value))
        self.islands.blockSignals(False)
        self.setTabText(1, f"Removed islands ({len(islands)})")
        self.island_chosen.emit(None)

    def set_restorable(self, possible: bool) -> None:
        """Enable or disable the buttons that put islands back."""
        for one in self._restore_buttons:
            if isinstance(one, QPushButton):
                one.setEnabled(possible)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Follow the pointer, which the list itself reports only above its own text."""
        if event.type() == QEvent.Type.Leave and watched is self._viewport:
            self._point_at(None)
        elif event.type() == QEvent.Type.Enter and watched in self._restore_buttons:
            self._point_at(self._restore_buttons[watched])
        return False

    def _add_island(self, island: Island, spec: ClassSpec | None) -> None:
        name = spec.name if spec else f"class {island.value}"
        volume, probability = f"{millilitres(island.volume_ml)} ml", f"{100 * island.mean_probability:.0f} %"
        item = QTreeWidgetItem([name, volume, probability])
        item.setData(0, _DATA, island)
        if spec is not None:
            item.setIcon(0, swatch(spec.colour))
        self.islands.addTopLevelItem(item)
        restore = button("Restore", "Put this part back into the labels; can be undone", self._restorer(island))
        restore.setAccessibleName(f"Restore {name}, {volume}")
        restore.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # Enter in the list does the same
        restore.installEventFilter(self)
        self._restore_buttons[restore] = island
        self.islands.setItemWidget(item, 3, restore)

    def _restorer(self, island: Island) -> Callable[[], None]:
        return lambda: self.island_restored.emit(island)

    def _point_at(self, island: Island | None) -> None:
        if island is not self._pointed_at:
            self._pointed_at = island
            self.island_pointed_at.emit(island)

    def _choose_slice(self, item: QListWidgetItem | None, *_: object) -> None:
        if item is not None:
            self.slice_chosen.emit(*item.data(_DATA))

    def _choose_island(self, item: QTreeWidgetItem | None, *_: object) -> None:
        self.island_chosen.emit(None if item is None else item.data(0, _DATA))
