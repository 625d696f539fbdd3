"""The session and its pools: opened, made, extended, exported, closed."""

import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from strokes import paint_cube

from napari_bcp.app.__main__ import train_once_open
from napari_bcp.app.background import Background
from napari_bcp.app.session import Session
from napari_bcp.events import CaseUnusable
from napari_bcp.pool import Pool, intake
from napari_bcp.pool.drafts import Draft
from napari_bcp.pool.store import TABLE
from napari_bcp.scans import from_display


def test_a_pool_opens_with_its_cases_classes_and_what_to_look_at_first(quiet):
    session, _ = quiet
    assert [case.name for case in session.cases] == [f"phantom_{i:03d}" for i in range(8)]
    assert [one.value for one in session.classes] == [1, 2, 3]
    assert {one.name for one in session.proposals} == {f"phantom_{i:03d}" for i in range(3, 8)}
    assert all(one.reason for one in session.proposals)


def test_a_pool_that_another_process_writes_is_refused_in_a_sentence(quiet, phantom_pool, pumped):
    said = []
    other = Session()
    other.told.connect(lambda message: said.append(message))
    other.open_pool(phantom_pool)
    pumped(other, lambda: said)
    assert other.pool is None
    assert "being written by process" in said[0].text
    assert other.progress is None
    other.close()


def test_a_folder_without_a_pool_is_refused_and_the_pool_that_is_open_stays(quiet, pumped, tmp_path, told):
    session, trainer = quiet
    before = session.pool
    session.open_pool(tmp_path / "nothing")
    pumped(session, lambda: told)
    assert "There is no pool" in told[0][2]
    assert session.pool is before
    assert not trainer.closed


def test_another_pool_takes_the_place_of_the_one_that_is_open(quiet, pumped, phantom_cohort, phantom_pool, tmp_path):
    session, trainer = quiet
    session.new_pool(tmp_path / "other", phantom_cohort / "images", None, phantom_cohort / "classes.json")
    pumped(session, lambda: session.pool.root == (tmp_path / "other").resolve())
    assert trainer.closed
    assert not any(case.status == "accepted" for case in session.cases)
    pumped(session, lambda: _can_be_written(phantom_pool))


def test_a_new_pool_is_made_from_a_folder_with_progress_and_opened(session, pumped, phantom_cohort, tmp_path):
    progress = []
    session.progress_changed.connect(progress.append)
    session.new_pool(tmp_path / "made", phantom_cohort / "images", phantom_cohort / "labels", None)
    pumped(session, lambda: session.pool is not None)
    assert len(session.cases) == 8
    assert progress[-1] is None
    assert max(one.done for one in progress if one is not None) > 0


def test_closing_a_pool_saves_what_is_open_and_gives_the_pool_back(quiet, pumped, opened, phantom_pool):
    session, trainer = quiet
    case = opened("phantom_004")
    paint_cube(case)
    session.close_pool()
    pumped(session, lambda: session.pool is None)
    assert session.current is None
    assert trainer.closed
    pumped(session, lambda: _can_be_written(phantom_pool))
    draft = Draft.open(phantom_pool / "drafts" / "phantom_004.journal", case.labels.shape)
    np.testing.assert_array_equal(draft.array, case.labels)


def _can_be_written(root):
    from napari_bcp.errors import PoolLockedError

    try:
        Pool.open(root, write=True).close()
    except PoolLockedError:
        return False
    return True


def test_more_scans_join_the_pool_that_is_open(quiet, pumped, phantom_cohort, tmp_path, told):
    session, _ = quiet
    (tmp_path / "more").mkdir()
    shutil.copy(phantom_cohort / "images" / "phantom_003.nii.gz", tmp_path / "more" / "extra.nii.gz")
    session.extend_pool(tmp_path / "more", None)
    pumped(session, lambda: len(session.cases) == 9)
    assert any(text.startswith("1 case joined the pool.") for _, _, text in told)


def test_a_pool_without_anything_to_draw_is_not_made_and_says_why(session, pumped, phantom_cohort, tmp_path):
    told = []
    session.told.connect(told.append)
    session.new_pool(tmp_path / "made", phantom_cohort / "images", None, None)
    pumped(session, lambda: told)
    assert "name one class or more" in told[0].text
    assert not (tmp_path / "made").exists()


def test_a_mask_that_is_handed_in_for_the_open_case_is_what_is_shown(
    quiet, pumped, opened, phantom_cohort, truth, tmp_path
):
    session, _ = quiet
    before = opened("phantom_004")
    (tmp_path / "masks").mkdir()
    shutil.copy(phantom_cohort / "truth" / "phantom_004.nii.gz", tmp_path / "masks")
    session.extend_pool(phantom_cohort / "images", tmp_path / "masks")
    pumped(session, lambda: session.current is not before)
    assert (session.current.name, session.current.source, session.current.editable) == ("phantom_004", "mask", False)
    np.testing.assert_array_equal(from_display(session.current.labels), truth("phantom_004"))


