"""The losses reproduce values that were derived independently from their formulas, from BCP and from JDT."""

import json

import numpy as np
import pytest
import torch

from napari_bcp.method.losses import LOSSES, get_loss

ALL = {"classes": "all"}  # these values average absent classes in
TABLE = {
    "ce": ("ce", {}),
    "wce_fg2": ("weighted-ce", {"weights": (1, 2)}),
    "balanced_ce": ("balanced-ce", {}),
    "focal_g2": ("focal", {"weights": (1,)}),
    "focal_g2_a25": ("focal", {}),
    "dist_penalty_ce": ("distance-ce", {}),
    "dice_plain_sample": ("dice", {}),
    "dice_plain_sample_nobg": ("dice", {"background": False}),
    "dice_plain_batch": ("dice", {"batch": True}),
    "dice_plain_batch_smooth1": ("dice", {"batch": True, "smooth": 1}),
    "dice_sq_sample": ("dice-squared", {"batch": False, "smooth": 1e-5}),
    "dice_sq_batch_1e-10": ("dice-squared", {}),
    "dice_seed_sq_fg_smooth1": ("dice-squared", {"background": False, "smooth": 1}),
    "sens_spec_w05": ("sensitivity-specificity", {}),
    "tversky_fp3_fn7": ("tversky", ALL),
    "focal_tversky_e075": ("focal-tversky", ALL),
    "log_cosh_dice": ("log-cosh-dice", ALL),
    "hausdorff_dt_a2": ("hausdorff", {}),
    "shape_aware": ("shape-aware", {}),
    "combo": ("combo", ALL),
    "exp_log": ("exp-log", ALL),
    "cm_ssl": ("correlation-ssim", {}),
    "ce_dice_half": ("ce-dice", {}),
    "soft_jaccard": ("soft-jaccard", ALL),
    "soft_tversky_batch": ("tversky", {"batch": True, **ALL}),
    "lovasz_softmax": ("lovasz-softmax", {}),
    "jml": ("jml", ALL),
    "dml": ("dml", ALL),
    "ctl_fp3_fn7": ("ctl", ALL),
    "ce25_jml75": ("ce-jml", {"smooth": 1e-3, **ALL}),
}
TABLE_CASES = ("hand", "tiny3", "b2c3", "b2c3_absent2", "cube4")
STEEP = ("exp_log", "focal_tversky_e075")  # powers below 1 multiply the rounding of float32

JDT_NAMES = {
    "alpha": "alpha",
    "beta": "beta",
    "smooth": "smooth",
    "gamma": "power",
    "log_loss": "log",
    "norm": "norm",
    "mIoUI": "by_image",
    "mIoUC": "by_class",
}
JDT_CASES = ("c2", "c3", "c3_absent2", "c5_absent", "one_voxel")


def value_and_gradient(loss, logits, target, region, dtype=torch.float64):
    """Return the loss and its gradient as NumPy values."""
    x = torch.tensor(logits, dtype=dtype, requires_grad=True)
    value = loss(x, torch.tensor(target), None if region is None else torch.tensor(region))
    value.backward()
    return value.item(), x.grad.numpy()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
@pytest.mark.parametrize("row", TABLE)
def test_value_and_gradient_equal_the_formula(parity, row, dtype, tolerance):
    """Hard and soft targets, with and without a region, absent classes included."""
    table = parity("loss_table")
    at = table["loss_names"].tolist().index(row)
    name, constants = TABLE[row]
    loss = get_loss(name, **constants)
    if dtype == torch.float32 and row in STEEP:
        tolerance = 1e-4
    for case in TABLE_CASES:
        for kind in ("hard",) if LOSSES[name].hard_only else ("hard", "soft"):
            for mask in ("nomask", "mask"):
                region = table[f"{case}__mask"] if mask == "mask" else None
                value, gradient = value_and_gradient(
                    loss, table[f"{case}__logits"], table[f"{case}__{kind}"], region, dtype
                )
                key = f"{case}__{kind}__{mask}"
                assert value == pytest.approx(table[f"{key}__value"][at], rel=tolerance, abs=tolerance), key
                expected = table[f"{key}__grad"][at]
                if not np.isnan(expected).any():  # not provided for the four that are weighted by distances
                    np.testing.assert_allclose(gradient, expected, rtol=tolerance, atol=tolerance, err_msg=key)


