"""The dock: header, messages, tabs, welcome page, themes, and that nothing in it is cut off."""

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QApplication, QLabel, QPushButton
from superqt import QElidingLabel

from napari_bcp.app import dock
from napari_bcp.app.canvas import canvas_of
from napari_bcp.app.dock import BcpWidget
from napari_bcp.app.export_dialog import ExportDialog
from napari_bcp.app.key_list import SECTIONS
from napari_bcp.app.panels.review_keys import KEYS
from napari_bcp.app.session import Session
from napari_bcp.app.telling import Message, Progress
from napari_bcp.app.theme import colours_of

from quiet_trainer import QuietTrainer  # isort: skip
from made_maps import made_map  # isort: skip

LEFT = Qt.MouseButton.LeftButton
MINUTE = 60_000
CASES, TRAIN, REVIEW, REPORT = range(4)


@pytest.fixture
def empty(request):
    """A session without a pool, whose training is a QuietTrainer."""
    made = Session(QuietTrainer)
    yield made
    made.close()


@pytest.fixture
def show(make_napari_viewer, qtbot):
    """Return a function that shows a dock of a session in a window of 1280 by 800; all is taken down in the end."""
    docks = []

    def make(session, viewer=None):
        if viewer is None:
            viewer = make_napari_viewer(show=True)
        viewer.window._qt_window.resize(1280, 800)
        widget = BcpWidget(viewer, session)
        docks.append(widget)
        viewer.window.add_dock_widget(widget, name="Bidirectional Copy-Paste")
        viewer.window.activate()
        qtbot.waitUntil(lambda: widget.isVisible() and widget.isActiveWindow())
        return viewer, widget

    yield make
    for widget in docks:
        widget.close_down()


def texts(widget):
    return [widget.tabs.tabText(place) for place in range(widget.tabs.count())]


def shown_page(widget):
    return widget._pages.currentWidget()


# -- pools --------------------------------------------------------------------------------------------------------


def test_without_a_pool_three_ways_to_begin_are_offered_and_do_what_they_say(show, empty, qtbot, monkeypatch, tmp_path):
    _, widget = show(empty)
    assert widget._name.text() == "No pool is open"
    assert not widget._state.isVisible()
    assert [one.text() for one in widget.welcome_buttons] == [
        "Open a folder of scans…",
        "Open a pool…",
        "Try the sample",
    ]
    assert all(one.isVisible() and one.isEnabled() for one in widget.welcome_buttons)
    asked = []
    monkeypatch.setattr(empty, "open_pool", lambda root: asked.append(("pool", root)))
    monkeypatch.setattr(empty, "open_sample", lambda folder: asked.append(("sample", folder.name)))
    answers = iter(["", str(tmp_path)])
    monkeypatch.setattr(dock.QFileDialog, "getExistingDirectory", lambda *_: next(answers))
    for _ in range(2):
        qtbot.mouseClick(widget.welcome_buttons[1], LEFT)
    assert asked == [("pool", tmp_path)], "a dialog that is cancelled opens nothing"
    qtbot.mouseClick(widget.welcome_buttons[2], LEFT)
    assert asked[1:] == [("sample", "sample")]
    qtbot.mouseClick(widget.welcome_buttons[0], LEFT)
    [dialog] = widget._dialogs.values()
    assert dialog.isVisible()
    dialog.reject()
    enabled = {text: action.isEnabled() for text, action in widget.pool_actions.items()}
    off = ["Add scans…", "Scans have moved…", "Classes…", "Export masks…", "Close the pool"]
    assert [text for text, on in enabled.items() if not on] == off


def test_a_pool_fills_the_panels_and_closing_it_brings_the_welcome_page_back(show, quiet, pumped, phantom_pool):
    session, _ = quiet
    _, widget = show(session)
    assert (widget._name.text(), widget._name.toolTip()) == ("pool", str(phantom_pool))
    assert shown_page(widget) is widget.tabs
    assert widget._state.text() == "Not training"
    assert widget.cases.table.model().rowCount() == 8
    session._telling.tell("error", "Something about this pool.", "cases")
    widget.pool_actions["Close the pool"].trigger()
    pumped(session, lambda: session.pool is None)
    assert shown_page(widget) is not widget.tabs
    assert widget.cases.message.text == "", "messages about a pool go with it"
    assert texts(widget) == ["Cases", "Train", "Review", "Report"]