def test_a_pool_that_arrives_waits_for_edits_that_cannot_be_saved(
    quiet, pumped, opened, told, phantom_cohort, phantom_pool, tmp_path
):
    """The case was still editable while the other pool was made."""
    session, _ = quiet
    pool, case = session.pool, opened("phantom_004")
    other = tmp_path / "other"
    session.new_pool(other, phantom_cohort / "images", phantom_cohort / "labels", None)
    (phantom_pool / "drafts").write_text("in the way")
    paint_cube(case)
    pumped(session, lambda: any("stays open" in text for *_, text in told))
    assert (session.pool, session.current) == (pool, case)
    assert case.labels.any()
    assert session.progress is None
    pumped(session, lambda: _can_be_written(other))
    (phantom_pool / "drafts").unlink()
    session.open_pool(other)
    pumped(session, lambda: session.pool.root == other.resolve())


def test_what_cannot_be_saved_is_named_before_a_window_takes_it_along(quiet, opened, phantom_pool):
    session, _ = quiet
    case = opened("phantom_004")
    assert session.save_now() == ""
    (phantom_pool / "drafts").write_text("in the way")
    paint_cube(case)
    assert session.save_now().startswith("phantom_004 has edits that are not saved. ")
    (phantom_pool / "drafts").unlink()
    assert session.save_now() == ""
    draft = Draft.open(phantom_pool / "drafts" / "phantom_004.journal", case.labels.shape)
    np.testing.assert_array_equal(draft.array, case.labels)


def test_a_case_is_read_again_only_once_its_journal_is_written_anew(quiet, pumped, opened, monkeypatch):
    session, _ = quiet
    case = opened("phantom_004")
    paint_cube(case)
    pumped(session, lambda: not case.edits.dirty and case.case.status == "draft")
    held, compact = threading.Event(), case.edits.compact
    monkeypatch.setattr(case.edits, "compact", lambda: (held.wait(60), compact()))
    opened("phantom_005")
    session.open_case("phantom_004")
    read = []
    session._background.run("open", lambda: None, read.append)
    pumped(session, lambda: read)  # whatever was to be read before that is
    assert session.current.name == "phantom_005"
    held.set()
    pumped(session, lambda: session.current.name == "phantom_004")
    paint_cube(session.current)
    pumped(session, lambda: not session.current.edits.dirty)
    assert session.current.edits.problem is None


def test_the_sample_that_is_open_already_stays(quiet, phantom_pool, told):
    session, _ = quiet
    before = session.pool
    session.open_sample(phantom_pool.parent)
    assert (session.pool, session.progress, told) == (before, None, [])


def test_masks_are_exported_beside_all_other_work(quiet, pumped, told, tmp_path):
    session, _ = quiet
    held = threading.Event()
    session._background.run("pool", lambda: held.wait(60))
    session.export(tmp_path / "out", "plain", False)
    pumped(session, lambda: any("cases.csv" in text for _, _, text in told))
    held.set()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"accepted", "cases.csv"}


def test_an_export_that_is_refused_says_why(quiet, pumped, told, tmp_path):
    session, _ = quiet
    (tmp_path / "mine.txt").write_text("mine")
    session.export(tmp_path, "plain", True)
    pumped(session, lambda: told)
    level, where, text = told[-1]
    assert (level, where) == ("error", "cases")
    assert "holds mine.txt" in text
    assert session.progress is None


def test_a_window_that_is_to_train_does_so_once_its_pool_is_open(quiet, pumped, phantom_pool):
    session, trainer = quiet
    session.close_pool()
    pumped(session, lambda: session.pool is None)
    train_once_open(session, 5.0)
    session.open_pool(phantom_pool)
    pumped(session, lambda: trainer.told("train") and session.current is not None)
    session.close_pool()
    pumped(session, lambda: session.pool is None)
    session.open_pool(phantom_pool)
    pumped(session, lambda: session.pool is not None)
    done = []
    session._background.run("pool", lambda: None, done.append)  # after what a second start would have to do there
    pumped(session, lambda: done)
    session.pump()
    assert len(trainer.told("train")) == 1, "once"


def test_closing_gives_up_a_pool_that_is_being_made(session, phantom_cohort, tmp_path, monkeypatch):
    """A window that is gone must not go on reading three thousand scans."""
    read, begun, go_on = intake.read_grid, threading.Event(), threading.Event()

    def slowly(path):
        begun.set()
        while not session._background.closing:
            go_on.wait(0.01)
        return read(path)

    monkeypatch.setattr(intake, "read_grid", slowly)
    root = tmp_path / "pool"
    session.new_pool(root, phantom_cohort / "images", phantom_cohort / "labels", None)
    assert begun.wait(30)
    session.close()
    assert not (root / TABLE).exists()
    with Pool.create(root, phantom_cohort / "images") as pool:
        assert len(pool.cases()) == 8


