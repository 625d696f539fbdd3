"""A run goes on: after a stop, a kill, a loss that is no number, and memory that runs out."""

import shutil

import pytest
import torch
from filelock import FileLock, Timeout

from napari_bcp.config import make_config
from napari_bcp.engine import bank, checkpoint, step
from napari_bcp.engine import train as module
from napari_bcp.engine.fingerprint import Survey
from napari_bcp.engine.plan import Plan, make_plan, smaller
from napari_bcp.engine.train import Budget, train
from napari_bcp.errors import DeviceError, DeviceLostError, TrainingError
from napari_bcp.scans import read_grid, read_mask, read_scan

CPU = torch.device("cpu")
SMALL = {
    "width": 4,
    "patch": (16, 16, 16),
    "spacing": (1.0, 1.0, 1.5),
    "batch": 2,
    "precision": "float32",
    "threads": 1,
    "stage1_steps": 0,
    "stage1_share": 0.4,
    "mixing": 1.0,
}


@pytest.fixture
def run(cohort, source, tmp_path):
    """Return a function that trains, for `steps` or until `stop_at` is reached, and returns the events."""

    def go(steps, folder="run", stop_at=None, resume=False, labelled=2, count=7, src=None, **settings):
        with_mask, without, _ = cohort(count, labelled)
        settings = {"mixing_late": settings.get("mixing", 1.0), **settings}
        config = make_config("quick", {**SMALL, **settings})
        survey = Survey()
        for case in with_mask:
            scan = read_scan(case.scan)
            survey.add(scan, read_mask(case.mask, scan.grid))
        grids = [read_grid(c.scan) for c in with_mask]
        plan = make_plan(survey.fingerprint([(g.shape, g.spacing) for g in grids]), [1, 2], config, CPU)
        (tmp_path / folder).mkdir(exist_ok=True)
        events = []
        for event in train(
            src or source(with_mask, without),
            tmp_path / folder,
            tmp_path / "cache",
            plan,
            config,
            Budget(steps=steps),
            device=CPU,
            resume=resume,
            stop=lambda: (
                stop_at is not None and bool(events) and events[-1].kind == "step" and events[-1].step >= stop_at
            ),
        ):
            events.append(event)
        return events

    return go


def last(tmp_path, folder):
    return checkpoint.load(tmp_path / folder / "last.pt")


def of(events, kind):
    return [event for event in events if event.kind == kind]


