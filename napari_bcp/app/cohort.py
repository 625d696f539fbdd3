"""The open pool as the window knows it: its cases, what is proposed, and what is done with many cases at once."""

from __future__ import annotations

import sys
import time
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from psygnal import Signal

from napari_bcp.app.training import Curves
from napari_bcp.app.wording import counted, natural_key
from napari_bcp.errors import BcpError, PoolError
from napari_bcp.events import Event
from napari_bcp.metrics.confidence import lowest
from napari_bcp.pool.runs import last_trained
from napari_bcp.review.proposals import BalancedUncertainty, Candidate

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from pathlib import Path

    from napari_bcp.app.background import Background
    from napari_bcp.app.telling import Telling
    from napari_bcp.pool import Case, Pool, RunRecord
    from napari_bcp.review.proposals import Proposal, Ranking
    from napari_bcp.scans import ClassSpec

WAITING: Final = ("unlabelled", "predicted")
"""Statuses of cases that are proposed."""

_TELL_EVERY_S: Final = 0.25  # of changes that nobody has made by hand
_RANK_EVERY_S: Final = 1.0
_SLICE_S: Final = 0.3  # of accepting many cases, after which others have their turn
_ROUND: Final = 5  # masks accepted by hand until the ranking is a little surer of itself

_Stamp = tuple[str, str | None, int | None]  # a case, and run and step of its map


@dataclass(frozen=True)
class Found:
    """A pool that was just opened, with what reading it takes time for."""

    pool: Pool
    cases: list[Case]
    rejected: set[_Stamp]
    proposals: tuple[Proposal, ...]
    run: RunRecord | None
    curves: Curves


@dataclass(frozen=True)
class Records:
    """What a pool has of some of its cases now, from `read_records`."""

    pool: Pool
    cases: list[Case]
    classes: tuple[ClassSpec, ...]