def test_the_sliders_are_there_before_the_first_layer_and_gone_with_the_last(show, quiet, pumped):
    session, _ = quiet
    viewer, _ = show(session)
    seen = []
    viewer.layers.events.inserting.connect(lambda _: seen.append(viewer.dims.ndim))
    session.open_case("phantom_004")
    pumped(session, lambda: session.current is not None)
    assert seen[0] == 3
    session.close_pool()
    pumped(session, lambda: session.pool is None)
    assert viewer.dims.ndim == 2


def test_behind_a_scan_it_is_black_in_a_light_theme_too(show, quiet, pumped):
    session, _ = quiet
    viewer, _ = show(session)
    viewer.theme = "light"

    def corner():
        return viewer.screenshot(canvas_only=True, flash=False)[0, 0, :3].tolist()

    light = corner()
    assert min(light) > 200
    session.open_case("phantom_004")
    pumped(session, lambda: "labels" in viewer.layers)
    assert corner() == [0, 0, 0]
    session.close_pool()
    pumped(session, lambda: session.pool is None)
    assert corner() == light


def test_masks_are_exported_from_the_menu(show, quiet, pumped, qtbot, tmp_path):
    session, _ = quiet
    _, widget = show(session)
    widget.pool_actions["Export masks…"].trigger()
    dialog = widget.findChild(ExportDialog)
    dialog.folder.setText(str(tmp_path / "out"))
    qtbot.mouseClick(dialog._ok, LEFT)
    pumped(session, lambda: "cases.csv lists them" in widget.cases.message.text)
    assert (tmp_path / "out" / "accepted" / "phantom_001.nii.gz").is_file()


def test_a_new_pool_is_summed_up(show, empty, pumped, phantom_cohort, tmp_path):
    _, widget = show(empty)
    dialog = widget._dialog(extend=False)
    dialog.folders = lambda: (phantom_cohort / "images", phantom_cohort / "labels")
    dialog.pool_folder = lambda: tmp_path / "made"
    dialog.class_specs = lambda: None
    dialog.accepted.emit()
    pumped(empty, lambda: empty.pool is not None)
    assert widget.message.text.startswith("The pool has 8 cases and 3 masks.")
    assert not widget._progress.isVisible()


# -- messages, header, tabs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["cases", "train", "review", "report"])
def test_a_message_goes_to_its_panel_and_marks_the_tab_until_it_is_seen(show, quiet, qtbot, where):
    session, _ = quiet
    _, widget = show(session)
    place = ["cases", "train", "review", "report"].index(where)
    lines = [widget.cases.message, widget.train.message, widget._review_message, widget.report.message]
    widget.tabs.setCurrentIndex((place + 1) % 4)
    session.told.emit(Message("info", "By the way.", where))
    assert texts(widget)[place] == where.capitalize(), "an info does not call"
    session.told.emit(Message("warning", "Look here.", where))
    assert [line.text for line in lines] == ["Look here." if line is lines[place] else "" for line in lines]
    assert texts(widget)[place] == f"{where.capitalize()} ●"
    assert widget.message.text == ""
    bar = widget.tabs.tabBar()
    qtbot.mouseClick(bar, LEFT, pos=bar.tabRect(place).center())
    assert texts(widget)[place] == where.capitalize()
    assert lines[place].isVisible()
    session.told.emit(Message("error", "And here.", where))
    assert texts(widget)[place] == where.capitalize(), "who looks at it needs no mark"


def test_what_belongs_to_no_panel_stands_below_the_header(show, empty):
    _, widget = show(empty)
    empty.told.emit(Message("error", "There is no pool in this folder.\nwith details"))
    assert widget.message.isVisible()
    assert widget.message.text == "There is no pool in this folder."


