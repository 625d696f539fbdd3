"""Which device computes, and in what arithmetic."""

from __future__ import annotations

import os
import time
from functools import lru_cache
from typing import Final

import torch
from torch import nn

from napari_bcp.errors import DeviceError


def pick_device(name: str = "auto") -> torch.device:
    """Return the device for "auto" (a GPU where there is one), "cpu" or "cuda:N".

    Raises DeviceError when it is not there.
    """
    if name == "auto":
        card = torch.device("cuda:0")
        return card if torch.cuda.is_available() and not _why_not(card) else torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise DeviceError(f"'{name}' is no device; use auto, cpu or cuda:N.") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceError(f"Device '{name}' is not here ({torch.cuda.device_count()} GPUs found); choose cpu.")
    if device.type not in ("cpu", "cuda"):
        raise DeviceError(f"Device '{name}' is not supported; use auto, cpu or cuda:N.")
    if device.type == "cuda" and (reason := _why_not(device)):
        raise DeviceError(
            f"Device '{name}' cannot compute ({reason}); choose cpu, or a PyTorch that supports the card."
        )
    return device


@lru_cache(maxsize=16)
def _why_not(card: torch.device) -> str:
    """Return why a graphics card cannot compute: a build of PyTorch may have nothing for one that it finds."""
    try:
        torch.ones(1, device=card).add_(1).item()
    except (RuntimeError, AssertionError) as error:
        return str(error).splitlines()[0]
    return ""


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that memory ran out; not all that allocate have a class of error for it."""
    text = str(error)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(part in text for part in _OUT_OF_MEMORY)


def is_lost(error: BaseException | None) -> bool:
    """Say whether an error means that a graphics card can do no more for this process."""
    return isinstance(error, RuntimeError) and "CUDA error" in str(error) and not out_of_memory(error)


# The processor's allocator, the driver, cuBLAS and cuDNN, and cuDNN again where it finds no room for a plan.
_OUT_OF_MEMORY: Final = ("allocate memory", "out of memory", "_ALLOC_FAILED", "unable to find an engine")


@lru_cache(maxsize=4)
def bfloat16_pays(device: torch.device) -> bool:
    """Say whether convolutions train at least 1.3 times as fast in bfloat16 as in float32 here.

    A GPU has them from compute capability 8 on. On a processor it times a step of one convolution both ways, at a
    size and batch that training has: names of instruction sets tell little about speed, and small or single images
    take other, slower paths than the ones that count.
    """
    if device.type == "cuda":
        return torch.cuda.is_available() and torch.cuda.get_device_capability(device)[0] >= 8
    if bfloat16_crawls(device):
        return False
    conv, large = _convolution(), (2, 32, 40, 32, 20)
    return _fastest(conv, large, bfloat16=False) > 1.3 * _fastest(conv, large, bfloat16=True)


@lru_cache(maxsize=4)
def bfloat16_crawls(device: torch.device) -> bool:
    """Say whether a device has no instructions for bfloat16; a processor tells by a small convolution.

    A large one would take seconds.
    """
    if device.type == "cuda":
        return not bfloat16_pays(device)
    conv, small = _convolution(), (2, 32, 20, 16, 10)
    return _fastest(conv, small, bfloat16=True, tries=2) > 4 * _fastest(conv, small, bfloat16=False, tries=2)


def _convolution() -> nn.Module:
    conv = nn.Conv3d(32, 32, 3, padding=1)
    return conv.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload,no-any-return]


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
