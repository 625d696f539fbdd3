"""Which scans of a pool are found in another folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_bcp.errors import PoolError
from napari_bcp.pool.paths import settled

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_bcp.pool.records import Case


def moved_scans(
    cases: Sequence[Case], before: Path, after: Path, only_away: bool = False
) -> tuple[dict[str, Path], list[Case]]:
    """Return where below `after` the scans that lay below `before` are, by case, and the cases whose scan is not there.

    before, after : absolute folders;  a scan that is in both counts as moved, unless `only_away`
    Raises PoolError if no scan lay below `before`, none of them is below `after`, or one that is there is another
    case's already.
    """
    moved, left = {}, []
    for case in cases:
        if case.path.is_relative_to(before) and not (only_away and case.path.is_file()):
            path = settled(after / case.path.relative_to(before))
            if path.is_file():
                moved[case.name] = path
            else:
                left.append(case)
    if left and not moved:
        raise PoolError(
            f"None of the {len(left)} scans of {before} is in {after}; name the folder that they were moved to.",
            path=after,
        )
    if not moved:
        raise PoolError(f"No scan of the pool lies in {before}; name the folder where they were.", path=before)
    targets = set(moved.values())
    for case in cases:
        if case.name not in moved and case.path in targets:
            raise PoolError(
                f"{case.path} is the scan of case '{case.name}' already; exclude one of the two cases.",
                path=case.path,
                case=case.name,
            )
    return moved, left
