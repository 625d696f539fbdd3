"""Cases: the whole cohort at a glance, what comes next, and what is done with many cases at once."""

from __future__ import annotations

import math
from collections import Counter
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Final

from qtpy.QtCore import QItemSelection, Qt
from qtpy.QtGui import QAction, QKeySequence, QShortcut, QShowEvent
from qtpy.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QMenu,
    QPushButton,
    QSlider,
    QVBoxLayout,
    QWidget,
)
from superqt import QFlowLayout

from napari_bcp.app.case_table import COLUMNS, CaseTable, CaseTableModel, lowest_quality
from napari_bcp.app.listen import listen
from napari_bcp.app.parts import MessageLine, Question, button, wrapped_label
from napari_bcp.app.status_icons import status_icon
from napari_bcp.app.wording import counted
from napari_bcp.pool import STATUSES, TRANSITIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from napari_bcp.app.session import Session
    from napari_bcp.app.theme import Colours
    from napari_bcp.pool import Case, Status
    from napari_bcp.pool.status import Action

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
        self._search.setToolTip(
            "Show the cases whose name, status or reason has this text in it, such as rule (Ctrl+F; Escape clears)"
        )
        self._search.setClearButtonEnabled(True)
        self._search.setAccessibleName("Find a case")
        self._chips = {status: self._chip(status) for status in STATUSES}
        self._about = wrapped_label()
        self._next = button(
            f"Next ({NEXT_KEY})", f"Open the case that is proposed next (key {NEXT_KEY})", self._open_next
        )
        self._next_name = wrapped_label()
        self._accept_all = _AcceptAbove(session, self._accept)
        self._accept_button = button(
            "Accept all above…", "Accept every case at once whose expected quality is high", checkable=True
        )
        self._take_back = button("", "", self._take_accepted_back)
        self._accepted: frozenset[str] = frozenset()  # by the rule, the last time
        self._accepting = False  # they are, and not all are yet
        self._actions = self._make_actions()
        self._lay_out()

        self._search.textChanged.connect(self._filter)
        self.table.selectionModel().selectionChanged.connect(self._show_selection)
        self._accept_button.toggled.connect(self._show_accept_all)
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
            ("Include", "Insert", "Take excluded cases in again, and unusable ones that were mended", self._include),
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
        sorting = QMenu("Sort by", self.table)
        for column, title in enumerate(COLUMNS):
            action = sorting.addAction(title)
            action.triggered.connect(partial(self.table.sort_by, column))
        self.table.addAction(sorting.menuAction())
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
        self._question.cancel()
        self._accept_button.setChecked(False)
        self._accepted, self._accepting = frozenset(), False
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
        if self._accepted <= names:
            self._accepting = False
        self._show_take_back()
        self._show_next()
        self._show_selection()

    def _show_next(self) -> None:
        proposals, current = self._session.proposals, self._session.current
        here, counts = "" if current is None else current.name, self._model.counts()
        following = self._session.following
        self._next.setEnabled(following is not None)
        if following is not None:
            text = f"<b>{escape(following.name)}</b> – {escape(following.reason)}"
        elif any(one.name == here for one in proposals):
            text = f"Nothing is proposed beside {escape(here)}, which is open."
        elif self._session.cases and not counts["unlabelled"] + counts["predicted"]:
            text = "Nothing is proposed: no case waits for a mask."
        else:
            text = ""  # the order is being made
        self._next_name.setText(text)

    def _show_opened(self) -> None:
        """Select the open case, so that table and canvas agree."""
        self._show_next()
        if self._accept_all.isVisible():
            self._accept_all.count()  # the open case is not the rule's to judge
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
        statuses = {case.status for case in cases}
        self._actions["Open"].setEnabled(len(cases) == 1)
        self._actions["Exclude"].setEnabled(_allows("exclude", statuses, but="excluded"))
        self._actions["Include"].setEnabled(_allows("include", statuses))
        self._actions["Back to unlabelled…"].setEnabled(_allows("reset", statuses, but="unlabelled"))
        self._actions["Predict now"].setEnabled(_allows("predict", statuses, but="excluded"))

    def _filter(self, *_: object) -> None:
        self._model.set_filter(self._search.text(), [name for name, chip in self._chips.items() if chip.isChecked()])
        self._show_selection()

    # -- acting -----------------------------------------------------------------------------------------------

    def _names(self, action: Action, but: str = "") -> list[str]:
        """Return the selected cases whose status allows `action`, except those with the status `but`."""
        return [case.name for case in self.table.selected() if _allows(action, {case.status}, but)]

    def _open(self, name: str) -> None:
        self._session.open_case(name)

    def _open_selected(self) -> None:
        cases = self.table.selected()
        if len(cases) == 1:
            self._open(cases[0].name)

    def _open_next(self) -> None:
        if self._next.isEnabled():
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
        lost = _what_is_lost(cases)
        if not lost:
            self._do_reset(sorted(names))
            return
        self._question.ask(lost, f"Put {counted(len(names), 'case')} back", lambda: self._do_reset(sorted(names)))

    def _do_reset(self, names: Sequence[str]) -> None:
        """Put cases back, but for those that have changed since it was asked so that they cannot be."""
        found = [case for name in names if (case := self._model.case(name)) is not None]
        names = [case.name for case in found if case.status in TRANSITIONS["reset"] and case.status != "unlabelled"]
        if names:
            self._session.reset(names)

    def _show_accept_all(self, shown: bool) -> None:
        self._accept_all.setVisible(shown)
        if shown:
            self._accept_all.take_keys()

    def _accept(self, quality: float) -> None:
        """Accept cases by the rule; it goes on when this returns."""
        self._accepting = True  # before: a session may be done at once
        self._accepted = frozenset()
        self._accepted = frozenset(self._session.accept_all_above(quality))
        self._show_take_back()

    def _by_rule(self) -> list[str]:
        """Return those of the cases that the rule accepted the last time which nobody has touched since."""
        found = [case for name in self._accepted if (case := self._model.case(name)) is not None]
        return sorted(case.name for case in found if (case.status, case.mask_by) == ("accepted", "rule"))

    def _show_take_back(self) -> None:
        """Offer to undo what the rule accepted, once it has."""
        number = len(self._accepted) if self._accepting else len(self._by_rule())
        self._take_back.setVisible(bool(number))
        self._take_back.setEnabled(not self._accepting)
        self._take_back.setText(f"Take {number:,} back")
        self._take_back.setToolTip(f"Let {counted(number, 'case')} that the rule accepted just now be proposals again")

    def _take_accepted_back(self) -> None:
        names = self._by_rule()
        self._accepted = frozenset()
        self._show_take_back()
        self._session.take_back(names)


