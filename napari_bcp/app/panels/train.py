"""Train: start, pause and stop, how well it goes, and every setting for those who want it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QProgressBar,
    QScrollArea,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_bcp.app.coach import TRAINED
from napari_bcp.app.forms import SettingsForm
from napari_bcp.app.listen import listen
from napari_bcp.app.parts import MessageLine, button, guard_wheel, wrapped_label
from napari_bcp.app.plots import Line, Plot
from napari_bcp.app.preferences import load as load_preferences
from napari_bcp.app.text_labels import colour_text, selectable
from napari_bcp.app.wording import counted, dice_line, duration
from napari_bcp.config import PRESETS, TrainConfig, make_config
from napari_bcp.errors import SettingError

if TYPE_CHECKING:
    from qtpy.QtGui import QShowEvent

    from napari_bcp.app.session import Session, TrainingState
    from napari_bcp.app.theme import Colours

_PRESET_TIPS: Final = {
    "quick": "First masks within minutes, on any computer",
    "quality": "Better masks, if you have an hour or more",
    "paper-la": "As published for the left atrium (Bai et al., 2023)",
    "paper-acdc": "As published for the heart in cine MR (Bai et al., 2023)",
    "paper-pancreas": "As published for the pancreas (Bai et al., 2023)",
}
_PHASES: Final = {
    "idle": "",
    "starting": "Starting…",
    "preparing": "Reading scans and making a plan…",
    "paused": "Paused",
    "stopping": "Saving and stopping…",
    "failed": "",
}

_CURVES_MS: Final = 1000  # between two drawings: text of axes is slow to draw without a graphics card


class TrainPanel(QWidget):
    """The training of the open pool."""

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._colours: Colours | None = None
        self.message = MessageLine()
        self._curves_soon = QTimer(self, interval=_CURVES_MS, singleShot=True)
        self._curves_soon.timeout.connect(self._show_curves_now)
        self._preset = QComboBox()
        for place, name in enumerate(PRESETS):
            self._preset.addItem(name)
            self._preset.setItemData(place, _PRESET_TIPS.get(name, name), Qt.ItemDataRole.ToolTipRole)
        wishes = load_preferences()
        self._preset.setCurrentText(wishes.preset)
        self._preset.setAccessibleName("Preset")
        self._minutes = QSpinBox()
        self._minutes.setRange(1, 100_000)
        self._minutes.setValue(wishes.minutes)
        self._minutes.setSuffix(" min")
        self._minutes.setToolTip("How long to train; masks can be reviewed all the while, and it can stop at any time")
        self._minutes.setAccessibleName("Minutes")
        guard_wheel(self._preset, self._minutes)
        self._cohort = wrapped_label()
        self._start = button("Start", "Train for the time above; what was learnt before is kept", self._do_start)
        self._pause = button("Pause", "", self._do_pause)
        self._stop = button("Stop", "Save and end the training; it can go on later from here", self._do_stop)
        self._bar = QProgressBar()
        self._bar.setRange(0, 1000)
        self._bar.setTextVisible(False)
        self._bar.setFixedHeight(8)
        self._where, self._vitals, self._dice = wrapped_label(), wrapped_label(), wrapped_label()
        self._failure = _Failure(self._do_continue)
        self._loss = Plot("Loss", "What the student minimises; it should fall and then level off", "step")
        self._quality = Plot(
            "Quality",
            "Agreement: Dice between teacher and student on unlabelled scans. "
            "Classes: Dice of the teacher on labelled cases that are held out.",
            "step",
            span=(0, 1),
        )
        self._fresh = QCheckBox("Begin a new run")
        self._fresh.setToolTip("Start from nothing instead of going on with the last run; the old run is kept")
        self.form = SettingsForm(self._preset.currentText())
        self._settings = QCollapsible("All settings")
        self._lay_out()

        self._preset.currentTextChanged.connect(self._choose_preset)
        self.form.changed.connect(self._show_settings)
        listen(self, session.training_changed, self._show_training)
        listen(self, session.cases_changed, self._show_training)
        listen(self, session.pool_changed, self._show_pool)
        self._choose_preset(self._preset.currentText())

    def set_colours(self, colours: Colours) -> None:
        """Follow the theme."""
        self._colours = colours
        self.message.set_colours(colours)
        self.form.set_colours(colours)
        self._failure.set_colours(colours)
        self._loss.set_colours(colours)
        self._quality.set_colours(colours)
        self._show_curves(self._session.training)

    def showEvent(self, event: QShowEvent) -> None:
        """Draw what has been left out while nobody looked."""
        super().showEvent(event)
        self._show_training()
        self._show_curves_now()

    def _lay_out(self) -> None:
        choice = QHBoxLayout()
        choice.addWidget(QLabel("Preset"))
        choice.addWidget(self._preset, 1)
        choice.addWidget(QLabel("for"))
        choice.addWidget(self._minutes)
        buttons = QHBoxLayout()
        for one in (self._start, self._pause, self._stop):
            buttons.addWidget(one, 1)
        self._settings.addWidget(self._fresh)
        self._settings.addWidget(self.form)
        inside = QWidget()
        column = QVBoxLayout(inside)
        column.setContentsMargins(6, 8, 6, 6)
        column.setSpacing(7)
        column.addLayout(choice)
        column.addWidget(self._cohort)
        column.addLayout(buttons)
        for widget in (self._bar, self._where, self._vitals, self._dice, self._failure):
            column.addWidget(widget)
        column.addWidget(self._loss)
        column.addWidget(self._quality)
        column.addWidget(self._settings)
        column.addStretch()
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(inside)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.setSpacing(0)
        whole.addWidget(self.message)
        whole.addWidget(area, 1)

    # -- showing ----------------------------------------------------------------------------------------------

    def _show_pool(self) -> None:
        """Offer to go on with the pool's last run and its settings: another preset would begin a new one."""
        preset = self._session.training.preset
        if preset in PRESETS:
            self._preset.setCurrentText(preset)
        self.form.set_values(self._settings_of_last_run() or {})
        self._show_training()

    def _settings_of_last_run(self) -> dict[str, Any] | None:
        """Return all settings of the last run, None where there is none, or none that can be used any more."""
        training = self._session.training
        own = {name: value for name, value in training.settings.items() if name in TrainConfig.model_fields}
        try:
            return make_config(training.preset, own).model_dump() if training.run else None
        except SettingError:
            return None

    def _show_training(self, *_: object) -> None:
        training = self._session.training
        phase = training.phase
        resting = phase in ("idle", "failed")
        labelled, unlabelled = self._cohort_sizes(training)
        self._start.setEnabled(resting and labelled > 0 and not self.form.problems())
        self._pause.setEnabled(phase in ("training", "paused"))
        self._pause.setText("Go on" if phase == "paused" else "Pause")
        self._pause.setToolTip(
            "Go on with the training" if phase == "paused" else "Free the processor for a while; nothing is lost"
        )
        self._stop.setEnabled(phase in ("starting", "preparing", "training", "paused") or training.making_maps)
        self._stop.setToolTip(
            "Make no more maps now; the next training does, and Predict now in Cases"
            if training.making_maps
            else "Save and end the training; it can go on later from here"
        )
        for widget in (self._preset, self._minutes, self._fresh):
            widget.setEnabled(resting)
        self.form.setEnabled(resting)
        self._cohort.setText(_cohort_text(labelled, unlabelled, 0 if resting else training.held_out, resting))
        self._bar.setVisible(not resting)
        self._bar.setValue(round(1000 * training.share))
        _set_or_hide(self._where, _where_text(training))
        _set_or_hide(self._vitals, _vitals_text(training))
        names = {one.value: one.name for one in self._session.classes}
        _set_or_hide(self._dice, f"Dice on held-out cases: {dice_line(training.dice, names)}" if training.dice else "")
        self._failure.show_failure(training)
        if not training.active:
            self._show_curves_now()
        elif not self._curves_soon.isActive():
            self._curves_soon.start()

    def _cohort_sizes(self, training: TrainingState) -> tuple[int, int]:
        """Return on how many cases with and without masks the run trains, or would train if it began now."""
        if training.phase not in ("idle", "failed", "starting"):
            return training.labelled, training.unlabelled
        cases = [case for case in self._session.cases if case.status in TRAINED]
        labelled = sum(case.has_mask for case in cases)
        return labelled, len(cases) - labelled

    def _show_curves_now(self) -> None:
        self._curves_soon.stop()
        if self.isVisible():
            self._show_curves(self._session.training)

    def _show_curves(self, training: TrainingState) -> None:
        if self._colours is None:
            return
        curves = training.curves
        self._loss.show_lines([Line("", self._colours.blue, curves.steps, curves.losses)] if curves.steps else [])
        agreed = [(x, y) for x, y in zip(curves.steps, curves.agreements, strict=True) if y is not None]
        lines = []
        if agreed:
            lines.append(Line("agreement", self._colours.dim, [x for x, _ in agreed], [y for _, y in agreed]))
        for one in self._session.classes:
            points = [(step, dice[one.value]) for step, dice in curves.dice if one.value in dice]
            if points:
                lines.append(Line(one.name, one.colour, [x for x, _ in points], [y for _, y in points], dots=True))
        self._quality.show_lines(lines)
        self._loss.setVisible(bool(curves.steps))
        self._quality.setVisible(bool(lines))

    def _show_settings(self) -> None:
        number = len(self.form.values()) + len(self.form.problems())
        text = "All settings" + (f" ({counted(number, 'change')})" if number else "")
        if self._settings.text() != text:
            self._settings.setText(text)
        self._show_training()

    # -- acting -----------------------------------------------------------------------------------------------

    def _choose_preset(self, name: str) -> None:
        self._preset.setToolTip(_PRESET_TIPS.get(name, name))
        self.form.set_preset(name)

    def _do_start(self) -> None:
        preset, fresh = self._preset.currentText(), self._fresh.isChecked()
        # A run that goes on keeps its settings but for those that are named: also those that were put back.
        own = None if fresh or preset != self._session.training.preset else self._settings_of_last_run()
        settings = {**self.form.values(), **({} if own is None else self.form.differing(own))}
        self._session.start_training(preset, self._minutes.value(), settings, fresh=fresh)
        self._fresh.setChecked(False)

    def _do_pause(self) -> None:
        if self._session.training.phase == "paused":
            self._session.resume_training()
        else:
            self._session.pause_training()

    def _do_stop(self) -> None:
        self._session.stop_training()

    def _do_continue(self) -> None:
        self._session.continue_after_failure()


