"""Shared by all tests."""

import os

os.environ["NAPARI_CONFIG"] = ""  # before napari is imported: the developer's own settings stay untouched
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: tiny arrays gain nothing from threads

from functools import cache
from pathlib import Path

import numpy as np
import pytest

PARITY = Path(__file__).parent / "parity"


@pytest.fixture(scope="session", autouse=True)
def folders_of_nobody(tmp_path_factory):
    """Keep logs, settings and caches of the tests, and of the processes that they start, out of the user's folders."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for kind in ("CONFIG", "CACHE", "DATA", "STATE"):
            patch.setenv(f"XDG_{kind}_HOME", str(home / kind.lower()))
        yield


@cache
def _parity(name):
    with np.load(PARITY / f"{name}.npz", allow_pickle=False) as file:
        return dict(file)


@pytest.fixture(scope="session")
def parity():
    """Return a function that loads a file of values that the method must reproduce, as a dict of arrays."""
    return _parity
