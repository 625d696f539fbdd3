"""Pools and windows for the tests of the app."""

import pytest
from edits_by_hand import new_edits
from qtpy.QtCore import Qt
from quiet_trainer import QuietTrainer

import napari_bcp
from napari_bcp.app import application
from napari_bcp.app.session import Session
from napari_bcp.pool import Pool
from napari_bcp.scans import read_grid, read_mask
from napari_bcp.scans.phantom import write_cohort


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


@pytest.fixture
def path(tmp_path):
    """Where a journal will be."""
    return tmp_path / "drafts" / "a.journal"


@pytest.fixture
def edits(path):
    """Edits of a small array, without a draft yet."""
    return new_edits(path)


@pytest.fixture
def click(qtbot):
    """Return a function that clicks on a button as a hand does: not on one that is disabled."""

    def do(button):
        assert button.isVisible()
        assert button.isEnabled(), button.text()
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)

    return do


@pytest.fixture
def told(quiet):
    """What the session says, as (level, where, text)."""
    said = []
    quiet[0].told.connect(lambda message: said.append((message.level, message.where, message.text)))
    return said


@pytest.fixture
def truth(phantom_cohort, phantom_pool):
    """Return a function that gives the true mask of a case, x, y, z."""

    def read(name):
        with Pool.open(phantom_pool) as pool:
            scan = pool.case(name).path
        return read_mask(phantom_cohort / "truth" / f"{name}.nii.gz", read_grid(scan)).voxels

    return read


@pytest.fixture
def opened(quiet, pumped):
    """Return a function that opens a case and returns it."""
    session, _ = quiet

    def go(name):
        session.open_case(name)
        pumped(session, lambda: session.current is not None and session.current.name == name)
        return session.current

    return go