def same(a, b):
    """Whether two checkpoints hold the same bits, but for the time that it took."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a if k not in ("elapsed", "run"))
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


@pytest.mark.parametrize("pseudo", ["crop", "case"])
@pytest.mark.parametrize("stop_at", [1, 2, 5, 8])
def test_stopped_and_gone_on_with_is_bit_for_bit_uninterrupted(run, tmp_path, stop_at, pseudo):
    """Stops before, at and after the beginning of stage 2, while unlabelled scans still wait to be prepared."""
    more = {"pseudo": pseudo, "pseudo_every": 3, "sure": 0.4, "style": 0.5}
    whole = run(9, "whole", **more)
    assert {event.stage for event in of(whole, "step")} == {1, 2}
    run(9, "parts", stop_at=stop_at, **more)
    assert last(tmp_path, "parts")["step"] == stop_at
    after = run(9 - stop_at, "parts", resume=True, **more)
    assert same(last(tmp_path, "whole"), last(tmp_path, "parts"))
    assert [e.loss for e in of(whole, "step")][stop_at:] == [e.loss for e in of(after, "step")]


PUBLISHED = {"teacher_from_start": False, "new_optimiser": True, "optimiser": "sgd", "stage1_share": 0.5}


@pytest.mark.parametrize(
    "settings",
    [
        {"network": "vnet", "patch": (32, 16, 16), **PUBLISHED},  # has dropout
        {"optimiser": "adam", "teacher_mode": "train", "buffers": "own", "pseudo": "crop"},
    ],
)
def test_so_it_is_with_dropout_other_optimisers_and_statistics_of_the_batch(run, tmp_path, settings):
    whole = run(6, "whole", **settings)
    run(6, "parts", stop_at=2, **settings)
    after = run(4, "parts", resume=True, **settings)
    assert same(last(tmp_path, "whole"), last(tmp_path, "parts"))
    assert [e.loss for e in of(whole, "step")][2:] == [e.loss for e in of(after, "step")]


def test_as_published_stage_2_begins_with_a_copy_of_the_student_and_an_optimiser_of_its_own(run, tmp_path):
    published = {"teacher_from_start": False, "new_optimiser": True, "stage1_steps": 3, "stage1_share": 0.0}
    run(3, ema=0.9999, **published)
    first = last(tmp_path, "run")
    events = run(1, resume=True, ema=0.9999, **published)
    assert [e.stage for e in of(events, "step")] == [2]
    second = last(tmp_path, "run")
    for name, value in first["student"].items():
        if value.is_floating_point():
            torch.testing.assert_close(second["teacher"][name], value, rtol=1e-3, atol=1e-4)
    assert {float(one["step"]) for one in second["optimiser"]["state"].values()} == {1.0}
    assert {float(one["step"]) for one in first["optimiser"]["state"].values()} == {3.0}


@pytest.mark.parametrize("stop_at", [1, 3, 5])
def test_held_out_cases_are_judged_at_the_same_steps(run, source, cohort, tmp_path, stop_at):
    with_mask, without, _ = cohort(5, 4)
    more = {"src": source(with_mask, without), "hold_out": 1, "validate_every": 0.3, "mixing": 0.0}
    whole = run(9, "whole", **more)
    judged = [e.step for e in of(whole, "validated")]
    assert judged == [4, 8, 9]
    before = run(9, "parts", stop_at=stop_at, **more)
    after = run(9 - stop_at, "parts", resume=True, **more)
    assert [e.step for e in [*of(before, "validated"), *of(after, "validated")]] == judged
    assert same(last(tmp_path, "whole"), last(tmp_path, "parts"))


def test_more_time_later_does_not_put_off_judging(run, source, cohort):
    with_mask, without, _ = cohort(5, 4)
    more = {"src": source(with_mask, without), "hold_out": 1, "validate_every": 0.25, "mixing": 0.0}
    run(4, **more)
    events = run(6, resume=True, **more)
    assert [e.step for e in of(events, "validated")] == [8, 10]


def test_killed_it_does_the_steps_again_that_were_not_saved(run, tmp_path):
    run(9, "whole")
    run(9, "killed", stop_at=4)
    saved = tmp_path / "saved"
    shutil.copytree(tmp_path / "killed", saved)
    run(5, "killed", stop_at=7, resume=True)
    shutil.rmtree(tmp_path / "killed")  # nothing after step 4 has reached the disk
    shutil.copytree(saved, tmp_path / "killed")
    run(5, "killed", resume=True)
    assert same(last(tmp_path, "whole"), last(tmp_path, "killed"))


def test_more_time_later_is_as_if_it_had_been_known(run):
    """The schedule is that of all the time a run has had; the progress that is told is that of this time."""
    run(4)
    again = run(4, resume=True)
    rates = [e.lr for e in of(again, "step")]
    whole = [e.lr for e in of(run(8, "whole"), "step")]
    assert rates == whole[4:]
    assert [e.share for e in of(again, "step")] == [0, 0.25, 0.5, 0.75]


def test_a_checkpoint_of_a_former_release_goes_on(run, tmp_path):
    run(3)
    content = last(tmp_path, "run")
    del content["order"], content["rate_scale"]
    checkpoint.save(tmp_path / "run" / "last.pt", content)
    assert [e.step for e in of(run(2, resume=True), "step")] == [4, 5]


def test_what_has_joined_and_left_meanwhile_is_taken_over(run, cohort, source, tmp_path):
    run(4)
    order = last(tmp_path, "run")["order"]
    with_mask, without, _ = cohort(7, 3)  # s2 has a mask now
    run(2, resume=True, src=source(with_mask, without[1:]))
    after = last(tmp_path, "run")["order"]
    assert "s2" in after["labelled"]
    assert "s2" not in order["labelled"]
    assert not {"s2", "s3"} & {*after["unlabelled"], *after["waiting"]}


# -- losses that are no numbers -----------------------------------------------------------------------------------


def breaking(monkeypatch, at, spoil=lambda loss, logits: loss * torch.nan):
    """Let the loss be no number at these calls, counted from 1."""
    calls, get = [], step.get_loss

    def broken(name):
        loss = get(name)

        def maybe(*arguments):
            calls.append(name)
            value = loss(*arguments)
            return spoil(value, arguments[0]) if len(calls) in at else value

        return maybe

    monkeypatch.setattr(step, "get_loss", broken)


def test_a_loss_that_is_no_number_leads_back_to_what_was_saved_with_a_smaller_rate(run, tmp_path, monkeypatch):
    run(3, mixing=0.0)
    before = last(tmp_path, "run")
    breaking(monkeypatch, {3})
    events = run(4, resume=True, mixing=0.0)
    [note] = of(events, "note")
    assert "step 6" in note.text
    assert "went back to step 3" in note.text
    assert "0.33 times" in note.text
    assert [e.step for e in of(events, "step")] == [4, 5, 4, 5, 6, 7]
    assert before["step"] == 3
    after = last(tmp_path, "run")
    assert after["rate_scale"] == pytest.approx(1 / 3)
    assert all(bool(torch.isfinite(v).all()) for v in after["student"].values() if v.is_floating_point())
    rates = {e.step: e.lr for e in of(events, "step")[:2]}, {e.step: e.lr for e in of(events, "step")[2:]}
    assert rates[1][4] == pytest.approx(rates[0][4] / 3)
    again = run(1, resume=True, mixing=0.0)
    assert of(again, "step")[0].lr < 1e-3, "and stays smaller"


def test_a_gradient_that_is_none_leads_back_too_though_the_loss_is_a_number(run, tmp_path, monkeypatch):
    """The root of zero is zero and rises without end; a weight that took such a step would stay no number."""
    run(2, mixing=0.0)
    breaking(monkeypatch, {2}, lambda loss, logits: loss + (logits * 0).abs().sum().sqrt())
    events = run(3, resume=True, mixing=0.0)
    [note] = of(events, "note")
    assert note.text.startswith("The gradient became nan at step 4; training went back to step 2")
    assert [e.step for e in of(events, "step")] == [3, 3, 4, 5]
    assert all(bool(torch.isfinite(v).all()) for v in last(tmp_path, "run")["student"].values())


def test_going_back_takes_over_what_has_changed_since_it_was_saved(run, source, cohort, monkeypatch):
    """A case that is gone stands in the checkpoint's order."""

    class Leaving(source):
        asked = 0

        def revision(self):
            self.asked += 1
            if self.asked == 3:
                self.without.pop()
                self.number += 1
            return self.number

    with_mask, without, _ = cohort(7, 2)
    run(3, src=source(with_mask, without))
    breaking(monkeypatch, {8})
    events = run(8, src=Leaving(with_mask, without), resume=True)
    assert "went back to step 3" in of(events, "note")[0].text
    assert of(events, "step")[-1].step == 11


