"""The Report panel: figures of a history that was written by hand, and the files that it saves."""

import pytest
from napari.qt import get_stylesheet
from pool_sessions import PoolSession, a_case
from qtpy.QtCore import Qt
from qtpy.QtGui import QImage
from qtpy.QtWidgets import QAbstractButton, QApplication, QFileDialog

from napari_bcp.app.panels.report import ReportPanel
from napari_bcp.app.theme import colours_of
from napari_bcp.errors import PoolError
from napari_bcp.pool import Event
from napari_bcp.review.report import make_report

LEFT = Qt.MouseButton.LeftButton
DARK = colours_of("dark")


def at(minute, what, case=None, **details):
    days, minute = divmod(minute, 24 * 60)
    return Event(
        f"2026-01-{1 + days:02d}T{minute // 60:02d}:{minute % 60:02d}:00.000+00:00", case, what, details, "anna"
    )


def accepted(minute, case, dice, seconds, voxels, what="accept", step=10):
    facts = {"dice": dice, "seconds": seconds, "changed_voxels": voxels, "run": "0001", "step": step}
    return at(minute, what, case, to="accepted", **facts)


HISTORY = (
    *(at(0, "case added", name) for name in "abcd"),
    at(10, "predict", "a", to="predicted"),
    at(20, "predict", "b", to="predicted"),
    accepted(30, "a", {"1": 0.8, "2": 0.5}, 120.0, 50),
    accepted(45, "b", {"1": 0.9}, 360.0, 1200, step=20),
    at(50, "accept by rule", "c", to="accepted", run="0001", step=30),
    accepted(60, "d", {}, 60.0, 7),
)


@pytest.fixture
def session():
    cases = [a_case(name, "accepted") for name in "abcd"]
    return PoolSession(cases, history=HISTORY)


@pytest.fixture
def panel(session, qtbot):
    """The panel before anybody looks."""
    made = ReportPanel(session)
    made.set_colours(DARK)
    qtbot.addWidget(made)
    made.resize(430, 640)
    return made


@pytest.fixture
def shown(panel, qtbot):
    panel.show()
    qtbot.waitExposed(panel)
    return panel


@pytest.fixture
def saved_as(monkeypatch):
    """Return a function that answers the window which asks for a file, and what that window was asked."""
    asked = []

    def answer(path):
        def ask(_parent, title, name, kinds):
            asked.append((title, name, kinds))
            return str(path), kinds

        monkeypatch.setattr(QFileDialog, "getSaveFileName", ask)
        return asked

    return answer


def buttons(panel):
    return {one.text(): one for one in panel.findChildren(QAbstractButton) if one.isVisible() and one.text()}


def plots(panel):
    return {
        name: plot
        for name, plot in (("cases", panel._statuses), ("dice", panel._dice), ("minutes", panel._effort))
        if plot.isVisible()
    }


def points(plot):
    return {line.name: list(zip(line.x, line.y, strict=True)) for line in plot.lines}


def again(panel, session, history):
    """Show another history."""
    session.history = list(history)
    panel.refresh()


# -- figures ------------------------------------------------------------------------------------------------------


def test_the_sentence_tells_cases_time_and_the_middle_one(shown):
    """2, 6 and 1 minutes; 50, 1,200 and 7 voxels. The one that the rule accepted cost nobody anything."""
    assert (
        shown._summary.text() == "3 cases accepted by hand in 9 min; the middle one took 2 min and 50 changed voxels."
    )


def test_one_case_is_not_called_the_middle_one(shown, session):
    again(shown, session, [*HISTORY[:5], accepted(30, "a", {"1": 0.8}, 120.0, 50)])
    assert shown._summary.text() == "1 case accepted by hand in 2 min, with 50 changed voxels."


def test_cases_are_counted_by_status_over_the_pools_age(shown):
    found = points(shown._statuses)
    assert list(found) == ["accepted", "predicted", "unlabelled"], "of a status that no case had there is no line"
    assert found["unlabelled"] == [(0, 4), (10, 3), (20, 2), (30, 2), (45, 2), (50, 1), (60, 0)]
    assert found["predicted"] == [(0, 0), (10, 1), (20, 2), (30, 1), (45, 0), (50, 0), (60, 0)]
    assert found["accepted"] == [(0, 0), (10, 0), (20, 0), (30, 1), (45, 2), (50, 3), (60, 4)]
    assert shown._statuses.x_name == "minutes since the pool was made"


@pytest.mark.parametrize(
    ("minutes", "unit", "number"),
    [
        (1, "minutes", 1),
        (119, "minutes", 119),
        (120, "hours", 2),
        (47 * 60, "hours", 47),
        (48 * 60, "days", 2),
        (20 * 24 * 60, "days", 20),
    ],
)
def test_the_pools_age_is_told_in_the_unit_that_suits_it(shown, session, minutes, unit, number):
    again(shown, session, [at(0, "case added", "a"), at(minutes, "predict", "a", to="predicted")])
    assert shown._statuses.x_name == f"{unit} since the pool was made"
    assert unit in shown._statuses._plot.getPlotItem().getAxis("bottom").labelString()
    assert points(shown._statuses)["predicted"] == [(0, 0), (pytest.approx(number), 1)]


