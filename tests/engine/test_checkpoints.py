"""Checkpoints that are damaged, of other releases, or made up: a sentence, or the one before; never code."""

import random

import pytest
import torch

from napari_bcp.config import make_config
from napari_bcp.engine import checkpoint
from napari_bcp.engine.fingerprint import Fingerprint
from napari_bcp.engine.plan import make_plan
from napari_bcp.engine.state import new_state
from napari_bcp.errors import CheckpointError

CPU = torch.device("cpu")
CONFIG = make_config("quick", {"width": 4})
SHAPE = (24, 24, 24)
FOUND = Fingerprint(shape=SHAPE, spacing=(1, 1, 1), extent=SHAPE, ct=False, foreground=(0, 1, 2, 1, 1), diameters={})


def untrained():
    return new_state(make_plan(FOUND, [1], CONFIG, CPU), CONFIG, CPU)


def test_the_one_before_is_used_and_said(tmp_path):
    checkpoint.save(tmp_path / "last.pt", {"step": 1})
    checkpoint.save(tmp_path / "last.pt", {"step": 2})
    assert "note" not in checkpoint.load_newest(tmp_path)
    (tmp_path / "last.pt").write_bytes(b"torn")
    found = checkpoint.load_newest(tmp_path)
    assert found["step"] == 1
    assert f"run {tmp_path.name} cannot be read" in found["note"]


def test_one_of_a_newer_release_is_not_passed_over(tmp_path):
    checkpoint.save(tmp_path / "last.pt", {"step": 1})
    checkpoint.save(tmp_path / "last.pt", {"step": 2, "napari_bcp": checkpoint.VERSION + 1})
    with pytest.raises(CheckpointError, match="update napari-bcp"):
        checkpoint.load_newest(tmp_path)


@pytest.mark.parametrize(
    "claim",
    [
        {"order": {"x": []}},
        {"order": {"labelled": 3}},
        {"order": []},
        {"bank": 5},
        {"rng": "{}"},
        {"held_out": None},
        {"student": {}},
        {"optimiser": {"state": {}, "param_groups": []}},
        {"validated": "soon"},
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(claim):
    with pytest.raises(CheckpointError, match="does not fit its plan"):
        untrained().restore({**untrained().content(), **claim}, CPU)


def test_any_damage_ends_in_a_checkpoint_or_a_sentence(tmp_path):
    """Bytes are changed, or the end is missing; a hundred and fifty times."""
    path, rng = tmp_path / "last.pt", random.Random(0)
    checkpoint.save(path, {"weights": torch.arange(50.0), "order": {"a": ["b"]}, "step": 3})
    whole, readable = path.read_bytes(), 0
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(rng.randint(1, 8)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged[: rng.choice([len(damaged), rng.randrange(len(damaged))])])
        try:
            readable += isinstance(checkpoint.load(path), dict)
        except CheckpointError:
            continue
    assert readable < 150
