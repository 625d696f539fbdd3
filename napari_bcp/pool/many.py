"""One change of several cases: what can be refused is refused before the first is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from napari_bcp.pool.status import next_status
from napari_bcp.scans import read_grid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_bcp.pool.store import Pool


def change_all(
    pool: Pool, action: Literal["exclude", "include", "reset", "reopen", "reject"], cases: str | Sequence[str]
) -> list[str]:
    """Do one of the pool's actions with these cases, each once; return what a rejection had to say.

    Cases that are to be included and take part already stay as they are. Raises UnknownCaseError, StateError and, of
    an unusable case, ScanError before anything is changed; MaskError for an unusable case whose mask does not lie on
    its mended scan, with those before it changed.
    """
    chosen = [pool.case(name) for name in names_of(cases)]
    if action == "include":
        chosen = [case for case in chosen if case.status in ("excluded", "unusable")]
    for case in chosen:
        next_status(case.name, action, case.status)
        if case.status == "unusable":
            read_grid(case.path)
    notes: list[str] = []
    for case in chosen:
        getattr(pool, action)(case.name)
        notes += pool.notes if action == "reject" else ()
    return notes


def names_of(cases: str | Sequence[str]) -> list[str]:
    """Return names of cases, each once; a single one may be given as it is."""
    return [cases] if isinstance(cases, str) else list(dict.fromkeys(cases))
