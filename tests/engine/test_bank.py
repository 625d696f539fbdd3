"""Pseudo-labels of whole scans, kept and made anew in turn."""

import tracemalloc
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from napari_bcp.config import make_config
from napari_bcp.engine import bank as module
from napari_bcp.engine.bank import UNSURE, Bank
from napari_bcp.engine.cache import Prepared
from napari_bcp.engine.fingerprint import Fingerprint
from napari_bcp.engine.plan import make_plan

CPU = torch.device("cpu")
SHAPE = (12, 10, 8)
PLAN = make_plan(
    Fingerprint(
        shape=SHAPE,
        spacing=(1, 1, 1),
        extent=SHAPE,
        ct=False,
        foreground=(0, 1, 2, 1, 1),
        diameters={},
    ),
    [3, 7],
    make_config("quick", {}),
    CPU,
)


@pytest.fixture
def chances(monkeypatch):
    """What the teacher says of every scan, (classes, x, y, z); background where nothing else is put in."""
    made = np.zeros((3, *SHAPE), np.float32)
    made[0] = 1
    counted = SimpleNamespace(array=made, asked=0)

    def say(network, plan, image, device):
        counted.asked += 1
        return counted.array

    monkeypatch.setattr(module, "whole_probabilities", say)
    return counted


def put(chances, box, channel, chance):
    chances.array[(slice(None), *box)] = 0
    chances.array[(channel, *box)] = chance
    chances.array[(0, *box)] = 1 - chance


@pytest.fixture
def new_bank():
    def make(parts=(1, 1), **settings):
        state = SimpleNamespace(step=0, teacher=torch.nn.Identity())
        return Bank(PLAN.model_copy(update={"parts": parts}), make_config("quick", settings), state, CPU), state

    return make


def case(name="a"):
    return Prepared(name, np.zeros(SHAPE, np.float16), None, ())


LARGE, SMALL = (slice(1, 5), slice(1, 5), slice(1, 5)), (slice(8, 10), slice(7, 9), slice(5, 7))


def test_a_whole_scans_largest_component_stays_class_by_class(chances, new_bank):
    put(chances, LARGE, 1, 0.9)
    put(chances, SMALL, 1, 0.9)
    bank, _ = new_bank()
    labels, _ = bank.labels(case())
    assert labels.shape == SHAPE
    assert (labels[LARGE] == 1).all()
    assert not labels[SMALL].any()
    everything, _ = new_bank(components="all")
    assert (everything.labels(case())[0][SMALL] == 1).all()


def test_as_many_components_stay_as_masks_have_in_the_order_of_the_classes(chances, new_bank):
    second = (slice(8, 10), slice(7, 9), slice(2, 5))  # 12 of 64 voxels
    for channel, part in ((1, LARGE), (1, second)):
        put(chances, part, channel, 0.9)
    for parts, stays in (((2, 1), True), ((1, 2), False), ((), False)):
        bank, _ = new_bank(parts)
        assert bool((bank.labels(case())[0][second] == 1).all()) is stays


def test_where_the_teacher_is_not_sure_nothing_is_taught(chances, new_bank):
    put(chances, LARGE, 2, 0.7)
    put(chances, (slice(1, 3), slice(1, 5), slice(1, 5)), 2, 0.95)
    bank, _ = new_bank(sure=0.8)
    labels, _ = bank.labels(case())
    assert (labels[1:3, 1:5, 1:5] == 2).all()
    assert (labels[3:5, 1:5, 1:5] == UNSURE).all()
    assert labels[11, 9, 7] == 0


def test_only_scans_of_which_the_teacher_is_confident_teach(chances, new_bank):
    bank, _ = new_bank(trusted=0.5, components="all")
    put(chances, LARGE, 1, 0.9)
    chances.array[2, 0, 0, 0], chances.array[0, 0, 0, 0] = 0.9, 0.1
    assert bank.labels(case("good"))[1], "alone it is the best"
    put(chances, LARGE, 1, 0.55)
    assert not bank.labels(case("worse"))[1]
    assert bank.labels(case("good"))[1]
    put(chances, (slice(None),) * 3, 0, 1.0)
    assert not bank.labels(case("nothing found"))[1]
    everything, _ = new_bank()
    assert everything.labels(case("nothing found"))[1]


def test_labels_are_made_anew_once_they_are_old_and_not_before(chances, new_bank):
    bank, state = new_bank(pseudo_every=10)
    first, _ = bank.labels(case())
    put(chances, LARGE, 1, 0.9)
    state.step = 9
    np.testing.assert_array_equal(bank.labels(case())[0], first)
    assert chances.asked == 1
    state.step = 10
    assert (bank.labels(case())[0][LARGE] == 1).all()
    bank.labels(case("b"))
    assert chances.asked == 3


def test_memory_stays_bounded_the_ones_used_last_are_kept(chances, new_bank, monkeypatch):
    monkeypatch.setattr(module, "_KEPT", 2)
    bank, _ = new_bank()
    for name in "abac":
        bank.labels(case(name))
    assert list(bank.content()) == ["a", "c"]


def test_a_checkpoint_brings_it_back_and_what_is_broken_is_made_anew(chances, new_bank):
    put(chances, LARGE, 1, 0.9)
    bank, _ = new_bank()
    labels, _ = bank.labels(case())
    content = bank.content()
    content["b"] = {**content["a"], "shape": [1000, 1000, 1000]}
    content["c"] = {"step": 0}
    content["d"] = {**content["a"], "packed": torch.zeros(5, dtype=torch.uint8)}
    content["e"] = {**content["a"], "shape": [-1, 1, 1]}  # what was unpacked without end before
    bomb = zlib.compress(bytes(50_000_000))
    content["f"] = {**content["a"], "packed": torch.frombuffer(bytearray(bomb), dtype=torch.uint8)}
    other, _ = new_bank()
    tracemalloc.start()
    other.restore(content)
    np.testing.assert_array_equal(other.labels(case())[0], labels)
    assert chances.asked == 1
    for name in "bcdef":
        np.testing.assert_array_equal(other.labels(case(name))[0], labels)
    assert chances.asked == 6
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()
