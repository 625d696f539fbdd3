"""The case that a reader has in hand: one thing at a time is done with it, and its edits are saved as they are made."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from psygnal import Signal

from napari_bcp.app.cohort import read_records
from napari_bcp.app.slide import BorderSlide
from napari_bcp.review.waiting import WAITING

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_bcp.app.background import Background
    from napari_bcp.app.cohort import Cohort, Records
    from napari_bcp.app.edits import Change, Edits
    from napari_bcp.app.opened import OpenCase
    from napari_bcp.app.telling import Telling
    from napari_bcp.pool import Pool

_SAVE_EVERY_S: Final = 0.5


class CaseInHand:
    """Edits, verdicts and saving of the open case. Lives on the window's thread."""

    busy_changed = Signal()

    def __init__(self, cohort: Cohort, background: Background, telling: Telling) -> None:
        self.case: OpenCase | None = None
        self.busy = ""
        """What is being done with it, as a word; its labels should not be edited meanwhile."""
        self.slide = BorderSlide(background, telling.failed("review"), self.busy_changed.emit)
        self._cohort, self._background, self._telling = cohort, background, telling
        self._saving, self._saved_at, self._told_problem = False, 0.0, ""
        self._writing: list[str] = []  # cases that were left, while their journals are written anew

    def take(self, case: OpenCase | None, written: Callable[[], object]) -> None:
        """Take another case in hand, or none; `written` once the journal of the former one is written anew."""
        former, self.case, self._told_problem = self.case, case, ""
        self.slide.forget()
        if former is None or former is case:
            return
        name = former.name

        def done(_: None) -> None:
            self._writing.remove(name)
            written()

        self._writing.append(name)
        self._background.run("save", former.edits.compact, done)

    def is_written(self, name: str) -> bool:
        """Whether the journal of a case that was left is written just now."""
        return name in self._writing

    def once_written(self, name: str, then: Callable[[], None]) -> None:
        """Go on when the journal of a case that was left is written: it must not be read while it is replaced."""
        if self.is_written(name):
            self._background.run("save", _nothing, lambda _: then())
        else:
            then()

    def confirm(self) -> None:
        """Look what the pool has of the case that was taken in hand: what it was read as may be of long ago."""
        case, pool = self.case, self._cohort.pool
        if case is None or pool is None:
            return
        # killed after the draft was begun and before it was told of
        begin = bool(case.restored) and case.case.status != "draft"

        def look() -> Records:
            if begin:
                pool.begin_draft(case.name)
            return read_records(pool, [case.name])

        def looked(found: Records) -> None:
            if found.cases[0] != self._cohort.cases.get(case.name):
                self._cohort.take_records(found)

        self._background.run("pool" if begin else "open", look, looked)

    def to_edit(self) -> OpenCase | None:
        """Return the case if its labels may be changed now."""
        case = self.case
        return case if case is not None and case.editable and not self.busy else None

    def edit(self, operation: str, arguments: tuple[object, ...]) -> None:
        """Do one of the case's operations (a name of a method of `OpenCase`) as one edit."""
        case = self.to_edit()
        if case is None:
            return
        case.edits.settle()
        name, work, prepare = operation.replace("_", " "), getattr(case, operation), case.edits.prepare

        def done(change: Change) -> None:
            self._set_busy("")
            if case is self.case and case.edits.take(change) is None:
                self._telling.tell("info", f"{name.capitalize()}: there is nothing to change.", "review")

        self._set_busy(operation)
        self._background.run(
            "edit",
            lambda: prepare(name, lambda labels: work(labels, *arguments)),
            done,
            self._telling.failed("review", self._not_busy),
        )

    def accept(self, then: Callable[[OpenCase], object]) -> None:
        """Make the labels on screen the mask of the case."""

        def judge(case: OpenCase, pool: Pool) -> None:
            pool.accept(case.name, case.mask(), details=case.effort(), draft_is_done=case.edits.has_draft)
            case.edits.discard()

        self.slide.when_still(lambda: self._judge("accepting", self.to_edit(), judge, then))

    def reject(self, then: Callable[[OpenCase], object]) -> None:
        """Drop proposal and edits of the case, and the mask that was in force."""

        def judge(case: OpenCase, pool: Pool) -> None:
            pool.reject(case.name, draft_is_done=case.edits.has_draft)
            case.edits.discard()

        self.slide.when_still(lambda: self._judge("rejecting", self.to_edit(), judge, then))

    def reopen(self) -> None:
        """Make a draft of the accepted mask that is on screen."""
        case = self.case
        if case is None or case.case.status != "accepted" or self.busy:
            return
        if case.edits.dirty:  # painted before the mask came, and to be saved as a draft: a new one would drop it
            text = f"{case.name} has edits that are not saved yet; wait until they are, they make it a draft again."
            self._telling.tell("warning", text, "review")
        else:
            self._judge("reopening", case, lambda case, pool: pool.reopen(case.name), lambda _: None)

    def take_newer(self) -> None:
        """Begin with the pseudo-label of a map that came while the reader looked."""
        case = self.to_edit()
        if case is not None:
            case.take_newer()

    def _judge(
        self,
        what: str,
        case: OpenCase | None,
        judge: Callable[[OpenCase, Pool], object],
        then: Callable[[OpenCase], object],
    ) -> None:
        """Change a case's status in the pool, as `judge` does; nothing is lost if that fails.

        What is on screen is what the next edit begins from.
        """
        pool = self._cohort.pool
        if case is None or pool is None:
            return
        case.edits.settle()
        case.edits.touch()

        def work() -> tuple[Records, Edits]:
            judge(case, pool)
            return read_records(pool, [case.name]), case.fresh_edits()

        def done(found: tuple[Records, Edits]) -> None:
            records, edits = found
            self._set_busy("")
            if pool is not self._cohort.pool:
                return
            case.begin_anew(records.cases[0], edits)
            self._cohort.rank_now()
            self._cohort.take_records(records)
            then(case)

        self._set_busy(what)
        self._background.run("pool", work, done, self._telling.failed("review", self._not_busy))

    def save_soon(self) -> None:
        """Have the newest edits written; at most two a second, and never two at a time."""
        case, pool, now = self.case, self._cohort.pool, time.monotonic()
        due = case is not None and case.edits.dirty and now - self._saved_at >= _SAVE_EVERY_S
        if case is None or pool is None or not due or self._saving or self.busy in ("accepting", "rejecting"):
            return
        self._saved_at, self._saving = now, True
        edits = case.edits

        def saved(found: Records | None) -> None:
            self._saving = False
            if edits.problem and edits.problem != self._told_problem:
                self._telling.tell("error", edits.problem, "review")
            self._told_problem = edits.problem or ""
            if found is not None:
                self._cohort.take_records(found)

        def failed(error: Exception) -> None:
            self._saving = False
            self._telling.unexpected(error)

        self._background.run("save", lambda: _save(pool, case), saved, failed)

    def leave(self, then: Callable[[], None], refused: Callable[[], None]) -> None:
        """Save the case and do what comes `then`; stay, and say why, if it cannot be saved."""
        case, pool = self.case, self._cohort.pool
        if case is None or pool is None:
            then()
            return
        if self.slide.moving:
            self.slide.when_still(lambda: self.leave(then, refused))
            return
        if self.busy:
            self._telling.tell("info", f"Wait until {self.busy.replace('_', ' ')} is done.", "review")
            return
        case.edits.settle()
        if not case.edits.dirty:
            then()
            return

        def saved(found: Records | None) -> None:
            if case.edits.problem:
                refused()
                self._telling.tell("error", f"{case.name} stays open: {case.edits.problem}", "review")
                return
            if found is not None:
                self._cohort.take_records(found, soon=True)
            then()

        self._background.run("save", lambda: _save(pool, case), saved)

    def _set_busy(self, what: str) -> None:
        if what != self.busy:
            self.busy = what
            self.busy_changed.emit()

    def _not_busy(self) -> None:
        self._set_busy("")


def _save(pool: Pool, case: OpenCase) -> Records | None:
    """Save a case's edits; return its record if they have made it a draft."""
    case.edits.save()
    if case.case.status == "draft" or case.edits.problem:
        return None
    if case.edits.has_draft and pool.case(case.name).status in WAITING:  # left out and included again since it began
        pool.begin_draft(case.name)
    return read_records(pool, [case.name])


def _nothing() -> None:
    return None
