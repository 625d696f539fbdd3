"""The training's state as the panels show it, from what a child reports; and what the child is told when."""

from collections import deque
from itertools import pairwise
from types import SimpleNamespace

import pytest

from napari_bcp.app.training import Curves, Trainer, TrainingState
from napari_bcp.events import Finished, MapMade, Paused, Planned, Progress, Resumed, Saved, Step, Validated, Vitals
from napari_bcp.worker.messages import Attend, CaseInfo, Ended, Failed, Predict, PredictNow, Ready, Train

VITALS = Vitals(device="cpu", threads=3, memory_mb=512.0)


class ReplayedWorker:
    """Stands for the child's process: notes what it is told, and reports what a test hands it."""

    def __init__(self, number):
        self.pid, self.sent, self.inbox = number, [], deque()
        self.exit_code, self.log_tail = None, "the last line"
        self.closed, self.waited, self.last_words = False, None, []

    @property
    def running(self):
        return bool(self.inbox) or self.exit_code is None

    def send(self, command):
        self.sent.append(command)

    def poll(self, most=1000):
        return [self.inbox.popleft() for _ in range(min(most, len(self.inbox)))]

    def close(self):
        self.closed = True

    def wait(self, seconds):
        """End, with what it still has to say."""
        self.waited = seconds
        self.inbox.extend(self.last_words)
        self.exit_code = 0
        return True


def record(run="0001", step=0):
    """Return what a trainer uses of a run's record."""
    return SimpleNamespace(id=run, preset="quick", step=step)


class Window:
    """A trainer, its workers, and what it has handed on, with the phase at that time."""

    def __init__(self):
        self.workers, self.heard = [], []
        self.trainer = Trainer(self.hear, self.make)

    def make(self):
        self.workers.append(ReplayedWorker(1000 + len(self.workers)))
        return self.workers[-1]

    def hear(self, report):
        self.heard.append((report, self.trainer.state.phase))

    @property
    def state(self):
        return self.trainer.state

    @property
    def told(self):
        """Kinds of what the newest child was told."""
        return [one.kind for one in self.workers[-1].sent]

    def report(self, *reports):
        """Let the child report, and return the phase after."""
        self.workers[-1].inbox.extend(reports)
        assert self.trainer.pump()
        return self.state.phase

    def die(self, code):
        self.workers[-1].exit_code = code
        assert self.trainer.pump()
        return self.state.phase


@pytest.fixture
def window():
    return Window()


def training(run="0001", resume=False):
    cases = (CaseInfo(name="a", scan="a", mask="m"), CaseInfo(name="b", scan="b"), CaseInfo(name="c", scan="c"))
    return Train(run=run, cache="", maps="", config={}, classes=(1,), resume=resume, cases=cases)


PREDICT = Predict(checkpoint="", maps="", names=("a",), cases=())


def step(number, stage=1, loss=0.5, **fields):
    usual = {"lr": 0.1, "elapsed_s": 1.0, "steps_per_s": 4.0, "share": 0.25, "eta_s": 30.0, "agreement": 0.75}
    return Step(step=number, stage=stage, loss=loss, **{**usual, **fields})


def planned(run="0001", at=0):
    return Planned(run=run, plan={}, settings={}, labelled=2, unlabelled=7, step=at)


def at_work(window, run="0001"):
    """Let a run train, and have done its first step."""
    window.trainer.train(training(run), record(run, 0))
    assert window.report(Ready(pid=1), VITALS, planned(run), step(1)) == "training"
    return window


# -- phases -----------------------------------------------------------------------------------------------------


def test_no_process_is_started_before_there_is_a_job(window):
    window.trainer.attend("a", ["b"])
    window.trainer.pause()
    window.trainer.stop_all()
    assert not window.trainer.pump()
    assert (window.workers, window.trainer.pid, window.trainer.busy) == ([], None, False)
    assert window.state == TrainingState()
    assert not window.state.active


