"""What the history of a pool tells: progress, how good the proposals were, and what they cost by hand."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from napari_bcp.pool.status import STATUSES
from napari_bcp.review.wording import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from napari_bcp.pool.records import Event
    from napari_bcp.pool.status import Status

ROUND: Final = 5
"""Masks in a round: so many, accepted one after the other, are averaged."""
MOST_POINTS: Final = 500
"""Points of a curve that are kept; more are not seen."""


@dataclass(frozen=True)
class StatusCurve:
    """How many cases had each status after each time (UTC, ISO 8601)."""

    times: tuple[str, ...]
    counts: Mapping[Status, tuple[int, ...]]


@dataclass(frozen=True)
class Acceptance:
    """A mask that was accepted.

    by : "person" or "rule"
    dice : per class value, between the pseudo-label and the mask, 0 to 1; empty where there was none
    changed_voxels, seconds : what was done by hand, None where that is not known
    run, step : of the map behind the pseudo-label, None without one
    """

    time: str
    case: str
    by: str
    dice: Mapping[int, float]
    changed_voxels: int | None
    seconds: float | None
    run: str | None
    step: int | None


@dataclass(frozen=True)
class Round:
    """Masks that were accepted by hand after a pseudo-label, from the `first` to the `last` (counted from 1).

    dice : per class value, the mean;  cases : of how many masks
    """

    first: int
    last: int
    dice: Mapping[int, float]
    cases: Mapping[int, int]


@dataclass(frozen=True)
class Effort:
    """What one case took by hand, over all times that it was accepted."""

    case: str
    minutes: float
    changed_voxels: int
    accepted_times: int


@dataclass(frozen=True)
class ReportData:
    """The report; `minutes` is the sum over all cases."""

    statuses: StatusCurve
    acceptances: tuple[Acceptance, ...]
    rounds: tuple[Round, ...]
    efforts: tuple[Effort, ...]

    @property
    def minutes(self) -> float:
        """What all cases took by hand."""
        return math.fsum(effort.minutes for effort in self.efforts)


def make_report(history: Sequence[Event]) -> ReportData:
    """Return the report of a pool from its history, oldest line first, as `Pool.history` returns it.

    Details that are missing or are not what they should be count as unknown.
    """
    acceptances = tuple(
        _acceptance(event) for event in history if event.case is not None and event.what in ("accept", "accept by rule")
    )
    return ReportData(_status_curve(history), acceptances, _rounds(acceptances), _efforts(acceptances))


def csv_rows(report: ReportData, names: Mapping[int, str]) -> list[list[str]]:
    """Return a row for each mask that was accepted, after a row with the columns' names; unknown is empty.

    names : of the classes; one that is missing is named after its value
    """
    values = sorted({*names, *(value for one in report.acceptances for value in one.dice)})
    head = ["time", "case", "accepted by", "run", "step", "minutes by hand", "voxels by hand"]
    rows = [[*head, *(f"Dice {plain(names, value)}" for value in values)]]
    for one in report.acceptances:
        minutes = None if one.seconds is None else f"{one.seconds / 60:.2f}"
        facts = [one.time, one.case, one.by, one.run, one.step, minutes, one.changed_voxels]
        overlaps = [f"{one.dice[value]:.4f}" if value in one.dice else None for value in values]
        rows.append(["" if fact is None else str(fact) for fact in [*facts, *overlaps]])
    return rows


def _status_curve(history: Iterable[Event]) -> StatusCurve:
    """Replay the history; a point where a count changes, the last of its time, and not too many."""
    now: dict[str, str] = {}
    counts: Counter[str] = Counter()
    points: list[tuple[str, tuple[int, ...]]] = []
    for event in history:
        status = _status_after(event)
        if event.case is None or status is None or now.get(event.case) == status:
            continue
        if event.case in now:
            counts[now[event.case]] -= 1
        now[event.case] = status
        counts[status] += 1
        if points and points[-1][0] == event.time:
            points.pop()
        points.append((event.time, tuple(counts[one] for one in STATUSES)))
    points = _thinned(points)
    return StatusCurve(
        tuple(time for time, _ in points),
        {status: tuple(numbers[index] for _, numbers in points) for index, status in enumerate(STATUSES)},
    )


def _status_after(event: Event) -> str | None:
    """Return the status that an event leaves its case with, None if it says nothing about that."""
    if event.what == "case added":
        return "unusable" if "reason" in event.details else "unlabelled"
    status = event.details.get("to")
    return status if status in STATUSES else None


def _thinned(points: list[tuple[str, tuple[int, ...]]]) -> list[tuple[str, tuple[int, ...]]]:
    """Return at most MOST_POINTS of them, evenly, with the first and the last."""
    if len(points) <= MOST_POINTS:
        return points
    step = (len(points) - 1) / (MOST_POINTS - 1)
    return [points[round(index * step)] for index in range(MOST_POINTS)]


def _acceptance(event: Event) -> Acceptance:
    details = event.details
    run = details.get("run")
    return Acceptance(
        time=event.time,
        case=event.case or "",
        by="rule" if event.what == "accept by rule" else "person",
        dice=_dice(details.get("dice")),
        changed_voxels=_whole(details.get("changed_voxels")),
        seconds=_number(details.get("seconds")),
        run=run if isinstance(run, str) else None,
        step=_whole(details.get("step")),
    )


def _rounds(acceptances: Iterable[Acceptance]) -> tuple[Round, ...]:
    judged = [one for one in acceptances if one.by == "person" and one.dice]
    rounds = []
    for start in range(0, len(judged), ROUND):
        part = judged[start : start + ROUND]
        found: defaultdict[int, list[float]] = defaultdict(list)
        for one in part:
            for value, overlap in one.dice.items():
                found[value].append(overlap)
        means = {value: math.fsum(overlaps) / len(overlaps) for value, overlaps in sorted(found.items())}
        rounds.append(Round(start + 1, start + len(part), means, {value: len(found[value]) for value in means}))
    return tuple(rounds)


def _efforts(acceptances: Iterable[Acceptance]) -> tuple[Effort, ...]:
    """Return what is known of each case, in the order in which the cases were first accepted."""
    by_case: defaultdict[str, list[Acceptance]] = defaultdict(list)
    for one in acceptances:
        if one.seconds is not None or one.changed_voxels is not None:
            by_case[one.case].append(one)
    return tuple(
        Effort(
            case,
            math.fsum(one.seconds or 0.0 for one in times) / 60,
            sum(one.changed_voxels or 0 for one in times),
            len(times),
        )
        for case, times in by_case.items()
    )


def _dice(found: Any) -> dict[int, float]:
    """Return Dice per class from details, whose keys JSON has made text."""
    if not isinstance(found, dict):
        return {}
    numbers = {key: _number(overlap) for key, overlap in found.items()}
    return {
        int(key): number
        for key, number in numbers.items()
        if number is not None and number <= 1 and str(key).isascii() and str(key).isdigit()
    }


def _number(found: Any) -> float | None:
    """Return a number from details; None unless it is finite and not negative."""
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found) or found < 0:
        return None
    return float(found)


def _whole(found: Any) -> int | None:
    number = _number(found)
    return None if number is None else int(number)
