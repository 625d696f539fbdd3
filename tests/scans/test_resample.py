"""Resampling keeps extent, mean and anatomy."""

import numpy as np
import pytest
from scipy import ndimage

from napari_bcp.scans.resample import axis_weights, new_shape, resample_labels, resample_linear, resample_nearest


def test_a_shape_covers_the_same_extent():
    assert new_shape((100, 50, 7), (0.5, 1.0, 5.0), (1.0, 1.0, 1.0)) == (50, 50, 35)
    assert new_shape((3, 3, 3), (0.1, 0.1, 0.1), (5.0, 5.0, 5.0)) == (1, 1, 1)


@pytest.mark.parametrize(("size", "new"), [(10, 5), (10, 7), (5, 12), (3, 1), (1, 4), (8, 8)])
def test_weights_are_shares(size, new):
    weights = axis_weights(size, new)
    assert weights.shape == (new, size)
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-6)


def test_halving_by_hand():
    np.testing.assert_allclose(axis_weights(4, 2), [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]])
    np.testing.assert_allclose(axis_weights(3, 2), [[2 / 3, 1 / 3, 0], [0, 1 / 3, 2 / 3]], rtol=1e-6)


def test_doubling_by_hand():
    np.testing.assert_allclose(resample_linear(np.array([0.0, 1.0]), (4,)), [0, 0.25, 0.75, 1])


@pytest.mark.parametrize("shape", [(7, 9, 5), (20, 30, 16), (10, 12, 8), (1, 12, 8)])
def test_a_ramp_stays_a_ramp_away_from_the_border(shape):
    ramp = np.broadcast_to(np.linspace(0, 1, 12, dtype=np.float32)[None, :, None], (10, 12, 8))
    result = resample_linear(ramp, shape)
    assert result.shape == shape
    centres = ((np.arange(shape[1]) + 0.5) * 12 / shape[1] - 0.5) / 11
    inner = (centres > 0.2) & (centres < 0.8)
    np.testing.assert_allclose(result[0, inner, 0], centres[inner], atol=0.02)


def test_leading_axes_are_left_alone():
    array = np.random.default_rng(0).random((2, 6, 5, 4)).astype(np.float32)
    result = resample_linear(array, (3, 5, 8))
    np.testing.assert_allclose(result[1], resample_linear(array[1], (3, 5, 8)), rtol=1e-6)


def test_labels_there_and_back_keep_the_anatomy():
    grid = np.indices((40, 36, 30))
    ball = (((grid - np.array([20, 18, 15])[:, None, None, None]) ** 2).sum(0) < 100).astype(np.uint8)
    ball[2:12, 2:12, 2:10] = 2
    small = resample_labels(ball, (20, 18, 15), 3)
    back = resample_labels(small, ball.shape, 3)
    for value in (1, 2):
        a, b = ball == value, back == value
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.85


def test_nearest_is_scipys_zoom_of_order_zero():
    rng = np.random.default_rng(1)
    for shape, new in [((20, 26, 1), (32, 32, 1)), ((32, 32, 3), (20, 26, 3)), ((5, 9, 4), (11, 3, 4))]:
        array = rng.random(shape)
        zoomed = ndimage.zoom(array, [b / a for a, b in zip(shape, new, strict=True)], order=0)
        np.testing.assert_array_equal(resample_nearest(array, new), zoomed)