def test_a_training_is_followed_from_its_start_to_its_end(window):
    window.trainer.train(training(), record("0001", 40))
    assert (window.state.phase, window.state.run, window.state.step) == ("starting", "0001", 40)
    assert (window.state.labelled, window.state.unlabelled) == (1, 2)
    assert window.trainer.busy
    assert window.report(Ready(pid=1)) == "starting"
    assert window.report(VITALS) == "preparing"
    assert (window.state.device, window.state.threads, window.state.memory_mb) == ("cpu", 3, 512.0)
    assert window.report(Progress(task="preparing", done=0, total=2), planned(at=41)) == "preparing"
    assert (window.state.labelled, window.state.unlabelled, window.state.step) == (2, 7, 41)
    assert window.report(step(42)) == "training"
    state = window.state
    assert (state.step, state.stage, state.steps_per_s, state.eta_s, state.share) == (42, 1, 4.0, 30.0, 0.25)
    window.report(step(43, stage=2, share=0.5), Validated(step=43, dice={1: 0.5}, best=True), VITALS)
    assert (state.phase, state.stage, state.share, state.dice) == ("training", 2, 0.5, {1: 0.5})
    assert window.report(Finished(reason="budget", step=43)) == "idle"
    assert window.trainer.busy, "maps are still made"
    assert window.report(Ended(job="train")) == "idle"
    assert not window.trainer.busy
    assert state.eta_s is None


def test_a_child_that_has_nothing_to_say_changes_nothing(window):
    at_work(window)
    assert not window.trainer.pump()


def test_the_state_has_taken_a_report_in_before_others_hear_of_it(window):
    window.trainer.train(training(), record("0001", 0))
    window.report(VITALS, step(1), Finished(reason="stopped"), Ended(job="train"))
    assert [(report.kind, phase) for report, phase in window.heard] == [
        ("vitals", "preparing"),
        ("step", "training"),
        ("finished", "idle"),
        ("ended", "idle"),
    ]


def test_it_rests_and_goes_on(window):
    at_work(window)
    window.trainer.pause()
    assert window.state.phase == "training", "until the child says so"
    assert window.report(Paused(step=1)) == "paused"
    assert window.report(VITALS) == "paused"
    window.trainer.resume()
    assert window.report(Resumed(step=1)) == "training"
    assert window.told == ["attend", "train", "pause", "resume"]


def test_it_rests_while_it_prepares_and_then_prepares_on(window):
    window.trainer.train(training(), record("0001", 40))
    assert window.report(VITALS, Paused(step=0)) == "paused"
    assert window.report(Resumed(step=0)) == "preparing"
    assert window.report(step(41)) == "training"


def test_stopped_it_shows_so_until_the_child_has_saved(window):
    at_work(window)
    window.trainer.stop()
    assert window.state.phase == "stopping"
    assert window.report(step(2), Resumed(step=2), VITALS) == "stopping"
    assert window.state.step == 2
    assert window.report(Saved(step=2, path="p"), Finished(reason="stopped")) == "idle"
    assert window.told[-1] == "stop"


def test_a_training_that_ends_without_a_word_is_over(window):
    at_work(window)
    assert window.report(Ended(job="train")) == "idle"


def test_who_does_not_train_is_not_stopped(window):
    window.trainer.predict(PREDICT)
    window.trainer.stop()
    assert window.state.phase == "idle"
    assert window.told == ["attend", "predict"]
    window.trainer.stop_all()
    assert window.told == ["attend", "predict", "stop"]


def test_a_stop_before_the_child_has_its_job_is_not_lost(window):
    window.state.phase = "starting"  # as while the run is chosen
    window.trainer.stop()
    window.trainer.train(training(), record("0001", 0))
    assert window.state.phase == "stopping"
    assert window.told == ["attend", "train", "stop"]
    assert window.report(VITALS, planned(), Finished(reason="stopped"), Ended(job="train")) == "idle"


# -- a second job -----------------------------------------------------------------------------------------------


def test_a_second_training_shows_nothing_of_the_first_that_still_ends(window):
    at_work(window, "0001")
    window.trainer.train(training("0002"), record("0002", 0))
    assert window.told == ["attend", "train", "attend", "train"]
    late = (
        step(77, loss=9.0),
        Paused(step=77),
        Validated(step=77, dice={1: 0.9}, best=True),
        VITALS,
        Finished(reason="stopped", step=77),
    )
    assert window.report(*late) == "starting"
    assert (window.state.run, window.state.step, window.state.dice, window.state.curves.steps) == ("0002", 0, {}, [])
    assert window.report(Ended(job="train")) == "starting"
    assert window.trainer.busy
    assert window.report(VITALS, planned("0002"), step(1)) == "training"
    assert (window.state.step, window.state.curves.losses) == (1, [0.5])
    assert window.report(Finished(reason="budget"), Ended(job="train")) == "idle"
    assert not window.trainer.busy
    assert len(window.workers) == 1


