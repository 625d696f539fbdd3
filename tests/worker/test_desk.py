"""What the child knows and has to do: jobs in their order, commands for the right job, maps by how much they matter."""

import threading
from pathlib import Path

import pytest

from napari_bcp.worker.desk import FRESH_STEPS, Desk
from napari_bcp.worker.messages import (
    Attend,
    CaseInfo,
    Cases,
    Pause,
    Predict,
    PredictNow,
    Quit,
    Resume,
    Stop,
    Train,
)

RUN = "0002"


def case(name, mask=False, made=None, run=RUN):
    known = {} if made is None else {"map_run": run, "map_step": made}
    return CaseInfo(name=name, scan=f"/scans/{name}", mask=f"/masks/{name}" if mask else None, **known)


def training(*cases, run=RUN):
    return Train(run=run, cache="", maps="", config={}, classes=(1,), cases=cases)


def predicting(*cases):
    return Predict(checkpoint="", maps="", names=(), cases=cases)


@pytest.fixture
def desk():
    return Desk()


def at_work(desk, *cases):
    """Let the desk's job be a training of `cases`."""
    desk.take(training(*cases))
    desk.next_job()
    return desk


def name_of(found):
    return None if found is None else found[0]


def in_thread(work):
    """Begin `work` in another thread, and return a function that waits for what it returns."""
    results = []
    thread = threading.Thread(target=lambda: results.append(work()), daemon=True)
    thread.start()

    def result():
        thread.join(60)
        assert results, "it still waits"
        return results[0]

    return result


# -- jobs -------------------------------------------------------------------------------------------------------


def test_jobs_are_done_in_their_order(desk):
    jobs = [training(run="a"), predicting(), training(run="b")]
    for job in jobs:
        desk.take(job)
    assert [desk.next_job() for _ in jobs] == jobs


def test_a_job_ends_what_is_done_now(desk):
    at_work(desk, case("a"))
    assert not desk.stopping()
    desk.take(predicting())
    assert desk.stopping()
    desk.next_job()
    assert not desk.stopping()


def test_a_job_that_comes_later_is_waited_for(desk):
    job, found = training(), in_thread(desk.next_job)
    desk.take(Attend())
    desk.take(job)
    assert found() == job


def test_told_to_quit_it_has_no_more_jobs_also_when_one_waits(desk):
    at_work(desk, case("a"))
    desk.take(training())
    desk.take(Quit())
    assert desk.stopping()
    assert desk.next_job() is None


def test_told_to_quit_it_waits_for_jobs_no_longer(desk):
    found = in_thread(lambda: (desk.next_job(),))
    desk.take(Quit())
    assert found() == (None,)


def test_a_stop_that_comes_before_its_job_has_begun_is_for_that_job(desk):
    desk.take(training())
    desk.take(Stop())
    desk.next_job()
    assert desk.stopping()


def test_a_stop_for_a_job_that_waited_is_not_for_the_one_behind_it(desk):
    at_work(desk, case("a"))
    desk.take(training(run="b"))
    desk.take(Stop())
    desk.take(training(run="c"))
    desk.next_job()
    assert desk.stopping()
    assert desk.next_job().run == "c"
    assert not desk.stopping()


def test_what_is_told_of_a_job_that_waits_does_not_touch_the_one_at_work(desk):
    at_work(desk, case("a"), case("b"))
    revision = desk.revision()
    desk.take(training(case("a"), case("b")))
    desk.take(Cases(gone=("a",)))
    desk.take(PredictNow(name="b"))
    assert (desk.revision(), desk.wanted()) == (revision, None)
    assert [one.name for one in desk.cases()] == ["a", "b"]
    desk.next_job()
    assert [one.name for one in desk.cases()] == ["b"]
    assert desk.wanted() == ("b", Path("/scans/b"))


def test_what_was_told_after_a_job_is_over_is_not_for_the_next_one(desk):
    at_work(desk, case("a"))
    for command in (Stop(), Pause(), PredictNow(name="a")):
        desk.take(command)
    at_work(desk, case("a"))
    assert not desk.stopping()
    assert not desk.paused
    assert desk.wanted() is None


def test_a_new_job_knows_its_own_cases_and_their_maps_only(desk):
    at_work(desk, case("a", made=10), case("b"))
    revision = desk.revision()
    at_work(desk, case("a"))
    assert [one.name for one in desk.cases()] == ["a"]
    assert desk.revision() != revision
    assert desk.stale(RUN, 10) == [("a", Path("/scans/a"))]


def test_what_is_on_screen_stays_on_screen_for_the_next_job(desk):
    desk.take(Attend(visible="b"))
    at_work(desk, case("a"), case("b"))
    assert name_of(desk.next_map(RUN, 10, replace=True)) == "b"


# -- pauses -----------------------------------------------------------------------------------------------------


def test_it_rests_until_it_shall_go_on(desk):
    at_work(desk, case("a"))
    desk.take(Pause())
    assert desk.paused
    desk.take(Resume())
    assert not desk.paused


@pytest.mark.parametrize("command", [Stop(), Quit(), training()], ids=lambda one: one.kind)
def test_whoever_has_to_end_does_not_rest(desk, command):
    at_work(desk, case("a"))
    desk.take(Pause())
    desk.take(command)
    assert not desk.paused


