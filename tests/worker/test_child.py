"""The real child process over its pipes: it trains and makes maps as it is told, and does not outlive its parent."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch
from children import Child, until

from napari_bcp.engine import checkpoint
from napari_bcp.errors import DeviceError, DeviceLostError
from napari_bcp.events import Finished
from napari_bcp.scans import read_grid, read_mask
from napari_bcp.scans.maps import MapFile
from napari_bcp.worker import child as child_module
from napari_bcp.worker.desk import Desk
from napari_bcp.worker.host import Worker
from napari_bcp.worker.messages import (
    VERSION,
    Attend,
    CaseInfo,
    Cases,
    Pause,
    Predict,
    PredictNow,
    Quit,
    Resume,
    Stop,
)

PARENT = Path(__file__).parent / "parent_killed.py"


def saved_step(job):
    """Return how far the newest checkpoint of a job's run came."""
    return checkpoint.load(Path(job.run) / "last.pt")["step"]


def kinds(reports):
    return [one.kind for one in reports]


def train_to(child, job, step):
    """Send a job and wait until so many steps are done."""
    child.send(job)
    child.until_step(step)
    return job


# -- a training -------------------------------------------------------------------------------------------------


def test_it_says_that_it_is_ready_and_how_it_speaks(one_child):
    assert (one_child.ready.pid, one_child.ready.version) == (one_child.worker.pid, VERSION)


def test_it_makes_a_plan_trains_makes_the_maps_and_ends(child, job, tmp_path):
    sent = job(steps=12)
    child.send(sent)
    child.until_free()
    [planned], [finished] = child.of("planned"), child.of("finished")
    assert (planned.run, planned.labelled, planned.unlabelled, planned.step) == ("0001", 2, 3, 0)
    assert (planned.plan["patch"], planned.plan["classes"]) == ([16, 16, 16], [1, 2])
    assert [one.step for one in child.of("step")] == list(range(1, 13))
    assert (finished.reason, finished.step) == ("budget", 12)
    assert saved_step(sent) == child.of("saved")[-1].step == 12
    assert sorted((one.case, one.run, one.step) for one in child.of("map")) == [
        (f"s{i}", "0001", 12) for i in (2, 3, 4)
    ]
    assert child.reports[-1].kind == "ended"
    assert not child.of("failed", "unusable")


def test_it_tells_what_it_runs_on_and_needs(child, job):
    child.send(job(steps=1))
    child.until_free()
    vitals = child.of("vitals")[0]
    assert child.reports[0] == vitals
    assert (vitals.device, vitals.threads) == ("cpu", 1)
    now = psutil.Process(child.worker.pid).memory_info().rss / 2**20
    assert 0.3 < vitals.memory_mb / now < 3


def test_it_rests_and_goes_on_where_it_was(child, job):
    train_to(child, job(), 3)
    child.send(Pause())
    paused = child.until_told("paused")
    child.send(PredictNow(name="s3"), PredictNow(name="s0"))
    child.until_told("map", case="s0")
    child.send(Resume())
    child.until_told("resumed")
    child.until_step(paused.step + 2)
    begin = child.reports.index(paused)
    end = kinds(child.reports).index("resumed")
    assert kinds(child.reports[begin + 1 : end]) == ["map", "map"]
    assert {one.step for one in child.of("map")} == {paused.step}
    assert child.of("resumed")[0].step == paused.step
    steps = [one.step for one in child.of("step")]
    assert steps == list(range(1, len(steps) + 1))


def test_it_rests_before_the_first_step_too(child, job):
    child.send(job(), Pause())
    child.until_told("paused")
    child.send(PredictNow(name="s2"), Resume())
    child.until_step(2)
    assert kinds(child.of("paused", "resumed", "step"))[:3] == ["paused", "resumed", "step"]


def test_stopped_it_keeps_what_it_has_learnt(child, job):
    sent = train_to(child, job(), 2)
    child.send(Stop())
    child.until_free()
    [finished] = child.of("finished")
    assert finished.reason == "stopped"
    assert saved_step(sent) == finished.step == child.of("step")[-1].step
    assert kinds(child.reports)[-2:] == ["finished", "ended"]