def test_the_failure_of_the_first_training_is_none_of_the_second(window):
    at_work(window, "0001")
    window.trainer.train(training("0002"), record("0002", 0))
    assert window.report(Failed(text="The disk is full."), Ended(job="train")) == "starting"
    assert window.state.problem == ""
    assert window.report(Failed(text="The memory ran out."), Ended(job="train")) == "failed"
    assert window.state.problem == "The memory ran out."


def test_maps_alone_leave_the_training_s_state_as_it_was(window):
    window.trainer.predict(PREDICT)
    assert window.trainer.busy
    made = MapMade(
        case="a",
        run="1",
        step=5,
        map_path="",
        pseudo_path="",
        quality={},
        entropy=0,
        volume_ml={},
        islands={},
        seconds=1,
    )
    reports = (Ready(pid=1), Progress(task="making maps", done=0, total=1), made, Finished(reason="done", step=5))
    assert window.report(*reports) == "idle"
    assert window.state == TrainingState(making_maps=True)
    assert [report for report, _ in window.heard] == list(reports)
    window.report(Ended(job="predict"))
    assert not window.trainer.busy
    assert window.state == TrainingState()


def test_maps_that_fail_are_no_failed_training(window):
    window.trainer.predict(PREDICT)
    assert window.report(Failed(text="No checkpoint."), Ended(job="predict")) == "idle"
    assert window.state.problem == ""


def test_a_training_behind_maps_begins_when_they_have_ended(window):
    window.trainer.predict(PREDICT)
    window.trainer.train(training(), record("0001", 0))
    assert window.report(Finished(reason="stopped", step=500)) == "starting"
    assert window.report(Ended(job="predict"), VITALS, step(1)) == "training"


# -- failures ---------------------------------------------------------------------------------------------------


def test_a_failed_training_says_why_until_the_next_one(window):
    at_work(window)
    assert window.report(Failed(text="No mask can be used.", error="TrainingError"), Ended(job="train")) == "failed"
    state = window.state
    assert (state.problem, state.log_tail, state.eta_s) == ("No mask can be used.", "the last line", None)
    assert not state.active
    assert not window.trainer.busy
    assert (state.step, state.curves.steps) == (1, [1])
    window.trainer.train(training(resume=True), record("0001", 1))
    assert (window.state.phase, window.state.problem, window.state.log_tail) == ("starting", "", "")
    assert len(window.workers) == 1, "the child lives on"


@pytest.mark.parametrize(
    ("code", "words"),
    [(-9, "was killed, most likely because the memory was short"), (-11, "crashed (signal 11)"), (3, "(code 3)")],
)
def test_a_child_that_dies_at_work_fails_the_training_and_the_next_one_gets_a_new_child(window, code, words):
    at_work(window)
    assert window.die(code) == "failed"
    assert words in window.state.problem
    assert "can go on from there" in window.state.problem
    assert window.state.log_tail == "the last line"
    report, phase = window.heard[-1]
    assert (report.kind, report.text, phase) == ("failed", window.state.problem, "failed")
    assert (window.trainer.pid, window.trainer.busy) == (None, False)
    assert not window.trainer.pump()
    window.trainer.train(training(resume=True), record("0001", 1))
    assert window.trainer.pid == window.workers[1].pid
    assert window.told == ["attend", "train"]
    assert window.report(VITALS, step(2)) == "training"


def test_what_a_dying_child_has_reported_is_taken_in_first(window):
    at_work(window)
    window.workers[0].inbox.append(step(2))
    assert window.die(-9) == "failed"
    assert window.state.step == 2
    assert [report.kind for report, _ in window.heard][-2:] == ["step", "failed"]


def test_a_child_that_dies_over_maps_is_told_and_no_failed_training(window):
    window.trainer.predict(PREDICT)
    assert window.die(-9) == "idle"
    assert "was killed" in window.heard[-1][0].text
    assert not window.trainer.busy


def test_a_child_that_ends_without_a_job_is_not_missed(window):
    at_work(window)
    window.report(Finished(reason="budget"), Ended(job="train"))
    said = len(window.heard)
    assert window.die(-15) == "idle"
    assert len(window.heard) == said
    assert window.trainer.pid is None


def test_a_process_that_cannot_be_started_leaves_everything_as_it_was(window):
    def refuse():
        raise OSError("no memory for a process")

    trainer = Trainer(window.hear, refuse)
    with pytest.raises(OSError, match="no memory"):
        trainer.train(training(), record("0001", 0))
    assert trainer.state == TrainingState()
    assert not trainer.busy


# -- commands ---------------------------------------------------------------------------------------------------


