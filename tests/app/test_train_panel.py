"""The Train panel, by clicks and keys: what it asks of the session, and what it shows of the training."""

from types import SimpleNamespace

import pytest
from psygnal import Signal
from qtpy.QtCore import Qt
from qtpy.QtGui import QGuiApplication
from strokes import roll

from napari_bcp.app.panels import train
from napari_bcp.app.panels.train import TrainPanel
from napari_bcp.app.preferences import Preferences
from napari_bcp.app.theme import colours_of
from napari_bcp.app.training import TrainingState
from napari_bcp.config import make_config
from napari_bcp.scans import ClassSpec

LEFT = Qt.MouseButton.LeftButton
PHASES = ("idle", "starting", "preparing", "training", "paused", "stopping", "failed")


class HandMadeTraining:
    """What the panel uses of a session."""

    training_changed = Signal()
    cases_changed = Signal(frozenset)
    pool_changed = Signal()

    def __init__(self, accepted=3, others=("predicted", "unlabelled", "draft", "excluded", "unusable")):
        statuses = ["accepted"] * accepted + list(others)
        self.cases = [
            SimpleNamespace(name=f"case_{i}", status=status, has_mask=status == "accepted")
            for i, status in enumerate(statuses)
        ]
        self.classes = (ClassSpec(1, "liver", "#e69f00"), ClassSpec(2, "spleen", "#56b4e9"))
        self.training, self.done = TrainingState(), []

    def be(self, **facts):
        """Let the training be in another state."""
        for name, value in facts.items():
            setattr(self.training, name, value)
        self.training_changed.emit()

    def start_training(self, preset, minutes, settings, fresh=False):
        self.done.append(("start", preset, minutes, settings, fresh))

    def pause_training(self):
        self.done.append(("pause",))

    def resume_training(self):
        self.done.append(("go on",))

    def stop_training(self):
        self.done.append(("stop",))

    def continue_after_failure(self):
        self.done.append(("go on after failure",))


@pytest.fixture
def session():
    return HandMadeTraining()


@pytest.fixture
def panel(session, qtbot):
    """The panel on the screen."""
    made = TrainPanel(session)
    qtbot.addWidget(made)
    made.set_colours(colours_of("dark"))
    made.resize(420, 700)
    made.show()
    qtbot.waitExposed(made)
    return made


def possible(panel):
    """Return what can be pressed now."""
    return {one.text() for one in (panel._start, panel._pause, panel._stop) if one.isEnabled()}


def retype(qtbot, line, text):
    line.setFocus()
    line.selectAll()
    qtbot.keyClicks(line, text)


# -- commands -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "buttons"),
    [
        ("idle", {"Start"}),
        ("starting", {"Stop"}),
        ("preparing", {"Stop"}),
        ("training", {"Pause", "Stop"}),
        ("paused", {"Go on", "Stop"}),
        ("stopping", set()),
        ("failed", {"Start"}),
    ],
)
def test_what_can_be_pressed_depends_on_the_phase(panel, session, phase, buttons):
    session.be(phase=phase, run="0001")
    assert possible(panel) == buttons
    resting = phase in ("idle", "failed")
    for one in (panel._preset, panel._minutes, panel._fresh, panel.form):
        assert one.isEnabled() == resting, "a training that goes on has its settings"
    assert panel._bar.isVisible() == (not resting)


def test_start_hands_over_preset_minutes_and_the_settings_that_were_changed(panel, session, click, qtbot):
    panel._preset.setFocus()
    qtbot.keyClick(panel._preset, Qt.Key.Key_Down)
    retype(qtbot, panel._minutes, "45")
    panel._settings.expand(animate=False)
    retype(qtbot, panel.form._rows["lr"].editor, "3e-5")
    assert panel._settings.text() == "All settings (1 change)"
    click(panel._start)
    assert session.done == [("start", "quality", 45, {"lr": 3e-5}, False)]


def test_the_form_shows_the_settings_of_the_run_that_goes_on_and_one_that_is_put_back_is(panel, session, click):
    """A run keeps its settings: what the form shows must be what it trains with."""
    session.training = TrainingState(run="0001", preset="quality", settings={"lr": 3e-5, "ema": 0.99, "gone": 1})
    session.pool_changed.emit()
    panel._settings.expand(animate=False)
    assert panel._preset.currentText() == "quality"
    assert panel.form.values() == {"lr": 3e-5}
    panel.form._rows["lr"].reset.click()  # the panel would have to be scrolled to it first
    click(panel._start)
    panel._fresh.setChecked(True)
    click(panel._start)
    lr = make_config("quality").lr
    assert [what[3] for what in session.done] == [{"lr": lr}, {}]
    session.training = TrainingState()
    panel.form.set_values({"lr": 1e-2})
    session.pool_changed.emit()
    assert panel.form.values() == {}, "another pool does not train with this one's settings"


