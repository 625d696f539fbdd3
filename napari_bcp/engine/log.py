"""The log of a run: its events as JSON lines, for curves, for other tools, and for whoever asks what happened."""

from __future__ import annotations

from contextlib import suppress
from os import SEEK_END
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from io import TextIOWrapper
    from pathlib import Path

    from napari_bcp.events import Event

_FLUSH_EVERY: Final = 20  # lines; what a crash takes with it is in no checkpoint either
_LEFT_OUT: Final = frozenset({"progress", "vitals"})  # they tell nothing afterwards


class RunLog:
    """Appends to `log.jsonl` in a run's folder. A disk that is full stops the log and nothing else."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "log.jsonl"
        self._file: TextIOWrapper | None = None
        self._failed = False
        self._lines = 0

    def add(self, event: Event) -> None:
        """Write an event."""
        if self._failed or event.kind in _LEFT_OUT:
            return
        try:
            if self._file is None:
                torn = _ends_torn(self._path)
                self._file = self._path.open("a", encoding="utf-8")
                self._file.write("\n" if torn else "")
            self._file.write(event.model_dump_json(exclude_none=True) + "\n")
            self._lines += 1
            if self._lines % _FLUSH_EVERY == 0 or event.kind != "step":
                self._file.flush()
        except OSError:
            self._failed = True
            self.close()

    def close(self) -> None:
        """Close the file; the next event opens it again."""
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):
                file.close()


def _ends_torn(path: Path) -> bool:
    """Say whether a crash has cut the last line."""
    if not path.exists() or not path.stat().st_size:
        return False
    with path.open("rb") as file:
        file.seek(-1, SEEK_END)
        return file.read(1) != b"\n"
