"""The session on a real pool: cases are opened, judged and changed, and the training hears of it."""

import shutil

import numpy as np
import pytest
from made_maps import made_map
from strokes import paint_cube

from napari_bcp.app import cohort
from napari_bcp.errors import StateError
from napari_bcp.events import CaseUnusable, Finished, Planned, Saved
from napari_bcp.scans import display_arrays, from_display
from napari_bcp.worker.messages import Ended


def settled(session, pumped):
    """Wait until nothing of the open case is unsaved or under way."""
    pumped(session, lambda: not session.busy and not session.current.edits.dirty)


# -- the open case ------------------------------------------------------------------------------------------------


def test_a_case_without_a_map_opens_with_nothing_to_begin_from(opened):
    case = opened("phantom_004")
    assert (case.source, case.map, case.editable) == ("nothing", None, True)
    assert not case.labels.any()
    assert case.scan.shape == case.labels.shape


def test_an_accepted_case_opens_locked_with_its_mask_the_right_way_up(opened, truth):
    case = opened("phantom_001")
    assert (case.source, case.editable) == ("mask", False)
    np.testing.assert_array_equal(from_display(case.labels), truth("phantom_001"))


def test_a_map_makes_a_pseudo_label_of_a_case_that_nobody_has_touched(quiet, pumped, opened, truth, phantom_pool):
    session, trainer = quiet
    case = opened("phantom_003")  # stored in another axis order
    maps = []
    session.map_changed.connect(maps.append)
    trainer.heard(made_map(phantom_pool, "phantom_003", truth("phantom_003")))
    pumped(session, lambda: maps)
    assert session.pool.case("phantom_003").status == "predicted"
    assert case.source == "pseudo-label"
    np.testing.assert_array_equal(from_display(case.labels), truth("phantom_003"))
    assert not case.edits.can_undo
    np.testing.assert_array_equal(from_display(case.probability(2)) > 0, truth("phantom_003") == 2)
    assert case.map_stamp == "run 0001 · step 10"


def test_a_newer_map_leaves_the_labels_of_a_draft_alone(quiet, pumped, opened, truth, phantom_pool):
    session, trainer = quiet
    case = opened("phantom_003")
    paint_cube(case)
    before = case.labels.copy()
    maps = []
    session.map_changed.connect(maps.append)
    trainer.heard(made_map(phantom_pool, "phantom_003", truth("phantom_003")))
    pumped(session, lambda: maps)
    np.testing.assert_array_equal(case.labels, before)
    assert case.map is not None
    settled(session, pumped)
    assert session.pool.case("phantom_003").status == "draft"


def test_an_edit_is_a_draft_on_the_disk_soon_and_comes_back_with_its_undo(quiet, pumped, opened):
    session, _ = quiet
    case = opened("phantom_004")
    paint_cube(case)
    settled(session, pumped)
    pumped(session, lambda: case.case.status == "draft")
    painted = case.labels.copy()
    opened("phantom_005")
    again = opened("phantom_004")
    assert again is not case
    np.testing.assert_array_equal(again.labels, painted)
    assert again.source == "draft"
    assert "64 voxels changed" in again.restored


def test_a_case_whose_edits_cannot_be_saved_stays_open_and_says_so(quiet, pumped, opened, told, phantom_pool):
    session, _ = quiet
    case = opened("phantom_004")
    (phantom_pool / "drafts").write_text("in the way")
    paint_cube(case)
    session.open_case("phantom_005")
    pumped(session, lambda: any("stays open" in text for *_, text in told))
    assert session.current is case
    assert case.labels.any()
    (phantom_pool / "drafts").unlink()
    pumped(session, lambda: not case.edits.dirty)
    opened("phantom_005")


def test_an_operation_is_one_edit_and_keeps_what_was_painted_while_it_worked(quiet, pumped, opened):
    session, _ = quiet
    case = opened("phantom_004")
    box = paint_cube(case)
    case.labels[tuple(part.start + 1 for part in box)] = 0  # a hole, made and recorded
    hole = tuple(slice(part.start + 1, part.start + 2) for part in box)
    case.edits.record_stroke([(hole, None, np.ones((1, 1, 1), np.uint8), 0)])
    session.edit_current("fill_holes", 1)
    assert session.busy == "fill_holes"
    corner = (slice(0, 1),) * 3
    case.labels[corner] = 2
    case.edits.record_stroke([(corner, None, np.zeros((1, 1, 1), np.uint8), 2)])
    pumped(session, lambda: not session.busy)
    assert case.labels[tuple(part.start for part in hole)] == 1
    assert case.labels[0, 0, 0] == 2
    assert case.edits.operations == ("paint", "paint", "paint", "fill holes")


