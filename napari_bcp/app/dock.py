"""The plugin's dock widget: a header that always says where things stand, and the four panels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import platformdirs
from qtpy.QtCore import QEvent, QSize, Qt, QTimer
from qtpy.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QMenu,
    QProgressBar,
    QPushButton,
    QStackedWidget,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)
from superqt import QElidingLabel

from napari_bcp.app import collector
from napari_bcp.app.application import get_keeper
from napari_bcp.app.canvas import canvas_of, darken, guard, itself, uncover_brush
from napari_bcp.app.classes_dialog import ClassesDialog
from napari_bcp.app.export_dialog import ExportDialog
from napari_bcp.app.key_list import KeyList
from napari_bcp.app.listen import listen
from napari_bcp.app.panels.cases import CasesPanel
from napari_bcp.app.panels.report import ReportPanel
from napari_bcp.app.panels.review import ReviewPanel
from napari_bcp.app.panels.review_parts import row_of
from napari_bcp.app.panels.train import TrainPanel
from napari_bcp.app.parts import MessageLine, Note, button, wrapped_label
from napari_bcp.app.pool_dialog import PoolDialog
from napari_bcp.app.shortcuts import Shortcuts
from napari_bcp.app.sides import Sides
from napari_bcp.app.theme import colours_of
from napari_bcp.app.wording import duration, pool_summary, training_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtGui import QShowEvent

    from napari_bcp.app.session import Message, Progress, Session

_TABS: Final = ("cases", "train", "review", "report")
_WIDTH: Final = 430  # pixels
_MARK: Final = " ●"  # on the tab of a panel that has a message


class BcpWidget(QWidget):
    """Header, messages, and the panels Cases, Train, Review and Report over one session.

    napari_viewer : the viewer that shows the open case
    session : the model; without one, that of the process, which goes on when this widget is closed
    """

    def __init__(self, napari_viewer: Any, session: Session | None = None) -> None:
        super().__init__()
        self._keeper = get_keeper() if session is None else None
        if session is None:
            session = get_keeper().session
        self._session = session
        self._viewer = napari_viewer
        canvas = canvas_of(napari_viewer)
        if canvas is not None:
            guard(canvas)
        uncover_brush(napari_viewer)
        self._summary_due = False
        self._opened = ""  # the case that the messages of the Review panel are about
        self._closed = False
        self._let_go = QTimer(self, singleShot=True)
        self._let_go.timeout.connect(self._end_if_let_go)
        self._dialogs: dict[bool, PoolDialog] = {}
        self._classes_dialog: ClassesDialog | None = None
        self._export_dialog: ExportDialog | None = None
        self._keys: KeyList | None = None

        self.message = MessageLine()
        self._name = QElidingLabel()
        font = self._name.font()
        font.setBold(True)
        self._name.setFont(font)
        self._state = QPushButton()
        self._state.setFlat(True)
        self._state.setToolTip("State of the training; a click shows the Train panel")
        self._state.clicked.connect(self._show_train)
        self._progress = QProgressBar()
        self._progress.setFixedHeight(8)
        self._progress.setTextVisible(False)
        self._progress_text = QElidingLabel()
        self._cancel = button("Cancel", "Give this up; nothing is kept of it", self._cancel_task)
        self.cases = CasesPanel(session)
        self.train = TrainPanel(session)
        self.review = ReviewPanel(session, napari_viewer)
        self.sides = None if canvas is None else Sides(itself(napari_viewer), canvas.native)
        self.report = ReportPanel(session)
        self._review_message = MessageLine()
        self.tabs = QTabWidget()
        self._pages = QStackedWidget()
        self._lay_out()

        self._shortcuts = Shortcuts(self, napari_viewer)
        self.tabs.currentChanged.connect(self._clear_mark)
        for place in range(len(_TABS)):
            self._shortcuts.add([f"Alt+{place + 1}"], self._tab_opener(place))
            self.tabs.setTabToolTip(place, f"{self.tabs.tabText(place)} (Alt+{place + 1})")
        self._shortcuts.add(["F1"], self._show_keys)
        listen(self, session.pool_changed, self._show_pool)
        listen(self, session.training_changed, self._show_state)
        listen(self, session.progress_changed, self._show_progress)
        listen(self, session.case_loading, self._make_sliders)
        listen(self, session.case_opened, self._show_opened)
        listen(self, session.told, self._tell)
        listen(self, self.review.layers.changed, self._show_sides)
        napari_viewer.events.theme.connect(self._follow_theme)
        self._follow_theme()
        self._show_pool()
        self._show_state()
        self._show_progress(session.progress)
        self._search_all = collector.spare(napari_viewer)
        self.destroyed.connect(self._search_all)

    # -- making -----------------------------------------------------------------------------------------------

    def _lay_out(self) -> None:
        menu = QMenu(self)
        self.pool_actions = {}
        choices: tuple[tuple[str, str, Callable[[], object]], ...] = (
            ("Open a folder of scans…", "Make a pool from scans and the masks that there are", self._new_pool),
            ("Open a pool…", "Go on where you left off", self._open_pool),
            ("Try the sample", "A made-up cohort with four masks, drawn on this computer", self._open_sample),
            ("Add scans…", "Take more scans, or masks of known ones, into this pool", self._extend_pool),
            ("Scans have moved…", "Name the folder where scans are now that are not where they were", self._find_moved),
            ("Classes…", "Name the classes, choose their colours, add another one", self._change_classes),
            ("Export masks…", "Write masks and pseudo-labels to a folder for other programs", self._export),
            ("Close the pool", "Save everything and close it; training stops and can go on later", self._close_pool),
        )
        for text, tip, slot in choices:
            action = menu.addAction(text)
            action.setToolTip(tip)
            action.triggered.connect(slot)
            self.pool_actions[text] = action
        menu.setToolTipsVisible(True)
        menu.insertSeparator(self.pool_actions["Add scans…"])
        pool = button("Pool", "Open, make, extend, export or close a pool")
        pool.setMenu(menu)
        top = QHBoxLayout()
        top.addWidget(self._name, 1)
        keys = button("Keys", "All keys (F1)", self._show_keys)
        top.addWidget(keys)
        top.addWidget(pool)
        header = QVBoxLayout()
        header.setContentsMargins(8, 6, 8, 0)
        header.setSpacing(2)
        header.addLayout(top)
        header.addWidget(self._state, 0, Qt.AlignmentFlag.AlignLeft)
        header.addWidget(self._progress_text)
        header.addLayout(row_of((self._progress, 1), self._cancel))
        review = QWidget()
        inside = QVBoxLayout(review)
        inside.setContentsMargins(0, 0, 0, 0)
        inside.setSpacing(0)
        inside.addWidget(self._review_message)
        inside.addWidget(self.review, 1)
        for name, page in zip(_TABS, (self.cases, self.train, review, self.report), strict=True):
            self.tabs.addTab(page, name.capitalize())
        self._pages.addWidget(self._make_welcome(choices[:3]))
        self._pages.addWidget(self.tabs)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        column.addLayout(header)
        column.addWidget(self.message)
        column.addWidget(self._pages, 1)

    def _make_welcome(self, choices: tuple[tuple[str, str, Callable[[], object]], ...]) -> QWidget:
        page = QWidget()
        column = QVBoxLayout(page)
        column.setContentsMargins(16, 12, 16, 12)
        column.setSpacing(4)
        column.addWidget(wrapped_label("From a few masks drawn by hand to masks for a whole cohort of CT or MR scans."))
        sentences = (
            "You have scans, and masks for three or four of them: make a pool. The scans stay as and where they are.",
            "You have been here before: all masks, drafts and what was learnt are as you left them.",
            "24 made-up scans, four of them with masks. Training on them takes minutes.",
        )
        self.welcome_buttons = []
        for (text, tip, slot), sentence in zip(choices, sentences, strict=True):
            column.addSpacing(14)
            one = button(text, tip, slot)
            one.setMinimumHeight(34)
            column.addWidget(one)
            column.addWidget(wrapped_label(sentence))
            self.welcome_buttons.append(one)
        column.addStretch()
        return page

    def _show_keys(self) -> None:
        if self._keys is None:
            self._keys = KeyList(self)
        self._keys.show()
        self._keys.raise_()

    def _tab_opener(self, place: int) -> Callable[[], None]:
        tabs = self.tabs
        return lambda: tabs.setCurrentIndex(place)

    # -- life -------------------------------------------------------------------------------------------------

    def sizeHint(self) -> QSize:
        """Ask for what the panels need and no more: in a small window the canvas wants the room."""
        return QSize(_WIDTH, super().sizeHint().height())

    def showEvent(self, event: QShowEvent) -> None:
        """Hold the session open as long as this window is."""
        super().showEvent(event)
        if self._keeper is not None:
            self._keeper.watch(self.window())

    def changeEvent(self, event: QEvent) -> None:
        """Notice that napari has let go of the widget: its dock was closed, and a new one is made the next time."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self._let_go.start(0)

    def _end_if_let_go(self) -> None:
        if self.parent() is None and not self.isVisible():
            self.close_down()
            self.deleteLater()

    def close_down(self) -> None:
        """Let go of the viewer; the session goes on. May be called twice."""
        if self._closed:
            return
        self._closed = True
        self._viewer.events.theme.disconnect(self._follow_theme)
        self._search_all()
        self.review.close_down()
        self._shortcuts.close_down()
        darken(self._viewer, False)
        if self.sides is not None:
            self.sides.close_down()

    # -- showing ----------------------------------------------------------------------------------------------

    def _follow_theme(self, *_: object) -> None:
        colours = colours_of(self._viewer.theme)
        for widget in (self.message, self._review_message, self.cases, self.train, self.review, self.report):
            if hasattr(widget, "set_colours"):
                widget.set_colours(colours)

    def _make_sliders(self, _name: str) -> None:
        """Let napari make its sliders while the first case is read, not together with the first layer."""
        if not self._viewer.layers:
            self._viewer.dims.ndim = 3

    def _remove_sliders(self) -> None:
        """Take them away again where no case has come of it."""
        if not self._viewer.layers and self._session.current is None:
            self._viewer.dims.ndim = 2

    def _show_pool(self) -> None:
        self._remove_sliders()
        pool = self._session.pool
        self._name.setText(pool.root.name if pool is not None else "No pool is open")
        self._name.setToolTip(str(pool.root) if pool is not None else "")
        self._state.setVisible(pool is not None)
        self._pages.setCurrentIndex(0 if pool is None else 1)
        for name in ("Add scans…", "Scans have moved…", "Classes…", "Export masks…", "Close the pool"):
            self.pool_actions[name].setEnabled(pool is not None)
        for line in (self.message, self.cases.message, self.train.message, self._review_message, self.report.message):
            line.clear()
        for place in range(len(_TABS)):
            self._clear_mark(place)
        if pool is not None and self._summary_due:
            self.message.show_message(Note("info", pool_summary(self._session.cases, pool.notes)))
            self._summary_due = False

    def _show_state(self) -> None:
        text = training_line(self._session.training)
        if self._state.text() != text:
            self._state.setText(text)

    def _show_progress(self, progress: Progress | None) -> None:
        for widget in (self._progress, self._progress_text):
            widget.setVisible(progress is not None)
        self._cancel.setVisible(progress is not None and progress.cancel is not None)
        if progress is None:
            return
        left = "" if progress.eta_s is None else f", {duration(progress.eta_s)} left"
        of = f": {progress.done:,} of {progress.total:,}" if progress.total else "…"
        self._progress_text.setText(f"{progress.task.capitalize()}{of}{left}")
        self._progress.setRange(0, progress.total)  # without a total Qt shows that something moves
        self._progress.setValue(progress.done)

    def _cancel_task(self) -> None:
        """Give up the task whose progress is shown."""
        progress = self._session.progress
        if progress is not None and progress.cancel is not None:
            progress.cancel()

    def _show_opened(self) -> None:
        """Go to the tools for a case that was opened from the list; what was said of another case is over."""
        self._remove_sliders()
        name = self._session.current.name if self._session.current is not None else ""
        if name != self._opened:
            self._review_message.clear()
            self._clear_mark(_TABS.index("review"))
        self._opened = name
        if self._session.current is not None and self.tabs.currentIndex() == _TABS.index("cases"):
            self.tabs.setCurrentIndex(_TABS.index("review"))

    def _show_sides(self) -> None:
        shown = "scan" in self.review.layers.own
        darken(self._viewer, shown)
        if self.sides is not None:
            self.sides.show(shown)

    def _show_train(self) -> None:
        self.tabs.setCurrentIndex(_TABS.index("train"))

    def _tell(self, message: Message) -> None:
        """Show a message beside the panel it belongs to."""
        lines: dict[str, MessageLine] = {
            "cases": self.cases.message,
            "train": self.train.message,
            "review": self._review_message,
            "report": self.report.message,
        }
        if message.text != self._session.training.problem:  # that the Train panel says with the way on
            lines.get(message.where, self.message).show_message(message)
        if message.where in _TABS:
            place = _TABS.index(message.where)
            if place != self.tabs.currentIndex() and message.level != "info":
                self.tabs.setTabText(place, _TABS[place].capitalize() + _MARK)

    def _clear_mark(self, place: int) -> None:
        self.tabs.setTabText(place, _TABS[place].capitalize())

    # -- acting -----------------------------------------------------------------------------------------------

    def _dialog(self, extend: bool) -> PoolDialog:
        if extend not in self._dialogs:
            dialog = PoolDialog(self, extend=extend)
            dialog.accepted.connect(self._add_scans if extend else self._make_pool)
            self._dialogs[extend] = dialog
        return self._dialogs[extend]

    def _new_pool(self) -> None:
        self._dialog(extend=False).open()

    def _extend_pool(self) -> None:
        self._dialog(extend=True).open()

    def _make_pool(self) -> None:
        dialog = self._dialog(extend=False)
        images, labels = dialog.folders()
        self._summary_due = True
        self._session.new_pool(dialog.pool_folder(), images, labels, dialog.class_specs())

    def _add_scans(self) -> None:
        images, labels = self._dialog(extend=True).folders()
        self._session.extend_pool(images, labels)

    def _find_moved(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "The folder where the scans are now")
        if folder:
            self._session.find_moved(Path(folder))

    def _change_classes(self) -> None:
        if self._classes_dialog is None:
            self._classes_dialog = ClassesDialog(self)
            self._classes_dialog.accepted.connect(self._take_classes)
        self._classes_dialog.show_classes(self._session.classes)
        self._classes_dialog.open()

    def _take_classes(self) -> None:
        if self._classes_dialog is not None:
            self._session.change_classes(self._classes_dialog.specs())

    def _export(self) -> None:
        if self._export_dialog is None:
            self._export_dialog = ExportDialog(self)
            self._export_dialog.accepted.connect(self._write_export)
        self._export_dialog.open()

    def _write_export(self) -> None:
        if self._export_dialog is not None:
            self._session.export(*self._export_dialog.choice())

    def _open_pool(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Open a pool")
        if folder:
            self._summary_due = False
            self._session.open_pool(Path(folder))

    def _open_sample(self) -> None:
        self._summary_due = True
        self._session.open_sample(Path(platformdirs.user_data_path("napari-bcp")) / "sample")

    def _close_pool(self) -> None:
        self._session.close_pool()
