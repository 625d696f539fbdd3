"""Counts of voxels and the measures that grow from them."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_bcp.metrics import Counts, count, count_classes, dice, dice_per_class

MEASURES = ("dice", "jaccard", "precision", "sensitivity", "specificity")
SHAPES = hnp.array_shapes(min_dims=1, max_dims=3, max_side=6)


@st.composite
def label_pairs(draw, highest=3):
    shape = draw(SHAPES)
    arrays = hnp.arrays(np.uint8, shape, elements=st.integers(0, highest))
    return draw(arrays), draw(arrays)


def test_measures_of_a_pair_counted_by_hand():
    """Six voxels: two in both, one only predicted, one only true, two in neither."""
    prediction, truth = np.array([1, 1, 1, 0, 0, 0], bool), np.array([1, 1, 0, 1, 0, 0], bool)
    counts = count(prediction, truth)
    assert counts == Counts(both=2, prediction_only=1, truth_only=1, neither=2)
    assert [getattr(counts, name) for name in MEASURES] == pytest.approx([4 / 6, 2 / 4, 2 / 3, 2 / 3, 2 / 3])


@pytest.mark.parametrize(
    ("prediction", "truth", "expected"),
    [
        ([0, 0, 0], [0, 0, 0], [math.nan, math.nan, math.nan, math.nan, 1.0]),
        ([0, 0, 0], [1, 0, 0], [0.0, 0.0, math.nan, 0.0, 1.0]),
        ([1, 0, 0], [0, 0, 0], [0.0, 0.0, 0.0, math.nan, 2 / 3]),
        ([1, 1, 1], [1, 1, 1], [1.0, 1.0, 1.0, 1.0, math.nan]),
    ],
    ids=["both empty", "prediction empty", "truth empty", "no background"],
)
def test_what_an_empty_mask_leaves_undefined_is_nan(prediction, truth, expected):
    counts = count(np.array(prediction), np.array(truth))
    np.testing.assert_allclose([getattr(counts, name) for name in MEASURES], expected)


def test_overlap_measures_equal_the_reference_values(parity):
    values = parity("loss_metrics")
    columns = [str(name) for name in values["columns"]]
    for prediction, truth, expected in zip(values["pred"], values["ref"], values["values"][:, 0], strict=True):
        counts = count(prediction, truth)
        np.testing.assert_allclose(
            [getattr(counts, name) for name in MEASURES], [expected[columns.index(n)] for n in MEASURES], rtol=1e-12
        )


@settings(max_examples=60, deadline=None)
@given(label_pairs())
def test_classes_counted_together_equal_each_counted_alone(pair):
    prediction, truth = pair
    together = count_classes(prediction, truth)
    assert list(together) == sorted((set(prediction.ravel()) | set(truth.ravel())) - {0})
    for value, counts in together.items():
        assert counts == count(prediction == value, truth == value)


@settings(max_examples=60, deadline=None)
@given(label_pairs(highest=1))
def test_dice_and_jaccard_are_symmetric_bounded_and_tied_to_each_other(pair):
    one, other = pair
    counts, turned = count(one, other), count(other, one)
    np.testing.assert_equal((counts.dice, counts.jaccard), (turned.dice, turned.jaccard))
    np.testing.assert_equal((counts.precision, counts.sensitivity), (turned.sensitivity, turned.precision))
    if one.any() or other.any():
        assert 0 <= counts.jaccard <= counts.dice <= 1
        assert counts.dice == pytest.approx(2 * counts.jaccard / (1 + counts.jaccard))
    assert counts.both + counts.prediction_only + counts.truth_only + counts.neither == one.size


def test_counting_crosses_the_border_between_two_parts_of_a_large_array(monkeypatch):
    monkeypatch.setattr("napari_bcp.metrics.overlap._CHUNK", 7)
    prediction = np.arange(50, dtype=np.uint8).reshape(5, 10) % 3
    truth = np.arange(50, dtype=np.uint8).reshape(5, 10) % 4
    for value, counts in count_classes(prediction, truth).items():
        assert counts == count(prediction == value, truth == value)


def test_arrays_in_another_memory_order_are_counted_alike():
    random = np.random.default_rng(0)
    prediction, truth = random.integers(0, 3, (2, 4, 5, 6), dtype=np.uint8)
    assert count_classes(np.asfortranarray(prediction), truth) == count_classes(prediction, truth)


def test_dice_takes_everything_except_zero_as_mask():
    assert dice(np.array([0.0, 2.0, -1.0]), np.array([0, 255, 255])) == 1.0


def test_dice_per_class_gives_nan_for_a_class_that_is_nowhere():
    labels = np.array([0, 1, 1, 255], np.uint8)
    np.testing.assert_equal(dice_per_class(labels, labels, [1, 2, 255]), {1: 1.0, 2: math.nan, 255: 1.0})


@pytest.mark.parametrize(
    ("prediction", "truth", "classes", "message"),
    [
        (np.zeros(3, np.uint8), np.zeros(4, np.uint8), None, r"\(3,\), the truth \(4,\)"),
        (np.zeros(3, np.int64), np.zeros(3, np.uint8), None, "expected uint8"),
        (np.zeros(3, np.uint8), np.zeros(3, np.uint8), [-1], "not in 0..255"),
        (np.zeros(3, np.uint8), np.zeros(3, np.uint8), [256], "not in 0..255"),
    ],
)
def test_arrays_and_classes_that_do_not_fit_are_refused(prediction, truth, classes, message):
    with pytest.raises(ValueError, match=message):
        count_classes(prediction, truth, classes)


def test_masks_of_different_shapes_are_refused_rather_than_broadcast():
    with pytest.raises(ValueError, match="the truth"):
        count(np.ones((3, 1)), np.ones((3, 3)))
