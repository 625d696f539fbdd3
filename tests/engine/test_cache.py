"""The cache prepares a scan once, and again when scan, mask or plan change."""

import os

import nibabel as nib
import numpy as np
import pytest
import torch

from napari_bcp.config import make_config
from napari_bcp.engine import cache as module
from napari_bcp.engine.cache import Cache, CaseFiles, to_network
from napari_bcp.engine.fingerprint import Survey
from napari_bcp.engine.plan import make_plan
from napari_bcp.errors import GridMismatchError, ScanError
from napari_bcp.scans import read_mask, read_scan


@pytest.fixture
def made(cohort, tmp_path):
    """Return a cache, its folder and one labelled case whose files the test may change."""
    with_mask, _, _ = cohort(5, 2)
    scan, mask = tmp_path / "a.nii.gz", tmp_path / "a_mask.nii.gz"
    scan.write_bytes(with_mask[0].scan.read_bytes())
    mask.write_bytes(with_mask[0].mask.read_bytes())
    loaded = read_scan(scan)
    survey = Survey()
    survey.add(loaded, read_mask(mask, loaded.grid))
    found = survey.fingerprint([(loaded.grid.shape, loaded.grid.spacing)])
    plan = make_plan(found, [1, 2], make_config("quick", {"spacing": (1.5, 1.5, 1.5)}), torch.device("cpu"))
    return Cache(tmp_path / "cache", plan, [1, 2]), tmp_path / "cache", CaseFiles("a", scan, mask)


def files(folder):
    return sorted(p for p in folder.rglob("*") if p.is_file())


def test_a_prepared_case_lies_on_the_networks_grid_with_mean_zero(made):
    cache, _, case = made
    prepared = cache.get(case)
    assert prepared.image.shape == prepared.labels.shape == (19, 16, 20)
    assert abs(float(prepared.image.astype(np.float32).mean())) < 0.1
    assert set(np.unique(prepared.labels)) == {0, 1, 2}
    assert len(prepared.seeds) == 2
    for channel, places in enumerate(prepared.seeds, 1):
        assert (prepared.labels[tuple(places.T)] == channel).all()


@pytest.mark.parametrize(
    ("update", "spacing"),
    [
        ({}, (1.5, 1.5, 1.5)),
        ({"spacing": (0.0, 0.0, 0.0)}, (1.0, 1.0, 1.5)),
        ({"spacing": (2.0, 0.0, 0.0)}, (2.0, 1.0, 1.5)),
        ({"spacing": (2.0, 2.0, 0.0), "dimensions": 2}, (2.0, 2.0, 1.0)),
        ({"spacing": (0.0, 0.0, 0.0), "dimensions": 2, "fit": "resize", "patch": (14, 48, 1)}, (2.0, 0.5, 1.0)),
    ],
)
def test_a_prepared_case_knows_the_size_of_its_voxels(made, update, spacing):
    """The scan has 28 × 24 × 20 voxels of 1, 1 and 1.5 mm."""
    cache, folder, case = made
    plan = cache.plan.model_copy(update=update)
    assert Cache(folder, plan, [1, 2]).get(case).spacing == spacing


def test_a_second_call_writes_nothing(made):
    cache, folder, case = made
    cache.get(case)
    before = [(p, p.stat().st_mtime_ns) for p in files(folder)]
    cache.get(case)
    assert [(p, p.stat().st_mtime_ns) for p in files(folder)] == before


def test_a_changed_scan_is_prepared_anew(made):
    cache, folder, case = made
    before = np.array(cache.get(case).image)
    image = nib.load(case.scan)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[::-1].copy(), image.affine), case.scan)
    os.utime(case.scan, ns=(1, 1))
    assert not np.array_equal(cache.get(case).image, before)
    assert len(files(folder)) == 4


def test_a_torn_file_is_made_again(made):
    cache, folder, case = made
    before = np.array(cache.get(case).image)
    for file in files(folder):
        file.write_bytes(file.read_bytes()[:40])
    np.testing.assert_array_equal(cache.get(case).image, before)


