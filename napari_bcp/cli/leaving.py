"""How a command ends: at the user's wish, by an error, or because nobody reads its output any more.

docs/exit-codes.md lists the codes. A traceback never reaches the screen; it goes to a file that the message names.
"""

from __future__ import annotations

import errno
import os
import platform
import signal
import sys
import tempfile
import traceback
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from napari_bcp import __version__
from napari_bcp.errors import BcpError, PoolError, ScanError
from napari_bcp.files import write_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

INTERRUPTED = 130
ALL_SKIPPED = ScanError.exit_code
OUTPUT_CLOSED = 141

_NO_PLACE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SHOW_CURSOR = b"\x1b[?25h"


class Interrupted(BaseException):  # not a KeyboardInterrupt: the command-line library would end those its own way
    """Ctrl-C or SIGTERM while a command does something that is safe to break off."""


class OutputClosed(BaseException):  # not a BrokenPipeError for the same reason
    """Nobody reads the output any more."""


class Stop:
    """True once the user has asked to stop; long work looks at it between two steps."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self) -> bool:
        return self.asked


def break_off_on_signals() -> None:
    """Make Ctrl-C and SIGTERM raise Interrupted from now on."""

    def leave(number: int, _frame: FrameType | None) -> None:
        raise Interrupted

    for number in _SIGNALS:
        signal.signal(number, leave)


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Yield a Stop that the first Ctrl-C or SIGTERM sets; a second one ends the process at once.

    Ending at once is safe: every file is whole at any moment, and the system frees the pool's lock.
    """
    stop = Stop()

    def ask(number: int, _frame: FrameType | None) -> None:
        if stop.asked:
            _write_now(_SHOW_CURSOR if os.isatty(2) else b"")
            os._exit(INTERRUPTED)
        stop.asked = True
        _write_now(b"\nStopping after this step; press Ctrl-C again to end at once.\n")

    before = {number: signal.signal(number, ask) for number in _SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def exit_code_of(error: BaseException) -> int:
    """Tell the user on standard error why the command ended early, in one sentence, and return its exit code."""
    if isinstance(error, Interrupted):
        _say("Interrupted.")
        return INTERRUPTED
    if isinstance(error, OutputClosed):
        silence_output()
        return OUTPUT_CLOSED
    if isinstance(error, BcpError):
        _say(str(error))
        return error.exit_code
    if isinstance(error, OSError) and error.errno in _NO_PLACE:
        _say(f"{error.filename or 'A file'} cannot be used ({error.strerror}); free some space, or mend its rights.")
        return PoolError.exit_code
    what = " ".join("".join(traceback.format_exception_only(error)).split())
    _say(f"Something unexpected went wrong ({what}); {_keep_traceback(error)}")
    return 1


def silence_output() -> None:
    """Send standard output nowhere, so that Python does not complain about a closed pipe when it ends."""
    with suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _keep_traceback(error: BaseException) -> str:
    """Write the traceback to a log file and return the half sentence that says where it is."""
    from platformdirs import user_log_dir

    head = f"napari-bcp {__version__}, Python {platform.python_version()}, {platform.platform()}\n{sys.argv}\n\n"
    name = f"error-{datetime.now():%Y%m%d-%H%M%S}-{os.getpid()}.log"
    for folder in (user_log_dir("napari-bcp", appauthor=False), tempfile.gettempdir()):
        with suppress(OSError):
            log = Path(folder) / name
            write_text(log, head + "".join(traceback.format_exception(error)))
            return f"the details are in {log}."
    return "the details could not be written to a file."


def _say(text: str) -> None:
    """Write a line to standard error, if anybody still listens."""
    with suppress(OSError):
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def _write_now(text: bytes) -> None:
    """Write to standard error past Python's buffers, which a signal handler must not touch."""
    with suppress(OSError):
        os.write(2, text)
