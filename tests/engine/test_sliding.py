"""Overlapping blocks: the published values, full cover, bounded memory."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from napari_bcp.engine.sliding import gaussian, sliding_slabs, starts
from napari_bcp.scans.resample import resample_nearest


def whole(slabs):
    parts = list(slabs)
    assert [z for z, _ in parts] == np.cumsum([0] + [p.shape[3] for _, p in parts])[:-1].tolist()
    return torch.cat([p for _, p in parts], dim=3).numpy()


@pytest.mark.parametrize("case", ["a", "b"])
def test_3d_scores_and_labels_are_the_published_ones(parity, case):
    values = parity("bcp_sliding_window")
    weight, bias = torch.from_numpy(values["conv3d_w"]), torch.from_numpy(values["conv3d_b"])
    across, along = values[f"{case}_stride"].tolist()
    scores = whole(
        sliding_slabs(
            lambda x: F.conv3d(x, weight, bias, padding=1).softmax(1),
            values[f"{case}_volume"],
            values[f"{case}_patch"].tolist(),
            (across, across, along),
            blend="mean",
            padding="zero",
        )
    )
    np.testing.assert_allclose(scores, values[f"{case}_pancreas_score"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(scores[1], values[f"{case}_la_score"][0], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(scores[1] > 0.5, values[f"{case}_la_label"])
    np.testing.assert_array_equal(scores.argmax(0), values[f"{case}_pancreas_label"])


def test_slices_resized_and_back_give_the_published_labels(parity):
    values = parity("bcp_sliding_window")
    weight, bias = torch.from_numpy(values["conv2d_w"]), torch.from_numpy(values["conv2d_b"])
    size = values["slices_net_size"].tolist()
    volume = np.moveaxis(values["slices_volume"], 0, 2)  # slices last, as everywhere here
    image = resample_nearest(volume, (*size, volume.shape[2]))
    scores = whole(
        sliding_slabs(
            lambda x: F.conv2d(x, weight, bias, padding=1).softmax(1), image, (*size, 1), (*size, 1), blend="mean"
        )
    )
    labels = resample_nearest(scores.argmax(0), volume.shape)
    np.testing.assert_array_equal(np.moveaxis(labels, 2, 0), values["slices_label"])


@pytest.mark.parametrize("blend", ["gaussian", "mean"])
@pytest.mark.parametrize("shape", [(17, 9, 23), (8, 8, 8), (5, 20, 3), (9, 9, 1)])
def test_a_network_that_copies_its_input_gives_the_image_back(shape, blend):
    image = np.random.default_rng(0).random(shape).astype(np.float32)
    result = whole(sliding_slabs(lambda x: torch.cat([1 - x, x], 1), image, (8, 8, 8), (4, 5, 3), blend=blend))
    np.testing.assert_allclose(result[1], image, atol=1e-5)
    np.testing.assert_allclose(result.sum(0), 1, atol=1e-5)


def test_slabs_come_out_before_the_whole_image_is_seen():
    seen = []

    def predict(x):
        seen.append(x)
        return torch.cat([x, x], 1)

    slabs = sliding_slabs(predict, np.zeros((8, 8, 80), np.float32), (8, 8, 8), (8, 8, 4))
    z, part = next(slabs)
    assert (z, part.shape) == (0, (2, 8, 8, 4))
    assert len(seen) == 1


def test_the_last_block_ends_with_the_image():
    assert starts(10, 4, 3) == [0, 3, 6]
    assert starts(11, 4, 3) == [0, 3, 6, 7]
    assert starts(3, 4, 3) == [0]


def test_the_gaussian_is_highest_in_the_middle_and_symmetric():
    weights = gaussian((9, 8))
    assert weights.argmax() in (4 * 8 + 3, 4 * 8 + 4)
    torch.testing.assert_close(weights, weights.flip(0).flip(1))
    assert weights.min() >= 1e-3
