"""Messages, questions and plots, as the panels put them together."""

import pytest
from napari.qt import get_stylesheet
from qtpy.QtCore import Qt
from qtpy.QtGui import QImage
from qtpy.QtWidgets import QApplication, QLineEdit, QPlainTextEdit, QPushButton, QVBoxLayout, QWidget
from strokes import roll

from napari_bcp.app.parts import MessageLine, Note, Question, button
from napari_bcp.app.plots import Line, Plot, save_picture
from napari_bcp.app.theme import colours_of
from napari_bcp.errors import PoolError

LEFT = Qt.MouseButton.LeftButton
DARK = colours_of("dark")


def buttons(widget):
    """The buttons that can be seen, by their text."""
    return {one.text(): one for one in widget.findChildren(QPushButton) if one.isVisible()}


@pytest.fixture
def window(qtbot):
    """A window with two fields in it, the second of which has the keys."""
    made = QWidget()
    made.field = QLineEdit()
    column = QVBoxLayout(made)
    column.addWidget(QLineEdit())
    column.addWidget(made.field)
    qtbot.addWidget(made)
    with qtbot.waitActive(made):
        made.show()
        made.activateWindow()
    made.field.setFocus()
    return made


@pytest.fixture
def line(window):
    made = MessageLine()
    made.set_colours(DARK)
    window.layout().addWidget(made)
    return made


@pytest.fixture
def question(window):
    made = Question()
    made.set_colours(DARK)
    window.layout().addWidget(made)
    return made


# -- messages -----------------------------------------------------------------------------------------------------


def test_without_a_message_there_is_no_line(line):
    assert not line.isVisible()
    assert line.text == ""
    line.dismiss()
    assert not line.isVisible()


def test_a_message_shows_its_sentence_and_keeps_its_details_for_who_asks(line, qtbot):
    line.show_message(Note("error", "The scan is torn.\nTraceback\nof the error"))
    details = line.findChild(QPlainTextEdit)
    assert line.text == "The scan is torn."
    assert line._text.text() == "✖ The scan is torn."
    assert not details.isVisible()
    qtbot.mouseClick(buttons(line)["Details"], LEFT)
    assert details.isVisible()
    assert details.toPlainText() == "Traceback\nof the error"
    line.set_colours(colours_of("light"))
    assert details.isVisible(), "another theme is no reason to close what somebody reads"
    line.show_message(Note("warning", "One more."))
    assert not details.isVisible()
    assert "Details" not in buttons(line)
    assert line._text.text() == "⚠ One more.  (+1 earlier)"


def test_a_dismissed_message_lets_the_earlier_one_come_back(line, qtbot):
    line.show_message(Note("error", "First."))
    line.show_message(Note("warning", "Second."))
    qtbot.mouseClick(buttons(line)["✕"], LEFT)
    assert line.text == "First."
    qtbot.keyClick(buttons(line)["✕"], Qt.Key.Key_Space)
    assert not line.isVisible()


def test_of_infos_only_the_newest_is_kept_and_an_error_stays_until_it_is_dismissed(line):
    for note in (Note("error", "It failed."), Note("info", "Saved."), Note("info", "Saved again.")):
        line.show_message(note)
    assert line._text.text() == "Saved again.  (+1 earlier)"
    line.dismiss()
    assert line.text == "It failed."


def test_the_same_message_again_is_no_second_one(line):
    for _ in range(3):
        line.show_message(Note("error", "The disk is full."))
    line.dismiss()
    assert not line.isVisible()


def test_a_flood_of_messages_keeps_the_last_twenty(line):
    for number in range(50):
        line.show_message(Note("error", f"Failure {number}."))
    for number in range(49, 29, -1):
        assert line.text == f"Failure {number}."
        line.dismiss()
    assert not line.isVisible()


def test_text_from_files_is_shown_as_it_is_and_no_markup(line):
    line.show_message(Note("error", "<img src='x'> is no scan."))
    assert line._text.textFormat() == Qt.TextFormat.PlainText


