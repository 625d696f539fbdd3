"""Training: it learns, stops when told, keeps what it learnt, goes on, and takes new cases in."""

import shutil
from pathlib import Path

import pytest
import torch

from napari_bcp.config import LOSSES, make_config
from napari_bcp.engine import checkpoint, model
from napari_bcp.engine import train as training
from napari_bcp.engine.cache import Cache, CaseFiles
from napari_bcp.engine.device import available_cores, pick_device
from napari_bcp.engine.fingerprint import Survey
from napari_bcp.engine.plan import make_plan
from napari_bcp.engine.predict import network_of, predict_scan
from napari_bcp.engine.step import Learner
from napari_bcp.engine.train import Budget, new_state, train
from napari_bcp.errors import CheckpointError, DeviceError, ScanAwayError, TrainingError
from napari_bcp.metrics import dice_per_class
from napari_bcp.scans import read_grid, read_mask, read_scan

CPU = torch.device("cpu")
SMALL = {"width": 4, "patch": (16, 16, 16), "batch": 2, "threads": 1, "precision": "float32", "stage1_steps": 0}


def plan_of(cases, config):
    scans = [read_scan(c.scan) for c in cases if c.mask]
    survey = Survey()
    for scan, case in zip(scans, cases, strict=False):
        survey.add(scan, read_mask(case.mask, scan.grid))
    grids = [read_grid(c.scan) for c in cases]
    return make_plan(survey.fingerprint([(g.shape, g.spacing) for g in grids]), [1, 2], config, CPU)


@pytest.fixture
def run(cohort, source, tmp_path):
    """Return a function that trains on the small cohort and returns its events."""

    def go(
        steps=4, labelled=2, preset="quick", folder="run", src=None, seconds=None, stop=None, resume=False, **settings
    ):
        with_mask, without, _ = cohort(5, labelled)
        config = make_config(preset, {**SMALL, **settings})
        plan = plan_of(with_mask, config)
        (tmp_path / folder).mkdir(exist_ok=True)
        return list(
            train(
                src or source(with_mask, without),
                tmp_path / folder,
                tmp_path / "cache",
                plan,
                config,
                Budget(steps=steps, seconds=seconds),
                device=CPU,
                resume=resume,
                stop=stop,
            )
        )

    return go


def of(events, kind):
    return [e for e in events if e.kind == kind]


def test_a_short_training_segments_what_it_was_never_shown(run, cohort, tmp_path):
    events = run(steps=150, lr=5e-3, stage1_share=0.5, width=8)
    stages = [e.stage for e in of(events, "step")]
    assert (stages[0], stages[-1]) == (1, 2)
    assert of(events, "finished")[0].reason == "budget"
    _, without, truth = cohort(5, 2)
    content = checkpoint.load(tmp_path / "run" / "last.pt")
    config = make_config("quick", {**SMALL, "width": 8})
    plan = plan_of(cohort(5, 2)[0], config)
    network = network_of(plan)
    network.load_state_dict(content[content["use"]])
    for case in without:
        found = predict_scan(network, plan, read_scan(case.scan), device=CPU)
        dice = dice_per_class(found.labels, truth[case.name], [1, 2])
        assert dice[1] > 0.8
        assert dice[2] > 0.7
        assert found.quality[1] > 0.5


def test_stage_2_waits_for_a_number_of_steps_as_well_as_for_its_share(run):
    events = run(steps=6, stage1_share=0.2, stage1_steps=4)
    assert [e.stage for e in of(events, "step")] == [1, 1, 1, 1, 2, 2]


def test_early_on_the_teacher_is_close_behind_the_student(run, cohort, tmp_path):
    """Whatever the decay: a map after few steps shows what was learnt in the last of them."""
    run(steps=1, ema=0.999, folder="one")
    run(steps=30, ema=0.999, folder="many")
    start = new_state(plan_of(cohort(5, 2)[0], config := make_config("quick", SMALL)), config, CPU).student
    one, many = (checkpoint.load(tmp_path / f / "last.pt") for f in ("one", "many"))
    assert all(torch.equal(one["teacher"][k], v) for k, v in one["student"].items() if v.is_floating_point())
    weights = [k for k, _ in start.named_parameters()]
    behind = sum(float((many["student"][k] - many["teacher"][k]).square().sum()) for k in weights)
    moved = sum(float((many["student"][k] - start.state_dict()[k]).square().sum()) for k in weights)
    assert behind < 0.1 * moved


