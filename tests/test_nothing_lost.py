"""What happens to long work on somebody's computer: kills, a full disk, scans that go, pools that move."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import napari_bcp
from napari_bcp import api
from napari_bcp.engine import checkpoint
from napari_bcp.pool import Pool
from napari_bcp.pool.runs import last_trained
from napari_bcp.scans import read_mask, read_scan
from napari_bcp.scans.maps import MapFile
from napari_bcp.scans.phantom import write_cohort

from tiny import QUICK  # isort: skip

PROGRAM = Path(__file__).parent / "training_killed.py"


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_cohort(tmp_path_factory.mktemp("phantom"), 4, 2, 0, "tiny")


@pytest.fixture
def root(cohort, tmp_path):
    """The folder of a pool with two masks and two scans without."""
    folder = tmp_path / "pool"
    napari_bcp.new_pool(folder, cohort / "images", cohort / "labels", cohort / "classes.json").close()
    return folder


def program(root, *words):
    done = subprocess.run(
        [sys.executable, PROGRAM, root, *map(str, words)], capture_output=True, text=True, timeout=200, check=True
    )
    return done.stdout


def check_whole(root):
    """Everything that the pool lists can be read."""
    with Pool.open(root, write=True) as pool:
        values = [one.value for one in pool.classes]
        for case in pool.cases():
            assert case.status in ("unlabelled", "predicted", "accepted")
            scan = read_scan(case.path)
            if case.status == "accepted":
                assert pool.mask(case.name).any()
            if case.map is not None:
                assert MapFile(case.map.map_path, scan.voxels.shape).classes == tuple(values)
                read_mask(case.map.pseudo_path, scan.grid, classes=values)
        run = last_trained(pool)
        assert run is None or checkpoint.load_newest(run.path)["step"] in (1, 2, 3, 4, 5)


def test_killed_at_any_moment_of_training_and_prediction_the_pool_is_whole_and_goes_on(root, tmp_path):
    """A file that is renamed or flushed is a moment; all of them together are all that reaches the disk."""
    moments = [*range(0, 45, 3), 1000]
    for moment in moments:
        shutil.copytree(root, tmp_path / str(moment))
    lived = [int(moment) for moment in program(tmp_path, "kill", *moments).split()]
    assert 1000 in lived
    assert len(lived) < len(moments) / 2, "most of them have been killed"
    for moment in moments:
        check_whole(tmp_path / str(moment))
        events = list(api.train(tmp_path / str(moment), steps=1, device="cpu", settings={"threads": 1}))
        assert events[-1].reason == "budget"
        check_whole(tmp_path / str(moment))


def test_a_full_disk_is_said_in_a_sentence_and_leaves_the_pool_whole(root):
    for size in (1000, 20_000, 60_000):
        said = program(root, "full", size)
        assert said.count("\n") == 1, "one sentence"
        assert " space" in said
        check_whole(root)
    assert program(root, "full", 50_000_000) == ""
    check_whole(root)


def test_a_scan_that_goes_or_changes_under_a_training_is_left_out_and_told(cohort, tmp_path):
    images = tmp_path / "images"
    shutil.copytree(cohort / "images", images)
    with napari_bcp.new_pool(tmp_path / "pool", images, cohort / "labels", cohort / "classes.json") as pool:
        gone, changed = (pool.case(case.name).path for case in pool.cases("unlabelled"))
        told = []
        for event in api.train(pool, steps=12, settings={**QUICK, "stage1_share": 0.0}, device="cpu"):
            if event.kind == "planned":
                gone.unlink()
                changed.write_bytes(b"no scan any more")
            told.append(event)
        assert told[-1].reason == "budget"
        names = {event.case: event for event in told if event.kind == "unusable"}
        assert len(names) == 2
        assert not names[gone.name.removesuffix(".nii.gz")].lasting, "it may come back"


def test_a_pool_that_was_moved_goes_on(cohort, tmp_path):
    """With its scans beside it nothing has to be told."""
    here = tmp_path / "here"
    shutil.copytree(cohort, here)
    napari_bcp.new_pool(here / "pool", here / "images", here / "labels", here / "classes.json").close()
    list(api.train(here / "pool", steps=2, settings=QUICK, device="cpu"))
    list(api.predict(here / "pool", device="cpu"))
    there = tmp_path / "another place" / "there"
    there.parent.mkdir()
    here.rename(there)
    events = list(api.train(there / "pool", steps=1, settings={}, device="cpu"))
    assert [event.step for event in events if event.kind == "step"] == [3]
    list(api.predict(there / "pool", device="cpu"))
    with Pool.open(there / "pool") as pool:
        for case in pool.cases("predicted"):
            assert np.prod(MapFile(case.map.map_path).shape) > 0
            assert str(case.path).startswith(str(there))


def test_a_second_process_is_refused_and_the_first_goes_on(root):
    training = api.train(root, steps=3, settings=QUICK, device="cpu")
    next(event for event in training if event.kind == "step")
    done = subprocess.run(
        [sys.executable, "-m", "napari_bcp", "train", str(root), "--steps", "1"],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert list(training)[-1].reason == "budget"
    check_whole(root)
