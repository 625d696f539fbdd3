"""A pool of scans that the package draws itself, to try everything on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from napari_bcp.errors import PoolError
from napari_bcp.pool.paths import TABLE
from napari_bcp.pool.store import Pool
from napari_bcp.scans.phantom import Size, write_cohort

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CASES: Final = 24
LABELLED: Final = 4
OWN_FILES: Final = frozenset(
    {"images", "labels", "truth", "classes.json", "pool", "sheet.png", "table.csv"},
)
"""What a folder with a sample may hold."""


def open_sample(
    folder: Path,
    progress: Callable[[str, int, int], None],
    *,
    cases: int = CASES,
    size: Size = "small",
) -> Pool:
    """Return the pool of the sample in `folder`, open for writing; cohort and pool are made if they are not there.

    progress : called with what is done, how much of it, and how much there is
    Raises PoolError if the folder holds something else, or as `Pool.open` and `Pool.create` do.
    """
    pool = folder / "pool"
    if (pool / TABLE).exists():
        return Pool.open(pool, write=True)
    if folder.exists() and not (folder.is_dir() and {path.name for path in folder.iterdir()} <= OWN_FILES):
        raise PoolError(f"{folder} holds something else; name a new folder for the sample.", path=folder)
    write_cohort(
        folder, cases, min(LABELLED, cases), 0, size, lambda done, total: progress("drawing scans", done, total)
    )
    return Pool.create(
        pool,
        folder / "images",
        folder / "labels",
        folder / "classes.json",
        lambda done, total, _: progress("reading scans", done, total),
    )