def test_the_edge_has_the_colour_of_the_level(line):
    for level, colour in (("info", DARK.blue), ("warning", DARK.orange), ("error", DARK.red)):
        line.show_message(Note(level, f"A message of the level {level}."))
        assert line.grab().toImage().pixelColor(1, line.height() // 2).name() == colour


def test_a_long_path_breaks_instead_of_widening_the_window(line, window):
    window.resize(360, 300)
    line.show_message(Note("error", "No room for " + "/of_a_folder_with_a_long_name" * 8 + "/0001.nii.gz; free some."))
    QApplication.processEvents()
    assert window.width() == 360
    assert line.width() <= 360
    assert line._text.height() >= line._text.heightForWidth(line._text.width()), "no line may be cut off"


def test_a_button_with_a_sign_alone_is_named_by_its_tip(qtbot):
    made = button("✕", "Dismiss the message")
    qtbot.addWidget(made)
    assert made.accessibleName() == "Dismiss the message"


# -- questions ----------------------------------------------------------------------------------------------------


def test_a_question_is_there_until_it_is_answered_and_does_what_was_asked_once(question, qtbot):
    done = []
    assert not question.isVisible()
    question.ask("2 drafts will be gone.", "Put 2 cases back", lambda: done.append("put back"))
    assert question.isVisible()
    assert question._text.text() == "2 drafts will be gone."
    assert list(buttons(question)) == ["Put 2 cases back", "Cancel"]
    yes = buttons(question)["Put 2 cases back"]
    qtbot.mouseClick(yes, LEFT)
    assert done == ["put back"]
    assert not question.isVisible()
    yes.click()
    assert done == ["put back"]


def test_who_answers_by_the_keys_cancels_first(question, window, qtbot):
    """Space on what has the keys must not take work away."""
    done = []
    question.ask("A draft will be gone.", "Put it back", lambda: done.append("put back"))
    assert QApplication.focusWidget() is buttons(question)["Cancel"]
    qtbot.keyClick(QApplication.focusWidget(), Qt.Key.Key_Space)
    assert not question.isVisible()
    assert not done
    assert QApplication.focusWidget() is window.field, "the keys go back to where they were"


def test_escape_cancels_and_tab_reaches_the_other_answer(question, window, qtbot):
    done = []
    question.ask("A draft will be gone.", "Put it back", lambda: done.append("put back"))
    qtbot.keyClick(QApplication.focusWidget(), Qt.Key.Key_Escape)
    assert not question.isVisible()
    question.ask("A draft will be gone.", "Put it back", lambda: done.append("put back"))
    qtbot.keyClick(QApplication.focusWidget(), Qt.Key.Key_Backtab)
    qtbot.keyClick(QApplication.focusWidget(), Qt.Key.Key_Space)
    assert done == ["put back"]
    assert QApplication.focusWidget() is window.field


def test_a_question_forgets_the_one_before(question, qtbot):
    done = []
    question.ask("The first?", "Do the first", lambda: done.append(1))
    question.ask("The second?", "Do the second", lambda: done.append(2))
    qtbot.mouseClick(buttons(question)["Do the second"], LEFT)
    assert done == [2]


def test_the_widget_that_had_the_keys_may_be_gone_when_a_question_is_answered(question, window, qtbot):
    done = []
    question.ask("A draft will be gone.", "Put it back", lambda: done.append("put back"))
    window.field.deleteLater()
    QApplication.sendPostedEvents(window.field, 52)  # DeferredDelete
    qtbot.mouseClick(buttons(question)["Put it back"], LEFT)
    assert done == ["put back"]


# -- plots --------------------------------------------------------------------------------------------------------


@pytest.fixture
def plot(qtbot):
    """Return a function that makes a plot of 360 by 200 pixels."""

    def make(**how):
        made = Plot("Loss", "It should fall", "step", **how)
        qtbot.addWidget(made)
        made.set_colours(DARK)
        made.resize(360, 200)
        made.show()
        qtbot.waitExposed(made)
        return made

    return make


def test_a_title_stands_right_above_its_plot_however_much_room_is_left(plot, qtbot):
    """As in a panel of a large window, where the space below is the panel's."""
    made = plot()
    panel = QWidget()
    qtbot.addWidget(panel)
    column = QVBoxLayout(panel)
    column.addWidget(made)
    column.addStretch()
    panel.resize(400, 900)
    panel.show()
    qtbot.waitExposed(panel)
    assert made.height() < 250
    assert made._plot.y() - made._heading.geometry().bottom() < 10


def axis(plot, side):
    return plot._plot.getPlotItem().getAxis(side)


def marks(plot, side):
    """The numbers beside an axis, as text."""
    QApplication.processEvents()
    one = axis(plot, side)
    low, high = one.range
    levels = one.tickValues(low, high, one.height() if side == "left" else one.width())
    spacing, values = levels[0]
    return one.tickStrings(values, one.autoSIPrefixScale * one.scale, spacing)


def has_colour(picture, colour):
    return any(
        picture.pixelColor(x, y).name() == colour for x in range(picture.width()) for y in range(picture.height())
    )


def test_lines_are_drawn_in_their_colours_with_their_names_beside_the_title(plot):
    made = plot()
    made.show_lines([Line("liver", DARK.orange, [0, 1, 2], [1, 2, 3], fill=True), Line("a<b", DARK.blue, [0], [1])])
    assert made.lines[0].y == (1, 2, 3)
    assert "liver" in made._heading.text()
    assert "a&lt;b" in made._heading.text(), "a class may have any name"
    assert has_colour(made._plot.grab().toImage(), DARK.orange)
    made.show_lines([])
    assert made._heading.text() == "Loss"
    assert not has_colour(made._plot.grab().toImage(), DARK.orange)


def test_a_long_line_is_thinned_evenly_and_keeps_its_newest_point(plot):
    made = plot()
    made.show_lines([Line("", DARK.blue, range(4001), range(4001))])
    [line] = made.lines
    assert len(line.x) <= 1000
    assert line.x[-1] == line.y[-1] == 4000
    assert {b - a for a, b in zip(line.x, line.x[1:], strict=False)} == {5}


def test_fixed_limits_stay_whatever_is_shown(plot):
    made = plot(span=(0, 1))
    made.show_lines([Line("", DARK.blue, [1, 2], [0.45, 0.5])])
    low, high = axis(made, "left").range
    assert (low, high) == (pytest.approx(-0.02), pytest.approx(1.02))


def test_numbers_are_never_shown_in_thousandths_of_their_unit(plot):
    made = plot()
    made.show_lines([Line("", DARK.blue, [0, 0.003], [0, 20000])])
    assert "(x" not in axis(made, "bottom").labelString()
    assert "0.002" in marks(made, "bottom")
    assert "20000" in marks(made, "left")


def test_things_that_are_counted_have_no_marks_between_them(plot):
    made = plot(counted="xy")
    made.show_lines([Line("", DARK.blue, [2], [1], dots=True)])
    assert marks(made, "bottom") == ["2"]
    made.show_lines([Line("", DARK.blue, [1, 3], [0, 2])])
    assert marks(made, "bottom") == ["1", "2", "3"]
    assert marks(made, "left") == ["0", "1", "2"]
    made.show_lines([Line("", DARK.blue, [0, 4000], [0, 2])])
    assert marks(made, "bottom") == ["0", "1000", "2000", "3000", "4000"]


def test_the_lower_axis_says_what_it_shows_now(plot):
    made = plot()
    made.name_x("hours since the pool was made")
    assert made.x_name == "hours since the pool was made"
    assert "hours since the pool was made" in axis(made, "bottom").labelString()
    made.set_colours(colours_of("light"))
    assert "hours since the pool was made" in axis(made, "bottom").labelString()


def test_bars_begin_at_zero_and_are_numbered_from_one(plot):
    made = plot(counted="x")
    made.show_bars("", DARK.blue, [2.0, 4.0, 1.0])
    assert made.lines[0].x == (1, 2, 3)
    assert made.lines[0].y == (2.0, 4.0, 1.0)
    low, high = axis(made, "left").range
    assert -0.5 < low <= 0
    assert high >= 4
    assert [text for level in axis(made, "bottom")._tickLevels for _, text in level] == ["1", "2", "3"]
    assert has_colour(made._plot.grab().toImage(), DARK.blue)
    made.show_bars("", DARK.blue, [1.0] * 40)
    assert marks(made, "bottom") == ["10", "20", "30", "40"]


def test_bars_of_nothing_have_an_axis_that_starts_at_zero(plot):
    made = plot()
    made.show_bars("", DARK.blue, [0.0, 0.0])
    assert not any(mark.startswith(("-", "−")) for mark in marks(made, "left"))
    low, high = axis(made, "left").range
    assert (low, high) == (pytest.approx(-0.05), pytest.approx(1.05))
    made.show_bars("", DARK.blue, [])
    assert made.lines[0].y == ()


def test_the_wheel_scrolls_the_panel_and_not_the_plot(plot):
    made = plot()
    made.show_lines([Line("", DARK.blue, [0, 10], [0, 10])])
    QApplication.processEvents()
    before = axis(made, "bottom").range
    wheel = roll(made._plot.viewport(), 120)
    QApplication.processEvents()
    assert axis(made, "bottom").range == before
    assert not wheel.isAccepted()


def test_the_name_of_the_lower_axis_is_not_cut_off(plot):
    made = plot()
    made.name_x("gypsy jug")
    QApplication.processEvents()
    label = axis(made, "bottom").label
    place = label.mapRectToScene(label.boundingRect())
    assert place.bottom() <= made._plot.viewport().height() + 1


def test_a_picture_is_twice_as_fine_and_on_paper_whatever_the_theme(plot, qapp, tmp_path):
    before = qapp.styleSheet()
    qapp.setStyleSheet(get_stylesheet("dark"))
    try:
        made = plot()
        dark = made.grab().toImage()
        made.set_colours(colours_of("light"))
        made.show_lines([Line("liver", "#e69f00", [0, 1, 2], [1, 2, 3], fill=True)])
        save_picture(made, tmp_path / "plot.png", "#ffffff", "#101010")
        after = made.grab().toImage()
    finally:
        qapp.setStyleSheet(before)
    picture = QImage(str(tmp_path / "plot.png"))
    assert (picture.width(), picture.height()) == (2 * made.width(), 2 * made.height())
    assert has_colour(picture, "#ffffff")
    assert has_colour(picture, "#101010"), "the title must be there to read"
    assert has_colour(picture, "#e69f00")
    assert has_colour(dark, DARK.background)
    assert not has_colour(picture, DARK.background), "nothing of the dark window may be on it"
    assert has_colour(after, DARK.background), "the window stays as it is"
    assert not has_colour(after, "#ffffff")


def test_a_picture_that_cannot_be_written_says_where_and_what_to_do(plot, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(PoolError, match=r"plot\.png cannot be written \(.+\); choose another place\.$"):
        save_picture(plot(), tmp_path / "file" / "plot.png", "#ffffff", "#000000")