def test_what_a_killed_process_left_half_written_is_removed(made):
    cache, folder, case = made
    cache.get(case)
    whole = files(folder)
    left = whole[0].with_name(".tmp-torn")
    left.write_bytes(b"x")
    assert not Cache(folder, cache.plan, (1, 2)).unlike
    assert not left.exists()
    assert files(folder) == whole


def test_a_mask_of_another_grid_is_refused_by_name(made, tmp_path):
    cache, _, case = made
    other = tmp_path / "other.nii.gz"
    nib.save(nib.Nifti1Image(np.ones((5, 5, 5), np.uint8), np.eye(4)), other)
    with pytest.raises(GridMismatchError, match=r"other\.nii\.gz"):
        cache.get(CaseFiles("a", case.scan, other))


def test_a_scan_that_vanished_is_refused(made, tmp_path):
    cache, _, _ = made
    with pytest.raises((ScanError, OSError), match="gone"):
        cache.get(CaseFiles("gone", tmp_path / "gone.nii.gz"))


def test_intensities_are_scaled_as_the_plan_says(made):
    cache, _, case = made
    scan = read_scan(case.scan)
    plan = cache.plan.model_copy(update={"spacing": (0.0, 0.0, 0.0)})
    zscore = to_network(plan, scan)
    assert (abs(zscore.mean()), zscore.std()) == (pytest.approx(0, abs=1e-3), pytest.approx(1, abs=1e-3))
    minmax = to_network(plan.model_copy(update={"normalise": "minmax"}), scan)
    assert (minmax.min(), minmax.max()) == (0, 1)
    np.testing.assert_array_equal(to_network(plan.model_copy(update={"normalise": "none"}), scan), scan.voxels)
    window = (50.0, 150.0, 100.0, 25.0)
    ct = to_network(plan.model_copy(update={"normalise": "ct", "ct_window": window}), scan)
    assert (ct.min(), ct.max()) == (-2, 2)


def test_a_header_that_is_wrong_by_far_takes_no_memory_for_it(made, tmp_path, monkeypatch):
    """Sizes in metres make of 28 voxels thousands; a thick slice may well become several."""
    cache, _, case = made
    voxels = np.asarray(nib.load(case.scan).dataobj)
    for name, affine in (("metres", [1000, 1000, 1500, 1]), ("thick", [1, 1, 15, 1])):
        nib.save(nib.Nifti1Image(voxels, np.diag([float(n) for n in affine])), tmp_path / f"{name}.nii.gz")
    with pytest.raises(
        ScanError, match=r"metres\.nii\.gz has voxels of 1e\+03 × 1e\+03 × 1.5e\+03 mm .*correct the header"
    ):
        cache.get(CaseFiles("metres", tmp_path / "metres.nii.gz"))
    monkeypatch.setattr(module, "_MOST_VOXELS", 0)
    assert cache.get(CaseFiles("thick", tmp_path / "thick.nii.gz")).image.shape[2] == 10 * voxels.shape[2]


def test_a_mask_that_was_mended_is_prepared_anew(made, tmp_path):
    """Its next version is another file."""
    cache, folder, case = made
    before = np.array(cache.get(case).labels)
    image = nib.load(case.mask)
    mended = tmp_path / "0002.nii.gz"
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[::-1].copy(), image.affine), mended)
    after = cache.get(CaseFiles("a", case.scan, mended)).labels
    np.testing.assert_array_equal(after, before[::-1])
    assert len(files(folder)) == 3, "the scan is not prepared again"


def test_classes_become_the_networks_channels(made, tmp_path):
    """In the order of the plan, whatever values masks have."""
    cache, folder, case = made
    image = nib.load(case.mask)
    values = np.array([0, 9, 4], np.uint8)[np.asarray(image.dataobj)]
    nib.save(nib.Nifti1Image(values, image.affine), tmp_path / "other.nii.gz")
    plan = cache.plan.model_copy(update={"classes": (4, 9), "spacing": (0.0, 0.0, 0.0)})
    labels = Cache(folder, plan, [4, 9]).get(CaseFiles("a", case.scan, tmp_path / "other.nii.gz")).labels
    np.testing.assert_array_equal(labels, np.where(values == 9, 2, np.where(values == 4, 1, 0)))
