"""What every loss promises, whatever its formula."""

import pytest
import torch

from napari_bcp import config
from napari_bcp.errors import GridMismatchError, MaskError, SettingError
from napari_bcp.method.losses import LOSSES, get_loss

EVERY = pytest.mark.parametrize("name", LOSSES)
SOFT = [name for name, spec in LOSSES.items() if not spec.hard_only]
AVERAGED = [name for name, spec in LOSSES.items() if "classes" in spec.constants]
DIFFERENTIATED = [name for name in LOSSES if name != "correlation-ssim"]  # it holds its weights fixed: see by_hand
NEIGHBOURS = ("correlation-ssim", "distance-ce", "hausdorff", "shape-aware")  # look at more than the voxel itself
SHAPE = (4, 3, 2)


def example(shape=SHAPE, batch=2, classes=3, dtype=torch.float64, seed=0):
    """Return logits, hard target with all classes in each sample, and a region with some voxels of each sample."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, classes, *shape, dtype=dtype, generator=generator)
    target = torch.randint(0, classes, (batch, *shape), generator=generator)
    target.flatten(1)[:, :classes] = torch.arange(classes)
    region = torch.rand(batch, *shape, generator=generator) > 0.4
    region.flatten(1)[:, :classes] = True
    return logits, target, region


def one_hot(target, classes=3):
    """Return the classes as float64 probabilities, (B, C, *S)."""
    return torch.nn.functional.one_hot(target, classes).movedim(-1, 1).double()


def gradient(loss, logits, target, region=None):
    """Return the loss's value and its gradient at the logits."""
    x = logits.clone().requires_grad_()
    value = loss(x, target, region)
    value.backward()
    return value.detach(), x.grad


def test_the_registry_has_the_names_of_the_settings():
    """The settings list them without loading torch."""
    assert tuple(LOSSES) == config.LOSSES
    assert all(spec.name == name for name, spec in LOSSES.items())


@EVERY
def test_every_loss_tells_what_it_is_and_every_constant_can_be_given(name):
    """A summary of one sentence, a source, and defaults that pass their own check."""
    spec = LOSSES[name]
    assert spec.summary.endswith(".")
    assert spec.source
    logits, target, _ = example()
    default = get_loss(name)(logits, target)
    assert default.shape == ()
    assert torch.equal(default, get_loss(name, **spec.constants)(logits, target))


@EVERY
def test_blocks_of_any_number_of_axes_give_the_same(name):
    """A row of 24 voxels, a plane and a block; losses of neighbours are held to axes of length one."""
    rows = [(24,), (4, 6), (2, 3, 4)] if name not in NEIGHBOURS else [(24, 1), (24, 1, 1), (1, 24, 1)]
    logits, target, region = example((24,))
    loss = get_loss(name)
    values = [loss(logits.reshape(2, 3, *s), target.reshape(2, *s), region.reshape(2, *s)) for s in rows]
    for value in values[1:]:
        torch.testing.assert_close(value, values[0])


@EVERY
def test_turning_the_block_changes_nothing(name):
    """Axes have no order of their own."""
    logits, target, region = example()
    loss = get_loss(name)
    turned = loss(logits.permute(0, 1, 4, 2, 3), target.permute(0, 3, 1, 2), region.permute(0, 3, 1, 2))
    torch.testing.assert_close(turned, loss(logits, target, region))


@EVERY
def test_adding_the_same_to_all_logits_changes_nothing(name):
    """The losses are of the softmax."""
    logits, target, region = example()
    loss = get_loss(name)
    torch.testing.assert_close(loss(logits + 7, target, region), loss(logits, target, region))


@pytest.mark.parametrize("name", SOFT)
def test_a_hard_target_equals_its_one_hot_probabilities(name):
    """With all classes present, so that "auto" chooses the same."""
    logits, target, region = example()
    torch.testing.assert_close(
        get_loss(name)(logits, target, region), get_loss(name)(logits, one_hot(target), region), rtol=1e-12, atol=1e-12
    )


def test_a_loss_of_sets_refuses_probabilities():
    """Only Lovász is defined for hard targets alone."""
    logits, target, _ = example()
    assert set(LOSSES) - set(SOFT) == {"lovasz-softmax"}
    with pytest.raises(SettingError, match="'lovasz-softmax' needs hard targets"):
        get_loss("lovasz-softmax")(logits, one_hot(target))


