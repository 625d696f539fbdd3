"""Shared by all tests."""

import os

os.environ["NAPARI_CONFIG"] = ""  # before napari is imported: the developer's own settings stay untouched

from functools import cache
from pathlib import Path

import numpy as np
import pytest

PARITY = Path(__file__).parent / "parity"


@cache
def _parity(name):
    with np.load(PARITY / f"{name}.npz", allow_pickle=False) as file:
        return dict(file)


@pytest.fixture(scope="session")
def parity():
    """Return a function that loads a file of values that the method must reproduce, as a dict of arrays."""
    return _parity
