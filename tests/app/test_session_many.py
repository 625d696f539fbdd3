"""What is done with many cases at once, by the rule and by the table, while a reader goes on with hers."""

import threading

import numpy as np
import pytest
from made_maps import made_map
from strokes import paint_cube

from napari_bcp.app import cohort
from napari_bcp.app.cohort import read_records
from napari_bcp.pool.drafts import Draft
from napari_bcp.scans import from_display

GOOD = ("phantom_003", "phantom_004", "phantom_006")


@pytest.fixture
def good(quiet, pumped, truth, phantom_pool):
    """The session with three cases that the rule would accept."""
    session, trainer = quiet
    for name in GOOD:
        trainer.heard(made_map(phantom_pool, name, truth(name), soft=0.97))
    pumped(session, lambda: set(session.cases_above(0.9)) == set(GOOD))
    return session


@pytest.fixture
def one_by_one(good, monkeypatch):
    """The same with the rule at one case at a time; it waits before each but the first until it is let go on."""
    monkeypatch.setattr(cohort, "_SLICE_S", 0.0)
    go_on, begun, accept = threading.Event(), [], good.pool.accept

    def held(name, *arguments, **more):
        if begun:
            assert go_on.wait(60)
        begun.append(name)
        accept(name, *arguments, **more)

    monkeypatch.setattr(good.pool, "accept", held)
    yield good, go_on, begun
    go_on.set()


def status(session, name):
    return session._cohort.cases[name].status


def saved(session, pumped):
    pumped(session, lambda: not session.current.edits.dirty and session.current.case.status == "draft")


def test_the_open_case_is_not_the_rules_to_judge_and_a_stroke_in_it_is_saved(one_by_one, opened, pumped, phantom_pool):
    session, go_on, _ = one_by_one
    case = opened("phantom_004")
    assert session.cases_above(0.9) == ["phantom_003", "phantom_006"]
    assert session.accept_all_above(0.9) == ["phantom_003", "phantom_006"]
    pumped(session, lambda: status(session, "phantom_003") == "accepted")
    paint_cube(case)
    painted = case.labels.copy()
    go_on.set()
    pumped(session, lambda: session.progress is None)
    saved(session, pumped)
    assert status(session, "phantom_006") == "accepted"
    assert session.pool.case("phantom_004").mask_version is None
    draft = Draft.open(phantom_pool / "drafts" / "phantom_004.journal", painted.shape)
    np.testing.assert_array_equal(draft.array, painted)
    opened("phantom_005")


def test_a_case_that_is_opened_while_the_rule_is_at_others_is_left_to_the_reader(one_by_one, opened, pumped, told):
    session, go_on, begun = one_by_one
    session.accept_all_above(0.9)
    pumped(session, lambda: begun)
    last = GOOD[2]
    opened(last)
    go_on.set()
    pumped(session, lambda: session.progress is None)
    assert session.pool.case(last).status == "predicted"
    assert session.current.editable
    assert [text for *_, text in told] == [f"2 accepted, 1 not:\n{last} is open: what you look at is yours to judge."]


def test_what_the_rule_has_accepted_is_known_before_it_is_done_with_the_others(one_by_one, pumped):
    session, _, begun = one_by_one
    session.accept_all_above(0.9)
    pumped(session, lambda: status(session, begun[0]) == "accepted" if begun else False)
    assert len(begun) == 1
    assert session._cohort.cases[begun[0]].mask_by == "rule"


def test_a_mask_that_comes_while_a_reader_paints_takes_nothing_of_her_work(good, opened, pumped, truth):
    """However it came: her edits are a draft above that mask, and the case can be left and taken up again."""
    session = good
    case = opened("phantom_004")
    paint_cube(case)
    painted = case.labels.copy()
    session.pool.accept("phantom_004", session.pool.case("phantom_004").map.pseudo_path, by="rule")
    session._cohort.take_records(read_records(session.pool, ["phantom_004"]))
    saved(session, pumped)
    assert case.edits.problem is None
    assert case.editable
    assert session.pool.case("phantom_004").mask_version == 1, "in force until hers is accepted"
    opened("phantom_005")
    np.testing.assert_array_equal(opened("phantom_004").labels, painted)
    session.accept()
    pumped(session, lambda: session.current.case.mask_version == 2)
    np.testing.assert_array_equal(session.pool.mask("phantom_004"), from_display(painted))


def test_a_stroke_in_a_case_that_is_excluded_just_then_comes_back_with_it(quiet, opened, pumped):
    session, _ = quiet
    case = opened("phantom_004")
    paint_cube(case)
    session.pool.exclude("phantom_004")
    session.open_case("phantom_005")
    pumped(session, lambda: session.current.name == "phantom_005")
    assert session.pool.case("phantom_004").status == "excluded"
    session.include(["phantom_004"])
    pumped(session, lambda: status(session, "phantom_004") == "unlabelled")
    assert opened("phantom_004").labels.sum() == 64
    pumped(session, lambda: session.current.case.status == "draft")


def test_reopening_waits_for_edits_that_are_not_saved(good, opened, pumped, told, phantom_pool):
    session = good
    case = opened("phantom_004")
    (phantom_pool / "drafts").write_text("in the way")
    paint_cube(case)
    painted = case.labels.copy()
    session.pool.accept("phantom_004", session.pool.case("phantom_004").map.pseudo_path, by="rule")
    session._cohort.take_records(read_records(session.pool, ["phantom_004"]))
    assert case.case.status == "accepted"
    session.reopen()
    assert not session.busy
    assert "phantom_004 has edits that are not saved yet" in told[-1][2]
    assert case.edits.dirty
    (phantom_pool / "drafts").unlink()
    saved(session, pumped)
    np.testing.assert_array_equal(case.labels, painted)
    assert case.edits.can_undo


def test_an_older_record_that_comes_late_does_not_take_the_place_of_a_newer_one(quiet):
    session, _ = quiet
    older = read_records(session.pool, ["phantom_004"])
    session.pool.exclude("phantom_004")
    newer = read_records(session.pool, ["phantom_004"])
    session._cohort.take_records(newer)
    session._cohort.take_records(older)
    assert status(session, "phantom_004") == "excluded"


def test_changing_many_cases_lets_other_work_with_the_pool_in_between(quiet, pumped, monkeypatch):
    session, _ = quiet
    monkeypatch.setattr(cohort, "_SLICE_S", 0.0)
    done, exclude = [], session.pool.exclude
    told = []
    session.progress_changed.connect(told.append)

    def noted(name):
        exclude(name)
        done.append(name)
        if len(done) == 1:
            session._background.run("pool", lambda: done.append("other work"))

    monkeypatch.setattr(session.pool, "exclude", noted)
    session.exclude(list(GOOD))
    pumped(session, lambda: len(done) == 4)
    assert done.index("other work") < 3
    pumped(session, lambda: all(status(session, name) == "excluded" for name in GOOD))
    assert ("excluding", 1, 3) in [(one.task, one.done, one.total) for one in told if one is not None]
    assert session.progress is None


def test_changing_many_cases_stops_when_the_window_closes(quiet, monkeypatch):
    session, _ = quiet
    done, begun, pool = [], threading.Event(), session.pool

    def slowly(name):
        begun.set()
        while not session._background.closing:
            threading.Event().wait(0.01)
        done.append(name)

    monkeypatch.setattr(pool, "exclude", slowly)
    session.exclude(list(GOOD))
    assert begun.wait(30)
    session.close()
    assert done == [GOOD[0]]
