"""One writer, killed processes, torn and hostile tables, older and newer ones."""

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pool_cohorts import put_map, some_mask, write_mask_file, write_scan

from napari_bcp.errors import PoolError, PoolLockedError, PoolVersionError
from napari_bcp.pool import Pool
from napari_bcp.pool.database import Database
from napari_bcp.pool.migrations import MIGRATIONS
from napari_bcp.scans import read_grid, read_mask

HERE = Path(__file__).parent
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork a process")


def start(folder, action, **options):
    """Start the program that gets killed."""
    return subprocess.Popen(
        [sys.executable, str(HERE / "pool_killed.py"), str(folder), action],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), str(HERE)])},
        **options,
    )


def end(process):
    """Kill it, and close its pipes."""
    process.kill()
    process.communicate()


def read_all(root):
    """Read all that a pool says."""
    with Pool.open(root) as pool:
        return pool.cases(), pool.counts(), pool.classes, pool.runs(), pool.history()


def raw(root, *statements):
    """Edit a table by hand, its own checks off."""
    connection = sqlite3.connect(root / "pool.sqlite")
    connection.execute("PRAGMA ignore_check_constraints = ON")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


# -- one writer ---------------------------------------------------------------------------------------------------


def test_one_process_writes_others_read_and_a_killed_one_holds_nothing(pool):
    pool.close()
    process = start(pool.root, "hold")
    try:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(
            PoolLockedError, match=rf"process {process.pid} on {socket.gethostname()} since 20"
        ) as caught:
            Pool.open(pool.root, write=True)
        assert caught.value.exit_code == 5
        with pytest.raises(PoolLockedError):
            Pool.create(pool.root, pool.root.parent / "images")
        with Pool.open(pool.root) as reader:
            assert reader.counts()["accepted"] == 1
    finally:
        end(process)
    with Pool.open(pool.root, write=True) as again:
        again.exclude("b")


def test_a_second_writer_in_the_same_process_is_refused_too(pool):
    with pytest.raises(PoolLockedError, match=f"process {os.getpid()}"):
        Pool.open(pool.root, write=True)
    pool.close()
    pool.close()
    Pool.open(pool.root, write=True).close()


@pytest.mark.parametrize("text", ["", "[]", '{"pid": "x"}', "\0", '{"pid": 1}'])
def test_a_broken_note_of_who_holds_the_lock_does_not_matter(pool, text):
    (pool.root / "pool.lock.json").write_text(text)
    with pytest.raises(PoolLockedError, match="written by another process"):
        Pool.open(pool.root, write=True)


def test_a_stale_note_of_a_dead_process_locks_nobody_out(pool):
    pool.close()
    (pool.root / "pool.lock.json").write_text(json.dumps({"pid": 1, "host": "gone", "since": "2020"}))
    with Pool.open(pool.root, write=True) as again:
        assert json.loads((pool.root / "pool.lock.json").read_text())["pid"] == os.getpid()
        assert again.writable


@pytest.mark.parametrize(
    "change",
    [
        lambda pool: pool.exclude("b"),
        lambda pool: pool.accept("b", some_mask(1)),
        lambda pool: pool.reject("b"),
        lambda pool: pool.take_back("b"),
        lambda pool: pool.new_run("quick", {}, {}),
        lambda pool: pool.extend(pool.root.parent / "images"),
        lambda pool: pool.relocate(pool.root, pool.root),
        lambda pool: put_map(pool, "b"),
    ],
)
def test_a_reader_changes_nothing(pool, change):
    pool.close()
    with Pool.open(pool.root) as reader:
        assert not reader.writable
        with pytest.raises(PoolError, match="reading only"):
            change(reader)


def test_not_even_a_mistake_in_the_program_lets_a_reader_write(pool):
    with Pool.open(pool.root) as reader, pytest.raises(PoolError, match="read-only"):
        reader._table.touch("b", 1)


def test_a_pool_is_closed_for_all_threads_by_any_of_them(pool):
    thread = threading.Thread(target=pool.close)
    thread.start()
    thread.join()
    assert not (pool.root / "pool.lock.json").exists()
    Pool.open(pool.root, write=True).close()


def test_a_reader_sees_what_a_writer_in_the_same_moment_has_committed(pool):
    with Pool.open(pool.root) as reader:
        pool.exclude("b")
        assert reader.case("b").status == "excluded"


def test_a_closed_pool_says_so(pool):
    pool.close()
    with pytest.raises(PoolError, match="closed; open it again"):
        pool.cases()


