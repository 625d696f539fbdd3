"""The paper's networks reproduce the values and sizes of the official ones."""

import numpy as np
import pytest
import torch

from napari_bcp.config import NETWORKS as NAMES
from napari_bcp.errors import SettingError
from napari_bcp.networks import NETWORKS, build_network
from napari_bcp.networks.quick import QuickNet
from napari_bcp.networks.unet import UNet2d
from napari_bcp.networks.vnet import VNet


@pytest.fixture(scope="module")
def values(parity):
    return parity("bcp_networks")


def load_in_order(network, values, prefix):
    """Copy the stored tensors in the order of the state dict, which is the order of construction."""
    state = network.state_dict()
    flat, at = values[f"{prefix}_flat"], 0
    shapes = [tuple(int(n) for n in row if n) for row in values[f"{prefix}_shapes"]]
    names = [name for name in state if not name.endswith("num_batches_tracked")]
    assert [tuple(state[name].shape) for name in names] == shapes
    for name, shape in zip(names, shapes, strict=True):
        size = int(np.prod(shape))
        state[name].copy_(torch.from_numpy(flat[at : at + size].reshape(shape)))
        at += size
    assert at == len(flat)
    return network.eval()


def test_the_left_atrium_vnet_gives_the_official_values(values):
    network = load_in_order(VNet(1, 2, width=1), values, "la")
    with torch.no_grad():
        feature, _ = network.features(torch.from_numpy(values["x3"]))
        out = network(torch.from_numpy(values["x3"]))
    np.testing.assert_allclose(feature, values["la_feature"], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(out, values["la_out"], rtol=1e-3, atol=1e-4)


def test_the_pancreas_vnet_gives_the_official_values(values):
    network = load_in_order(VNet(1, 2, width=1, norm="instance", dropout=0.0), values, "pancreas")
    with torch.no_grad():
        out = network(torch.from_numpy(values["x3"]))
    np.testing.assert_allclose(out, values["pancreas_out"], rtol=1e-3, atol=1e-4)


def test_the_cardiac_unet_gives_the_official_values(values):
    network = load_in_order(UNet2d(1, 4, width=2), values, "acdc")
    with torch.no_grad():
        feature = network.features(torch.from_numpy(values["x2"]))
        out = network(torch.from_numpy(values["x2"]))
    np.testing.assert_allclose(feature, values["acdc_feature"], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(out, values["acdc_out"], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "classes", "parameters"),
    [("vnet", 2, 9_448_866), ("vnet-instance", 2, 9_443_266), ("unet2d", 4, 1_813_764)],
)
def test_full_size_networks_have_the_published_number_of_parameters(name, classes, parameters):
    network = build_network(name, classes, None, ())
    assert sum(p.numel() for p in network.parameters()) == parameters


def test_dropout_works_in_training_only():
    torch.manual_seed(0)  # of few channels the same ones could be dropped twice
    network = VNet(1, 2, width=8)
    x = torch.randn(1, 1, 32, 16, 16)
    network.train()
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))


@pytest.mark.parametrize(
    ("shape", "strides"),
    [
        ((32, 24, 8), ((2, 2, 1), (2, 2, 2), (2, 2, 2))),
        ((16, 16, 16), ((1, 1, 1), (2, 2, 2))),
        ((32, 48), ((2, 2), (2, 2), (2, 2))),
    ],
)
def test_the_quick_network_keeps_the_shape_of_its_input(shape, strides):
    network = QuickNet(1, 3, strides, [4, 8, 8][: len(strides)])
    assert network(torch.randn(2, 1, *shape)).shape == (2, 3, *shape)


@pytest.mark.parametrize("strides", [((2, 2, 2), (2, 2, 2)), ((1, 1, 1), (2, 2, 2))])
def test_an_untrained_quick_network_expects_background(strides):
    """Most voxels are: what it knows from the start costs no steps."""
    torch.manual_seed(0)
    scores = QuickNet(1, 4, strides, [16, 32])(torch.randn(2, 1, 16, 16, 16))
    assert scores.softmax(1)[:, 0].mean() > 0.75


def test_every_class_is_scored_from_all_channels_of_the_halved_grid():
    """Of a few channels a rare class may have no positive weight left."""
    network = QuickNet(1, 4, ((2, 2, 2), (2, 2, 2)), [16, 32])
    x = torch.randn(1, 1, 16, 16, 16)
    assert network.features(x).shape == (1, 16, 8, 8, 8)
    assert network.out(network.features(x)).shape == (1, 4, 16, 16, 16)


def test_the_registry_holds_the_names_that_the_settings_offer():
    assert tuple(sorted(NETWORKS)) == NAMES


def test_an_unknown_network_is_refused_with_the_nearest_name():
    with pytest.raises(SettingError, match="did you mean 'vnet'"):
        build_network("vent", 2, None, ())


def test_an_untrained_map_is_no_chessboard():
    """All voxels of a cell of the halved grid have the same scores."""
    torch.manual_seed(0)
    network = QuickNet(1, 3, [(2, 2, 1), (2, 2, 2)], [8, 16]).eval()
    scores = network(torch.randn(1, 1, 8, 12, 6))
    cells = scores.unfold(2, 2, 2).unfold(3, 2, 2)
    assert torch.equal(cells.amax((-1, -2)), cells.amin((-1, -2)))
    assert scores.std() > 0
