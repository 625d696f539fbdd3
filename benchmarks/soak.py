"""Kill the window, the training and both, again and again: `python benchmarks/soak.py --kills 100`.

Each round a real window on a pool of phantoms paints with all brushes, erases, fills, cleans up, undoes, redoes and
accepts at random while it trains (needs a screen; a virtual one will do), and prints a line before and after each
change. After a random time one or both of the two processes are killed (SIGKILL): a third at any time, a third in the
middle of a stroke, a third while a case is accepted. Then the pool is read: labels must be those of a change that was
at most two seconds old when the process was killed, a draft must say that it is back and be open to undo, every file
must be whole, and both processes must be gone. Prints JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import nibabel as nib
import numpy as np
import psutil
from cohorts import commit, machine

import napari_bcp
from napari_bcp.app.session import Session
from napari_bcp.engine import checkpoint
from napari_bcp.errors import BcpError
from napari_bcp.scans.maps import MapFile
from napari_bcp.scans.phantom import write_cohort

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

PROMISED_S: Final = 2.0
KINDS: Final = ("window", "training", "both")
AIMS: Final = ("any time", "stroke", "accepting")
BEGUN: Final = frozenset({"stroke", "editing", "undoing", "redoing", "accepting"})
"""What is told before it is done; the others are told after."""


def digest(labels: NDArray[Any]) -> str:
    """Return what labels are known by."""
    return hashlib.sha1(labels.tobytes(), usedforsecurity=False).hexdigest()[:16]


# -- the window, which is killed ------------------------------------------------------------------------------


def work(root: Path, seed: int) -> None:  # noqa: C901 - small steps, one after the other
    """Paint, undo and accept until killed; print `case operations digest clock child` after each change."""
    os.environ["NAPARI_CONFIG"] = ""
    import napari
    from qtpy.QtCore import QPoint, Qt
    from qtpy.QtTest import QTest

    from napari_bcp.app.application import get_keeper
    from napari_bcp.app.canvas import canvas_of
    from napari_bcp.app.dock import BcpWidget

    def wait(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 120
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError
            QTest.qWait(5)

    def tell(what: str) -> None:
        case = session.current
        print(what, case.name, len(case.edits.operations), digest(case.labels), time.time(), session.child or 0)
        sys.stdout.flush()

    def stroke(mode: str) -> None:
        labels = viewer.layers["labels"]
        labels.selected_label = chance.randint(1, len(session.classes))
        labels.mode = mode
        width, height = canvas.width(), canvas.height()
        x, y = chance.uniform(0.35, 0.6) * width, chance.uniform(0.35, 0.6) * height
        places = [QPoint(round(x + step * width / 60), round(y)) for step in range(6)]
        QTest.mouseMove(canvas, places[0])
        QTest.mousePress(canvas, Qt.MouseButton.LeftButton, pos=places[0])
        for place in places[1:]:
            QTest.mouseMove(canvas, place)
            QTest.qWait(8)
        QTest.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=places[-1])
        QTest.qWait(20)

    def change() -> None:
        edits, chosen = session.current.edits, chance.random()
        if chosen < 0.15 and edits.can_undo:
            tell("undoing")
            panels.review.layers.undo()
        elif chosen < 0.25 and edits.can_redo:
            tell("redoing")
            panels.review.layers.redo()
        elif chosen < 0.35:
            tell("editing")
            session.edit_current(chance.choice(["smooth", "fill_holes", "keep_largest"]), 1)
            wait(lambda: not session.busy)
        else:
            panels.review.layers.take_brush(chance.choice(["plain", "plain", "map", "grey", "smart"]))
            tell("stroke")
            stroke(chance.choice(["paint", "paint", "paint", "erase", "fill"]))
        tell("changed")

    chance = random.Random(seed)
    viewer = napari.Viewer()
    panels = BcpWidget(viewer)
    viewer.window.add_dock_widget(panels)
    canvas = canvas_of(viewer).native
    session = get_keeper().session
    session.open_pool(root)
    wait(lambda: session.pool is not None and session.cases)
    session.start_training("quick", 30, {"width": 4, "patch": [16, 16, 16], "threads": 1})
    wait(lambda: session.training.phase == "training")
    while True:
        if session.training.phase == "failed":
            session.continue_after_failure()
        name = chance.choice([case.name for case in session.cases if case.status != "accepted"])
        session.open_case(name)
        wait(lambda name=name: session.current is not None and session.current.name == name and not session.busy)
        wait(lambda: "labels" in viewer.layers)
        tell("opened")
        for _ in range(chance.randrange(2, 9)):
            change()
        if chance.random() < 0.4 and session.current.labels.any():
            tell("accepting")
            session.accept()
            wait(lambda: not session.busy and session.current.case.status == "accepted")
            tell("accepted")


# -- what kills it, and looks ---------------------------------------------------------------------------------


class Window:
    """The window as a process, and what it has told."""

    def __init__(self, root: Path, seed: int, log: Path) -> None:
        self.lines: list[list[str]] = []
        with log.open("w") as errors:
            command = [sys.executable, str(Path(__file__)), "--work", str(root), "--seed", str(seed)]
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self.lines.append(line.split())

    @property
    def child(self) -> int:
        """The number of the training process, 0 for none."""
        return int(self.lines[-1][5]) if self.lines else 0

    def wait_for(self, lines: int, seconds: float = 120) -> None:
        """Wait until it has told so much, raise RuntimeError if it ends."""
        deadline = time.monotonic() + seconds
        while len(self.lines) < lines:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the window told {len(self.lines)} of {lines} lines")
            time.sleep(0.02)

    def wait_for_word(self, word: str) -> None:
        """Wait until it begins what is called so."""
        seen = len(self.lines)
        while not any(line[0] == word for line in self.lines[seen:]):
            self.wait_for(len(self.lines) + 1)

    def kill(self) -> float:
        """Kill it and return when; what it had told is read to the end."""
        self.process.kill()
        died = time.time()
        self.process.wait()
        self._reader.join()
        return died


def gone(pid: int, seconds: float) -> bool:
    """Return whether a process ends within so long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.1)
    return False