def test_dice_is_averaged_over_rounds_class_by_class(shown, session):
    """Rounds of five masks; the aorta is in none of them and has no line."""
    assert points(shown._dice) == {"liver": [(2, pytest.approx(0.85))], "spleen": [(2, 0.5)]}
    more = [accepted(60 + k, f"m{k}", {"1": 0.5 + 0.1 * k}, 10.0, 1) for k in range(5)]
    again(shown, session, [*HISTORY, *more])
    assert points(shown._dice)["liver"] == [(5, pytest.approx(0.7)), (7, pytest.approx(0.85))]
    assert [line.colour for line in shown._dice.lines] == ["#e69f00", "#56b4e9"]


def test_minutes_have_a_bar_for_each_case_in_the_order_of_acceptance(shown, session):
    [line] = shown._effort.lines
    assert (line.x, line.y) == ((1, 2, 3), (2.0, 6.0, 1.0))
    again(shown, session, [*HISTORY, accepted(70, "a", {"1": 0.99}, 30.0, 2)])
    assert shown._effort.lines[0].y == (2.5, 6.0, 1.0), "a case that is accepted again goes on with its bar"


def test_without_time_by_hand_the_axis_of_minutes_is_no_nonsense(shown, session):
    again(shown, session, [*HISTORY[:4], accepted(5, "a", {"1": 1.0}, 0.0, 0)])
    low, high = shown._effort._plot.getPlotItem().getAxis("left").range
    assert low == pytest.approx(0, abs=0.1)
    assert high >= 1


# -- without data -------------------------------------------------------------------------------------------------


def test_without_a_pool_nothing_is_shown_and_nothing_can_be_saved(session, panel, qtbot):
    session.pool = None
    panel.show()
    qtbot.waitExposed(panel)
    assert panel._summary.text() == "Open a pool to see its history."
    assert plots(panel) == {}
    assert not any(one.isEnabled() for one in buttons(panel).values())


def test_a_pool_in_which_nothing_has_happened_yet_says_when_this_fills(shown, session):
    again(shown, session, HISTORY[:4])
    assert shown._summary.text() == "No mask has been accepted by hand yet: this fills while you review."
    assert plots(shown) == {}


def test_figures_appear_as_soon_as_there_are_some(shown, session):
    again(shown, session, HISTORY[:5])
    assert list(plots(shown)) == ["cases"]
    again(shown, session, [*HISTORY[:5], accepted(30, "a", {}, 120.0, 50)])
    assert list(plots(shown)) == ["cases", "minutes"], "without a pseudo-label there is no Dice"
    again(shown, session, HISTORY)
    assert list(plots(shown)) == ["cases", "dice", "minutes"]


def test_a_panel_without_colours_yet_shows_nothing_that_could_be_wrong(session, qtbot):
    made = ReportPanel(session)
    qtbot.addWidget(made)
    assert not made._csv.isEnabled()
    assert not made._png.isEnabled()


# -- when it is read ----------------------------------------------------------------------------------------------


def test_the_history_is_read_when_somebody_looks_and_not_before(session, panel, qtbot):
    session.change("a", status="draft")
    assert session.done == []
    panel.show()
    qtbot.waitExposed(panel)
    assert session.done == [("report",)]


def test_changes_are_read_once_for_many(session, shown, qtbot):
    shown._due.setInterval(50)
    session.done.clear()
    session.history = [*HISTORY, accepted(70, "e", {}, 60.0, 1)]
    for name in "abcd":
        session.change(name, status="draft")
    assert session.done == []
    with qtbot.waitSignal(shown._due.timeout):
        pass
    qtbot.waitUntil(lambda: session.done == [("report",)])
    assert shown._summary.text().startswith("4 cases")


def test_figures_of_another_pool_are_never_shown(session, shown, monkeypatch):
    waiting = []
    monkeypatch.setattr(session, "ask_report", waiting.append)
    shown.hide()
    session.open_other([a_case("x")], history=HISTORY[:5])
    shown.show()
    assert plots(shown) == {}
    assert not buttons(shown)["Save table…"].isEnabled()
    waiting[-1](make_report(session.history))
    assert list(plots(shown)) == ["cases"]
    session.close_pool()
    assert plots(shown) == {}
    assert shown._summary.text() == "Open a pool to see its history."


# -- files --------------------------------------------------------------------------------------------------------

TABLE = """\
time,case,accepted by,run,step,minutes by hand,voxels by hand,Dice liver,Dice spleen,Dice aorta
2026-01-01T00:30:00.000+00:00,a,person,0001,10,2.00,50,0.8000,0.5000,
2026-01-01T00:45:00.000+00:00,b,person,0001,20,6.00,1200,0.9000,,
2026-01-01T00:50:00.000+00:00,c,rule,0001,30,,,,,
2026-01-01T01:00:00.000+00:00,d,person,0001,10,1.00,7,,,
"""


