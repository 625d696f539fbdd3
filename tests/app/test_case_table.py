"""The table of cases: what its model shows, sorts and filters, and what its view paints."""

import random

import pytest
from pool_sessions import CLASSES, PoolSession, a_case, a_proposal
from qtpy.QtCore import QPersistentModelIndex, QPoint, Qt
from qtpy.QtGui import QColor, QImage
from qtpy.QtWidgets import QApplication

from napari_bcp.app.case_table import (
    CASE,
    CHANGED,
    COLUMNS,
    QUALITIES,
    QUALITY,
    STATUS,
    WHY,
    CaseTable,
    CaseTableModel,
    quality_text,
)
from napari_bcp.app.status_icons import status_colour, status_icon
from napari_bcp.app.theme import colours_of
from napari_bcp.pool import STATUSES

UP, DOWN = Qt.SortOrder.AscendingOrder, Qt.SortOrder.DescendingOrder
LEFT = Qt.MouseButton.LeftButton
TIP = Qt.ItemDataRole.ToolTipRole
DARK = colours_of("dark")

SHEARED = "case_2.nii.gz is sheared; resample it and mark it usable."
COHORT = (
    a_case("case_10", "predicted", {1: 0.95, 2: 0.80, 5: 0.99}, changed="2026-03-04T10:00:00.000+00:00"),
    a_case("case_9", "accepted", {1: 0.97, 2: 0.96, 5: 0.95}, changed="2026-03-02T10:00:00.000+00:00"),
    a_case("Case_1", "unlabelled", changed="2026-03-05T10:00:00.000+00:00"),
    a_case("case_3", "accepted", mask_by="rule", changed="2026-03-03T10:00:00.000+00:00"),
    a_case("case_2", "unusable", reason=SHEARED, shape=None, spacing=None, changed="2026-03-01T10:00:00.000+00:00"),
    a_case("case_4", "predicted", {1: 0.70, 2: 0.99, 5: None}, changed="2026-03-06T10:00:00.000+00:00"),
)
PROPOSED = (
    a_proposal("case_4", "the aorta was not found, which most scans show"),
    a_proposal("Case_1", "no map yet; in random order", "unseen"),
    a_proposal("case_10", "picked at random, to keep the view honest", "random"),
)


@pytest.fixture
def session():
    return PoolSession(COHORT, PROPOSED)


@pytest.fixture
def model(session, qapp):
    made = CaseTableModel(session)
    session.cases_changed.connect(made.refresh)
    return made


@pytest.fixture
def watched(model):
    """What the model tells its view, in order."""
    told = []
    model.dataChanged.connect(lambda first, last, *_: told.append(("changed", first.row(), last.row())))
    model.rowsInserted.connect(lambda _, first, last: told.append(("come", first, last)))
    model.rowsRemoved.connect(lambda _, first, last: told.append(("gone", first, last)))
    model.layoutChanged.connect(lambda *_: told.append(("moved",)))
    model.modelReset.connect(lambda: told.append(("reset",)))
    return told


def column(model, which=CASE, role=Qt.ItemDataRole.DisplayRole):
    return [model.index(row, which).data(role) for row in range(model.rowCount())]


def cell(model, name, which, role=Qt.ItemDataRole.DisplayRole):
    return model.index(model.row_of(name), which).data(role)


def test_the_model_keeps_what_qt_expects_of_one(model, qtmodeltester):
    qtmodeltester.check(model)


# -- what cells show ----------------------------------------------------------------------------------------------


def test_columns_have_titles_and_say_what_they_mean(model):
    titles = [model.headerData(place, Qt.Orientation.Horizontal) for place in range(model.columnCount())]
    assert titles == ["Case", "Status", "Quality", "Why", "Changed"]
    tips = [model.headerData(place, Qt.Orientation.Horizontal, TIP) for place in range(model.columnCount())]
    assert all(tips)
    assert "no measured overlap" in tips[QUALITY]
    assert model.headerData(0, Qt.Orientation.Vertical) is None
    assert model.headerData(9, Qt.Orientation.Horizontal) is None