def test_why_a_training_failed_is_said_once(show, quiet):
    session, trainer = quiet
    _, widget = show(session)
    trainer.state.phase, trainer.state.problem = "failed", "The memory ran out."
    session._coach.training_changed.emit()
    session.told.emit(Message("error", "The memory ran out.", "train"))
    assert texts(widget)[TRAIN] == "Train ●"
    widget.tabs.setCurrentIndex(TRAIN)
    assert widget.train._failure.isVisible()
    assert widget.train.message.text == ""
    assert widget._state.text() == "Training failed"


def test_the_header_says_how_the_training_goes_and_leads_to_it(show, quiet, qtbot):
    session, trainer = quiet
    _, widget = show(session)
    state = trainer.state
    state.phase, state.stage, state.step, state.eta_s = "training", 2, 1412, 240.0
    session._coach.training_changed.emit()
    assert widget._state.text() == "Training · stage 2 · step 1,412 · 4 min left"
    qtbot.mouseClick(widget._state, LEFT)
    assert widget.tabs.currentIndex() == TRAIN


def test_progress_is_a_line_with_the_time_that_is_left_and_goes_when_done(show, quiet):
    session, _ = quiet
    _, widget = show(session)
    assert not widget._progress.isVisible()
    session.progress_changed.emit(Progress("making maps", 30, 1200, 125.0))
    assert widget._progress_text.text() == "Making maps: 30 of 1,200, 2 min left"
    assert (widget._progress.value(), widget._progress.maximum()) == (30, 1200)
    assert widget._progress.isVisible()
    session.progress_changed.emit(Progress("opening pool"))
    assert widget._progress_text.text() == "Opening pool…"
    assert widget._progress.maximum() == 0, "Qt then shows that something moves"
    session.progress_changed.emit(None)
    assert not widget._progress.isVisible()
    assert not widget._progress_text.isVisible()


def test_alt_and_a_number_open_a_tab(show, quiet, qtbot):
    session, _ = quiet
    _, widget = show(session)
    for place in (REPORT, TRAIN, REVIEW, CASES):
        focus = widget.window().focusWidget() or widget
        if not widget.isAncestorOf(focus):
            widget.tabs.tabBar().setFocus()
            focus = widget.tabs.tabBar()
        qtbot.keyClick(focus, Qt.Key(Qt.Key.Key_1 + place), Qt.KeyboardModifier.AltModifier)
        assert widget.tabs.currentIndex() == place
        assert f"Alt+{place + 1}" in widget.tabs.tabToolTip(place)


def test_alt_and_a_number_work_from_the_canvas_too(show, quiet, qtbot):
    session, _ = quiet
    viewer, widget = show(session)
    canvas = canvas_of(viewer).native
    canvas.setFocus()
    qtbot.keyClick(canvas, Qt.Key.Key_3, Qt.KeyboardModifier.AltModifier)
    assert widget.tabs.currentIndex() == REVIEW


def test_what_was_said_of_a_case_is_gone_with_the_next(show, quiet, pumped):
    session, _ = quiet
    _, widget = show(session)
    session.open_case("phantom_004")
    pumped(session, lambda: session.current is not None)
    session.told.emit(Message("warning", "phantom_004: it has no units.", "review"))
    session.case_opened.emit()
    assert widget._review_message.text == "phantom_004: it has no units.", "it is the same case"
    session.open_case("phantom_005")
    pumped(session, lambda: session.current.name == "phantom_005")
    assert widget._review_message.text == ""


def test_opening_a_case_from_the_list_leads_to_its_review(show, quiet, pumped):
    session, _ = quiet
    _, widget = show(session)
    assert widget.tabs.currentIndex() == CASES
    session.open_case("phantom_004")
    pumped(session, lambda: session.current is not None)
    assert widget.tabs.currentIndex() == REVIEW
    widget.tabs.setCurrentIndex(TRAIN)
    session.open_case("phantom_005")
    pumped(session, lambda: session.current.name == "phantom_005")
    assert widget.tabs.currentIndex() == TRAIN, "nobody is torn away from another panel"


