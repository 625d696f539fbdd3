"""Opening the window from the command line, as a process of its own: the command itself loads nothing of it."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

from napari_bcp.errors import SettingError

BINDINGS = ("PySide6", "PyQt6")
"""The window systems that the package is made for, the usual one first."""


def why_no_window() -> str:
    """Return why no window can be opened here, as a half sentence; empty if one can."""
    if find_spec("napari") is None or not any(find_spec(name) for name in BINDINGS):
        return "napari with a window system is not installed; install it with: pip install 'napari-bcp[pyside6]'"
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return "there is no screen: neither DISPLAY nor WAYLAND_DISPLAY is set"
    return ""


def open_window(*arguments: str) -> int:
    """Open the window and wait for its end; return its exit code. Raises SettingError where there can be none.

    arguments : of `python -m napari_bcp.app`
    """
    reason = why_no_window()
    if reason:
        raise SettingError(f"The window cannot be opened: {reason}.")
    return subprocess.call([sys.executable, "-m", "napari_bcp.app", *arguments])