def test_a_mask_that_the_rule_accepted_says_so(model):
    assert cell(model, "case_9", STATUS) == "accepted"
    assert cell(model, "case_9", STATUS, TIP) == "accepted by a person"
    assert cell(model, "case_3", STATUS) == "accepted (rule)"
    assert cell(model, "case_3", STATUS, TIP) == 'accepted by the rule "accept all above"'


def test_an_unusable_case_says_why_wherever_one_looks(model):
    assert cell(model, "case_2", WHY) == SHEARED
    assert cell(model, "case_2", WHY, TIP) == SHEARED
    assert cell(model, "case_2", STATUS, TIP) == SHEARED


def test_a_proposed_case_says_why_and_others_are_silent(model):
    assert cell(model, "Case_1", WHY) == "no map yet; in random order"
    assert cell(model, "case_9", WHY) == ""
    assert model.why("case_9") == ""


def test_a_reason_of_many_lines_shows_its_first_and_tells_all(session, model):
    session.change("case_2", reason="It is torn.\nat byte 12\nof 13")
    assert cell(model, "case_2", WHY) == "It is torn."
    assert cell(model, "case_2", WHY, TIP) == "It is torn.\nat byte 12\nof 13"


def test_expected_quality_is_told_in_words(model):
    assert cell(model, "case_4", QUALITY, TIP).split("\n") == [
        "Expected quality (a rank, no measured overlap)",
        "liver: low (0.70)",
        "spleen: high (0.99)",
        "aorta: not found",
    ]
    assert cell(model, "case_10", QUALITY, TIP).split("\n")[1:3] == ["liver: high (0.95)", "spleen: medium (0.80)"]
    assert cell(model, "Case_1", QUALITY, TIP) == "No map yet"
    colours = [one.colour for one in CLASSES]
    assert cell(model, "case_4", QUALITY, QUALITIES) == [
        *(("liver", 0.70, colours[0]), ("spleen", 0.99, colours[1]), ("aorta", None, colours[2])),
    ]
    assert cell(model, "case_4", STATUS, QUALITIES) is None


def test_a_class_that_a_map_does_not_know_yet_counts_as_not_found():
    assert quality_text([("liver", 0.9, "#e69f00"), ("kidney", None, "#56b4e9")]).split("\n")[1:] == [
        "liver: high (0.90)",
        "kidney: not found",
    ]


def test_the_name_tells_where_the_scan_lies_and_what_it_is(model):
    tip = cell(model, "case_9", CASE, TIP).split("\n")
    assert tip[:3] == ["case_9", "/scans/case_9.nii.gz", "256 × 256 × 40 voxels of 0.75 × 0.75 × 5 mm"]
    assert tip[3].startswith("Changed 2 Mar 2026, ")
    assert cell(model, "case_2", CASE, TIP).split("\n")[2] == "size unknown"


def test_the_time_of_the_last_change_is_short_and_its_tooltip_exact(model):
    assert "T" not in cell(model, "case_9", CHANGED)
    assert cell(model, "case_9", CHANGED, TIP).startswith("2 Mar 2026, ")


# -- order --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("which", "order", "names"),
    [
        (CASE, UP, ["Case_1", "case_2", "case_3", "case_4", "case_9", "case_10"]),
        (CASE, DOWN, ["case_10", "case_9", "case_4", "case_3", "case_2", "Case_1"]),
        (STATUS, UP, ["Case_1", "case_4", "case_10", "case_3", "case_9", "case_2"]),
        (STATUS, DOWN, ["case_2", "case_3", "case_9", "case_4", "case_10", "Case_1"]),
        (QUALITY, UP, ["case_4", "case_10", "case_9", "Case_1", "case_2", "case_3"]),
        (QUALITY, DOWN, ["case_9", "case_10", "case_4", "Case_1", "case_2", "case_3"]),
        (WHY, UP, ["case_4", "Case_1", "case_10", "case_2", "case_3", "case_9"]),
        (WHY, DOWN, ["case_10", "Case_1", "case_4", "case_2", "case_3", "case_9"]),
        (CHANGED, UP, ["case_2", "case_9", "case_3", "case_10", "Case_1", "case_4"]),
        (CHANGED, DOWN, ["case_4", "Case_1", "case_10", "case_3", "case_9", "case_2"]),
    ],
)
def test_rows_sort_by_what_a_column_means_with_unknown_ones_last(model, which, order, names):
    """By the class that is worst off, by the place among the proposals; equal ones by name, as people count."""
    model.sort(which, order)
    assert column(model) == names
    assert [model.row_of(name) for name in names] == list(range(6))