class _Failure(QWidget):
    """Why the training ended, what it last wrote, and the way on."""

    def __init__(self, go_on: object) -> None:
        super().__init__()
        self._text = wrapped_label()
        selectable(self._text)
        self._log = QPlainTextEdit()
        self._log.setReadOnly(True)
        selectable(self._log)
        self._log.setAccessibleName("What the training last wrote")
        self._log.setFixedHeight(140)
        self._log.setTabChangesFocus(True)
        self._log.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self._more = QCollapsible("What it last wrote")
        self._more.addWidget(self._log)
        self._go_on = button(
            "Go on from the last checkpoint",
            "Start again where the training was last saved",
            go_on,  # type: ignore[arg-type]
        )
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self._text)
        column.addWidget(self._go_on)
        column.addWidget(self._more)

    def set_colours(self, colours: Colours) -> None:
        """Follow the theme."""
        colour_text(self._text, colours.red)

    def show_failure(self, training: TrainingState) -> None:
        """Show why, if the training failed."""
        failed = training.phase == "failed"
        self.setVisible(failed)
        if not failed:
            return
        self._text.setText(training.problem or "The training ended unexpectedly.")
        if self._log.toPlainText() != training.log_tail:
            self._log.setPlainText(training.log_tail)
        self._more.setVisible(bool(training.log_tail))
        self._go_on.setEnabled(bool(training.run))