def test_rare_classes_count_more_until_half_of_the_budget_or_stage_2(run):
    """With one rate and one seed the first step's loss tells which loss it was."""
    first = {share: of(run(steps=1, folder=str(share), balanced_share=share), "step")[0].loss for share in (0, 0.5)}
    named = of(run(steps=1, folder="named", balanced_share=0, loss="ce-dice-balanced"), "step")[0].loss
    assert first[0.5] == named != first[0]
    late = of(run(steps=1, folder="late", balanced_share=1, stage1_share=0, mixing=0), "step")[0]
    assert (late.stage, late.loss) == (2, of(run(steps=1, folder="plain", balanced_share=0, mixing=0), "step")[0].loss)


@pytest.mark.parametrize(("shortest", "told"), [(9, True), (0, False)])
def test_a_training_too_short_for_scans_without_masks_says_so(run, shortest, told):
    events = run(steps=3, stage1_steps=shortest)
    assert any("from masks alone" in event.text for event in of(events, "note")) is told


def test_mixing_grows_no_faster_than_with_its_steps(run):
    def losses(folder, **settings):
        return [event.loss for event in of(run(steps=4, folder=folder, mixing=0.0, **settings), "step")]

    never = losses("never", mixing_late=0.0)
    assert losses("slowly", mixing_late=1.0, mixing_steps=10**6) == never
    assert losses("soon", mixing_late=1.0, mixing_steps=1) != never


def test_the_same_seed_gives_the_same_bits_and_another_one_others(run, tmp_path):
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(folder=folder, seed=seed, stage1_share=0.5, mixing=1.0)
    a, b, c = (checkpoint.load(tmp_path / f / "last.pt")["teacher"] for f in "abc")
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not all(torch.equal(a[k], c[k]) for k in a)


def test_a_run_that_goes_on_begins_where_it_stopped(run, tmp_path):
    run(steps=3)
    first = checkpoint.load(tmp_path / "run" / "last.pt")
    events = run(steps=2, resume=True)
    assert [e.step for e in of(events, "step")] == [4, 5]
    assert checkpoint.load(tmp_path / "run" / "last.pt")["step"] == 5
    assert first["step"] == 3


def test_asked_to_stop_it_saves_and_says_so(run, tmp_path):
    calls = iter(range(1000))
    events = run(steps=1000, stop=lambda: next(calls) >= 6)
    assert of(events, "finished")[0].reason == "stopped"
    assert checkpoint.load(tmp_path / "run" / "last.pt")["step"] == len(of(events, "step")) > 0


def test_stopped_while_it_still_prepares_it_ends_without_complaint(run):
    events = run(steps=1000, stop=lambda: True)
    assert of(events, "finished")[0].reason == "stopped"
    assert not of(events, "step")


def test_a_closed_generator_keeps_what_was_learnt(cohort, source, tmp_path):
    with_mask, without, _ = cohort(5, 2)
    config = make_config("quick", SMALL)
    events = train(
        source(with_mask, without),
        tmp_path,
        tmp_path / "cache",
        plan_of(with_mask, config),
        config,
        Budget(steps=100),
        device=CPU,
    )
    for event in events:
        if event.kind == "step" and event.step == 2:
            break
    events.close()
    assert checkpoint.load(tmp_path / "last.pt")["step"] == 2


def test_time_is_a_budget_too(run):
    events = run(steps=None, seconds=0.5)
    assert of(events, "step")
    assert of(events, "finished")[0].reason == "budget"


