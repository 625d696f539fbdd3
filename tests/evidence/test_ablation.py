"""Ablations: what is trained, judged and written, and what an interruption leaves."""

import csv
import json
import math
import re
import shutil
import time
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

import napari_bcp
from napari_bcp.config import PRESETS, make_config
from napari_bcp.engine import checkpoint
from napari_bcp.engine import train as engine
from napari_bcp.engine.cache import Cache
from napari_bcp.errors import MaskError, PoolError, SettingError
from napari_bcp.evidence import ablation
from napari_bcp.evidence.ablation import ablate, table
from napari_bcp.evidence.variations import VARIATIONS, variants_of
from napari_bcp.scans import ClassSpec, read_grid, write_mask

from tiny import QUICK  # isort: skip


@pytest.fixture
def sweep(pool, cohort):
    """Return a function that runs a sweep of three steps a training to its end, and returns the events."""

    def go(vary="beta", only=("1/2", "2/3"), stop=None, truth=None, **more):
        chosen = {"steps": 3, "settings": QUICK, "device": "cpu", **more}
        go.seen = []
        for event in ablate(pool, truth or cohort / "truth", vary, only=only, stop=stop, **chosen):
            go.seen.append(event)
        return go.seen

    return go


def trainings(events):
    """Return how many trainings have begun anew or gone on."""
    return sum(event.kind == "planned" for event in events)


def runs(pool):
    return sorted(path.parent for path in (pool.root / "ablations").glob("runs/*/report.json"))


@pytest.mark.parametrize("vary", VARIATIONS)
@pytest.mark.parametrize("preset", PRESETS)
def test_every_variant_is_a_setting_that_can_be(vary, preset):
    found = [make_config(preset, one.settings) for one in variants_of(vary)]
    assert len(found) >= 2
    assert len(
        {(config.model_dump_json(), one.unlabelled) for config, one in zip(found, VARIATIONS[vary], strict=True)}
    ) == len(found)


def test_each_variant_is_trained_with_each_seed_and_stands_in_table_and_picture(sweep, pool):
    events = sweep(seeds=2)
    assert trainings(events) == 4
    assert events[-1].reason == "done"
    rows = table(pool, "beta")
    assert [(row["variant"], row["seeds"], row["steps"]) for row in rows] == [("1/2", "2", "3"), ("2/3", "2", "3")]
    assert all("±" in row["Dice"] for row in rows)
    reports = [json.loads((run / "report.json").read_text()) for run in runs(pool)]
    assert len(reports) == 4
    labelled = {case.name for case in pool.cases("accepted")}
    for report in reports:
        judged = {line["case"] for line in report["cases"]}
        assert len(judged) == 3
        assert not judged & labelled, "what was trained on judges nothing"
    assert (pool.root / "ablations" / "beta.png").read_bytes().startswith(b"\x89PNG")
    assert (pool.root / "ablations" / "beta.md").read_text().count("\n") == 4
    assert pool.runs() == [], "the pool's own runs stay as they are"


def test_the_table_says_what_the_reports_say(sweep, pool):
    sweep(only=("2/3",))
    [report] = [json.loads((run / "report.json").read_text()) for run in runs(pool)]
    [row] = table(pool, "beta")
    by_class = {}
    for line in report["cases"]:
        if line["dice"] is not None:
            by_class.setdefault(line["class"], []).append(line["dice"])
    means = [sum(values) / len(values) for values in by_class.values()]
    assert float(row["Dice"]) == pytest.approx(sum(means) / len(means), abs=1e-4)


def test_a_class_that_was_renamed_has_its_new_name_in_every_line(sweep, pool):
    old = [f"Dice of {spec.name}" for spec in pool.classes]
    sweep(only=("1/2",))
    [before] = table(pool, "beta")
    pool.change_classes([ClassSpec(1, "hepar", "#000000")])
    assert trainings(sweep()) == 1, "a name makes no other training"
    first, second = table(pool, "beta")
    assert set(first) == set(second) == set(before) - {old[0]} | {"Dice of hepar"}
    assert first["Dice of hepar"] == before[old[0]]


def test_a_class_that_was_added_makes_another_training(sweep, pool):
    sweep(only=("2/3",))
    pool.change_classes([ClassSpec(9, "tumour", "#000000")])
    assert trainings(sweep(only=("2/3",))) == 1
    [row] = table(pool, "beta")
    assert "Dice of tumour" in row


