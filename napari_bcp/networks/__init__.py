"""The networks, by name."""

from napari_bcp.networks.registry import NETWORKS, NetworkSpec, build_network

__all__ = ["NETWORKS", "NetworkSpec", "build_network"]