def test_the_table_names_every_loss_of_the_file(parity):
    """No row of the file is left untested, and every registry entry is in it or is a variant of one that is."""
    assert set(TABLE) == set(parity("loss_table")["loss_names"].tolist())
    assert set(LOSSES) - {name for name, _ in TABLE.values()} == {"ce-dml", "ce-dice-balanced", "ce-dice-squared"}


@pytest.mark.parametrize("at", range(20))
def test_the_metric_losses_equal_their_authors_code(parity, at):
    """All variants: weights, smoothing, powers, norms, means by batch, image and class, and class choices."""
    file = parity("jdt")
    given = json.loads(str(file["settings"][at]))
    constants = {"alpha": 1, "beta": 1} | {ours: given[theirs] for theirs, ours in JDT_NAMES.items() if theirs in given}
    pair = constants["alpha"], constants["beta"]
    name = {(1, 1): "jml", (0.5, 0.5): "dml"}.get(pair, "ctl")
    if name != "ctl":
        del constants["alpha"], constants["beta"]
    for case in JDT_CASES:
        for kind in ("hard", "soft"):
            choice = {"classes": given.get(f"active_classes_mode_{kind}", "auto").lower()}
            loss = get_loss(name, **constants, **choice)
            # their one-hot target is float32 inside, which shows in squares
            tolerance = 1e-7 if given.get("norm") == 2 and kind == "hard" else 1e-10
            for mask in ("nomask", "mask"):
                region = file[f"{case}__keep_mask"] if mask == "mask" else None
                value, gradient = value_and_gradient(loss, file[f"{case}__logits"], file[f"{case}__{kind}"], region)
                key = f"{case}__{kind}__{mask}"
                assert value == pytest.approx(file[f"{key}__loss"][at], rel=tolerance, abs=tolerance), key
                np.testing.assert_allclose(
                    gradient, file[f"{key}__grad"][at], rtol=tolerance, atol=tolerance, err_msg=key
                )


@pytest.mark.parametrize(
    ("axes", "name", "pair"), [("3d", "dice", "ce-dice"), ("2d", "dice-squared", "ce-dice-squared")]
)
def test_dice_equals_the_dice_of_bcp(parity, axes, name, pair):
    """With and without region, for a sample without foreground and for a region without any voxel."""
    file = parity("bcp_dice_loss")
    logits = torch.tensor(file[f"logits{axes}"])
    region = torch.tensor(file[f"mask{axes}"])
    targets = {"": file[f"target{axes}"]} | ({"_empty": file["target3d_empty"]} if axes == "3d" else {})
    ce = get_loss("ce")
    for suffix, array in targets.items():
        target = torch.tensor(array)
        for ending, where in (("", None), ("_mask", region)):
            expected = file[f"loss{axes}{suffix}{ending}"].item()
            assert get_loss(name)(logits, target, where).item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
            both = 0.5 * expected + 0.5 * ce(logits, target, where).item()
            assert get_loss(pair)(logits, target, where).item() == pytest.approx(both, rel=1e-9, abs=1e-12)
    nowhere = get_loss(name)(logits, torch.tensor(file[f"target{axes}"]), torch.zeros_like(region))
    assert nowhere.item() == pytest.approx(file[f"loss{axes}_zeromask"].item(), abs=1e-12)


@pytest.mark.parametrize("row", [row for row in TABLE if row != "lovasz_softmax"])
def test_soft_safe_says_whether_soft_targets_are_their_own_minimum(parity, row):
    """From p = t on 64 voxels and 3 classes, only a loss that is not soft-safe finds something lower."""
    file = parity("loss_softmin")
    name, constants = TABLE[row]
    loss = get_loss(name, **constants)
    target = torch.tensor(file["multi_target"])
    logits = target.log().requires_grad_()
    optimiser = torch.optim.Adam([logits], lr=0.05)
    values = []
    for _ in range(25):
        value = loss(logits, target)
        values.append(value.item())
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
    gain = values[0] - min(values)
    if LOSSES[name].soft_safe:
        assert gain < 1e-12
    else:
        assert gain > 1e-4
    stored = file["multi_loss_at_target"][file["names"].tolist().index(row)]
    if not np.isnan(stored):
        assert values[0] == pytest.approx(stored, abs=1e-7)
