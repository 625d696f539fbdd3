"""The method reproduces the values of the published code (see tests/parity/README.md)."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from napari_bcp.method import (
    Box,
    consistency_ramp,
    decide,
    draw_boxes,
    keep_largest,
    keep_mask,
    learning_rate,
    mixed_loss,
    paste,
    update_teacher,
)
from napari_bcp.method.losses import get_loss
from napari_bcp.method.masks import box_sides


class Scripted:
    """Draws like the published code: numpy's old generator, keeping the ranges that were asked for."""

    def __init__(self, seed):
        self.state = np.random.RandomState(seed)
        self.lows, self.highs = [], []

    def integers(self, low, high):
        self.lows.append(low)
        self.highs.append(high)
        return self.state.randint(low, high)


STRATEGIES = {"contact": "contact", "rand": "random"}
SEEDED = [("bcp_mask3d", c) for c in ("la12", "la23", "la56", "panc", "contact", "contact_s", "rand27")] + [
    ("bcp_mask2d", c) for c in ("acdc", "s0", "s1", "contact", "contact_s", "rand9")
]


@pytest.mark.parametrize(("file", "case"), SEEDED)
def test_seeded_masks_are_the_published_ones(parity, file, case):
    values = parity(file)
    shape = values[f"{case}_shape"].tolist()
    beta = float(values.get(f"{case}_beta", 2 / 3))
    strategy = next((v for k, v in STRATEGIES.items() if case.startswith(k)), "box")
    rng = Scripted(int(values[f"{case}_seed"]))
    boxes = draw_boxes(shape, rng, strategy=strategy, beta=beta)
    assert rng.highs == np.ravel(values[f"{case}_high"]).tolist()
    if f"{case}_low" in values:
        assert rng.lows == np.ravel(values[f"{case}_low"]).tolist()
    np.testing.assert_array_equal(keep_mask(shape, boxes), values[f"{case}_mask"].astype(bool))


@pytest.mark.parametrize("case", ["s0", "s1", "s2", "s3"])
def test_boxes_at_a_given_corner_are_the_published_ones(parity, case):
    values = parity("bcp_mask3d")
    shape = values[f"{case}_shape"].tolist()
    sides = box_sides(shape, float(values[f"{case}_beta"]))
    assert list(sides) == values[f"{case}_size"].tolist()
    mask = keep_mask(shape, [Box(tuple(values[f"{case}_corner"].tolist()), sides)])
    np.testing.assert_array_equal(mask, values[f"{case}_mask"].astype(bool))


def test_a_slab_lies_inside_a_slice_that_is_wider_than_high():
    rng = np.random.default_rng(0)
    boxes = [box for _ in range(100) for box in draw_boxes((27, 90), rng, strategy="contact")]
    assert {box.size for box in boxes} == {(12, 90)}
    assert {box.corner for box in boxes} == {(start, 0) for start in range(15)}


@pytest.mark.parametrize("strategy", ["box", "contact", "random"])
@pytest.mark.parametrize("shape", [(16, 16, 16), (6, 5, 3), (40, 12), (4, 4)])
def test_every_strategy_keeps_some_voxels_and_pastes_some_in_small_blocks_too(strategy, shape):
    rng = np.random.default_rng(0)
    for _ in range(20):
        keep = keep_mask(shape, draw_boxes(shape, rng, strategy=strategy))
        assert keep.shape == shape
        assert keep.any()
        assert not keep.all()


def test_mixed_images_and_targets_are_the_published_ones(parity):
    v = {k: torch.from_numpy(a) for k, a in parity("bcp_mixed").items()}
    keep = v["mask"].bool()
    for name, outer, inner in [
        ("in_img", "img_a", "unimg_a"),
        ("out_img", "unimg_b", "img_b"),
        ("pre_img", "img_a", "img_b"),
        ("in_tgt", "lab_a", "plab_a"),
        ("out_tgt", "plab_b", "lab_b"),
        ("pre_tgt", "lab_a", "lab_b"),
    ]:
        np.testing.assert_array_equal(paste(v[outer], v[inner], keep), v[name])


def test_pasting_refuses_images_of_different_shape():
    with pytest.raises(ValueError, match="cannot paste"):
        paste(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 5), torch.ones(4, 4, dtype=torch.bool))


@pytest.mark.parametrize(
    ("file", "loss", "cases"),
    [("bcp_mix_loss_3d", "ce-dice", range(6)), ("bcp_mix_loss_2d", "ce-dice-squared", range(5))],
)
def test_the_mixed_loss_and_its_gradient_are_the_published_ones(parity, file, loss, cases):
    values = parity(file)
    for i in cases:
        v = {k.removeprefix(f"c{i}_"): a for k, a in values.items() if k.startswith(f"c{i}_")}
        hand, pseudo = v["weights"]
        weights = (pseudo, hand) if bool(v["unlab"]) else (hand, pseudo)
        outer, inner = (torch.from_numpy(v[k]).long() for k in ("img_l", "patch_l"))
        region = torch.from_numpy(v["mask"]).bool()
        assert (region == region[:1]).all()
        for dtype, total, rtol in ((torch.float64, "total", 1e-8), (torch.float32, "total_f32", 1e-5)):
            logits = torch.from_numpy(values["logits"]).to(dtype).requires_grad_()
            result = mixed_loss(get_loss(loss), logits, outer, inner, region[0], *map(float, weights))
            np.testing.assert_allclose(result.item(), v[total], rtol=rtol, atol=1e-12)
            if dtype is torch.float64:
                result.backward()
                np.testing.assert_allclose(logits.grad, v["grad"], rtol=1e-8, atol=1e-12)


