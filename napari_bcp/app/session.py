"""The one model behind the panels: the pool, its cases, the open case, the training. Nothing here knows Qt.

Whatever takes longer than a blink runs beside the window (`background`) or in the child process (`coach`), and
comes back in `pump`, which the window calls all the time. All signals are sent on that thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from psygnal import Signal

from napari_bcp.app.ahead import Ahead
from napari_bcp.app.background import Background
from napari_bcp.app.coach import Coach
from napari_bcp.app.cohort import Cohort, read_pool, read_records
from napari_bcp.app.in_hand import CaseInHand
from napari_bcp.app.long_work import LongWork
from napari_bcp.app.opened import OpenCase, load_again, load_twice, read_newer
from napari_bcp.app.telling import Message, Progress, Telling
from napari_bcp.app.training import Trainer, TrainingState
from napari_bcp.app.wording import STROKE_GOES_ON
from napari_bcp.pool import Pool
from napari_bcp.pool.intake import require_classes
from napari_bcp.pool.sample import open_sample
from napari_bcp.review.report import make_report

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from napari_bcp.app.cohort import Found, Records
    from napari_bcp.app.edits import Change
    from napari_bcp.pool import Case
    from napari_bcp.pool.export import Layout
    from napari_bcp.pool.store import Progress as Reported
    from napari_bcp.review.proposals import Proposal
    from napari_bcp.review.report import ReportData
    from napari_bcp.scans import ClassSpec
    from napari_bcp.scans.maps import MapFile
    from napari_bcp.worker.messages import Report

__all__ = ["Message", "Progress", "Session", "TrainingState"]

T = TypeVar("T")


class Session:
    """What the panels show and ask for. Methods return at once; what they lead to is told by the signals."""

    pool_changed = Signal()
    """Another pool is open, or none."""
    case_loading = Signal(str)
    case_opened = Signal()
    """`current` is another case, or none."""
    map_changed = Signal(str)
    """The open case of that name has a newer map."""

    def __init__(self, make_trainer: Callable[[Callable[[Report], None]], Trainer] = Trainer) -> None:
        self.painting: Callable[[], bool] = bool
        """Whether a stroke goes on; the canvas says so."""
        self._telling = Telling()
        self._background = Background(self._telling.unexpected)
        self._cohort = Cohort(self._background, self._telling)
        self._coach = Coach(self._cohort, self._background, self._telling, make_trainer)
        self._in_hand = CaseInHand(self._cohort, self._background, self._telling)
        self.busy_changed = self._in_hand.busy_changed
        self.told, self.progress_changed = self._telling.told, self._telling.progress_changed
        self.cases_changed, self.training_changed = self._cohort.cases_changed, self._coach.training_changed
        self._long = LongWork(self._background, self._telling)
        self._opening = ""  # what is done while a pool is being opened
        self._closing: Future[None] | None = None  # of the pool that was left last
        self._asked_for = ""  # the case that is being read for the screen
        self._stroke_told = False  # whether the reader knows that a stroke holds up what she asked for
        self._ahead = Ahead(self._background, self._read_ahead)
        self._cohort.cases_changed.connect(self._follow_cases)
        self._coach.map_made.connect(self._take_map)

    # -- what there is ----------------------------------------------------------------------------------------

    @property
    def pool(self) -> Pool | None:
        """The open pool, or None."""
        return self._cohort.pool

    @property
    def classes(self) -> tuple[ClassSpec, ...]:
        """The classes of its masks, by value."""
        return self._cohort.classes

    @property
    def cases(self) -> list[Case]:
        """All its cases, by name."""
        return list(self._cohort.cases.values())

    @property
    def proposals(self) -> tuple[Proposal, ...]:
        """The cases to look at, in order, with the reasons."""
        return self._cohort.proposals

    @property
    def following(self) -> Proposal | None:
        """The proposal that `next_case` opens, or None."""
        return self._cohort.following(self._here())

    @property
    def current(self) -> OpenCase | None:
        """The open case, or None."""
        return self._in_hand.case

    @property
    def busy(self) -> str:
        """What is being done with the open case, as a word; its labels should not be edited meanwhile."""
        return self._in_hand.busy

    @property
    def training(self) -> TrainingState:
        """How the training goes."""
        return self._coach.state

    @property
    def progress(self) -> Progress | None:
        """How far long work is, None without any."""
        return self._telling.progress

    @property
    def child(self) -> int | None:
        """Number of the training process, None while there is none."""
        return self._coach.child

    def pump(self) -> None:
        """Do what is due. Called by the window every few milliseconds."""
        self._background.pump()
        self._coach.pump()
        self._in_hand.save_soon()
        self._cohort.pump()

    def save_now(self) -> str:
        """Save the open case and wait for it; return what would be lost if the window were closed now, or nothing."""
        case = self.current
        if case is None:
            return ""
        case.edits.settle()
        case.edits.save()
        return f"{case.name} has edits that are not saved. {case.edits.problem}" if case.edits.dirty else ""

    def close(self) -> None:
        """Save what is not saved, end the training so that it can go on later, and close the pool; once."""
        if self._background.closing:
            return
        if self.current is not None:
            self.current.edits.settle()
            self._background.run("save", self.current.edits.compact)
        self._coach.close()
        self._background.close()
        self._cohort.let_go()()

    # -- pools ------------------------------------------------------------------------------------------------

    def open_pool(self, root: Path) -> None:
        """Open the pool in a folder, in place of the one that is open."""
        if self.pool is not None and root.resolve() == self.pool.root:
            return
        self._change_pool(f"opening {root.name}", lambda _: Pool.open(root, write=True))

    def new_pool(
        self, root: Path, images: Path, labels: Path | None, classes: Path | Sequence[ClassSpec] | None
    ) -> None:
        """Make a pool and open it. There must be something to draw: masks, classes of a data set, or named ones."""

        def make(report: Reported) -> Pool:
            require_classes(images, labels, classes)
            return Pool.create(root, images, labels, classes, report)

        self._change_pool("reading scans", make, can_cancel=True)

    def open_sample(self, folder: Path) -> None:
        """Open the pool of made-up scans in a folder; the first time it is drawn."""
        if self.pool is not None and (folder / "pool").resolve() == self.pool.root:
            return

        def report(task: str, done: int, total: int) -> None:
            self._background.later(lambda: self._telling.show_progress(task, done, total))

        self._change_pool("drawing scans", lambda _: open_sample(folder, report))

    def extend_pool(self, images: Path, labels: Path | None) -> None:
        """Add scans to the pool, and masks to those that have none."""
        self._cohort.extend(images, labels)

    def find_moved(self, folder: Path) -> None:
        """Look in a folder for the scans that are not where they were."""
        self._cohort.find_moved(folder)

    def change_classes(self, specs: Sequence[ClassSpec]) -> None:
        """Give classes other names and colours, or add some; the open case is saved, and shown anew with them."""
        if self.training.active and {one.value for one in specs} - {one.value for one in self.classes}:
            text = "A training works with the classes that it began with: stop it before you add one."
            self._telling.tell("warning", text)
            return
        here = self._here()

        def change() -> None:
            self._set_current(None)
            self._ahead.forget()
            self._cohort.change_classes(specs, lambda: self.open_case(here))

        self._leave_current(change)

    def export(self, dest: Path, layout: Layout, replace: bool) -> None:
        """Write the pool's masks and pseudo-labels to a folder for other programs, beside all other work."""
        self._cohort.export(dest, layout, replace)

    def close_pool(self) -> None:
        """Save everything and close the pool; the training stops and can go on later."""
        self._leave_current(self._let_go)

    def _change_pool(self, task: str, make: Callable[[Reported], Pool], can_cancel: bool = False) -> None:
        if self._opening:
            self._telling.tell("warning", "A pool is being opened; wait until it is there.")
            return

        def go_on() -> None:
            closing, self._opening = self._closing, task

            def work(report: Reported) -> Found:
                if closing is not None:
                    closing.result()  # it may be the same pool
                return read_pool(make(report))

            self._long.run("intake", task, work, self._take_pool, undo=self._end_opening, can_cancel=can_cancel)

        self._leave_current(go_on)

    def _let_go(self) -> None:
        if self.pool is None:
            return
        self._set_current(None)
        self._asked_for = ""
        self._ahead.forget()
        self._coach.let_go()
        self._close(self._cohort.let_go())
        self.pool_changed.emit()

    def _close(self, close: Callable[[], None]) -> None:
        self._closing = self._background.run("pool", close)

    def _end_opening(self) -> None:
        for task in (self._opening, "drawing scans", "reading scans"):
            self._telling.end_progress(task)
        self._opening = ""

    def _take_pool(self, found: Found) -> None:
        """Turn to a pool that has been opened, once what was done with the open case meanwhile is safe."""
        if self._occupied():
            self._background.later(lambda: self._take_pool(found))
            return

        def refused() -> None:
            self._end_opening()
            self._close(found.pool.close)

        self._in_hand.leave(lambda: self._turn_to(found), refused)

    def _occupied(self) -> bool:
        """Return whether something goes on with the open case that has to end first; says so once of a stroke."""
        painting = self.current is not None and self.painting()
        if painting and not self._stroke_told:
            self.say(STROKE_GOES_ON)
        self._stroke_told = painting
        return painting or (self.current is not None and bool(self.busy))

    def _turn_to(self, found: Found) -> None:
        self._end_opening()
        self._let_go()  # the former one, now that there is another
        self._cohort.take(found)
        self._coach.take(found)
        self.pool_changed.emit()

    # -- the open case ----------------------------------------------------------------------------------------

    def open_case(self, name: str) -> None:
        """Show a case, once the one that is open is saved."""
        if name not in self._cohort.cases:
            return
        if self.current is not None and self.current.name == name:
            self._asked_for = ""
            self.case_opened.emit()
        else:
            self._leave_current(lambda: self._load(name))

    def next_case(self) -> None:
        """Show the case that is proposed next; the open one is passed over, if it still waits for a verdict."""
        self._cohort.pass_over(self._here())
        following = self.following
        if following is None:
            self._telling.tell("info", "No further case is proposed.", "cases")
        else:
            self.open_case(following.name)

    def give_current(self, then: Callable[[OpenCase], object]) -> None:
        """Call `then` with the open case in a turn of its own, unless another one is open by then."""
        case = self.current
        if case is not None:
            self._background.later(lambda: then(case) if case is self.current else None)

    def ask_current(self, question: Callable[[OpenCase], T], then: Callable[[T], object]) -> None:
        """Put a question to the open case that takes a while; it is dropped once another one is open."""
        case = self.current
        if case is not None:
            still, failed = (lambda: case is self.current), self._telling.failed("review")
            self._background.run("read", lambda: question(case), then, failed, wanted=still)

    def edit_current(self, operation: str, *arguments: object) -> None:
        """Do one of the open case's operations (a name of a method of `OpenCase`) as one edit."""
        self._in_hand.slide.when_still(lambda: self._in_hand.edit(operation, arguments))

    def revert(self) -> None:
        """Go back to the labels that the open case began with, as one edit."""
        self.edit_current("revert")

    def move_border(self, value: int, level: int, final: bool) -> None:
        """Move the border of a class to where its probability is `level` (1 to 255); one edit once final."""
        case = self._in_hand.to_edit()
        if case is not None:
            self._in_hand.slide.move(case, value, level, final)

    @property
    def border_moving(self) -> bool:
        """Whether a border is on its way to where it was last asked to be."""
        return self._in_hand.slide.moving

    def accept(self, then_next: bool = False) -> None:
        """Make the labels on screen the mask of the open case, and go on to the next case if asked."""

        def accepted(case: OpenCase) -> None:
            if then_next and case is self.current:
                self.next_case()

        self._in_hand.accept(accepted)

    def reject(self) -> None:
        """Drop proposal and edits of the open case, which waits for a better map, and go on to the next one."""

        def rejected(case: OpenCase) -> None:
            self._cohort.reject(record)
            self._cohort.rank_now()
            if case is not self.current:
                return
            self._telling.tell("info", f"{case.name} waits for a better map.", "cases")
            following = self.following
            if following is None:
                self._set_current(None)
                return
            case.outdated = True  # on screen until the next one is read, and not to be edited
            self.open_case(following.name)
            self.busy_changed.emit()

        if self.current is not None:
            record = self.current.case
            self._in_hand.reject(rejected)

    def reopen(self) -> None:
        """Make a draft of the accepted mask that is on screen."""
        self._in_hand.reopen()

    def say(self, text: str) -> None:
        """Tell the reader something about the open case."""
        self._telling.tell("info", text, "review")

    def take_newer(self) -> None:
        """Begin with the pseudo-label of a map that came while the reader looked at the one before."""
        if self.current is not None and not self.painting():
            self._in_hand.take_newer()
            self.map_changed.emit(self.current.name)

    def _here(self) -> str:
        return "" if self.current is None else self.current.name

    def _leave_current(self, then: Callable[[], None]) -> None:
        """Save the open case and go on; stay, and say why, if it cannot be saved."""
        self._in_hand.leave(then, self._stay)

    def _stay(self) -> None:
        self._asked_for = ""

    def _load(self, name: str) -> None:
        pool = self.pool
        if pool is None:
            return
        self._asked_for = name
        ahead = self._ahead.take(self._cohort.cases.get(name))
        if ahead is not None:
            self._show(pool, ahead)
            return

        def read() -> None:
            failed = self._telling.failed("cases", lambda: self._give_up(name))
            self._background.run("open", lambda: load_twice(pool, name), lambda case: self._show(pool, case), failed)

        self.case_loading.emit(name)
        self._in_hand.once_written(name, read)

    def _give_up(self, name: str) -> None:
        """Stay at the case that is open: the one that was asked for cannot be read."""
        if self._asked_for == name:
            self._asked_for = ""
            self.case_opened.emit()
            if self.current is not None and self.current.outdated and self.current.name != name:
                self._load(self.current.name)

    def _show(self, pool: Pool, case: OpenCase) -> None:
        if pool is not self.pool or case.name != self._asked_for:
            return
        former = self.current
        if self._occupied():
            self._background.later(lambda: self._show(pool, case))
            return
        if former is not None:
            former.edits.settle()
            if former.edits.dirty:  # painted while this case was read
                self._leave_current(lambda: self._show(pool, case))
                return
        if case.case != self._cohort.cases[case.name]:
            self._compare(pool, case)
            return
        self._asked_for = ""
        self._set_current(case)
        case.edits.touch()
        for note in case.notes:
            self._telling.tell("warning", f"{case.name}: {note}", "review")
        self._in_hand.confirm()
        self._read_ahead()

    def _compare(self, pool: Pool, case: OpenCase) -> None:
        """Show a case if it was read as it is in the pool now, and read it again if not.

        What was read and what was told of it come by different ways, and either may be the older one.
        """

        def compared(found: Records) -> None:
            self._cohort.take_records(found, soon=True)
            if pool is not self.pool or case.name != self._asked_for:
                return
            if case.case == self._cohort.cases[case.name]:
                self._show(pool, case)
            else:
                self._load(case.name)

        failed = self._telling.failed("cases", lambda: self._give_up(case.name))
        self._background.run("open", lambda: read_records(pool, [case.name]), compared, failed)

    def _set_current(self, case: OpenCase | None) -> None:
        if case is None and self.current is None:
            return
        self._in_hand.take(case, self._read_ahead)  # it may be the former one that is to be read
        self._coach.visible = case.name if case is not None and case.editable else None
        self._coach.attend()
        self.case_opened.emit()

    def _read_ahead(self) -> None:
        """Read the case that will be asked for next."""
        pool, following = self.pool, self.following
        if pool is None or following is None or self._asked_for or self._in_hand.is_written(following.name):
            return
        self._ahead.read(pool, self._cohort.cases[following.name])

    # -- what others change -----------------------------------------------------------------------------------

    def _follow_cases(self, names: frozenset[str]) -> None:
        case = self.current
        if case is None:
            return
        excluded = case.case.status == "excluded"
        newer = (not names or case.name in names) and case.take_record(self._cohort.cases[case.name])
        case.outdated = case.outdated or (excluded and case.editable and not case.edits.has_draft)
        if (newer or case.outdated) and not self.busy and not case.edits.dirty and not self._asked_for:
            self._load(case.name)
        elif not self._asked_for:
            self._read_ahead()

    def _take_map(self, name: str) -> None:
        """Show a newer map of the open case."""
        case, pool = self.current, self.pool
        if case is None or pool is None or case.name != name:
            return
        record = self._cohort.cases[name]

        def show(found: tuple[MapFile, NDArray[np.uint8], Change]) -> None:
            if case is self.current and (self.painting() or self.busy):
                self._background.later(lambda: show(found))
            elif case is self.current:
                case.take_record(self._cohort.cases[name])
                case.take_map(*found)
                self.map_changed.emit(name)

        # A map that has been replaced meanwhile cannot be read any more; the next one is on its way.
        self._background.run("read", lambda: read_newer(case, record), show, lambda _: None)

    # -- many cases -------------------------------------------------------------------------------------------

    def exclude(self, names: Sequence[str]) -> None:
        """Leave cases out of training and proposals."""
        self._cohort.change(names, "exclude")

    def include(self, names: Sequence[str]) -> None:
        """Take excluded cases in again."""
        self._cohort.change(names, "include")

    def take_back(self, names: Sequence[str]) -> None:
        """Take what the rule has accepted out of force; maps and pseudo-labels stay."""
        self._cohort.change(names, "take_back", self._reader_anew())

    def reset(self, names: Sequence[str]) -> None:
        """Put drafts, maps and masks in force of cases aside."""
        self._cohort.change(names, "reset", self._reader_anew())

    def _reader_anew(self) -> Callable[[Sequence[str]], None]:
        """Return what reads the case that is open now anew, without its edits, if it is among those that changed."""
        case, pool = self.current, self.pool

        def show_again(done: Sequence[str]) -> None:
            if case is not None and case is self.current and case.name in done and pool is not None:
                self._asked_for = case.name
                self._background.run(
                    "open",
                    lambda: load_again(pool, case),
                    lambda again: self._show(pool, again),
                    self._telling.failed("cases"),
                )

        return show_again

    def cases_above(self, quality: float) -> list[str]:
        """Return the predicted cases of which every class has at least this expected quality, but for the open one."""
        return [case.name for case in self._cohort.above(quality, self._looked_at())]

    def accept_all_above(self, quality: float) -> list[str]:
        """Accept the pseudo-labels of these cases by the rule; returns their names."""
        return self._cohort.accept_above(quality, self._looked_at)

    def _looked_at(self) -> tuple[str, str]:
        """Return the case that is on screen, and the one that will be next, each empty without one."""
        return self._here(), self._asked_for

    # -- training and report ----------------------------------------------------------------------------------

    def start_training(self, preset: str, minutes: float, settings: Mapping[str, Any], fresh: bool = False) -> None:
        """Train for so many minutes: the last run goes on, unless `fresh` or another preset asks for a new one."""
        self._coach.start(preset, minutes, settings, fresh)

    def pause_training(self) -> None:
        """Let the training rest."""
        self._coach.pause()

    def resume_training(self) -> None:
        """Let it go on."""
        self._coach.resume()

    def stop_training(self) -> None:
        """Let it save and end."""
        self._coach.stop()

    def continue_after_failure(self) -> None:
        """Go on from the last checkpoint, as the training was started."""
        self._coach.go_on_after_failure()

    def predict_now(self, name: str) -> None:
        """Have a case's map made before all others; by the last run if nothing trains."""
        self._coach.predict_now(name)

    def ask_report(self, then: Callable[[ReportData], object]) -> None:
        """Read the pool's history and hand the report to `then`."""
        pool = self.pool
        if pool is None:
            return

        def read(data: ReportData) -> None:
            if pool is self.pool:
                then(data)

        self._background.run("read", lambda: make_report(pool.history()), read, self._telling.failed("report"))
