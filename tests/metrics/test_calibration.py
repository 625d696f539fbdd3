"""Expected calibration error."""

import math

import numpy as np
import pytest

from napari_bcp.metrics import Calibration, near, sort_into_bins


def test_errors_equal_the_reference_values(parity):
    values = parity("loss_quality")
    calibration = Calibration(range(3))
    for probabilities, truth in zip(values["prob"], values["label"], strict=True):
        calibration.add(probabilities, truth)
    assert calibration.pooled_error == pytest.approx(float(values["ece_pooled"]), rel=1e-10)
    assert calibration.image_error == pytest.approx(float(values["ece_per_image_mean"]), rel=1e-10)
    assert list(calibration.class_errors.values()) == pytest.approx(values["ece_classwise"].tolist(), rel=1e-10)


def test_error_by_hand():
    """Two bins: (.1, .3) of which one holds, and .9 which does not: (|1 - .4| + |0 - .9|) / 3."""
    bins = sort_into_bins(np.array([0.1, 0.3, 0.9]), np.array([True, False, False]), bins=2)
    assert bins.voxels.tolist() == [2, 1]
    assert bins.error == pytest.approx((0.6 + 0.9) / 3)


def test_bins_begin_at_their_lower_edge_and_the_last_takes_one():
    probability = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
    assert sort_into_bins(probability, probability > 2, bins=4).voxels.tolist() == [1, 1, 1, 2]


def test_bytes_are_binned_as_their_255th_part():
    stored = np.arange(256, dtype=np.uint8)
    holds = stored % 3 == 0
    bins, expected = sort_into_bins(stored, holds), sort_into_bins(stored / 255, holds)
    np.testing.assert_array_equal(bins.voxels, expected.voxels)
    np.testing.assert_allclose(bins.probability, expected.probability)


def test_probabilities_that_mean_what_they_say_have_a_small_error():
    random = np.random.default_rng(0)
    foreground = random.random((50, 50, 40))
    truth = (random.random(foreground.shape) < foreground).astype(np.uint8)
    calibration = Calibration([0, 1])
    calibration.add(np.stack([1 - foreground, foreground]), truth)
    assert calibration.pooled_error < 0.01
    assert max(calibration.class_errors.values()) < 0.01


def test_certainty_that_is_half_wrong_has_an_error_of_one_half():
    probabilities = np.stack([np.zeros(10), np.ones(10)])
    calibration = Calibration([0, 5])
    calibration.add(probabilities, np.array([0, 5] * 5))
    assert (calibration.pooled_error, calibration.image_error) == (0.5, 0.5)
    assert calibration.class_errors == {0: 0.5, 5: 0.5}


def test_pooling_forgives_what_single_images_do_not():
    """One image is too sure, the other not sure enough: together they look calibrated."""
    calibration = Calibration([0, 1])
    probabilities = np.stack([np.full(10, 0.25), np.full(10, 0.75)])
    calibration.add(probabilities, np.repeat([0, 1], [5, 5]))
    calibration.add(probabilities, np.ones(10, np.uint8))
    assert calibration.pooled_error == pytest.approx(0)
    assert calibration.image_error == pytest.approx(0.25)


def test_a_region_counts_its_voxels_alone_and_easy_background_hides_the_error():
    truth = np.zeros((20, 20), np.uint8)
    truth[9:11, 9:11] = 1
    foreground = np.where(near(truth, 2), 0.9, 0.0)
    probabilities = np.stack([1 - foreground, foreground])
    everywhere, close = Calibration([0, 1]), Calibration([0, 1])
    everywhere.add(probabilities, truth)
    close.add(probabilities, truth, near(truth, 2))
    assert close.decisions.voxels.sum() == 36
    assert close.pooled_error == pytest.approx(0.9 - 4 / 36)
    assert everywhere.pooled_error == pytest.approx((0.9 * 36 - 4) / 400)


def test_the_curve_leaves_empty_bins_out():
    bins = sort_into_bins(np.array([0.15, 0.15, 0.95]), np.array([True, False, True]))
    probability, share = bins.curve()
    np.testing.assert_allclose(probability, [0.15, 0.95])
    np.testing.assert_allclose(share, [0.5, 1.0])


def test_sums_in_float32_would_stop_growing_but_these_do_not(monkeypatch):
    """Bins of 16.8 million voxels take one more."""
    half = sort_into_bins(np.zeros(1), np.zeros(1, bool))
    many = type(half)(half.voxels * 2**24, half.holding, half.probability)
    assert (many + half).voxels[0] == 2**24 + 1


def test_without_voxels_there_is_no_error():
    calibration = Calibration([0, 1])
    calibration.add(np.zeros((2, 3)), np.zeros(3), np.zeros(3, bool))
    assert math.isnan(calibration.pooled_error)
    assert math.isnan(calibration.image_error)
    assert all(map(math.isnan, calibration.class_errors.values()))


def test_an_image_without_voxels_does_not_spoil_the_mean_over_images():
    calibration = Calibration([0, 1])
    probabilities = np.stack([np.full(4, 0.25), np.full(4, 0.75)])
    calibration.add(probabilities, np.zeros(4), np.zeros(4, bool))
    calibration.add(probabilities, np.array([1, 1, 0, 0]))
    assert calibration.image_error == pytest.approx(0.25)


def test_arrays_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="probabilities"):
        Calibration([0, 1]).add(np.zeros((3, 4)), np.zeros(4))
    with pytest.raises(ValueError, match="bins"):
        sort_into_bins(np.zeros(3), np.zeros(4, bool))
    with pytest.raises(ValueError, match="bins"):
        sort_into_bins(np.zeros(3), np.zeros(3, bool), bins=0)
