"""A pool of tiny scans, and the truth of all of them."""

import shutil

import pytest

import napari_bcp
from napari_bcp.scans.phantom import write_cohort


@pytest.fixture(scope="session")
def cohort(tmp_path_factory):
    return write_cohort(tmp_path_factory.mktemp("phantom"), 6, 3, 0, "tiny")


@pytest.fixture
def own_pool(cohort, tmp_path):
    """An open pool of the same scans, copied, which a test may change."""
    scans = shutil.copytree(cohort / "images", tmp_path / "scans")
    with napari_bcp.new_pool(tmp_path / "other", scans, cohort / "labels", cohort / "classes.json") as made:
        yield made


@pytest.fixture
def pool(cohort, tmp_path):
    """An open pool of six scans, three with masks."""
    made = napari_bcp.new_pool(tmp_path / "pool", cohort / "images", cohort / "labels", cohort / "classes.json")
    with made:
        yield made