def test_an_operation_that_changes_nothing_says_so(quiet, pumped, opened, told):
    session, _ = quiet
    opened("phantom_004")
    session.edit_current("keep_largest", 1)
    pumped(session, lambda: told)
    assert told[-1][2] == "Keep largest: there is nothing to change."


def test_a_pool_folder_that_vanishes_is_told_and_the_edit_stays_on_screen(quiet, pumped, opened, told, phantom_pool):
    session, _ = quiet
    case = opened("phantom_004")
    shutil.rmtree(phantom_pool)
    paint_cube(case)
    session.accept()
    pumped(session, lambda: any(level == "error" for level, *_ in told))
    assert not session.busy
    assert case.labels.any()
    assert case.editable


def test_accept_waits_for_the_border_that_was_moved_last(quiet, pumped, opened, truth, phantom_pool):
    session, trainer = quiet
    name = session.proposals[0].name
    trainer.heard(made_map(phantom_pool, name, truth(name), soft=0.6))
    pumped(session, lambda: session.pool.case(name).map is not None)
    case = opened(name)
    pumped(session, lambda: case.map is not None)
    value = session.classes[0].value
    assert (case.labels == value).any()
    session.move_border(value, 250, final=True)  # higher than the map is anywhere
    session.accept()
    pumped(session, lambda: case.case.status == "accepted" and not session.busy)
    mask = session.pool.mask(name)
    assert not (mask == value).any()
    assert mask.any()


def test_the_next_case_is_read_ahead_and_so_shown_at_once(quiet, pumped, opened):
    session, _ = quiet
    here = session.proposals[0].name
    opened(here)
    pumped(session, lambda: session._ahead.name not in ("", here))
    loading = []
    session.case_loading.connect(loading.append)
    following = session.following
    session.next_case()
    assert session.current.name == following.name
    assert not loading


def test_the_case_that_was_just_left_is_read_ahead_when_it_is_the_next_one(quiet, pumped, opened):
    session, _ = quiet
    first, second = (one.name for one in session.proposals[:2])
    opened(first)
    opened(second)
    pumped(session, lambda: session._ahead.name == first)


def test_a_case_that_was_read_ahead_and_changed_since_is_read_again(quiet, pumped, opened, truth, phantom_pool):
    session, trainer = quiet
    here = session.proposals[0].name
    opened(here)
    pumped(session, lambda: session._ahead.name not in ("", here))
    name = session._ahead.name
    trainer.heard(made_map(phantom_pool, name, truth(name)))
    pumped(session, lambda: session.pool.case(name).map is not None)
    opened(name)
    pumped(session, lambda: session.current.source == "pseudo-label")


def test_what_is_painted_while_another_case_is_read_is_saved_before_it_is_shown(quiet, pumped, opened):
    session, _ = quiet
    case = opened("phantom_004")
    session.open_case("phantom_006")
    paint_cube(case)
    pumped(session, lambda: session.current.name == "phantom_006")
    assert not case.edits.dirty
    assert opened("phantom_004").labels.sum() == 64


def test_a_case_waits_to_be_shown_until_a_stroke_has_ended(quiet, pumped, opened):
    session, _ = quiet
    opened("phantom_004")
    session.painting = lambda: True
    loaded = []
    session.case_loading.connect(loaded.append)
    session.open_case("phantom_001")
    for _ in range(50):
        session.pump()
    assert session.current.name == "phantom_004"
    session.painting = bool
    pumped(session, lambda: session.current.name == "phantom_001")


def test_a_reset_that_fails_leaves_the_draft_of_the_open_case(quiet, pumped, opened, told, monkeypatch):
    session, _ = quiet
    case = opened("phantom_004")
    paint_cube(case)
    settled(session, pumped)
    monkeypatch.setattr(session.pool, "reset", lambda name: (_ for _ in ()).throw(StateError("It cannot be reset.")))
    session.reset(["phantom_004"])
    pumped(session, lambda: told)
    assert told[-1][2] == "It cannot be reset."
    assert (session.pool.root / "drafts" / "phantom_004.journal").exists()
    assert session.current is case