# -- life ---------------------------------------------------------------------------------------------------------


def test_closing_the_dock_keeps_the_session_and_a_second_dock_shows_the_same(show, quiet, pumped, qtbot):
    session, _ = quiet
    viewer, widget = show(session)
    session.open_case("phantom_004")
    pumped(session, lambda: session.current is not None)
    assert "scan" in viewer.layers
    gone = []
    widget.destroyed.connect(lambda: gone.append(True))
    viewer.window.remove_dock_widget(widget)
    qtbot.waitUntil(lambda: bool(gone), timeout=MINUTE)
    assert "scan" not in viewer.layers, "its layers go with it"
    assert session.pool is not None
    assert session.current.name == "phantom_004"
    session._telling.tell("info", "nobody is there")
    _, second = show(session, viewer)
    assert second._name.text() == "pool"
    assert second.review._name.text() == "phantom_004"
    pumped(session, lambda: "labels" in viewer.layers)
    assert viewer.layers["labels"].data is session.current.labels


def test_closing_down_twice_does_no_harm(show, quiet):
    _, widget = show(quiet[0])
    widget.close_down()
    widget.close_down()


def test_panels_follow_the_theme(show, quiet):
    session, _ = quiet
    viewer, widget = show(session)
    found = []
    for theme in ("light", "dark"):
        viewer.theme = theme
        colours = colours_of(theme)
        assert widget.train._colours == colours
        assert widget.review._colours == colours
        session.told.emit(Message("error", f"In {theme}."))
        assert widget.message._stripe.name() == colours.red
        axis = widget.train._loss._plot.getPlotItem().getAxis("left")
        assert axis.textPen().color().name() == colours.dim
        found.append(colours)
    assert found[0].blue != found[1].blue


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_text_and_signs_stand_out_from_the_background(qapp, theme):
    """By the contrast of WCAG 2.1: 4.5 for text, 3 for signs."""
    colours = colours_of(theme)

    def brightness(colour):
        channels = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    def contrast(colour):
        low, high = sorted((brightness(colour), brightness(colours.background)))
        return (high + 0.05) / (low + 0.05)

    assert contrast(colours.text) >= 4.5
    assert contrast(colours.red) >= 4.5, "failures are written in it"
    assert min(contrast(one) for one in (colours.blue, colours.orange, colours.green)) >= 3


# -- room ---------------------------------------------------------------------------------------------------------


def cut_off(widget):
    """Return the visible buttons and labels below `widget` that are too narrow for their text."""
    QApplication.processEvents()  # Qt lays out what has changed only now
    found = []
    for one in [*widget.findChildren(QPushButton), *widget.findChildren(QLabel)]:
        if not one.isVisible() or isinstance(one, QElidingLabel) or (isinstance(one, QLabel) and one.wordWrap()):
            continue
        metrics = one.fontMetrics()
        wanted = max((metrics.horizontalAdvance(line) for line in one.text().split("\n")), default=0)
        if isinstance(one, QPushButton) and not one.icon().isNull():
            wanted += one.iconSize().width()
        left = one.mapTo(widget, one.rect().topLeft()).x()
        if one.width() < wanted or left < 0 or left + one.width() > widget.width():
            found.append((type(one).__name__, one.text(), one.width(), wanted))
    return found


@pytest.fixture
def full(quiet, pumped, phantom_pool):
    """A session with a case that has a map with islands, and everything to say."""
    session, trainer = quiet
    shape = session.pool.case("phantom_004").shape
    labels = np.zeros(shape, np.uint8)
    labels[10:20, 10:20, 8:20], labels[22:28, 10:16, 8:20], labels[30:34, 20:24, 8:20] = 1, 2, 3
    trainer.heard(made_map(phantom_pool, "phantom_004", labels))
    pumped(session, lambda: session._cohort.cases["phantom_004"].map is not None)
    session.open_case("phantom_004")
    pumped(session, lambda: session.current is not None and session.current.map is not None)
    return session, trainer