@needs_fork
def test_a_folder_that_may_only_be_read_opens_for_reading():
    folder = Path(tempfile.mkdtemp())
    try:
        write_scan(folder / "images" / "a.nii.gz")
        write_mask_file(folder / "labels" / "a.nii.gz", some_mask(1))
        Pool.create(folder / "pool", folder / "images", folder / "labels").close()
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        process = start(folder / "pool", "read")
        lines = process.communicate()[0].splitlines()
        assert lines[0].startswith("PoolError")
        assert "cannot be written" in lines[0]
        assert lines[1] == f"1 {some_mask(1).sum()}"
    finally:
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o755)
        shutil.rmtree(folder)


# -- killed processes ---------------------------------------------------------------------------------------------


def kill_at_every_moment(folder, action):
    """Run an action killed at each of its moments; return the folders, the last of which was not killed."""
    process = start(folder, action)
    output = process.communicate()[0]
    assert process.returncode == 0, output
    return [folder / str(moment) for moment in range(int(output))]


@needs_fork
def test_a_creation_killed_at_any_moment_leaves_no_half_pool_and_can_be_repeated(cohort):
    folders = cohort.parent / "killed"
    folders.mkdir()
    for name in "cd":
        (cohort / "images" / f"{name}.nii.gz").unlink()
    shutil.move(cohort, folders / "cohort")
    copies = kill_at_every_moment(folders, "create")
    assert len(copies) > 15
    complete = []
    for copy in copies:
        complete.append((copy / "pool" / "pool.sqlite").exists())
        if complete[-1]:
            pool = Pool.open(copy / "pool", write=True)
        else:
            with pytest.raises(PoolError, match="no pool"):
                Pool.open(copy / "pool")
            pool = Pool.create(copy / "pool", copy / "images", copy / "labels")
        with pool:
            assert pool.counts()["accepted"] == 1
            assert pool.counts()["unlabelled"] == 1
            np.testing.assert_array_equal(pool.mask("a"), some_mask(1, 2))
            assert [path.name for path in (copy / "pool" / "masks" / "a").iterdir()] == ["0001.nii.gz"]
            assert not (copy / "pool" / ".creating").exists()
    assert complete[-1]
    assert not any(complete[:15])


@needs_fork
def test_accepting_killed_at_any_moment_leaves_whole_files_and_a_table_that_agrees(pool):
    pool.close()
    folders = pool.root.parent.parent / "killed"
    folders.mkdir()
    shutil.move(pool.root.parent, folders / "cohort")
    copies = kill_at_every_moment(folders, "accept")
    assert len(copies) > 5
    seen = set()
    for copy in copies:
        with Pool.open(copy / "pool", write=True) as again:
            case = again.case("b")
            seen.add((case.status, case.mask_version))
            if case.mask_version is not None:
                np.testing.assert_array_equal(again.mask("b"), some_mask(case.mask_version))
            for path in (copy / "pool" / "masks" / "b").glob("0*.nii.gz"):
                read_mask(path, read_grid(path))
            assert len([event for event in again.history("b") if event.what == "accept"]) == (case.mask_version or 0)
            again.accept("b", some_mask(1, 2))
            np.testing.assert_array_equal(again.mask("b"), some_mask(1, 2))
            assert not list((copy / "pool" / "masks" / "b").glob(".tmp-*"))
    assert seen == {("unlabelled", None), ("accepted", 1)}


@needs_fork
def test_recording_a_map_killed_at_any_moment_never_names_a_file_that_is_gone(pool):
    pool.close()
    folders = pool.root.parent.parent / "killed"
    folders.mkdir()
    shutil.move(pool.root.parent, folders / "cohort")
    steps = set()
    for copy in kill_at_every_moment(folders, "map"):
        with Pool.open(copy / "pool") as again:
            found = again.map_of("b")
            assert again.case("b").status == ("unlabelled" if found is None else "predicted")
            if found is not None:
                assert found.map_path.is_file()
                assert found.pseudo_path.is_file()
            steps.add(None if found is None else found.step)
    assert steps == {None, 1, 2}


@needs_fork
def test_a_process_killed_while_it_accepts_again_and_again_loses_nothing_it_had_said(pool):
    pool.close()
    process = start(pool.root, "loop")
    try:
        said = [int(process.stdout.readline()) for _ in range(12)][-1]
    finally:
        end(process)
    with Pool.open(pool.root, write=True) as again:
        assert again.case("b").mask_version >= said
        for path in (pool.root / "masks" / "b").glob("0*.nii.gz"):
            np.testing.assert_array_equal(read_mask(path, read_grid(path)).voxels, some_mask(1, 2))


