"""The Cases panel, driven by mouse and keys."""

import inspect

import pytest
from pool_sessions import PoolSession, a_case, a_proposal
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QAbstractButton, QAbstractSlider, QApplication, QLineEdit, QMenu, QWidget

from napari_bcp.app.case_table import CASE, QUALITY, STATUS
from napari_bcp.app.panels.cases import CasesPanel
from napari_bcp.app.session import Session
from napari_bcp.app.theme import colours_of
from napari_bcp.pool import STATUSES

LEFT = Qt.MouseButton.LeftButton
CONTROL, SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier
KEY = Qt.Key

TORN = "The scan of case_7 is torn; copy it again."
COHORT = (
    a_case("case_0", "unlabelled"),
    a_case("case_1", "predicted", {1: 0.97, 2: 0.96}),
    a_case("case_2", "predicted", {1: 0.99, 2: 0.91}),
    a_case("case_3", "draft", {1: 0.99, 2: 0.99}),
    a_case("case_4", "accepted", {1: 0.99, 2: 0.99}),
    a_case("case_5", "accepted", mask_by="rule"),
    a_case("case_6", "excluded"),
    a_case("case_7", "unusable", reason=TORN),
)
PROPOSED = (
    a_proposal("case_2", "the model is unsure about the spleen"),
    a_proposal("case_1", "picked at random, to keep the view honest", "random"),
)


@pytest.fixture
def session():
    return PoolSession(COHORT, PROPOSED)


@pytest.fixture
def panel(session, qtbot):
    made = CasesPanel(session)
    made.set_colours(colours_of("dark"))
    qtbot.addWidget(made)
    made.resize(520, 640)
    with qtbot.waitActive(made):
        made.show()
        made.activateWindow()
    return made


@pytest.fixture
def press(qtbot):
    """Return a function that presses a key where the keys go."""

    def keys(key, modifier=Qt.KeyboardModifier.NoModifier):
        qtbot.keyClick(QApplication.focusWidget(), key, modifier)

    return keys


def names(panel):
    """The cases that are shown, from top to bottom."""
    model = panel.table.model()
    return [model.index(row, CASE).data() for row in range(model.rowCount())]


def selected(panel):
    return [case.name for case in panel.table.selected()]


def buttons(panel):
    """The buttons that can be seen, by their text."""
    return {one.text(): one for one in panel.findChildren(QAbstractButton) if one.isVisible() and one.text()}


def chip(panel, status):
    return next(one for text, one in buttons(panel).items() if text.endswith(f" {status}"))


def place_of(panel, name, which=STATUS):
    QApplication.processEvents()
    model = panel.table.model()
    return panel.table.visualRect(model.index(model.row_of(name), which)).center()


@pytest.fixture
def click(panel, qtbot):
    """Return a function that clicks on a case in the table."""

    def on(name, modifier=Qt.KeyboardModifier.NoModifier):
        qtbot.mouseClick(panel.table.viewport(), LEFT, modifier, place_of(panel, name))

    return on


@pytest.fixture
def choose(panel):
    """Return a function that chooses from the table's menu."""

    def action(text):
        found = {one.text().partition("\t")[0]: one for one in panel.table.actions()}[text]
        if not found.isEnabled():
            return False
        found.trigger()
        return True

    return action


def test_the_hand_made_session_has_nothing_that_the_real_one_lacks():
    """Else these tests would prove nothing."""
    for name, method in inspect.getmembers(PoolSession, inspect.isfunction):
        real = getattr(Session, name, None)
        if not name.startswith("_") and real is not None and callable(real):
            assert list(inspect.signature(method).parameters) == list(inspect.signature(real).parameters), name
    used = "pool cases classes proposals following pool_changed case_opened open_case next_case predict_now exclude"
    for name in (*used.split(), "include", "reset", "take_back", "cases_above", "accept_all_above", "ask_report"):
        assert hasattr(Session, name), name


# -- finding ------------------------------------------------------------------------------------------------------


