"""Making a pool and extending it: what is taken in, what is left out and said."""

import os
import shutil
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pool_cohorts import AFFINE, SHAPE, some_mask, write_mask_file, write_scan

from napari_bcp.errors import PoolError, ScanError, SettingError
from napari_bcp.pool import Pool
from napari_bcp.scans import ClassSpec, read_grid, read_mask


def test_scans_become_cases_and_masks_are_accepted(pool, cohort):
    assert [(case.name, case.status) for case in pool.cases()] == [
        ("a", "accepted"),
        ("b", "unlabelled"),
        ("c", "unlabelled"),
        ("d", "unlabelled"),
    ]
    assert pool.counts() == {
        "unlabelled": 3,
        "predicted": 0,
        "draft": 0,
        "accepted": 1,
        "excluded": 0,
        "unusable": 0,
    }
    case = pool.case("a")
    assert case.path == cohort / "images" / "a.nii.gz" == pool.case("a").path
    assert case.shape == SHAPE
    assert case.spacing == pytest.approx((0.8, 0.8, 2.5))
    assert (case.mask_version, case.mask_by, case.map, case.reason) == (1, "person", None, "")
    assert case.fingerprint.size == case.path.stat().st_size
    assert pool.notes == ()


def test_a_mask_is_copied_in_on_the_scans_own_grid_and_read_back_canonical(pool, cohort):
    assert pool.mask_path("a") == cohort / "pool" / "masks" / "a" / "0001.nii.gz"
    assert pool.mask_path("b") is None
    np.testing.assert_array_equal(pool.mask("a"), some_mask(1, 2))
    copied = nib.load(pool.mask_path("a"))
    np.testing.assert_allclose(copied.affine, AFFINE, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(copied.dataobj), some_mask(1, 2)[::-1])


def test_classes_without_names_come_from_the_values_in_all_masks(cohort):
    write_mask_file(cohort / "labels" / "b.nii.gz", some_mask(1, 7))
    with Pool.create(cohort / "pool", cohort / "images", cohort / "labels") as pool:
        assert [spec.value for spec in pool.classes] == [1, 2, 7]


def test_given_classes_outrank_those_of_the_data_set(cohort):
    (cohort / "images" / "dataset.json").write_text('{"labels": {"background": 0, "atrium": 1, "wall": 2}}')
    with Pool.create(cohort / "p1", cohort / "images", cohort / "labels") as pool:
        assert [(spec.value, spec.name) for spec in pool.classes] == [(1, "atrium"), (2, "wall")]
    given = [ClassSpec(2, "two", "#000000"), ClassSpec(1, "one", "#ffffff")]
    with Pool.create(cohort / "p2", cohort / "images", cohort / "labels", classes=given) as pool:
        assert pool.classes == (given[1], given[0])
    (cohort / "names.txt").write_text("1 liver\n2 spleen #112233\n")
    with Pool.create(cohort / "p3", cohort / "images", cohort / "labels", classes=str(cohort / "names.txt")) as pool:
        assert pool.classes[1] == ClassSpec(2, "spleen", "#112233")


@pytest.mark.parametrize(
    "classes",
    [
        [ClassSpec(1, "liver", "#000000"), ClassSpec(1, "spleen", "#000000")],
        [ClassSpec(1, "liver", "#000000"), ClassSpec(2, "Liver", "#000000")],
        [ClassSpec(1, "background", "#000000")],
    ],
)
def test_classes_that_cannot_be_told_apart_are_refused(cohort, classes):
    with pytest.raises(SettingError, match="give every class its own"):
        Pool.create(cohort / "pool", cohort / "images", classes=classes)
    assert not (cohort / "pool").exists()


def test_a_pool_without_masks_gets_its_classes_from_the_first_accepted_mask(cohort):
    with Pool.create(cohort / "pool", cohort / "images") as pool:
        assert pool.classes == ()
        pool.accept("b", some_mask(3))
        assert [spec.value for spec in pool.classes] == [3]


def test_a_bad_scan_becomes_an_unusable_case_and_stops_nothing(cohort):
    scan = cohort / "images" / "b.nii.gz"
    scan.write_bytes(b"no scan at all")
    with Pool.create(cohort / "pool", cohort / "images", cohort / "labels") as pool:
        case = pool.case("b")
        assert case.status == "unusable"
        assert "b.nii.gz" in case.reason
        assert case.shape is None
        assert case.fingerprint.size == 14
        assert pool.notes == (f"Case 'b' is unusable: {case.reason}",)
        assert pool.counts()["unlabelled"] == 2


