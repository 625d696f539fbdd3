"""Which case to look at next, and why.

Class-balanced uncertainty with noise, after ClaSP PE (TMLR 2026): classes take turns, so that a hard one does not
take all attention; noise keeps the choice from being ten cases alike, and fades over the rounds. A third is drawn at
random: no ranking reliably beats that, and what a reader sees stays typical of the cohort.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Protocol, Self

import numpy as np

from napari_bcp.review.wording import millilitres, plain, the

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from napari_bcp.pool.records import Case

SHARP_ROUND: Final = 10
"""From this round on the noise has faded."""
USUAL: Final = 0.8
"""A class that at least this share of the cases has is missed where it is not found."""
FEWEST_VOLUMES: Final = 8
"""With fewer known volumes of a class, nothing is said about what is usual."""

_SHARPEST: Final = 100.0  # ClaSP PE's last β; the first is 1
_FAR: Final = 3.0  # median absolute deviations (scaled to standard deviations) of the logarithm, and at least …
_SPREAD: Final = 0.15  # … so many times this: a cohort of equals shall not make outliers of all
_RANDOM_EVERY: Final = 3

_ALL: Final = 0  # the turn of all classes together


@dataclass(frozen=True)
class Candidate:
    """A case that may be proposed.

    entropy : mean predictive entropy where the map is not surely background, nats; None without a map
    quality : per class value, expected quality (0 to 1); None where the class was not found
    volume_ml : per class value;  map_step : of the map, None without one
    rejected : the reader has turned down this very map
    """

    name: str
    entropy: float | None
    quality: Mapping[int, float | None]
    volume_ml: Mapping[int, float]
    map_step: int | None
    rejected: bool = False

    @classmethod
    def of(cls, case: Case, rejected: bool = False) -> Self:
        """Return the candidate that a case of the pool is."""
        if case.map is None:
            return cls(case.name, None, {}, {}, None, rejected)
        found = case.map
        return cls(case.name, found.entropy, found.quality, found.volume_ml, found.step, rejected)


@dataclass(frozen=True)
class Proposal:
    """A case to look at.

    score : how unsure the map is (the larger, the more), 0 without a map
    reason : why, as a phrase to show
    kind : "unseen" has no map yet
    """

    name: str
    score: float
    reason: str
    kind: Literal["uncertain", "random", "unseen"]


class Ranking(Protocol):
    """A way to put cases into an order.

    rank : returns one proposal for each candidate, the first to look at first. `round_` counts from 0; equal
    candidates, round and state of `rng` give an equal order.
    """

    def rank(self, candidates: Sequence[Candidate], round_: int, rng: np.random.Generator) -> list[Proposal]: ...


class BalancedUncertainty:
    """The default: of three cases two that the model is unsure about, classes taking turns, and one at random.

    names : of the classes
    volumes : per class value, volumes in ml of accepted masks; what is usual comes from these and the candidates'

    Cases without a map come after those with one, rejected maps last.
    """

    def __init__(
        self, names: Mapping[int, str] | None = None, volumes: Mapping[int, Sequence[float]] | None = None
    ) -> None:
        self._names = dict(names or {})
        self._volumes = {value: list(known) for value, known in (volumes or {}).items()}

    def rank(self, candidates: Sequence[Candidate], round_: int, rng: np.random.Generator) -> list[Proposal]:
        """Return one proposal for each candidate, in order; see `Ranking`."""
        known = sorted(candidates, key=lambda candidate: candidate.name)  # the caller's order shall not matter
        live = [one for one in known if one.entropy is not None and not one.rejected]
        unseen = [one for one in known if one.entropy is None and not one.rejected]
        rejected = [one for one in known if one.rejected]
        doubts = _Doubts(live, self._names, self._volumes)
        proposals = list(_interleaved(live, doubts, round_, rng))
        for index in rng.permutation(len(unseen)):
            proposals.append(Proposal(unseen[index].name, 0.0, "no map yet; in random order", "unseen"))
        for one in rejected:
            score = one.entropy or 0.0
            reason = "you rejected this pseudo-label; a newer map may be better"
            proposals.append(Proposal(one.name, score, reason, "unseen" if one.entropy is None else "uncertain"))
        return proposals


class _Doubts:
    """How unsure the maps of a cohort are about each class, and in which words to say so."""

    def __init__(
        self, candidates: Sequence[Candidate], names: Mapping[int, str], volumes: Mapping[int, Sequence[float]]
    ) -> None:
        self._names = names
        values = sorted({value for one in candidates for value in one.quality})
        self._missed = {
            value
            for value in values
            if sum(one.quality.get(value) is not None for one in candidates) >= USUAL * len(candidates)
        }
        self._usual = {
            value: usual
            for value in values
            if (usual := _Usual.of([*volumes.get(value, ()), *(one.volume_ml.get(value, 0.0) for one in candidates)]))
        }
        self._most = max((one.entropy or 0.0 for one in candidates), default=0.0)
        total = {value: sum(self.about(one, value) for one in candidates) for value in values}
        self.turns = sorted((value for value in values if total[value] > 0), key=lambda value: (-total[value], value))
        """Classes that there is doubt about, the most doubtful first."""

    def about(self, candidate: Candidate, value: int) -> float:
        """Return the doubt about one class, or about all with value 0."""
        entropy = candidate.entropy or 0.0
        if value == _ALL:
            return entropy
        quality = candidate.quality.get(value)
        if quality is None:
            # A map without what it should show may be sure of that, wrongly: nothing is worth a look more.
            return self._most if value in self._missed else 0.0
        return entropy * (1 - min(max(quality, 0.0), 1.0))

    def reason(self, candidate: Candidate, value: int) -> str:
        """Return why the candidate comes up in the turn of a class."""
        if not self.about(candidate, value):
            first = "the model has no doubts here"
        elif value == _ALL:
            first = "the model is unsure here"
        elif candidate.quality.get(value) is None:
            first = f"{the(self._names, value)} was not found, which most scans show"
        else:
            first = f"the model is unsure about {the(self._names, value)}"
        return "; ".join([first, *self._outlier(candidate)])

    def at_random(self, candidate: Candidate) -> str:
        """Return why a candidate comes up that was drawn."""
        return "; ".join(["picked at random, to keep the view honest", *self._outlier(candidate)])

    def _outlier(self, candidate: Candidate) -> list[str]:
        """Return the volume that is furthest from what is usual, as a phrase; nothing if all are usual."""
        far = [
            (distance, value, usual, volume)
            for value, usual in self._usual.items()
            if (volume := candidate.volume_ml.get(value, 0.0)) > 0 and (distance := usual.distance(volume)) > 1
        ]
        if not far:
            return []
        _, value, usual, volume = max(far, key=lambda one: one[0])
        size = "small" if volume < usual.median else "large"
        low, high = millilitres(usual.low), millilitres(usual.high)
        span = low if low == high else f"{low}–{high}"
        return [f"unusually {size} {plain(self._names, value)} ({millilitres(volume)} ml; usually {span} ml)"]


@dataclass(frozen=True)
class _Usual:
    """What volumes (ml) of a class are usual: median, 10th and 90th percentile, and where "far" begins."""

    median: float
    low: float
    high: float
    far: float

    @classmethod
    def of(cls, volumes: Sequence[float]) -> Self | None:
        """Return it for some volumes, of which zeros do not count; None if there are too few."""
        known = np.array([volume for volume in volumes if volume > 0])
        if known.size < FEWEST_VOLUMES:
            return None
        logs = np.log(known)
        deviation = 1.4826 * float(np.median(np.abs(logs - np.median(logs))))
        low, median, high = (float(number) for number in np.percentile(known, [10, 50, 90]))
        return cls(median, low, high, _FAR * max(deviation, _SPREAD))

    def distance(self, volume: float) -> float:
        """Return how far a volume is off, above 1 where it is unusual."""
        return abs(math.log(volume / self.median)) / self.far


def _interleaved(
    candidates: Sequence[Candidate], doubts: _Doubts, round_: int, rng: np.random.Generator
) -> Iterator[Proposal]:
    """Yield all candidates: two by uncertainty, one at random, and so on."""
    taken: set[int] = set()
    turns = deque(doubts.turns or [_ALL])
    beta = _SHARPEST ** min(max(round_, 0) / SHARP_ROUND, 1.0)
    queues = {}
    for turn in turns:
        scores = np.array([doubts.about(one, turn) for one in candidates])
        with np.errstate(divide="ignore"):
            noisy = np.log(scores) + rng.gumbel(0, 1 / beta, len(candidates))
        queues[turn] = iter(np.argsort(-noisy, kind="stable").tolist())
    drawn = iter(rng.permutation(len(candidates)).tolist())
    while len(taken) < len(candidates):
        if len(taken) % _RANDOM_EVERY == _RANDOM_EVERY - 1:
            index = _next(drawn, taken)
            one = candidates[index]
            yield Proposal(one.name, one.entropy or 0.0, doubts.at_random(one), "random")
            continue
        turn = turns[0]
        turns.rotate(-1)
        index = _next(queues[turn], taken)
        one = candidates[index]
        # With nothing to doubt in this class any more, its turn says what there is to say about all of them.
        turn = turn if doubts.about(one, turn) > 0 else _ALL
        yield Proposal(one.name, doubts.about(one, turn), doubts.reason(one, turn), "uncertain")


def _next(queue: Iterator[int], taken: set[int]) -> int:
    """Take the first of a queue that is still free; each queue holds all."""
    index = next(index for index in queue if index not in taken)
    taken.add(index)
    return index