@needs_fork
@pytest.mark.parametrize("write", [False, True])
def test_half_a_transaction_in_the_file_is_taken_back_by_whoever_opens_the_pool_next(pool, write):
    before = pool.cases()
    pool.close()
    process = start(pool.root, "spill")
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert (pool.root / "pool.sqlite-journal").stat().st_size > 0
    assert b"x" * 2000 in (pool.root / "pool.sqlite").read_bytes()
    with Pool.open(pool.root, write=write) as again:
        assert again.cases() == before


# -- torn and hostile tables --------------------------------------------------------------------------------------


def test_a_folder_without_a_pool_and_a_path_that_is_no_folder_are_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path, tmp_path / "nothing", tmp_path / "file"):
        with pytest.raises(PoolError, match="There is no pool"):
            Pool.open(path)


@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize("content", [b"", b"x", b"not a database " * 500, b"SQLite format 3\0", os.urandom(5000)])
def test_a_file_that_is_no_table_is_refused(tmp_path, content, write):
    (tmp_path / "pool.sqlite").write_bytes(content)
    with pytest.raises(PoolError, match=r"pool\.sqlite"):
        Pool.open(tmp_path, write=write)
    assert (tmp_path / "pool.sqlite").read_bytes() == content


def test_a_table_with_a_damaged_page_is_not_written_to(pool):
    for _ in range(30):
        pool.exclude("b")
        pool.include("b")
    pool.close()
    content = (pool.root / "pool.sqlite").read_bytes()
    place = content.rindex(b'"to": "excluded"') // 4096 * 4096
    damaged = content[:place] + b"\0" * 4096 + content[place + 4096 :]
    (pool.root / "pool.sqlite").write_bytes(damaged)
    with pytest.raises(PoolError, match="damaged"):
        Pool.open(pool.root, write=True)
    with Pool.open(pool.root) as reader:
        assert len(reader.cases()) == 4


def test_another_programs_database_is_refused_and_left_alone(tmp_path):
    connection = sqlite3.connect(tmp_path / "pool.sqlite")
    connection.execute("CREATE TABLE cases (name TEXT)")
    connection.commit()
    connection.close()
    before = (tmp_path / "pool.sqlite").read_bytes()
    with pytest.raises(PoolError, match="another program"):
        Pool.open(tmp_path, write=True)
    assert (tmp_path / "pool.sqlite").read_bytes() == before


