"""Names and places: which case names are safe, where a pool's files lie, how a scan's path is stored.

A table can be edited by hand or come from elsewhere, so every name and path in it is checked when it is used:
whatever is written or removed lies inside the pool.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from napari_bcp.errors import PoolError

TABLE = "pool.sqlite"
STAGING = ".creating"
"""Where a pool is made until it is whole."""
_SAFE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")


def check_name(name: object) -> str:
    """Return the case name if it is safe as a file name (letters, digits, `.`, `_`, `-`); raise PoolError if not."""
    if not isinstance(name, str) or not _SAFE_NAME.fullmatch(name) or ".." in name:
        raise PoolError(
            f"{str(name)[:80]!r} cannot be the name of a case: only letters, digits, '.', '_' and '-' may stand in it; "
            "rename it, or, if it stands in the pool's table, restore it from a copy."
        )
    return name


def inside(root: Path, *parts: str) -> Path:
    """Return `root` joined with `parts`, sure to lie inside `root` after links are followed; PoolError if not.

    root : the pool's folder, resolved
    """
    path = root.joinpath(*parts)
    if ".." in path.parts or not path.is_relative_to(root) or not path.resolve().is_relative_to(root):
        raise PoolError(
            f"{path} would lie outside the pool {root}, where nothing may be written; "
            "replace the link by a folder, or, if the table was edited, restore it from a copy.",
            path=path,
        )
    return path


def relative_inside(root: Path, path: Path) -> str:
    """Return `path` (absolute or relative to the pool) as stored text relative to the pool; PoolError if outside."""
    return inside(root, str(settled(root / path))).relative_to(root).as_posix()


def lexically_inside(root: Path, stored: str) -> Path:
    """Return the absolute path of a stored relative path, without a look at the disk (thousands are listed at once).

    Raises ValueError if it leads out of `root`.
    """
    parts = stored.replace("\\", "/").split("/")
    if not parts[0] or ".." in parts or "\0" in stored or (os.name == "nt" and ":" in stored):
        raise ValueError(f"the path {stored!r} outside the pool")
    return root / stored


def printable(text: str) -> str:
    """Return text in which bytes of a file name that are no text are written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def settled(path: str | Path) -> Path:
    """Return the absolute path with links in its folders followed; a link in place of the file itself is kept."""
    path = Path(os.path.abspath(path))
    return path.parent.resolve() / path.name


def stored_scan(root: Path, scan: Path) -> str:
    """Return how a scan's path stands in the table: relative if it lies below the pool's parent, else absolute."""
    scan = settled(scan)
    if scan.is_relative_to(root.parent):
        return Path(os.path.relpath(scan, root)).as_posix()
    return str(scan)


def located_scan(root: Path, stored: str) -> Path:
    """Return the absolute path of a stored scan. Raises ValueError for what can be no path."""
    if "\0" in stored:
        raise ValueError("a path with a zero byte")
    return Path(os.path.normpath(os.path.join(root, stored)))
