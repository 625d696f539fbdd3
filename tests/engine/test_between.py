"""What is done between two steps and before the first: it is passed on, its pauses cost nothing, it changes nothing."""

from types import SimpleNamespace

import pytest
import torch

from napari_bcp.config import make_config
from napari_bcp.engine import checkpoint
from napari_bcp.engine import train as train_module
from napari_bcp.engine.cache import CaseFiles
from napari_bcp.engine.train import Budget, train
from napari_bcp.errors import CheckpointError
from napari_bcp.events import Note, Paused
from napari_bcp.scans import read_grid

CPU = torch.device("cpu")
SMALL = {"width": 4, "patch": (16, 16, 16), "batch": 2, "threads": 1, "precision": "float32", "stage1_steps": 0}


@pytest.fixture
def go(cohort, source, tmp_path):
    """Return a function that begins a training of the small cohort, with a plan of its own; a generator of events."""

    def begin(between=None, folder="run", labelled=2, src=None, budget=None, resume=False, stop=None, **settings):
        with_mask, without, _ = cohort(5, labelled)
        src = src or source(with_mask, without)
        src.grids = lambda: [(grid.shape, grid.spacing) for grid in map(read_grid, (c.scan for c in with_mask))]
        (tmp_path / folder).mkdir(exist_ok=True)
        return train(
            src,
            tmp_path / folder,
            tmp_path / "cache",
            None,
            make_config("quick", {**SMALL, **settings}),
            budget or Budget(steps=4),
            device=CPU,
            classes=(1, 2),
            resume=resume,
            stop=stop,
            between=between,
        )

    return begin


@pytest.fixture
def clock(monkeypatch):
    """A clock that training looks at, which a test sets; a look takes a second."""

    class Clock:
        now = 0.0

        def monotonic(self):
            self.now += 1
            return self.now

    made = Clock()
    monkeypatch.setattr(train_module, "time", SimpleNamespace(monotonic=made.monotonic))
    return made


def of(events, kind):
    return [e for e in events if e.kind == kind]


def test_its_events_are_passed_on_right_after_the_step_that_they_belong_to(go):
    def between(model):
        yield Note(text=f"after {model.step} of {model.run}")
        yield Paused(step=model.step)

    events = [one for one in go(between) if one.kind in ("step", "note", "paused")]
    assert [one.kind for one in events] == ["step", "note", "paused"] * 4
    assert [one.text for one in of(events, "note")] == [f"after {n} of run" for n in (1, 2, 3, 4)]


def test_it_is_asked_after_every_step_and_not_before_the_first_or_after_the_end(go):
    asked = []
    events = list(go(lambda model: iter(asked.append(model.step) or ())))
    assert asked == [one.step for one in of(events, "step")] == [1, 2, 3, 4]


def test_it_sees_the_network_that_makes_maps(go, tmp_path):
    seen = {}

    def between(model):
        seen.update({key: value.clone() for key, value in model.network.state_dict().items()})
        return iter(())

    list(go(between))
    saved = checkpoint.load(tmp_path / "run" / "last.pt")
    teacher = saved[saved["use"]]
    assert seen.keys() == teacher.keys()
    assert all(torch.equal(seen[key], teacher[key]) for key in seen)


def test_maps_between_steps_change_nothing_in_the_training(go, cohort, tmp_path):
    _, without, _ = cohort(5, 2)
    maps = []

    def between(model):
        made = model.make_map("x", without[model.step % len(without)].scan, tmp_path / "maps")
        maps.append(made)
        torch.rand(5)  # whoever draws from the global generator, too
        yield made

    mixed = {"stage1_share": 0.4, "mixing": 0.7}
    with_maps = of(go(between, folder="a", **mixed), "step")
    without_maps = of(go(None, folder="b", **mixed), "step")
    assert len(maps) == 4
    assert [one.loss for one in with_maps] == [one.loss for one in without_maps]
    a, b = (checkpoint.load(tmp_path / folder / "last.pt") for folder in "ab")
    for part in ("student", "teacher"):
        assert all(torch.equal(a[part][key], b[part][key]) for key in b[part])
    assert a["rng"] == b["rng"]
    assert torch.equal(a["torch_rng"], b["torch_rng"])