def test_a_case_labelled_meanwhile_joins_at_the_next_step(cohort, source, tmp_path):
    with_mask, without, _ = cohort(5, 3)
    newcomer = with_mask.pop()
    src = source(with_mask, without)
    config = make_config("quick", SMALL)
    seen = []
    for event in train(
        src, tmp_path, tmp_path / "cache", plan_of(with_mask, config), config, Budget(steps=4), device=CPU
    ):
        seen.append(event)
        if event.kind == "step" and event.step == 2:
            src.with_mask.append(newcomer)
            src.number += 1
    note = next(i for i, e in enumerate(seen) if e.kind == "note")
    assert seen[note].text == f"{newcomer.name} joined the training at step 2."
    assert next(e.step for e in seen[note:] if e.kind == "step") == 3


def test_a_broken_scan_is_reported_and_the_rest_goes_on(run, cohort, source, tmp_path):
    with_mask, without, _ = cohort(5, 2)
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(b"no scan")
    events = run(src=source(with_mask, [CaseFiles("broken", broken), *without]), steps=6)
    assert [(e.case, "broken.nii.gz" in e.reason) for e in of(events, "unusable")] == [("broken", True)]
    assert len(of(events, "step")) == 6


def test_without_any_usable_mask_it_says_what_to_do(run, source, cohort):
    _, without, _ = cohort(5, 2)
    with pytest.raises(TrainingError, match="accept"):
        run(src=source([], without))


def test_without_unlabelled_scans_it_trains_on_the_labelled_ones(run, source, cohort):
    with_mask, _, _ = cohort(5, 2)
    events = run(src=source(with_mask, []))
    assert {e.stage for e in of(events, "step")} == {1}


def test_held_out_cases_are_measured_and_the_best_network_is_kept(run, tmp_path):
    events = run(steps=6, labelled=4, hold_out=1, validate_every=0.3)
    measured = of(events, "validated")
    assert len(measured) >= 2
    planned = of(events, "planned")[0]
    assert (planned.labelled, planned.held_out) == (4, 1)
    assert set(measured[0].dice) == {1, 2}
    best = max(measured, key=lambda e: sum(e.dice.values()))
    assert checkpoint.load(tmp_path / "run" / "best.pt")["step"] == best.step


def test_enough_labelled_cases_are_held_out_by_themselves(run, cohort, source):
    with_mask, without, _ = cohort(12, 10)
    events = run(labelled=10, src=source(with_mask, without))
    planned = of(events, "planned")[0]
    assert (planned.labelled, planned.held_out) == (10, 2)


@pytest.mark.parametrize("change", ["leaves", "all leave", "is mended", "nothing"])
def test_a_held_out_case_is_judged_as_the_pool_has_it_now(cohort, source, tmp_path, monkeypatch, change):
    """Another set, or another mask, is another scale: the next network is the best on it so far."""
    monkeypatch.setattr(training, "dice_per_class", lambda *_: {1: 0.5, 2: 0.5})
    with_mask, without, _ = cohort(6, 4)
    config = make_config("quick", {**SMALL, "hold_out": 2, "validate_every": 1e-9, "save_every": 1e-9})
    plan, src = plan_of(with_mask, config), source(with_mask, without)
    bests, held = [], []
    for event in train(src, tmp_path, tmp_path / "cache", plan, config, Budget(steps=3), device=CPU):
        if event.kind == "validated":
            bests.append(event.best)
        if event.kind == "saved":
            content = checkpoint.load(tmp_path / "last.pt")
            held.append(content["held_out"])
            if content["step"] == 2:  # it has been measured once
                gone = next(case for case in with_mask if case.name == held[0][0])
                if change == "leaves":
                    src.with_mask.remove(gone)
                elif change == "all leave":
                    src.with_mask = [case for case in with_mask if case.name not in held[0]]
                elif change == "is mended":
                    mended = tmp_path / "mended.nii.gz"
                    mended.write_bytes(gone.mask.read_bytes())
                    src.with_mask[src.with_mask.index(gone)] = CaseFiles(gone.name, gone.scan, mended)
                src.number += 1
    assert held[-1] == {"leaves": held[0][1:], "all leave": []}.get(change, held[0])
    assert bests == ([True] if change == "all leave" else [True, change != "nothing"])
    assert (tmp_path / "best.pt").exists() is (change != "all leave")