def test_the_order_follows_what_changes(session, model):
    model.sort(QUALITY, DOWN)
    session.change("case_4", map=a_case("case_4", "predicted", {1: 0.99, 2: 0.99, 5: 0.98}).map)
    assert column(model) == ["case_4", "case_9", "case_10", "Case_1", "case_2", "case_3"]
    model.sort(WHY, UP)
    session.propose(a_proposal("case_10", "the model is unsure here"))
    assert column(model)[0] == "case_10"
    assert cell(model, "case_4", WHY) == ""


# -- what is shown ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "statuses", "names"),
    [
        ("", (), ["Case_1", "case_2", "case_3", "case_4", "case_9", "case_10"]),
        ("CASE_1", (), ["Case_1", "case_10"]),
        ("  aorta was ", (), ["case_4"]),
        ("sheared", (), ["case_2"]),
        ("", ("predicted",), ["case_4", "case_10"]),
        ("", ("predicted", "unusable"), ["case_2", "case_4", "case_10"]),
        ("random", ("predicted",), ["case_10"]),
        ("(rule)", (), ["case_3"]),
        ("nobody", (), []),
    ],
)
def test_rows_are_those_whose_name_or_reason_has_the_text_and_whose_status_is_asked_for(model, text, statuses, names):
    model.set_filter(text, statuses)
    assert column(model) == names
    assert model.rowCount() == len(names)


def test_a_case_that_is_filtered_out_is_still_known(model):
    model.set_filter("case_9", ())
    assert model.row_of("case_4") is None
    assert model.case("case_4").status == "predicted"
    assert model.counts() == {"predicted": 2, "accepted": 2, "unlabelled": 1, "unusable": 1}


def test_a_case_comes_and_goes_as_its_status_changes(session, model, watched):
    model.set_filter("", ["predicted"])
    watched.clear()
    session.change("case_4", status="accepted", mask_by="person")
    assert column(model) == ["case_10"]
    session.change("Case_1", status="predicted")
    assert column(model) == ["Case_1", "case_10"]
    assert [one for one in watched if one[0] != "changed"] == [("gone", 0, 0), ("come", 1, 1), ("moved",)]


# -- what the view is told ----------------------------------------------------------------------------------------


def test_only_a_row_that_changes_is_painted_again(session, model, watched):
    session.change("case_3", mask_by="person")
    assert watched == [("changed", 2, 2)]
    assert cell(model, "case_3", STATUS) == "accepted"


def test_other_proposals_change_the_rows_that_were_and_are_proposed(session, model, watched):
    session.propose(a_proposal("case_10", "the model is unsure here"))
    assert sorted(watched) == [("changed", row, row) for row in (0, 3, 5)]


def test_nothing_is_said_of_an_order_that_stays(model, watched):
    model.sort(CASE, UP)
    model.set_filter("", ())
    assert watched == []


def test_who_holds_on_to_a_row_follows_its_case(session, model):
    held = {name: QPersistentModelIndex(model.index(model.row_of(name), STATUS)) for name in ("case_4", "case_9")}
    model.sort(CASE, DOWN)
    session.change("case_10", status="accepted", mask_by="person")
    model.sort(QUALITY, UP)
    assert {name: model.case_at(one.row()).name for name, one in held.items()} == {n: n for n in held}
    assert {one.column() for one in held.values()} == {STATUS}
    model.set_filter("case_9", ())
    assert not held["case_4"].isValid()
    assert held["case_9"].row() == 0