def test_a_change_of_the_memory_format_takes_the_moments_along(run, tmp_path):
    run(2)
    run(2, resume=True, channels_last=False)
    moments = last(tmp_path, "run")["optimiser"]["state"]
    weights = list(last(tmp_path, "run")["student"].values())
    assert all(one["exp_avg"].is_contiguous() for one in moments.values())
    assert any(w.ndim == 5 and w.is_contiguous() for w in weights)


def test_held_out_cases_stay_so_while_a_labelled_one_is_missing(run, source, cohort, tmp_path):
    with_mask, without, _ = cohort(12, 10)
    run(2, src=source(with_mask, without), validate_every=0.4)
    held = last(tmp_path, "run")["held_out"]
    assert len(held) == 2
    missing = next(case for case in with_mask if case.name not in held)
    run(1, src=source([case for case in with_mask if case is not missing], without), resume=True, validate_every=0.4)
    assert last(tmp_path, "run")["held_out"] == held
    assert (tmp_path / "run" / "best.pt").exists()


def test_a_run_that_goes_on_knows_of_its_best_network_also_when_it_was_found_at_the_end(
    run, source, cohort, tmp_path, monkeypatch
):
    """Of three networks that are judged the second is the best one, and stays."""
    with_mask, without, _ = cohort(5, 4)
    scores = iter([0.5, 0.9, 0.7])
    monkeypatch.setattr(module, "dice_per_class", lambda *_: dict.fromkeys((1, 2), next(scores)))
    more = {"src": source(with_mask, without), "hold_out": 1, "validate_every": 0.6, "mixing": 0.0}
    run(4, **more)  # judged in its middle and in the end
    best = checkpoint.load(tmp_path / "run" / "best.pt")
    assert (best["step"], best["best"]) == (4, 0.9)
    events = run(4, resume=True, **more)
    assert [event.best for event in of(events, "validated")] == [False]
    assert checkpoint.load(tmp_path / "run" / "best.pt")["step"] == 4