def test_a_network_is_the_best_only_if_all_held_out_cases_judged_it(cohort, source, tmp_path, monkeypatch):
    with_mask, without, _ = cohort(6, 4)
    scores = iter([0.5, 0.5, 0.9])
    monkeypatch.setattr(training, "dice_per_class", lambda *_: dict.fromkeys((1, 2), next(scores)))
    with_mask = [
        CaseFiles(case.name, Path(shutil.copy(case.scan, tmp_path / case.scan.name)), case.mask) for case in with_mask
    ]
    config = make_config("quick", {**SMALL, "hold_out": 2, "validate_every": 1e-9})
    events = []
    for event in train(
        source(with_mask, without), tmp_path, tmp_path / "cache", plan_of(with_mask, config), config, Budget(steps=3),
        device=CPU,
    ):  # fmt: skip
        events.append(event)
        if event.kind == "validated" and event.best:
            held = checkpoint.load(tmp_path / "best.pt")["held_out"]
            next(case for case in with_mask if case.name == held[0]).scan.unlink()
    assert [(event.best, event.dice[1]) for event in of(events, "validated")] == [(True, 0.5), (False, 0.9)]
    assert [event.text.split(" is held out and cannot be judged now")[0] for event in of(events, "note")] == held[:1]


@pytest.mark.parametrize("error", [ScanAwayError("It is away."), MemoryError()])
def test_a_scan_that_can_be_read_no_more_is_told_and_the_rest_goes_on(run, monkeypatch, error):
    """One that had been prepared: its disk was unplugged, or the memory ran out on it."""
    get, asked = Cache.get, []

    def failing(self, case):
        asked.append(case.name)
        if case.name == "s3" and asked.count("s3") > 1:
            raise error
        return get(self, case)

    monkeypatch.setattr(Cache, "get", failing)
    events = run(steps=12, stage1_share=0.0, mixing=1.0, mixing_late=1.0)
    assert [(event.case, event.lasting) for event in of(events, "unusable")] == [("s3", False)]
    assert (of(events, "finished")[0].reason, len(of(events, "step"))) == ("budget", 12)


def test_a_run_that_has_learnt_from_all_says_that_it_cannot_hold_out(run):
    run(labelled=3)
    notes = [event.text for event in of(run(labelled=3, resume=True, hold_out=1), "note")]
    assert any(text.startswith("Not 1 cases are held out but 0") for text in notes)


def test_what_a_killed_process_left_half_written_is_removed(run, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".tmp-abc-last.pt").write_bytes(b"half")
    run(steps=1)
    assert not list((tmp_path / "run").glob(".tmp-*"))


@pytest.mark.parametrize(("loss", "spacing"), [("hausdorff", (1.0, 1.0, 4.0)), ("ce-dice", None)])
def test_losses_by_distance_know_how_thick_slices_are(cohort, loss, spacing):
    config = make_config("quick", {**SMALL, "loss": loss, "spacing": (1.5, 1.5, 6.0)})
    plan = plan_of(cohort(5, 2)[0], config)
    learner = Learner(plan, config, new_state(plan, config, CPU), None, CPU)
    assert learner._late_loss.constants.get("spacing") == spacing


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_trains_in_both_stages(run, loss):
    events = run(steps=3, loss=loss, stage1_share=0.4, mixing=1.0)
    assert {e.stage for e in of(events, "step")} == {1, 2}


@pytest.mark.parametrize(
    "settings",
    [
        {"mask": "contact"},
        {"mask": "random"},
        {"direction": "in"},
        {"direction": "out"},
        {"components": "all"},
        {"components": "auto", "pseudo": "crop"},
        {"connectivity": "face"},
        {"teacher_mode": "train", "buffers": "own"},
        {"teacher_from_start": False, "predict_with": "student"},
        {"joint_passes": False, "batch": 4},
        {"dimensions": "2", "patch": (16, 16), "batch": 4},
        {"augment": "none", "unlabelled_crop": "centre", "optimiser": "sgd", "schedule": "step-2500"},
        {"augment": "light", "optimiser": "adam", "normalise": "minmax", "new_optimiser": True},
        {"precision": "bfloat16"},
        {"spacing": (0.0, 0.0, 0.0), "normalise": "none"},
    ],
    ids=lambda s: ",".join(s),
)
def test_every_ablation_trains(run, settings):
    events = run(**{"steps": 3, "stage1_share": 0.4, "mixing": 1.0, **settings})
    assert {e.stage for e in of(events, "step")} == {1, 2}
    assert of(events, "step")[-1].loss == pytest.approx(of(events, "step")[-1].loss, nan_ok=False)


