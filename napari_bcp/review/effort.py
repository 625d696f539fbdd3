"""How long a reader worked on a case."""

from __future__ import annotations


class Stopwatch:
    """Adds up the time between touches; a pause longer than `idle_s` seconds counts as absence, and not at all."""

    def __init__(self, idle_s: float = 30.0) -> None:
        self.idle_s = idle_s
        self.seconds = 0.0
        """Active time so far."""
        self._last: float | None = None

    def touch(self, now: float) -> None:
        """Record that the reader did something at the time `now`, in seconds of a clock that only goes forward."""
        if self._last is not None and 0 < now - self._last <= self.idle_s:
            self.seconds += now - self._last
        self._last = now
