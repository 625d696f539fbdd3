"""A pool of tiny scans, and the truth of all of them."""

import pytest

import napari_bcp
from napari_bcp.scans.phantom import write_cohort


@pytest.fixture(scope="session")
def cohort(tmp_path_factory):
    return write_cohort(tmp_path_factory.mktemp("phantom"), 6, 3, 0, "tiny")


@pytest.fixture
def pool(cohort, tmp_path):
    """An open pool of six scans, three with masks."""
    made = napari_bcp.new_pool(tmp_path / "pool", cohort / "images", cohort / "labels", cohort / "classes.json")
    with made:
        yield made
