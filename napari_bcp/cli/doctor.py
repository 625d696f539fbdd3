"""What this computer offers, for a person who wonders why something is slow or missing."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from napari_bcp.cli.window import BINDINGS

_PACKAGES = ("napari-bcp", "torch", "numpy", "scipy", "scikit-image", "nibabel", "blosc2", "napari")
_GB = 1e9

# A child asks for the version, because a broken driver can end the process that asks.
_ASK_OPENGL = """
from qtpy.QtGui import QGuiApplication, QOffscreenSurface, QOpenGLContext
app = QGuiApplication([])
context, surface = QOpenGLContext(), QOffscreenSurface()
context.create()
surface.create()
context.makeCurrent(surface)
from OpenGL import GL
print("OpenGL", GL.glGetString(GL.GL_VERSION).decode(), "on", GL.glGetString(GL.GL_RENDERER).decode())
"""


def facts() -> dict[str, Any]:
    """Return what there is, JSON-able: sizes in GB (1e9 bytes), None for what is not there.

    bfloat16 : whether training is faster in it than in float32
    """
    import torch

    from napari_bcp.engine.device import available_cores, bfloat16_pays, pick_device

    memory = psutil.virtual_memory()
    gpus = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    qt = _qt_binding()
    return {
        "versions": {name: _version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "system": platform.platform(),
        "device": str(pick_device()),
        "gpus": [{"name": gpu.name, "memory_gb": round(gpu.total_memory / _GB, 1)} for gpu in gpus],
        "processor": _processor(),
        "cores": available_cores(),
        "bfloat16": bfloat16_pays(pick_device()),
        "memory_gb": round(memory.total / _GB, 1),
        "memory_free_gb": round(memory.available / _GB, 1),
        "folder": str(Path.cwd()),
        "disk_free_gb": round(shutil.disk_usage(Path.cwd()).free / _GB, 1),
        "qt": None if qt is None else f"{qt} {_version(qt)}",
        "opengl": None if qt is None else _opengl(qt),
    }


def sentences(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what `facts` found as (subject, remark) for a person."""
    gpus = ", ".join(f"{gpu['name']} ({gpu['memory_gb']} GB)" for gpu in found["gpus"])
    versions = found["versions"]
    device = f"{found['device']}: {gpus}" if gpus else "cpu; PyTorch finds no GPU that it can use"
    if gpus and found["device"] == "cpu":
        device = f"cpu; this build of PyTorch cannot compute on {gpus}"
    window = "not installed; the command line needs none (pip install 'napari-bcp[pyside6]' brings it)"
    return [
        ("napari-bcp", f"{versions['napari-bcp']} on Python {found['python']}, {found['system']}"),
        ("device", device),
        ("processor", f"{found['processor']}, {found['cores']} cores for this process"),
        ("bfloat16", "faster than float32 here" if found["bfloat16"] else "not faster than float32 here"),
        ("memory", f"{found['memory_free_gb']} of {found['memory_gb']} GB free"),
        ("disk", f"{found['disk_free_gb']} GB free in {found['folder']}"),
        ("packages", ", ".join(f"{name} {number}" for name, number in versions.items() if number)),
        ("napari", f"{versions['napari']}, {found['qt'] or 'no Qt binding'}" if versions["napari"] else window),
        ("OpenGL", found["opengl"] or "no answer; napari's window needs a screen and a graphics driver"),
    ]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    """Return the processor's name, which Linux tells in a file only."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _qt_binding() -> str | None:
    """Return the name of the Qt binding that napari would use."""
    chosen = os.environ.get("QT_API", "").lower()
    installed = [name for name in BINDINGS if _version(name)]
    return next((name for name in installed if name.lower() == chosen), installed[0] if installed else None)


def _opengl(qt: str) -> str | None:
    """Return OpenGL's version and renderer as Qt finds them; None without a screen or driver."""
    try:
        answer = subprocess.run(
            [sys.executable, "-c", _ASK_OPENGL],
            env={**os.environ, "QT_API": qt.lower()},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = [line for line in answer.stdout.splitlines() if line.startswith("OpenGL")]
    return lines[0] if answer.returncode == 0 and lines else None