def torn(root: Path) -> list[str]:
    """Return the files of a pool that cannot be read whole."""
    found = []
    connection = sqlite3.connect(root / "pool.sqlite")
    if connection.execute("PRAGMA integrity_check").fetchone() != ("ok",):
        found.append("pool.sqlite")
    connection.close()

    def check(path: Path, read: Callable[[Path], object]) -> None:
        try:
            read(path)
        except (BcpError, OSError, ValueError, RuntimeError) as error:
            found.append(f"{path.relative_to(root)}: {error}")

    for path in root.glob("masks/**/*.nii.gz"):
        check(path, lambda path: np.asarray(nib.load(path).dataobj))
    for path in root.glob("maps/**/*.pseudo.nii.gz"):
        check(path, lambda path: np.asarray(nib.load(path).dataobj))
    for path in root.glob("maps/**/*.map.b2nd"):
        check(path, lambda path: MapFile(path).read(1))
    for path in root.glob("runs/*/*.pt"):
        check(path, checkpoint.load)
    return found


def lost(root: Path, lines: list[list[str]], died: float) -> list[str]:
    """Return what the pool has lost of what a window had told before it died."""
    found = []
    session = Session()

    def wait(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError
            session.pump()
            time.sleep(0.005)

    session.open_pool(root)
    wait(lambda: session.pool is not None and session.cases)
    for name in {line[1] for line in lines}:
        told = [line for line in lines if line[1] == name]
        old = [place for place, line in enumerate(told) if float(line[4]) < died - PROMISED_S]
        if not old:
            continue
        session.open_case(name)
        wait(lambda name=name: session.current is not None and session.current.name == name and not session.busy)
        now, last = session.current, told[-1]
        allowed = {line[3] for line in told[old[-1] :]}
        begun = name == lines[-1][1] and last[0] in BEGUN
        # Done, but not yet told: an edit more, or what was there before an edit that was undone.
        under_way = begun and (
            len(now.edits.operations) > int(last[2]) or digest(now.labels) in {one[3] for one in told}
        )
        if digest(now.labels) not in allowed and not under_way:
            found.append(f"{name}: {len(now.edits.operations)} edits, status {now.case.status}; told {told[old[-1] :]}")
        if now.case.status == "draft" and now.edits.voxels_changed and not (now.restored and now.edits.can_undo):
            found.append(f"{name}: a draft that does not say so, or cannot be undone")
    session.close()
    return found


def new_pool(folder: Path, cohort: Path) -> Path:
    """Return a new pool of the cohort."""
    shutil.rmtree(folder, ignore_errors=True)
    napari_bcp.new_pool(folder, cohort / "images", cohort / "labels", cohort / "classes.json").close()
    return folder


def main() -> None:
    """Kill and look."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.work is not None:
        work(asked.work, asked.seed)
        return
    chance = random.Random(asked.seed)
    killed: Counter[str] = Counter()
    during: Counter[str] = Counter()
    changes, problems = 0, []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_cohort(folder / "cohort", 24, 3, seed=asked.seed)
        root = new_pool(folder / "pool", folder / "cohort")
        for number in range(asked.kills):
            kind, aim = KINDS[number % 3], AIMS[number // 3 % 3]
            window = Window(root, asked.seed * 1000 + number, folder / "window.log")
            try:
                window.wait_for(1)
                time.sleep(chance.uniform(0.5, 6))
                if aim in BEGUN:
                    window.wait_for_word(aim)
                    time.sleep(chance.uniform(0, 0.08))  # any moment of it
                child = window.child
                if kind != "window" and child:
                    psutil.Process(child).kill()
                if kind == "training":
                    window.wait_for(len(window.lines) + 5)  # it goes on
            except (RuntimeError, psutil.NoSuchProcess) as error:
                problems.append(f"round {number}: {error}; {(folder / 'window.log').read_text()[-600:]}")
            children = {int(line[5]) for line in window.lines} - {0}
            died = window.kill()
            killed[kind] += 1
            last = window.lines[-1][0]
            during[last if last in BEGUN else "nothing"] += 1
            changes += sum(line[0] not in BEGUN for line in window.lines)
            problems += [f"round {number}: process {one} lives on" for one in children if not gone(one, 30)]
            problems += [f"round {number}: torn {one}" for one in torn(root)]
            problems += [f"round {number} ({kind}): lost {one}" for one in lost(root, window.lines, died)]
            print(
                f"{number + 1} of {asked.kills}: {kind}, {changes} changes, {len(problems)} problems", file=sys.stderr
            )
            with napari_bcp.open_pool(root) as pool:
                few = len(pool.cases()) - len(pool.cases("accepted")) < 6
            if few:
                root = new_pool(root, folder / "cohort")
    result = {"kills": dict(killed), "during": dict(during), "changes": changes, "problems": problems}
    print(json.dumps({**result, "commit": commit(), "machine": machine()}))
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