def test_a_bad_mask_leaves_its_case_unlabelled_and_is_named_in_notes_and_history(cohort):
    wrong = write_mask_file(cohort / "labels" / "b.nii.gz", some_mask(1, shape=(4, 6, 7)))
    with Pool.create(cohort / "pool", cohort / "images", cohort / "labels") as pool:
        assert pool.case("b").status == "unlabelled"
        assert pool.counts()["accepted"] == 1
        (note,) = pool.notes
        assert note.startswith(f"The mask of case 'b' was left out: {wrong}")
        last = pool.history("b")[-1]
        assert last.what == "mask refused"
        assert last.details["source"] == str(wrong)
        assert last.details["reason"] in note


def test_what_headers_do_not_say_is_told_once_with_how_many_more(cohort):
    for name in ("x", "y"):
        image = nib.load(write_scan(cohort / "images" / f"{name}.nii", 5))
        image.header.set_xyzt_units("unknown")
        nib.save(image, cohort / "images" / f"{name}.nii")
    with Pool.create(cohort / "pool", cohort / "images", cohort / "labels") as pool:
        *_, note = pool.notes
    assert note == (
        "x.nii does not say the unit of its spacing: mm are assumed. Other scans with such notes: 1; each is shown "
        "with its case."
    )


def test_a_mask_with_a_class_that_is_not_given_is_refused(cohort):
    with Pool.create(
        cohort / "pool", cohort / "images", cohort / "labels", classes=[ClassSpec(1, "liver", "#000000")]
    ) as pool:
        assert pool.case("a").status == "unlabelled"
        assert "class 2" in pool.notes[0]


def test_a_mask_that_matches_no_scan_is_listed(cohort):
    write_mask_file(cohort / "labels" / "zebra.nii.gz", some_mask(1))
    with Pool.create(cohort / "pool", cohort / "images", cohort / "labels") as pool:
        assert any("zebra" in note for note in pool.notes)
        assert len(pool.cases()) == 4


def test_an_empty_folder_makes_no_pool(tmp_path):
    (tmp_path / "nothing here").mkdir()
    with pytest.raises(PoolError, match=r"no scan .*nothing here"):
        Pool.create(tmp_path / "pool", tmp_path / "nothing here")
    assert not (tmp_path / "pool").exists()


def test_a_missing_folder_makes_no_pool(tmp_path):
    with pytest.raises(ScanError, match="nowhere"):
        Pool.create(tmp_path / "pool", tmp_path / "nowhere")


def test_a_folder_that_holds_a_pool_gets_no_second_one(pool, cohort):
    before = (cohort / "pool" / "pool.sqlite").read_bytes()
    pool.close()
    with pytest.raises(PoolError, match="already"):
        Pool.create(cohort / "pool", cohort / "images")
    assert (cohort / "pool" / "pool.sqlite").read_bytes() == before
    with Pool.open(cohort / "pool") as again:
        assert again.counts()["accepted"] == 1


def test_a_folder_called_masks_in_the_place_of_the_pools_own_is_left_alone(cohort):
    write_mask_file(cohort / "masks" / "a.nii.gz", some_mask(1))
    with pytest.raises(PoolError, match="'masks'"):
        Pool.create(cohort, cohort / "images", cohort / "masks")
    assert (cohort / "masks" / "a.nii.gz").is_file()


def test_a_creation_that_fails_leaves_nothing_and_can_be_repeated(cohort):
    def stumble(done, total, name):
        if name == "c":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Pool.create(cohort / "pool", cohort / "images", cohort / "labels", progress=stumble)
    assert not (cohort / "pool" / "masks").exists()
    with pytest.raises(PoolError, match="no pool"):
        Pool.open(cohort / "pool")
    with Pool.create(cohort / "pool", cohort / "images", cohort / "labels") as pool:
        assert pool.mask_path("a").name == "0001.nii.gz"


