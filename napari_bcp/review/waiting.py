"""The cases of a pool that wait for a verdict: which to look at next, and taking their pseudo-labels as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from napari_bcp.errors import MaskError, ScanError, StateError
from napari_bcp.metrics.confidence import lowest
from napari_bcp.review.proposals import BalancedUncertainty, Candidate

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from napari_bcp.pool.records import Case, Event, MapRecord
    from napari_bcp.pool.store import Pool
    from napari_bcp.review.proposals import Proposal, Ranking
    from napari_bcp.scans import ClassSpec

WAITING: Final = ("unlabelled", "predicted")
"""Statuses of cases that are proposed."""

ROUND: Final = 5
"""Masks accepted by hand until the ranking is a little surer of itself."""

Stamp = tuple[str, str | None, int | None]
"""A case, and run and step of its map; None without one."""


def rank(cases: Iterable[Case], classes: Sequence[ClassSpec], rejected: Collection[Stamp]) -> list[Proposal]:
    """Propose those of all `cases` of a pool that wait, the first to look at first.

    rejected : the maps that a reader has turned down, as `rejected_in` finds them
    The order stays while nobody accepts anything.
    """
    cases = list(cases)
    by_hand = sum(case.mask_by == "person" for case in cases if case.status == "accepted")
    round_ = by_hand // ROUND
    ranking: Ranking = BalancedUncertainty({one.value: one.name for one in classes})
    waiting = [Candidate.of(case, stamp(case) in rejected) for case in cases if case.status in WAITING]
    return ranking.rank(waiting, round_, np.random.default_rng([1, round_]))


def rejected_in(history: Iterable[Event]) -> set[Stamp]:
    """Return the maps that were turned down, from the history of a pool."""
    return {
        (event.case, event.details.get("run"), event.details.get("step"))
        for event in history
        if event.what == "rejected" and event.case is not None
    }


def stamp(case: Case) -> Stamp:
    """Return which map a case has now."""
    return (case.name, None, None) if case.map is None else (case.name, case.map.run, case.map.step)


def is_above(case: Case, quality: float) -> bool:
    """Return whether every class of a predicted case was found, with this expected quality (0 to 1) or more."""
    found = case.map.quality if case.status == "predicted" and case.map is not None else {}
    worst = None if None in found.values() else lowest(found)
    return worst is not None and worst >= quality


def accept_by_rule(pool: Pool, name: str, quality: float) -> None:
    """Accept the pseudo-label of a case by the rule that every class has at least this expected quality.

    Raises StateError where it has not, or has no more, and what `Pool.accept` raises.
    """
    case = pool.case(name)  # it may have a newer map than when it was chosen
    if case.map is None or not is_above(case, quality):
        raise StateError(f"{name} is no proposal any more, or has a newer map of less quality.", case=name)
    pool.accept(name, case.map.pseudo_path, by="rule", details={"quality_from": quality, **_origin(case.map)})


def accept_all_above(
    pool: Pool, quality: float, progress: Callable[[int, int, str], None] | None = None
) -> tuple[list[str], list[str]]:
    """Accept by the rule all cases that are above; return their names, and why others could not be accepted.

    progress : called with done, total and the case's name
    """
    names, accepted, refused = [case.name for case in pool.cases("predicted") if is_above(case, quality)], [], []
    for done, name in enumerate(names):
        if progress is not None:
            progress(done, len(names), name)
        try:
            accept_by_rule(pool, name, quality)
            accepted.append(name)
        except (ScanError, MaskError, StateError) as error:  # the others may well be
            refused.append(str(error))
    if progress is not None:
        progress(len(names), len(names), "")
    return accepted, refused


def accept_as_it_is(pool: Pool, name: str) -> int:
    """Accept the pseudo-label of a case, which a person has found good; return the mask's version.

    The history counts it as a proposal in which nothing was to be mended. Raises StateError where there is none, and
    what `Pool.accept` raises.
    """
    found = pool.case(name).map
    if found is None:
        raise StateError(f"Case '{name}' has no pseudo-label; make one first, with 'napari-bcp predict'.", case=name)
    agreement = {value: 1.0 for value, quality in found.quality.items() if quality is not None}
    facts = {**_origin(found), "changed_voxels": 0, "dice": agreement}
    return pool.accept(name, found.pseudo_path, details=facts)


def _origin(found: MapRecord) -> dict[str, str | int]:
    return {"run": found.run, "step": found.step}
