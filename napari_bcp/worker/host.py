"""The parent's side of the child: starts it, sends commands, collects reports. Nothing here ever waits for it."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from collections import deque
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Final

from napari_bcp.worker.messages import Quit, UnknownLineError, decode_report, encode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_bcp.worker.messages import Command, Report

COMMAND: Final = (sys.executable, "-m", "napari_bcp.worker")
_LOG_LINES: Final = 200
_LOG_SHOWN: Final = 40
_LOG_WIDTH: Final = 4096  # bytes; what ends no line, such as a progress bar, is cut
_LOG_REST_S: Final = 1.0  # for what it wrote last, which tells why it ended; its own children may keep the pipe open


class Worker:
    """A child process. Its threads only move lines; `poll` hands them out on the thread that calls it."""

    def __init__(self, command: Sequence[str] = COMMAND) -> None:
        environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"}
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=os.name != "nt",  # Ctrl-C in the terminal is the window's; the pipe tells the child
        )
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._inbox: deque[Report] = deque()
        self._log: deque[str] = deque(maxlen=_LOG_LINES)
        self._ended = threading.Event()
        pipes = self._process
        assert pipes.stdin is not None  # noqa: S101 - asked for above
        assert pipes.stdout is not None  # noqa: S101
        assert pipes.stderr is not None  # noqa: S101
        self._threads = [
            threading.Thread(target=self._post, args=(pipes.stdin,), daemon=True),
            threading.Thread(target=self._collect, args=(pipes.stdout,), daemon=True),
            threading.Thread(target=self._keep_log, args=(pipes.stderr,), daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it lives, or has left reports that nobody has fetched."""
        return bool(self._inbox) or not self._ended.is_set()

    @property
    def exit_code(self) -> int | None:
        """How it ended: negative by that signal; None while it runs."""
        return self._process.poll()

    @property
    def log_tail(self) -> str:
        """The last lines that it wrote beside its reports."""
        return "\n".join(list(self._log)[-_LOG_SHOWN:])

    def send(self, command: Command) -> None:
        """Send a command; to a child that has ended it goes nowhere."""
        self._outbox.put(encode(command))

    def poll(self, most: int = 1000) -> list[Report]:
        """Return what has arrived since the last call, at most so many."""
        return [self._inbox.popleft() for _ in range(min(most, len(self._inbox)))]

    def close(self) -> None:
        """Let it save and end. Returns at once."""
        self.send(Quit())
        self._outbox.put(None)

    def wait(self, seconds: float) -> bool:
        """Wait for its end, at most so long; return whether it has ended."""
        return self._ended.wait(seconds)

    def kill(self) -> None:
        """End it at once; what it has not saved is lost."""
        self._process.kill()

    # -- threads ----------------------------------------------------------------------------------------------

    def _post(self, pipe: IO[bytes]) -> None:
        with suppress(OSError, ValueError):
            while (line := self._outbox.get()) is not None:
                pipe.write(line)
                pipe.flush()
        with suppress(OSError):
            pipe.close()

    def _collect(self, pipe: IO[bytes]) -> None:
        for line in pipe:
            try:
                self._inbox.append(decode_report(line))
            except UnknownLineError as error:
                self._log.append(f"A report was passed over: {error}")
        pipe.close()
        self._process.wait()
        self._threads[-1].join(_LOG_REST_S)
        self._ended.set()
        self._outbox.put(None)  # nobody reads commands any more

    def _keep_log(self, pipe: IO[bytes]) -> None:
        while line := pipe.readline(_LOG_WIDTH):
            self._log.append(line.decode(errors="replace").rstrip())
        pipe.close()