def test_changed_code_of_the_training_makes_another_training(sweep, tmp_path, monkeypatch):
    def changed(place):
        copy = tmp_path / place.replace("/", "-")
        for part in ("method", "networks", "engine", "app"):
            shutil.copytree(ablation._PACKAGE / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        if place:
            with (copy / place).open("a") as file:
                file.write("# changed\n")
        return copy

    assert trainings(sweep(only=("2/3",))) == 1
    seen = {}
    for place in ("README", "app/__init__.py", "method/losses/overlap.py", "networks/quick.py", "engine/step.py"):
        copy = changed(place)
        with monkeypatch.context() as patch:
            patch.setattr(ablation, "_PACKAGE", copy)
            seen[place] = trainings(sweep(only=("2/3",)))
    assert list(seen.values()) == [0, 0, 1, 1, 1]


def test_any_setting_is_varied_over_the_values_that_are_named(sweep, pool):
    vary = "lr=0.001,.004"
    events = sweep(vary, only=())
    assert [event.settings["lr"] for event in events if event.kind == "planned"] == [0.001, 0.004]
    assert [row["variant"] for row in table(pool, vary)] == ["0.001", ".004"]
    assert {path.name for path in (pool.root / "ablations").glob("lr*")} == {"lr.csv", "lr.md", "lr.png"}
    assert trainings(sweep(vary, only=(".004",))) == 0


@pytest.mark.parametrize(
    ("vary", "values"),
    [
        ("patch=[64,64,32], [96, 96,32]", [[64, 64, 32], [96, 96, 32]]),
        ("loss=dml,dice,dml", ["dml", "dice"]),
        ("dimensions=2,3", ["2", "3"]),
        ("width=none,8", [None, 8]),
    ],
)
def test_values_are_read_as_settings_are(vary, values):
    assert [value for one in variants_of(vary) for value in one.settings.values()] == values


def test_what_is_done_is_not_done_again_and_more_is_added(sweep, pool):
    assert trainings(sweep(only=("1/2",))) == 1
    assert trainings(sweep(only=("1/2",))) == 0
    assert trainings(sweep()) == 1
    assert trainings(sweep(only=("1/2",), steps=4)) == 1, "another budget is another training"
    assert len(runs(pool)) == 3


def test_a_sweep_that_was_interrupted_goes_on_where_it_was(sweep, pool):
    stopped = sweep(stop=lambda: bool(runs(pool)))
    assert stopped[-1].reason == "stopped"
    [done] = runs(pool)
    before = (done / "last.pt").stat().st_mtime_ns
    assert sweep()[-1].reason == "done"
    assert len(runs(pool)) == 2
    assert (done / "last.pt").stat().st_mtime_ns == before


def test_a_training_that_was_stopped_goes_on_from_its_checkpoint(sweep, pool):
    stopped = sweep(only=("1/2",), steps=6, stop=lambda: any(e.kind == "step" and e.step == 3 for e in sweep.seen))
    assert stopped[-1].reason == "stopped"
    [folder] = (pool.root / "ablations" / "runs").iterdir()
    begun = checkpoint.load(folder / "last.pt")["step"]
    assert 0 < begun < 6
    events = sweep(only=("1/2",), steps=6)
    assert next(event.step for event in events if event.kind == "step") == begun + 1
    assert table(pool, "beta")[0]["steps"] == "6"


@pytest.fixture
def delay(monkeypatch):
    """Return a function that lets seconds pass at once."""
    clock, late = time.monotonic, [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock() + sum(late))
    return late.append


def prepared(events):
    """Return the cases that are prepared before the first training of a sweep begins."""
    first = next((place for place, event in enumerate(events) if event.kind == "planned"), len(events))
    return [event.case for event in events[:first] if event.kind == "progress" and event.task == "preparing scans"]


def test_preparing_all_scans_is_no_part_of_a_trainings_time(sweep, pool, monkeypatch, delay):
    prepare = Cache._prepare
    monkeypatch.setattr(Cache, "_prepare", lambda *arguments: (delay(1000.0), prepare(*arguments))[1])
    events = sweep(steps=None, minutes=1, stop=lambda: any(event.kind == "step" for event in sweep.seen))
    assert sorted(prepared(events)) == [case.name for case in pool.cases()]
    first = next(event for event in events if event.kind == "step")
    assert first.share < 1
    assert len(list((pool.root / "cache").glob("*/*.image.npy"))) == 6


def test_a_sweep_is_stopped_while_it_prepares(sweep):
    events = sweep(steps=None, minutes=0.01, stop=lambda: bool(prepared(sweep.seen)))
    assert events[-1].reason == "stopped"
    assert len(prepared(events)) == 1
    assert trainings(events) == 0


def test_where_nothing_is_left_to_train_nothing_is_prepared(sweep):
    once = prepared(sweep(steps=None, minutes=0.01))
    assert len(once) == len(set(once)), "the second variant finds them ready"
    assert not prepared(sweep(steps=None, minutes=0.01))


def test_where_steps_are_counted_scans_are_prepared_as_they_are_needed(sweep):
    assert not prepared(sweep(only=("2/3",)))


def test_a_training_that_has_had_its_time_is_judged_again_and_not_trained_again(
    sweep, pool, cohort, tmp_path, monkeypatch, delay
):
    """What passes between the begin of its time and its first step is in no checkpoint."""
    make = engine.new_state
    monkeypatch.setattr(engine, "new_state", lambda *arguments: (make(*arguments), delay(10.0))[0])
    truth = tmp_path / "truth"
    shutil.copytree(cohort / "truth", truth)
    go = partial(sweep, only=("2/3",), truth=truth, steps=None, minutes=0.01)
    assert trainings(go()) == 1
    free = next(case.name for case in pool.cases("unlabelled"))
    (truth / f"{free}.nii.gz").unlink()
    again = go()
    assert (trainings(again), again[-1].reason) == (0, "done")
    [folder] = runs(pool)
    (folder / "report.json").unlink()
    (folder / "facts.json").unlink()
    for name in ("last.pt", "previous.pt"):
        (folder / name).unlink(missing_ok=True)
    assert trainings(go()) == 1, "without its checkpoint it begins anew"


def test_without_the_unlabelled_scans_none_is_prepared_or_mixed(sweep, pool):
    events = sweep("unlabelled", only=("left out",), steps=None, minutes=0.01)
    assert prepared(events) == [case.name for case in pool.cases("accepted")]
    assert [event.unlabelled for event in events if event.kind == "planned"] == [0]
    assert {event.stage for event in events if event.kind == "step"} == {1}


@pytest.mark.parametrize(("shortest", "told"), [(0, []), (3, ["'2/3'"])])
def test_a_training_too_short_for_unlabelled_scans_is_told(sweep, shortest, told):
    events = sweep(only=("2/3",), settings=QUICK | {"stage1_steps": shortest})
    notes = [event.text for event in events if event.kind == "note" and "no unlabelled scan" in event.text]
    assert [note.split()[0] for note in notes] == told
    sweep("unlabelled", only=("left out",), settings=QUICK | {"stage1_steps": 3})
    assert not any("no unlabelled scan" in event.text for event in sweep.seen if event.kind == "note")


def test_a_mask_that_cannot_be_read_is_told_and_the_rest_goes_on(sweep, pool, cohort, tmp_path):
    truth = tmp_path / "truth"
    truth.mkdir()
    for path in (cohort / "truth").iterdir():
        (truth / path.name).write_bytes(path.read_bytes())
    broken = sorted(truth.iterdir())[-1]
    broken.write_bytes(b"no mask")
    events = sweep(only=("2/3",), truth=truth)
    assert [event.case for event in events if event.kind == "unusable"] == [broken.name.removesuffix(".nii.gz")]
    assert events[-1].reason == "done"
    assert table(pool, "beta")[0]["Dice"] != "–"


def test_a_corrected_truth_is_judged_again_without_training_again(sweep, pool, cohort, tmp_path):
    truth = tmp_path / "truth"
    shutil.copytree(cohort / "truth", truth)
    sweep(only=("2/3",), truth=truth)
    [before] = [(run, json.loads((run / "report.json").read_text())) for run in runs(pool)]
    free = next(case.name for case in pool.cases("unlabelled"))
    grid = read_grid(pool.case(free).path)
    write_mask(truth / f"{free}.nii.gz", np.zeros(grid.shape, np.uint8), grid)
    again = sweep(only=("2/3",), truth=truth)
    assert trainings(again) == 0
    [after] = [(run, json.loads((run / "report.json").read_text())) for run in runs(pool)]
    assert after[0] == before[0]
    changed = {line["case"] for line, old in zip(after[1]["cases"], before[1]["cases"], strict=True) if line != old}
    assert changed == {free}
    assert len(table(pool, "beta")) == 1


@pytest.fixture
def changeable(own_pool, cohort):
    """Return a pool whose scans the test may change, and a function that runs a sweep of one training in it."""

    def go(**more):
        chosen = {"only": ("2/3",), "steps": 3, "settings": QUICK, "device": "cpu", **more}
        return list(ablate(own_pool, cohort / "truth", "beta", **chosen))

    return own_pool, go


def flip(path):
    image = nib.load(path)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[::-1].copy(), image.affine), path)


