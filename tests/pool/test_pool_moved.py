"""Scans that have moved, all of them or some."""

import shutil

import pytest
from pool_cohorts import write_scan

from napari_bcp.errors import PoolError


def test_moved_scans_are_found_again_by_their_new_folder(pool, cohort, tmp_path):
    shutil.move(cohort / "images", tmp_path / "archive")
    assert pool.relocate(cohort / "images", tmp_path / "archive") == 4
    assert pool.case("a").path == tmp_path / "archive" / "a.nii.gz"
    assert not pool.check_changed("a")
    assert pool.history()[-1].what == "scans relocated"
    lines = len(pool.history())
    with pytest.raises(PoolError, match="No scan of the pool lies in"):
        pool.relocate(tmp_path / "nowhere", tmp_path / "archive")
    assert len(pool.history()) == lines


def test_scans_are_not_relocated_to_where_they_are_not(pool, cohort, tmp_path):
    before = pool.cases()
    with pytest.raises(PoolError, match="None of the 4 scans"):
        pool.relocate(cohort / "images", tmp_path / "elsewhere")
    assert pool.cases() == before


def test_scans_that_did_not_move_with_the_others_stay_and_are_told_of(pool, cohort, tmp_path):
    archive = tmp_path / "archive"
    archive.mkdir()
    shutil.move(cohort / "images" / "b.nii.gz", archive)
    shutil.copy(cohort / "images" / "c.nii.gz", archive)
    assert pool.relocate(cohort / "images", archive) == 2
    assert [pool.case(name).path.parent for name in "abcd"] == [
        *(cohort / "images", archive, archive, cohort / "images"),
    ]
    (note,) = pool.notes
    assert note.startswith(f"2 of the 4 scans of {cohort / 'images'} are not in {archive}")
    assert str(cohort / "images" / "a.nii.gz") in note
    pool.relocate(archive, archive)
    assert pool.notes == ()


def test_two_cases_never_come_to_share_a_scan(pool, cohort):
    write_scan(cohort / "more" / "b.nii.gz", 5)
    pool.extend(cohort / "more")
    with pytest.raises(PoolError, match="case 'b' already"):
        pool.relocate(cohort / "more", cohort / "images")


def test_folders_may_swap_inside_a_relocation(pool, cohort):
    """A folder moved into itself: some new paths are old ones of other cases."""
    for name in "abcd":
        write_scan(cohort / "images" / "images" / f"{name}.nii.gz")
    pool.extend(cohort / "images" / "images")
    for name in "abcd":
        write_scan(cohort / "images" / "images" / "images" / f"{name}.nii.gz")
    assert pool.relocate(cohort / "images", cohort / "images" / "images") == 8
    assert len({case.path for case in pool.cases()}) == 8