def test_a_case_that_is_opened_again_has_its_undo(opened):
    case = opened("phantom_004")
    paint_cube(case)
    opened("phantom_006")
    again = opened("phantom_004")
    assert again is not case
    assert again.labels.sum() == 64
    again.edits.undo()
    assert not again.labels.any()


def test_an_excluded_case_that_is_included_while_it_is_open_has_its_draft(quiet, pumped, opened):
    session, _ = quiet
    paint_cube(opened("phantom_004"))
    opened("phantom_006")
    session.exclude(["phantom_004"])
    pumped(session, lambda: session.pool.case("phantom_004").status == "excluded")
    locked = opened("phantom_004")
    assert not locked.labels.any()
    session.include(["phantom_004"])
    pumped(session, lambda: locked.case.status == "draft")
    assert not locked.editable, "a stroke would put the draft aside"
    pumped(session, lambda: session.current is not locked)
    assert session.current.editable
    assert session.current.labels.sum() == 64
    session.accept()
    pumped(session, lambda: session.pool.case("phantom_004").status == "accepted")
    assert session.pool.mask("phantom_004").sum() == 64


def test_a_draft_that_is_excluded_and_included_on_screen_goes_on(quiet, pumped, opened):
    session, _ = quiet
    case = opened("phantom_004")
    paint_cube(case)
    settled(session, pumped)
    for change, status in ((session.exclude, "excluded"), (session.include, "draft")):
        change(["phantom_004"])
        pumped(session, lambda status=status: case.case.status == status)
    assert session.current is case
    assert case.editable
    case.edits.undo()
    settled(session, pumped)
    assert case.edits.problem is None


def test_of_cases_reset_together_the_open_one_is_read_again_though_another_fails(
    quiet, pumped, opened, told, monkeypatch
):
    session, _ = quiet
    case = opened("phantom_004")
    paint_cube(case)
    settled(session, pumped)
    reset = session.pool.reset

    def not_006(name):
        if name == "phantom_006":
            raise StateError("phantom_006 cannot be reset.")
        reset(name)

    monkeypatch.setattr(session.pool, "reset", not_006)
    session.reset(["phantom_004", "phantom_006"])
    pumped(session, lambda: session.current is not case)
    assert "phantom_006 cannot be reset." in [text for *_, text in told]
    paint_cube(session.current)
    settled(session, pumped)
    assert session.current.edits.problem is None


def test_a_draft_that_could_not_be_read_is_put_aside_not_removed(quiet, pumped, opened):
    session, _ = quiet
    paint_cube(opened("phantom_004"))
    opened("phantom_006")
    journal = session.pool.draft_file("phantom_004")
    content = journal.read_bytes()
    journal.write_bytes(b"torn" + content)
    case = opened("phantom_004")
    assert not case.edits.has_draft
    session.accept()
    pumped(session, lambda: session.pool.case("phantom_004").status == "accepted")
    assert journal.with_name(journal.name + ".before").read_bytes() == b"torn" + content


# -- verdicts -----------------------------------------------------------------------------------------------------


def test_an_accepted_case_is_a_mask_with_the_effort_that_it_took(quiet, pumped, opened, truth, phantom_pool):
    session, trainer = quiet
    labels = truth("phantom_004")
    trainer.heard(made_map(phantom_pool, "phantom_004", labels, step=70))
    pumped(session, lambda: session.pool.case("phantom_004").map is not None)
    case = opened("phantom_004")
    paint_cube(case, 2)
    wanted = from_display(case.labels).copy()
    changed = int((wanted != labels).sum())
    session.accept()
    pumped(session, lambda: case.case.status == "accepted" and not session.busy)
    np.testing.assert_array_equal(session.pool.mask("phantom_004"), wanted)
    details = session.pool.history("phantom_004")[-1].details
    assert (details["changed_voxels"], details["run"], details["step"]) == (changed, "0001", 70)
    assert 0 < details["dice"]["2"] < 1
    assert not (phantom_pool / "drafts" / "phantom_004.journal").exists()
    assert not case.editable


