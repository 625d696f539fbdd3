"""Plans fit data and device without anybody choosing a block size."""

import math

import nibabel as nib
import numpy as np
import pytest
import torch
from pydantic import ValidationError

from napari_bcp.config import PRESETS, make_config
from napari_bcp.engine.fingerprint import Fingerprint, Survey
from napari_bcp.engine.plan import Plan, choose_dimensions, make_plan
from napari_bcp.engine.predict import network_of
from napari_bcp.errors import SettingError
from napari_bcp.scans import Mask, read_scan

CPU = torch.device("cpu")


def cohort(shape, spacing, diameters=None, ct=False):
    extent = tuple(n * s for n, s in zip(shape, spacing, strict=True))
    return Fingerprint(
        shape=shape,
        spacing=spacing,
        extent=extent,
        ct=ct,
        foreground=(-50.0, 40.0, 150.0, 42.0, 30.0),
        diameters=diameters or {1: 45.0},
    )


ATRIUM = cohort((192.0, 143.0, 88.0), (0.625, 0.625, 0.625), {1: 43.6})
HIPPOCAMPUS = cohort((36.0, 50.0, 37.0), (1.0, 1.0, 1.0), {1: 14.0, 2: 13.0})
CARDIAC = cohort((216.0, 256.0, 9.0), (1.5, 1.5, 10.0), {1: 50.0, 2: 50.0, 3: 50.0})
BODY = cohort((512.0, 512.0, 600.0), (0.8, 0.8, 1.0), {1: 100.0, 2: 20.0}, ct=True)
TINY = cohort((5.0, 4.0, 3.0), (1.0, 1.0, 1.0), {1: 2.0})
ONE_SLICE = cohort((300.0, 280.0, 1.0), (0.7, 0.7, 1.0), {1: 20.0})


@pytest.mark.parametrize("found", [ATRIUM, HIPPOCAMPUS, CARDIAC, BODY, TINY, ONE_SLICE])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_cohort_gets_a_block_that_its_network_can_halve(found, device):
    plan = make_plan(found, sorted(found.diameters), make_config(), torch.device(device))
    for axis, side in enumerate(plan.block):
        assert side % math.prod(level[axis] for level in plan.strides) == 0
    with torch.no_grad():
        network = network_of(plan.model_copy(update={"width": 4})).eval()
        out = network(torch.zeros(1, 1, *plan.block))
    assert out.shape == (1, len(found.diameters) + 1, *plan.block)


def test_cubic_voxels_train_in_blocks_and_thick_slices_in_slices():
    assert choose_dimensions(ATRIUM) == 3
    assert choose_dimensions(HIPPOCAMPUS) == 3
    assert choose_dimensions(BODY) == 3
    assert choose_dimensions(CARDIAC) == 2
    assert choose_dimensions(ONE_SLICE) == 2


def test_the_grid_is_coarse_for_large_scans_and_fine_enough_for_small_structures():
    assert make_plan(ATRIUM, [1], make_config(), CPU).spacing == pytest.approx((1.26, 1.26, 1.26), abs=0.02)
    assert make_plan(HIPPOCAMPUS, [1, 2], make_config(), CPU).spacing == (1.0, 1.0, 1.0)
    assert make_plan(BODY, [1, 2], make_config(), CPU).spacing == pytest.approx((2, 2, 2))


def test_large_scans_are_halved_however_small_the_block():
    small = make_config("quick", {"patch": (32, 32, 32)})
    assert make_plan(ATRIUM, [1], small, CPU).strides[0] == (2, 2, 2)
    assert make_plan(HIPPOCAMPUS, [1, 2], make_config(), CPU).strides[0] == (1, 1, 1)


def test_hounsfield_units_are_scaled_by_one_window_for_all_scans():
    plan = make_plan(BODY, [1, 2], make_config(), CPU)
    assert plan.normalise == "ct"
    assert plan.ct_window == (-50.0, 150.0, 42.0, 30.0)


