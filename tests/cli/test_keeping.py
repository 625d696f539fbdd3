"""Commands for cases and classes, with the real verbs behind them."""

import json
import shutil

import pytest

import napari_bcp
from napari_bcp.scans.phantom import write_cohort

from mapped import put_map  # isort: skip

MASKED, FIRST, SECOND = "phantom_000", "phantom_001", "phantom_002"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A folder with three tiny scans, one of them with a mask, for reading only."""
    return write_cohort(tmp_path_factory.mktemp("phantom"), cases=3, labelled=1, size="tiny")


@pytest.fixture
def cohort(drawn, tmp_path):
    """A copy of the folder that the test may change."""
    return shutil.copytree(drawn, tmp_path / "cohort")


@pytest.fixture
def pool(cohort):
    """The folder of a pool of these."""
    folder = cohort / "pool"
    napari_bcp.new_pool(folder, cohort / "images", cohort / "labels", cohort / "classes.json").close()
    return folder


@pytest.fixture
def predicted(pool):
    """The pool, with a map of either case that has no mask; of the second one class was not found."""
    with napari_bcp.open_pool(pool, write=True) as opened:
        put_map(opened, FIRST, {1: 0.9, 2: 0.97, 3: 0.95})
        put_map(opened, SECOND, {1: 0.9, 2: None, 3: 0.95})
    return pool


def statuses(pool):
    return {case["name"]: case["status"] for case in napari_bcp.status(pool)["cases"]}


def lines(text):
    """Return the lines of a table without its heading, each as its words."""
    return [line.split() for line in text.splitlines()[1:]]


# -- classes ----------------------------------------------------------------------------------------------------


def test_classes_are_listed_renamed_and_added(command, pool):
    listed = command("classes", pool)
    assert (listed.code, listed.err) == (0, "")
    assert [line[:2] for line in lines(listed.out)] == [["1", "liver"], ["2", "stomach"], ["3", "aorta"]]
    renamed = command("classes", pool, "1=hepar")
    assert (renamed.code, renamed.err) == (0, "")
    assert lines(renamed.out)[0][:2] == ["1", "hepar"]
    added = command("classes", pool, "7=a small tumour:#cc79a7")
    assert added.code == 0
    assert lines(added.out)[-1] == ["7", "a", "small", "tumour", "#cc79a7"]
    assert "have no a small tumour: reopen the cases that show it" in added.err
    assert command("classes", pool).out == added.out


@pytest.mark.parametrize("word", ["4=stomach", "4", "x=tumour", "0=air", "4=", "4=tumour:#xyz"])
def test_a_class_that_cannot_be_is_refused_in_a_sentence(command, pool, word):
    before = command("classes", pool).out
    done = command("classes", pool, "1=hepar", word)
    assert (done.code, done.out) == (2, "")
    assert done.err.count("\n") == 1
    assert command("classes", pool).out == before


def test_a_pool_without_classes_says_so(command, cohort):
    command("new", cohort / "empty", "--images", cohort / "images")
    done = command("classes", cohort / "empty")
    assert (done.code, done.err) == (0, "")
    assert "has no classes yet" in done.out
    assert lines("\n" + command("classes", cohort / "empty", "1=liver").out)[-1][:2] == ["1", "liver"]


# -- more scans -------------------------------------------------------------------------------------------------


def test_scans_that_join_are_counted_without_those_that_cannot_be_used(command, pool, cohort, tmp_path):
    more = tmp_path / "more"
    more.mkdir()
    (more / "broken.nii.gz").write_bytes(b"nonsense")
    nothing = command("add", pool, "--images", more)
    assert nothing.code == 3
    assert nothing.out == f"0 cases joined the pool {pool}, 1 left out.\n"
    assert nothing.err.splitlines()[-1].startswith("broken is left out: ")
    assert command("add", pool, "--images", more).code == 0, "nothing is new, and so nothing is wrong"
    (more / "torn.nii.gz").write_bytes(b"nonsense")
    (more / "late.nii.gz").write_bytes((cohort / "images" / f"{FIRST}.nii.gz").read_bytes())
    done = command("add", pool, "--images", more, "--json")
    assert done.code == 0
    events = [json.loads(line) for line in done.out.splitlines()]
    assert [event["case"] for event in events if event["kind"] == "unusable"] == ["torn"]
    assert events[-1] == {"kind": "note", "text": f"1 case joined the pool {pool}, 1 left out.", "case": None}


def test_masks_of_known_cases_are_something_done_beside_a_scan_that_cannot_be_used(command, pool, cohort):
    (cohort / "images" / "broken.nii.gz").write_bytes(b"nonsense")
    done = command("add", pool, "--images", cohort / "images", "--labels", cohort / "truth")
    assert done.code == 0
    assert "Masks taken in for cases that had none: 2." in done.err


# -- the labelling loop -----------------------------------------------------------------------------------------


def test_the_loop_runs_from_a_shell(command, predicted):
    """What to look at, a verdict on it, and what to look at then."""
    first, second = json.loads(command("propose", predicted, "--json").out)
    assert {first["name"], second["name"]} == {FIRST, SECOND}
    assert set(first) == {"name", "kind", "score", "reason"}
    shown = command("propose", predicted, "--number", 1).out
    assert first["name"] in shown
    assert first["reason"] in " ".join(shown.split())
    assert second["name"] not in shown
    assert command("reject", predicted, first["name"]).out == "1 case rejected.\n"
    assert [one["name"] for one in json.loads(command("propose", predicted, "--json").out)] == [
        second["name"],
        first["name"],
    ]
    assert command("accept", predicted, second["name"], "--pseudo-label").out.endswith(" is accepted, version 1.\n")
    assert command("reopen", predicted, MASKED, second["name"]).out == "2 cases reopened.\n"
    assert statuses(predicted) == {MASKED: "draft", first["name"]: "predicted", second["name"]: "draft"}


def test_where_nothing_waits_that_is_said(command, predicted):
    for name in (FIRST, SECOND):
        command("accept", predicted, name, "--pseudo-label")
    assert command("propose", predicted).out == "No case waits for a verdict.\n"
    assert json.loads(command("propose", predicted, "--json").out) == []


def test_the_rule_takes_what_is_above(command, predicted):
    assert command("accept-above", predicted, "0.91").out == "0 cases accepted by the rule.\n"
    assert command("accept-above", predicted, "0.9").out == "1 case accepted by the rule.\n"
    assert statuses(predicted) == {MASKED: "accepted", FIRST: "accepted", SECOND: "predicted"}
    assert command("accept-above", predicted, "95").code == 2


def test_where_the_rule_could_take_nothing_the_command_fails(command, predicted):
    with napari_bcp.open_pool(predicted) as opened:
        opened.case(FIRST).map.pseudo_path.unlink()
    done = command("accept-above", predicted, "0.9")
    assert (done.code, done.out) == (3, "0 cases accepted by the rule, 1 left out.\n")
    assert f"{FIRST}" in done.err


@pytest.mark.parametrize("words", [(), ("mask.nii.gz", "--pseudo-label")])
def test_a_verdict_is_on_a_mask_or_on_the_pseudo_label(command, predicted, words):
    done = command("accept", predicted, FIRST, *words)
    assert done.code == 2
    assert "--pseudo-label" in done.err