class Cohort:
    """The cases of one pool at a time. Lives on the window's thread."""

    cases_changed = Signal(frozenset)
    """These cases, or all with an empty set, or the proposals are other ones."""

    def __init__(self, background: Background, telling: Telling) -> None:
        self.pool: Pool | None = None
        self.classes: tuple[ClassSpec, ...] = ()
        self.cases: dict[str, Case] = {}
        self.proposals: tuple[Proposal, ...] = ()
        self._background, self._telling = background, telling
        self._rejected: set[_Stamp] = set()
        self._changed: set[str] = set()  # told of soon
        self._told_at = self._ranked_at = 0.0
        self._rank_due = self._ranking = False

    def take(self, found: Found) -> None:
        """Take over a pool that was opened; whoever calls tells of it."""
        self.pool, self.classes = found.pool, found.pool.classes
        self.cases = {case.name: case for case in found.cases}
        self._rejected, self.proposals = found.rejected, found.proposals

    def let_go(self) -> Pool | None:
        """Forget the pool, and return it for whoever closes it."""
        pool, self.pool = self.pool, None
        self.classes, self.proposals = (), ()
        self.cases.clear()
        self._rejected.clear()
        self._changed.clear()
        self._rank_due = False
        return pool

    def pump(self) -> None:
        """Tell of what has changed, and rank, where that is due."""
        now = time.monotonic()
        if self._changed and now - self._told_at > _TELL_EVERY_S:
            self._tell_changed()
        if self._rank_due and not self._ranking and now - self._ranked_at > _RANK_EVERY_S:
            self._rank()

    # -- changes ----------------------------------------------------------------------------------------------

    def take_records(self, found: Records, soon: bool = False) -> None:
        """Take over what the pool has of some cases now, and tell of it, at once or soon."""
        if found.pool is not self.pool:
            return
        self.cases.update((case.name, case) for case in found.cases)
        self.classes = found.classes
        self._changed.update(case.name for case in found.cases)
        self._rank_due = True
        if not soon:
            self._tell_changed()

    def reload(self) -> None:
        """Take over all cases anew: some have joined."""
        pool = self.pool
        if pool is None:
            return

        def take(cases: list[Case]) -> None:
            if pool is self.pool:
                self.cases = {case.name: case for case in cases}
                self.classes = pool.classes
                self._rank_due = True
                self.cases_changed.emit(frozenset())

        self._background.run("pool", pool.cases, take, self._telling.failed("cases"))

    def _tell_changed(self) -> None:
        changed, self._changed = frozenset(self._changed), set()
        self._told_at = time.monotonic()
        if changed:
            self.cases_changed.emit(changed)

    # -- proposals --------------------------------------------------------------------------------------------

    def next_name(self, here: str) -> str | None:
        """Return the case that is proposed first, but for the one that is `here`."""
        waiting = [one.name for one in self.proposals if one.name != here and self._waits(one.name)]
        fresh = (name for name in waiting if _stamp(self.cases[name]) not in self._rejected)
        return next(fresh, next(iter(waiting), None))

    def _waits(self, name: str) -> bool:
        """Return whether a case still waits for a verdict: the proposals may be older than what was done since."""
        case = self.cases.get(name)
        return case is not None and case.status in WAITING

    def rank_now(self) -> None:
        """Rank at the next occasion, however short ago that was done."""
        self._rank_due, self._ranked_at = True, 0.0

    def reject(self, case: Case) -> None:
        """Note that the reader has turned this case's map down."""
        self._rejected.add(_stamp(case))

    def _rank(self) -> None:
        pool = self.pool
        self._rank_due, self._ranked_at = False, time.monotonic()
        if pool is None:
            return
        cases, classes, rejected = list(self.cases.values()), self.classes, frozenset(self._rejected)
        self._ranking = True

        def ranked(proposals: list[Proposal]) -> None:
            self._ranking = False
            if pool is self.pool and tuple(proposals) != self.proposals:
                self.proposals = tuple(proposals)
                changed = frozenset(self._changed) or frozenset(one.name for one in self.proposals[:1])
                self._changed.clear()
                self.cases_changed.emit(changed)

        def failed(error: Exception) -> None:
            self._ranking = False
            self._telling.failed("cases")(error)

        self._background.run("read", lambda: _rank(cases, classes, rejected), ranked, failed)

    # -- more scans, and moved ones ---------------------------------------------------------------------------

    def extend(self, images: Path, labels: Path | None, report: Callable[[int, int, str], None]) -> None:
        """Add scans to the pool, and masks to cases that have none; `report` is called beside the window."""
        pool = self.pool
        if pool is None:
            return

        def extended(names: list[str]) -> None:
            self._telling.end_progress("reading scans")
            if pool is self.pool:
                self._tell_with(f"{counted(len(names), 'case')} joined the pool.", pool.notes)
                self.reload()

        self._telling.show_progress("reading scans")
        self._background.run(
            "pool",
            lambda: pool.extend(images, labels, report),
            extended,
            self._telling.failed("cases", task="reading scans"),
        )

    def find_moved(self, folder: Path) -> None:
        """Look in a folder for the scans that are not where they were, and go on with those that are found."""
        pool = self.pool
        if pool is None:
            return

        def work() -> tuple[int, list[str]]:
            moved, notes = 0, list[str]()
            for before in sorted({case.path.parent for case in pool.cases() if not case.path.is_file()}):
                if not any(before in case.path.parents for case in pool.cases() if not case.path.is_file()):
                    continue  # found already, together with those of a folder above
                try:
                    moved += pool.relocate(before, folder, only_away=True)
                    notes += pool.notes
                except PoolError as error:  # those of another folder may well be there
                    notes.append(str(error))
            return moved, notes

        def ended(found: tuple[int, list[str]]) -> None:
            self._telling.end_progress("looking for scans")
            moved, notes = found
            if pool is self.pool:
                text = f"{counted(moved, 'scan')} found in {folder}." if moved else ""
                self._tell_with(text or ("" if notes else "Every scan is where it was."), notes)
                self.reload()

        self._telling.show_progress("looking for scans")
        self._background.run("pool", work, ended, self._telling.failed("cases", task="looking for scans"))

    def _tell_with(self, text: str, notes: Sequence[str]) -> None:
        self._telling.tell("warning" if notes else "info", "\n".join(filter(None, [text, *notes])), "cases")

    # -- many cases -------------------------------------------------------------------------------------------

    def change(
        self,
        names: Sequence[str],
        action: Literal["exclude", "include", "reset", "take_back"],
        then: Callable[[Sequence[str]], object] = bool,
    ) -> None:
        """Do one of the pool's actions with each of these cases, and `then` what follows for those where it was."""
        pool, names = self.pool, tuple(names)
        if pool is None:
            return

        def work() -> tuple[Records, list[str], BcpError | None]:
            done, problem = [], None
            for name in names:
                try:
                    getattr(pool, action)(name)
                    done.append(name)
                except BcpError as error:  # the others may well be
                    problem = problem or error
            return read_records(pool, names), done, problem

        def ended(found: tuple[Records, list[str], BcpError | None]) -> None:
            records, done, problem = found
            self.take_records(records)
            self.rank_now()
            if problem is not None:
                self._telling.failed("cases")(problem)
            if pool is self.pool:
                then(done)

        self._background.run("pool", work, ended, self._telling.failed("cases"))

    def above(self, quality: float) -> list[Case]:
        """Return the predicted cases of which every class has at least this expected quality."""
        return [case for case in self.cases.values() if _is_above(case, quality)]

    def accept_above(self, quality: float) -> list[str]:
        """Accept the pseudo-labels of these cases by the rule; returns their names."""
        pool, names = self.pool, [case.name for case in self.above(quality)]
        if pool is None or not names:
            return []

        waiting, refused = deque(names), list[str]()

        def work() -> Records | None:
            begun = time.monotonic()
            while waiting and time.monotonic() - begun < _SLICE_S and not self._background.closing:
                try:
                    case = pool.case(waiting.popleft())  # it may have a newer map since
                    if case.map is None or not _is_above(case, quality):
                        refused.append(f"{case.name} is no proposal any more, or has a newer map of less quality.")
                        continue
                    facts = {"quality_from": quality, "run": case.map.run, "step": case.map.step}
                    pool.accept(case.name, case.map.pseudo_path, by="rule", details=facts)
                except BcpError as error:
                    refused.append(str(error))
            return None if waiting else read_records(pool, names)

        def ended(records: Records | None) -> None:
            if records is None and pool is self.pool:  # what else is done with the pool comes in between
                go_on()
                return
            self._telling.end_progress("accepting")
            if records is not None:
                self.take_records(records)
            if refused:
                text = f"{len(names) - len(refused):,} accepted, {len(refused):,} not:"
                self._telling.tell("warning", "\n".join([text, *refused]), "cases")

        def go_on() -> None:
            self._telling.show_progress("accepting", len(names) - len(waiting), len(names))
            self._background.run("pool", work, ended, self._telling.failed("cases", task="accepting"))

        go_on()
        return names