def test_a_reopened_mask_is_a_draft_and_accepting_it_is_the_next_version(quiet, pumped, opened):
    session, _ = quiet
    case = opened("phantom_001")
    session.reopen()
    pumped(session, lambda: case.editable and not session.busy)
    assert case.case.status == "draft"
    paint_cube(case, 3)
    session.accept()
    pumped(session, lambda: case.case.status == "accepted" and not session.busy)
    assert case.case.mask_version == 2
    np.testing.assert_array_equal(session.pool.mask("phantom_001"), from_display(case.labels))


def test_accept_and_next_goes_on_to_the_case_that_is_proposed(quiet, pumped, opened):
    session, _ = quiet
    first = session.proposals[0].name
    opened(first)
    paint_cube(session.current)
    session.accept(then_next=True)
    pumped(session, lambda: session.current is not None and session.current.name != first)
    assert session.pool.case(first).status == "accepted"
    assert session.pool.case(session.current.name).status == "unlabelled"


def test_a_rejected_map_is_not_proposed_before_the_others(quiet, pumped, opened, truth, phantom_pool):
    session, trainer = quiet
    for name in ("phantom_003", "phantom_004"):
        trainer.heard(made_map(phantom_pool, name, truth(name)))
    pumped(session, lambda: len([c for c in session.cases if c.status == "predicted"]) == 2)
    case = opened("phantom_003")
    paint_cube(case)
    settled(session, pumped)
    session.reject()
    pumped(session, lambda: session.current is not case and session.current is not None and not session.busy)
    assert session.current.name != "phantom_003", "the next one, and not the same again"
    assert session.pool.case("phantom_003").status == "predicted"
    assert not (phantom_pool / "drafts" / "phantom_003.journal").exists()
    pumped(session, lambda: session.proposals[-1].name == "phantom_003")
    assert "rejected" in session.proposals[-1].reason


def test_revert_takes_all_edits_back_as_one_that_can_be_undone(opened, quiet, pumped):
    session, _ = quiet
    case = opened("phantom_004")
    paint_cube(case)
    painted = case.labels.copy()
    session.revert()
    pumped(session, lambda: not session.busy)
    assert not case.labels.any()
    case.edits.undo()
    np.testing.assert_array_equal(case.labels, painted)


def test_the_rule_accepts_what_every_class_is_good_enough_for(quiet, pumped, truth, phantom_pool):
    session, trainer = quiet
    for name, soft in (("phantom_003", 0.97), ("phantom_004", 0.8)):
        trainer.heard(made_map(phantom_pool, name, truth(name), soft=soft))
    pumped(session, lambda: len([c for c in session.cases if c.status == "predicted"]) == 2)
    assert session.cases_above(0.9) == ["phantom_003"]
    assert session.accept_all_above(0.9) == ["phantom_003"]
    pumped(session, lambda: session.pool.case("phantom_003").status == "accepted")
    assert session.pool.case("phantom_003").mask_by == "rule"
    np.testing.assert_array_equal(session.pool.mask("phantom_003"), truth("phantom_003"))


def test_the_rule_accepts_no_newer_map_that_is_worse(quiet, pumped, truth, phantom_pool, told):
    session, trainer = quiet
    trainer.heard(made_map(phantom_pool, "phantom_003", truth("phantom_003"), soft=0.97))
    pumped(session, lambda: session.cases_above(0.9))
    worse = made_map(phantom_pool, "phantom_003", truth("phantom_003"), soft=0.8, step=50)
    trainer.heard(worse)  # on its way to the pool when the reader presses Accept
    assert session.accept_all_above(0.9) == ["phantom_003"]
    pumped(session, lambda: told)
    assert "has a newer map of less quality" in told[-1][2]
    assert session.pool.case("phantom_003").status == "predicted"