def test_a_teacher_that_labels_with_averages_has_them_whatever_the_setting_of_buffers(run, tmp_path):
    run(4, buffers="own", teacher_mode="eval")
    teacher = last(tmp_path, "run")["teacher"]
    means = [value for name, value in teacher.items() if name.endswith("running_mean")]
    assert means
    assert all(bool(one.any()) for one in means)


def test_before_anything_is_saved_it_begins_anew(run, monkeypatch):
    breaking(monkeypatch, {2})
    events = run(3, mixing=0.0)
    assert "went back to step 0" in of(events, "note")[0].text
    assert [e.step for e in of(events, "step")] == [1, 1, 2, 3]


def test_losses_that_stay_no_numbers_end_it_and_keep_what_was_saved(run, tmp_path, monkeypatch):
    run(2, mixing=0.0)
    good = (tmp_path / "run" / "last.pt").read_bytes()
    breaking(monkeypatch, set(range(100)))
    with pytest.raises(TrainingError, match="again with smaller rates"):
        run(3, resume=True, mixing=0.0)
    assert (tmp_path / "run" / "last.pt").read_bytes() == good


# -- memory -------------------------------------------------------------------------------------------------------


def short(monkeypatch, most):
    """Let a step have no memory for more than `most` voxels."""
    forward = step.Learner._forward

    def limited(self, network, images):
        if images.numel() > most:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: 1 bytes")
        return forward(self, network, images)

    monkeypatch.setattr(step.Learner, "_forward", limited)


@pytest.mark.parametrize(
    ("most", "says", "batch", "patch"),
    [(2 * 16**3, "batches of 2", 2, [16, 16, 16]), (8 * 16 * 16, "blocks of 8×16×16", 1, [8, 16, 16])],
)
def test_a_step_that_the_memory_does_not_suffice_for_is_made_smaller_and_said(
    run, tmp_path, monkeypatch, most, says, batch, patch
):
    short(monkeypatch, most)
    events = run(3, mixing=0.0, batch=4)
    assert len(of(events, "step")) == 3
    assert says in of(events, "note")[-1].text
    plan = of(events, "planned")[-1].plan
    assert (plan["batch"], list(plan["patch"])) == (batch, patch)
    monkeypatch.undo()
    assert len(of(run(1, resume=True, mixing=0.0, batch=4), "step")) == 1


@pytest.mark.parametrize("joint", [True, False])
def test_mixed_steps_too_make_do_with_the_memory_for_one_image(run, monkeypatch, joint):
    """In both stages, with one of the two directions a step."""
    short(monkeypatch, 16**3)
    ways = []
    mix = step.mixed_loss

    def mixed(loss, logits, outer, inner, keep, outer_weight, inner_weight, *counts):
        ways.append((len(logits), outer_weight, inner_weight))
        return mix(loss, logits, outer, inner, keep, outer_weight, inner_weight, *counts)

    monkeypatch.setattr(step, "mixed_loss", mixed)
    events = run(16, mixing=1.0, stage1_share=0.1, joint_passes=joint)
    steps = of(events, "step")
    assert [event.stage for event in steps] == [1, 1, *[2] * 14]
    plan = of(events, "planned")[-1].plan
    assert (plan["batch"], list(plan["patch"])) == (1, [16, 16, 16])
    assert set(ways) == {(1, 1.0, 1.0), (1, 1.0, 0.5), (1, 0.5, 1.0)}
    assert len(ways) == len(steps)