# -- ten thousand -------------------------------------------------------------------------------------------------


@pytest.fixture
def crowd():
    names = [f"scan {number}" for number in range(10_000)]
    random.Random(0).shuffle(names)
    statuses = ("unlabelled", "predicted", "accepted", "draft")
    return PoolSession(
        [
            a_case(name, statuses[int(name[5:]) % 4], {1: int(name[5:]) / 10_000} if int(name[5:]) % 4 else None)
            for name in names
        ]
    )


def test_ten_thousand_cases_are_sorted_and_found(crowd, qapp):
    model = CaseTableModel(crowd)
    assert column(model) == [f"scan {number}" for number in range(10_000)]
    model.sort(QUALITY, DOWN)
    assert column(model)[:3] == ["scan 9999", "scan 9998", "scan 9997"]
    assert column(model)[-1] == "scan 9996", "without a map: last, by name"
    assert model.row_of("scan 1") == 7499
    model.set_filter("scan 999", ["predicted", "draft"])
    assert column(model) == ["scan 9999", "scan 9997", "scan 9995", "scan 9993", "scan 9991", "scan 999"]
    model.set_filter("", ())
    assert model.rowCount() == 10_000
    assert model.row_of("scan 9998") == 1


def test_one_change_among_ten_thousand_touches_one_row(crowd, qapp):
    model = CaseTableModel(crowd)
    crowd.cases_changed.connect(model.refresh)
    told = []
    model.dataChanged.connect(lambda first, last, *_: told.append((first.row(), last.row())))
    model.layoutChanged.connect(lambda *_: told.append("moved"))
    model.modelReset.connect(lambda: told.append("reset"))
    crowd.change("scan 4000", status="predicted")
    assert told == [(4000, 4000)]
    crowd.cases_changed.emit(frozenset())
    assert told[1:] == [(0, 9999)]
    model.set_filter("", ["accepted"])
    assert told[2:] == ["reset"], "a view that is told of 7,500 rows one by one stands still"


# -- the view -----------------------------------------------------------------------------------------------------


@pytest.fixture
def opened():
    return []


@pytest.fixture
def table(model, opened, qtbot):
    made = CaseTable(model, opened.append)
    made.set_colours(DARK)
    qtbot.addWidget(made)
    made.resize(560, 300)
    made.show()
    qtbot.waitExposed(made)
    return made


def picture(table, name, which):
    """What a cell looks like."""
    QApplication.processEvents()
    index = table.model().index(table.model().row_of(name), which)
    return table.viewport().grab(table.visualRect(index)).toImage()


def counted_pixels(image, colour):
    wanted = QColor(colour).rgb()
    return sum(image.pixel(x, y) == wanted for x in range(image.width()) for y in range(image.height()))


def test_a_higher_quality_has_a_higher_bar_in_the_colour_of_its_class(session, table):
    def bars(value):
        session.change("case_4", map=a_case("case_4", "predicted", {1: value, 2: 1.0, 5: 1.0}).map)
        image = picture(table, "case_4", QUALITY)
        return [counted_pixels(image, colour) for colour in (CLASSES[0].colour, CLASSES[1].colour, DARK.red)]

    best, good, fair, poor = bars(1.0), bars(0.92), bars(0.8), bars(0.55)
    assert best[0] > good[0] > fair[0] > poor[0] > 0
    assert best[1] == good[1] == fair[1] == poor[1] > 0
    assert best[2] == good[2] == fair[2] == 0 < poor[2], "only a low one is framed in red"


