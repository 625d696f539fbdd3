"""Values of each family worked out by hand.

Three voxels in a row with foreground probabilities .8, .6, .1 and target 1, 1, 0. For the foreground I = 1.4,
S_p = 1.5, S_t = 2, FP = .1, FN = .6, Σp² = 1.01 and |p - t| adds up to .7; for the background (.2, .4, .9 and 0, 0, 1)
I = .9, S_p = 1.5, S_t = 1, FP = .6, FN = .1.
"""

import math
from math import log

import numpy as np
import pytest
import torch

from napari_bcp.method.losses import get_loss

PROBABILITIES = torch.tensor([[[0.2, 0.4, 0.9], [0.8, 0.6, 0.1]]], dtype=torch.float64)
TARGET = torch.tensor([[1, 1, 0]])
CE = -(log(0.8) + log(0.6) + log(0.9)) / 3
EVENED_CE = -(1.5**0.5 * (log(0.8) + log(0.6)) + 3**0.5 * log(0.9)) / (2 * 1.5**0.5 + 3**0.5)
FOREGROUND = {"background": False}
TINY = {"smooth": 1e-12}


def combine(ce, foreground, background, share=0.5):
    """Return (1 - share)·ce + share·mean of the two classes."""
    return (1 - share) * ce + share * (foreground + background) / 2


@pytest.mark.parametrize(
    ("name", "constants", "expected"),
    [
        ("ce", {}, CE),
        ("weighted-ce", {"weights": (1, 2)}, -(2 * log(0.8) + 2 * log(0.6) + log(0.9)) / 3),
        ("balanced-ce", {}, -(log(0.8) / 3 + log(0.6) / 3 + 2 * log(0.9) / 3) / 3),
        ("balanced-ce", {"floor": 0.5}, -(log(0.8) / 2 + log(0.6) / 2 + 2 * log(0.9) / 3) / 3),
        ("focal", {}, -(0.25 * 0.04 * log(0.8) + 0.25 * 0.16 * log(0.6) + 0.75 * 0.01 * log(0.9)) / 3),
        ("focal", {"gamma": 1, "weights": (1,)}, -(0.2 * log(0.8) + 0.4 * log(0.6) + 0.1 * log(0.9)) / 3),
        ("distance-ce", {}, -(log(0.8) + 1.5 * log(0.6) + 1.5 * log(0.9)) / 3),  # d = 2, 1, 1
        ("hausdorff", {}, (8 * 0.04 + 2 * 0.16 + 2 * 0.01) / 3),  # both maps have d² = 4, 1, 1
        ("hausdorff", {"power": 1, "spacing": (5.0,)}, 5 * (4 * 0.04 + 2 * 0.16 + 2 * 0.01) / 3),
        ("shape-aware", {}, CE),  # no voxel is wrong
        ("dice", {"smooth": 1.0}, combine(0, 1 - 3.8 / 4.5, 1 - 2.8 / 3.5, 1)),
        ("dice", FOREGROUND | TINY, 1 - 2.8 / 3.5),
        ("dice-squared", FOREGROUND, 1 - 2.8 / 3.01),
        ("log-cosh-dice", FOREGROUND | TINY, log(math.cosh(0.2))),
        ("soft-jaccard", FOREGROUND | TINY, 1 - 1.4 / 2.1),
        ("tversky", FOREGROUND, 1 - 2.4 / (1.4 + 0.03 + 0.42 + 1)),
        ("focal-tversky", FOREGROUND, (1 - 2.4 / (1.4 + 0.03 + 0.42 + 1)) ** 0.75),
        ("sensitivity-specificity", TINY, 0.05 * 0.2 / 2 + 0.95 * 0.01),
        # foreground: errors .4 and .2 each take half the index; background: .4 half, .2 a sixth, .1 a third
        ("lovasz-softmax", {}, (0.2 + 0.1 + 0.2 + 0.2 / 6 + 0.1 / 3) / 2),
        ("jml", TINY, combine(0, 0.7 / 2.1, 0.7 / 1.6, 1)),
        ("dml", TINY, combine(0, 0.7 / 3.5, 0.7 / 2.5, 1)),
        ("dml", TINY | {"norm": 2}, combine(0, 0.21 / 3.01, 0.21 / 2.01, 1)),
        ("jml", TINY | {"power": 2}, combine(0, 1 / 9, (0.7 / 1.6) ** 2, 1)),
        ("jml", TINY | {"log": True}, combine(0, log(2.1 / 1.4), log(1.6 / 0.9), 1)),
        ("ctl", TINY, combine(0, 0.45 / 1.85, 0.25 / 1.15, 1)),
        ("ce-dice", TINY, combine(CE, 0.2, 0.7 / 2.5)),
        ("ce-dice-balanced", TINY, combine(EVENED_CE, 0.2, 0.7 / 2.5)),
        ("ce-dice-squared", {}, combine(CE, 0.21 / 3.01, 0.21 / 2.01)),
        ("ce-jml", TINY, combine(CE, 0.7 / 2.1, 0.7 / 1.6, 0.75)),
        ("ce-dml", {}, combine(CE, 0.7 / 5.5, 0.7 / 4.5, 0.75)),
        ("ce-dml", TINY | {"share": 0.2}, combine(CE, 0.2, 0.7 / 2.5, 0.2)),
        ("combo", TINY, combine(0.5 * CE, -0.8, -1.8 / 2.5)),
        (
            "exp-log",
            TINY,
            0.8 * (log(1 / 0.8) ** 0.3 + log(2.5 / 1.8) ** 0.3) / 2
            + 0.2 * ((3 / 2) ** 0.5 * (log(1 / 0.8) ** 0.3 + log(1 / 0.6) ** 0.3) + 3**0.5 * log(1 / 0.9) ** 0.3) / 3,
        ),
    ],
)
def test_three_voxels_worked_out_by_hand(name, constants, expected):
    """The formula of each loss, from its docstring."""
    value = get_loss(name, **constants)(PROBABILITIES.log(), TARGET)
    assert value.item() == pytest.approx(expected, rel=1e-9)


