"""Work of minutes: nobody waits for it, and it can be given up with nothing kept of it."""

import shutil
import threading

import pytest
from strokes import paint_cube

from napari_bcp.pool import Pool, intake
from napari_bcp.pool import export as export_module
from napari_bcp.pool.store import TABLE


@pytest.fixture
def held(phantom_pool, monkeypatch):
    """An event that headers of scans that join a pool wait for, and one that says that they do."""
    go_on, begun, read = threading.Event(), threading.Event(), intake.read_grid

    def slowly(path):
        begun.set()
        assert go_on.wait(60)
        return read(path)

    monkeypatch.setattr(intake, "read_grid", slowly)
    yield go_on, begun
    go_on.set()


@pytest.fixture
def more(phantom_cohort, tmp_path):
    """A folder with two scans that the pool does not have."""
    folder = tmp_path / "more"
    folder.mkdir()
    for name in ("extra", "other"):
        shutil.copy(phantom_cohort / "images" / "phantom_003.nii.gz", folder / f"{name}.nii.gz")
    return folder


def cancel(session, pumped):
    """Cancel what is in progress as soon as it can be."""
    pumped(session, lambda: session.progress is not None and session.progress.cancel is not None)
    session.progress.cancel()
    assert session.progress.task.startswith("cancelling ")
    assert session.progress.cancel is None, "once"


def in_order(order, name, method):
    """Return what does the same as `method` and notes that it has ended."""

    def noted(*arguments):
        try:
            return method(*arguments)
        finally:
            order.append(name)

    return noted


def ways(session, folder, images, classes):
    """What reads folders for minutes, by name."""
    return {
        "extend": lambda: session.extend_pool(images, None),
        "new": lambda: session.new_pool(folder / "other", images, None, classes),
    }


@pytest.mark.parametrize("way", ["extend", "new"])
def test_a_case_is_accepted_while_scans_are_read(
    quiet, pumped, opened, held, more, told, tmp_path, phantom_cohort, way
):
    session, _ = quiet
    go_on, begun = held
    case = opened("phantom_004")
    ways(session, tmp_path, more, phantom_cohort / "classes.json")[way]()
    pumped(session, begun.is_set)
    paint_cube(case)
    session.accept()
    pumped(session, lambda: (case.case.status == "accepted" and not session.busy) or told)
    assert told == []
    assert not go_on.is_set()


def test_adding_scans_can_be_cancelled(quiet, pumped, held, more, told):
    session, _ = quiet
    go_on, begun = held
    session.extend_pool(more, None)
    assert begun.wait(30)
    cancel(session, pumped)
    go_on.set()
    pumped(session, lambda: told)
    assert told == [("info", "cases", "Reading scans was cancelled; nothing was kept of it.")]
    assert len(session.pool.cases()) == 8
    assert session.progress is None
    session.extend_pool(more, None)
    pumped(session, lambda: len(session.cases) == 10)


def test_making_a_pool_can_be_cancelled_and_the_one_that_is_open_stays(
    quiet, pumped, held, more, told, tmp_path, phantom_cohort
):
    session, _ = quiet
    go_on, begun = held
    before, root = session.pool, tmp_path / "other"
    session.new_pool(root, more, None, phantom_cohort / "classes.json")
    assert begun.wait(30)
    cancel(session, pumped)
    go_on.set()
    pumped(session, lambda: told)
    assert told == [("info", "", "Reading scans was cancelled; nothing was kept of it.")]
    assert session.pool is before
    assert not (root / TABLE).exists()
    session.new_pool(root, more, None, phantom_cohort / "classes.json")
    pumped(session, lambda: session.pool.root == root.resolve())


def test_an_export_can_be_cancelled(quiet, pumped, told, tmp_path, monkeypatch):
    session, _ = quiet
    go_on, begun, write = threading.Event(), threading.Event(), export_module._write_mask

    def slowly(*arguments):
        begun.set()
        assert go_on.wait(60)
        return write(*arguments)

    monkeypatch.setattr(export_module, "_write_mask", slowly)
    session.export(tmp_path / "out", "plain", False)
    assert begun.wait(30)
    cancel(session, pumped)
    go_on.set()
    pumped(session, lambda: told)
    assert told == [("info", "cases", "Exporting was cancelled; nothing was kept of it.")]
    assert not list((tmp_path / "out").iterdir())


def test_looking_for_moved_scans_can_be_cancelled_and_then_none_has_moved(quiet, pumped, told, more, tmp_path):
    session, _ = quiet
    session.extend_pool(more, None)
    pumped(session, lambda: len(session.cases) == 10)
    told.clear()
    archive = tmp_path / "archive"
    shutil.move(more, archive)
    go_on, begun, relocate = threading.Event(), threading.Event(), session.pool.cases

    def slowly(*arguments):
        begun.set()
        assert go_on.wait(60)
        return relocate(*arguments)

    session.pool.cases = slowly
    session.find_moved(archive)
    assert begun.wait(30)
    cancel(session, pumped)
    go_on.set()
    pumped(session, lambda: told)
    assert told == [("info", "cases", "Looking for scans was cancelled; nothing was kept of it.")]
    assert session.pool.case("extra").path.parent == more
    session.find_moved(archive)
    pumped(session, lambda: len(told) == 2)
    assert told[1] == ("info", "cases", f"2 scans found in {archive}.")


def test_a_pool_that_is_left_is_closed_once_nothing_is_taken_into_it_any_more(
    quiet, pumped, held, more, told, phantom_pool, monkeypatch
):
    session, _ = quiet
    go_on, begun = held
    order, pool = [], session.pool
    for name in ("extend", "close"):
        monkeypatch.setattr(pool, name, in_order(order, name, getattr(pool, name)))
    session.extend_pool(more, None)
    assert begun.wait(30)
    session.close_pool()
    pumped(session, lambda: session.pool is None)
    session.open_pool(phantom_pool)  # waits until it has been closed
    go_on.set()
    pumped(session, lambda: session.pool is not None)
    assert order == ["extend", "close"]
    assert len(session.cases) == 8
    assert [level for level, *_ in told] == ["info"], "cancelled, and nothing failed"


def test_a_window_that_closes_gives_up_what_it_takes_in(session, pumped, held, more, phantom_pool):
    go_on, begun = held
    session.open_pool(phantom_pool)
    pumped(session, lambda: session.pool is not None)
    session.extend_pool(more, None)
    assert begun.wait(30)
    closing = threading.Thread(target=session.close)
    closing.start()
    while not session._background.closing:
        begun.wait(0.01)
    go_on.set()
    closing.join(30)
    with Pool.open(phantom_pool, write=True) as pool:
        assert len(pool.cases()) == 8
