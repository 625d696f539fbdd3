"""Between pool and training: starts runs, records what the child reports, tells the child what changes in the pool."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from psygnal import Signal

from napari_bcp.app.cohort import read_records
from napari_bcp.app.preferences import load as load_preferences
from napari_bcp.app.training import Trainer, TrainingState
from napari_bcp.config import make_config
from napari_bcp.errors import SettingError
from napari_bcp.pool.runs import NEWEST, best_checkpoint, choose_run, last_trained, record_made
from napari_bcp.worker.messages import CaseInfo, Predict, Train

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from napari_bcp.app.background import Background
    from napari_bcp.app.cohort import Cohort, Found, Records
    from napari_bcp.app.telling import Telling
    from napari_bcp.events import MapMade, Progress
    from napari_bcp.pool import Case, Pool
    from napari_bcp.pool.runs import ChosenRun
    from napari_bcp.worker.messages import Report

TRAINED: Final = ("unlabelled", "predicted", "draft", "accepted")
"""Statuses of cases that take part in the training."""

_AHEAD: Final = 8  # proposed cases whose maps come before others'
_Files = tuple[Path, int | None]  # a case's scan, and the version of its mask


class Coach:
    """The training of the cohort's pool. Lives on the window's thread."""

    training_changed = Signal()
    map_made = Signal(str)
    """A newer map of the case of that name is in the pool."""

    def __init__(
        self,
        cohort: Cohort,
        background: Background,
        telling: Telling,
        make_trainer: Callable[[Callable[[Report], None]], Trainer] = Trainer,
    ) -> None:
        self._cohort, self._background, self._telling = cohort, background, telling
        self._trainer = make_trainer(self._listen)
        self._told: dict[str, _Files] = {}  # cases that the child knows
        self._last_start: tuple[str, float, dict[str, Any], bool] | None = None
        self._wishes: dict[str, int] = {}  # cases whose maps somebody waits for, and how often they were asked for
        self._task = ""  # what the child last reported the progress of
        self.visible: str | None = None
        """The case on screen, if its map may still help."""
        cohort.cases_changed.connect(self._follow_cases)

    @property
    def state(self) -> TrainingState:
        """How the training goes."""
        return self._trainer.state

    @property
    def child(self) -> int | None:
        """Number of the child's process, None while there is none."""
        return self._trainer.pid

    def pump(self) -> None:
        """Take in what the child has reported."""
        if self._trainer.pump():
            self.training_changed.emit()

    def take(self, found: Found) -> None:
        """Show how far the last run of a pool came."""
        state = TrainingState(curves=found.curves)
        if found.run is not None:
            state.run, state.step = found.run.id, found.run.step
            state.preset, state.settings = found.run.preset, found.run.config
        self._trainer.state = state
        self.training_changed.emit()

    def let_go(self) -> None:
        """End what the child does for the pool that is left; it saves by itself."""
        if self.state.active:
            self._update_run(self.state.run, status="stopped")
        self._trainer.close(seconds=0)
        self._told.clear()
        self._wishes.clear()
        self._last_start, self.visible = None, None
        self._trainer.state = TrainingState()
        self.training_changed.emit()

    def close(self) -> None:
        """Let the child save and end."""
        self._trainer.close()

    # -- commands ---------------------------------------------------------------------------------------------

    def start(self, preset: str, minutes: float, settings: Mapping[str, Any], fresh: bool = False) -> None:
        """Train for so many minutes: the last run goes on, unless `fresh` or another preset asks for a new one."""
        pool = self._cohort.pool
        if pool is None or self.state.active:
            return
        try:
            make_config(preset, settings)
        except SettingError as error:
            self._telling.failed("train")(error)
            return
        self._last_start = (preset, minutes, dict(settings), fresh)
        self._set_phase_starting()
        parts = self._parts()
        self._background.run(
            "pool",
            lambda: (choose_run(pool, preset, settings, fresh, _check_plan), _infos(pool, parts)),
            lambda found: self._train(pool, *found, minutes, parts),
            self._telling.failed("train", self._set_phase_idle),
        )

    def _train(
        self, pool: Pool, run: ChosenRun, cases: Sequence[CaseInfo], minutes: float, parts: Sequence[Case]
    ) -> None:
        """Let a run train, with what the child is told of the cases that take part."""
        if pool is not self._cohort.pool:
            return
        for note in run.notes:
            self._telling.tell("info", note.text, "train")
        wishes = load_preferences()
        config = run.config.model_dump(mode="json")
        job = Train(
            run=str(run.record.path),
            cache=str(pool.root / "cache"),
            maps=str(pool.root / "maps"),
            config=config,
            plan=run.record.plan if run.resume else None,
            classes=tuple(one.value for one in self._cohort.classes),
            resume=run.resume,
            minutes=minutes,
            device=wishes.device,
            threads=wishes.threads or None,
            map_share=wishes.map_share,
            cases=tuple(cases),
        )
        try:
            self._trainer.train(job, run.record)
        except OSError as error:
            self._telling.failed("train", self._set_phase_idle)(error)
            return
        self._told = {case.name: _files(case) for case in parts}
        self._follow_cases(frozenset())  # what has changed since they were listed
        self._update_run(run.record.id, status="running", config=config)
        self.training_changed.emit()

    def go_on_after_failure(self) -> None:
        """Go on from the last checkpoint, as the training was started; anew, if its run was new and has none yet."""
        preset, minutes, settings, fresh = self._last_start or ("quick", load_preferences().minutes, {}, False)
        pool, run = self._cohort.pool, self.state.run
        saved = pool is not None and (pool.root / "runs" / run / NEWEST).exists()
        self.start(preset, minutes, settings, fresh=fresh and not saved)

    def pause(self) -> None:
        """Let the training rest."""
        self._trainer.pause()

    def resume(self) -> None:
        """Let it go on."""
        self._trainer.resume()

    def stop(self) -> None:
        """Let the training save and end; without one, let no more maps be made."""
        if self.state.active:
            self._trainer.stop()
        else:
            self._wishes.clear()
            self._trainer.stop_all()
        self.training_changed.emit()

    def predict_now(self, name: str) -> None:
        """Have a case's map made before all others; by the last run if nothing trains."""
        pool = self._cohort.pool
        if pool is None or name not in self._cohort.cases:
            return
        self._wishes[name] = self._wishes.get(name, 0) + 1
        if self._trainer.busy:
            self._trainer.predict_now(name)
            return

        parts = self._parts()

        def chosen(found: tuple[Path | None, list[CaseInfo]]) -> None:
            checkpoint, cases = found
            if pool is not self._cohort.pool:
                return
            if checkpoint is None:
                self._wishes.clear()
                self._telling.tell("warning", "Nothing is trained yet: start the training first.", "cases")
            elif self._trainer.busy:
                self._trainer.predict_now(name)
            else:
                self._predict(pool, checkpoint, name, cases, parts)

        def choose() -> tuple[Path | None, list[CaseInfo]]:
            return _checkpoint_of(pool), _infos(pool, parts)

        self._background.run("pool", choose, chosen, self._telling.failed("cases"))

    def _predict(
        self, pool: Pool, checkpoint: Path, name: str, cases: Sequence[CaseInfo], parts: Sequence[Case]
    ) -> None:
        wishes = load_preferences()
        job = Predict(
            checkpoint=str(checkpoint),
            maps=str(pool.root / "maps"),
            names=(name,),
            device=wishes.device,
            threads=wishes.threads or None,
            cases=tuple(cases),
        )
        try:
            self._trainer.predict(job)
        except OSError as error:
            self._telling.failed("cases")(error)
            return
        self._told = {case.name: _files(case) for case in parts}
        self._follow_cases(frozenset())

    def _set_phase_starting(self) -> None:
        self._trainer.state.phase = "starting"
        self.training_changed.emit()

    def _set_phase_idle(self) -> None:
        self._trainer.state.phase = "idle"
        self.training_changed.emit()

    # -- what the child is told -------------------------------------------------------------------------------

    def attend(self) -> None:
        """Tell the child what is on screen, and what will be."""
        self._trainer.attend(self.visible, [one.name for one in self._cohort.proposals[:_AHEAD]])

    def _follow_cases(self, names: frozenset[str]) -> None:
        """Tell the child of cases whose part in the training has changed."""
        pool = self._cohort.pool
        if not self._trainer.busy or pool is None:
            return
        changed, gone = [], []
        for name in names or {*self._cohort.cases, *self._told}:
            case = self._cohort.cases.get(name)
            if case is None or case.status not in TRAINED:
                if self._told.pop(name, None) is not None:
                    gone.append(name)
            elif self._told.get(name) != _files(case):
                self._told[name] = _files(case)
                changed.append(case)
        if changed or gone:
            masks = sum(mask is not None for _, mask in self._told.values())
            self.state.labelled, self.state.unlabelled = masks, len(self._told) - masks
            self.training_changed.emit()
            self._background.run(  # one lane for all of it, so that the child hears it in order
                "pool",
                lambda: _infos(pool, changed),
                lambda found: self._trainer.tell_cases(found, gone) if pool is self._cohort.pool else None,
                self._telling.failed("train"),
            )
        self.attend()

    def _parts(self) -> list[Case]:
        """Return the cases that take part in the training."""
        return [case for case in self._cohort.cases.values() if case.status in TRAINED]

    # -- what the child reports -------------------------------------------------------------------------------

    def _listen(self, report: Report) -> None:
        """Hear a report; one that cannot be dealt with must not take the others with it."""
        try:
            self._hear(report)
        except Exception as error:  # noqa: BLE001 - see above
            self._telling.unexpected(error)

    def _hear(self, report: Report) -> None:
        """Record in the pool what the child reports, and tell of it."""
        pool, telling = self._cohort.pool, self._telling
        if pool is None:
            return
        if report.kind == "map":
            made = report
            self._wishes.pop(made.case, None)
            self._background.run("pool", lambda: _record(pool, made), self._made, telling.failed("train"))
        elif report.kind == "planned":
            self._update_run(report.run, plan=report.plan)
        elif report.kind == "saved":
            self._update_run(self.state.run, step=report.step, checkpoint=Path(report.path))
        elif report.kind == "unusable":
            self._leave_out(pool, report.case, report.reason, report.lasting)
        elif report.kind == "progress":
            self._show_progress(report)
        elif report.kind == "note":
            telling.tell("info", report.text, "train")
        elif report.kind == "finished" and report.reason != "done":
            status = "finished" if report.reason == "budget" else "stopped"
            came = {"step": report.step, "elapsed_s": report.elapsed_s} if report.step else {}  # ended before it began
            self._update_run(self.state.run, status=status, **came)
        elif report.kind == "failed":
            if self.state.phase == "failed":
                self._update_run(self.state.run, status="failed")
            telling.tell("error", report.text, "train")
            self._wishes.clear()
        if report.kind in ("failed", "ended", "step"):
            self._end_progress()
        if report.kind == "ended" and not self._trainer.busy:
            self._ask_again()

    def _show_progress(self, report: Progress) -> None:
        if report.task != self._task:
            self._end_progress()
        self._task = report.task
        if report.done < report.total:
            self._telling.show_progress(report.task, report.done, report.total, report.eta_s)
        else:
            self._end_progress()

    def _end_progress(self) -> None:
        """Take the child's progress away, and nobody else's."""
        self._telling.end_progress(self._task)

    def _ask_again(self) -> None:
        """Ask once more for maps that the job that has ended was asked for too late."""
        self._wishes = {name: asked for name, asked in self._wishes.items() if asked < 2}
        for name in list(self._wishes):
            self.predict_now(name)

    def _made(self, found: Records) -> None:
        if found.pool is self._cohort.pool:
            self._cohort.take_records(found, soon=True)
            for case in found.cases:
                self.map_made.emit(case.name)

    def _leave_out(self, pool: Pool, name: str, reason: str, lasting: bool) -> None:
        self._wishes.pop(name, None)
        self._telling.tell("warning", f"{name} is left out: {reason}", "cases")
        if lasting:

            def mark() -> Records:
                pool.mark_unusable(name, reason)
                return read_records(pool, [name])

            self._background.run("pool", mark, self._cohort.take_records, self._telling.failed("cases"))

    def _update_run(self, run: str, **fields: Any) -> None:
        pool = self._cohort.pool
        if pool is not None and run:
            self._background.run("pool", lambda: pool.update_run(run, **fields), None, self._telling.failed("train"))


def _record(pool: Pool, made: MapMade) -> Records:
    record_made(pool, made)
    return read_records(pool, [made.case])


def _files(case: Case) -> _Files:
    """Return what the child would have to read of a case; without a look at the disk, for there may be thousands."""
    return case.path, case.mask_version


def _infos(pool: Pool, cases: Sequence[Case]) -> list[CaseInfo]:
    """Return what the child is told of cases; beside the window, since where each mask lies is looked up."""
    found = []
    for case in cases:
        mask = pool.mask_file(case)
        info = CaseInfo(
            name=case.name,
            scan=str(case.path),
            mask=None if mask is None else str(mask),
            shape=case.shape,
            spacing=case.spacing,
            map_run=case.map.run if case.map else None,
            map_step=case.map.step if case.map else None,
        )
        found.append(info)
    return found


def _check_plan(plan: Mapping[str, Any]) -> None:
    """The child looks at the whole plan; here it is enough that there is one."""
    if not plan:
        raise ValueError("no plan")


def _checkpoint_of(pool: Pool) -> Path | None:
    run = last_trained(pool)
    return None if run is None else best_checkpoint(run)
