"""A scan of another kind among those with masks is told of."""

import nibabel as nib
import numpy as np
import pytest
import torch

from napari_bcp.config import make_config
from napari_bcp.engine.sources import PoolSource
from napari_bcp.engine.train import Budget, train
from napari_bcp.pool import Pool

from tiny import QUICK  # isort: skip


def scan(path, ct, whole=True):
    """Write a box of tissue in air, as CT or as MR."""
    rng = np.random.default_rng(len(path.name))
    values = np.full((20, 18, 16), -1000.0 if ct else 0.0) + rng.normal(0, 5, (20, 18, 16))
    values[5:15, 5:13, 4:12] += 1050 if ct else 400
    nib.save(nib.Nifti1Image((np.rint(values) if whole else values).astype(np.float32), np.eye(4)), path)


@pytest.fixture
def notes(tmp_path):
    """Return a function that trains on a labelled CT or MR and two unlabelled scans; it returns what was noted."""

    def go(labelled_ct, other_ct, whole=True, **settings):
        images, labels = tmp_path / "images", tmp_path / "labels"
        images.mkdir()
        labels.mkdir()
        scan(images / "a.nii.gz", labelled_ct, whole)
        mask = np.zeros((20, 18, 16), np.uint8)
        mask[5:15, 5:13, 4:12] = 1
        nib.save(nib.Nifti1Image(mask, np.eye(4)), labels / "a.nii.gz")
        scan(images / "b.nii.gz", other_ct)
        scan(images / "c.nii.gz", other_ct)
        with Pool.create(tmp_path / "pool", images, labels) as pool:
            config = make_config("quick", {**QUICK, **settings})
            events = train(
                PoolSource(pool), tmp_path / "run", tmp_path / "cache", None, config, Budget(steps=4),
                device=torch.device("cpu"), classes=[1],
            )  # fmt: skip
            return [event.text for event in events if event.kind == "note" and "spoil" in event.text]

    return go


@pytest.mark.parametrize(("labelled", "other", "says"), [(True, False, "like no CT"), (False, True, "like a CT")])
def test_the_first_scan_of_another_kind_is_named_and_no_more(notes, labelled, other, says):
    [told] = notes(labelled, other)
    assert told.split()[0] in ("b", "c")
    assert says in told


@pytest.mark.parametrize("ct", [True, False])
def test_scans_of_one_kind_are_not_remarked_upon(notes, ct):
    assert notes(ct, ct) == []


def test_resampled_ct_with_masks_is_of_one_kind_with_ct_as_scanners_write_it(notes):
    assert notes(True, True, whole=False) == []


def test_a_recipe_that_was_told_how_to_normalise_knows_better(notes):
    assert notes(True, False, normalise="zscore") == []