@pytest.fixture(scope="module")
def full_table(tmp_path_factory):
    """The bytes of the table of a pool in which everything has happened."""
    folder = tmp_path_factory.mktemp("full")
    for name in "abc":
        write_scan(folder / "images" / f"{name}.nii")
    with Pool.create(folder / "pool", folder / "images") as pool:
        pool.accept("a", some_mask(1, 2))
        put_map(pool, "b")
        pool.mark_unusable("c", "It is blurred.")
        pool.update_run(pool.new_run("quick", {"seed": 1}, {"patch": [1, 2]}).id, step=3)
    return (folder / "pool" / "pool.sqlite").read_bytes()


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    edits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=8)), max_size=6),
    keep=st.one_of(st.just(1.0), st.floats(0, 1)),
    write=st.booleans(),
)
def test_a_torn_table_reads_or_ends_in_one_sentence(full_table, edits, keep, write):
    content = bytearray(full_table)
    for place, new in edits:
        start = int(place * len(content))
        content[start : start + len(new)] = new
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "pool.sqlite").write_bytes(content[: int(keep * len(content))])
        with suppress(PoolError), Pool.open(folder, write=write) as pool:  # anything else fails
            for look in (pool.cases, pool.counts, pool.runs, pool.history, lambda: pool.classes):
                with suppress(PoolError):
                    look()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE cases SET name = '../evil' WHERE name = 'b'",
        "UPDATE cases SET name = '/evil' WHERE name = 'b'",
        "UPDATE cases SET name = 'a..b' WHERE name = 'b'",
        "UPDATE cases SET name = '.hidden' WHERE name = 'b'",
        "UPDATE cases SET name = '' WHERE name = 'b'",
        "UPDATE cases SET name = 'x' || char(10) WHERE name = 'b'",
        "UPDATE cases SET name = x'00ff' WHERE name = 'b'",
        "UPDATE cases SET status = 'lost' WHERE name = 'b'",
        "UPDATE cases SET shape = '[1, 2]' WHERE name = 'b'",
        "UPDATE cases SET shape = '[[1], 2, 3]' WHERE name = 'b'",
        "UPDATE cases SET shape = '{}' WHERE name = 'b'",
        "UPDATE cases SET shape = '[0, 2, 3]' WHERE name = 'b'",
        "UPDATE cases SET spacing = '[-1, 1, 1]' WHERE name = 'b'",
        "UPDATE cases SET spacing = '[NaN, 1, 1]' WHERE name = 'b'",
        "UPDATE cases SET spacing = 'near' WHERE name = 'b'",
        "UPDATE cases SET size = 'large' WHERE name = 'b'",
        "UPDATE cases SET size = NULL WHERE name = 'b'",
        "UPDATE cases SET scan = 'a' || char(0) || 'b' WHERE name = 'b'",
        "UPDATE cases SET scan = x'ff' WHERE name = 'b'",
        "UPDATE cases SET mask_version = -3 WHERE name = 'a'",
        "UPDATE maps SET quality = '[1]'",
        "UPDATE maps SET quality = '{\"one\": 1}'",
        "UPDATE maps SET quality = '" + "[" * 100_000 + "'",
        "UPDATE maps SET step = 'last'",
        "UPDATE maps SET map_file = '../../evil'",
        "UPDATE maps SET map_file = '/etc/passwd'",
        "UPDATE maps SET pseudo_file = ''",
        "UPDATE maps SET pseudo_file = x'00'",
        "UPDATE runs SET id = '../0001'",
        "UPDATE runs SET config = 'none'",
        "UPDATE runs SET checkpoint = '/etc/passwd'",
        "UPDATE classes SET value = 300 WHERE value = 1",
        "UPDATE classes SET colour = 'red'",
        "INSERT INTO events (time, what, details, who) VALUES ('now', 'x', 'x', 'x')",
        "DROP TABLE masks",
        "ALTER TABLE cases RENAME COLUMN scan TO path",
    ],
)
def test_a_hand_edited_table_ends_in_one_sentence(pool, statement):
    put_map(pool, "c")
    pool.new_run("quick", {}, {})
    pool.close()
    raw(pool.root, "PRAGMA foreign_keys = OFF", statement)
    with pytest.raises(PoolError, match=r"restore it from a copy"):
        read_all(pool.root)


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "..", ".", "a/b", "a\\b", "", "-" * 300])
def test_nothing_is_written_outside_the_pool_whatever_a_case_is_called(pool, cohort, name):
    pool.close()
    raw(pool.root, f"UPDATE cases SET name = '{name}' WHERE name = 'b'")
    before = sorted(cohort.parent.rglob("*"))
    with Pool.open(pool.root, write=True) as again:
        with pytest.raises(PoolError):
            again.accept(name, some_mask(1))
        with pytest.raises(PoolError):
            again.reset(name)
    assert [path for path in sorted(cohort.parent.rglob("*")) if "pool.lock" not in path.name] == [
        path for path in before if "pool.lock" not in path.name
    ]


