"""A small cohort and its pool."""

import pytest
from pool_cohorts import some_mask, write_mask_file, write_scan

from napari_bcp.pool import Pool


@pytest.fixture
def cohort(tmp_path):
    """Four scans a, b, c, d, of which a has a mask of the classes 1 and 2; return the folder."""
    folder = tmp_path / "a cohort ü"
    for seed, name in enumerate("abcd"):
        write_scan(folder / "images" / f"{name}.nii.gz", seed)
    write_mask_file(folder / "labels" / "a.nii.gz", some_mask(1, 2))
    return folder


@pytest.fixture
def pool(cohort):
    """A pool of that cohort, open for writing."""
    with Pool.create(cohort / "pool", cohort / "images", cohort / "labels") as made:
        yield made
