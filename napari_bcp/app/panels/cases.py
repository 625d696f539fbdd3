"""Cases: the whole cohort at a glance, what comes next, and what is done with many cases at once."""

from __future__ import annotations

from collections import Counter
from html import escape
from typing import TYPE_CHECKING, Final

from qtpy.QtCore import QItemSelection, Qt
from qtpy.QtGui import QAction, QKeySequence, QShortcut, QShowEvent
from qtpy.QtWidgets import QFrame, QHBoxLayout, QLabel, QLineEdit, QPushButton, QVBoxLayout, QWidget
from superqt import QFlowLayout, QLabeledDoubleSlider

from napari_bcp.app.case_table import CaseTable, CaseTableModel
from napari_bcp.app.listen import listen
from napari_bcp.app.parts import MessageLine, Question, button, wrapped_label
from napari_bcp.app.status_icons import status_icon
from napari_bcp.app.wording import counted
from napari_bcp.pool import STATUSES, TRANSITIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_bcp.app.session import Session
    from napari_bcp.app.theme import Colours
    from napari_bcp.pool import Case

NEXT_KEY: Final = "N"
_USUAL_QUALITY: Final = 0.95


class CasesPanel(QWidget):
    """The cases of the pool, filtered, sorted and acted upon."""

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self.message = MessageLine()
        self._question = Question()
        self._model = CaseTableModel(session, self)
        self.table = CaseTable(self._model, self._open)
        self.table.setToolTip("")
        self._search = QLineEdit()
        self._search.setPlaceholderText("Find a case…  (Ctrl+F)")
        self._search.setToolTip("Show the cases whose name or reason has this text in it (Ctrl+F; Escape clears)")
        self._search.setClearButtonEnabled(True)
        self._search.setAccessibleName("Find a case")
        self._chips = {status: self._chip(status) for status in STATUSES}
        self._about = wrapped_label()
        self._next = button(
            f"Next ({NEXT_KEY})", f"Open the case that is proposed next (key {NEXT_KEY})", self._open_next
        )
        self._next_name = wrapped_label()
        self._accept_all = _AcceptAbove(session, self._take_back_later)
        self._accept_button = button(
            "Accept all above…", "Accept every case at once whose expected quality is high", checkable=True
        )
        self._take_back = button("", "", self._take_accepted_back)
        self._accepted: list[str] = []
        self._actions = self._make_actions()
        self._lay_out()

        self._search.textChanged.connect(self._filter)
        self.table.selectionModel().selectionChanged.connect(self._show_selection)
        self._accept_button.toggled.connect(self._accept_all.setVisible)
        self._accept_all.done.clicked.connect(self._accept_button.toggle)
        self._accept_all.cancel.clicked.connect(self._accept_button.toggle)
        for key, slot in ((NEXT_KEY, self._open_next), ("Ctrl+F", self._search.setFocus)):
            shortcut = QShortcut(QKeySequence(key), self)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.activated.connect(slot)
        clear = QShortcut(QKeySequence("Escape"), self._search)
        clear.setContext(Qt.ShortcutContext.WidgetShortcut)
        clear.activated.connect(self._search.clear)
        listen(self, session.cases_changed, self._refresh)
        listen(self, session.pool_changed, self._show_pool)
        listen(self, session.case_opened, self._show_opened)
        self._show_pool()

    def set_colours(self, colours: Colours) -> None:
        """Follow the theme."""
        self.message.set_colours(colours)
        self._question.set_colours(colours)
        self.table.set_colours(colours)
        for status, chip in self._chips.items():
            chip.setIcon(status_icon(status, colours))

    def showEvent(self, event: QShowEvent) -> None:
        """Bring the times up to date."""
        super().showEvent(event)
        self.table.viewport().update()

    # -- making -----------------------------------------------------------------------------------------------

    def _chip(self, status: str) -> QPushButton:
        chip = button(status, f"Show the cases that are {status}; several of these buttons may be down", checkable=True)
        chip.toggled.connect(self._filter)
        return chip

    def _make_actions(self) -> dict[str, QAction]:
        table: tuple[tuple[str, str, str, Callable[[], object]], ...] = (
            ("Open", "Return", "Show the case in the viewer", self._open_selected),
            ("Predict now", "Ctrl+P", "Make new maps of these cases before all others", self._predict),
            ("Exclude", "Delete", "Leave these cases out of training and proposals", self._exclude),
            ("Include", "Insert", "Take excluded cases in again, with the status that they had", self._include),
            ("Back to unlabelled…", "Ctrl+U", "Put drafts and accepted masks of these cases aside", self._reset),
        )
        actions = {}
        for text, key, tip, slot in table:
            action = QAction(text, self.table)
            if text == "Open":
                action.setText(f"Open\t{key}")  # the table itself takes Enter
            else:
                action.setShortcut(QKeySequence(key))
                action.setShortcutContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            action.setToolTip(tip)
            action.triggered.connect(slot)
            self.table.addAction(action)
            actions[text] = action
        self.table.setContextMenuPolicy(Qt.ContextMenuPolicy.ActionsContextMenu)
        return actions

    def _lay_out(self) -> None:
        top = QHBoxLayout()
        top.addWidget(self._next)
        top.addWidget(self._next_name, 1)
        chips = QWidget()
        flow = QFlowLayout(chips)
        flow.setContentsMargins(0, 0, 0, 0)
        flow.setSpacing(4)
        for chip in self._chips.values():
            flow.addWidget(chip)
        bottom = QHBoxLayout()
        bottom.addWidget(self._accept_button)
        bottom.addStretch()
        bottom.addWidget(self._take_back)
        column = QVBoxLayout(self)
        column.setContentsMargins(6, 8, 6, 6)
        column.setSpacing(6)
        column.addWidget(self.message)
        column.addLayout(top)
        column.addWidget(self._search)
        column.addWidget(chips)
        column.addWidget(self.table, 1)
        column.addWidget(self._about)
        column.addWidget(self._question)
        column.addLayout(bottom)
        column.addWidget(self._accept_all)
        self._accept_all.hide()

    # -- showing ----------------------------------------------------------------------------------------------

    def _show_pool(self) -> None:
        """Start anew with another pool."""
        self._search.clear()
        for chip in self._chips.values():
            chip.setChecked(False)
        self._question.hide()
        self._accept_button.setChecked(False)
        self._take_back_later([])
        self._refresh(frozenset())

    def _refresh(self, names: frozenset[str]) -> None:
        self._model.refresh(names)
        counts = self._model.counts()
        for status, chip in self._chips.items():
            chip.setText(f"{counts[status]:,} {status}")
            chip.setVisible(bool(counts[status]) or chip.isChecked())
        self._accept_button.setEnabled(bool(counts["predicted"]))
        if self._accept_all.isVisible():
            self._accept_all.count()
        self._show_next()
        self._show_selection()

    def _show_next(self) -> None:
        proposals = self._session.proposals
        self._next.setEnabled(bool(proposals))
        if proposals:
            text = f"<b>{escape(proposals[0].name)}</b> – {escape(proposals[0].reason)}"
        elif self._session.cases:
            text = "Nothing is proposed: train, so that there are maps to review."
        else:
            text = ""
        self._next_name.setText(text)

    def _show_opened(self) -> None:
        """Select the open case, so that table and canvas agree."""
        current = self._session.current
        if current is not None and [case.name for case in self.table.selected()] != [current.name]:
            self.table.select([current.name])

    def _show_selection(self, *_: QItemSelection) -> None:
        cases = self.table.selected()
        if len(cases) == 1:
            why = self._model.why(cases[0].name)
            self._about.setText(f"{cases[0].name}: {why}" if why else "")
        else:
            self._about.setText(f"{counted(len(cases), 'case')} selected" if cases else "")
        self._about.setVisible(bool(self._about.text()))
        self._actions["Open"].setEnabled(len(cases) == 1)
        self._actions["Exclude"].setEnabled(bool(self._names("exclude", but="excluded")))
        self._actions["Include"].setEnabled(bool(self._names("include")))
        self._actions["Back to unlabelled…"].setEnabled(bool(self._names("reset", but="unlabelled")))
        self._actions["Predict now"].setEnabled(bool(self._names("predict", but="excluded")))

    def _filter(self, *_: object) -> None:
        self._model.set_filter(self._search.text(), [name for name, chip in self._chips.items() if chip.isChecked()])
        self._show_selection()

    # -- acting -----------------------------------------------------------------------------------------------

    def _names(self, action: str, but: str = "") -> list[str]:
        """Return the selected cases whose status allows `action`, except those with the status `but`."""
        allowed = TRANSITIONS[action]  # type: ignore[index]
        return [case.name for case in self.table.selected() if case.status in allowed and case.status != but]

    def _open(self, name: str) -> None:
        self._session.open_case(name)

    def _open_selected(self) -> None:
        cases = self.table.selected()
        if len(cases) == 1:
            self._open(cases[0].name)

    def _open_next(self) -> None:
        if self._session.proposals:
            self._session.next_case()

    def _predict(self) -> None:
        for name in self._names("predict", but="excluded"):
            self._session.predict_now(name)

    def _exclude(self) -> None:
        names = self._names("exclude", but="excluded")
        if names:
            self._session.exclude(names)

    def _include(self) -> None:
        names = self._names("include")
        if names:
            self._session.include(names)

    def _reset(self) -> None:
        names = set(self._names("reset", but="unlabelled"))
        cases = [case for case in self.table.selected() if case.name in names]
        lost = _what_is_put_aside(cases)
        if not lost:
            self._do_reset(sorted(names))
            return
        self._question.ask(
            f"{lost} will be put aside. Accepted masks stay in the pool's folder; edits of drafts are gone.",
            f"Put {counted(len(names), 'case')} back",
            lambda: self._do_reset(sorted(names)),
        )

    def _do_reset(self, names: list[str]) -> None:
        if names:
            self._session.reset(names)

    def _take_back_later(self, names: Sequence[str]) -> None:
        """Offer to undo the acceptance of `names`."""
        self._accepted = list(names)
        self._take_back.setVisible(bool(names))
        self._take_back.setText(f"Take {len(names):,} back")
        self._take_back.setToolTip(
            f"Make {counted(len(names), 'case')} unlabelled again that the rule accepted just now"
        )

    def _take_accepted_back(self) -> None:
        by_rule = [
            name
            for name in self._accepted
            if (case := self._model.case(name)) is not None and (case.status, case.mask_by) == ("accepted", "rule")
        ]
        self._take_back_later([])
        self._do_reset(by_rule)