@pytest.mark.parametrize("status", ["accepted", "unlabelled"])
def test_a_scan_with_other_content_makes_another_training_and_another_date_does_not(changeable, status):
    pool, go = changeable
    assert trainings(go()) == 1
    path = pool.cases(status)[0].path
    path.touch()
    assert trainings(go()) == 0
    flip(path)
    assert trainings(go()) == 1


def test_a_scan_that_is_judged_and_not_trained_on_is_judged_again_when_it_has_changed(changeable):
    pool, go = changeable
    case = pool.cases("unlabelled")[0]
    pool.exclude(case.name)
    seen = []
    for change in (lambda: None, lambda: None, lambda: flip(case.path)):
        change()
        events = go()
        judged = [event.case for event in events if event.kind == "progress" and event.task == "judging"]
        seen.append((trainings(events), case.name in judged))
    assert seen == [(1, True), (0, False), (0, True)]


def test_another_kind_of_device_makes_another_training(sweep, pool, monkeypatch):
    for kind in ("cpu", "cuda", "cuda"):
        monkeypatch.setattr(ablation, "pick_device", lambda _, kind=kind: torch.device(kind))
        sweep(only=("2/3",), stop=lambda: True)
    assert len(list((pool.root / "ablations" / "runs").iterdir())) == 2