def test_stopped_before_it_has_begun_it_ends_without_a_step_and_without_complaint(child, job):
    child.send(job(), Stop())
    child.until_free()
    [finished] = child.of("finished")
    assert (finished.reason, finished.step) == ("stopped", 0)
    assert not child.of("step", "failed", "unusable")


def test_stopped_while_it_rests_it_ends(child, job):
    sent = train_to(child, job(), 1)
    child.send(Pause())
    paused = child.until_told("paused")
    child.send(Stop())
    child.until_free()
    assert child.of("finished")[0].reason == "stopped"
    assert saved_step(sent) == paused.step


def test_a_second_training_ends_the_first_which_is_kept(child, job):
    first = train_to(child, job("0001"), 2)
    second = job("0002", steps=1)
    child.send(second)
    child.until_free()
    assert [(one.reason, one.step) for one in child.of("finished")] == [("stopped", saved_step(first)), ("budget", 1)]
    ended = kinds(child.reports).index("ended")
    assert [one.run for one in child.reports[:ended] if one.kind == "planned"] == ["0001"]
    assert [one.run for one in child.reports[ended:] if one.kind == "planned"] == ["0002"]
    assert saved_step(second) == 1


# -- maps -------------------------------------------------------------------------------------------------------


def test_a_map_that_is_asked_for_comes_between_two_steps_and_can_be_read(child, job, info):
    train_to(child, job(), 10)
    child.send(PredictNow(name="s4"))
    made = child.until_told("map")
    child.until_step(made.step + 1)
    place = child.reports.index(made)
    steps = [one.step for one in child.of("step")]
    before = [one.step for one in child.reports[:place] if one.kind == "step"]
    assert before[-1] == made.step
    assert steps == list(range(1, len(steps) + 1))
    assert [one.case for one in child.of("map")] == ["s4"], "nobody asked for another"
    grid = read_grid(info(4).scan)
    found = MapFile(Path(made.map_path), grid.shape)
    assert (found.classes, found.facts["step"]) == ((1, 2), made.step)
    pseudo = read_mask(Path(made.pseudo_path), grid)
    assert set(np.unique(pseudo.voxels)) <= {0, 1, 2}
    assert made.volume_ml == {v: pytest.approx((pseudo.voxels == v).sum() * 1.5 / 1000) for v in (1, 2)}


def test_a_map_that_is_asked_for_while_it_prepares_waits_until_something_is_learnt(child, job):
    child.send(job(), PredictNow(name="s2"))
    assert child.until_told("map").step >= 10


def test_the_case_on_screen_gets_its_map_before_the_others(child, job):
    child.send(Attend(visible="s4"), job(map_share=1.0))
    child.until(lambda: len({one.case for one in child.of("map")}) == 3)
    child.send(Attend())
    assert child.of("map")[0].case == "s4"


def test_a_map_that_the_memory_does_not_suffice_for_is_told_and_left_out(job, info, monkeypatch):
    """On the desk's side of the pipe: memory cannot be made short for a real child without making it short for all."""
    from napari_bcp.engine import model

    def short_of_memory(*arguments, **named):
        torch.empty(1 << 60)

    monkeypatch.setattr(model, "predict_scan", short_of_memory)
    desk, said = Desk(), []

    def send(report):
        said.append(report)
        if report.kind == "step" and report.step == 10:
            desk.take(PredictNow(name="s3"))
        if report.kind == "ended":
            desk.take(Quit())

    desk.take(job(steps=40, map_share=1.0))
    child_module._serve(desk, send)
    notes = [one for one in said if one.kind == "note" and one.case == "s3"]
    assert len(notes) == 2, "once on the way, once in the end"
    assert "s3.nii.gz" in notes[0].text
    assert "memory" in notes[0].text
    assert next(one for one in said if one.kind == "finished").step == 40


def test_maps_alone_are_made_with_a_checkpoint(child, job, info, tmp_path):
    sent = job(steps=1)
    child.send(sent)
    child.until_free()
    cases = tuple(info(i) for i in range(5))
    order = Predict(
        checkpoint=f"{sent.run}/last.pt", maps=sent.maps, names=("s3", "s0"), device="cpu", threads=1, cases=cases
    )
    child.send(order, PredictNow(name="s4"))
    child.until_free()
    assert sorted(one.case for one in child.of("map")) == ["s0", "s3", "s4"]
    assert all(Path(one.map_path).is_relative_to(tmp_path / "maps" / one.case) for one in child.of("map"))
    assert child.of("finished")[0].reason == "done"
    child.send(order.model_copy(update={"checkpoint": f"{sent.run}/none.pt"}))
    child.until_free()
    assert "none.pt" in child.of("failed")[0].text


