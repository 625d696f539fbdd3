"""The open pool as the window knows it: its cases, what is proposed, and what is done with many cases at once."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from psygnal import Signal

from napari_bcp.app.long_work import LongWork
from napari_bcp.app.training import Curves
from napari_bcp.app.wording import counted, natural_key
from napari_bcp.errors import BcpError, PoolError
from napari_bcp.events import Event
from napari_bcp.pool import Pool
from napari_bcp.pool.relocation import moved_scans
from napari_bcp.pool.runs import last_trained
from napari_bcp.review.waiting import WAITING, Stamp, accept_by_rule, is_above, rank, rejected_in, stamp

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from pathlib import Path

    from napari_bcp.app.background import Background
    from napari_bcp.app.telling import Telling
    from napari_bcp.pool import Case, RunRecord
    from napari_bcp.pool.export import Layout
    from napari_bcp.pool.store import Progress
    from napari_bcp.review.proposals import Proposal
    from napari_bcp.scans import ClassSpec

_TELL_EVERY_S: Final = 0.25  # of changes that nobody has made by hand
_RANK_EVERY_S: Final = 1.0
_SLICE_S: Final = 0.3  # of accepting many cases, after which others have their turn

_DOING: Final = {"exclude": "excluding", "include": "including", "reset": "resetting", "take_back": "taking back"}


@dataclass(frozen=True)
class Found:
    """A pool that was just opened, with what reading it takes time for."""

    pool: Pool
    cases: list[Case]
    rejected: set[Stamp]
    proposals: tuple[Proposal, ...]
    run: RunRecord | None
    curves: Curves


@dataclass(frozen=True)
class Records:
    """What a pool has of some of its cases at one moment, from `read_records`; of two, that of the greater revision is
    the newer one, whichever comes first."""

    pool: Pool
    cases: list[Case]
    classes: tuple[ClassSpec, ...]
    revision: int


class Cohort:
    """The cases of one pool at a time. Lives on the window's thread."""

    cases_changed = Signal(frozenset)
    """These cases, or all with an empty set, or the proposals are other ones."""

    def __init__(self, background: Background, telling: Telling) -> None:
        self.pool: Pool | None = None
        self.classes: tuple[ClassSpec, ...] = ()
        self.cases: dict[str, Case] = {}
        self._revisions: dict[str, int] = {}  # of the pool when what is known of a case was read
        self._revision = 0  # and when what is known of the classes was
        self.proposals: tuple[Proposal, ...] = ()
        self._background, self._telling = background, telling
        self._rejected: set[Stamp] = set()
        self._passed: set[Stamp] = set()  # without a verdict, in this round
        self._long, self._kept_open = LongWork(background, telling), threading.Lock()
        self._changed: set[str] = set()  # told of soon
        self._told_at = self._ranked_at = 0.0
        self._rank_due = self._ranking = False

    def take(self, found: Found) -> None:
        """Take over a pool that was opened; whoever calls tells of it."""
        self.pool, self.classes = found.pool, found.pool.classes
        self.cases = {case.name: case for case in found.cases}
        self._rejected, self.proposals = found.rejected, found.proposals

    def let_go(self) -> Callable[[], None]:
        """Forget the pool, and return what closes it, on any thread, once nothing is taken into it any more."""
        pool, self.pool = self.pool, None
        self.classes, self.proposals = (), ()
        self.cases.clear()
        self._revisions.clear()
        self._revision = 0
        self._rejected.clear()
        self._passed.clear()
        self._changed.clear()
        self._rank_due = False

        def close() -> None:
            if pool is not None:
                with self._kept_open:
                    pool.close()

        return close

    def pump(self) -> None:
        """Tell of what has changed, and rank, where that is due."""
        now = time.monotonic()
        if self._changed and now - self._told_at > _TELL_EVERY_S:
            self._tell_changed()
        if self._rank_due and not self._ranking and now - self._ranked_at > _RANK_EVERY_S:
            self._rank()

    # -- changes ----------------------------------------------------------------------------------------------

    def take_records(self, found: Records, soon: bool = False) -> None:
        """Take over what the pool has of some cases, where nothing newer is known, and tell of it, at once or soon."""
        if found.pool is not self.pool:
            return
        for case in found.cases:
            if found.revision >= self._revisions.get(case.name, 0):
                self.cases[case.name], self._revisions[case.name] = case, found.revision
        if found.revision >= self._revision:
            self.classes, self._revision = found.classes, found.revision
        self._changed.update(case.name for case in found.cases)
        self._rank_due = True
        if not soon:
            self._tell_changed()

    def reload(self) -> None:
        """Take over all cases anew: some have joined."""
        pool = self.pool
        if pool is None:
            return

        def take(found: Records) -> None:
            if pool is self.pool:
                self.take_records(found, soon=True)
                self.cases = {case.name: self.cases[case.name] for case in found.cases}
                self._changed.clear()
                self.cases_changed.emit(frozenset())

        self._background.run("pool", lambda: read_records(pool, None), take, self._telling.failed("cases"))

    def _tell_changed(self) -> None:
        changed, self._changed = frozenset(self._changed), set()
        self._told_at = time.monotonic()
        if changed:
            self.cases_changed.emit(changed)

    # -- proposals --------------------------------------------------------------------------------------------

    def following(self, here: str) -> Proposal | None:
        """Return the proposal that comes after the case that is `here`: the first, but those turned down come last.

        What was passed over comes again once everything else was; a newer map makes a case a new one.
        """
        first: dict[tuple[bool, bool], Proposal] = {}
        for one in self.proposals:
            if one.name != here and self._waits(one.name):
                map_now = stamp(self.cases[one.name])
                how = map_now in self._rejected, map_now in self._passed
                if not any(how):
                    return one
                first.setdefault(how, one)
        return first[min(first)] if first else None

    def pass_over(self, here: str) -> None:
        """Note that the reader goes on from a case without a verdict; once that is so of all, it begins again."""
        if self._waits(here):
            self._passed.add(stamp(self.cases[here]))
        following = self.following(here)
        if following is not None and stamp(self.cases[following.name]) in self._passed:
            self._passed.clear()

    def _waits(self, name: str) -> bool:
        """Return whether a case still waits for a verdict: the proposals may be older than what was done since."""
        case = self.cases.get(name)
        return case is not None and case.status in WAITING

    def rank_now(self) -> None:
        """Rank at the next occasion, however short ago that was done."""
        self._rank_due, self._ranked_at = True, 0.0

    def reject(self, case: Case) -> None:
        """Note that the reader has turned this case's map down."""
        self._rejected.add(stamp(case))

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

        self._background.run("read", lambda: rank(cases, classes, rejected), ranked, failed)

    # -- more scans, moved ones, and copies of masks -----------------------------------------------------------

    def extend(self, images: Path, labels: Path | None) -> None:
        """Add scans to the pool, and masks to cases that have none."""
        pool = self.pool
        if pool is None:
            return

        def work(report: Progress) -> tuple[list[str], tuple[str, ...]]:
            with self._kept_open:
                report(0, 0, "")  # it may have been closed before
                return pool.extend(images, labels, report), pool.notes

        def extended(found: tuple[list[str], tuple[str, ...]]) -> None:
            names, notes = found
            if pool is self.pool:
                self._tell_with(f"{counted(len(names), 'case')} joined the pool.", notes)
                self.reload()

        self._long.run("intake", "reading scans", work, extended, "cases", wanted=lambda: pool is self.pool)

    def find_moved(self, folder: Path) -> None:
        """Look in a folder for the scans that are not where they were, and go on with those that are found."""
        pool = self.pool
        if pool is None:
            return

        def work(report: Progress) -> tuple[int, list[str]]:
            with self._kept_open:
                report(0, 0, "")
                return _find_moved(pool, folder, report)

        def ended(found: tuple[int, list[str]]) -> None:
            moved, notes = found
            if pool is self.pool:
                text = f"{counted(moved, 'scan')} found in {folder}." if moved else ""
                self._tell_with(text or ("" if notes else "Every scan is where it was."), notes)
                self.reload()

        self._long.run("intake", "looking for scans", work, ended, "cases", wanted=lambda: pool is self.pool)

    def export(self, dest: Path, layout: Layout, replace: bool) -> None:
        """Write the pool's masks and pseudo-labels to a folder for other programs, beside all other work."""
        pool = self.pool
        if pool is None:
            return

        def work(report: Progress) -> dict[str, int]:
            with Pool.open(pool.root) as own:  # which stays open when the window turns to another
                return own.export(dest, layout, report, replace=replace)

        def exported(counts: dict[str, int]) -> None:
            text = ", ".join(
                counted(counts[sort], what)
                for sort, what in (("accepted", "accepted mask"), ("pseudo", "pseudo-label"), ("scans", "scan"))
                if counts[sort] or sort == "accepted"
            )
            self._telling.tell("info", f"{dest} has {text}; cases.csv lists them.", "cases")

        self._long.run("export", "exporting", work, exported, "cases")

    def change_classes(self, specs: Sequence[ClassSpec], then: Callable[[], object]) -> None:
        """Name classes or add some, and do what comes `then`, also where that was refused."""
        pool = self.pool
        if pool is None:
            return

        def changed(found: tuple[Records, tuple[str, ...]]) -> None:
            if pool is self.pool:
                records, notes = found
                self.take_records(records)
                self.rank_now()
                self.cases_changed.emit(frozenset())
                if notes:
                    self._tell_with("", notes)
                then()

        def work() -> tuple[Records, tuple[str, ...]]:
            pool.change_classes(specs)
            notes = pool.notes
            return read_records(pool, ()), notes

        self._background.run("pool", work, changed, self._telling.failed("cases", then))

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
        pool, problems, done = self.pool, list[BcpError](), list[str]()
        if pool is None:
            return

        def do(name: str) -> None:
            try:
                getattr(pool, action)(name)
                done.append(name)
            except BcpError as error:  # the others may well be
                problems.append(error)

        def did() -> None:
            told, done[:] = list(done), []  # nothing comes to it meanwhile: the next slice has not begun
            then(told)

        def ended() -> None:
            self.rank_now()
            if problems:
                self._telling.failed("cases")(problems[0])

        self._in_slices(pool, names, _DOING[action], do, did, ended)

    def above(self, quality: float, but: Collection[str]) -> list[Case]:
        """Return the predicted cases, `but` for some, of which every class has at least this expected quality."""
        return [case for case in self.cases.values() if case.name not in but and is_above(case, quality)]

    def accept_above(self, quality: float, looked_at: Callable[[], Collection[str]]) -> list[str]:
        """Accept the pseudo-labels of these cases by the rule; returns their names.

        looked_at : returns the cases that a reader looks at by now, on any thread: she judges them, not the rule
        """
        pool, names, refused = self.pool, [case.name for case in self.above(quality, looked_at())], list[str]()
        if pool is None or not names:
            return []

        def do(name: str) -> None:
            if name in looked_at():
                refused.append(f"{name} is open: what you look at is yours to judge.")
                return
            try:
                accept_by_rule(pool, name, quality)
            except BcpError as error:  # the others may well be
                refused.append(str(error))

        def ended() -> None:
            if refused:
                text = f"{len(names) - len(refused):,} accepted, {len(refused):,} not:"
                self._telling.tell("warning", "\n".join([text, *refused]), "cases")

        self._telling.show_progress("accepting", 0, len(names))
        self._in_slices(pool, names, "accepting", do, bool, ended)
        return names

    def _in_slices(
        self,
        pool: Pool,
        names: Sequence[str],
        task: str,
        do: Callable[[str], object],
        did: Callable[[], object],
        ended: Callable[[], object],
    ) -> None:
        """Do something with many cases of the pool, with progress as `task` where that takes long.

        do : on the pool's lane, case by case; what else is done with the pool comes in between
        did, ended : on the window's thread, after each slice, once what the pool has of its cases is known, and after
            the last; by then a change of all of `names` has been told of
        """
        waiting = deque(names)

        def work() -> Records:
            begun, tried = time.monotonic(), list[str]()
            while waiting and not self._background.closing and (not tried or time.monotonic() - begun < _SLICE_S):
                tried.append(waiting.popleft())
                do(tried[-1])
            return read_records(pool, tried)

        def sliced(found: Records) -> None:
            if pool is not self.pool:
                self._telling.end_progress(task)
                return
            self.take_records(found, soon=True)
            did()
            if waiting:
                self._telling.show_progress(task, len(names) - len(waiting), len(names))
                go_on()
                return
            self._telling.end_progress(task)
            self._changed.update(names)
            self._tell_changed()
            ended()

        def go_on() -> None:
            self._background.run("pool", work, sliced, self._telling.failed("cases", task=task))

        go_on()


