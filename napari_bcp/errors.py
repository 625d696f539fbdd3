"""Every error that napari-bcp raises on purpose.

A message is one sentence that names the file, case or setting, says what is wrong and what to do about it.
Commands print the message alone and leave with the class's `exit_code` (listed in docs/exit-codes.md).

    BcpError
    ├── ScanError             a file is no scan that can be used
    │   └── ScanAwayError         it cannot be read at the moment
    ├── MaskError             a mask cannot be used
    │   └── GridMismatchError     it does not lie on its scan's grid
    ├── PoolError             a pool cannot be created, opened or written
    │   ├── PoolLockedError       another process writes to it
    │   ├── PoolVersionError      a newer napari-bcp made it
    │   ├── UnknownCaseError      no case of that name
    │   └── StateError            the case's status does not allow it
    ├── SettingError          a setting, preset or name that does not exist or is out of range
    ├── CheckpointError       a checkpoint is torn, foreign or too new
    ├── TrainingError         training cannot start or go on
    └── DeviceError           the device is missing or out of memory
        └── DeviceLostError   a graphics card can do no more for this process
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class BcpError(Exception):
    """Base of the tree. `path` and `case` name what the message is about, where there is one."""

    exit_code = 1

    def __init__(self, message: str, *, path: str | Path | None = None, case: str | None = None) -> None:
        super().__init__(message)
        self.path = None if path is None else Path(path)
        self.case = case


class ScanError(BcpError, ValueError):
    """A file is no scan that can be used."""

    exit_code = 3


class ScanAwayError(ScanError):
    """A scan cannot be read at the moment: its file is away, or the memory is short. It may be read later."""


class MaskError(BcpError, ValueError):
    """A mask cannot be used."""

    exit_code = 3


class GridMismatchError(MaskError):
    """An array does not lie on the grid that it belongs to."""


class PoolError(BcpError):
    """A pool cannot be created, opened or written."""

    exit_code = 4


class PoolLockedError(PoolError):
    """Another process writes to the pool."""

    exit_code = 5


class PoolVersionError(PoolError):
    """The pool was made by a newer napari-bcp."""


class UnknownCaseError(PoolError, KeyError):
    """The pool has no case of that name."""

    __str__ = Exception.__str__  # KeyError would show the message's repr


class StateError(PoolError):
    """The status of a case does not allow what was asked."""


class SettingError(BcpError, ValueError):
    """A setting, preset or name does not exist or is out of range."""

    exit_code = 2


class CheckpointError(BcpError):
    """A checkpoint is torn, foreign or too new."""

    exit_code = 6


class TrainingError(BcpError):
    """Training cannot start or go on."""

    exit_code = 6


class DeviceError(BcpError):
    """The device is missing or out of memory."""

    exit_code = 7


class DeviceLostError(DeviceError):
    """A graphics card has failed and can do no more for this process; another process may well use it."""


def unknown_name(what: str, name: str, known: Iterable[str]) -> SettingError:
    """Return the error for a `name` that is none of `known`, with the nearest one as a suggestion."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean '{near[0]}'? Known: " if near else "; known: "
    return SettingError(f"There is no {what} '{name}'{hint}{', '.join(names)}.")