def test_a_class_that_was_not_found_has_no_bar_and_is_struck_out(session, table):
    def cell_of(quality):
        session.change("case_4", map=a_case("case_4", "predicted", quality).map)
        return picture(table, "case_4", QUALITY)

    nothing, low = cell_of({1: None, 2: None, 5: None}), cell_of({1: 0.5, 2: 0.5, 5: 0.5})
    for one in CLASSES:
        assert not counted_pixels(nothing, one.colour)
        assert counted_pixels(low, one.colour)
    assert counted_pixels(nothing, DARK.red)
    assert nothing != picture(table, "Case_1", QUALITY), "no map at all looks otherwise"


def test_bars_of_many_classes_stay_in_their_column(table, session):
    session.classes = tuple(type(CLASSES[0])(value, f"class {value}", "#e69f00") for value in range(1, 31))
    table.sort_by(CASE)
    session.change("case_4", map=a_case("case_4", "predicted", dict.fromkeys(range(1, 31), 1.0)).map)
    assert counted_pixels(picture(table, "case_4", QUALITY), "#e69f00")
    assert not counted_pixels(picture(table, "case_4", WHY), "#e69f00")


def test_each_status_has_a_sign_that_differs_by_shape_alone(qapp):
    """Who sees no colours, and a printer without them, can tell them apart."""

    def shape(status, colours):
        image = status_icon(status, colours).pixmap(26, 26).toImage().convertToFormat(QImage.Format.Format_Alpha8)
        return frozenset((x, y) for x in range(26) for y in range(26) if image.pixelColor(x, y).alpha() > 127)

    def bright(status):
        image = status_icon(status, DARK).pixmap(26, 26).toImage()
        return frozenset((x, y) for x in range(26) for y in range(26) if image.pixelColor(x, y).name() == DARK.surface)

    shapes = {status: (shape(status, DARK), bright(status)) for status in STATUSES}
    for status, one in shapes.items():
        for other_status, other in shapes.items():
            if status != other_status:
                different = len(one[0] ^ other[0]) + len(one[1] ^ other[1])
                assert different > 20, f"{status} looks like {other_status}"


def test_colours_of_statuses_follow_the_theme(model):
    light = colours_of("light")
    for colours in (DARK, light):
        model.set_colours(colours)
        brush = cell(model, "case_9", STATUS, Qt.ItemDataRole.ForegroundRole)
        assert brush.color().name() == colours.green
        assert not cell(model, "case_9", STATUS, Qt.ItemDataRole.DecorationRole).isNull()
    assert status_colour("excluded", light) == light.dim


def test_the_end_of_a_long_name_stays_to_be_seen(session, qtbot, opened):
    long = [a_case("CT_of_a_liver_in_venous_phase_" + end) for end in ("001", "002")]
    model = CaseTableModel(PoolSession(long))
    table = CaseTable(model, opened.append)
    qtbot.addWidget(table)
    table.resize(560, 300)
    table.show()
    qtbot.waitExposed(table)
    first, second = (picture(table, one.name, CASE) for one in long)
    assert first != second


def test_a_narrow_table_leaves_out_the_times_and_needs_no_scrolling_sideways(table):
    assert not table.isColumnHidden(CHANGED)
    table.resize(330, 300)
    QApplication.processEvents()
    assert table.isColumnHidden(CHANGED)
    assert not table.horizontalScrollBar().isVisible()
    status = table.columnWidth(STATUS) - table.iconSize().width()
    assert status > table.fontMetrics().horizontalAdvance("accepted (rule)")
    table.sort_by(CHANGED)
    assert not table.isColumnHidden(CHANGED), "what sorts is shown"
    table.sort_by(CASE)
    table.resize(560, 300)
    QApplication.processEvents()
    assert not table.isColumnHidden(CHANGED)


