"""Distances between surfaces, against values by hand, brute force, MedPy and the published script."""

import warnings

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_bcp.metrics import border, surface_distances
from napari_bcp.metrics.surface import _by_transform, _by_tree

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from medpy.metric import binary as medpy

MEASURES = ("hd", "hd95", "hd95_pooled", "assd", "asd")
STEPS = st.sampled_from([0.5, 0.7, 1.0, 2.5, 3.0])


@st.composite
def mask_pairs(draw, least_side=2):
    """Two masks of a common shape that are not empty, and a spacing."""
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=3, min_side=least_side, max_side=7))
    arrays = hnp.arrays(bool, shape)
    one, other = draw(arrays), draw(arrays)
    assume(one.any() and other.any())
    return one, other, tuple(draw(STEPS) for _ in shape)


def measures(prediction, truth, spacing):
    distances = surface_distances(prediction, truth, spacing)
    return {name: getattr(distances, name) for name in MEASURES}


def blob(seed, shape=(30, 26, 18)):
    """Return an irregular body with a hole here and there."""
    random = np.random.default_rng(seed)
    places = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij"))
    centre = random.uniform(-0.15, 0.15, (3, 1, 1, 1))
    return ((places - centre) ** 2).sum(axis=0) + random.normal(0, 0.04, shape) < 0.35


def test_two_voxels_lie_as_far_apart_as_the_spacing_says():
    """Three steps of 0.5, four of 3: a right triangle with the legs 1.5 and 12."""
    one, other = np.zeros((2, 10, 10, 1), bool)
    one[0, 0], other[3, 4] = True, True
    expected = np.hypot(1.5, 12)
    assert measures(one, other, (0.5, 3.0, 1.0)) == pytest.approx(dict.fromkeys(MEASURES, expected))


def test_distances_of_a_line_by_hand():
    """Prediction: voxels 0 to 9; truth: 0 to 5. The ends 9 and 5 lie 4 apart, the ends at 0 lie on each other."""
    prediction, truth = np.arange(12) < 10, np.arange(12) < 6
    distances = surface_distances(prediction, truth, [2.0])
    assert distances.to_truth.tolist() == [0, 8]
    assert distances.to_prediction.tolist() == [0, 8]
    assert (distances.hd, distances.assd) == (8, 4)
    assert distances.hd95 == pytest.approx(7.6)


def test_the_spacing_belongs_to_the_axes_in_their_order():
    one, other = np.zeros((2, 4, 5, 6), bool)
    one[0, 0, 0], other[1, 0, 0] = True, True
    assert surface_distances(one, other, (6.0, 1.0, 0.5)).hd == 6.0


def test_a_one_way_distance_overlooks_what_the_prediction_left_out():
    """Of two slices only one is predicted: every predicted voxel is right."""
    truth = np.zeros((6, 6, 4), bool)
    truth[1:5, 1:5, 1:3] = True
    prediction = truth.copy()
    prediction[..., 2] = False
    distances = surface_distances(prediction, truth, (1, 1, 3))
    assert (distances.asd, distances.hd) == (0, 3)
    assert distances.assd > 0


def test_distances_equal_the_reference_values(parity):
    """Brute force over all pairs of border voxels; NaN where a mask is empty."""
    values = parity("loss_metrics")
    columns = [str(name) for name in values["columns"]]
    names = {"hd": "hd", "hd95": "hd95_max", "hd95_pooled": "hd95_pooled", "assd": "assd_pooled"}
    names["asd"] = "asd_pred_to_ref"
    for case, prediction in enumerate(values["pred"]):
        for which, spacing in enumerate(values["spacing"]):
            expected = values["values"][case, which]
            found = measures(prediction, values["ref"][case], spacing)
            for name, column in names.items():
                np.testing.assert_allclose(found[name], expected[columns.index(column)], rtol=1e-9, atol=1e-12)


def test_distances_equal_those_of_the_published_script(parity):
    """Voxels and mm; where a mask is empty the script has a perfect 0 or an error, here it is undefined."""
    values = parity("bcp_metrics")
    for case, name in enumerate(values["case_names"]):
        prediction, truth = values["pred"][case], values["gt"][case]
        for spacing, expected in (((1, 1, 1), values["unit"]), (values["spacing"], values["spaced"])):
            distances = surface_distances(prediction, truth, spacing)
            found = (distances.hd95_pooled, distances.asd)
            if name in ("empty_pred", "empty_gt"):
                assert np.isnan(found).all()
            else:
                np.testing.assert_allclose(found, expected[case, 2:], rtol=1e-9, atol=1e-12)
        turned = surface_distances(truth, prediction, (1, 1, 1)).asd
        np.testing.assert_allclose(turned, values["asd_gt_to_pred"][case], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dense", [0.0, 1.0], ids=["transform", "tree"])
@pytest.mark.parametrize("seed", range(4))
def test_distances_equal_those_of_medpy(seed, dense, monkeypatch):
    """Whichever way of searching is taken."""
    monkeypatch.setattr("napari_bcp.metrics.surface._DENSE", dense)
    prediction, truth, spacing = blob(seed), blob(seed + 100), (0.8, 0.7, 2.5)
    expected = {
        "hd": medpy.hd(prediction, truth, spacing),
        "hd95_pooled": medpy.hd95(prediction, truth, spacing),
        "assd": medpy.assd(prediction, truth, spacing),
        "asd": medpy.asd(prediction, truth, spacing),
    }
    found = measures(prediction, truth, spacing)
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-12)