def test_nothing_is_written_through_a_link_that_leads_out_of_the_pool(pool, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (pool.root / "masks" / "b").symlink_to(outside)
    with pytest.raises(PoolError, match="outside the pool"):
        pool.accept("b", some_mask(1))
    (pool.root / "maps").symlink_to(outside)
    with pytest.raises(PoolError, match="outside the pool"):
        pool.map_folder("b")
    (pool.root / "drafts").symlink_to(outside)
    (outside / "b.journal").write_bytes(b"x")
    with pytest.raises(PoolError, match="outside the pool"):
        pool.draft_file("b")
    pool.reset("b")  # removes no draft there
    (outside / "b.journal").unlink()
    (pool.root / "runs").symlink_to(outside)
    with pytest.raises(PoolError, match="outside the pool"):
        pool.new_run("quick", {}, {})
    assert list(outside.iterdir()) == []
    assert pool.case("b").status == "unlabelled"


def test_files_of_a_former_map_are_not_removed_through_a_link(pool, tmp_path):
    map_file, _ = put_map(pool, "b", step=1)
    outside = tmp_path / "outside"
    map_file.parent.rename(outside)
    map_file.parent.symlink_to(outside)
    elsewhere = pool.root / "maps" / "new"
    elsewhere.mkdir()
    for name in ("x.map", "x.nii.gz"):
        (elsewhere / name).write_bytes(b"x")
    pool.record_map(
        "b",
        run="0001",
        step=2,
        map_file=elsewhere / "x.map",
        pseudo_file=elsewhere / "x.nii.gz",
        quality={},
        entropy=0,
        volume_ml={},
        islands={},
    )
    assert len(list(outside.iterdir())) == 2


def test_a_map_outside_the_pool_is_refused(pool, tmp_path):
    (tmp_path / "x.map").write_bytes(b"x")
    for file in (tmp_path / "x.map", pool.root / ".." / ".." / "x.map", Path("../../x.map")):
        with pytest.raises(PoolError, match="outside the pool"):
            pool.record_map(
                "b", run="1", step=1, map_file=file, pseudo_file=file, quality={}, entropy=0, volume_ml={}, islands={}
            )


# -- older and newer tables ---------------------------------------------------------------------------------------


@pytest.fixture
def one_step_more():
    """A program of the next version, which knows one step more."""
    MIGRATIONS.append(("ALTER TABLE cases ADD COLUMN ward TEXT", "UPDATE cases SET ward = 'A3'"))
    yield
    MIGRATIONS.pop()


@pytest.fixture
def first_version(tmp_path):
    """A pool whose table is of version 1, written out as SQL when that was the newest."""
    root = tmp_path / "pool"
    root.mkdir()
    connection = sqlite3.connect(root / "pool.sqlite")
    connection.executescript((HERE / "pool_version_1.sql").read_text(encoding="utf-8"))
    connection.close()
    return root


@pytest.mark.parametrize("write", [False, True])
def test_a_table_of_the_first_version_opens_with_all_that_it_held(first_version, write):
    with Pool.open(first_version, write=write) as pool:
        assert pool.counts() == {
            "unlabelled": 1,
            "predicted": 1,
            "draft": 0,
            "accepted": 1,
            "excluded": 0,
            "unusable": 1,
        }
        assert pool.case("a").mask_version == 2
        assert pool.map_of("b").quality == {1: 0.75, 2: None}
        assert pool.case("d").reason == "It is blurred."
        assert [spec.name for spec in pool.classes] == ["class 1", "class 2"]
        assert pool.last_run().step == 12
        assert pool.history()[0].what == "pool created"


@pytest.mark.usefixtures("one_step_more")
@pytest.mark.parametrize("write", [False, True])
def test_an_older_table_is_brought_up_to_date_whoever_opens_it(first_version, write):
    with Pool.open(first_version, write=write) as pool:
        assert len(pool.cases()) == 4
    connection = sqlite3.connect(first_version / "pool.sqlite")
    assert connection.execute("PRAGMA user_version").fetchone() == (2,)
    assert connection.execute("SELECT DISTINCT ward FROM cases").fetchall() == [("A3",)]
    connection.close()


def test_a_step_that_fails_leaves_the_older_table_as_it_was(first_version):
    before = read_all(first_version)
    MIGRATIONS.append(("ALTER TABLE cases ADD COLUMN ward TEXT", "UPDATE nothing SET ward = 'A3'"))
    try:
        with pytest.raises(PoolError):
            Pool.open(first_version, write=True)
    finally:
        MIGRATIONS.pop()
    assert read_all(first_version) == before


@pytest.mark.parametrize("write", [False, True])
def test_a_newer_table_is_refused(pool, write):
    pool.close()
    raw(pool.root, f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    with pytest.raises(PoolVersionError, match=r"newer napari-bcp .*update napari-bcp"):
        Pool.open(pool.root, write=write)
    raw(pool.root, f"PRAGMA user_version = {len(MIGRATIONS)}")
    Pool.open(pool.root, write=True).close()


def test_a_new_table_goes_through_every_step_from_nothing(tmp_path):
    database = Database(tmp_path / "pool.sqlite", write=True, new=True)
    assert database.version == len(MIGRATIONS)
    with pytest.raises(PoolError):
        Database(tmp_path / "pool.sqlite", write=True, new=True)
    database.close()


def test_a_run_whose_process_is_gone_is_not_running_any_more(pool):
    """Nobody else writes while the pool is open for writing."""
    runs = [pool.new_run("quick", {}, {}).id for _ in range(2)]
    pool.update_run(runs[0], status="finished")
    pool.update_run(runs[1], status="running", step=70)
    pool.close()
    with Pool.open(pool.root, write=True) as again:
        assert [(run.status, run.step) for run in again.runs()] == [("finished", 0), ("stopped", 70)]
        assert again.history()[-1].what == "run stopped"
        lines = len(again.history())
    with Pool.open(pool.root, write=True) as again:
        assert len(again.history()) == lines