@EVERY
def test_a_region_of_every_voxel_is_no_region_in_any_form(name):
    """Bool or float, with or without a channel axis."""
    logits, target, region = example()
    loss = get_loss(name)
    torch.testing.assert_close(loss(logits, target, torch.ones_like(region)), loss(logits, target))
    expected = loss(logits, target, region)
    assert torch.equal(loss(logits, target, region.float()), expected)
    assert torch.equal(loss(logits, target, region.unsqueeze(1)), expected)


@EVERY
def test_voxels_outside_the_region_have_no_gradient_and_no_say(name):
    """Losses of neighbours may look at them, but never pull at them."""
    logits, target, region = example()
    loss = get_loss(name)
    value, slope = gradient(loss, logits, target, region)
    outside = ~region.unsqueeze(1).expand_as(slope)
    assert not slope[outside].any()
    assert slope[~outside].any()
    if name not in NEIGHBOURS:
        other = torch.where(region, target, (target + 1) % 3)
        torch.testing.assert_close(loss(logits + 3 * outside * logits, other, region), value)


@EVERY
def test_a_region_without_voxels_gives_zero_and_no_gradient(name):
    """Also where absent classes count, for combo, which would be negative."""
    logits, target, region = example()
    for constants in ({}, {"classes": "all"}) if name in AVERAGED else ({},):
        value, slope = gradient(get_loss(name, **constants), logits, target, torch.zeros_like(region))
        assert value == 0
        assert not slope.any()


@EVERY
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nothing_is_ever_infinite_or_undefined(name, dtype):
    """Background alone, one class alone, all classes; undecided, sure and right, sure and wrong; hardly any region."""
    background = torch.zeros(2, 3, 3, dtype=torch.long)
    one_sample = torch.tensor([True, False]).view(2, 1, 1).expand(2, 3, 3)
    one_voxel = torch.zeros(2, 3, 3)
    one_voxel[0, 0, 0] = 1
    loss = get_loss(name)
    for truth in (background, background + 2, torch.arange(18).reshape(2, 3, 3) % 3):
        right = 50 * (2 * one_hot(truth) - 1)
        for logits in (0 * right, right, right.roll(1, dims=1)):
            for region in (None, one_sample, one_voxel):
                value, slope = gradient(loss, logits.to(dtype), truth, region)
                assert value.dtype == torch.float32
                assert torch.isfinite(value)
                assert slope.dtype == dtype
                assert torch.isfinite(slope).all()


@EVERY
def test_float64_stays_and_autocast_has_no_effect(name):
    """Sums of many voxels need more than half precision."""
    logits, target, region = example()
    assert get_loss(name)(logits, target, region).dtype == torch.float64
    single = logits.float()
    plain = get_loss(name)(single, target, region)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(get_loss(name)(single, target, region), plain)


@pytest.mark.parametrize("name", ["ce-dice", "ce-dml", "dice-squared"])
def test_half_precision_survives_a_quarter_of_a_million_voxels(name):
    """Their sums exceed what float16 can hold."""
    logits = torch.zeros(1, 2, 64, 64, 64, dtype=torch.float16)
    target = torch.zeros(1, 64, 64, 64, dtype=torch.long)
    value, slope = gradient(get_loss(name, classes="all"), logits, target)
    torch.testing.assert_close(value, get_loss(name, classes="all")(logits.double(), target).float())
    assert torch.isfinite(slope).all()


@pytest.mark.parametrize("constants", [{"log": True}, {"power": 1.5}, {"norm": 2, "power": 1.5}])
def test_rounding_in_large_blocks_makes_no_metric_loss_undefined(constants):
    """The smoothing is smaller than the rounding of a float32 sum over a quarter of a million voxels."""
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(0, 2, (1, 64, 64, 64), generator=generator)
    right = 60 * one_hot(target, 2).float()
    soft = torch.rand(1, 2, 64, 64, 64, generator=generator).softmax(1)
    for logits, goal in ((right, target), (-right, target), (-right, one_hot(target, 2)), (soft.log(), soft)):
        value, slope = gradient(get_loss("jml", **constants), logits, goal)
        assert torch.isfinite(value)
        assert torch.isfinite(slope).all()


def test_rounding_below_zero_makes_no_power_undefined():
    """In norm 2, a fifth of exactly right soft predictions come out just below 0."""
    loss = get_loss("jml", norm=2, power=1.5)
    for seed in range(30):
        soft = torch.rand(1, 2, 500, generator=torch.Generator().manual_seed(seed)).softmax(1)
        assert torch.isfinite(loss(soft.log(), soft))


