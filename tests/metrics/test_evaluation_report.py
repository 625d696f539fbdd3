"""The table of measures, its means and files, and the folders that fill it."""

import csv
import json
import math
import os
import warnings
from pathlib import Path

import nibabel
import numpy as np
import pytest

from napari_bcp.errors import MaskError
from napari_bcp.metrics import Report, Row, Summary, evaluate_folder

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from medpy.metric import binary as medpy


def row(case, value, status="found", **measures):
    names = ("dice", "jaccard", "hd95_pooled", "asd")
    return Row(case, value, status, {name: measures.get(name, math.nan) for name in names})


@pytest.fixture
def report():
    """Three cases with two classes; class 2 is missed once, made up once and absent once."""
    rows = [
        row("a", 1, dice=0.8, jaccard=0.6, hd95_pooled=3.0, asd=1.0),
        row("a", 2, "missed", dice=0.0, jaccard=0.0),
        row("b", 1, dice=0.9, jaccard=0.8, hd95_pooled=5.0, asd=2.0),
        row("b", 2, "false alarm", dice=0.0, jaccard=0.0),
        row("c", 1, dice=1.0, jaccard=1.0, hd95_pooled=0.0, asd=0.0),
        row("c", 2, "absent"),
    ]
    return Report("paper", {1: "atrium", 2: "clot"}, rows, ["d"], {"e": "e.nii.gz is broken: mend it."}, ["f"])


@pytest.fixture
def folders(tmp_path):
    """A function that writes masks into the folders guess and truth, and the folders."""
    for name in ("guess", "truth"):
        (tmp_path / name).mkdir()

    def write(side, name, voxels, spacing=(1.0, 1.0, 1.0)):
        image = nibabel.Nifti1Image(voxels, np.diag([*spacing, 1.0]))
        image.header.set_xyzt_units("mm")
        nibabel.save(image, tmp_path / side / name)

    return write, tmp_path / "guess", tmp_path / "truth"


def cube(start, value=1, shape=(12, 12, 8)):
    voxels = np.zeros(shape, np.uint8)
    voxels[start : start + 4, 2:6, 2:6] = value
    return voxels


def test_means_leave_the_undefined_out_and_count_it(report):
    found = {(line.value, line.measure): line for line in report.summary()}
    assert found[1, "dice"] == Summary(1, "dice", pytest.approx(0.9), pytest.approx(0.1), 3, 0, 0, 0)
    assert found[2, "dice"] == Summary(2, "dice", 0.0, 0.0, 2, 1, 1, 1)
    distance = found[2, "asd"]
    assert (distance.n, distance.undefined) == (0, 3)
    assert math.isnan(distance.mean)
    assert math.isnan(distance.sd)


def test_over_all_classes_each_value_counts_once(report):
    found = {(line.value, line.measure): line for line in report.summary()}
    overall = found[None, "dice"]
    assert overall.mean == pytest.approx(2.7 / 5)
    assert (overall.n, overall.undefined, overall.misses, overall.false_alarms) == (5, 1, 1, 1)
    assert found[None, "asd"].mean == found[1, "asd"].mean


def test_a_single_class_needs_no_line_for_all():
    report = Report("paper", {1: "atrium"}, [row("a", 1, dice=0.5, jaccard=0.4)])
    assert [line.value for line in report.summary()] == [1] * 4


def test_one_value_has_a_mean_but_no_deviation():
    report = Report("paper", {1: "atrium"}, [row("a", 1, dice=0.5)])
    assert report.summary_rows()[0]["mean ± SD"] == "0.500 ± –"


def test_lines_for_printing_have_the_same_keys_and_plain_text(report):
    lines = report.summary_rows()
    assert len(lines) == 3 * 4
    assert lines[0] == {
        "class": "atrium",
        "measure": "Dice",
        "mean ± SD": "0.900 ± 0.100",
        "n": "3",
        "undefined": "0",
        "misses": "0",
        "false alarms": "0",
    }
    assert {tuple(line) for line in lines} == {tuple(lines[0])}
    assert [line["class"] for line in lines[::4]] == ["atrium", "clot", "all"]


def test_a_report_without_rows_has_no_lines():
    assert Report().summary_rows() == []