def test_the_rule_lets_other_work_with_the_pool_in_between(quiet, pumped, truth, phantom_pool, monkeypatch):
    session, trainer = quiet
    for name in ("phantom_003", "phantom_004", "phantom_006"):
        trainer.heard(made_map(phantom_pool, name, truth(name), soft=0.97))
    pumped(session, lambda: len([c for c in session.cases if c.status == "predicted"]) == 3)
    monkeypatch.setattr(cohort, "_SLICE_S", 1e-4)  # one at a time
    done, first, accept = [], [], session.pool.accept

    def accepted_first(name, *arguments, **more):
        accept(name, *arguments, **more)
        done.append(name)
        if not first:
            first.append(name)
            session.exclude(["phantom_001"])

    monkeypatch.setattr(session.pool, "accept", accepted_first)
    exclude = session.pool.exclude
    monkeypatch.setattr(session.pool, "exclude", lambda name: (exclude(name), done.append("excluded")))
    session.accept_all_above(0.9)
    pumped(session, lambda: len(done) == 4)
    assert done.index("excluded") < 3, "it has not waited for all of them"
    pumped(session, lambda: not session.progress)
    assert len([c for c in session.cases if c.mask_by == "rule"]) == 3


def test_what_the_rule_accepted_is_a_proposal_again_with_its_map_once_taken_back(
    quiet, pumped, opened, truth, phantom_pool
):
    session, trainer = quiet
    trainer.heard(made_map(phantom_pool, "phantom_003", truth("phantom_003"), soft=0.97))
    pumped(session, lambda: session.cases_above(0.9))
    session.accept_all_above(0.9)
    pumped(session, lambda: session.pool.case("phantom_003").status == "accepted")
    case = opened("phantom_003")
    assert (case.source, case.editable) == ("mask", False)
    session.take_back(["phantom_003"])
    pumped(session, lambda: session.current is not case)
    assert (session.current.source, session.current.editable) == ("pseudo-label", True)
    assert session.pool.case("phantom_003").map.map_path.exists()
    assert session.pool.mask_path("phantom_003") is None


def test_excluded_cases_come_back_with_their_status_and_reset_ones_without_anything(quiet, pumped, opened):
    session, _ = quiet
    case = opened("phantom_001")
    session.exclude(["phantom_001", "phantom_004"])
    pumped(session, lambda: case.case.status == "excluded")
    assert not case.editable
    session.include(["phantom_001", "phantom_004"])
    pumped(session, lambda: case.case.status == "accepted")
    session.reset(["phantom_001"])
    pumped(session, lambda: session.current is not case)
    assert session.current.case.status == "unlabelled"
    assert not session.current.labels.any()


# -- training -----------------------------------------------------------------------------------------------------


@pytest.fixture
def running(quiet, pumped):
    """A session whose training runs, and its trainer."""
    session, trainer = quiet
    session.start_training("quick", 5, {"width": 4})
    pumped(session, lambda: trainer.told("train"))
    return session, trainer


def test_starting_tells_the_child_of_run_settings_and_every_case_that_takes_part(running, phantom_pool):
    _, trainer = running
    [[job]] = trainer.told("train")
    assert (job.minutes, job.resume, job.plan, job.config["width"]) == (5, False, None, 4)
    assert job.run == str(phantom_pool / "runs" / "0001")
    assert {case.name for case in job.cases if case.mask} == {f"phantom_{i:03d}" for i in range(3)}
    assert len(job.cases) == 8


def test_what_the_child_reports_stands_in_the_pool(running, pumped, phantom_pool):
    session, trainer = running
    checkpoint = phantom_pool / "runs" / "0001" / "last.pt"
    checkpoint.write_bytes(b"a checkpoint")
    trainer.heard(Planned(run="0001", plan={"classes": [1, 2, 3]}, settings={}, labelled=3, unlabelled=5, step=0))
    trainer.heard(Saved(step=40, path=str(checkpoint)))
    trainer.heard(CaseUnusable(case="phantom_006", reason="Its scan is torn; mend it."))
    trainer.heard(Finished(reason="stopped", step=41, elapsed_s=12.5))
    pumped(session, lambda: session.pool.last_run().status == "stopped")
    run = session.pool.last_run()
    assert (run.plan, run.step, run.elapsed_s, run.checkpoint) == ({"classes": [1, 2, 3]}, 41, 12.5, checkpoint)
    trainer.heard(Finished(reason="budget", step=0, elapsed_s=0.0))  # gone on, and stopped before its first step
    pumped(session, lambda: session.pool.last_run().status == "finished")
    run = session.pool.last_run()
    assert (run.step, run.elapsed_s) == (41, 12.5)
    pumped(session, lambda: session.pool.case("phantom_006").status == "unusable")