def test_scans_that_have_moved_are_found_in_the_folder_that_is_named(quiet, pumped, told, phantom_cohort, tmp_path):
    """The others stay, also where the folder has files of their names; the training hears of it."""
    session, trainer = quiet
    more, archive = tmp_path / "more", tmp_path / "archive"
    more.mkdir()
    for name in ("early", "late"):
        shutil.copy(phantom_cohort / "images" / "phantom_003.nii.gz", more / f"{name}.nii.gz")
    session.extend_pool(more, None)
    pumped(session, lambda: len(session.cases) == 10)
    told.clear()
    session.find_moved(tmp_path)
    pumped(session, lambda: told)
    assert told.pop()[2] == "Every scan is where it was."
    archive.mkdir()
    shutil.copy(more / "early.nii.gz", archive)
    shutil.move(more / "late.nii.gz", archive)
    session.find_moved(tmp_path)
    pumped(session, lambda: told)
    level, where, text = told.pop()
    assert (level, where) == ("warning", "cases")
    assert text.startswith("None of the 1 scans")
    session.start_training("quick", 1, {})
    pumped(session, lambda: trainer.busy)
    session.find_moved(archive)
    pumped(session, lambda: told)
    assert told.pop() == ("info", "cases", f"1 scan found in {archive}.")
    pumped(session, lambda: trainer.told("tell_cases"))
    [[changed, gone]] = [call for call in trainer.told("tell_cases") if any(call)]
    assert [(one.name, one.scan) for one in changed] == [("late", str(archive / "late.nii.gz"))]
    assert not gone
    assert session.pool.case("early").path.parent == more


def test_closing_saves_the_last_stroke(session, pumped, phantom_pool):
    """Also one that is still being taken in when the window goes."""
    session.open_pool(phantom_pool)
    pumped(session, lambda: session.pool is not None)
    session.open_case("phantom_004")
    pumped(session, lambda: session.current is not None)
    paint_cube(session.current)
    labels = session.current.labels.copy()
    session.close()
    draft = Draft.open(phantom_pool / "drafts" / "phantom_004.journal", labels.shape)
    np.testing.assert_array_equal(draft.array, labels)


def test_what_waits_to_be_written_is_written_when_the_window_goes():
    """What only reads is dropped."""
    background, held, begun, done = Background(lambda error: None), threading.Event(), threading.Event(), []

    def first():
        begun.set()
        held.wait(30)
        done.append("first")

    for lane in ("pool", "save"):
        begun.clear()
        background.run(lane, first)
        background.run(lane, lambda: done.append("second"))
        assert begun.wait(30)
    closing = threading.Thread(target=background.close)
    closing.start()
    while not background.closing:
        held.wait(0.01)
    held.set()
    closing.join(30)
    assert sorted(done) == ["first", "first", "second", "second"]


def test_a_scan_that_is_away_for_a_moment_stays_usable(quiet, pumped, told):
    session, trainer = quiet
    session.start_training("quick", 1, {})
    pumped(session, lambda: trainer.busy)
    trainer.heard(CaseUnusable(case="phantom_004", reason="It is away.", lasting=False))
    trainer.heard(CaseUnusable(case="phantom_005", reason="It is torn.", lasting=True))
    pumped(session, lambda: session.pool.case("phantom_005").status == "unusable")
    assert session.pool.case("phantom_004").status == "unlabelled"
    assert [text for _, _, text in told if "left out" in text] == [
        *("phantom_004 is left out: It is away.", "phantom_005 is left out: It is torn."),
    ]


@pytest.mark.parametrize(("saved", "run"), [(True, "0001"), (False, "0002")])
def test_a_new_run_that_failed_goes_on_from_its_checkpoint_if_it_has_one(quiet, pumped, saved, run):
    session, trainer = quiet
    session.start_training("quick", 1, {}, fresh=True)
    pumped(session, lambda: trainer.busy)
    folder = Path(trainer.told("train")[0][0].run)
    if saved:
        (folder / "last.pt").write_bytes(b"a checkpoint")
        session.pool.update_run("0001", plan={"classes": [1, 2, 3]})
    trainer.busy, trainer.state.phase = False, "failed"
    session.continue_after_failure()
    pumped(session, lambda: len(trainer.told("train")) == 2)
    [[_], [job]] = trainer.told("train")
    assert (Path(job.run).name, job.resume) == (run, saved)
