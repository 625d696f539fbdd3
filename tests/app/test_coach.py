"""What the training process is told of the cases, and that the window's thread asks no disk for it."""

import threading

import pytest
from strokes import paint_cube

from napari_bcp.app import coach


@pytest.fixture
def askers(quiet, monkeypatch):
    """The threads that have looked up where a mask lies."""
    session, _ = quiet
    asked, mask_file = [], session.pool.mask_file

    def noted(case):
        asked.append(threading.current_thread())
        return mask_file(case)

    monkeypatch.setattr(session.pool, "mask_file", noted)
    return asked


def started(quiet, pumped):
    session, trainer = quiet
    session.start_training("quick", 1, {})
    pumped(session, lambda: trainer.told("train"))
    [[job]] = trainer.told("train")
    return job


def test_where_masks_lie_is_looked_up_beside_the_window(quiet, pumped, opened, askers):
    session, trainer = quiet
    job = started(quiet, pumped)
    assert [case.name for case in job.cases if case.mask] == [f"phantom_{i:03d}" for i in range(3)]
    paint_cube(opened("phantom_004"))
    session.accept()
    pumped(session, lambda: trainer.told("tell_cases"))
    session._cohort.reload()
    session.predict_now("phantom_005")
    pumped(session, lambda: trainer.told("predict_now"))
    assert threading.main_thread() not in askers
    assert askers


def test_a_mask_that_comes_while_the_training_is_being_started_is_told_of(quiet, pumped, monkeypatch):
    session, trainer = quiet
    held, begun, choose = threading.Event(), threading.Event(), coach.choose_run

    def slowly(*arguments):
        begun.set()
        assert held.wait(60)
        return choose(*arguments)

    monkeypatch.setattr(coach, "choose_run", slowly)
    session.start_training("quick", 1, {})
    assert begun.wait(30)
    session.pool.exclude("phantom_004")  # it is known here before it is to the training
    session._cohort.take_records(coach.read_records(session.pool, ["phantom_004"]))
    held.set()
    pumped(session, lambda: any("phantom_004" in gone for _, gone in trainer.told("tell_cases")))


def test_what_changes_is_told_in_the_order_in_which_it_did(quiet, pumped):
    session, trainer = quiet
    started(quiet, pumped)
    session.exclude(["phantom_000"])
    pumped(session, lambda: session._cohort.cases["phantom_000"].status == "excluded")
    session.include(["phantom_000"])
    pumped(session, lambda: session._cohort.cases["phantom_000"].status == "accepted")
    pumped(session, lambda: len([call for call in trainer.told("tell_cases") if any(call)]) == 2)
    (none, gone), (back, nothing) = (call for call in trainer.told("tell_cases") if any(call))
    assert (list(none), list(gone), list(nothing)) == ([], ["phantom_000"], [])
    assert [one.name for one in back] == ["phantom_000"]


def test_a_case_that_is_told_of_has_the_mask_in_force(quiet, pumped, opened):
    session, trainer = quiet
    started(quiet, pumped)
    case = opened("phantom_004")
    for version in (1, 2):
        paint_cube(case, value=version)
        session.accept()
        pumped(session, lambda version=version: case.case.mask_version == version and not session.busy)
        pumped(session, lambda version=version: len(trainer.told("tell_cases")) == version)
        [info] = trainer.told("tell_cases")[-1][0]
        assert info.mask == str(session.pool.mask_path("phantom_004"))
        session.reopen()
        pumped(session, lambda: case.editable and not session.busy)