class _AcceptAbove(QFrame):
    """How high the expected quality must be, and how many cases that concerns."""

    def __init__(self, session: Session, accepted: Callable[[Sequence[str]], None]) -> None:
        super().__init__()
        self._session, self._accepted = session, accepted
        self._slider = QLabeledDoubleSlider(Qt.Orientation.Horizontal)
        self._slider.setRange(0.5, 1.0)
        self._slider.setDecimals(2)
        self._slider.setSingleStep(0.01)  # type: ignore[arg-type]
        self._slider.setValue(_USUAL_QUALITY)
        self._slider.setToolTip("The lowest expected quality that any class of a case may have")
        self._text = wrapped_label()
        self.done = button("Accept", "Accept these pseudo-labels as masks", self._accept)
        self.cancel = button("Cancel", "Accept nothing")
        row = QHBoxLayout()
        row.addWidget(QLabel("Expected quality from"))
        row.addWidget(self._slider, 1)
        buttons = QHBoxLayout()
        buttons.addStretch()
        buttons.addWidget(self.done)
        buttons.addWidget(self.cancel)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(row)
        column.addWidget(self._text)
        column.addLayout(buttons)
        self._slider.valueChanged.connect(self.count)

    def showEvent(self, event: QShowEvent) -> None:
        """Count with what the pool has now."""
        super().showEvent(event)
        self.count()

    def count(self, *_: object) -> None:
        """Say how many cases the slider's value concerns."""
        number = len(self._session.cases_above(self._slider.value()))
        predicted = Counter(case.status for case in self._session.cases)["predicted"]
        self._text.setText(
            f"{number:,} of {counted(predicted, 'predicted case')}. Their pseudo-labels become masks, marked as "
            "accepted by the rule, and training uses them as it uses yours."
        )
        self.done.setText(f"Accept {counted(number, 'case')}" if number else "Accept none")
        self.done.setEnabled(bool(number))

    def _accept(self) -> None:
        self._accepted(self._session.accept_all_above(self._slider.value()))


def _what_is_put_aside(cases: Sequence[Case]) -> str:
    """Return which work of a person a reset takes away, or an empty text."""
    statuses = Counter(case.status for case in cases)
    parts = []
    if statuses["draft"]:
        parts.append(counted(statuses["draft"], "draft"))
    if statuses["accepted"]:
        parts.append(counted(statuses["accepted"], "accepted mask"))
    return " and ".join(parts)
