"""A pool of scans that the package draws itself, to try everything on."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from napari_bcp.errors import PoolError
from napari_bcp.files import write_text
from napari_bcp.pool.paths import TABLE
from napari_bcp.pool.store import Pool
from napari_bcp.scans.phantom import Size, write_cohort

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CASES: Final = 24
LABELLED: Final = 4
MARKER: Final = "napari-bcp-sample.txt"
"""The file that tells a sample's folder from one that holds somebody's own scans."""
_MARKED: Final = "napari-bcp has drawn everything in this folder; nothing in it stems from a patient.\n"
_FOLDERS: Final = ("images", "labels", "truth")
_OTHERS: Final = frozenset({*_FOLDERS, "classes.json", "pool", "sheet.png", "table.csv"})
_DRAWN: Final = re.compile(r"phantom_\d{3,}\.nii\.gz|\..*")


def open_sample(
    folder: Path,
    progress: Callable[[str, int, int], None],
    *,
    cases: int = CASES,
    size: Size = "small",
) -> Pool:
    """Return the pool of the sample in `folder`, open for writing; cohort and pool are made if they are not there.

    progress : called with what is done, how much of it, and how much there is
    Raises PoolError if the folder holds something else or cannot be written, or as `Pool.open` and `Pool.create` do.
    """
    pool = folder / "pool"
    try:
        if not _is_sample(folder):
            raise PoolError(f"{folder} holds something else; name a new folder for the sample.", path=folder)
        if not (folder / MARKER).exists():
            write_text(folder / MARKER, _MARKED)
    except OSError as error:
        why = error.strerror or error
        raise PoolError(f"{folder} cannot be used ({why}); name another folder for the sample.", path=folder) from None
    if (pool / TABLE).exists():
        return Pool.open(pool, write=True)
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


def _is_sample(folder: Path) -> bool:
    """Return whether a folder is empty, not there, or one that a sample was begun in.

    A sample that has no marker, as earlier versions made it, is known by holding drawn scans and nothing else.
    """
    if not folder.exists() or (folder / MARKER).exists():
        return True
    names = {path.name for path in folder.iterdir()}
    if not names:
        return True
    drawn = [path.name for part in _FOLDERS if part in names for path in (folder / part).iterdir()]
    return "images" in names and names <= _OTHERS and all(_DRAWN.fullmatch(name) for name in drawn)