def test_a_report_that_was_deleted_is_made_again_without_training(sweep, pool):
    sweep(only=("2/3",))
    [folder] = runs(pool)
    (folder / "report.json").unlink()
    assert trainings(sweep(only=("2/3",))) == 0
    assert runs(pool) == [folder]
    assert len(table(pool, "beta")) == 1


def test_a_variant_that_is_named_twice_is_one(sweep, pool):
    assert trainings(sweep(only=("2/3", "2/3"))) == 1
    assert [(row["variant"], row["seeds"]) for row in table(pool, "beta")] == [("2/3", "1")]


def test_a_reopened_case_is_trained_on_and_judges_nothing(sweep, pool):
    case = pool.cases("accepted")[0]
    pool.reopen(case.name)
    events = sweep(only=("2/3",))
    assert [event.labelled for event in events if event.kind == "planned"] == [3]
    [report] = [json.loads((run / "report.json").read_text()) for run in runs(pool)]
    assert len({line["case"] for line in report["cases"]} - {case.name}) == 3
    assert case.name not in {line["case"] for line in report["cases"]}


def test_true_masks_with_other_values_are_refused_before_anything_is_trained(sweep, pool, cohort, tmp_path):
    """Marked 255 as programs for pictures do: counted as background, it would be a Dice of 0."""
    truth = tmp_path / "truth"
    truth.mkdir()
    free = [case.name for case in pool.cases("unlabelled")]
    for name in free:
        grid = read_grid(pool.case(name).path)
        write_mask(truth / f"{name}.nii.gz", np.full(grid.shape, 255, np.uint8), grid)
    with pytest.raises(MaskError, match=r"None of the true masks can be used: .*class 255"):
        sweep(only=("2/3",), truth=truth)
    assert not trainings(sweep.seen)
    shutil.copy(cohort / "truth" / f"{free[0]}.nii.gz", truth)
    events = sweep(only=("2/3",), truth=truth)
    told = [place for place, event in enumerate(events) if event.kind == "unusable"]
    assert [events[place].case for place in told] == free[1:]
    assert told[-1] < next(place for place, event in enumerate(events) if event.kind == "planned")
    [report] = [json.loads((run / "report.json").read_text()) for run in runs(pool)]
    assert {line["case"] for line in report["cases"]} == {free[0]}
    assert sorted(report["refused"]) == free[1:]


