"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator


_UMASK: Final = os.umask(0o022)
"""The process's umask. It can only be read by setting it, which other threads that make files would notice later."""
os.umask(_UMASK)


@contextmanager
def atomic_path(target: str | Path) -> Iterator[Path]:
    """Yield a temporary name beside `target`; on success what was written there is synced and renamed to it.

    The temporary name ends like the target (libraries choose the format by the ending). If the block raises,
    the temporary file is removed and the target stays as it was. Raises OSError as the file system does.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".tmp-", suffix="-" + target.name, dir=target.parent)
    os.close(handle)
    part = Path(name)
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        with suppress(OSError):  # a network share may know no rights, or its own
            part.chmod(0o666 & ~_UMASK)
        os.replace(part, target)
        _sync_folder(target.parent)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def remove_parts(folder: str | Path) -> None:
    """Remove what writers that were killed have left in `folder`; nobody else may be writing there."""
    for part in Path(folder).glob(".tmp-*"):
        with suppress(OSError):
            part.unlink()


def check_writable(folder: str | Path) -> None:
    """Make `folder` if it is not there, and a file in it for a moment. Raises OSError where that cannot be done."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(prefix=".tmp-", dir=folder):
        pass


def write_text(target: str | Path, text: str) -> None:
    """Write `text` as UTF-8 to `target`, atomically."""
    with atomic_path(target) as part:
        part.write_text(text, encoding="utf-8")


def _sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut, where the system can (Windows cannot)."""
    with suppress(OSError, AttributeError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