@pytest.mark.parametrize(
    ("preset", "small"),
    [
        ("paper-la", {"patch": (32, 16, 16), "augment": "none"}),
        ("paper-acdc", {"patch": (32, 32), "batch": 4, "stage1_batch": 2}),
        ("paper-pancreas", {"patch": (32, 16, 16)}),
        ("quality", {}),
    ],
)
def test_every_preset_trains_through_both_stages(run, preset, small):
    events = run(preset=preset, **{"steps": 3, "stage1_share": 0.4, "mixing": 1.0, **small})
    assert {e.stage for e in of(events, "step")} == {1, 2}


def test_a_checkpoint_that_fits_another_plan_is_refused(run, tmp_path):
    run(steps=1)
    with pytest.raises(CheckpointError, match="--fresh"):
        run(steps=1, resume=True, width=8)


def test_the_newest_checkpoint_torn_the_one_before_is_used(run, tmp_path):
    run(steps=1)
    run(steps=1, resume=True)
    last = tmp_path / "run" / "last.pt"
    last.write_bytes(last.read_bytes()[:1000])
    assert checkpoint.load_newest(tmp_path / "run")["step"] == 1
    events = run(steps=1, resume=True)
    assert of(events, "step")[0].step == 2


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04"])
def test_a_foreign_file_is_no_checkpoint(tmp_path, content):
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"x\.pt"):
        checkpoint.load(tmp_path / "x.pt")


def test_a_checkpoint_cannot_run_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "pwned"), "w"))

    torch.save({"napari_bcp": 1, "x": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(CheckpointError):
        checkpoint.load(tmp_path / "evil.pt")
    assert not (tmp_path / "pwned").exists()


def test_a_checkpoint_of_a_newer_version_says_to_update(tmp_path):
    torch.save({"napari_bcp": 99}, tmp_path / "new.pt")
    with pytest.raises(CheckpointError, match="update"):
        checkpoint.load(tmp_path / "new.pt")


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "mps"])
def test_a_device_that_is_not_there_is_refused(name):
    with pytest.raises(DeviceError, match=name):
        pick_device(name)


def test_a_budget_that_preparing_used_up_still_gives_a_checkpoint(run, tmp_path):
    events = run(steps=None, seconds=1e-6)
    assert len(of(events, "step")) == 1
    assert checkpoint.load(tmp_path / "run" / "last.pt")["step"] == 1


@pytest.mark.parametrize("crawls", [True, False])
def test_a_checkpoint_of_another_computer_is_used_as_this_one_can(run, cohort, tmp_path, monkeypatch, crawls):
    """Not in an arithmetic that it has no instructions for, nor with more threads than it has cores."""
    run(steps=1, precision="bfloat16")
    content = checkpoint.load(tmp_path / "run" / "last.pt")
    config = make_config("quick", {**SMALL, "precision": "bfloat16", "threads": 200})
    checkpoint.save(tmp_path / "other.pt", {**content, "config": config.model_dump_json()})
    used, former = [], torch.get_num_threads()
    monkeypatch.setattr(model, "bfloat16_crawls", lambda device: crawls)
    monkeypatch.setattr(model, "predict_scan", lambda *_, bfloat16, **more: used.append(bfloat16))
    try:
        loaded = model.Model.load(tmp_path / "other.pt", "cpu")
        assert torch.get_num_threads() == available_cores()
    finally:
        torch.set_num_threads(former)
    loaded.segment(read_scan(cohort(5, 2)[0][0].scan))
    assert used == [not crawls]