def read_records(pool: Pool, names: Iterable[str]) -> Records:
    """Read what a pool has of these cases now; on any thread."""
    return Records(pool, [pool.case(name) for name in names], pool.classes)


def read_pool(pool: Pool) -> Found:
    """Read what the window shows of a pool. Closes it where that fails."""
    try:
        with _short_turns():
            cases = sorted(pool.cases(), key=lambda case: natural_key(case.name))  # the list's order: long to find
            rejected, run = _rejected_in(pool), last_trained(pool)
            proposals = tuple(_rank(cases, pool.classes, rejected))
            return Found(pool, cases, rejected, proposals, run, Curves() if run is None else read_curves(run.path))
    except BaseException:
        pool.close()
        raise


@contextmanager
def _short_turns() -> Iterator[None]:
    """Let Python's threads take turns ten times as often while it lasts.

    Qt gives its turn away at every call. Beside a thread that has nothing but Python to do, the window would wait 5 ms
    for it each time: up to 0.3 s in all while 10,000 cases are read.
    """
    usual = sys.getswitchinterval()
    sys.setswitchinterval(usual / 10)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)


def read_curves(folder: Path) -> Curves:
    """Return the curves of a run from its log; lines that cannot be read are passed over."""
    from pydantic import TypeAdapter, ValidationError

    events: TypeAdapter[Any] = TypeAdapter(Event)
    curves = Curves()
    try:
        with (folder / "log.jsonl").open("rb") as file:
            for line in file:
                if b'"step"' in line:
                    try:
                        curves.add(events.validate_json(line))
                    except ValidationError:
                        continue
    except OSError:
        pass
    return curves


def _is_above(case: Case, quality: float) -> bool:
    """Return whether every class of a predicted case was found, with this expected quality or more."""
    found = case.map.quality if case.status == "predicted" and case.map is not None else {}
    worst = None if None in found.values() else lowest(found)
    return worst is not None and worst >= quality


def _rejected_in(pool: Pool) -> set[_Stamp]:
    return {
        (event.case, event.details.get("run"), event.details.get("step"))
        for event in pool.history()
        if event.what == "rejected" and event.case is not None
    }


def _stamp(case: Case) -> _Stamp:
    return (case.name, None, None) if case.map is None else (case.name, case.map.run, case.map.step)


def _rank(cases: Sequence[Case], classes: Sequence[ClassSpec], rejected: Collection[_Stamp]) -> list[Proposal]:
    """Propose the cases that wait; on any thread."""
    by_hand = sum(case.mask_by == "person" for case in cases if case.status == "accepted")
    round_ = by_hand // _ROUND
    ranking: Ranking = BalancedUncertainty({one.value: one.name for one in classes})
    rng = np.random.default_rng([1, round_])  # so that the order stays while nobody accepts anything
    waiting = [Candidate.of(case, _stamp(case) in rejected) for case in cases if case.status in WAITING]
    return ranking.rank(waiting, round_, rng)