def test_memory_that_suffices_for_nothing_is_said_in_a_sentence(run, monkeypatch):
    short(monkeypatch, 0)
    with pytest.raises(DeviceError, match="close other programs"):
        run(1)


def test_smaller_plans_end_with_one_block_that_the_network_can_still_halve(run):
    plan = Plan.model_validate(of(run(1, batch=4), "planned")[0].plan)
    sizes = []
    while (plan := smaller(plan)) is not None:
        sizes.append((plan.batch, plan.patch))
    assert sizes[:2] == [(2, (16, 16, 16)), (1, (16, 16, 16))]
    assert sizes[-1][1] < (16, 16, 16)
    assert len(sizes) == len(set(sizes))


# -- two processes ------------------------------------------------------------------------------------------------


def test_a_run_waits_for_the_process_that_still_saves_it(run, tmp_path, monkeypatch):
    """As a window does that is closed and opened again at once."""
    run(1)
    other = FileLock(tmp_path / "run" / ".training", thread_local=False)
    other.acquire()

    class Waiting(FileLock):
        def acquire(self, *arguments, **named):
            try:
                return super().acquire(*arguments, **named)
            except Timeout:
                other.release()  # the other one is done meanwhile
                raise

    monkeypatch.setattr(module, "FileLock", Waiting)
    assert [event.step for event in of(run(1, resume=True), "step")] == [2]


def test_a_run_that_another_process_keeps_is_refused(run, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_SAVING_S", 0.0)
    (tmp_path / "run").mkdir()
    with FileLock(tmp_path / "run" / ".training"), pytest.raises(TrainingError, match="Another process trains run run"):
        run(1)
    assert len(of(run(1), "step")) == 1


def test_a_card_that_is_lost_leaves_what_was_saved(run, tmp_path, monkeypatch):
    """What lies on it cannot be saved any more, and would replace a checkpoint that is good."""
    run(2)
    kept, real = last(tmp_path, "run"), step.Learner.step

    def lost(self, stage, share):
        if self.state.step >= 4:
            raise RuntimeError("CUDA error: unspecified launch failure\nmore lines")
        return real(self, stage, share)

    monkeypatch.setattr(step.Learner, "step", lost)
    with pytest.raises(DeviceLostError, match="has failed in run run \\(CUDA error: unspecified launch failure\\)"):
        run(6, resume=True)
    assert same(last(tmp_path, "run"), kept)


def test_a_run_that_was_planned_for_another_kind_of_device_says_so(run, monkeypatch):
    here = make_plan

    def planned_elsewhere(*arguments):
        return here(*arguments).model_copy(update={"device": "cuda"})

    assert not [event for event in of(run(1), "note") if "planned for another kind" in event.text]
    monkeypatch.setitem(run.__globals__, "make_plan", planned_elsewhere)
    assert [event for event in of(run(1, folder="other"), "note") if "planned for another kind" in event.text]


def test_where_the_memory_runs_out_on_a_whole_scan_pseudo_labels_are_made_block_by_block(run, monkeypatch):
    """Smaller batches of the training would not help it."""
    asked, real = [], bank.whole_probabilities

    def short(*arguments, sparing=False):
        asked.append(sparing)
        if not sparing:
            raise RuntimeError("CUDA error: out of memory")
        return real(*arguments, sparing=sparing)

    monkeypatch.setattr(bank, "whole_probabilities", short)
    events = run(6)
    assert {*asked} == {True, False}
    assert len(of(events, "planned")) == 1, "blocks and batches stay"