def test_what_is_on_screen_is_told_once_and_before_each_job(window):
    window.trainer.attend("a", ["b"])
    at_work(window)
    window.trainer.attend("a", ["b"])
    window.trainer.attend("c", [])
    now = Attend(visible="c")
    assert [one for one in window.workers[0].sent if one.kind == "attend"] == [
        Attend(visible="a", proposed=("b",)),
        now,
    ]
    window.trainer.predict(PREDICT)
    assert window.workers[0].sent[-2:] == [now, PREDICT]


def test_a_child_without_a_job_is_told_nothing(window):
    at_work(window)
    window.report(Finished(reason="budget"), Ended(job="train"))
    sent = len(window.told)
    window.trainer.pause()
    window.trainer.resume()
    window.trainer.stop()
    window.trainer.predict_now("a")
    window.trainer.tell_cases([CaseInfo(name="a", scan="a")], [])
    assert len(window.told) == sent


def test_changes_of_the_cases_are_told_if_there_are_any(window):
    at_work(window)
    window.trainer.tell_cases([], [])
    window.trainer.tell_cases([CaseInfo(name="a", scan="a")], ["b"])
    window.trainer.predict_now("a")
    cases, wish = window.workers[0].sent[-2:]
    assert (cases.kind, [one.name for one in cases.changed], cases.gone) == ("cases", ["a"], ("b",))
    assert wish == PredictNow(name="a")
    assert window.told.count("cases") == 1


def test_closed_it_hears_all_that_the_child_still_has_to_say(window):
    at_work(window)
    worker = window.workers[0]
    worker.last_words = [
        *(step(number) for number in range(2, 3001)),
        Saved(step=3000, path="p"),
        Finished(reason="stopped", step=3000),
        Ended(job="train"),
    ]
    window.trainer.close(7.0)
    assert (worker.closed, worker.waited) == (True, 7.0)
    assert [report.kind for report, _ in window.heard[-3:]] == ["saved", "finished", "ended"]
    assert (window.state.phase, window.state.step) == ("idle", 3000)
    assert (window.trainer.pid, window.trainer.busy) == (None, False)


def test_closed_before_the_child_has_ended_it_is_idle_all_the_same(window):
    at_work(window)
    window.trainer.close(0)
    assert (window.state.phase, window.trainer.busy) == ("idle", False)
    window.trainer.close(0)  # once more does no harm


# -- curves -----------------------------------------------------------------------------------------------------


def test_a_long_curve_is_thinned_and_keeps_its_shape_its_begin_and_its_end():
    curves = Curves()
    for number in range(1, 50_001):
        curves.add(step(number, loss=1 / number, agreement=None if number < 100 else 0.5))
    assert 1000 <= len(curves.steps) <= 4000
    assert len(curves.losses) == len(curves.agreements) == len(curves.steps)
    assert curves.steps == sorted(set(curves.steps))
    assert (curves.steps[0], curves.steps[-1]) == (1, 50_000)
    assert all(loss == 1 / number for number, loss in zip(curves.steps, curves.losses, strict=True))
    gaps = {after - before for before, after in pairwise(curves.steps[:-1])}
    assert len(gaps) == 1, "no part of it is better known than another"


def test_a_run_that_goes_on_from_an_older_checkpoint_takes_its_curve_up_there():
    curves = Curves()
    for number in range(1, 101):
        curves.add(step(number))
        if number % 20 == 0:
            curves.add(Validated(step=number, dice={1: number / 100}, best=True))
    curves.add(step(61, loss=7.0))
    assert curves.steps == list(range(1, 62))
    assert curves.losses == [0.5] * 60 + [7.0]
    assert len(curves.agreements) == 61
    assert [at for at, _ in curves.dice] == [20, 40, 60]
    curves.add(Validated(step=61, dice={1: 0.5}, best=False))
    assert curves.dice[-1] == (61, {1: 0.5})


def test_what_is_no_step_adds_nothing_to_a_curve():
    curves = Curves()
    for report in (planned(), Saved(step=1, path=""), Finished(reason="budget"), Paused(step=1)):
        curves.add(report)
    assert curves == Curves()


def test_curves_go_on_with_their_run_and_begin_anew_with_another(window):
    at_work(window)
    window.report(step(2), Finished(reason="stopped"), Ended(job="train"))
    window.trainer.train(training(resume=True), record("0001", 2))
    window.report(VITALS, planned(at=2), step(3))
    assert window.state.curves.steps == [1, 2, 3]
    window.report(Finished(reason="stopped"), Ended(job="train"))
    window.trainer.train(training("0002"), record("0002", 0))
    assert window.state.curves == Curves()
