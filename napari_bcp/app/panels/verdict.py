"""The foot of the Review panel: whether the edits are saved, and what the reader makes of the case."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_bcp.app.panels.review_keys import KEYS
from napari_bcp.app.panels.review_parts import row_of
from napari_bcp.app.parts import Question, button, wrapped_label
from napari_bcp.app.wording import counted, duration

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtWidgets import QPushButton

    from napari_bcp.app.opened import OpenCase
    from napari_bcp.app.session import Session
    from napari_bcp.app.theme import Colours


class Verdict(QWidget):
    """Accept, reject, reopen or include the open case.

    ready : called before a verdict; says whether it may be given now, and lets nothing hang in the air
    """

    def __init__(self, session: Session, ready: Callable[[], bool]) -> None:
        super().__init__()
        self._session, self._ready = session, ready
        self._case: OpenCase | None = None
        self._asked_of: object = None  # what the case was when the question was asked
        self._saved_at: float | None = None
        self.saved = wrapped_label()
        self.question = Question()
        self.accept_next = _two_lines(
            "Accept and next", "accept and next", "These labels are right: on to the next case"
        )
        self.accept = _two_lines("Accept", "accept", "These labels are right; stay here")
        self.reject = _two_lines("Reject", "reject", "Drop the proposal and the edits; the case waits for a better map")
        self.reopen = _two_lines("Reopen to edit", "reopen", "Make a draft of the accepted mask again")
        self.include = _two_lines("Include", "reopen", "Take the excluded case in again, with the status it had")
        self.next = _two_lines("Next case", "accept and next", "Open the case that is proposed next")
        self.skip = button(
            f"Skip ({KEYS['skip'][-1]})",
            f"Go on to the next case without a verdict; your edits stay, as a draft ({KEYS['skip'][-1]})",
            self._skip,
        )
        self.accept_next.clicked.connect(lambda: self._accept(then_next=True))
        self.accept.clicked.connect(lambda: self._accept(then_next=False))
        self.reject.clicked.connect(self._reject)
        self.reopen.clicked.connect(lambda: self._session.reopen())
        self.include.clicked.connect(self._include)
        self.next.clicked.connect(lambda: self._session.next_case())
        column = QVBoxLayout(self)
        column.setContentsMargins(6, 4, 6, 6)
        column.setSpacing(4)
        column.addLayout(row_of((self.saved, 1), self.skip))
        column.addWidget(self.question)
        column.addLayout(row_of((self.accept_next, 4), (self.accept, 3), (self.reject, 3)))
        column.addLayout(row_of((self.reopen, 1), (self.include, 1), (self.next, 1)))

    def set_colours(self, colours: Colours) -> None:
        """Follow the theme."""
        self.question.set_colours(colours)

    def show_case(self, case: OpenCase | None) -> None:
        """Show what can be done with another case."""
        self._case, self._saved_at = case, None
        self.question.hide()

    def show_status(self) -> None:
        """Follow the case's status."""
        case = self._case
        if case is None:
            return
        for one in (self.accept_next, self.accept, self.reject, self.skip):
            one.setVisible(case.editable)
        self.reopen.setVisible(case.case.status == "accepted")
        self.include.setVisible(case.case.status == "excluded")
        self.next.setVisible(not case.editable)

    def show_possible(self) -> None:
        """Enable what can be done now."""
        case = self._case
        if case is None:
            return
        if self.question.isVisible() and self._asked_of != self._state(case):
            self.question.cancel()
        free = case.editable and not self._session.busy
        self.accept_next.setEnabled(free)
        self.accept.setEnabled(free)
        self.reject.setEnabled(free and case.case.status in ("predicted", "draft"))
        self.reopen.setEnabled(not self._session.busy)
        self.include.setEnabled(not self._session.busy)
        self.show_next()
        self.show_saved()

    def show_next(self) -> None:
        """Say whether there is a next case."""
        there_is = self._session.following is not None and not self._session.busy
        self.next.setEnabled(there_is)
        self.skip.setEnabled(there_is)

    def show_saved(self) -> None:
        """Say whether the edits are on the disk."""
        case, now = self._case, time.monotonic()
        if case is None:
            return
        edits = case.edits
        changed = f"{counted(edits.voxels_changed, 'voxel')} changed"
        if self._session.busy:
            text = f"{self._session.busy.replace('_', ' ').capitalize()}…"
        elif edits.problem:
            text = f"⚠ Not saved: {edits.problem}"
        elif edits.dirty:
            text, self._saved_at = f"{changed} · saving…", now
        elif case.case.status == "accepted":
            text, self._saved_at = f"Accepted as version {case.case.mask_version}", None
        elif self._saved_at is not None:
            text = f"{changed} · saved {duration(now - self._saved_at)} ago"
        else:
            text = f"{changed} · saved" if edits.voxels_changed else "Nothing changed yet"
        if self.saved.text() != text:
            self.saved.setText(text)

    def _accept(self, then_next: bool) -> None:
        case = self._case
        if case is None or not self._ready():
            return
        if case.labels.any():
            self._session.accept(then_next=then_next)
        else:
            text = f"The labels of {case.name} are empty: accepted, they say that nothing of any class is in this scan."
            self._ask(case, text, "Accept them empty", lambda: self._session.accept(then_next=then_next))

    def _reject(self) -> None:
        case = self._case
        if case is None or not self._ready():
            return
        lost = []
        if case.edits.voxels_changed:
            lost.append(f"Your edits of {case.name}, {counted(case.edits.voxels_changed, 'voxel')}, will be gone.")
        if case.case.mask_version is not None:
            lost.append(f"Its mask, version {case.case.mask_version}, will no longer count; the file stays.")
        if lost:
            self._ask(case, " ".join(lost), "Reject it", lambda: self._session.reject())
        else:
            self._session.reject()

    def _skip(self) -> None:
        if self._ready():
            self._session.next_case()

    def _ask(self, case: OpenCase, text: str, yes: str, act: Callable[[], object]) -> None:
        """Ask first; the question is over once the case is not what it was."""
        self._asked_of = self._state(case)
        self.question.ask(text, yes, lambda: act() if self._ready() else None)

    @staticmethod
    def _state(case: OpenCase) -> object:
        return case, case.editable, case.edits.version  # its status becomes draft once edits are saved

    def _include(self) -> None:
        if self._case is not None:
            self._session.include([self._case.name])


def _two_lines(text: str, key: str, tip: str) -> QPushButton:
    """Return a button for the verdict, with its key below its name."""
    made = button(f"{text}\n{KEYS[key][-1]}", f"{tip} ({KEYS[key][-1]})")
    made.setAccessibleName(text)
    made.setMinimumWidth(10)
    made.setMinimumHeight(2 * made.fontMetrics().height() + 12)
    return made
