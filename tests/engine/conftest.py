"""Small cohorts on disk: noise with one bright, one dark ball, so that a tiny network learns them in seconds."""

import nibabel as nib
import numpy as np
import pytest

from napari_bcp.engine.cache import CaseFiles


def make_scan(index, shape=(28, 24, 20)):
    """Return a scan (x, y, z) float32 and its mask uint8 with classes 1 (bright) and 2 (dark)."""
    rng = np.random.default_rng(index)
    grid = np.indices(shape).astype(float)
    middle = np.array(shape)[:, None, None, None] / 2
    shift = rng.uniform(-2, 2, 3)[:, None, None, None]
    bright = ((grid - middle - shift - np.array([5, 0, 0])[:, None, None, None]) ** 2).sum(0) < 25
    dark = ((grid - middle - shift + np.array([5, 0, 0])[:, None, None, None]) ** 2).sum(0) < 16
    mask = (bright + 2 * dark).astype(np.uint8)
    scan = rng.normal(0, 0.2, shape) + 2.0 * bright - 2.0 * dark
    return (100 + 50 * scan).astype(np.float32), mask


@pytest.fixture(scope="session")
def cohort(tmp_path_factory):
    """Return a function (count, labelled) -> (labelled cases, unlabelled cases, truth by name)."""
    folder = tmp_path_factory.mktemp("cohort")

    def make(count=5, labelled=2):
        cases, truth = [], {}
        for i in range(count):
            voxels, mask = make_scan(i)
            scan_file, mask_file = folder / f"s{i}.nii.gz", folder / f"s{i}_mask.nii.gz"
            if not scan_file.exists():
                affine = np.diag([1.0, 1.0, 1.5, 1.0])
                nib.save(nib.Nifti1Image(voxels, affine), scan_file)
                nib.save(nib.Nifti1Image(mask, affine), mask_file)
            cases.append(CaseFiles(f"s{i}", scan_file, mask_file if i < labelled else None))
            truth[f"s{i}"] = mask
        return cases[:labelled], cases[labelled:], truth

    return make


class Source:
    """Cases held in memory, changed by the test."""

    def __init__(self, labelled, unlabelled):
        self.number, self.with_mask, self.without = 0, list(labelled), list(unlabelled)

    def revision(self):
        return self.number

    def labelled(self):
        return self.with_mask

    def unlabelled(self):
        return self.without


@pytest.fixture
def source():
    """Return the class of in-memory case sources."""
    return Source
