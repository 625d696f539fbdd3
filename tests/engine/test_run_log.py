"""The log of a run: what it says can be read back, it grows when the run goes on, and it is never worth a training."""

import json
import os
from pathlib import Path

import pytest
import torch

from napari_bcp.config import make_config
from napari_bcp.engine.log import RunLog
from napari_bcp.engine.train import Budget, train
from napari_bcp.events import Note, Progress, Step, Vitals
from napari_bcp.scans import read_grid

CPU = torch.device("cpu")
SMALL = {"width": 4, "patch": (16, 16, 16), "batch": 2, "threads": 1, "precision": "float32", "stage1_steps": 0}
NOTE = Note(text="two\nlines, ü")


@pytest.fixture
def go(cohort, source, tmp_path):
    """Return a function that begins a training of the small cohort; a generator of events."""

    def begin(steps=3, labelled=2, resume=False, between=None, **settings):
        with_mask, without, _ = cohort(5, labelled)
        src = source(with_mask, without)
        src.grids = lambda: [(grid.shape, grid.spacing) for grid in map(read_grid, (c.scan for c in with_mask))]
        return train(
            src,
            tmp_path,
            tmp_path / "cache",
            None,
            make_config("quick", {**SMALL, **settings}),
            Budget(steps=steps),
            device=CPU,
            classes=(1, 2),
            resume=resume,
            between=between,
        )

    return begin


def lines_of(folder):
    text = (folder / "log.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def step(number):
    return Step(step=number, stage=1, loss=0.5, lr=0.1, elapsed_s=1.0, steps_per_s=1.0, share=0.1)


def test_it_holds_what_a_run_reports_in_order_and_no_progress(go, tmp_path):
    def between(model):
        yield NOTE
        yield Vitals(device="cpu", threads=1, memory_mb=1.0)

    events = list(go(between=between, labelled=4, hold_out=1, validate_every=0.3))
    kept = [one.model_dump(mode="json", exclude_none=True) for one in events if one.kind not in ("progress", "vitals")]
    assert lines_of(tmp_path) == kept
    assert {one["kind"] for one in kept} == {"planned", "step", "note", "validated", "saved", "finished"}
    assert {one.kind for one in events} > {one["kind"] for one in kept}


def test_it_grows_when_the_run_goes_on(go, tmp_path):
    list(go())
    before = lines_of(tmp_path)
    list(go(steps=2, resume=True))
    after = lines_of(tmp_path)
    assert after[: len(before)] == before
    assert [one["step"] for one in after if one["kind"] == "step"] == [1, 2, 3, 4, 5]
    assert [one["step"] for one in after if one["kind"] == "planned"] == [0, 3]


def test_a_training_that_its_caller_leaves_has_its_steps_in_the_log(go, tmp_path):
    events = go(steps=100)
    for event in events:
        if event.kind == "step" and event.step == 3:
            break
    events.close()
    assert [one["step"] for one in lines_of(tmp_path) if one["kind"] == "step"] == [1, 2, 3]


def test_a_line_that_a_crash_has_cut_spoils_no_other(tmp_path):
    (tmp_path / "log.jsonl").write_bytes(b'{"kind":"step"}\n{"kind":"st')
    log = RunLog(tmp_path)
    log.add(NOTE)
    log.close()
    text = (tmp_path / "log.jsonl").read_text(encoding="utf-8")
    first, torn, last = text.splitlines()
    assert (json.loads(first), torn) == ({"kind": "step"}, '{"kind":"st')
    assert json.loads(last) == {"kind": "note", "text": NOTE.text}


def test_what_happens_seldom_is_in_the_file_at_once_and_steps_are_before_long(tmp_path):
    log = RunLog(tmp_path)
    log.add(step(1))
    log.add(NOTE)
    assert [one["kind"] for one in lines_of(tmp_path)] == ["step", "note"]
    for number in range(2, 100):
        log.add(step(number))
    assert [one["step"] for one in lines_of(tmp_path)[2:]][:60] == list(range(2, 62))
    log.close()
    assert [one["step"] for one in lines_of(tmp_path)[2:]] == list(range(2, 100))


def test_a_run_that_reports_nothing_worth_it_has_no_log(tmp_path):
    log = RunLog(tmp_path)
    log.add(Progress(task="x", done=0, total=1))
    log.close()
    assert list(tmp_path.iterdir()) == []


def in_the_way(path):
    path.mkdir()


def full(path):
    if not Path("/dev/full").exists():
        pytest.skip("this system has no full disk to write to")
    path.symlink_to("/dev/full")


def locked(path):
    path.touch()
    path.chmod(0o400)
    if os.access(path, os.W_OK):
        pytest.skip("whoever runs this may write everywhere")


@pytest.mark.parametrize("obstacle", [in_the_way, full, locked])
def test_a_log_that_cannot_be_written_stops_no_training(go, tmp_path, obstacle):
    obstacle(tmp_path / "log.jsonl")
    events = list(go(steps=25))
    assert [one.step for one in events if one.kind == "step"] == list(range(1, 26))
    assert events[-1].kind == "finished"
    assert (tmp_path / "last.pt").exists()


def test_a_log_that_has_failed_is_left_alone(tmp_path):
    (tmp_path / "log.jsonl").mkdir()
    log = RunLog(tmp_path)
    log.add(NOTE)
    (tmp_path / "log.jsonl").rmdir()
    log.add(NOTE)  # a log with a hole tells a wrong story
    log.close()
    assert not (tmp_path / "log.jsonl").exists()