def test_what_was_typed_is_handed_over_again_where_the_run_may_not_be_the_one_that_goes_on(panel, session, click):
    """One that was stopped before it was saved is not; its successor would have the preset's values."""
    session.training = TrainingState(run="0001", preset="quick", settings={"lr": 3e-5})
    session.pool_changed.emit()
    click(panel._start)
    assert session.done[-1][3] == {"lr": 3e-5}


def test_a_mask_that_is_mended_again_still_counts(panel, session):
    """It is in force until the next one is accepted."""
    session.cases = [SimpleNamespace(name="only", status="draft", has_mask=True)]
    session.cases_changed.emit(frozenset({"only"}))
    assert panel._start.isEnabled()
    assert panel._cohort.text() == "Would train on 1 case with masks and 0 without."


def test_a_new_run_is_begun_once(panel, session, click, qtbot):
    panel._settings.expand(animate=False)
    qtbot.keyClick(panel._fresh, Qt.Key.Key_Space)
    click(panel._start)
    click(panel._start)
    assert [what[-1] for what in session.done] == [True, False]


def test_pause_go_on_and_stop_are_asked_for(panel, session, click):
    session.be(phase="training", stage=1)
    click(panel._pause)
    session.be(phase="paused")
    click(panel._pause)
    click(panel._stop)
    assert session.done == [("pause",), ("go on",), ("stop",)]


def test_a_wrong_setting_stops_start_until_it_is_right(panel, session, qtbot, click):
    panel._settings.expand(animate=False)
    line = panel.form._rows["lr"].editor
    retype(qtbot, line, "20")
    assert not panel._start.isEnabled()
    assert panel.form._problem.isVisible()
    assert "less than or equal to 10" in panel.form._problem.text()
    assert colours_of("dark").red in panel.form._problem.styleSheet()
    retype(qtbot, line, "2")
    click(panel._start)
    assert session.done == [("start", "quick", 30, {"lr": 2}, False)]


def test_the_readers_preferences_are_what_it_begins_with(session, qtbot, monkeypatch, click):
    monkeypatch.setattr(train, "load_preferences", lambda: Preferences(minutes=7, preset="quality"))
    panel = TrainPanel(session)
    qtbot.addWidget(panel)
    panel.show()
    assert panel._preset.toolTip() == "Better masks, if you have an hour or more"
    click(panel._start)
    assert session.done == [("start", "quality", 7, {}, False)]


# -- what it shows ------------------------------------------------------------------------------------------------


def test_a_pool_is_offered_the_preset_of_its_last_run(panel, session):
    assert panel._preset.currentText() == "quick"
    session.training = TrainingState(run="0003", preset="quality")
    session.pool_changed.emit()
    assert panel._preset.currentText() == "quality"
    session.training = TrainingState(run="0001", preset="of a former release")
    session.pool_changed.emit()
    assert panel._preset.currentText() == "quality", "what it does not know it does not offer"


def test_the_wheel_scrolls_past_preset_and_minutes(panel):
    for widget in (panel._preset, panel._minutes):
        before = panel._preset.currentText(), panel._minutes.value()
        panel.setFocus()
        roll(widget)
        assert (panel._preset.currentText(), panel._minutes.value()) == before


def test_stop_is_there_while_maps_are_made(panel, session, click):
    session.be(phase="idle", making_maps=True)
    assert "no more maps" in panel._stop.toolTip()
    click(panel._stop)
    assert session.done == [("stop",)]


def test_it_says_on_what_it_would_train_and_on_what_it_trains(panel, session):
    assert panel._cohort.text() == "Would train on 3 cases with masks and 3 without."
    session.be(phase="training", labelled=4, unlabelled=2)
    assert panel._cohort.text() == "Trains on 4 cases with masks and 2 without."


def test_without_a_mask_it_says_what_to_do_and_start_waits_for_one(qtbot):
    session = HandMadeTraining(accepted=0)
    panel = TrainPanel(session)
    qtbot.addWidget(panel)
    assert not panel._start.isEnabled()
    assert panel._cohort.text() == "Training needs masks: outline and accept at least one case."
    session.cases[0].status, session.cases[0].has_mask = "accepted", True
    session.cases_changed.emit(frozenset({"case_0"}))
    assert panel._start.isEnabled()
    assert panel._cohort.text() == "Would train on 1 case with masks and 2 without."


