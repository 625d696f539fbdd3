"""From a handful of outlined scans to a segmented cohort, by bidirectional copy-paste (BCP).

    import napari_bcp

    with napari_bcp.new_pool("pool", images="scans", labels="masks") as pool:
        for event in napari_bcp.train(pool, minutes=5):
            print(event)
        for event in napari_bcp.predict(pool):
            print(event)
        napari_bcp.export(pool, "out")

Importing this package loads neither torch nor napari; each verb loads what it needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_bcp.api import (
        accept,
        accept_above,
        add,
        evaluate,
        exclude,
        export,
        include,
        name_classes,
        new_pool,
        open_pool,
        predict,
        propose,
        reject,
        relocate,
        reopen,
        reset,
        segment,
        status,
        train,
    )
    from napari_bcp.errors import BcpError
    from napari_bcp.pool import Pool

__version__ = "0.1.0"

_HOMES = {"BcpError": "napari_bcp.errors", "Pool": "napari_bcp.pool"}  # all other names are verbs of the api

__all__ = [
    "BcpError",
    "Pool",
    "__version__",
    "accept",
    "accept_above",
    "add",
    "evaluate",
    "exclude",
    "export",
    "include",
    "name_classes",
    "new_pool",
    "open_pool",
    "predict",
    "propose",
    "reject",
    "relocate",
    "reopen",
    "reset",
    "segment",
    "status",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(_HOMES.get(name, "napari_bcp.api")), name)
    raise AttributeError(f"module 'napari_bcp' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