def test_a_pool_that_was_moved_trains_nothing_again(sweep, pool, cohort, tmp_path):
    sweep(only=("2/3",))
    shutil.copytree(pool.root, tmp_path / "moved")
    with napari_bcp.open_pool(tmp_path / "moved") as moved:
        events = list(ablate(moved, cohort / "truth", "beta", only=("2/3",), steps=3, settings=QUICK, device="cpu"))
    assert trainings(events) == 0
    assert events[-1].reason == "done"


def test_a_scan_that_is_away_ends_the_sweep_in_a_sentence_and_its_return_goes_on(sweep, pool, cohort, tmp_path):
    scans = tmp_path / "scans"
    shutil.copytree(cohort / "images", scans)
    with napari_bcp.new_pool(tmp_path / "other", scans, cohort / "labels", cohort / "classes.json") as other:
        labelled = next(case for case in other.cases("accepted"))
        labelled.path.rename(tmp_path / "away.nii.gz")
        go = partial(ablate, other, cohort / "truth", "beta", only=("2/3",), steps=3, settings=QUICK, device="cpu")
        with pytest.raises(PoolError, match=f"{labelled.name}.*{re.escape(str(labelled.path))}.*relocate"):
            list(go())
        assert table(other, "beta") == []
        (tmp_path / "away.nii.gz").rename(labelled.path)
        assert list(go())[-1].reason == "done"
        assert len(table(other, "beta")) == 1


def test_a_mask_accepted_in_the_middle_of_a_sweep_changes_none_of_its_trainings(sweep, pool, cohort):
    free = next(case.name for case in pool.cases("unlabelled"))
    events = ablate(pool, cohort / "truth", "beta", only=("1/2", "2/3"), steps=3, settings=QUICK, device="cpu")
    counts = []
    for event in events:
        if event.kind == "planned":
            counts.append((event.labelled, event.unlabelled))
            pool.accept(free, cohort / "truth" / f"{free}.nii.gz")
    assert counts[0] == counts[1]
    assert len(counts) == 2


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"vary": "bta"}, SettingError, "beta"),
        ({"vary": "lrr=1,2"}, SettingError, "did you mean 'lr'"),
        ({"vary": "lr"}, SettingError, "Write lr=V1,V2"),
        ({"vary": "lr=0.1,-1", "only": ()}, SettingError, "'lr' cannot be -1"),
        ({"only": ("1/3",)}, SettingError, "1/2, 2/3, 5/6"),
        ({"seeds": 0}, SettingError, "One seed"),
        ({"minutes": 1}, SettingError, "not both"),
        ({"minutes": 0, "steps": None}, SettingError, "greater than zero"),
        ({"minutes": -1, "steps": None}, SettingError, "greater than zero"),
        ({"minutes": math.nan, "steps": None}, SettingError, "greater than zero"),
        ({"steps": 0}, SettingError, "greater than zero"),
        ({"steps": -1}, SettingError, "greater than zero"),
        ({"truth": Path("/nowhere")}, MaskError, "no folder"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(sweep, arguments, error, says):
    with pytest.raises(error, match=says):
        sweep(**arguments)


def test_a_truth_of_other_cases_is_refused(sweep, cohort):
    with pytest.raises(MaskError, match="No mask in"):
        sweep(truth=cohort / "labels")


def test_the_table_is_read_as_it_was_written(sweep, pool):
    sweep(only=("2/3",))
    with (pool.root / "ablations" / "beta.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == table(pool, "beta")
    assert table(pool, "alpha") == []


@pytest.mark.parametrize("vary", ["unlabelled", "pretrain", "loss"])
def test_where_stage_1_or_the_loss_differs_all_variants_have_one_loss_from_the_beginning(vary):
    for preset in PRESETS:
        assert {make_config(preset, one.settings).balanced_share for one in variants_of(vary)} == {0.0}


def test_shares_of_mixed_steps_are_reached_however_few_the_steps():
    for variant in variants_of("mixing"):
        first, last = (float(word) for word in variant.name.split(" to "))
        settings = make_config("quick", variant.settings)
        assert (settings.mixing, settings.mixing_late, settings.mixing_steps) == (first, last, 1)


@pytest.mark.parametrize(("wish", "held"), [({}, 0), ({"hold_out": 1}, 1)])
def test_no_mask_is_held_out_unless_that_is_asked_for(sweep, wish, held):
    """The true masks judge; which are held out would differ from seed to seed."""
    events = sweep(only=("2/3",), settings={**QUICK, **wish})
    planned = next(event for event in events if event.kind == "planned")
    assert (planned.settings["hold_out"], planned.held_out) == (held, held)
