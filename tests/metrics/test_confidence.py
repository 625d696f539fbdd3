"""Quality expected without a truth, uncertainty and disagreement."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_bcp.metrics import (
    HIGH,
    MEDIUM,
    Confidence,
    band,
    dice,
    disagreement,
    jensen_shannon,
    mean_entropy,
    predictive_entropy,
    soft_dice_confidence,
)


@st.composite
def probability_maps(draw, classes=3):
    """Probabilities (classes, x, y) that add up to 1."""
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=2, max_side=6))
    scores = draw(hnp.arrays(np.float64, (classes, *shape), elements=st.floats(0, 1)))
    scores += 1e-3
    return scores / scores.sum(axis=0)


def test_confidence_by_hand():
    """Class 1 got the voxels .9 and .6 of 1.7 in all: 2 · 1.5 / (1.7 + 2)."""
    foreground = np.array([0.9, 0.6, 0.2, 0.0])
    probabilities = np.stack([1 - foreground, foreground])
    found = soft_dice_confidence(probabilities, probabilities.argmax(axis=0), [0, 1])
    assert found == pytest.approx({0: 2 * 1.8 / (2.3 + 2), 1: 3 / 3.7})


def test_confidence_equals_the_reference_values(parity):
    values = parity("loss_quality")
    for probabilities, expected in zip(values["prob"], values["sdc"], strict=True):
        found = soft_dice_confidence(probabilities, probabilities.argmax(axis=0), range(3))
        for value, sdc in enumerate(expected):
            assert found[value] == (None if np.isnan(sdc) else pytest.approx(sdc, rel=1e-10))


def test_confidence_is_close_to_the_mean_dice_of_masks_drawn_from_the_map(parity):
    """The reference drew 2,000 masks a map: drawing anew finds the same, and the formula needs no draws."""
    values, random = parity("loss_quality"), np.random.default_rng(0)
    for probabilities, expected in zip(values["prob"], values["expected_dice_class1_mc2000"], strict=True):
        labels = probabilities.argmax(axis=0)
        drawn = random.random((2000, *labels.shape)) < probabilities[1]
        overlaps = [dice(one, labels == 1) for one in drawn]
        assert np.mean(overlaps) == pytest.approx(expected, abs=0.003)
        assert soft_dice_confidence(probabilities, labels, range(3))[1] == pytest.approx(expected, abs=0.005)


@settings(max_examples=40, deadline=None)
@given(probability_maps(), st.integers(1, 4))
def test_slabs_add_up_to_the_whole(probabilities, step):
    labels = probabilities.argmax(axis=0)
    slabs = Confidence(range(3))
    for start in range(0, labels.shape[0], step):
        slabs.add(probabilities[:, start : start + step], labels[start : start + step])
    whole = soft_dice_confidence(probabilities, labels, range(3))
    assert slabs.result() == {value: sdc if sdc is None else pytest.approx(sdc) for value, sdc in whole.items()}
    assert all(sdc is None or 0 <= sdc <= 1 for sdc in whole.values())


def test_confidence_of_certain_probabilities_is_the_dice():
    """With probabilities 0 and 1 the expected quality is the overlap with the labels."""
    random = np.random.default_rng(3)
    certain, labels = random.random((2, 5, 6, 7)) > 0.5
    assert soft_dice_confidence(certain[None].astype(np.float32), labels, [1])[1] == pytest.approx(
        dice(certain, labels)
    )


def test_confidence_of_calibrated_independent_voxels_is_close_to_the_true_dice():
    random = np.random.default_rng(0)
    foreground = random.beta(0.3, 0.6, (40, 40, 40))
    truth = random.random(foreground.shape) < foreground
    labels = foreground >= 0.5
    assert soft_dice_confidence(foreground[None], labels, [1])[1] == pytest.approx(dice(labels, truth), abs=0.01)


def test_bytes_mean_their_255th_part():
    random = np.random.default_rng(1)
    stored = random.integers(0, 256, (2, 6, 5, 4), dtype=np.uint8)
    labels = stored.argmax(axis=0)
    as_float = soft_dice_confidence(stored / 255, labels, [0, 1])
    assert soft_dice_confidence(stored, labels, [0, 1]) == pytest.approx(as_float, rel=1e-12)
    np.testing.assert_allclose(predictive_entropy(stored), predictive_entropy(stored / 255), atol=1e-6)


def test_channels_stand_for_the_class_values_that_were_named():
    """A map may hold foreground only, and the values of its classes need not be 1, 2, …"""
    stored = np.full((2, 4), 200, np.uint8)
    found = soft_dice_confidence(stored, np.array([0, 3, 7, 7]), [7, 3])
    assert found == pytest.approx({7: 2 * 400 / (800 + 2 * 255), 3: 2 * 200 / (800 + 255)})


def test_a_class_that_no_voxel_was_given_has_no_confidence():
    probabilities = np.array([[0.8, 0.7], [0.2, 0.3]])
    assert soft_dice_confidence(probabilities, probabilities.argmax(axis=0), [0, 1])[1] is None
    assert Confidence([4]).result() == {4: None}


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        (np.zeros((2, 4)), np.zeros(4), r"expected \(3, 4\)"),
        (np.zeros((3, 4)), np.zeros(5), r"expected \(3, 5\)"),
        (np.zeros((3, 4), np.int32), np.zeros(4), "int32"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(probabilities, labels, message):
    with pytest.raises(ValueError, match=message):
        Confidence(range(3)).add(probabilities, labels)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1.0, "high"), (HIGH, "high"), (MEDIUM, "medium"), (0.0, "low"), (None, None), (math.nan, None)],
)
def test_bands_begin_at_their_lowest_value(value, expected):
    assert band(value) == expected


def test_just_below_a_threshold_the_lower_band_holds():
    assert (band(np.nextafter(HIGH, 0)), band(np.nextafter(MEDIUM, 0))) == ("medium", "low")


def test_entropy_and_divergence_equal_the_reference_values(parity):
    values = parity("loss_quality")
    for teacher, student, entropy, jsd in zip(
        values["prob"], values["student_prob"], values["entropy"], values["jsd"], strict=True
    ):
        np.testing.assert_allclose(predictive_entropy(teacher), entropy, rtol=1e-10, atol=1e-14)
        np.testing.assert_allclose(jensen_shannon(teacher, student), jsd, rtol=1e-10, atol=1e-14)


def test_disagreement_equals_the_reference_values(parity):
    values = parity("loss_quality")
    labels = [values[name].argmax(axis=1).astype(np.uint8) for name in ("prob", "student_prob")]
    for case, expected in enumerate(values["teacher_student_1_minus_dice"]):
        found = disagreement(labels[0][case], labels[1][case], range(3))
        np.testing.assert_allclose([found[value] for value in range(3)], expected, rtol=1e-10)


def test_networks_that_both_leave_a_class_out_neither_agree_nor_disagree():
    nothing = np.zeros((2, 2), np.uint8)
    assert math.isnan(disagreement(nothing, nothing, [1])[1])


@settings(max_examples=40, deadline=None)
@given(probability_maps())
def test_entropy_lies_between_certainty_and_a_draw(probabilities):
    entropy = predictive_entropy(probabilities)
    assert (entropy >= 0).all()
    assert (entropy <= math.log(3) + 1e-12).all()
    np.testing.assert_allclose(predictive_entropy(probabilities[::-1]), entropy)


def test_entropy_of_certainty_and_of_a_draw():
    np.testing.assert_allclose(predictive_entropy(np.array([[1.0, 0.5], [0.0, 0.5]])), [0, math.log(2)])


def test_entropy_keeps_the_type_of_the_probabilities():
    assert predictive_entropy(np.full((2, 3), 0.5, np.float32)).dtype == np.float32
    assert predictive_entropy(np.zeros((2, 3), np.uint8)).dtype == np.float32


def test_divergence_is_symmetric_and_largest_for_opposite_certainty():
    one, other = np.array([[1.0, 0.6], [0.0, 0.4]]), np.array([[0.0, 0.6], [1.0, 0.4]])
    np.testing.assert_allclose(jensen_shannon(one, other), [math.log(2), 0], atol=1e-15)
    np.testing.assert_allclose(jensen_shannon(one, other), jensen_shannon(other, one))


def test_rounding_makes_no_divergence_negative():
    """Networks that differ in the last digit of float32."""
    one = np.random.default_rng(0).random((1, 1000), dtype=np.float32)
    one = np.concatenate([one, 1 - one])
    assert jensen_shannon(one, np.nextafter(one, np.float32(1))).min() == 0


@pytest.mark.parametrize("other", [np.zeros((2, 3), np.uint8), np.zeros((2, 3), np.float32), np.zeros((3, 3))])
def test_divergence_refuses_probabilities_of_another_kind(other):
    with pytest.raises(ValueError, match="probabilities"):
        jensen_shannon(np.zeros((2, 3)), other)


def test_mean_entropy_looks_at_the_foreground_and_its_surroundings_only():
    """One voxel of 11 is foreground; within 2 of it all is a draw, the rest certain."""
    foreground = np.zeros(11)
    foreground[3:8] = 0.5
    labels = np.zeros(11, np.uint8)
    labels[5] = 1
    probabilities = np.stack([1 - foreground, foreground])
    assert mean_entropy(probabilities, labels, margin=2) == pytest.approx(math.log(2))
    assert mean_entropy(probabilities, labels, margin=3) == pytest.approx(5 / 7 * math.log(2))


def test_mean_entropy_is_over_the_whole_scan_where_nothing_was_found():
    probabilities = np.array([[0.5, 1.0], [0.5, 0.0]])
    assert mean_entropy(probabilities, np.zeros(2, np.uint8)) == pytest.approx(math.log(2) / 2)
