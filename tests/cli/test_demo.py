"""The demonstration."""

import pytest

from napari_bcp.cli.console import open_display
from napari_bcp.cli.demo import evenly, run_demo
from napari_bcp.pool.sample import MARKER, open_sample
from napari_bcp.scans.phantom import write_cohort


def test_the_demo_goes_from_made_up_scans_to_pictures_and_can_be_repeated(tmp_path, capsys, small_training):
    """A second call goes on training in the same pool."""
    training = {"steps": 2, "settings": small_training}
    for _ in range(2):
        with open_display() as display:
            assert run_demo(tmp_path / "demo", training, "cpu", display, cases=5, size="tiny")
        out, err = capsys.readouterr()
        assert "On the 1 case that had no mask" in out
        assert "liver" in out
    assert "Run 0001 goes on after step 2" in err
    assert (tmp_path / "demo" / "sheet.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "demo" / "table.csv").read_text().startswith("case,class")


@pytest.mark.parametrize("window", ["--window", "--no-window"])
def test_the_demo_wants_some_time(command, tmp_path, window):
    done = command("demo", tmp_path / "demo", "--minutes", "0", window)
    assert (done.code, done.err) == (2, "The time must be greater than zero; give --minutes 1, for example.\n")
    assert not (tmp_path / "demo").exists()


def test_the_demo_leaves_other_folders_alone(command, tmp_path):
    """Somebody's own scans may lie where the default points to."""
    (tmp_path / "thesis.txt").write_text("four years")
    done = command("demo", tmp_path, "--no-window")
    assert done.code == 4
    assert "holds something else" in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("mine", ["images/patient.nii.gz", "labels/patient.nii.gz", "classes.json", "pool/pool.sqlite"])
def test_a_folder_that_is_only_named_like_a_sample_is_left_alone(command, tmp_path, mine):
    """Somebody's own pool and scans have these names, too."""
    (tmp_path / mine).parent.mkdir(exist_ok=True)
    (tmp_path / mine).write_text("mine")
    if mine.startswith("labels"):
        (tmp_path / "images").mkdir()
        (tmp_path / "images" / "phantom_000.nii.gz").write_text("a copy")
    before = sorted(tmp_path.rglob("*"))
    done = command("demo", tmp_path, "--no-window")
    assert done.code == 4
    assert done.err == f"{tmp_path} holds something else; name a new folder for the sample.\n"
    assert sorted(tmp_path.rglob("*")) == before


def test_a_sample_is_known_by_its_marker_and_one_of_an_earlier_version_by_its_scans(tmp_path):
    """And what was begun is gone on with."""
    with open_sample(tmp_path / "new", lambda *_: None, cases=2, size="tiny") as pool:
        scans = [case.path.name for case in pool.cases()]
    (tmp_path / "new" / "notes.txt").write_text("what I saw")
    (tmp_path / "new" / "images" / "mine.nii.gz").write_text("mine")
    with open_sample(tmp_path / "new", lambda *_: None) as pool:
        assert [case.path.name for case in pool.cases()] == scans
    write_cohort(tmp_path / "old", 2, 1, 0, "tiny")
    with open_sample(tmp_path / "old", lambda *_: None, cases=2, size="tiny") as pool:
        assert len(pool.cases()) == 2
    assert (tmp_path / "old" / MARKER).exists()


@pytest.mark.parametrize(("many", "expected"), [(3, [0, 1, 2]), (6, [0, 1, 2, 3, 4, 5]), (20, [0, 4, 8, 11, 15, 19])])
def test_the_sheet_shows_the_best_the_worst_and_some_between(many, expected):
    """All of them if they are few."""
    assert evenly(list(range(many)), 6) == expected


def test_a_demo_whose_cases_are_all_accepted_says_so(tmp_path, capsys, small_training):
    """Somebody went through them in the window."""
    with open_sample(tmp_path / "demo", lambda *_: None, cases=3, size="tiny") as pool:
        for case in pool.cases("unlabelled"):
            pool.accept(case.name, tmp_path / "demo" / "truth" / case.path.name)
    with open_display() as display:
        assert run_demo(tmp_path / "demo", {"steps": 1, "settings": small_training}, "cpu", display)
    assert "there is nothing to measure" in capsys.readouterr().out
    assert not (tmp_path / "demo" / "sheet.png").exists()