def test_the_table_has_a_row_for_each_mask(shown, saved_as, tmp_path, qtbot):
    asked = saved_as(tmp_path / "masks.csv")
    qtbot.mouseClick(buttons(shown)["Save table…"], LEFT)
    assert asked == [("Save table", "report.csv", "Table (*.csv)")]
    assert (tmp_path / "masks.csv").read_bytes().decode() == TABLE
    assert shown.message.text == f"Saved as {tmp_path / 'masks.csv'}."


def test_a_name_with_a_comma_stays_one_cell(shown, session, tmp_path):
    again(shown, session, [*HISTORY[:5], accepted(30, 'liver, "late"', {"1": 1.0}, 60.0, 1)])
    shown.save_csv(tmp_path / "t.csv")
    row = (tmp_path / "t.csv").read_text().split("\n")[1]
    assert row == '2026-01-01T00:30:00.000+00:00,"liver, ""late""",person,0001,10,1.00,1,1.0000,,'


def test_a_file_without_an_ending_gets_one(shown, saved_as, tmp_path, qtbot):
    saved_as(tmp_path / "masks")
    qtbot.keyClick(buttons(shown)["Save table…"], Qt.Key.Key_Space)
    assert (tmp_path / "masks.csv").read_text() == TABLE
    qtbot.keyClick(buttons(shown)["Save picture…"], Qt.Key.Key_Space)
    assert not QImage(str(tmp_path / "masks.png")).isNull()


def test_who_names_no_file_saves_none(shown, saved_as, tmp_path, qtbot):
    saved_as("")
    qtbot.mouseClick(buttons(shown)["Save table…"], LEFT)
    qtbot.mouseClick(buttons(shown)["Save picture…"], LEFT)
    assert shown.message.text == ""


def colours_in(path):
    picture = QImage(str(path))
    return {picture.pixelColor(x, y).name() for x in range(picture.width()) for y in range(picture.height())}


def test_the_picture_has_all_plots_on_white_and_leaves_the_window_as_it_is(shown, saved_as, tmp_path, qapp, qtbot):
    before = qapp.styleSheet()
    qapp.setStyleSheet(get_stylesheet("dark"))
    try:
        QApplication.processEvents()
        window, size = shown.grab().toImage(), shown._figures.size()
        asked = saved_as(tmp_path / "report.png")
        qtbot.mouseClick(buttons(shown)["Save picture…"], LEFT)
        shown.message.clear()
        QApplication.processEvents()
        after = shown.grab().toImage()
    finally:
        qapp.setStyleSheet(before)
    assert asked == [("Save picture", "report.png", "Picture (*.png)")]
    paper = colours_of("light")
    found = colours_in(tmp_path / "report.png")
    assert {"#ffffff", paper.text, paper.green, paper.blue, "#e69f00", "#56b4e9"} <= found
    assert not {DARK.background, DARK.text, DARK.green} & found
    assert QImage(str(tmp_path / "report.png")).size() == 2 * size, "twice as fine"
    assert shown._statuses.lines[0].colour == DARK.green
    assert window.pixelColor(3, 3) == after.pixelColor(3, 3)
    assert {DARK.background, DARK.green} <= {
        after.pixelColor(x, y).name() for x in range(after.width()) for y in range(after.height())
    }


@pytest.mark.parametrize("which", ["Save table…", "Save picture…"])
def test_a_place_that_cannot_be_written_is_told_in_a_sentence_in_the_panel(shown, saved_as, tmp_path, qtbot, which):
    (tmp_path / "file").write_text("no folder")
    target = tmp_path / "file" / "report.out"
    saved_as(target)
    qtbot.mouseClick(buttons(shown)[which], LEFT)
    assert shown.message.isVisible()
    assert shown.message.text.startswith(f"{target} cannot be written (")
    assert shown.message.text.endswith("); choose another place.")
    assert shown.message._messages[-1].text == shown.message.text, "one sentence, and no details"
    assert (tmp_path / "file").read_text() == "no folder"
    with pytest.raises(PoolError):
        (shown.save_csv if "table" in which else shown.save_png)(target)
    assert shown._statuses.lines[0].colour == DARK.green, "the window has its colours back"


# -- for everybody ------------------------------------------------------------------------------------------------


def test_buttons_and_plots_say_what_they_are_for(shown):
    assert all(one.toolTip() for one in buttons(shown).values())
    assert all(plot._plot.toolTip() and plot._heading.toolTip() for plot in plots(shown).values())


def test_a_narrow_panel_needs_no_scrolling_sideways(shown):
    shown.resize(300, 640)
    QApplication.processEvents()
    assert shown.width() == 300
    assert shown._figures.width() <= 300