@pytest.mark.parametrize(("name", "gamma"), [("focal", 0.5), ("focal-tversky", 0.5), ("exp-log", 0.1)])
def test_powers_below_one_stay_finite_where_their_slope_is_not(name, gamma):
    """At a prediction that is exactly right."""
    _, target, _ = example()
    value, slope = gradient(get_loss(name, gamma=gamma), 200 * one_hot(target).float(), target)
    assert value < 0.5
    assert torch.isfinite(slope).all()


@pytest.mark.parametrize("name", DIFFERENTIATED)
def test_the_gradient_is_that_of_the_value(name):
    """Central differences, inside a region, for hard and soft targets."""
    logits, target, region = example((3, 2), seed=1)
    loss = get_loss(name)
    soft = (one_hot(target) + 0.2) / 1.6
    for goal in (target, soft) if name in SOFT else (target,):
        assert torch.autograd.gradcheck(
            lambda x, goal=goal: loss(x, goal, region), logits.requires_grad_(), fast_mode=True
        )


@EVERY
@pytest.mark.parametrize("classes", [2, 3, 5])
def test_the_target_itself_is_the_best_prediction(name, classes):
    """Being sure and right beats doubt, a few errors and the opposite."""
    _, target, region = example(classes=classes)
    loss = get_loss(name)
    right = 15 * one_hot(target, classes)
    best = loss(right, target, region)
    assert best == pytest.approx(-0.5 if name == "combo" else 0, abs=0.03)
    flawed = right.clone()
    flawed.flatten(2)[:, :, :2] = right.flatten(2)[:, :, :2].roll(1, dims=1)
    for worse in (right / 15, flawed, right.roll(1, dims=1)):
        assert loss(worse, target, region) > best + 1e-4


@EVERY
def test_inputs_stay_as_they_were_and_targets_get_no_gradient(name):
    """A teacher's probabilities can be given as they are."""
    logits, target, region = example()
    if name in SOFT:
        target = one_hot(target).requires_grad_()
    copies = logits.clone(), target.clone(), region.clone()
    gradient(get_loss(name), logits, target, region)
    assert all(torch.equal(a, b) for a, b in zip((logits, target, region), copies, strict=True))
    assert target.grad is None


@pytest.mark.parametrize("name", AVERAGED)
def test_absent_classes_are_left_out_as_chosen(name):
    """With class 2 absent: "present" is the loss of the other two; BCP's own four average it in, the others not."""
    logits, target, _ = example()
    target = target.clamp_max(1)
    present = get_loss(name, classes="present")(logits, target)
    everything = get_loss(name, classes="all")(logits, target)
    assert not torch.isclose(present, everything)
    usual = get_loss(name)(logits, target)
    assert torch.equal(usual, everything if LOSSES[name].constants["classes"] == "all" else present)
    soft_usual = get_loss(name)(logits, one_hot(target))
    torch.testing.assert_close(soft_usual, everything)


def test_only_the_losses_of_bcp_average_absent_classes_in():
    """As published there."""
    kept = [name for name in AVERAGED if LOSSES[name].constants["classes"] == "all"]
    assert kept == ["ce-dice", "ce-dice-squared", "dice", "dice-squared"]


def test_without_background_and_foreground_present_nothing_is_averaged():
    """A block of background alone has no class left, and no gradient."""
    logits, target, _ = example()
    loss = get_loss("tversky", background=False)
    value, slope = gradient(loss, logits, torch.zeros_like(target))
    assert value == 0
    assert not slope.any()