def test_soft_targets_worked_out_by_hand():
    """Foreground .7, .5, .2 instead: min(p, t) adds up to 1.3, the sizes to 2.9 and 3.1, the gaps to .3."""
    soft = torch.tensor([[[0.3, 0.5, 0.8], [0.7, 0.5, 0.2]]], dtype=torch.float64)
    ce = -(0.7 * log(0.8) + 0.3 * log(0.2) + 0.5 * log(0.6) + 0.5 * log(0.4) + 0.2 * log(0.1) + 0.8 * log(0.9)) / 3
    logits = PROBABILITIES.log()
    assert get_loss("ce")(logits, soft).item() == pytest.approx(ce)
    assert get_loss("dml", smooth=1e-12)(logits, soft).item() == pytest.approx((0.3 / 2.9 + 0.3 / 3.1) / 2)
    assert get_loss("ce-dml")(logits, soft).item() == pytest.approx(combine(ce, 0.3 / 4.9, 0.3 / 5.1, 0.75))
    both = 0.8 * 0.7 + 0.6 * 0.5 + 0.1 * 0.2  # the product, whose best prediction is not the target
    assert get_loss("dice", background=False, smooth=1e-12)(logits, soft).item() == pytest.approx(1 - 2 * both / 2.9)


def test_a_region_cuts_probabilities_after_the_softmax():
    """Without the middle voxel: foreground I = .8, S_p = .9, S_t = 1; background I = .9, S_p = 1.1, S_t = 1."""
    region = torch.tensor([[True, False, True]])
    ce = -(log(0.8) + log(0.9)) / 2
    value = get_loss("ce-dice", smooth=1e-12)(PROBABILITIES.log(), TARGET, region)
    assert value.item() == pytest.approx(combine(ce, 1 - 1.6 / 1.9, 1 - 1.8 / 2.1))


def test_shape_aware_doubles_wrong_voxels_when_borders_are_one_voxel_apart():
    """The predicted border lies at voxels 0 and 3, the true one at 0 and 1: mean distance (0 + 2)/2 = 1."""
    foreground = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.1], dtype=torch.float64)
    logits = torch.stack([1 - foreground, foreground]).log().unsqueeze(0)
    value = get_loss("shape-aware")(logits, torch.tensor([[1, 1, 0, 0, 0]]))
    expected = -(log(0.9) + log(0.8) + 2 * log(0.3) + 2 * log(0.4) + log(0.9)) / 5
    assert value.item() == pytest.approx(expected)


def test_distances_are_in_millimetres_where_spacing_is_given():
    """One foreground voxel at a corner of 2 x 2: with 3 mm between columns the diagonal is √10 mm away."""
    logits = torch.zeros(1, 2, 2, 2, dtype=torch.float64)
    target = torch.tensor([[[1, 0], [0, 0]]])
    near = 1 - np.array([1, 3, 1, 10**0.5]) / 10**0.5  # φ of the four voxels
    value = get_loss("distance-ce", spacing=(1.0, 3.0))(logits, target)
    assert value.item() == pytest.approx(log(2) * (1 + near.mean()))


def test_correlation_ssim_equals_its_formula_voxel_by_voxel():
    """A loop over voxels and their neighbours, value and gradient."""
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(2, 2, 4, 3, dtype=torch.float64, generator=generator, requires_grad=True)
    target = torch.randint(0, 2, (2, 4, 3), generator=generator)
    region = torch.rand(2, 4, 3, generator=generator) > 0.3
    p = logits.detach().softmax(1).numpy()
    t = np.stack([target == 0, target == 1], axis=1).astype(float)

    def standardised(image, i, j):
        places = [(a, b) for a in range(i - 1, i + 2) for b in range(j - 1, j + 2) if 0 <= a < 4 and 0 <= b < 3]
        weights = np.array([math.exp(-((a - i) ** 2 + (b - j) ** 2) / (2 * 1.5**2)) for a, b in places])
        values = np.array([image[place] for place in places])
        mean = (weights * values).sum() / weights.sum()
        spread = math.sqrt((weights * (values - mean) ** 2).sum() / weights.sum())
        return (image[i, j] - mean + 0.01) / (spread + 0.01)

    error = np.zeros(p.shape)
    for b, c, i, j in np.ndindex(p.shape):
        if region[b, i, j]:
            error[b, c, i, j] = abs(standardised(t[b, c], i, j) - standardised(p[b, c], i, j))
    kept = error > 0.1 * error.max()
    bce = -np.where(t == 1, np.log(p), np.log(1 - p))

    value = get_loss("correlation-ssim")(logits, target, region)
    assert value.item() == pytest.approx((kept * error * bce).sum() / kept.sum())

    value.backward()
    weights = torch.tensor(kept * error / kept.sum())
    again = logits.detach().requires_grad_()
    probability, hot = again.softmax(1), torch.tensor(t)
    (weights * -(hot * probability.log() + (1 - hot) * (1 - probability).log())).sum().backward()
    torch.testing.assert_close(logits.grad, again.grad)