def test_the_paper_presets_have_the_published_blocks():
    la = make_plan(ATRIUM, [1], make_config("paper-la"), CPU)
    assert (la.network, la.patch, la.batch, la.stage1_batch, la.stride) == ("vnet", (112, 112, 80), 4, 2, (18, 18, 4))
    assert la.spacing == (0, 0, 0)
    acdc = make_plan(CARDIAC, [1, 2, 3], make_config("paper-acdc"), CPU)
    assert (acdc.network, acdc.patch, acdc.batch, acdc.stage1_batch) == ("unet2d", (256, 256, 1), 12, 6)
    assert acdc.fit == "resize"
    pancreas = make_plan(BODY, [1], make_config("paper-pancreas"), CPU)
    assert (pancreas.network, pancreas.patch, pancreas.normalise) == ("vnet-instance", (96, 96, 96), "none")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"patch": (50, 64, 40), "network": "vnet"}, "multiples of 16"),
        ({"patch": (64, 64)}, "give 3"),
        ({"network": "unet2d", "dimensions": "3"}, "works in 2 dimensions"),
        ({"spacing": (-1.0, 1.0, 1.0)}, "three sizes in mm"),
        ({"patch": (16, 16, 16), "network": "vnet-instance"}, "left with one voxel"),
    ],
)
def test_contradicting_settings_are_refused_in_a_sentence(settings, says):
    with pytest.raises(SettingError, match=says):
        make_plan(ATRIUM, [1], make_config("quick", settings), CPU)


def test_a_plan_survives_being_written_and_read():
    for preset in PRESETS:
        plan = make_plan(CARDIAC if preset == "paper-acdc" else ATRIUM, [1, 4], make_config(preset), CPU)
        assert Plan.model_validate_json(plan.model_dump_json()) == plan


@pytest.mark.parametrize(
    "claim",
    [
        {"width": 3000},
        {"batch": 10**9},
        {"patch": (10**6, 16, 16)},
        {"patch": (0, 16, 16)},
        {"stride": (0, 1, 1)},
        {"strides": ((10**6,) * 3,) * 4},
        {"classes": (0,)},
        {"spacing": (math.nan, 1.0, 1.0)},
        {"spacing": (-1.0, 1.0, 1.0)},
    ],
)
def test_a_plan_that_no_computer_could_hold_is_none(claim):
    """It may come from a checkpoint or a table that somebody else has made."""
    plan = make_plan(ATRIUM, [1, 2], make_config("quick"), CPU).model_dump()
    with pytest.raises(ValidationError):
        Plan.model_validate({**plan, **claim})


def test_a_plan_of_a_run_from_before_parts_were_counted_keeps_one_of_each_class():
    old = make_plan(ATRIUM, [1], make_config("quick", {}), CPU).model_dump(exclude={"parts"})
    assert Plan.model_validate(old).parts_kept("auto", [1]) == {}


def test_a_class_has_as_many_parts_as_in_the_mask_with_most_of_them(tmp_path):
    survey = Survey()
    for number, boxes in enumerate([[(2, 8)], [(2, 8), (12, 18)], [(2, 8), (12, 13)]]):
        labels = np.zeros((20, 10, 10), np.uint8)
        for low, high in boxes:
            labels[low:high, 2:8, 2:8] = 4
        labels[:, 9, 9] = 9
        path = tmp_path / f"{number}.nii.gz"
        nib.save(nib.Nifti1Image(labels.astype(np.float32), np.eye(4)), path)
        scan = read_scan(path)
        survey.add(scan, Mask(path, labels, ()))
    found = survey.fingerprint([((20, 10, 10), (1, 1, 1))])
    plan = make_plan(found, [9, 4, 5], make_config("quick", {}), CPU)
    assert plan.parts_kept("auto", plan.classes) == {4: 2, 5: 1, 9: 1}
    assert plan.parts_kept("largest", plan.classes) == {}


def test_the_grid_key_changes_with_what_preprocessing_depends_on_only():
    plan = make_plan(ATRIUM, [1], make_config(), CPU)
    assert plan.model_copy(update={"batch": 7}).grid_key == plan.grid_key
    assert plan.model_copy(update={"spacing": (1.0, 1.0, 1.0)}).grid_key != plan.grid_key