@settings(max_examples=40, deadline=None)
@given(mask_pairs())
def test_masks_of_any_form_agree_with_medpy(masks):
    """Also where masks touch the edge of the array, since beyond it everything is outside."""
    one, other, spacing = masks
    found = measures(one, other, spacing)
    assert found["hd"] == pytest.approx(medpy.hd(one, other, spacing), rel=1e-12)
    assert found["assd"] == pytest.approx(medpy.assd(one, other, spacing), rel=1e-12)


@settings(max_examples=40, deadline=None)
@given(mask_pairs())
def test_both_ways_of_searching_give_the_same_distances(masks):
    start, goal, spacing = masks
    steps = np.array(spacing)
    np.testing.assert_allclose(_by_tree(start, goal, steps), _by_transform(start, goal, steps), rtol=1e-12)


@settings(max_examples=40, deadline=None)
@given(mask_pairs())
def test_symmetric_measures_do_not_depend_on_the_order_of_the_masks(masks):
    one, other, spacing = masks
    found, turned = measures(one, other, spacing), measures(other, one, spacing)
    for name in ("hd", "hd95", "hd95_pooled", "assd"):
        assert found[name] == pytest.approx(turned[name])
    assert 0 <= found["hd95"] <= found["hd"]
    assert found["assd"] <= found["hd"]


@settings(max_examples=40, deadline=None)
@given(mask_pairs(), st.integers(0, 3), st.integers(1, 3))
def test_moving_both_masks_changes_nothing(masks, before, after):
    """Empty margins are cut off, so a body at the edge and one in the middle are the same."""
    one, other, spacing = masks
    wide = [np.pad(mask, [(before, after)] * mask.ndim) for mask in (one, other)]
    assert measures(*wide, spacing) == pytest.approx(measures(one, other, spacing))


@settings(max_examples=40, deadline=None)
@given(mask_pairs(), st.sampled_from([0.1, 2.0, 25.4]))
def test_distances_grow_with_the_spacing(masks, factor):
    one, other, spacing = masks
    larger = measures(one, other, [factor * step for step in spacing])
    assert larger == pytest.approx({n: factor * v for n, v in measures(one, other, spacing).items()})


@settings(max_examples=20, deadline=None)
@given(mask_pairs(least_side=1))
def test_a_mask_lies_at_no_distance_from_itself(masks):
    one, _, spacing = masks
    assert measures(one, one, spacing) == dict.fromkeys(MEASURES, 0)


def test_a_single_slice_is_measured_by_its_outline():
    """As a volume each of its voxels would be surface, and a hole in the truth would go unseen."""
    flat = np.zeros((9, 9), bool)
    flat[1:8, 1:8] = True
    smaller = np.zeros((9, 9), bool)
    smaller[3:6, 3:6] = True
    expected = measures(smaller, flat, (1.0, 2.0))
    assert expected["asd"] > 0
    assert measures(smaller[:, None], flat[:, None], (1.0, 30.0, 2.0)) == expected


def test_a_body_one_voxel_thick_in_a_thick_scan_keeps_its_dimensions():
    """The scan is a volume even if both masks lie in one slice of it."""
    mask = np.zeros((9, 9, 3), bool)
    mask[2:7, 2:7, 1] = True
    inner = np.zeros((9, 9, 3), bool)
    inner[4, 4, 1] = True
    assert surface_distances(inner, mask, (1, 1, 1)).asd == 0


@pytest.mark.parametrize("side", [0, 1])
def test_an_empty_mask_leaves_every_distance_undefined(side):
    masks = [np.zeros((4, 4, 4), bool), np.zeros((4, 4, 4), bool)]
    masks[side][1, 1, 1] = True
    assert np.isnan(list(measures(*masks, (1, 1, 1)).values())).all()


def test_two_empty_masks_leave_every_distance_undefined():
    assert np.isnan(list(measures(np.zeros((3, 3)), np.zeros((3, 3)), (1, 1)).values())).all()


def test_one_voxel_in_an_array_of_one_voxel():
    assert surface_distances(np.ones((1, 1, 1)), np.ones((1, 1, 1)), (1, 1, 1)).hd == 0


def test_the_border_of_a_cube_is_all_but_its_core():
    cube = np.zeros((6, 6, 6), bool)
    cube[1:5, 1:5, 1:5] = True
    core = np.zeros_like(cube)
    core[2:4, 2:4, 2:4] = True
    np.testing.assert_array_equal(border(cube), cube & ~core)


def test_voxels_at_the_edge_of_the_array_are_border():
    inner = np.zeros((4, 5, 3), bool)
    inner[1:-1, 1:-1, 1:-1] = True
    np.testing.assert_array_equal(border(np.ones((4, 5, 3), bool)), ~inner)


def test_measuring_leaves_the_masks_as_they_were():
    one, other = blob(1), blob(2)
    copies = one.copy(), other.copy()
    surface_distances(one, other, (1, 1, 1))
    np.testing.assert_array_equal((one, other), copies)


@pytest.mark.parametrize("spacing", [(1, 1), (1, 1, 0), (1, 1, -1), (1, 1, np.nan), (1, 1, np.inf), (1, 1, 1, 1)])
def test_a_spacing_that_cannot_be_is_refused(spacing):
    with pytest.raises(ValueError, match="spacing"):
        surface_distances(np.ones((2, 2, 2)), np.ones((2, 2, 2)), spacing)


def test_masks_of_two_shapes_are_refused():
    with pytest.raises(ValueError, match="the truth"):
        surface_distances(np.ones((2, 2, 2)), np.ones((2, 2, 3)), (1, 1, 1))
