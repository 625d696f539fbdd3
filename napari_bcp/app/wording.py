"""Numbers and states as the words that the panels show."""

from __future__ import annotations

import re
from collections import Counter
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_bcp.app.session import TrainingState
    from napari_bcp.pool import Case

STROKE_GOES_ON: Final = "A stroke is not done yet: end it, or press Escape on the canvas to drop it."


def duration(seconds: float) -> str:
    """Return a length of time as one or two words: 40 s, 4 min, 1 h 20 min, 3 days."""
    if round(seconds) < 60:
        return f"{max(0, round(seconds))} s"
    minutes = round(seconds / 60)
    hours, rest = divmod(minutes, 60)
    if hours >= 48:
        return f"{round(hours / 24)} days"
    if not hours:
        return f"{minutes} min"
    return f"{hours} h {rest} min" if rest else f"{hours} h"


def counted(number: int, one: str, many: str = "") -> str:
    """Return `number` with its noun: 1 case, 12 cases, 10,000 cases."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def moment(time: str, now: datetime) -> str:
    """Return a UTC time of the pool in the reader's time zone: the clock if it is today, else the day or the month."""
    try:
        there = datetime.fromisoformat(time).astimezone(now.tzinfo)
    except ValueError:
        return time
    if there.date() == now.date():
        return f"{there:%H:%M}"
    return f"{there.day} {there:%b}" if there.year == now.year else f"{there:%b %Y}"


def full_moment(time: str, now: datetime) -> str:
    """Return the same with day and clock: 1 Mar 2026, 09:05."""
    try:
        there = datetime.fromisoformat(time).astimezone(now.tzinfo)
    except ValueError:
        return time
    return f"{there.day} {there:%b %Y, %H:%M}"


@lru_cache(maxsize=1 << 15)  # a cohort is sorted again and again
def natural_key(name: str) -> tuple[tuple[int, str], ...]:
    """Return a key that sorts case9 before case10, whatever the case of the letters."""
    parts = re.findall(r"([0-9]+)|([^0-9]+)", name.lower())
    return tuple((int(number[:300]), "") if number else (-1, word) for number, word in parts)


def training_line(training: TrainingState) -> str:
    """Return the state of the training in one short line, for the header."""
    where = f"stage {training.stage} · step {training.step:,}" if training.stage else f"step {training.step:,}"
    left = "" if training.eta_s is None else f" · {duration(training.eta_s)} left"
    return {
        "idle": "Not training",
        "starting": "Training starts…",
        "preparing": "Training prepares…",
        "training": f"Training · {where}{left}",
        "paused": f"Training paused · {where}",
        "stopping": "Training stops, saving…",
        "failed": "Training failed",
    }.get(training.phase, training.phase)


def pool_summary(cases: Sequence[Case], notes: Sequence[str]) -> str:
    """Return what a new pool holds: a sentence, and a line for everything that was left out and why."""
    statuses = Counter(case.status for case in cases)
    masks = counted(statuses["accepted"], "mask")
    text = f"The pool has {counted(len(cases), 'case')} and {masks}."
    if statuses["unusable"]:
        text += f" {counted(statuses['unusable'], 'case')} cannot be used."
    if not statuses["accepted"]:
        text += " Outline and accept a few cases to begin with."
    if notes:
        text += f" {counted(len(notes), 'note')} below."
    return "\n".join([text, *notes])


def dice_line(dice: Mapping[int, float], names: Mapping[int, str]) -> str:
    """Return Dice per class: liver 0.91, aorta 0.84."""
    return ", ".join(f"{names.get(value, f'class {value}')} {number:.2f}" for value, number in sorted(dice.items()))
