"""What parent and child say to each other: a line each, read back as it was, and nothing else is believed."""

import json
import math
from contextlib import suppress
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from napari_bcp import events
from napari_bcp.config import PRESETS, make_config
from napari_bcp.worker import messages
from napari_bcp.worker.messages import CaseInfo, Train, UnknownLineError, decode_command, decode_report, encode

CASES = (
    CaseInfo(name="Mueller_2", scan="/a b/ü\n.nii.gz", mask="/m.nii.gz", shape=(3, 4, 5), spacing=(1.0, 0.5, 2.0)),
    CaseInfo(name="b", scan="/b.nii", map_run="0001", map_step=7),
)
COMMANDS = [
    Train(run="/r", cache="/c", maps="/m", config={"spacing": None, "lr": 0.1}, classes=(1, 3), minutes=2, cases=CASES),
    Train(
        run="/r", cache="/c", maps="/m", config={}, plan={"patch": [1, 2]}, classes=(), steps=3, resume=True, cases=()
    ),
    messages.Predict(checkpoint="/r/last.pt", maps="/m", names=("b",), cases=CASES),
    messages.Cases(changed=CASES, gone=("x",)),
    messages.Attend(visible="b", proposed=("c", "d")),
    messages.PredictNow(name="b"),
    messages.Pause(),
    messages.Resume(),
    messages.Stop(),
    messages.Quit(),
]
REPORTS = [
    events.Progress(task="making maps", done=1, total=2, case="a", eta_s=0.5),
    events.Note(text='two\nlines and a "quote"'),
    events.CaseUnusable(case="a", reason="torn", lasting=False),
    events.Planned(run="1", plan={"a": [1]}, settings={"spacing": None}, labelled=1, unlabelled=2, step=0),
    events.Step(step=1, stage=2, loss=0.1, lr=1e-3, elapsed_s=1, steps_per_s=2, share=0.5, agreement=0.25),
    events.Validated(step=1, dice={1: 0.5, 3: 0.25}, best=True),
    events.Saved(step=1, path="/r/last.pt"),
    events.MapMade(
        case="a",
        run="1",
        step=1,
        map_path="/m",
        pseudo_path="/p",
        quality={1: None, 3: 0.5},
        entropy=0.1,
        volume_ml={1: 2.0},
        islands={1: 0},
        seconds=1.5,
    ),
    events.Finished(reason="stopped", step=3, elapsed_s=4),
    events.Paused(step=1),
    events.Resumed(step=1),
    events.Vitals(device="cpu", threads=2, memory_mb=300.5),
    messages.Ready(pid=12),
    messages.Failed(text="A sentence.", error="TrainingError"),
    messages.Ended(job="train"),
]


def kinds_of(union):
    return {member.model_fields["kind"].default for member in get_args(get_args(union)[0])}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda one: one.kind)
def test_a_command_is_one_line_that_is_read_back_as_it_was(command):
    line = encode(command)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode_command(line) == command


@pytest.mark.parametrize("report", REPORTS, ids=lambda one: one.kind)
def test_a_report_is_one_line_that_is_read_back_as_it_was(report):
    line = encode(report)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode_report(line) == report


def test_the_examples_above_are_all_that_can_be_said():
    assert {one.kind for one in COMMANDS} == kinds_of(messages.Command)
    assert {one.kind for one in REPORTS} == kinds_of(messages.Report)


def test_whatever_a_run_may_report_can_be_told():
    assert kinds_of(events.Event) <= kinds_of(messages.Report)


@pytest.mark.parametrize("preset", PRESETS)
def test_settings_come_through_also_those_left_to_the_plan(preset):
    config = make_config(preset, {"lr": 0.123})
    job = Train(run="", cache="", maps="", config=config.model_dump(mode="json"), classes=(1,), cases=())
    assert make_config("quick", decode_command(encode(job)).config) == config


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"Hello",
        b"\xff\xfe\x00",
        b"17",
        b"null",
        b"[]",
        b"{}",
        b'{"kind": "dance"}',
        b'{"kind": ["stop"]}',
        b'{"kind": "predict now"}',
        b'{"kind": "predict now", "name": 5}',
        b'{"kind": "stop"',
        b'{"kind": "stop"} {"kind": "stop"}',
        b'{"kind": "ready", "pid": "many"}',
        b"[" * 100_000,
    ],
    ids=range(16),
)
def test_what_is_no_message_is_refused_with_its_beginning(line):
    for decode in (decode_command, decode_report):
        with pytest.raises(UnknownLineError) as refused:
            decode(line)
        assert repr(line[:60].decode(errors="replace"))[:-1] in str(refused.value)
        assert len(str(refused.value)) < 1000
        assert "\n" not in str(refused.value)


def test_a_report_is_no_command_and_a_command_no_report():
    for command in COMMANDS:
        with pytest.raises(UnknownLineError):
            decode_report(encode(command))
    for report in REPORTS:
        with pytest.raises(UnknownLineError):
            decode_command(encode(report))


def test_a_field_that_a_newer_side_adds_is_passed_over():
    assert decode_command(b'{"kind": "predict now", "name": "a", "haste": 3}') == messages.PredictNow(name="a")
    assert decode_report(b'{"kind": "ready", "pid": 5, "version": 2, "colour": "red"}').version == 2


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_of_the_time_lies_between_none_and_all_of_it(share):
    with pytest.raises(ValidationError):
        Train(run="", cache="", maps="", config={}, classes=(1,), cases=(), map_share=share)


@pytest.mark.parametrize("more", [{"minutes": math.nan}, {"minutes": 0}, {"steps": -1}, {"threads": 0}])
def test_a_budget_is_more_than_nothing(more):
    """Time that is no number would make a learning rate that is none, and weights."""
    line = json.dumps({"kind": "train", "run": "", "cache": "", "maps": "", "config": {}, "classes": [1], "cases": []})
    assert decode_command(line.encode())
    with pytest.raises(UnknownLineError):
        decode_command(json.dumps({**json.loads(line), **more}).encode())


@pytest.mark.parametrize("name", ["../../x", "/x", "", "a/b", ".hidden"])
def test_a_case_whose_name_would_lead_out_of_the_pool_is_refused(name):
    line = {"kind": "cases", "changed": [{"name": name, "scan": "a.nii"}]}
    with pytest.raises(UnknownLineError, match="cannot be the name of a case"):
        decode_command(json.dumps(line).encode())


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
EXAMPLES = {json.loads(encode(one))["kind"]: json.loads(encode(one)) for one in [*COMMANDS, *REPORTS]}


@given(line=st.binary(max_size=300) | JSON.map(lambda value: json.dumps(value).encode()))
@settings(deadline=None)
def test_any_line_is_a_message_or_refused(line):
    for decode in (decode_command, decode_report):
        with suppress(UnknownLineError):
            decode(line)


@given(kind=st.sampled_from(sorted(EXAMPLES)), choice=st.data())
@settings(deadline=None)
def test_a_known_kind_with_any_values_is_a_message_or_refused(kind, choice):
    message = dict(EXAMPLES[kind])
    for name in choice.draw(st.lists(st.sampled_from(sorted(message)), max_size=3)):
        message[name] = choice.draw(JSON)
    line = json.dumps({**message, "kind": kind}).encode()
    for decode in (decode_command, decode_report):
        with suppress(UnknownLineError):
            decode(line)
