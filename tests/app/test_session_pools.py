"""The session and its pools: opened, made, extended, exported, closed."""

import shutil
import threading

import numpy as np
from strokes import paint_cube

from napari_bcp.app.__main__ import train_once_open
from napari_bcp.app.session import Session
from napari_bcp.pool import Pool, intake
from napari_bcp.pool.drafts import Draft
from napari_bcp.pool.store import TABLE


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
    session.new_pool(tmp_path / "other", phantom_cohort / "images", None, None)
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
    assert len(trainer.told("train")) == 1, "once"


def test_closing_gives_up_a_pool_that_is_being_made(session, phantom_cohort, tmp_path, monkeypatch):
    """A window that is gone must not go on reading three thousand scans."""
    read, begun, go_on = intake.read_grid, threading.Event(), threading.Event()

    def slowly(path):
        begun.set()
        go_on.wait(30)
        return read(path)

    monkeypatch.setattr(intake, "read_grid", slowly)
    root = tmp_path / "pool"
    session.new_pool(root, phantom_cohort / "images", phantom_cohort / "labels", None)
    assert begun.wait(30)
    threading.Timer(0.3, go_on.set).start()
    session.close()
    assert not (root / TABLE).exists()
    with Pool.create(root, phantom_cohort / "images") as pool:
        assert len(pool.cases()) == 8
