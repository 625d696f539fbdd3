"""Which device computes, and in what arithmetic."""

from __future__ import annotations

import os
import time
from functools import lru_cache

import torch
from torch import nn

from napari_bcp.errors import DeviceError


def pick_device(name: str = "auto") -> torch.device:
    """Return the device for "auto" (a GPU where there is one), "cpu" or "cuda:N".

    Raises DeviceError when it is not there.
    """
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise DeviceError(f"'{name}' is no device; use auto, cpu or cuda:N.") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceError(f"Device '{name}' is not here ({torch.cuda.device_count()} GPUs found); use --device cpu.")
    if device.type not in ("cpu", "cuda"):
        raise DeviceError(f"Device '{name}' is not supported; use auto, cpu or cuda:N.")
    return device


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that memory ran out; a processor's allocator has no class of error for it."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "allocate memory" in str(error)


@lru_cache(maxsize=4)
def bfloat16_pays(device: torch.device) -> bool:
    """Say whether convolutions train at least 1.3 times as fast in bfloat16 as in float32 here.

    On a GPU it asks the driver. On a processor it times a step of one convolution both ways, at a size and batch
    that training has: names of instruction sets tell little about speed, and small or single images take other,
    slower paths than the ones that count.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    conv = nn.Conv3d(32, 32, 3, padding=1)
    conv.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    # A processor without instructions for it takes seconds for one large convolution: a small one tells that first.
    small, large = (2, 32, 20, 16, 10), (2, 32, 40, 32, 20)
    if _fastest(conv, small, bfloat16=True, tries=2) > 4 * _fastest(conv, small, bfloat16=False, tries=2):
        return False
    return _fastest(conv, large, bfloat16=False) > 1.3 * _fastest(conv, large, bfloat16=True)


def _fastest(conv: nn.Module, shape: tuple[int, ...], *, bfloat16: bool, tries: int = 4) -> float:
    """Return the seconds of the fastest of `tries` training steps of one convolution on `shape` (B, C, x, y, z)."""
    x = torch.zeros(shape).contiguous(memory_format=torch.channels_last_3d)
    times = []
    for _ in range(tries):
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            total = conv(x).sum()
        total.backward()
        times.append(time.perf_counter() - start)
    return min(times)