class _AcceptAbove(QFrame):
    """How high the expected quality must be, and how many cases that concerns."""

    def __init__(self, session: Session, accept: Callable[[float], None]) -> None:
        super().__init__()
        self._session, self._accept_above = session, accept
        self._slider = QSlider(Qt.Orientation.Horizontal)  # in hundredths: superqt's slider of fractions takes no keys
        self._slider.setRange(50, 100)
        self._slider.setPageStep(5)
        self._slider.setValue(round(100 * _USUAL_QUALITY))
        self._slider.setAccessibleName("Expected quality from")
        self._value = QLabel()
        self._slider.setToolTip("The lowest expected quality that any class of a case may have")
        self._text = wrapped_label()
        self.done = button("Accept", "Accept these pseudo-labels as masks", self._accept)
        self.cancel = button("Cancel", "Accept nothing")
        row = QHBoxLayout()
        row.addWidget(QLabel("Expected quality from"))
        row.addWidget(self._slider, 1)
        row.addWidget(self._value)
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
        self._value.setText(f"{self._quality():.2f}")
        number = len(self._session.cases_above(self._quality()))
        predicted = [case for case in self._session.cases if case.status == "predicted"]
        best = max((lowest_quality(case) or 0.0 for case in predicted), default=0.0)
        here = "" if self._session.current is None else self._session.current.name
        left_out = " The open one is left out." if any(case.name == here for case in predicted) else ""
        predictions = counted(len(predicted), "predicted case")
        reach = "" if number or not best else f" The best of them reaches {math.floor(100 * best) / 100:.2f}."
        self._text.setText(
            f"{number:,} of {predictions}.{left_out}{reach} A pseudo-label that is accepted becomes a mask, marked "
            '"rule", and training uses it as it uses yours.'
        )
        self.done.setText(f"Accept {counted(number, 'case')}" if number else "Accept none")
        self.done.setEnabled(bool(number))

    def take_keys(self) -> None:
        """Let the arrow keys move the slider."""
        self._slider.setFocus()

    def _accept(self) -> None:
        self._accept_above(self._quality())

    def _quality(self) -> float:
        return self._slider.value() / 100


def _allows(action: Action, statuses: Iterable[Status], but: str = "") -> bool:
    """Return whether a case with one of these statuses, other than `but`, allows `action`."""
    return any(status in TRANSITIONS[action] and status != but for status in statuses)


def _what_is_lost(cases: Sequence[Case]) -> str:
    """Return which work a reset of these cases takes away, in a sentence for each kind of it, or an empty text."""
    statuses = Counter(case.status for case in cases)
    drafts, unusable = statuses["draft"], statuses["unusable"]
    masks = sum(case.has_mask for case in cases)
    which = f" of {cases[0].name}" if len(cases) == 1 else ""
    sentences = []
    if drafts:
        sentences.append(f"{counted(drafts, 'draft')}{which} will be gone, with all edits.")
    if masks:
        stay = "stay" if masks > 1 else "stays"
        sentences.append(f"{counted(masks, 'accepted mask')}{which} will be put aside and {stay} in the pool's folder.")
    if unusable:
        sentences.append(f"Masks that {counted(unusable, 'unusable case')} had will be put aside, drafts will be gone.")
    return " ".join(sentences)
