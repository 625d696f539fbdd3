"""Scans of a pool that are found in another folder from now on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_bcp.errors import PoolError
from napari_bcp.pool.paths import settled, stored_scan

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_bcp.pool.records import Case
    from napari_bcp.pool.table import Table


def move_scans(root: Path, table: Table, before: Path, after: Path, only_away: bool) -> tuple[int, tuple[str, ...]]:
    """Record that scans below `before` lie below `after`, as `Pool.relocate` does; return how many, and its notes."""
    moved, left = moved_scans(table.cases(None), before, after, only_away)
    with table.transaction():
        for name in moved:  # by way of a name that no scan has, because folders may swap
            table.move_scan(name, f"\x01{name}")
        for name, path in moved.items():
            table.move_scan(name, stored_scan(root, path))
        table.log("scans relocated", old=str(before), new=str(after), cases=len(moved))
    if not left:
        return len(moved), ()
    return len(moved), (
        f"{len(left)} of the {len(moved) + len(left)} scans of {before} are not in {after} and stay where they were; "
        f"the first is {left[0].path} of case '{left[0].name}'.",
    )


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
