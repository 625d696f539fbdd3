"""Commands with the real verbs behind them, on a tiny phantom cohort."""

import json
import signal
import subprocess
import sys

import pytest

from napari_bcp.scans.phantom import write_cohort


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Return a folder with three tiny scans, two of them with masks."""
    return write_cohort(tmp_path_factory.mktemp("cohort"), cases=3, labelled=2, size="tiny")


@pytest.fixture
def pool(cohort, tmp_path, command):
    """Return a new pool of the cohort."""
    folder = tmp_path / "pool"
    files = ["--images", cohort / "images", "--labels", cohort / "labels", "--classes", cohort / "classes.json"]
    made = command("new", folder, *files)
    assert "3 cases (1 unlabelled, 2 accepted)" in made.out
    return folder


@pytest.fixture
def quickly(small_training):
    """Return the options for a training that takes no time."""
    settings = [text for name, value in small_training.items() for text in ("--set", f"{name}={json.dumps(value)}")]
    return [*settings, "--device", "cpu"]


def test_the_commands_lead_from_scans_to_a_table(command, pool, cohort, tmp_path, quickly):
    """Each takes up what the one before left."""
    assert "The run has 2 steps" in command("train", pool, "--steps", 2, *quickly).out
    assert "1 case segmented" in command("predict", pool, "--device", "cpu").out
    found = json.loads(command("status", pool, "--json").out)
    assert {one["name"]: one["status"] for one in found["cases"]} == {
        "phantom_000": "accepted",
        "phantom_001": "accepted",
        "phantom_002": "predicted",
    }
    assert command("export", pool, tmp_path / "out").code == 0
    pseudo = tmp_path / "out" / "pseudo"
    measured = command("evaluate", pseudo, cohort / "truth", "--json", tmp_path / "report.json")
    assert measured.code == 0
    assert json.loads((tmp_path / "report.json").read_text())["missing"] == ["phantom_000", "phantom_001"]
    accepted = command("accept", pool, "phantom_002", pseudo / "phantom_002.nii.gz")
    assert accepted.out == "phantom_002 is accepted, version 1.\n"
    image = cohort / "images" / "phantom_001.nii.gz"
    assert command("segment", pool, image, "-o", tmp_path / "masks", "--probabilities").code == 0
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == [
        "phantom_001.nii.gz",
        *(f"phantom_001_prob_{value}.nii.gz" for value in (1, 2, 3)),
    ]


def test_errors_of_the_verbs_reach_the_user_as_sentences(command, pool, tmp_path):
    """One of each kind that is easily met."""
    assert command("status", tmp_path / "nowhere").code == 4
    assert command("new", pool, "--images", tmp_path).code == 4
    assert command("train", pool, "--set", "los=dml").err.startswith("There is no setting 'los'; did you mean 'loss'?")
    assert command("train", pool, "--device", "cuda:99", "--steps", 1).code == 7
    assert command("predict", pool).code == 6
    assert command("accept", pool, "phantom_03", tmp_path / "a.nii").code == 4
    assert command("segment", pool, "-o", tmp_path).code == 2


def test_an_interrupted_training_goes_on_where_it_was(pool, quickly):
    """With a real process and a real Ctrl-C; meanwhile nobody else may write."""

    def napari_bcp(*arguments):
        line = [sys.executable, "-m", "napari_bcp", *map(str, arguments)]
        return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    running = napari_bcp("train", pool, "--steps", 100_000, "--json", *quickly)
    try:
        while json.loads(running.stdout.readline())["kind"] != "step":
            pass
        second = napari_bcp("accept", pool, "phantom_002", pool)
        assert "process" in second.communicate()[1]
        assert second.returncode == 5
        running.send_signal(signal.SIGINT)
        *_, finished, result = map(json.loads, running.communicate()[0].splitlines())
    finally:
        running.kill()
    assert running.returncode == 130
    assert finished["reason"] == "stopped"
    assert f"napari-bcp train {pool}" in result["text"]
    again, _ = napari_bcp("train", pool, "--steps", 1, "--json", *quickly).communicate()
    events = [json.loads(line) for line in again.splitlines()]
    assert next(one["step"] for one in events if one["kind"] == "planned") == finished["step"]
    assert next(one["step"] for one in reversed(events) if one["kind"] == "finished") == finished["step"] + 1
