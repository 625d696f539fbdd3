"""Making room for a pool, and removing what a creation that did not end has left."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from napari_bcp.errors import PoolError
from napari_bcp.pool.paths import STAGING, TABLE

if TYPE_CHECKING:
    from pathlib import Path


def make_room(root: Path) -> None:
    """Remove what a killed creation left; refuse a root that holds a pool, or a folder where one has its masks."""
    if (root / TABLE).exists():
        raise PoolError(f"There is a pool in {root} already; open it, or name another folder.", path=root)
    remove_unfinished(root)
    if (root / "masks").exists():
        raise PoolError(f"{root} holds a folder 'masks', which a pool needs for itself; name another.", path=root)


def remove_unfinished(root: Path) -> None:
    """Remove what a creation that did not end has made."""
    stage = root / STAGING
    if (root / TABLE).exists() or not stage.exists():
        return
    if (stage / TABLE).exists() and not (stage / "masks").exists() and (root / "masks").exists():
        os.replace(root / "masks", stage / "masks")  # it ended between the last two renames
    shutil.rmtree(stage)