@pytest.mark.parametrize("name", ["dice", "tversky"])
def test_per_sample_losses_are_the_mean_of_the_samples_and_batch_losses_are_not(name):
    """Batch sums weigh samples by their size."""
    logits, target, _ = example(seed=5)
    target[1] = 0
    same = {"classes": "all", "smooth": 1e-5}
    loss = get_loss(name, batch=False, **same)
    samples = torch.stack([loss(logits[i : i + 1], target[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(loss(logits, target), samples.mean())
    assert not torch.isclose(get_loss(name, batch=True, **same)(logits, target), samples.mean())


def test_a_focal_loss_without_focus_is_cross_entropy():
    """It is not divided by the number of classes."""
    logits, target, region = example()
    focal = get_loss("focal", gamma=0, weights=(1.0,))(logits, target, region)
    torch.testing.assert_close(focal, get_loss("ce")(logits, target, region))
    torch.testing.assert_close(focal, torch.nn.functional.cross_entropy(logits.movedim(1, -1)[region], target[region]))


def test_the_last_class_weight_holds_for_further_classes():
    """(1, 2) means 2 for every structure."""
    logits, target, _ = example()
    short, long = get_loss("weighted-ce", weights=(1, 2)), get_loss("weighted-ce", weights=[1.0, 2.0, 2.0])
    assert torch.equal(short(logits, target), long(logits, target))


def test_metric_losses_of_hard_targets_are_the_overlap_losses():
    """min(p, t) is p·t when t is 0 or 1."""
    logits, target, region = example()
    same = {"batch": True, "classes": "all"}
    pairs = [
        (get_loss("jml", smooth=0.5), get_loss("soft-jaccard", smooth=0.5, **same)),
        (get_loss("dml", smooth=0.5), get_loss("dice", smooth=1.0, **same)),
        (get_loss("dml", smooth=0.5, norm=2), get_loss("dice-squared", smooth=1.0)),
        (get_loss("ctl", smooth=1.0), get_loss("tversky", **same)),
    ]
    for metric, overlap in pairs:
        torch.testing.assert_close(metric(logits, target, region), overlap(logits, target, region))


@pytest.mark.parametrize(
    ("name", "constants", "message"),
    [
        ("ce-dise", {}, "no loss 'ce-dise'; did you mean 'ce-dice'"),
        ("ce", {"smooth": 1.0}, "smooth"),
        ("tversky", {"alfa": 1.0}, "did you mean 'alpha'"),
        ("jml", {"alpha": 0.3}, "alpha"),  # that would be ctl
        ("dice", {"squared": True}, "squared"),  # that would be dice-squared
        ("dice", {"smooth": 0}, "'smooth' of loss 'dice' cannot be 0"),
        ("dice", {"smooth": float("nan")}, "cannot be nan"),
        ("focal", {"gamma": -1}, "cannot be -1"),
        ("focal", {"weights": ()}, "'weights'"),
        ("dml", {"classes": "some"}, "'auto', 'present' or 'all'"),
        ("dml", {"norm": 3}, "cannot be 3"),
        ("hausdorff", {"spacing": (1.0, 0.0)}, "'spacing'"),
    ],
)
def test_a_name_or_constant_that_cannot_be_is_refused(name, constants, message):
    """Before any training starts."""
    with pytest.raises(SettingError, match=message):
        get_loss(name, **constants)


def test_constants_that_do_not_fit_the_block_are_refused():
    """They are known only when a block comes."""
    logits, target, _ = example()
    with pytest.raises(SettingError, match="4 class weights were given for 3 classes"):
        get_loss("weighted-ce", weights=(1, 2, 3, 4))(logits, target)
    for name in ("distance-ce", "hausdorff", "shape-aware"):
        with pytest.raises(SettingError, match="does not fit blocks of 3 axes"):
            get_loss(name, spacing=(1.0, 1.0))(logits, target)


def test_constants_that_do_not_fit_each_other_are_refused():
    """Shares above 1, and a norm whose loss would be negative."""
    logits, target, _ = example()
    with pytest.raises(SettingError, match="more than 1"):
        get_loss("jml", by_image=0.6, by_class=0.6)(logits, target)
    with pytest.raises(SettingError, match="Norm 2 needs alpha"):
        get_loss("ctl", norm=2)(logits, target)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda x, t, m: (x[:, :1], t, m), GridMismatchError, "two or more classes"),
        (lambda x, t, m: (x[:, :, 0, 0, 0], t, m), GridMismatchError, r"\(2, 3\) are no"),
        (lambda x, t, m: (x[:0], t[:0], m[:0]), GridMismatchError, r"\(0, 3, 4, 3, 2\) are no"),
        (lambda x, t, m: (x, t[:, 1:], m), GridMismatchError, r"target has shape \(2, 3, 3, 2\)"),
        (lambda x, t, m: (x, one_hot(t)[:, :2], m), GridMismatchError, "need"),
        (lambda x, t, m: (x, t, m[0]), GridMismatchError, "region has shape"),
        (lambda x, t, m: (x, t + 1, m), MaskError, "holds class 3"),
        (lambda x, t, m: (x, t - 1, m), MaskError, "holds class -1"),
        (lambda x, t, m: (x, t.float(), m), MaskError, "must hold integers"),
    ],
)
def test_tensors_that_do_not_belong_together_are_refused(change, error, message):
    """With what they are and what is needed."""
    with pytest.raises(error, match=message):
        get_loss("ce-dice")(*change(*example()))
