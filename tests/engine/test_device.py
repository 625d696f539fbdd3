"""Devices: which one computes, and what its errors mean. What a graphics card says is quoted: none is needed here."""

import pytest
import torch

from napari_bcp.config import make_config
from napari_bcp.engine import device
from napari_bcp.engine.plan import make_plan
from napari_bcp.errors import DeviceError

from tiny import cubes  # isort: skip

CARD = torch.device("cuda:0")


@pytest.fixture
def card(monkeypatch):
    """A graphics card that is found, but that the installed PyTorch can do nothing with."""

    def refused(*_, **more):
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device\nand more")

    monkeypatch.setattr(torch, "ones", refused)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    device._why_not.cache_clear()
    yield
    device._why_not.cache_clear()


def test_a_card_that_cannot_compute_is_passed_over_and_refused_where_it_is_asked_for(card):
    assert device.pick_device("auto") == torch.device("cpu")
    with pytest.raises(DeviceError, match=r"cannot compute \(CUDA error: no kernel.+device\); choose cpu"):
        device.pick_device("cuda:0")


@pytest.mark.parametrize(
    ("error", "short", "lost"),
    [
        (MemoryError(), True, False),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True, False),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"), True, False),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported later"), True, False),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True, False),
        (RuntimeError("GET was unable to find an engine to execute this computation"), True, False),
        (RuntimeError("CUDA error: unspecified launch failure"), False, True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False, True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False, False),
        (ValueError("CUDA error"), False, False),
        (None, False, False),
    ],
)
def test_errors_tell_memory_that_is_short_from_a_card_that_is_lost(error, short, lost):
    assert error is None or device.out_of_memory(error) is short
    assert device.is_lost(error) is lost


@pytest.mark.parametrize(("capability", "has"), [((7, 5), False), ((8, 6), True), ((9, 0), True)])
def test_bfloat16_is_for_cards_that_have_it_also_where_the_plan_was_made_on_another(card, monkeypatch, capability, has):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda asked: capability)
    device.bfloat16_pays.cache_clear()
    device.bfloat16_crawls.cache_clear()
    try:
        assert device.bfloat16_pays(CARD) is has
        plan = plan_for(2).model_copy(update={"bfloat16": True, "device": "cuda"})
        assert plan.bfloat16_on(CARD) is has
        assert plan.bfloat16_on(torch.device("cpu")) is False
    finally:
        device.bfloat16_pays.cache_clear()
        device.bfloat16_crawls.cache_clear()


def plan_for(classes):
    return make_plan(cubes(360, 80.0), range(1, classes + 1), make_config("quick", {"precision": "float32"}), CARD)


def test_many_classes_get_smaller_blocks_on_a_card(card):
    """What the loss keeps of a block grows with them."""
    voxels = [torch.Size(plan_for(classes).patch).numel() for classes in (1, 7, 15, 31)]
    assert voxels[0] == voxels[1] > voxels[2] > voxels[3]
    assert voxels[3] < 0.35 * voxels[0]