def test_chips_count_the_cases_of_each_status_and_those_of_none_are_not_there(session, panel):
    chips = [text for text in buttons(panel) if text.split(" ")[-1] in STATUSES]
    assert chips == ["1 unlabelled", "2 predicted", "1 draft", "2 accepted", "1 excluded", "1 unusable"]
    session.change("case_3", status="accepted")
    chips = [text for text in buttons(panel) if text.split(" ")[-1] in STATUSES]
    assert chips == ["1 unlabelled", "2 predicted", "3 accepted", "1 excluded", "1 unusable"]


def test_chips_filter_and_several_may_be_down(panel, qtbot):
    qtbot.mouseClick(chip(panel, "predicted"), LEFT)
    assert names(panel) == ["case_1", "case_2"]
    qtbot.mouseClick(chip(panel, "unusable"), LEFT)
    assert names(panel) == ["case_1", "case_2", "case_7"]
    qtbot.keyClick(chip(panel, "predicted"), KEY.Key_Space)
    assert names(panel) == ["case_7"]
    qtbot.mouseClick(chip(panel, "unusable"), LEFT)
    assert len(names(panel)) == 8


def test_a_chip_that_is_down_stays_when_its_last_case_is_gone(session, panel, qtbot):
    qtbot.mouseClick(chip(panel, "draft"), LEFT)
    session.change("case_3", status="accepted")
    assert names(panel) == []
    assert chip(panel, "draft").text() == "0 draft"
    qtbot.mouseClick(chip(panel, "draft"), LEFT)
    assert len(names(panel)) == 8


def test_text_finds_names_and_reasons_and_escape_clears_it(panel, press, qtbot):
    panel.table.setFocus()
    press(KEY.Key_F, CONTROL)
    field = QApplication.focusWidget()
    assert isinstance(field, QLineEdit)
    qtbot.keyClicks(field, "spleen")
    assert names(panel) == ["case_2"]
    press(KEY.Key_Escape)
    assert field.text() == ""
    assert len(names(panel)) == 8
    qtbot.keyClicks(field, "TORN")
    assert names(panel) == ["case_7"]


def test_the_letter_of_next_is_a_letter_where_one_types(session, panel, press, qtbot):
    press(KEY.Key_F, CONTROL)
    qtbot.keyClicks(QApplication.focusWidget(), "n")
    assert QApplication.focusWidget().text() == "n"
    assert session.done == []


