"""The session on its way from case to case: what comes next, what is read for it, and what may change meanwhile."""

import threading

import numpy as np
import pytest
from made_maps import made_map
from strokes import paint_cube

from napari_bcp.app import session as session_module
from napari_bcp.app.wording import STROKE_GOES_ON
from napari_bcp.scans import from_display


def by_rule(session, name):
    """Let the rule accept a case behind the session's back, as it does between two slices."""
    session.pool.accept(name, session.pool.case(name).map.pseudo_path, by="rule")


@pytest.fixture
def with_maps(quiet, pumped, truth, phantom_pool):
    """The session with maps of two cases."""
    session, trainer = quiet
    for name in ("phantom_003", "phantom_004"):
        trainer.heard(made_map(phantom_pool, name, truth(name)))
    pumped(session, lambda: len([case for case in session.cases if case.status == "predicted"]) == 2)
    return session, trainer


# -- next ---------------------------------------------------------------------------------------------------------


def go(session, pumped):
    """Go on to the next case, which is the one that was named; return its name."""
    following = session.following.name
    session.next_case()
    pumped(session, lambda: session.current is not None and session.current.name == following)
    return following


def test_next_goes_through_all_that_is_proposed_before_it_begins_again(quiet, pumped):
    session, _ = quiet
    proposed = [one.name for one in session.proposals]
    assert [go(session, pumped) for _ in range(2 * len(proposed))] == 2 * proposed


def test_the_case_that_next_brings_is_the_one_that_is_read_ahead(quiet, pumped):
    session, _ = quiet
    go(session, pumped)
    go(session, pumped)
    pumped(session, lambda: session._ahead.name == session.following.name)
    third = session.following.name
    assert third == session.proposals[2].name
    session.next_case()
    assert session.current.name == third, "at once"


def test_a_newer_map_brings_a_case_again_that_was_passed_over(quiet, pumped, truth, phantom_pool):
    session, trainer = quiet
    passed, here = go(session, pumped), go(session, pumped)
    trainer.heard(made_map(phantom_pool, passed, truth(passed)))
    pumped(session, lambda: session._cohort.cases[passed].map is not None)
    met = {go(session, pumped) for _ in range(len(session.proposals) - 2)}
    assert passed in met
    assert here not in met


def test_a_case_with_a_verdict_or_a_draft_is_not_passed_over_but_done(quiet, pumped):
    session, _ = quiet
    first = go(session, pumped)
    paint_cube(session.current)
    go(session, pumped)
    others = len(session.proposals) - 1
    assert first not in [go(session, pumped) for _ in range(2 * others)]
    assert session.pool.case(first).status == "draft"


def test_rejecting_goes_straight_on_with_the_layers_still_there(with_maps, pumped, opened):
    session, _ = with_maps
    case = opened("phantom_003")
    met = []
    session.case_opened.connect(lambda: met.append(session.current))
    session.reject()
    pumped(session, lambda: session.current is not case)
    assert None not in met
    assert not case.editable, "a stroke in the meantime would be one in a case that was rejected"


def test_a_rejected_case_stays_to_be_edited_where_the_next_one_cannot_be_read(with_maps, pumped, opened, monkeypatch):
    session, _ = with_maps
    case = opened("phantom_003")
    pumped(session, lambda: session._ahead.name)
    following = session.following.name
    session._ahead.forget()
    session.pool.case(following).path.rename(session.pool.root / "away.nii.gz")
    session.reject()
    pumped(session, lambda: session.current is not case)
    assert (session.current.name, session.current.source) == ("phantom_003", "pseudo-label")
    assert session.current.editable
    (session.pool.root / "away.nii.gz").rename(session.pool.case(following).path)


# -- reading ------------------------------------------------------------------------------------------------------


def test_a_case_that_was_accepted_without_the_session_knowing_opens_as_what_it_is(with_maps, opened, truth):
    session, _ = with_maps
    by_rule(session, "phantom_004")
    case = opened("phantom_004")
    assert (case.case.status, case.editable, case.source) == ("accepted", False, "mask")
    np.testing.assert_array_equal(from_display(case.labels), truth("phantom_004"))


@pytest.mark.parametrize("known", [False, True])
def test_a_case_that_is_accepted_while_it_is_read_is_read_again(with_maps, pumped, monkeypatch, known):
    session, _ = with_maps
    load, loaded = session_module.load_twice, []

    def load_and_accept(pool, name):
        case = load(pool, name)
        if not loaded:
            by_rule(session, name)
            if known:
                records = session_module.read_records(pool, [name])
                session._background.later(lambda: session._cohort.take_records(records))
        loaded.append(case)
        return case

    monkeypatch.setattr(session_module, "load_twice", load_and_accept)
    session.open_case("phantom_004")
    pumped(session, lambda: len(loaded) == 2 and session.current is loaded[1])
    assert (session.current.case.status, session.current.source) == ("accepted", "mask")


def test_a_case_that_was_read_ahead_and_accepted_since_is_not_left_open_to_edits(
    with_maps, pumped, opened, truth, phantom_pool
):
    session, trainer = with_maps
    for name in ("phantom_005", "phantom_006", "phantom_007"):
        trainer.heard(made_map(phantom_pool, name, truth(name)))
    pumped(session, lambda: all(session._cohort.cases[one.name].map is not None for one in session.proposals))
    opened("phantom_005")
    pumped(session, lambda: session._ahead.name == session.following.name)
    name = session._ahead.name
    by_rule(session, name)
    session.next_case()
    pumped(session, lambda: session.current.name == name and session.current.source == "mask")
    assert session.current.case.status == "accepted"
    assert not session.current.editable


def test_a_case_opens_while_the_lists_of_the_former_one_are_made(quiet, pumped, opened):
    session, _ = quiet
    opened("phantom_004")
    held = threading.Event()
    session.ask_current(lambda _: held.wait(60), bool)
    session.open_case("phantom_001")
    pumped(session, lambda: session.current.name == "phantom_001")
    held.set()


def test_that_an_open_shape_holds_up_the_next_case_is_said_once(quiet, pumped, opened, told):
    session, _ = quiet
    opened("phantom_004")
    session.painting = lambda: True
    session.open_case("phantom_001")
    pumped(session, lambda: told)
    for _ in range(20):
        session.pump()
    assert told == [("info", "review", STROKE_GOES_ON)]
    session.painting = bool
    pumped(session, lambda: session.current.name == "phantom_001")
