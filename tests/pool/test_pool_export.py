"""What an export holds, in both layouts."""

import csv
import json
import os
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pool_cohorts import put_map, some_mask, write_mask_file, write_scan

from napari_bcp.errors import PoolError, SettingError
from napari_bcp.pool import Pool
from napari_bcp.scans import read_grid, read_mask, read_scan


def table_of(folder):
    """Return the list of cases in an export, by name."""
    with (folder / "cases.csv").open(newline="", encoding="utf-8") as file:
        return {row["case"]: row for row in csv.DictReader(file)}


def files_in(folder):
    """Return all files below a folder, relative to it."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def labels_in(path):
    """Return the class values in a file."""
    return read_mask(path, read_grid(path)).voxels


@pytest.fixture
def mixed(pool):
    """One accepted case, one predicted, one in draft, one excluded that has a map."""
    put_map(pool, "b", step=30)
    put_map(pool, "c")
    pool.begin_draft("c")
    put_map(pool, "d")
    pool.exclude("d")
    return pool


def test_a_plain_export_keeps_masks_and_pseudo_labels_apart_and_says_which_is_which(mixed, tmp_path):
    out = tmp_path / "an export"
    assert mixed.export(out) == {"accepted": 1, "pseudo": 2, "scans": 0}
    assert files_in(out) == ["accepted/a.nii.gz", "cases.csv", "pseudo/b.nii.gz", "pseudo/c.nii.gz"]
    np.testing.assert_array_equal(labels_in(out / "accepted" / "a.nii.gz"), mixed.mask("a"))
    np.testing.assert_array_equal(labels_in(out / "pseudo" / "b.nii.gz"), some_mask(1, 2))
    rows = table_of(out)
    assert rows["a"]["source"] == "mask accepted by person"
    assert rows["b"]["source"] == "pseudo-label of run 0001, step 30"
    assert rows["b"]["file"] == "pseudo/b.nii.gz"
    assert (rows["d"]["status"], rows["d"]["source"], rows["d"]["file"]) == ("excluded", "", "")


def test_the_newest_mask_is_exported_and_by_whom_it_was_accepted(mixed, tmp_path):
    mixed.accept("a", some_mask(2))
    mixed.accept("b", some_mask(1), by="rule")
    mixed.export(tmp_path / "out")
    np.testing.assert_array_equal(labels_in(tmp_path / "out" / "accepted" / "a.nii.gz"), some_mask(2))
    assert table_of(tmp_path / "out")["b"]["source"] == "mask accepted by rule"


def test_the_mask_of_a_reopened_case_is_exported_until_the_next_one_is_accepted(mixed, tmp_path):
    """With a map of its case and without one, as its mask and never as a pseudo-label."""
    mixed.accept("b", some_mask(1))
    mixed.reopen("a")
    mixed.reopen("b")
    assert mixed.export(tmp_path / "out") == {"accepted": 2, "pseudo": 1, "scans": 0}
    np.testing.assert_array_equal(labels_in(tmp_path / "out" / "accepted" / "a.nii.gz"), some_mask(1, 2))
    np.testing.assert_array_equal(labels_in(tmp_path / "out" / "accepted" / "b.nii.gz"), some_mask(1))
    row = table_of(tmp_path / "out")["b"]
    assert (row["status"], row["source"]) == ("draft", "mask accepted by person, reopened since")
    mixed.export(tmp_path / "nnunet", "nnunet")
    assert {name for name in files_in(tmp_path / "nnunet") if "Tr/" in name} == {
        *("imagesTr/a_0000.nii.gz", "imagesTr/b_0000.nii.gz", "labelsTr/a.nii.gz", "labelsTr/b.nii.gz"),
    }
    assert json.loads((tmp_path / "nnunet" / "dataset.json").read_text())["numTraining"] == 2
    mixed.exclude("b")
    assert mixed.export(tmp_path / "again")["accepted"] == 1


def test_an_nnunet_export_holds_scans_labels_and_their_description(mixed, cohort, tmp_path):
    write_scan(cohort / "more" / "plain.nii", 8)
    mixed.extend(cohort / "more")
    out = tmp_path / "Dataset001_Liver"
    assert mixed.export(out, "nnunet") == {"accepted": 1, "pseudo": 2, "scans": 4}
    assert files_in(out) == [
        "cases.csv",
        "dataset.json",
        "imagesTr/a_0000.nii.gz",
        "imagesTs/b_0000.nii.gz",
        "imagesTs/c_0000.nii.gz",
        "imagesTs/plain_0000.nii.gz",
        "labelsTr/a.nii.gz",
        "pseudoTs/b.nii.gz",
        "pseudoTs/c.nii.gz",
    ]
    assert json.loads((out / "dataset.json").read_text()) == {
        "channel_names": {"0": "scan"},
        "labels": {"background": 0, "class 1": 1, "class 2": 2},
        "numTraining": 1,
        "file_ending": ".nii.gz",
    }
    assert (out / "imagesTr" / "a_0000.nii.gz").read_bytes() == mixed.case("a").path.read_bytes()
    plain = read_scan(out / "imagesTs" / "plain_0000.nii.gz")
    np.testing.assert_array_equal(plain.voxels, read_scan(cohort / "more" / "plain.nii").voxels)
    np.testing.assert_array_equal(plain.grid.affine, read_grid(cohort / "more" / "plain.nii").affine)


def test_an_nnunet_export_becomes_a_pool_again(mixed, tmp_path):
    mixed.export(tmp_path / "out", "nnunet")
    with Pool.create(tmp_path / "pool", tmp_path / "out") as again:
        assert [case.name for case in again.cases("accepted")] == ["a"]
        assert [case.name for case in again.cases("unlabelled")] == ["b", "c"]
        np.testing.assert_array_equal(again.mask("a"), mixed.mask("a"))
        assert [spec.name for spec in again.classes] == ["class 1", "class 2"]


def test_classes_with_gaps_are_renumbered_for_nnunet_alone(cohort, tmp_path):
    write_mask_file(cohort / "labels" / "a.nii.gz", some_mask(3, 9))
    with Pool.create(cohort / "pool", cohort / "images", cohort / "labels") as pool:
        put_map(pool, "b", values=(3, 9))
        pool.mark_unusable("c", "It is torn.")
        pseudo = read_mask(pool.case("b").map.pseudo_path, read_grid(pool.case("b").path)).voxels
        pool.export(tmp_path / "plain")
        pool.export(tmp_path / "nnunet", "nnunet")
    np.testing.assert_array_equal(labels_in(tmp_path / "plain" / "accepted" / "a.nii.gz"), some_mask(3, 9))
    np.testing.assert_array_equal(labels_in(tmp_path / "nnunet" / "labelsTr" / "a.nii.gz"), some_mask(1, 2))
    renumbered = read_mask(tmp_path / "nnunet" / "pseudoTs" / "b.nii.gz", read_grid(cohort / "images" / "b.nii.gz"))
    np.testing.assert_array_equal(renumbered.voxels, np.where(pseudo == 9, 2, np.where(pseudo == 3, 1, 0)))
    assert {*np.unique(pseudo)} == {0, 3, 9}
    assert not [name for name in files_in(tmp_path / "nnunet") if "/c" in name], "an unusable scan is no use there"
    assert json.loads((tmp_path / "nnunet" / "dataset.json").read_text())["labels"] == {
        "background": 0,
        "class 3": 1,
        "class 9": 2,
    }
    exported = nib.load(tmp_path / "nnunet" / "labelsTr" / "a.nii.gz")
    scan = nib.load(cohort / "images" / "a.nii.gz")
    np.testing.assert_array_equal(exported.affine, scan.affine)
    assert exported.shape == scan.shape


def test_a_folder_with_something_in_it_is_not_exported_to(mixed, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(PoolError, match="not empty"):
        mixed.export(tmp_path)
    with pytest.raises(PoolError, match="is a file"):
        mixed.export(tmp_path / "notes.txt")
    (tmp_path / "empty").mkdir()
    assert mixed.export(tmp_path / "empty")["accepted"] == 1


def test_an_earlier_export_is_replaced_where_that_is_asked_for(mixed, tmp_path):
    out = tmp_path / "out"
    mixed.export(out)
    mixed.accept("b", some_mask(2))
    with pytest.raises(PoolError, match="let the export that is there be replaced"):
        mixed.export(out)
    assert labels_in(out / "pseudo" / "b.nii.gz").any(), "a refusal changes nothing"
    mixed.export(out, replace=True)
    assert files_in(out) == ["accepted/a.nii.gz", "accepted/b.nii.gz", "cases.csv", "pseudo/c.nii.gz"]
    mixed.export(out, "nnunet", replace=True)
    assert {path.name for path in out.iterdir()} == {
        *("cases.csv", "dataset.json", "imagesTr", "imagesTs", "labelsTr", "pseudoTs")
    }


@pytest.mark.parametrize("former", [False, True])
def test_what_a_killed_export_has_left_can_be_replaced(mixed, tmp_path, former):
    if former:
        mixed.export(tmp_path / "out")
    (tmp_path / "out" / ".exporting-abc" / "new").mkdir(parents=True)
    (tmp_path / "out" / ".DS_Store").write_text("")
    with pytest.raises(PoolError, match="let the export that is there be replaced"):
        mixed.export(tmp_path / "out")
    mixed.export(tmp_path / "out", replace=True)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *(".DS_Store", "accepted", "cases.csv", "pseudo")
    ]


@pytest.mark.parametrize("fails_at", range(1, 7))
def test_a_swap_that_fails_anywhere_leaves_the_former_export(mixed, tmp_path, monkeypatch, fails_at):
    out, moves = tmp_path / "out", []
    mixed.export(out)
    mixed.accept("b", some_mask(2))
    before = {name: (out / name).read_bytes() for name in files_in(out)}
    replace = os.replace

    def failing(source, target):
        if Path(target).parent in (out, *out.glob(".exporting-*/old")):
            moves.append(target)
            if len(moves) == fails_at:
                raise PermissionError(13, "in use", str(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(PoolError, match="in use"):
        mixed.export(out, replace=True)
    assert {name: (out / name).read_bytes() for name in files_in(out)} == before


def test_scans_of_the_pool_are_never_replaced(mixed, tmp_path):
    out = tmp_path / "Dataset001"
    mixed.export(out, "nnunet")
    before = files_in(out)
    (tmp_path / "link").symlink_to(out)
    with Pool.create(tmp_path / "again", out) as again:
        for dest in (out, tmp_path / "link"):
            with pytest.raises(PoolError, match="scans of the pool in it"):
                again.export(dest, replace=True)
    assert files_in(out) == before


def test_a_map_that_a_training_replaces_meanwhile_is_exported_as_it_is_then(mixed, tmp_path):
    def progress(done, _total, name):
        if name == "b":
            put_map(mixed, "b", step=60)

    old = mixed.map_of("b").pseudo_path
    mixed.export(tmp_path / "out", progress=progress)
    assert not old.exists()
    assert table_of(tmp_path / "out")["b"]["source"] == "pseudo-label of run 0001, step 60"


def test_a_map_that_goes_while_it_is_copied_is_asked_for_again(mixed, tmp_path, monkeypatch):
    copy = shutil.copyfile

    def slow(source, target):
        if source == mixed.map_of("b").pseudo_path and mixed.map_of("b").step == 30:
            put_map(mixed, "b", step=60)
        return copy(source, target)

    monkeypatch.setattr(shutil, "copyfile", slow)
    mixed.export(tmp_path / "out")
    assert table_of(tmp_path / "out")["b"]["source"] == "pseudo-label of run 0001, step 60"


def test_what_no_export_has_written_is_never_replaced(mixed, tmp_path):
    out = tmp_path / "out"
    mixed.export(out)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(PoolError, match=r"holds notes\.txt, which is no part of an export"):
        mixed.export(out, replace=True)
    (tmp_path / "mine" / "accepted").mkdir(parents=True)
    (tmp_path / "mine" / "cases.csv").write_text("name,age\r\n")
    with pytest.raises(PoolError, match=r"is not empty; name a new folder to export to\.$"):
        mixed.export(tmp_path / "mine", replace=True)
    assert (out / "notes.txt").read_text() == "mine"


def test_an_export_that_fails_leaves_the_former_one_as_it_is(mixed, tmp_path):
    mixed.export(tmp_path / "out")
    before = files_in(tmp_path / "out")
    mixed.map_of("c").pseudo_path.unlink()
    with pytest.raises(PoolError, match=r"maps/c/000001\.nii\.gz"):
        mixed.export(tmp_path / "out", replace=True)
    assert files_in(tmp_path / "out") == before


def test_an_export_that_fails_leaves_an_empty_folder_and_names_the_file(mixed, tmp_path):
    mixed.map_of("c").pseudo_path.unlink()
    with pytest.raises(PoolError, match=r"maps/c/000001\.nii\.gz"):
        mixed.export(tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_an_unknown_layout_is_refused(mixed, tmp_path):
    with pytest.raises(SettingError, match="did you mean 'nnunet'"):
        mixed.export(tmp_path / "out", "nnUNet")
    assert not (tmp_path / "out").exists()


def test_an_export_changes_no_scan_and_reports_its_progress(mixed, tmp_path):
    before = {case.name: (case.path.read_bytes(), case.path.stat().st_mode) for case in mixed.cases()}
    seen = []
    mixed.export(tmp_path / "out", "nnunet", progress=lambda *step: seen.append(step))
    assert seen == [(0, 4, "a"), (1, 4, "b"), (2, 4, "c"), (3, 4, "d"), (4, 4, "")]
    assert {case.name: (case.path.read_bytes(), case.path.stat().st_mode) for case in mixed.cases()} == before