def test_the_loss_of_the_first_stage_is_the_published_one(parity):
    values = parity("bcp_mix_loss_3d")
    logits = torch.from_numpy(values["logits"]).requires_grad_()
    result = get_loss("ce-dice")(logits, torch.from_numpy(values["pre_label"]).long(), None)
    result.backward()
    np.testing.assert_allclose(result.item(), values["pre_total"], rtol=1e-8)
    np.testing.assert_allclose(logits.grad, values["pre_grad"], rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize(
    ("key", "connectivity"), [("la_lcc", "corner"), ("pancreas_lcc", "edge"), ("face_lcc", "face")]
)
def test_cleaned_3d_pseudo_labels_are_the_published_ones(parity, key, connectivity):
    values = parity("bcp_pseudo_label_3d")
    labels = decide(torch.from_numpy(values["logits"]))
    np.testing.assert_array_equal(labels, values["threshold"])
    for name, image, expected in zip(values["case_names"], labels.numpy(), values[key], strict=True):
        cleaned, removed = keep_largest(image, connectivity)
        np.testing.assert_array_equal(cleaned, expected, err_msg=str(name))
        assert sum(removed.get(1, [])) == int((image != cleaned).sum())


def test_cleaned_2d_pseudo_labels_are_the_published_ones(parity):
    values = parity("bcp_pseudo_label_2d")
    labels = decide(torch.from_numpy(values["logits"]))
    np.testing.assert_array_equal(labels, values["argmax"])
    for name, image, expected in zip(values["case_names"], labels.numpy(), values["lcc"], strict=True):
        np.testing.assert_array_equal(keep_largest(image)[0], expected, err_msg=str(name))


def small_net():
    return nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2))


def fill(net, values, prefix, index=...):
    for key, tensor in zip(
        ("conv_w", "conv_b", "bn_w", "bn_b", "bn_mean", "bn_var", "bn_count"), net.state_dict().values(), strict=True
    ):
        tensor.copy_(torch.as_tensor(values[f"{prefix}_{key}"][index]))


@pytest.mark.parametrize(("prefix", "buffers"), [("la", "own"), ("acdc", "average"), ("warm", None)])
def test_the_teacher_moves_as_published(parity, prefix, buffers):
    values = parity("bcp_ema")
    teacher, student = small_net().train(), small_net()
    fill(teacher, values, "init_teacher")
    inputs = torch.from_numpy(values["teacher_inputs"])
    for t in range(6):
        with torch.no_grad():
            outputs = [teacher(inputs[t, i]) for i in range(2)]
        if prefix == "la":
            np.testing.assert_allclose(torch.stack(outputs), values["la_teacher_out"][t], rtol=1e-4, atol=1e-5)
        fill(student, values, "student", t)
        decay = float(values["warm_alpha"][t]) if prefix == "warm" else float(values["alpha"])
        update_teacher(teacher, student, decay, buffers or "own")
        state = list(teacher.state_dict().values())
        for i, key in enumerate(("conv_w", "conv_b", "bn_w", "bn_b", "bn_mean", "bn_var", "bn_count")):
            if f"{prefix}_{key}" in values:
                np.testing.assert_allclose(state[i], values[f"{prefix}_{key}"][t], rtol=1e-4, atol=1e-5)


def test_learning_rate_and_logged_ramps_are_the_published_ones(parity):
    values = parity("bcp_schedule")
    for i, iteration in enumerate(values["iteration"].tolist()):
        lr = learning_rate("step-2500", 0.01, share=0.5, stage2_step=iteration)
        np.testing.assert_allclose(lr, values["la_lr"][i], rtol=1e-12)
        np.testing.assert_allclose(consistency_ramp(iteration, 40), values["la_consistency"][i], rtol=1e-12)
        np.testing.assert_allclose(consistency_ramp(iteration, 200, 0.5), values["acdc_consistency"][i], rtol=1e-12)


def test_the_default_schedule_rises_holds_and_falls():
    rates = [learning_rate("decay-at-end", 1.0, share=s / 100, stage2_step=0) for s in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert set(rates[1:66]) == {1.0}
    assert all(a >= b for a, b in pairwise(rates[66:]))
    assert rates[-1] == pytest.approx(0.01)


def test_components_of_one_voxel_thin_images_are_found():
    line = np.array([[[1, 0, 1, 1]]], np.uint8)
    cleaned, removed = keep_largest(line)
    np.testing.assert_array_equal(cleaned, [[[0, 0, 1, 1]]])
    assert removed == {1: [1]}


@pytest.mark.parametrize("shape", [(40, 50), (12, 14, 10), (1, 30, 30)])
def test_one_component_of_each_class_is_left_whatever_the_noise(shape):
    rng = np.random.default_rng(1)
    for share in (0.1, 0.3, 0.6):
        noise = rng.choice(3, shape, p=[1 - share, share / 2, share / 2]).astype(np.uint8)
        cleaned, removed = keep_largest(noise)
        again, nothing = keep_largest(cleaned)
        np.testing.assert_array_equal(again, cleaned)
        assert nothing == {}
        for value in (1, 2):
            assert (noise == value).sum() - (cleaned == value).sum() == sum(removed.get(value, []))


def test_a_mask_that_nobody_has_defined_is_refused():
    with pytest.raises(ValueError, match="sphere"):
        draw_boxes((8, 8, 8), np.random.default_rng(0), strategy="sphere")