def test_progress_names_every_case_and_ends_at_the_total(cohort):
    seen = []
    Pool.create(cohort / "pool", cohort / "images", progress=lambda *step: seen.append(step)).close()
    assert seen == [(0, 4, "a"), (1, 4, "b"), (2, 4, "c"), (3, 4, "d"), (4, 4, "")]


def test_a_pool_moved_together_with_its_scans_finds_them(pool, cohort, tmp_path):
    """Scans beside the pool are stored relative to it."""
    pool.close()
    shutil.move(cohort, tmp_path / "elsewhere")
    with Pool.open(tmp_path / "elsewhere" / "pool") as moved:
        assert moved.case("a").path == tmp_path / "elsewhere" / "images" / "a.nii.gz"
        assert not moved.check_changed("a")


def test_scans_far_from_the_pool_keep_their_absolute_path(cohort, tmp_path):
    Pool.create(tmp_path / "far" / "away" / "pool", cohort / "images").close()
    shutil.move(tmp_path / "far", tmp_path / "farther")
    with Pool.open(tmp_path / "farther" / "away" / "pool") as moved:
        assert moved.case("a").path == cohort / "images" / "a.nii.gz"


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (
            ["p1/ct.nii.gz", "p2/ct.nii.gz"],
            r", only folders \(p1, p2\): name the one with the scans, or, if",
        ),
        (["IM1.dcm", "IM2.dcm"], r", only IM1\.dcm and the like; convert scans to NIfTI first, DICOM .* dcm2niix\.$"),
        (["a_mask.nii.gz"], " that is no mask; name the folder"),
        ([], "; name the folder that holds them"),
    ],
)
def test_a_folder_without_scans_is_refused_with_what_to_do_about_what_is_there(tmp_path, files, says):
    (tmp_path / "images").mkdir()
    for name in files:
        write_scan(tmp_path / "images" / "a.nii.gz").rename(tmp_path / "scan")
        (tmp_path / "images" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "scan").rename(tmp_path / "images" / name)
    with pytest.raises(PoolError, match=rf"^There is no scan \(\.nii or \.nii\.gz\) in .*images{says}"):
        Pool.create(tmp_path / "pool", tmp_path / "images")


def test_extending_adds_new_scans_and_skips_known_ones(pool, cohort):
    write_scan(cohort / "images" / "e.nii.gz", 9)
    write_mask_file(cohort / "labels" / "e.nii.gz", some_mask(2))
    before = pool.cases()
    assert pool.extend(cohort / "images", cohort / "labels") == ["e"]
    assert pool.cases()[:4] == before
    assert pool.case("e").status == "accepted"
    assert pool.extend(cohort / "images", cohort / "labels") == []


def test_extending_hands_in_a_mended_mask_but_never_a_second_one(pool, cohort):
    write_mask_file(cohort / "labels" / "b.nii.gz", some_mask(1))
    pool.extend(cohort / "images", cohort / "labels")
    assert pool.case("b").status == "accepted"
    pool.reset("b")
    pool.extend(cohort / "images", cohort / "labels")
    assert pool.case("b").status == "unlabelled"


def test_extending_says_which_masks_came_in_and_which_were_passed_over(pool, cohort):
    for name in "bcd":
        write_mask_file(cohort / "labels" / f"{name}.nii.gz", some_mask(1))
    pool.exclude("d")
    assert pool.extend(cohort / "images", cohort / "labels") == []
    assert pool.notes == (
        "Masks taken in for cases that had none: 2.",
        "Masks passed over, because the case had one before: a; hand one in with 'napari-bcp accept'.",
        "Masks passed over, because the case is excluded: d; include them first.",
    )
    assert pool.case("a").mask_version == 1
    write_scan(cohort / "images" / "e.nii.gz", 9)
    write_mask_file(cohort / "labels" / "e.nii.gz", some_mask(2))
    pool.extend(cohort / "images", cohort / "labels")
    assert not any("taken in" in note for note in pool.notes), "a new case's mask is no surprise"


def test_two_scans_of_one_name_in_two_folders_are_two_cases(pool, cohort):
    write_scan(cohort / "more" / "A.nii.gz", 9)
    assert pool.extend(cohort / "more") == ["A_2"]
    assert pool.case("A_2").path == cohort / "more" / "A.nii.gz"
    assert any("A_2" in note for note in pool.notes)