def test_maps_that_are_stopped_do_not_end_a_training(job, info):
    """On the desk's side of the pipe. A stopped training says `finished`, and the window records it of its run."""
    desk, said = Desk(), []
    sent = job(steps=1)
    order = Predict(
        checkpoint=f"{sent.run}/last.pt", maps=sent.maps, names=("s2", "s3"), device="cpu", cases=sent.cases
    )

    def send(report):
        said.append(report)
        if report.kind == "progress" and report.task == "making maps" and report.case == "s3" and order in taken:
            desk.take(Stop())
        if report.kind == "ended":
            desk.take(order if order not in taken else Quit())
            taken.append(order)

    taken = []
    desk.take(sent)
    child_module._serve(desk, send)
    first = kinds(said).index("ended")
    assert [one.reason for one in said[:first] if one.kind == "finished"] == ["budget"]
    assert [one.case for one in said[first:] if one.kind == "map"] == ["s2"]
    assert said[-1].job == "predict"
    assert not [one for one in said[first:] if one.kind == "finished"]


# -- cases ------------------------------------------------------------------------------------------------------


def test_a_case_labelled_meanwhile_joins_and_one_that_leaves_is_used_no_more(child, job, info):
    sent = train_to(child, job(), 2)
    child.send(Cases(changed=(info(2, labelled=True), info(5))))
    joined = child.until(lambda: child.of("note"))[0]
    before = [one.step for one in child.reports[: child.reports.index(joined)] if one.kind == "step"][-1]
    assert joined.text == f"s2 joined the training at step {before}."
    child.send(Cases(gone=("s0", "s1")))
    child.send(PredictNow(name="s0"), PredictNow(name="s5"))
    made = child.until_told("map")
    assert made.case == "s5", "the newcomer has a map, the one that left has none"
    child.until_step(made.step + 2)
    child.send(Cases(gone=("s2",)))
    child.until_free()
    assert "No case has a mask" in child.of("failed")[0].text
    assert saved_step(sent) == child.of("step")[-1].step
    assert checkpoint.load(Path(sent.run) / "last.pt")["trained_on"] == ["s0", "s1", "s2"]


def test_broken_files_are_told_the_rest_goes_on_and_a_better_mask_joins(child, job, info, tmp_path):
    for name in ("torn.nii.gz", "empty.nii.gz"):
        (tmp_path / name).write_bytes(b"no scan")
    gone = CaseInfo(name="gone", scan=str(tmp_path / "gone.nii.gz"))
    torn = CaseInfo(name="torn", scan=str(tmp_path / "torn.nii.gz"))
    wrong = info(2).model_copy(update={"mask": str(tmp_path / "empty.nii.gz")})
    child.send(job(cases=(torn, gone, wrong, *(info(i, labelled=i < 2) for i in (0, 1, 3, 4)))))
    child.until(lambda: len(child.of("unusable")) == 3)
    assert {one.case: one.lasting for one in child.of("unusable")} == {"torn": True, "gone": False, "s2": True}
    assert all(name in "".join(one.reason for one in child.of("unusable")) for name in ("torn.nii.gz", "empty.nii.gz"))
    child.until_step(child.of("step")[-1].step + 2 if child.of("step") else 2)
    child.send(Cases(changed=(info(2, labelled=True),)))
    assert child.until_told("note").text.startswith("s2 joined the training at step")
    assert len(child.of("unusable")) == 3, "each is told once"


def test_a_scan_that_breaks_before_its_map_is_told_and_not_asked_for_again(child, job, info, tmp_path):
    scan = tmp_path / "late.nii.gz"
    scan.write_bytes(Path(info(3).scan).read_bytes())
    sent = job(cases=(*(info(i, labelled=i < 2) for i in range(3)), CaseInfo(name="late", scan=str(scan))))
    train_to(child, sent, 10)
    scan.write_bytes(b"no scan any more")
    child.send(PredictNow(name="late"))
    assert child.until_told("unusable").case == "late"
    child.send(PredictNow(name="late"), PredictNow(name="s2"))
    assert child.until_told("map").case == "s2"
    child.until_step(child.of("step")[-1].step + 1)
    assert len(child.of("unusable")) == 1