def _cohort_text(labelled: int, unlabelled: int, held_out: int, resting: bool) -> str:
    if not labelled:
        return "Training needs masks: outline and accept at least one case." if resting else ""
    verb = "Would train" if resting else "Trains"
    judges = f" ({held_out:,} held out to judge it)" if held_out else ""
    return f"{verb} on {counted(labelled, 'case')} with masks{judges} and {unlabelled:,} without."


def _where_text(training: TrainingState) -> str:
    """Return how far a running training is."""
    if training.phase == "training":
        parts = [f"Stage {training.stage}", f"step {training.step:,}"]
        if training.steps_per_s:
            parts.append(f"{training.steps_per_s:.2g} steps/s")
        if training.eta_s is not None:
            parts.append(f"{duration(training.eta_s)} left")
    elif training.phase in ("idle", "failed") and training.run:
        parts = [f"Run {training.run} is at step {training.step:,}"]
    else:
        parts = [_PHASES.get(training.phase, training.phase)]
        if training.phase == "paused":
            parts.append(f"step {training.step:,}")
    return " · ".join(part for part in parts if part)


def _vitals_text(training: TrainingState) -> str:
    """Return what the training runs on."""
    if training.phase in ("idle", "failed", "starting"):
        return ""
    parts = []
    if training.run:
        parts.append(f"Run {training.run}")
    if training.device:
        parts.append(training.device + (f", {counted(training.threads, 'thread')}" if training.threads else ""))
    if training.memory_mb:
        gigabytes = training.memory_mb / 1024
        parts.append(f"{gigabytes:.1f} GB of memory" if gigabytes >= 1 else f"{training.memory_mb:.0f} MB of memory")
    return " · ".join(parts)


def _set_or_hide(label: QLabel, text: str) -> None:
    if label.text() != text:
        label.setText(text)
    label.setVisible(bool(text))
