"""A window that is killed: what was painted comes back, and the training process ends by itself."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from napari_bcp.pool import Pool
from napari_bcp.pool.runs import last_trained

PROGRAM = Path(__file__).parent / "window_killed.py"
PROMISED_S = 2.0


def paint_until_killed(pool, case, seconds, *more):
    """Let another process paint for some seconds, kill it, and return what it told of each stroke, and when it died."""
    program = subprocess.Popen(
        [sys.executable, str(PROGRAM), str(pool), case, *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=PROGRAM.parent,
    )
    strokes = []
    try:
        for line in program.stdout:
            number, clock, voxels, child = line.split()
            strokes.append((int(number), float(clock), int(voxels), int(child)))
            if strokes[-1][1] - strokes[0][1] > seconds:
                break
        killed = time.time()
    finally:
        program.kill()
        _, errors = program.communicate()
    assert strokes, errors
    return strokes, killed


def has_ended(pid):
    """Return whether a process is gone; one that nobody has buried yet is."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.timeout(300)
def test_after_a_kill_the_case_opens_with_every_stroke_older_than_two_seconds(phantom_pool, session, pumped):
    strokes, killed = paint_until_killed(phantom_pool, "phantom_004", 3.5)
    due = [number for number, clock, *_ in strokes if clock < killed - PROMISED_S]
    assert due
    told = []
    session.told.connect(lambda message: told.append(message.text))
    session.open_pool(phantom_pool)
    pumped(session, lambda: session.pool is not None)
    assert session.pool.case("phantom_004").status == "draft"
    session.open_case("phantom_004")
    pumped(session, lambda: session.current is not None)
    edits = session.current.edits
    kept = len(edits.operations)
    assert due[-1] <= kept <= strokes[-1][0] + 1
    assert "is back" in session.current.restored
    [voxels] = {voxels for number, _, voxels, _ in strokes if number == min(kept, strokes[-1][0])}
    if kept <= strokes[-1][0]:
        assert edits.voxels_changed == voxels
    while edits.can_undo:  # all of it can still be taken back
        edits.undo()
    assert not np.any(edits.array)


@pytest.mark.timeout(300)
def test_a_kill_in_the_middle_of_training_leaves_no_process_and_a_pool_that_goes_on(phantom_pool, session, pumped):
    strokes, _ = paint_until_killed(phantom_pool, "phantom_005", 1.0, "train")
    child = strokes[-1][3]
    assert child
    pumped(session, lambda: has_ended(child))
    with Pool.open(phantom_pool) as pool:
        run = last_trained(pool)
        assert run is not None, "it saved before it ended"
    session.open_pool(phantom_pool)
    pumped(session, lambda: session.pool is not None)
    session.start_training("quick", 10, {})
    pumped(session, lambda: session.training.phase == "training", 120)
    assert session.training.run == run.id
    session.stop_training()
    pumped(session, lambda: session.training.phase == "idle", 60)