def test_a_scan_that_is_away_for_a_while_has_no_map_then_and_stays_in_the_training(child, job, info, tmp_path):
    """The only labelled case among them: training has what it needs of it."""
    scan = tmp_path / "late.nii.gz"
    scan.write_bytes(Path(info(0).scan).read_bytes())
    late = info(0, labelled=True).model_copy(update={"scan": str(scan)})
    sent = job(cases=(late, *(info(i) for i in (1, 2))))
    train_to(child, sent, 10)
    away = scan.rename(tmp_path / "away.nii.gz")
    child.send(PredictNow(name=late.name))
    told = child.until(lambda: [one for one in child.of("note") if one.case == late.name])
    assert "could not be made" in told[0].text
    child.until_step(child.of("step")[-1].step + 2)
    assert not child.of("unusable", "failed")
    away.rename(scan)
    child.send(PredictNow(name=late.name))
    assert child.until(lambda: [one for one in child.of("map") if one.case == late.name])


# -- failures ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "words", "error"),
    [
        ({"device": "cuda:7"}, "'cuda:7' is not here", "DeviceError"),
        ({"cases": ()}, "None of the labelled cases can be read", "TrainingError"),
        ({"config": {"loss": "none"}}, "loss", "SettingError"),
        ({"plan": {"patch": "large"}}, "The plan of run 0001 cannot be read", "CheckpointError"),
        ({"resume": True}, "There is no checkpoint", "CheckpointError"),
    ],
    ids=["device", "cases", "settings", "plan", "checkpoint"],
)
def test_a_job_that_fails_says_so_in_a_sentence_and_the_next_one_is_taken(child, job, fields, words, error):
    child.send(job(**fields))
    child.until_free()
    [failed] = child.of("failed")
    assert words in failed.text
    assert failed.text.endswith(".")
    assert failed.error == error
    assert not child.of("step", "finished")
    child.send(job("0002", steps=1))
    child.until_free()
    assert child.of("finished")[0].step == 1


def test_a_run_whose_folder_is_taken_away_fails_and_does_not_come_back(child, job, tmp_path):
    sent = train_to(child, job(), 2)
    Path(sent.run).rename(tmp_path / "elsewhere")
    child.until_free()
    [failed] = child.of("failed")
    assert failed.text == f"The folder {sent.run} is gone; bring it back, or begin a new run."
    assert not Path(sent.run).exists()


def short_of_memory(*arguments, **named):
    torch.empty(1 << 60)
    yield Finished(reason="budget")


def full_of_faults(*arguments, **named):
    yield Finished(reason="budget")
    raise ZeroDivisionError("no\nway")


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (short_of_memory, "The memory ran out; close other programs and try again."),
        (
            full_of_faults,
            "Something unexpected went wrong (ZeroDivisionError: no way); the log below says where.",
        ),
    ],
)
def test_the_unexpected_is_a_sentence_too_and_its_traceback_in_the_log(job, monkeypatch, capsys, fault, sentence):
    """On the desk's side of the pipe."""
    monkeypatch.setattr(child_module, "train", fault)
    desk, said = Desk(), []

    def send(report):
        said.append(report)
        if report.kind == "ended":
            desk.take(Quit())

    desk.take(job())
    child_module._serve(desk, send)
    assert [one.text for one in said if one.kind == "failed"] == [sentence]
    assert said[-1].kind == "ended"
    assert "Traceback" in capsys.readouterr().err


# -- the pipe ---------------------------------------------------------------------------------------------------


def test_lines_that_are_no_commands_are_passed_over_with_a_warning(child, job):
    for line in (
        b"Hello\n",
        b'{"kind": "dance"}\n',
        b"\xff\xfe\n",
        b'{"kind": "predict now"}\n',
        b"[" * 10_000 + b"\n",
    ):
        child.worker._outbox.put(line)
    child.send(job(steps=1))
    child.until_free()
    assert child.of("finished")[0].step == 1
    assert child.worker.log_tail.count("A command was passed over") == 5
    assert "dance" in child.worker.log_tail


