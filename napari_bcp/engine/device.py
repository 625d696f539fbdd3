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
    x = torch.zeros(2, 32, 40, 32, 20).contiguous(memory_format=torch.channels_last_3d)

    def seconds(bfloat16: bool) -> float:
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            total = conv(x).sum()
        total.backward()
        return time.perf_counter() - start

    float32 = min(seconds(bfloat16=False) for _ in range(3))
    if (first := seconds(bfloat16=True)) > 3 * float32:
        return False  # emulated, and so slow that timing it again would be felt
    return float32 > 1.3 * min(first, *(seconds(bfloat16=True) for _ in range(3)))