def test_an_error_in_between_ends_the_training_which_is_kept(go, tmp_path):
    def between(model):
        if model.step == 3:
            raise ZeroDivisionError
        return iter(())

    with pytest.raises(ZeroDivisionError):
        list(go(between))
    assert checkpoint.load(tmp_path / "run" / "last.pt")["step"] == 3


def test_a_pause_counts_neither_for_the_budget_nor_as_time_trained(go, clock, tmp_path):
    def run(folder, pause):
        clock.now = 0.0
        budget = Budget(seconds=200, start=0.0)

        def between(model):
            if pause and model.step in (2, 5):
                clock.now += pause
                budget.pause(pause)
            return iter(())

        events = list(go(between, folder=folder, budget=budget))
        return [(one.step, one.elapsed_s, one.share, one.eta_s, one.lr) for one in of(events, "step")], events[-1]

    steps, finished = run("a", 0)
    assert len(steps) > 6
    assert finished.reason == "budget"
    assert run("b", 100_000) == (steps, finished)
    saved = [checkpoint.load(tmp_path / folder / "last.pt")["elapsed"] for folder in "ab"]
    assert saved[0] == saved[1] == steps[-1][1] < 300


def test_a_pause_while_it_prepares_counts_neither(go, clock):
    def run(folder, pause):
        clock.now = 0.0
        budget = Budget(seconds=100, start=0.0)
        elapsed = []
        for event in go(folder=folder, budget=budget):
            if event.kind in ("planned", "progress"):
                clock.now += pause
                budget.pause(pause)
            if event.kind == "step":
                elapsed.append(event.elapsed_s)
        return elapsed

    assert run("a", 0) == run("b", 100_000) != []


def test_time_trained_goes_on_from_the_run_before(go, clock):
    first = of(go(folder="a"), "step")[-1].elapsed_s
    clock.now += 5000  # between two runs
    again = go(folder="a", resume=True, budget=Budget(steps=1, start=clock.now))
    assert first < of(again, "step")[0].elapsed_s < first + 100


def test_stopped_while_it_measures_it_looks_at_no_more_scans(go):
    events = list(go(stop=lambda: True))
    assert [(one.kind, getattr(one, "reason", "")) for one in events] == [("progress", ""), ("finished", "stopped")]


def test_stopped_while_it_prepares_it_keeps_the_best_network_of_the_run(go, tmp_path):
    held = {"labelled": 4, "hold_out": 2, "validate_every": 0.3}
    list(go(**held))
    best = (tmp_path / "run" / "best.pt").read_bytes()
    looks = iter(range(1000))
    events = list(go(**held, resume=True, stop=lambda: next(looks) >= 5))
    assert not of(events, "step")
    assert (tmp_path / "run" / "best.pt").read_bytes() == best


def test_a_case_left_out_for_its_mask_is_tried_again_with_another_one(go, cohort, source, tmp_path):
    with_mask, without, _ = cohort(5, 3)
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(b"no mask")
    good = with_mask.pop()
    src = source([*with_mask, CaseFiles(good.name, good.scan, broken)], without)
    seen = []
    for event in go(src=src, budget=Budget(steps=6)):
        seen.append(event)
        if event.kind == "step" and event.step == 2:
            src.with_mask[-1] = good
            src.number += 1
    assert {one.case for one in of(seen, "unusable")} == {good.name}
    assert [one.text for one in of(seen, "note")] == [f"{good.name} joined the training at step 2."]


@pytest.mark.parametrize("steps", [2, 50], ids=["at the end", "on the way"])
def test_a_run_s_folder_that_is_taken_away_is_not_made_anew(go, tmp_path, steps):
    def between(model):
        if model.step == 2:
            (tmp_path / "run").rename(tmp_path / "elsewhere")
        return iter(())

    seen = []
    with pytest.raises(CheckpointError, match=r"run is gone; bring it back"):
        seen.extend(go(between, budget=Budget(steps=steps)))
    assert [one.step for one in of(seen, "step")] == [1, 2]
    assert not (tmp_path / "run").exists()