def test_nothing_is_cut_off_at_1280_by_800(show, full, pumped, qtbot):
    session, trainer = full
    viewer, widget = show(session)
    assert (viewer.window._qt_window.width(), viewer.window._qt_window.height()) == (1280, 800)
    for place in range(4):
        widget.tabs.setCurrentIndex(place)
        qtbot.waitUntil(widget.tabs.currentWidget().isVisible)
        assert cut_off(widget) == []
    case = session.current
    box = (slice(0, 3), slice(0, 9), slice(0, 9))
    old = case.labels[box].copy()
    case.labels[box] = 1
    case.edits.record_stroke([(box, None, old, 1)])
    widget.tabs.setCurrentIndex(REVIEW)
    qtbot.mouseClick(widget.review.verdict.reject, LEFT)
    assert widget.review.verdict.question.isVisible()
    case.edits.apply("clear", np.zeros_like(case.labels))
    widget.review.lists.setCurrentIndex(1)
    pumped(session, lambda: widget.review.lists.islands.topLevelItemCount() >= 2)
    assert cut_off(widget) == []
    trainer.state.phase, trainer.state.problem, trainer.state.log_tail = "failed", "It ended.", "line"
    session._coach.training_changed.emit()
    widget.tabs.setCurrentIndex(TRAIN)
    widget.train._settings.expand(animate=False)
    widget.train.form.set_values({"lr": 3e-5, "loss": "dml"})
    qtbot.waitUntil(widget.train.form._reset_all.isVisible)
    assert cut_off(widget) == []
    assert viewer.window._qt_window.width() == 1280
    assert viewer.window._qt_viewer.canvas.native.width() > 400, "the scan keeps most of the window"


def test_nothing_is_cut_off_of_an_accepted_case_and_the_welcome_page(show, full, pumped, qtbot):
    session, _ = full
    _, widget = show(session)
    widget.tabs.setCurrentIndex(REVIEW)
    session.open_case("phantom_001")
    pumped(session, lambda: session.current.name == "phantom_001")
    qtbot.waitUntil(widget.review.verdict.reopen.isVisible)
    assert cut_off(widget) == []
    session.close_pool()
    pumped(session, lambda: session.pool is None)
    assert cut_off(widget) == []


def test_all_keys_are_listed_and_every_line_can_be_read(show, session, qtbot):
    _, widget = show(session)
    widget.window().activateWindow()
    widget.welcome_buttons[0].setFocus()
    qtbot.keyClick(widget.welcome_buttons[0], Qt.Key.Key_F1)
    qtbot.waitUntil(lambda: widget._keys is not None and widget._keys.isVisible())
    written = {label.text() for label in widget._keys.findChildren(QLabel)}
    for keys in KEYS.values():
        assert QKeySequence(keys[-1]).toString(QKeySequence.SequenceFormat.NativeText) in written
    listed = " ".join(keys for section in SECTIONS.values() for keys, _ in section)
    for action in widget.cases.table.actions():
        assert action.shortcut().toString(QKeySequence.SequenceFormat.PortableText).replace("Del", "Delete") in listed
    for label in widget._keys.findChildren(QLabel):
        assert label.width() >= label.sizeHint().width(), label.text()
    widget._keys.close()


def test_what_can_be_given_up_has_a_button_beside_its_progress(show, quiet, click):
    session, _ = quiet
    _, widget = show(session)
    given_up = []
    session._telling.show_progress("reading scans", 3, 40, cancel=lambda: given_up.append(True))
    click(widget._cancel)
    assert given_up == [True]
    session._telling.show_progress("making maps", 1, 2)
    assert widget._progress.isVisible()
    assert not widget._cancel.isVisible(), "of the training"
    session._telling.end_progress("making maps")
    assert widget._cancel.isVisible()
    session._telling.end_progress("reading scans")
    assert not widget._cancel.isVisible()