@pytest.mark.parametrize("which", range(len(COLUMNS)))
def test_a_click_on_a_heading_sorts_and_the_next_turns_it_round(table, qtbot, which):
    model, header = table.model(), table.horizontalHeader()
    place = QPoint(header.sectionViewportPosition(which) + 8, header.height() // 2)
    if which == CASE:
        table.sort_by(STATUS)
    qtbot.mouseClick(header.viewport(), LEFT, pos=place)
    once = column(model)
    qtbot.mouseClick(header.viewport(), LEFT, pos=place)
    twice = column(model)
    model.sort(which, UP)
    assert once == column(model)
    model.sort(which, DOWN)
    assert twice == column(model)
    assert once != twice


def test_the_table_says_which_column_sorts_it(table):
    table.sort_by(QUALITY)
    header = table.horizontalHeader()
    assert (header.sortIndicatorSection(), header.sortIndicatorOrder()) == (QUALITY, UP)
    table.sort_by(QUALITY)
    assert header.sortIndicatorOrder() == DOWN


def test_a_double_click_and_enter_open_a_case(table, qtbot, opened):
    place = table.visualRect(table.model().index(table.model().row_of("case_3"), STATUS)).center()
    qtbot.mouseClick(table.viewport(), LEFT, pos=place)
    assert opened == []
    qtbot.mouseDClick(table.viewport(), LEFT, pos=place)
    assert opened == ["case_3"]
    qtbot.keyClick(table, Qt.Key.Key_Down)
    qtbot.keyClick(table, Qt.Key.Key_Return)
    qtbot.keyClick(table, Qt.Key.Key_Enter)
    assert opened == ["case_3", "case_4", "case_4"]


def test_tab_leaves_the_table(table, qtbot):
    assert not table.tabKeyNavigation()


def test_what_is_selected_stays_selected_while_rows_move_come_and_go(table, session):
    def selected():
        return {case.name for case in table.selected()}

    table.select(["case_4", "case_9", "nobody"])
    assert selected() == {"case_4", "case_9"}
    table.sort_by(QUALITY)
    session.change("case_10", status="accepted", mask_by="person")
    assert selected() == {"case_4", "case_9"}
    assert [case.name for case in table.selected()] == ["case_4", "case_9"], "from top to bottom"
    table.model().set_filter("", ["predicted", "accepted"])
    assert selected() == {"case_4", "case_9"}
    table.model().set_filter("", ["predicted"])
    assert selected() == {"case_4"}, "what nobody sees must not be acted upon"
    table.model().set_filter("", ())
    assert selected() == {"case_4"}


def test_what_is_selected_stays_selected_when_hundreds_of_rows_come_and_go(crowd, qtbot, opened):
    model = CaseTableModel(crowd)
    table = CaseTable(model, opened.append)
    qtbot.addWidget(table)
    table.select(["scan 5001", "scan 17"])
    model.set_filter("", ["predicted"])
    assert model.rowCount() == 2500
    assert [case.name for case in table.selected()] == ["scan 17", "scan 5001"]
    assert table.currentIndex().row() == model.row_of("scan 5001"), "what was named first has the keys"
    model.set_filter("", ())
    assert [case.name for case in table.selected()] == ["scan 17", "scan 5001"]


@pytest.mark.parametrize("number", [6, 600])
def test_cases_that_leave_the_pool_leave_the_selection(qtbot, opened, number):
    """Fewer rows than a view can follow one by one, and more."""
    session = PoolSession([a_case(f"case {place}") for place in range(number)])
    model = CaseTableModel(session)
    table = CaseTable(model, opened.append)
    qtbot.addWidget(table)
    table.select(["case 1", "case 2", "case 4"])
    seen = []
    table.selectionModel().selectionChanged.connect(lambda *_: seen.append([case.name for case in table.selected()]))
    del session.by_name["case 1"]
    model.refresh(frozenset())
    assert [case.name for case in table.selected()] == ["case 2", "case 4"]
    session.by_name.clear()
    model.refresh(frozenset())
    assert table.selected() == []
    assert model.rowCount() == 0
    assert not any("case 1" in names for names in seen)


def test_a_narrow_column_has_room_for_what_the_model_is_unsure_about(session, model):
    reason = "the model is unsure about the aorta"
    session.change("case_2", reason=reason)
    assert cell(model, "case_2", WHY) == "unsure: aorta"
    assert cell(model, "case_2", WHY, TIP) == reason
