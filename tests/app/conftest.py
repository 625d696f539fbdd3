"""Pools and windows for the tests of the app."""

import numpy as np
import pytest

import napari_bcp
from napari_bcp.app import application
from napari_bcp.app.session import Session
from napari_bcp.app.training import TrainingState
from napari_bcp.events import MapMade
from napari_bcp.pool import Pool
from napari_bcp.scans import read_grid, write_mask
from napari_bcp.scans.maps import MapWriter
from napari_bcp.scans.phantom import write_cohort

QUICK = {"width": 4, "patch": (16, 16, 16), "batch": 2, "threads": 1, "precision": "float32", "stage1_steps": 0}
"""Settings with which a step takes a blink, whatever it learns."""


@pytest.fixture(scope="session")
def phantom_cohort(tmp_path_factory):
    """Return a folder with eight tiny scans, masks of three, and the truth."""
    return write_cohort(tmp_path_factory.mktemp("phantom"), 8, 3, 0, "tiny")


@pytest.fixture
def phantom_pool(phantom_cohort, tmp_path):
    """Return the folder of a new pool of the eight."""
    root = tmp_path / "pool"
    images, labels = phantom_cohort / "images", phantom_cohort / "labels"
    napari_bcp.new_pool(root, images, labels, phantom_cohort / "classes.json").close()
    return root


@pytest.fixture
def pumped(qtbot):
    """Return a function that waits for a session to come to something, as a window would."""

    def wait(session, condition, seconds=60):
        def look():
            session.pump()
            return bool(condition())

        qtbot.waitUntil(look, timeout=1000 * seconds)

    return wait


@pytest.fixture
def session():
    """A session without a window; closed in the end."""
    made = Session()
    yield made
    made.close()


@pytest.fixture
def keeper():
    """The keeper of the process's session; ended in the end, with its child."""
    made = application.get_keeper()
    yield made
    made.close()


class QuietTrainer:
    """Stands for the training process: notes what it is told, and reports what a test hands it."""

    def __init__(self, heard):
        self.state, self.heard = TrainingState(), heard
        self.busy, self.pid, self.sent, self.closed = False, None, [], False

    def __getattr__(self, name):
        return lambda *arguments, **named: self.sent.append((name, *arguments, *named.values()))

    def train(self, job, run, step):
        self.busy = True
        self.state = TrainingState(phase="training", run=run, step=step)
        self.sent.append(("train", job))

    def pump(self):
        return False

    def close(self, seconds=0):
        self.busy, self.closed = False, True

    def told(self, name):
        """Return what one of its methods was called with, call by call."""
        return [arguments for called, *arguments in self.sent if called == name]


@pytest.fixture
def quiet(phantom_pool, pumped):
    """A session on the phantom pool whose training is a QuietTrainer, and that trainer."""
    trainers = []

    def make(heard):
        trainers.append(QuietTrainer(heard))
        return trainers[0]

    made = Session(make)
    made.open_pool(phantom_pool)
    pumped(made, lambda: made.pool is not None and bool(made.proposals))
    yield made, trainers[0]
    made.close()


def made_map(root, name, labels, step=10, run="0001", soft=0.9):
    """Write a map and its pseudo-label, whose classes are those of `labels` (x, y, z); return the child's report."""
    folder = root / "maps" / name
    stem = f"run{run}-step{step:07d}"
    with Pool.open(root) as pool:
        grid = read_grid(pool.case(name).path)
        values = [one.value for one in pool.classes]
    writer = MapWriter(labels.shape, values)
    writer.add(0, np.stack([np.where(labels == value, round(255 * soft), 0) for value in values]).astype(np.uint8))
    writer.save(folder / f"{stem}.map.b2nd", {"run": run, "step": step})
    write_mask(folder / f"{stem}.pseudo.nii.gz", labels, grid)
    return MapMade(
        case=name,
        run=run,
        step=step,
        map_path=str(folder / f"{stem}.map.b2nd"),
        pseudo_path=str(folder / f"{stem}.pseudo.nii.gz"),
        quality=dict.fromkeys(values, soft),
        entropy=1 - soft,
        volume_ml=dict.fromkeys(values, 10.0),
        islands={},
        seconds=0.1,
    )