def test_a_draft_that_is_begun_while_scans_are_read_is_not_overruled(pool, cohort):
    for name in ("b", "c"):
        write_mask_file(cohort / "labels" / f"{name}.nii.gz", some_mask(2))

    def read(done, total, _name):
        if done == total and pool.case("b").status == "unlabelled":  # all is read, and nothing recorded
            pool.begin_draft("b")

    pool.extend(cohort / "images", cohort / "labels", read)
    assert [pool.case(name).status for name in "bc"] == ["draft", "accepted"]
    assert "Masks taken in for cases that had none: 1." in pool.notes
    assert "Masks passed over, because the case is draft: b; hand one in with 'napari-bcp accept'." in pool.notes
    assert not (pool.root / "masks" / "b").exists()


def test_nothing_is_kept_of_an_extension_that_is_given_up(pool, cohort):
    for name in ("b", "c"):
        write_mask_file(cohort / "labels" / f"{name}.nii.gz", some_mask(2))
    write_scan(cohort / "images" / "e.nii.gz", 9)
    before = sorted((pool.root / "masks").rglob("*")), pool.cases()

    def stop(done, total, _name):
        if done == total:
            raise PoolError("It was given up.")

    with pytest.raises(PoolError, match="given up"):
        pool.extend(cohort / "images", cohort / "labels", stop)
    assert (sorted((pool.root / "masks").rglob("*")), pool.cases()) == before


def test_extending_refuses_classes_that_the_pool_does_not_know(pool, cohort):
    write_scan(cohort / "more" / "e.nii.gz", 9)
    write_mask_file(cohort / "more" / "e_mask.nii.gz", some_mask(9))
    pool.extend(cohort / "more")
    assert pool.case("e").status == "unlabelled"
    assert [spec.value for spec in pool.classes] == [1, 2]


def test_extending_a_pool_without_classes_takes_those_of_the_data_set_and_holds_masks_to_them(cohort):
    for name, values in (("e", (1,)), ("f", (2,))):
        write_scan(cohort / "more" / f"{name}.nii.gz", 9)
        write_mask_file(cohort / "more" / f"{name}_mask.nii.gz", some_mask(*values))
    (cohort / "more" / "dataset.json").write_text('{"labels": {"background": 0, "atrium": 1}}')
    with Pool.create(cohort / "pool", cohort / "images") as pool:
        pool.extend(cohort / "more")
        assert [(spec.value, spec.name) for spec in pool.classes] == [(1, "atrium")]
        assert (pool.case("e").status, pool.case("f").status) == ("accepted", "unlabelled")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has file names that are no text")
def test_a_file_name_that_is_no_text_is_left_out_and_named(cohort):
    os.rename(cohort / "images" / "b.nii.gz", os.fsencode(cohort / "images") + b"/b\xff.nii.gz")
    with Pool.create(cohort / "pool", cohort / "images") as pool:
        assert [case.name for case in pool.cases()] == ["a", "c", "d"]
        assert any("not valid text" in note for note in pool.notes)
        "\n".join(pool.notes).encode()


def test_a_scan_linked_into_the_folder_is_found_by_its_link(cohort, tmp_path):
    write_scan(tmp_path / "store" / "original.nii.gz", 5)
    (cohort / "images" / "e.nii.gz").symlink_to(tmp_path / "store" / "original.nii.gz")
    with Pool.create(cohort / "pool", cohort / "images") as pool:
        assert pool.case("e").path == cohort / "images" / "e.nii.gz"
        assert pool.extend(cohort / "images") == []


@pytest.mark.real
def test_a_real_cohort_becomes_a_pool_and_its_masks_are_kept_voxel_for_voxel(tmp_path):
    data = os.environ.get("NAPARI_BCP_DATA")
    if data is None:
        pytest.skip("NAPARI_BCP_DATA names no folder of real scans")
    folder = Path(data) / "hippocampus"
    with Pool.create(tmp_path / "pool", folder / "images", folder / "masks") as pool:
        assert pool.notes == ()
        assert pool.counts()["unusable"] == 0
    with Pool.open(tmp_path / "pool") as pool:
        case = pool.cases("accepted")[0]
        original = pool.history(case.name)[-1].details["source"]
        expected = read_mask(original, read_grid(case.path)).voxels
        np.testing.assert_array_equal(pool.mask(case.name), expected)