def test_a_heading_sorts_and_so_does_the_menu(panel, qtbot):
    header = panel.table.horizontalHeader()
    place = QPoint(header.sectionViewportPosition(QUALITY) + 8, header.height() // 2)
    qtbot.mouseClick(header.viewport(), LEFT, pos=place)
    assert names(panel)[:2] == ["case_2", "case_1"]
    menu = next(one.menu() for one in panel.table.actions() if one.text() == "Sort by")
    assert isinstance(menu, QMenu)
    assert [one.text() for one in menu.actions()] == ["Case", "Status", "Quality", "Why", "Changed"]
    menu.actions()[0].trigger()
    assert names(panel)[:2] == ["case_0", "case_1"]
    menu.actions()[0].trigger()
    assert names(panel)[:2] == ["case_7", "case_6"]
    menu.actions()[3].trigger()
    assert names(panel)[:2] == ["case_2", "case_1"], "in the order of the proposals"


# -- opening ------------------------------------------------------------------------------------------------------


def test_a_double_click_enter_and_the_menu_open_a_case(session, panel, click, choose, press, qtbot):
    click("case_4")
    qtbot.mouseDClick(panel.table.viewport(), LEFT, pos=place_of(panel, "case_4"))
    assert session.done == [("open", "case_4")]
    press(KEY.Key_Down)
    press(KEY.Key_Return)
    assert session.done[-1] == ("open", "case_5")
    click("case_1")
    assert choose("Open")
    assert session.done[-1] == ("open", "case_1")
    click("case_2", CONTROL)
    assert not choose("Open"), "only one case can be on screen"


def test_the_table_selects_the_case_that_was_opened_elsewhere(session, panel, click):
    click("case_0")
    session.open_case("case_5")
    assert selected(panel) == ["case_5"]


def test_next_says_which_case_comes_and_why_and_brings_it(session, panel, qtbot):
    assert panel._next_name.text() == "<b>case_2</b> – the model is unsure about the spleen"
    qtbot.mouseClick(buttons(panel)["Next (N)"], LEFT)
    assert session.current.name == "case_2"
    assert selected(panel) == ["case_2"]


def test_next_names_the_case_that_it_brings_and_never_the_one_that_is_open_already(session, panel, press):
    session.propose(*PROPOSED, a_proposal("case_0", "it has no map yet"))
    panel.table.setFocus()
    for name, following in (("case_2", "case_1"), ("case_1", "case_0"), ("case_0", "case_2")):
        press(KEY.Key_N)
        assert session.current.name == name
        assert panel._next_name.text().startswith(f"<b>{following}</b> – ")
    session.open_case("case_1")
    session.propose(a_proposal("case_1", "the model is unsure here"))
    assert panel._next_name.text() == "Nothing is proposed beside case_1, which is open."
    assert not buttons(panel)["Next (N)"].isEnabled()
    session.done.clear()
    press(KEY.Key_N)
    assert session.done == []


def test_without_proposals_next_says_so_once_no_case_waits(session, panel):
    session.propose()
    assert not buttons(panel)["Next (N)"].isEnabled()
    assert panel._next_name.text() == "", "the proposals may be on their way"
    session.exclude(["case_0", "case_1", "case_2"])
    assert panel._next_name.text() == "Nothing is proposed: no case waits for a mask."


def test_names_and_reasons_are_shown_as_they_are(session, panel):
    session.propose(a_proposal("a<b>", "volume < 5 ml & small"))
    assert panel._next_name.text() == "<b>a&lt;b&gt;</b> – volume &lt; 5 ml &amp; small"


# -- selecting ----------------------------------------------------------------------------------------------------


def test_the_selected_case_says_why_it_is_proposed_or_cannot_be_used(panel, click):
    click("case_7")
    assert panel._about.text() == f"case_7: {TORN}"
    assert panel._about.isVisible()
    click("case_2")
    assert panel._about.text() == "case_2: the model is unsure about the spleen"
    click("case_4")
    assert not panel._about.isVisible()
    click("case_6", SHIFT)
    assert panel._about.text() == "3 cases selected"


def test_the_selection_stays_while_training_changes_rows(session, panel, click):
    click("case_1")
    click("case_4", CONTROL)
    for number in range(3):
        session.change("case_0", "case_1", "case_2", status="predicted", map=COHORT[number + 1].map)
        session.propose(a_proposal(f"case_{number}"))
    assert selected(panel) == ["case_1", "case_4"]


def test_acting_is_offered_where_the_status_allows_it(panel, click):
    def offered(*chosen):
        click(chosen[0])
        for name in chosen[1:]:
            click(name, CONTROL)
        return {text for text, action in panel._actions.items() if action.isEnabled()}

    assert offered("case_0") == {"Open", "Predict now", "Exclude"}
    assert offered("case_1") == {"Open", "Predict now", "Exclude", "Back to unlabelled…"}
    assert offered("case_4") == {"Open", "Predict now", "Exclude", "Back to unlabelled…"}
    assert offered("case_6") == {"Open", "Include"}
    assert offered("case_7") == {"Open", "Include", "Back to unlabelled…"}, "once its scan was mended"
    assert offered("case_0", "case_6") == {"Predict now", "Exclude", "Include"}


# -- many cases ---------------------------------------------------------------------------------------------------


def test_delete_excludes_and_insert_includes_what_is_selected(session, panel, click, press):
    click("case_0")
    click("case_3", SHIFT)
    press(KEY.Key_Delete)
    assert session.done == [("exclude", "case_0", "case_1", "case_2", "case_3")]
    assert chip(panel, "excluded").text() == "5 excluded"
    assert selected(panel) == ["case_0", "case_1", "case_2", "case_3"]
    press(KEY.Key_Insert)
    assert session.done[1:] == [("include", "case_0", "case_1", "case_2", "case_3")]
    session.done.clear()
    press(KEY.Key_Insert)
    assert session.done == []


def test_an_action_takes_those_of_the_selected_cases_that_it_can(session, panel, press):
    panel.table.setFocus()
    press(KEY.Key_A, CONTROL)
    press(KEY.Key_Insert)
    assert session.done == [("include", "case_6", "case_7")]
    press(KEY.Key_P, CONTROL)
    assert [one[1] for one in session.done[1:]] == [f"case_{number}" for number in range(8)]
    session.done.clear()
    press(KEY.Key_Delete)
    assert session.done == [("exclude", *(f"case_{number}" for number in range(8)))]


def test_delete_in_the_field_deletes_text(session, panel, click, press):
    click("case_0")
    press(KEY.Key_F, CONTROL)
    press(KEY.Key_Delete)
    assert session.done == []


def test_back_to_unlabelled_asks_nothing_where_no_work_is_lost(session, panel, click, press):
    click("case_1")
    click("case_2", SHIFT)
    press(KEY.Key_U, CONTROL)
    assert not panel._question.isVisible()
    assert session.done == [("reset", "case_1", "case_2")]


def test_back_to_unlabelled_asks_before_an_unusable_case_loses_what_it_had(session, panel, click, press):
    click("case_7")
    press(KEY.Key_U, CONTROL)
    assert session.done == []
    assert panel._question._text.text() == "Masks that 1 unusable case had will be put aside, drafts will be gone."


def test_back_to_unlabelled_asks_before_it_takes_drafts_and_masks(session, panel, click, press, qtbot):
    click("case_2")
    click("case_5", SHIFT)
    press(KEY.Key_U, CONTROL)
    assert session.done == []
    assert panel._question._text.text() == (
        "1 draft will be gone, with all edits. 2 accepted masks will be put aside and stay in the pool's folder."
    )
    qtbot.mouseClick(buttons(panel)["Put 4 cases back"], LEFT)
    assert session.done == [("reset", "case_2", "case_3", "case_4", "case_5")]
    assert not panel._question.isVisible()


def test_a_question_about_one_case_names_it(panel, click, choose):
    click("case_3")
    choose("Back to unlabelled…")
    assert panel._question._text.text() == "1 draft of case_3 will be gone, with all edits."
    click("case_4")
    choose("Back to unlabelled…")
    assert panel._question._text.text() == (
        "1 accepted mask of case_4 will be put aside and stays in the pool's folder."
    )


def test_cancelling_leaves_everything_and_gives_the_table_its_keys_back(session, panel, click, press):
    click("case_4")
    press(KEY.Key_U, CONTROL)
    press(KEY.Key_Escape)
    assert session.done == []
    assert not panel._question.isVisible()
    press(KEY.Key_Down)
    assert selected(panel) == ["case_5"]


def test_a_question_is_about_the_cases_that_were_selected_when_it_was_asked(session, panel, click, press, qtbot):
    click("case_3")
    click("case_4", SHIFT)
    press(KEY.Key_U, CONTROL)
    click("case_0")
    session.exclude(["case_4"])  # elsewhere, before the answer
    session.done.clear()
    qtbot.mouseClick(buttons(panel)["Put 2 cases back"], LEFT)
    assert session.done == [("reset", "case_3")], "the pool would refuse the excluded one, and with it the others"


# -- accepting by the rule ----------------------------------------------------------------------------------------


@pytest.fixture
def above(panel, qtbot):
    """The panel with "Accept all above…" open."""
    qtbot.mouseClick(buttons(panel)["Accept all above…"], LEFT)
    return panel


def test_the_rule_counts_the_cases_that_every_class_is_good_enough_for(session, above, press):
    assert above._accept_all._text.text().startswith("1 of 2 predicted cases.")
    assert "Accept 1 case" in buttons(above)
    for _ in range(4):
        press(KEY.Key_Left)  # the keys are the slider's, a hundredth a step
    assert above._accept_all._text.text().startswith("2 of 2 predicted cases.")
    assert "Accept 2 cases" in buttons(above)
    press(KEY.Key_End)
    assert above._accept_all._text.text().startswith("0 of 2 predicted cases. The best of them reaches 0.96.")
    assert not buttons(above)["Accept none"].isEnabled()
    assert session.done == []


def test_the_count_follows_what_the_training_makes(session, above):
    session.change("case_2", map=COHORT[3].map)
    assert above._accept_all._text.text().startswith("2 of 2 predicted cases.")
    session.change("case_0", status="predicted", map=COHORT[3].map)
    assert above._accept_all._text.text().startswith("3 of 3 predicted cases.")


def test_the_rule_leaves_the_open_case_out_and_says_so(session, above):
    session.open_case("case_1")
    assert above._accept_all._text.text().startswith("0 of 2 predicted cases. The open one is left out.")
    session.open_case("case_2")
    assert above._accept_all._text.text().startswith("1 of 2 predicted cases. The open one is left out.")
    session.open_case("case_3")
    assert "left out" not in above._accept_all._text.text()


def test_accepting_closes_the_box_and_can_be_taken_back(session, above, qtbot):
    qtbot.mouseClick(buttons(above)["Accept 1 case"], LEFT)
    assert session.done == [("accept above", 0.95)]
    assert session.by_name["case_1"].status == "accepted"
    assert not above._accept_all.isVisible()
    assert not buttons(above)["Accept all above…"].isChecked()
    back = buttons(above)["Take 1 back"]
    assert back.toolTip() == "Let 1 case that the rule accepted just now be proposals again"
    qtbot.mouseClick(back, LEFT)
    assert session.done[1:] == [("take back", "case_1")]
    assert session.by_name["case_1"].status == "predicted"
    assert not back.isVisible()


def test_cancelling_the_rule_accepts_nothing(session, above, qtbot):
    qtbot.mouseClick(buttons(above)["Cancel"], LEFT)
    assert session.done == []
    assert not above._accept_all.isVisible()
    assert not any(text.startswith("Take") for text in buttons(above))


def test_nothing_can_be_taken_back_before_the_pool_has_it(session, above, qtbot):
    """Accepting hundreds takes a while; an offer that does nothing yet must not be lost by a click."""
    session.hold_acceptance = True
    session.change("case_2", map=COHORT[3].map)
    qtbot.mouseClick(buttons(above)["Accept 2 cases"], LEFT)
    assert not buttons(above)["Take 2 back"].isEnabled()
    session.change("case_1", map=COHORT[3].map)  # a newer map comes in between
    assert not buttons(above)["Take 2 back"].isEnabled()
    session.accepted_by_rule("case_1", "case_2")
    qtbot.mouseClick(buttons(above)["Take 2 back"], LEFT)
    assert session.done[-1] == ("take back", "case_1", "case_2")


def test_what_the_disk_refused_to_accept_is_not_offered_to_be_taken_back(session, above, qtbot):
    session.hold_acceptance = True
    session.change("case_2", map=COHORT[3].map)
    qtbot.mouseClick(buttons(above)["Accept 2 cases"], LEFT)
    session.by_name["case_1"] = a_case("case_1", "accepted", {1: 0.99}, mask_by="rule")
    session.cases_changed.emit(frozenset({"case_1", "case_2"}))  # the session tells of all that it tried
    assert "Take 1 back" in buttons(above)
    session.change("case_1", status="predicted", mask_by=None)
    assert not any(text.startswith("Take") for text in buttons(above))


def test_what_a_person_has_touched_since_is_not_taken_back(session, above, qtbot):
    session.change("case_2", map=COHORT[3].map)
    qtbot.mouseClick(buttons(above)["Accept 2 cases"], LEFT)
    session.change("case_1", mask_by="person", mask_version=2)
    qtbot.mouseClick(buttons(above)["Take 1 back"], LEFT)
    assert session.done[-1] == ("take back", "case_2")


def test_without_maps_there_is_nothing_for_the_rule(session, panel):
    session.exclude(["case_1", "case_2"])
    assert not buttons(panel)["Accept all above…"].isEnabled()


# -- pools --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [8, 600])
def test_another_pool_starts_anew(session, panel, press, qtbot, number):
    session.open_other([a_case(f"old_{place}", "accepted") for place in range(number)])
    panel.table.setFocus()
    press(KEY.Key_A, CONTROL)
    press(KEY.Key_U, CONTROL)
    assert panel._question.isVisible()
    qtbot.mouseClick(chip(panel, "accepted"), LEFT)
    press(KEY.Key_F, CONTROL)
    qtbot.keyClicks(QApplication.focusWidget(), "old")
    session.open_other([a_case("new", "predicted", {1: 1.0})])
    assert names(panel) == ["new"]
    assert selected(panel) == []
    assert not panel._question.isVisible()
    assert not panel._about.isVisible()
    assert [text for text in buttons(panel) if text.split(" ")[-1] in STATUSES] == ["1 predicted"]


def test_a_closed_pool_leaves_nothing_to_act_upon(session, panel, click, qtbot):
    qtbot.mouseClick(buttons(panel)["Accept all above…"], LEFT)
    qtbot.mouseClick(buttons(panel)["Accept 1 case"], LEFT)
    click("case_3")
    click("case_6", SHIFT)
    session.close_pool()
    assert names(panel) == []
    assert panel._next_name.text() == ""
    enabled = {text for text, one in buttons(panel).items() if one.isEnabled()}
    assert enabled == set()
    assert not any(action.isEnabled() for action in panel._actions.values())


def test_ten_thousand_cases_are_acted_upon_at_once(session, panel, press):
    session.open_other([a_case(f"case {number}") for number in range(10_000)])
    assert chip(panel, "unlabelled").text() == "10,000 unlabelled"
    panel.table.setFocus()
    press(KEY.Key_A, CONTROL)
    assert panel._about.text() == "10,000 cases selected"
    press(KEY.Key_Delete)
    [done] = session.done
    assert len(done) == 10_001
    assert chip(panel, "excluded").text() == "10,000 excluded"


# -- for everybody ------------------------------------------------------------------------------------------------


def test_every_control_has_a_tooltip(above, session, qtbot):
    qtbot.mouseClick(buttons(above)["Accept 1 case"], LEFT)
    qtbot.mouseClick(buttons(above)["Accept all above…"], LEFT)

    def has_tip(widget):
        while isinstance(widget, QWidget) and widget is not above:
            if widget.toolTip():
                return True
            widget = widget.parentWidget()
        return False

    controls = [
        one
        for kind in (QAbstractButton, QAbstractSlider, QLineEdit)
        for one in above.findChildren(kind)
        if one.isVisible() and not above.table.isAncestorOf(one)
    ]
    assert len(controls) > 10
    assert [one for one in controls if not has_tip(one)] == []
    assert all(action.toolTip() for action in above.table.actions())


def test_tab_goes_through_all_controls(above, press, qtbot):
    """From the field through the chips and the table to the box of the rule."""
    press(KEY.Key_F, CONTROL)
    reached = [QApplication.focusWidget()]
    while len(reached) < 40:
        press(KEY.Key_Tab)
        if QApplication.focusWidget() in reached:
            break
        reached.append(QApplication.focusWidget())
    texts = {one.text() for one in reached if isinstance(one, QAbstractButton)}
    assert {"Next (N)", "2 predicted", "1 unusable", "Accept all above…", "Accept 1 case", "Cancel"} <= texts
    assert above.table in reached


def test_each_action_of_the_menu_has_a_key(panel):
    keys = {text: action.shortcut().toString() for text, action in panel._actions.items()}
    assert keys == {
        "Open": "",  # Enter, which the table takes
        "Predict now": "Ctrl+P",
        "Exclude": "Del",
        "Include": "Ins",
        "Back to unlabelled…": "Ctrl+U",
    }


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_signs_follow_the_theme(panel, theme):
    panel.set_colours(colours_of(theme))
    image = chip(panel, "predicted").icon().pixmap(26, 26).toImage()
    assert image.pixelColor(18, 13).name() == colours_of(theme).blue


def test_a_panel_that_is_gone_no_longer_listens(session, qtbot):
    made = CasesPanel(session)
    made.deleteLater()
    QApplication.sendPostedEvents(made, 52)  # DeferredDelete
    session.change("case_0", status="predicted")
    session.close_pool()