@pytest.mark.parametrize("command", [Resume(), Stop(), Quit(), PredictNow(name="a")], ids=lambda one: one.kind)
def test_resting_it_hears_at_once_what_there_is_to_do(desk, command):
    at_work(desk, case("a"))
    desk.take(Pause())
    found = in_thread(lambda: (desk.wait(1000, maps=True),))
    desk.take(command)
    assert found() == (None,)


def test_who_cannot_make_maps_yet_rests_all_the_same(desk):
    at_work(desk, case("a"))
    desk.take(Pause())
    desk.take(PredictNow(name="a"))
    desk.wait(1000, maps=True)  # returns at once
    found = in_thread(lambda: (desk.wait(1000, maps=False),))
    desk.take(Resume())
    assert found() == (None,)


# -- cases ------------------------------------------------------------------------------------------------------


def test_cases_join_change_and_leave_and_the_revision_tells(desk):
    at_work(desk, case("a", mask=True), case("b"))
    revisions = [desk.revision()]
    desk.take(Cases(changed=(case("b", mask=True), case("c")), gone=("a", "never heard of")))
    revisions.append(desk.revision())
    assert {one.name: one.mask for one in desk.cases()} == {"b": "/masks/b", "c": None}
    desk.drop("b")
    revisions.append(desk.revision())
    assert [one.name for one in desk.cases()] == ["c"]
    assert len(set(revisions)) == 3


# -- maps -------------------------------------------------------------------------------------------------------


def test_maps_that_are_waited_for_come_once_and_in_order(desk):
    at_work(desk, case("a"), case("b"))
    for name in ("b", "a", "b", "gone"):
        desk.take(PredictNow(name=name))
    assert [name_of(desk.wanted()) for _ in range(3)] == ["b", "a", None]


def test_the_case_on_screen_comes_first_then_the_proposed_ones_then_the_rest(desk):
    at_work(desk, *(case(name) for name in "abcde"))
    desk.take(Attend(visible="d", proposed=("c", "e")))
    order = []
    while (found := desk.next_map(RUN, 10, replace=True)) is not None:
        order.append(found[0])
        desk.made(found[0], RUN, 10)
    assert order == ["d", "c", "e", "a", "b"]


def test_the_case_on_screen_takes_every_other_turn_at_most(desk):
    at_work(desk, *(case(name) for name in "abcde"))
    desk.take(Attend(visible="d"))
    order = []
    for step in range(FRESH_STEPS, 100 * FRESH_STEPS, FRESH_STEPS)[:6]:
        order.append(name_of(desk.next_map(RUN, step, replace=True)))
        desk.made(order[-1], RUN, step)
    assert order == ["d", "a", "d", "b", "d", "c"]


def test_cases_without_a_map_come_before_old_maps_and_another_run_s_before_its_own(desk):
    at_work(desk, case("a", made=30), case("b", made=10), case("c", made=500, run="0001"), case("d"))
    order = []
    for _ in range(4):
        order.append(name_of(desk.next_map(RUN, 100, replace=True)))
        desk.made(order[-1], RUN, 100)
    assert order == ["d", "c", "b", "a"]


def test_a_map_is_made_anew_after_some_steps_only(desk):
    at_work(desk, case("a", made=30))
    assert desk.next_map(RUN, 30 + FRESH_STEPS - 1, replace=True) is None
    assert name_of(desk.next_map(RUN, 30 + FRESH_STEPS, replace=True)) == "a"


def test_a_run_that_has_just_begun_replaces_no_other_run_s_map(desk):
    at_work(desk, case("a", made=5, run="0001"))
    desk.take(Attend(visible="a", proposed=("a",)))
    assert [desk.next_map(RUN, 1000, replace=False) for _ in range(2)] == [None, None]
    assert name_of(desk.next_map(RUN, 1000, replace=True)) == "a"


def test_a_case_with_a_mask_needs_a_map_only_while_it_is_on_screen(desk):
    at_work(desk, case("a", mask=True))
    assert [desk.next_map(RUN, 10, replace=True) for _ in range(2)] == [None, None]
    desk.take(Attend(visible="a"))
    assert "a" in [name_of(desk.next_map(RUN, 10, replace=True)) for _ in range(2)]


def test_a_case_that_has_left_or_was_never_there_gets_no_map(desk):
    at_work(desk, case("a"))
    desk.take(Attend(visible="x", proposed=("a", "y")))
    desk.take(Cases(gone=("a",)))
    assert [desk.next_map(RUN, 10, replace=True) for _ in range(2)] == [None, None]


def test_a_map_that_cannot_be_made_is_not_tried_again_and_again(desk):
    at_work(desk, case("a"), case("b", made=990))
    desk.take(Attend(visible="a"))
    desk.give_up("a", RUN)
    assert [desk.next_map(RUN, 1000, replace=True) for _ in range(2)] == [None, None]
    assert [name for name, _ in desk.stale(RUN, 1000)] == ["a", "b"]
    desk.take(PredictNow(name="a"))
    assert name_of(desk.wanted()) == "a"


def test_in_the_end_every_older_map_is_due_in_order_of_interest(desk):
    at_work(desk, *(case(name) for name in "abcd"), case("e", mask=True), case("f", made=49))
    desk.made("b", RUN, 50)
    desk.take(Attend(visible="f", proposed=("d", "e", "b", "gone")))
    assert desk.stale(RUN, 50) == [(name, Path(f"/scans/{name}")) for name in "fdac"]