def read_records(pool: Pool, names: Sequence[str] | None) -> Records:
    """Read what a pool has of these cases now, of all without names; on any thread."""
    while True:
        revision = pool.revision
        cases = pool.cases() if names is None else [pool.case(name) for name in names]
        found = Records(pool, cases, pool.classes, revision)
        if pool.revision == revision:  # else something was changed in between, and this is of no one moment
            return found


def _find_moved(pool: Pool, folder: Path, report: Progress) -> tuple[int, list[str]]:
    """Record where below `folder` the scans are now that are not where they were; return how many, and notes.

    Everything is looked for before anything is recorded, so that it can be cancelled until then.
    """
    cases = pool.cases()
    away = []
    for done, case in enumerate(cases):
        report(done, len(cases), case.name)
        if not case.path.is_file():
            away.append(case)
    found: list[Path] = []
    seen, moved, notes = set[str](), 0, list[str]()
    for before in sorted({case.path.parent for case in away}):
        if all(case.name in seen for case in away if before in case.path.parents):
            continue  # found already, together with those of a folder above
        report(len(cases), len(cases), "")
        try:
            seen.update(moved_scans(away, before, folder.resolve())[0])
            found.append(before)
        except PoolError as error:  # those of another folder may well be there
            notes.append(str(error))
    for before in found:
        try:
            moved += pool.relocate(before, folder, only_away=True)
            notes += pool.notes
        except PoolError as error:
            notes.append(str(error))
    return moved, notes


def read_pool(pool: Pool) -> Found:
    """Read what the window shows of a pool. Closes it where that fails."""
    try:
        with _short_turns():
            cases = sorted(pool.cases(), key=lambda case: natural_key(case.name))  # the list's order: long to find
            rejected, run = rejected_in(pool.history()), last_trained(pool)
            proposals = tuple(rank(cases, pool.classes, rejected))
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