def test_accepted_and_excluded_cases_join_and_leave_the_training(running, pumped, opened):
    session, trainer = running
    case = opened("phantom_004")
    paint_cube(case)
    session.accept()
    pumped(session, lambda: any(changed for changed, _ in trainer.told("tell_cases")))
    [info] = [one for changed, _ in trainer.told("tell_cases") for one in changed]
    assert (info.name, info.mask) == ("phantom_004", str(session.pool.mask_path("phantom_004")))
    session.exclude(["phantom_000"])
    pumped(session, lambda: any("phantom_000" in gone for _, gone in trainer.told("tell_cases")))


def test_the_child_hears_what_is_on_screen_and_what_comes_next(running, opened):
    session, trainer = running
    opened("phantom_006")
    visible, proposed = trainer.told("attend")[-1]
    assert visible == "phantom_006"
    assert proposed == [one.name for one in session.proposals]


def test_a_run_goes_on_with_its_plan_when_it_is_started_again(running, pumped, phantom_pool):
    session, trainer = running
    checkpoint = phantom_pool / "runs" / "0001" / "last.pt"
    checkpoint.write_bytes(b"a checkpoint")
    trainer.heard(Planned(run="0001", plan={"classes": [1, 2, 3]}, settings={}, labelled=3, unlabelled=5, step=0))
    pumped(session, lambda: session.pool.last_run().plan)
    trainer.state.phase = "idle"
    session.start_training("quick", 5, {})
    pumped(session, lambda: len(trainer.told("train")) == 2)
    [job] = trainer.told("train")[1]
    assert (job.resume, job.plan, job.config["width"]) == (True, {"classes": [1, 2, 3]}, 4)
    trainer.state.phase = "idle"
    session.start_training("quick", 5, {}, fresh=True)
    pumped(session, lambda: len(trainer.told("train")) == 3)
    assert trainer.told("train")[2][0].run.endswith("0002")


def test_without_masks_training_says_what_is_missing(quiet, pumped, told):
    session, trainer = quiet
    session.reset([f"phantom_{i:03d}" for i in range(3)])
    pumped(session, lambda: not any(case.status == "accepted" for case in session.cases))
    session.start_training("quick", 5, {})
    pumped(session, lambda: any(where == "train" for _, where, _ in told))
    assert "no accepted mask" in told[-1][2]
    assert session.training.phase == "idle"
    assert not trainer.told("train")


def test_a_map_that_is_asked_for_before_anything_is_trained_says_so(quiet, pumped, told):
    session, _ = quiet
    session.predict_now("phantom_004")
    pumped(session, lambda: told)
    assert "start the training first" in told[-1][2]


def test_a_map_that_a_job_was_asked_for_too_late_is_asked_for_once_more(quiet, pumped):
    session, trainer = quiet
    with_run = session.pool.new_run("quick", {}, {})
    (with_run.path / "last.pt").write_bytes(b"a checkpoint")
    trainer.busy = True
    session.predict_now("phantom_004")
    assert trainer.told("predict_now") == [["phantom_004"]]
    trainer.busy = False
    for _ in range(3):
        done = []
        trainer.heard(Ended(job="predict"))
        session._background.run("pool", lambda: None, done.append)
        pumped(session, lambda done=done: done)  # after what was asked for in between
    [[job]] = trainer.told("predict")
    assert job.names == ("phantom_004",)


def test_the_report_tells_what_was_accepted_and_how(quiet, pumped, opened):
    session, _ = quiet
    paint_cube(opened("phantom_004"))
    session.accept()
    pumped(session, lambda: session.current.case.status == "accepted" and not session.busy)
    reports = []
    session.ask_report(reports.append)
    pumped(session, lambda: reports)
    assert [effort.case for effort in reports[0].efforts] == ["phantom_004"]
    assert reports[0].efforts[0].changed_voxels == 64
    assert reports[0].statuses.counts["accepted"][-1] == 4


def test_arrays_on_screen_are_the_scan_in_display_order(opened, truth):
    case = opened("phantom_001")
    shown, _ = display_arrays(truth("phantom_001"), case._grid)
    np.testing.assert_array_equal(shown, case.labels)