NOISY = """
import os
from napari_bcp.worker import child
train = child.train

def noisy(*arguments, **named):
    print('{"kind": "ready", "pid": 1}')
    os.write(1, b'{"kind": "failed", "text": "from a library in C"}\\n')
    os.system("echo from another program")
    for event in train(*arguments, **named):
        print("no end of line", end="")
        yield event

child.train = noisy
child.main()
"""


@pytest.fixture
def noisy_child():
    """A child in which libraries print whatever they like; killed in the end if it still runs."""
    noisy = Child(Worker((sys.executable, "-c", NOISY)))
    yield noisy
    noisy.worker.kill()
    noisy.until_gone()


def test_what_a_library_prints_does_not_come_between_the_reports(noisy_child, job):
    noisy_child.until_told("ready")
    noisy_child.send(job(steps=3))
    noisy_child.until_free()
    assert [one.step for one in noisy_child.of("step")] == [1, 2, 3]
    assert not noisy_child.of("failed", "ready")

    def log():
        return noisy_child.worker.log_tail

    parts = ('"pid": 1', "library in C", "another program")
    until(lambda: all(part in log() for part in parts), log=log)
    assert "passed over" not in log()


# -- the end ----------------------------------------------------------------------------------------------------


def test_its_input_at_an_end_it_saves_and_ends(start, job):
    child = start()
    sent = train_to(child, job(), 2)
    child.worker._outbox.put(None)  # closes the pipe without a word
    child.until_gone()
    assert child.worker.exit_code == 0, child.worker.log_tail
    assert child.of("finished")[0].reason == "stopped"
    assert saved_step(sent) == child.of("step")[-1].step


def test_asked_to_end_by_the_system_it_saves_and_ends(noisy_child, job):
    child = noisy_child
    sent = train_to(child, job(), 2)
    os.kill(child.worker.pid, signal.SIGTERM)
    child.until_gone()
    assert child.worker.exit_code == 0, child.worker.log_tail
    assert child.of("finished")[0].reason == "stopped"
    assert saved_step(sent) == child.of("step")[-1].step


def has_ended(pid):
    """Return whether a process is gone; one that nobody has buried yet is."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_its_parent_killed_it_saves_and_ends(job):
    sent = job()
    parent = subprocess.Popen(
        [sys.executable, str(PARENT), sent.model_dump_json()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    line = ""
    try:
        line = parent.stdout.readline()
    finally:
        parent.kill()
        _, errors = parent.communicate()
    assert line, errors
    pid, step = map(int, line.split())
    until(lambda: has_ended(pid))
    assert saved_step(sent) >= step


def test_killed_itself_it_leaves_a_whole_checkpoint_from_which_another_goes_on(start, child, job):
    victim = start()
    sent = job(save_every=1e-3)
    victim.send(sent)
    victim.until(lambda: len(victim.of("saved")) >= 3)
    plan = victim.of("planned")[0].plan
    victim.worker.kill()
    victim.until_gone()
    assert not victim.worker.running
    assert victim.worker.exit_code == -signal.SIGKILL
    step = saved_step(sent)
    assert step >= victim.of("saved")[-1].step
    assert not victim.of("finished", "ended", "failed")
    child.send(sent.model_copy(update={"resume": True, "plan": plan, "steps": 2}))
    child.until_free()
    assert child.of("planned")[0].step == step
    assert [one.step for one in child.of("step")] == [step + 1, step + 2]


@pytest.mark.parametrize(("error", "served"), [(DeviceLostError, 1), (DeviceError, 2)])
def test_a_child_whose_graphics_card_is_lost_ends_and_leaves_the_next_job_to_another(monkeypatch, error, served):
    jobs = [Predict(checkpoint="c", maps="m", names=(), device="cpu", threads=None, cases=()) for _ in range(2)]
    desk, sent = SimpleNamespace(next_job=lambda: jobs.pop() if jobs else None), []

    def fails(job, desk):
        yield Finished(reason="done")
        raise error("The card has failed.")

    monkeypatch.setattr(child_module, "_predict", fails)
    child_module._serve(desk, sent.append)
    assert [report.kind for report in sent] == ["ready", *(served * ["finished", "failed", "ended"])]
    assert len(jobs) == 2 - served