def test_it_says_how_far_it_is_and_what_it_runs_on(panel, session):
    facts = {"phase": "training", "run": "0002", "stage": 2, "step": 1412, "steps_per_s": 3.4, "eta_s": 700.0}
    session.be(**facts, share=0.41, device="cpu", threads=2, memory_mb=1434, dice={2: 0.8, 1: 0.914})
    assert panel._where.text() == "Stage 2 · step 1,412 · 3.4 steps/s · 12 min left"
    assert panel._vitals.text() == "Run 0002 · cpu, 2 threads · 1.4 GB of memory"
    assert panel._dice.text() == "Dice on held-out cases: liver 0.91, spleen 0.80"
    assert panel._bar.value() == 410
    session.be(phase="idle", eta_s=None)
    assert panel._where.text() == "Run 0002 is at step 1,412"
    assert not panel._vitals.isVisible()


def test_curves_appear_and_grow(panel, session, qtbot):
    curves = session.training.curves
    assert not panel._loss.isVisible()
    assert not panel._quality.isVisible()
    curves.steps, curves.losses, curves.agreements = [10, 20], [1.5, 1.0], [None, 0.5]
    session.be(phase="training")
    qtbot.waitUntil(lambda: bool(panel._loss.lines))
    [loss] = panel._loss.lines
    assert (loss.x, loss.y) == ((10, 20), (1.5, 1.0))
    assert [(one.name, one.x, one.y) for one in panel._quality.lines] == [("agreement", (20,), (0.5,))]
    assert panel._loss.isVisible()
    curves.steps.append(30)
    curves.losses.append(0.8)
    curves.agreements.append(0.6)
    curves.dice.append((30, {1: 0.7}))
    session.be()
    qtbot.waitUntil(lambda: len(panel._loss.lines[0].x) == 3)
    [loss] = panel._loss.lines
    assert (loss.x, loss.y) == ((10, 20, 30), (1.5, 1.0, 0.8))
    drawn = panel._loss._plot.getPlotItem().listDataItems()[0].getData()
    assert [list(axis) for axis in drawn] == [[10, 20, 30], [1.5, 1.0, 0.8]]
    found = [(one.name, one.colour, one.x, one.y) for one in panel._quality.lines[1:]]
    assert found == [("liver", "#e69f00", (30,), (0.7,))]


def test_curves_that_nobody_looks_at_are_drawn_when_the_panel_is_shown(panel, session):
    panel.hide()
    curves = session.training.curves
    curves.steps, curves.losses, curves.agreements = [10], [1.5], [None]
    session.be(phase="training")
    assert panel._loss.lines == ()
    panel.show()
    assert panel._loss.lines[0].y == (1.5,)


def test_a_failure_says_why_with_the_log_and_the_way_on(panel, session, click, qtbot):
    failure = panel._failure
    assert not failure.isVisible()
    session.be(phase="failed", run="0001", step=40, problem="The memory ran out.", log_tail="one\nlast line")
    assert failure._text.isVisible()
    assert failure._text.text() == "The memory ran out."
    assert colours_of("dark").red in failure._text.styleSheet()
    failure._more.expand(animate=False)
    assert failure._log.toPlainText() == "one\nlast line"
    failure._log.setFocus()
    qtbot.keyClick(failure._log, Qt.Key.Key_A, Qt.KeyboardModifier.ControlModifier)
    qtbot.keyClick(failure._log, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    assert QGuiApplication.clipboard().text() == "one\nlast line", "it can be taken along without a mouse"
    click(failure._go_on)
    assert session.done == [("go on after failure",)]
    session.be(phase="starting", problem="", log_tail="")
    assert not failure.isVisible()


def test_without_a_run_there_is_nothing_to_go_on_from(panel, session):
    session.be(phase="failed", problem="No process can be started.")
    assert not panel._failure._go_on.isEnabled()
    assert not panel._failure._more.isVisible(), "nothing was written"


@pytest.mark.parametrize("phase", PHASES)
def test_every_phase_is_in_words(panel, session, phase):
    session.be(phase=phase, run="0001", step=5, stage=1, problem="It ended.")
    assert panel._where.text()
    assert phase not in ("starting", "preparing", "stopping") or panel._where.text().endswith("…")


def test_a_panel_that_is_gone_listens_no_more(session, qtbot):
    panel = TrainPanel(session)
    gone = []
    panel.destroyed.connect(lambda: gone.append(True))
    panel.deleteLater()
    qtbot.waitUntil(lambda: bool(gone))
    session.be(phase="training")