def test_json_holds_everything_and_null_for_the_undefined(report, tmp_path):
    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    report.to_json(tmp_path / "out.json")
    content = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"), parse_constant=refuse)
    assert content["mode"] == "paper"
    assert content["classes"] == {"1": "atrium", "2": "clot"}
    assert (content["missing"], content["extra"]) == (["d"], ["f"])
    assert content["refused"] == {"e": "e.nii.gz is broken: mend it."}
    assert content["cases"][1] == {
        "case": "a",
        "class": 2,
        "status": "missed",
        "dice": 0.0,
        "jaccard": 0.0,
        "hd95_pooled": None,
        "asd": None,
    }
    assert len(content["cases"]) == 6
    assert len(content["summary"]) == 12
    assert content["summary"][-1] == {
        "class": None,
        "measure": "asd",
        "mean": 1.0,
        "sd": 1.0,
        "n": 3,
        "undefined": 3,
        "misses": 1,
        "false_alarms": 1,
    }


def test_csv_has_a_line_for_each_class_of_each_case_and_the_reason_for_the_rest(report, tmp_path):
    report.to_csv(tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 8
    assert lines[0]["dice"] == "0.8"
    assert (lines[1]["name"], lines[1]["status"], lines[1]["asd"]) == ("clot", "missed", "")
    assert (lines[6]["case"], lines[6]["status"]) == ("d", "missing")
    assert lines[7]["note"] == "e.nii.gz is broken: mend it."


@pytest.mark.parametrize("write", ["to_json", "to_csv"])
def test_a_file_that_cannot_be_written_leaves_the_old_one(report, tmp_path, write, monkeypatch):
    target = tmp_path / "out"
    target.write_text("before")
    monkeypatch.setattr("napari_bcp.files.os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        getattr(report, write)(target)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("out", "before")]


def test_files_are_paired_by_name_and_measured_in_mm(folders):
    write, guess, truth = folders
    write("truth", "a.nii.gz", cube(2), spacing=(2.5, 1, 1))
    write("guess", "a.NII", cube(3), spacing=(2.5, 1, 1))
    report = evaluate_folder(guess, truth)
    (found,) = report.rows
    assert (found.case, found.value, found.status) == ("a", 1, "found")
    assert (found.measures["dice"], found.measures["hd"]) == (0.75, 2.5)
    assert report.classes == {1: "class 1"}


def test_in_paper_mode_the_spacing_is_not_used(folders):
    write, guess, truth = folders
    write("truth", "a.nii.gz", cube(2), spacing=(2.5, 1, 1))
    write("guess", "a.nii.gz", cube(3), spacing=(2.5, 1, 1))
    report = evaluate_folder(guess, truth, paper=True)
    assert report.mode == "paper"
    assert report.rows[0].measures["hd95_pooled"] == 1.0


def test_masks_whose_files_store_the_axes_differently_are_compared_in_space(folders):
    """The same body, once stored from left to right and once from right to left."""
    write, guess, truth = folders
    write("truth", "a.nii.gz", cube(2))
    turned = nibabel.Nifti1Image(
        cube(2)[::-1].copy(), np.array([[-1, 0, 0, 11], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    )
    nibabel.save(turned, guess / "a.nii.gz")
    assert evaluate_folder(guess, truth).rows[0].measures["dice"] == 1.0


def test_what_cannot_be_measured_is_listed_and_the_rest_goes_on(folders):
    write, guess, truth = folders
    for name in "abcde":
        write("truth", f"{name}.nii.gz", cube(2))
    write("guess", "a.nii.gz", cube(2))
    write("guess", "b.nii.gz", cube(2, shape=(12, 12, 9)))
    (guess / "c.nii.gz").write_bytes(b"nothing")
    write("guess", "e.nii.gz", cube(2))
    write("guess", "e.nii", cube(2))
    write("guess", "z.nii.gz", cube(2))
    (guess / ".a.nii.gz").write_bytes(b"hidden")
    (guess / "notes.txt").write_text("not a mask")
    done = []
    report = evaluate_folder(guess, truth, progress=lambda *step: done.append(step))
    assert [found.case for found in report.rows] == ["a"]
    assert report.missing == ["d"]
    assert report.extra == ["z"]
    assert list(report.refused) == ["b", "c", "e"]
    assert str(guess) in report.refused["b"]
    assert "12 × 12 × 9" in report.refused["b"]
    assert "keep one" in report.refused["e"]
    for case in "bce":
        assert report.refused[case].startswith(f"{guess / case}.nii")
    assert done == [(number, 5, name) for number, name in enumerate("abcde", start=1)]


def test_a_broken_truth_refuses_its_case_alone(folders):
    write, guess, truth = folders
    write("truth", "a.nii.gz", cube(2))
    (truth / "b.nii.gz").write_bytes(b"nothing")
    for name in "ab":
        write("guess", f"{name}.nii.gz", cube(2))
    report = evaluate_folder(guess, truth)
    assert [found.case for found in report.rows] == ["a"]
    assert str(truth) in report.refused["b"]


def test_every_measured_case_has_a_row_for_every_class(folders):
    """Also the case in which both masks are empty."""
    write, guess, truth = folders
    write("truth", "a.nii.gz", cube(2, value=3))
    write("guess", "a.nii.gz", cube(2, value=7))
    for side in ("truth", "guess"):
        write(side, "b.nii.gz", cube(2, value=0))
    report = evaluate_folder(guess, truth)
    assert [(found.case, found.value, found.status) for found in report.rows] == [
        ("a", 3, "missed"),
        ("a", 7, "false alarm"),
        ("b", 3, "absent"),
        ("b", 7, "absent"),
    ]
    assert {n: v for n, v in report.rows[-1].measures.items() if not math.isnan(v)} == {"specificity": 1.0}


def test_classes_may_be_named_and_then_only_they_are_measured(folders):
    write, guess, truth = folders
    write("truth", "a.nii.gz", cube(2, value=1))
    write("guess", "a.nii.gz", cube(6, value=2))
    report = evaluate_folder(guess, truth, classes={1: "atrium", 5: "clot"})
    assert [(found.value, found.status) for found in report.rows] == [(1, "missed"), (5, "absent")]
    assert report.summary_rows()[0]["class"] == "atrium"
    assert evaluate_folder(guess, truth, classes=[2]).classes == {2: "class 2"}


def test_a_folder_that_is_not_there_or_holds_no_masks_is_named(folders):
    write, guess, truth = folders
    with pytest.raises(MaskError, match="no mask"):
        evaluate_folder(guess, truth)
    with pytest.raises(MaskError, match=r"no folder .*nowhere"):
        evaluate_folder(guess / "nowhere", truth)
    write("truth", "a.nii.gz", cube(2))
    with pytest.raises(MaskError, match=r"guess holds no mask .* masks to measure"):
        evaluate_folder(guess, truth)


def test_the_masks_of_an_export_are_pointed_to(folders):
    """They lie in two folders of it."""
    write, guess, truth = folders
    write("truth", "a.nii.gz", cube(2))
    for name in ("accepted", "pseudo", "empty"):
        (guess / name).mkdir()
    write("guess", "accepted/a.nii.gz", cube(2))
    write("guess", "pseudo/b.nii.gz", cube(2))
    (guess / "imagesTr").mkdir()
    write("guess", "imagesTr/a_0000.nii.gz", cube(2))
    with pytest.raises(MaskError, match=r"its subfolders do: name one of them \(accepted, pseudo\)\.$"):
        evaluate_folder(guess, truth)
    assert evaluate_folder(guess / "accepted", truth).rows


@pytest.mark.real
def test_expert_masks_compared_with_themselves_are_perfect_and_a_step_aside_is_as_medpy_says(folders):
    """Hippocampus in two classes: whole files against themselves, and moved by two voxels along y."""
    if "NAPARI_BCP_DATA" not in os.environ:
        pytest.skip("NAPARI_BCP_DATA names no folder of real scans")
    _, guess, truth = folders
    for name in ("hip_001", "hip_002", "hip_003"):
        path = Path(os.environ["NAPARI_BCP_DATA"]) / "hippocampus" / "masks" / f"{name}.nii.gz"
        image = nibabel.load(path)
        nibabel.save(image, truth / path.name)
        voxels = np.asanyarray(image.dataobj)
        moved = np.roll(voxels, 2, axis=1) if name == "hip_003" else voxels
        nibabel.save(nibabel.Nifti1Image(moved, image.affine, image.header), guess / path.name)
    report = evaluate_folder(guess, truth)
    assert not report.refused
    for found in report.rows[:4]:
        assert (found.measures["dice"], found.measures["hd"], found.measures["assd"]) == (1, 0, 0)
    for found in report.rows[4:]:
        masks = moved == found.value, voxels == found.value
        assert found.measures["dice"] == pytest.approx(medpy.dc(*masks), rel=1e-12)
        assert found.measures["hd"] == pytest.approx(medpy.hd(*masks, image.header.get_zooms()), rel=1e-6)
        assert found.measures["assd"] == pytest.approx(medpy.assd(*masks, image.header.get_zooms()), rel=1e-6)
