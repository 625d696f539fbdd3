"""Tiny cohorts, jobs on them, and children to do these, real and made up."""

import nibabel as nib
import numpy as np
import pytest
from children import ENDLESS, QUICK, Child

from napari_bcp.config import make_config
from napari_bcp.worker.host import Worker
from napari_bcp.worker.messages import CaseInfo, Stop, Train

SHAPE, SPACING = (28, 24, 20), (1.0, 1.0, 1.5)


@pytest.fixture(scope="session")
def cohort(tmp_path_factory):
    """Return a folder with scans s0 to s5 of a bright and a dark ball in noise, and masks of them, classes 1 and 2."""
    folder = tmp_path_factory.mktemp("cohort")
    affine = np.diag([*SPACING, 1.0])
    for i in range(6):
        rng = np.random.default_rng(i)
        off = np.indices(SHAPE) - (np.array(SHAPE) / 2 + rng.uniform(-2, 2, 3))[:, None, None, None]
        away = np.array([5, 0, 0])[:, None, None, None]
        bright, dark = ((off - away) ** 2).sum(0) < 25, ((off + away) ** 2).sum(0) < 16
        scan = 100 + 50 * (rng.normal(0, 0.2, SHAPE) + 2.0 * bright - 2.0 * dark)
        nib.save(nib.Nifti1Image(scan.astype(np.float32), affine), folder / f"s{i}.nii.gz")
        nib.save(nib.Nifti1Image((bright + 2 * dark).astype(np.uint8), affine), folder / f"s{i}_mask.nii.gz")
    return folder


@pytest.fixture(scope="session")
def info(cohort):
    """Return a function that tells of case number `i` as the window would."""

    def make(i, labelled=False):
        mask = str(cohort / f"s{i}_mask.nii.gz") if labelled else None
        return CaseInfo(name=f"s{i}", scan=str(cohort / f"s{i}.nii.gz"), mask=mask, shape=SHAPE, spacing=SPACING)

    return make


@pytest.fixture
def job(info, tmp_path, tmp_path_factory):
    """Return a function that makes a training of s0 to s4, of which the first two are labelled, without a budget.

    Settings that are none of the job's go to the run's. Maps are made when asked for only.
    """

    def make(name="0001", **fields):
        (tmp_path / "runs" / name).mkdir(parents=True, exist_ok=True)
        settings = {key: fields.pop(key) for key in list(fields) if key not in Train.model_fields}
        usual = {
            "run": str(tmp_path / "runs" / name),
            "cache": str(tmp_path_factory.getbasetemp() / "cache"),
            "maps": str(tmp_path / "maps"),
            "config": make_config("quick", {**QUICK, **settings}).model_dump(mode="json"),
            "classes": (1, 2),
            "steps": ENDLESS,
            "device": "cpu",
            "map_share": 0.0,
            "cases": tuple(info(i, labelled=i < 2) for i in range(5)),
        }
        return Train(**{**usual, **fields})

    return make


@pytest.fixture
def start():
    """Return a function that starts a child by a command; the children are killed in the end if they still run."""
    children = []

    def make(*command):
        children.append(Child(Worker(command) if command else Worker()))
        return children[-1]

    yield make
    for child in children:
        if child.worker.exit_code is None:
            child.worker.kill()
        child.until_gone()


@pytest.fixture(scope="module")
def one_child():
    """A child for a whole module, which has to end by itself when it is told to."""
    child = Child()
    child.until_told("ready")
    yield child
    child.worker.close()
    child.until_gone()
    assert child.worker.exit_code == 0, child.worker.log_tail


@pytest.fixture
def child(one_child):
    """The module's child, without a job before and after the test."""
    yield one_child
    if one_child.jobs:
        one_child.send(Stop())
        one_child.until_free()
