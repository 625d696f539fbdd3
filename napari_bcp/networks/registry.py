"""One table of networks: how to build each, and what its blocks must be multiples of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_bcp.errors import unknown_name
from napari_bcp.networks.quick import QuickNet
from napari_bcp.networks.unet import UNet2d
from napari_bcp.networks.vnet import VNet

if TYPE_CHECKING:
    from torch import nn

Strides = Sequence[Sequence[int]]


@dataclass(frozen=True)
class NetworkSpec:
    """A network: dimensions, default width, where it comes from, and its builder(classes, width, strides).

    smallest : voxels of a block that have to be left on the coarsest level
    """

    dimensions: int
    width: int
    source: str
    build: Callable[[int, int, Strides], nn.Module]
    fixed_strides: Strides | None = None
    smallest: int = 1


def _quick(classes: int, width: int, strides: Strides) -> nn.Module:
    widths = [min(width * 2**level, 5 * width) for level in range(len(strides))]
    return QuickNet(1, classes, strides, widths)


NETWORKS: dict[str, NetworkSpec] = {
    "quick": NetworkSpec(3, 32, "light U-Net with a halving stem", _quick),
    "quick2d": NetworkSpec(2, 32, "light U-Net with a halving stem", _quick),
    "unet2d": NetworkSpec(
        2,
        16,
        "U-Net of Bai et al., CVPR 2023 (ACDC)",
        lambda classes, width, _: UNet2d(1, classes, width),
        ((1, 1),) + ((2, 2),) * 4,
    ),
    "vnet": NetworkSpec(
        3,
        16,
        "V-Net of Bai et al., CVPR 2023 (left atrium)",
        lambda classes, width, _: VNet(1, classes, width),
        ((1, 1, 1),) + ((2, 2, 2),) * 4,
    ),
    "vnet-instance": NetworkSpec(
        3,
        16,
        "V-Net of Bai et al., CVPR 2023 (pancreas)",
        lambda classes, width, _: VNet(1, classes, width, norm="instance", dropout=0.0),
        ((1, 1, 1),) + ((2, 2, 2),) * 4,
        smallest=2,  # one alone has no variance
    ),
}


def build_network(name: str, classes: int, width: int | None, strides: Strides) -> nn.Module:
    """Build a network with PyTorch's default initialisation (drawn from torch's global generator).

    classes : number of classes with background;  strides : as in QuickNet, ignored by networks of fixed depth.
    Raises SettingError for an unknown name.
    """
    if name not in NETWORKS:
        raise unknown_name("network", name, NETWORKS)
    spec = NETWORKS[name]
    return spec.build(classes, width or spec.width, spec.fixed_strides or strides)
