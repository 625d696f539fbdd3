"""How far the features of two sets of scans lie apart."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import gaussian_kde, wasserstein_distance

from napari_bcp.metrics import (
    channel_mean,
    class_features,
    density_curve,
    density_overlap,
    draw_equally,
    feature_shift,
    normalised_wasserstein,
    wasserstein,
)

SAMPLES = hnp.arrays(np.float64, st.integers(2, 30), elements=st.integers(-1000, 1000).map(lambda n: n / 10))


@pytest.fixture
def published(parity):
    """The values of the published plot, with the features of both sides chosen as its script does."""
    values = parity("bcp_kde")
    half = len(values["features"]) // 2
    sides = []
    for part in (slice(None, half), slice(half, None)):
        features, prediction, label = (values[name][part] for name in ("features", "pred", "label"))
        sides.append(class_features(features.T, prediction, int(values["class_id"]), label))
    n = min(*map(len, sides), int(values["max_pixels"]))
    return {**values, "sides": [side[:n] for side in sides]}


def test_channel_means_equal_those_of_the_published_script(published):
    for side, name in zip(published["sides"], ("scalar_l", "scalar_u"), strict=True):
        np.testing.assert_allclose(channel_mean(side), published[name], rtol=1e-6)


@pytest.mark.parametrize("side", ["l", "u"])
def test_curves_equal_those_of_the_published_plot(published, side):
    places, density = density_curve(published[f"scalar_{side}"])
    np.testing.assert_allclose([places, density], published[f"curve_{side}"], rtol=1e-5, atol=1e-8)


def test_distance_and_overlap_equal_the_reference_values(published):
    one, other = published["scalar_l"], published["scalar_u"]
    assert wasserstein(one, other) == pytest.approx(float(published["w1"]), rel=1e-5)
    assert normalised_wasserstein(one, other) == pytest.approx(float(published["w1_norm"]), rel=1e-5)
    assert density_overlap(one, other) == pytest.approx(float(published["overlap"]), rel=1e-5)


def test_a_comparison_of_features_holds_all_three_numbers(published):
    shift = feature_shift(*published["sides"])
    assert shift.distance == pytest.approx(float(published["w1_norm"]), rel=1e-4)
    assert shift.overlap == pytest.approx(float(published["overlap"]), rel=1e-4)
    one, other = published["sides"]
    channels = [normalised_wasserstein(one[:, k], other[:, k]) for k in range(16)]
    assert shift.channel_distance == pytest.approx(np.mean(channels))


def test_opposite_shifts_of_two_channels_are_seen_in_the_channels_alone():
    features = np.random.default_rng(0).normal(size=(200, 2))
    shift = feature_shift(features, features + np.array([3, -3]))
    assert shift.distance == pytest.approx(0)
    assert shift.channel_distance == pytest.approx(3, rel=0.1)


def test_wasserstein_by_hand():
    assert wasserstein(np.array([0.0, 1.0]), np.array([5.0, 6.0])) == 5
    assert wasserstein(np.array([0.0]), np.array([0.0, 4.0])) == 2


@settings(max_examples=50, deadline=None)
@given(SAMPLES, SAMPLES)
def test_wasserstein_equals_the_one_of_scipy_and_is_symmetric(one, other):
    assert wasserstein(one, other) == pytest.approx(wasserstein_distance(one, other), abs=1e-9)
    assert wasserstein(one, other) == pytest.approx(wasserstein(other, one), abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(SAMPLES, SAMPLES, st.sampled_from([0.01, 3.0, 1000.0]), st.integers(-50, 50))
def test_normalised_values_do_not_depend_on_scale_and_origin(one, other, factor, shift):
    assume(np.ptp(one) > 0 and np.ptp(other) > 0)
    moved = one * factor + shift, other * factor + shift
    assert normalised_wasserstein(*moved) == pytest.approx(normalised_wasserstein(one, other), rel=1e-6)
    assert density_overlap(*moved) == pytest.approx(density_overlap(one, other), rel=1e-6, abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(SAMPLES, SAMPLES)
def test_the_overlap_lies_between_zero_and_one(one, other):
    assume(np.ptp(one) > 0 and np.ptp(other) > 0)
    assert -1e-12 <= density_overlap(one, other) <= 1.01
    assert density_overlap(one, other) == pytest.approx(density_overlap(other, one), abs=1e-9)


def test_a_sample_overlaps_itself_wholly_and_a_far_one_not_at_all():
    sample = np.random.default_rng(1).normal(size=300)
    assert density_overlap(sample, sample) == pytest.approx(1, abs=0.005)
    assert density_overlap(sample, sample + 100) == pytest.approx(0, abs=1e-12)


def test_the_density_equals_the_one_of_scipy():
    sample = np.random.default_rng(2).gamma(2, size=150)
    places, density = density_curve(sample, points=50)
    expected = gaussian_kde(sample, bw_method=0.5 * len(sample) ** -0.2)(places)
    np.testing.assert_allclose(density, expected, rtol=1e-9)


def test_constant_channels_are_alike_or_undefined():
    """A dead channel on both sides says nothing; two constants have no spread to compare with."""
    assert normalised_wasserstein(np.ones(5), np.ones(4)) == 0
    assert math.isnan(normalised_wasserstein(np.ones(5), np.zeros(5)))
    assert math.isnan(normalised_wasserstein(np.full(10, 0.1), np.full(10, 0.7)))


def test_features_of_a_class_are_those_predicted_and_where_known_also_true():
    features = np.arange(12).reshape(2, 2, 3)
    prediction, truth = np.array([[1, 1, 0], [0, 1, 0]]), np.array([[1, 0, 0], [1, 1, 0]])
    np.testing.assert_array_equal(class_features(features, prediction, 1), [[0, 6], [1, 7], [4, 10]])
    np.testing.assert_array_equal(class_features(features, prediction, 1, truth), [[0, 6], [4, 10]])


def test_both_sides_give_the_same_number_of_voxels():
    one = [np.zeros((30, 4)), np.ones((50, 4))]
    other = [np.full((20, 4), 2.0)]
    for limit, n in ((10, 10), (500, 20)):
        drawn = draw_equally(one, other, limit=limit, seed=1)
        assert [side.shape for side in drawn] == [(n, 4), (n, 4)]


def test_a_seed_draws_the_same_voxels_again_and_another_one_others():
    scans = [np.arange(200.0).reshape(100, 2)]
    first, again, other = (draw_equally(scans, scans, limit=20, seed=seed)[0] for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert len(np.unique(first[:, 0])) == 20


def test_voxels_come_from_all_scans():
    scans = [np.full((100, 1), scan) for scan in range(5)]
    drawn, _ = draw_equally(scans, scans, limit=100, seed=0)
    assert set(drawn.ravel()) == set(range(5))


def test_a_side_without_voxels_gives_none():
    one, other = draw_equally([np.ones((5, 3))], [])
    assert (len(one), len(other)) == (0, 0)


@pytest.mark.parametrize("sample", [np.empty(0), np.ones(1), np.full(10, 0.1), np.ones((3, 2))])
def test_a_sample_without_spread_has_no_density(sample):
    with pytest.raises(ValueError, match="sample"):
        density_curve(sample)


def test_features_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="channels differ"):
        feature_shift(np.ones((5, 2)), np.ones((5, 3)))
    with pytest.raises(ValueError, match="do not fit"):
        class_features(np.ones((2, 4)), np.ones(5), 1)
