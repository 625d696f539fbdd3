"""Take the pictures of this folder: python resources/screenshots/make_screenshots.py [--pool POOL] [--out FOLDER].

Without a pool the sample cohort is drawn and trained on, which takes a few minutes. The pictures in the order in which
they were taken are `loop.gif` too. With --all they are taken four times, each in a folder of its own: in a small and in
a large window, dark and light. Needs a screen; a virtual one will do:
xvfb-run -s "-screen 0 1920x1080x24 +extension GLX" python resources/screenshots/make_screenshots.py
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from itertools import product, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

os.environ["NAPARI_CONFIG"] = ""  # before napari is imported: nobody's own settings shall show

import napari
import numpy as np
from PIL import Image
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from scipy.ndimage import label

from napari_bcp.app.application import get_keeper
from napari_bcp.app.dock import BcpWidget
from napari_bcp.app.view import camera_of
from napari_bcp.scans import display_arrays, read_mask, read_scan

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_bcp.app.session import Session

Place = tuple[float, float]

CASES, TRAIN, REVIEW, REPORT = range(4)
_SIZES, _THEMES = ("1280x800", "1920x1080"), ("dark", "light")
_WIDE, _FRAME_MS = 1040, 1600
_ACCEPTED = 12  # cases, after which the report has something to say
_TRIED = 8  # cases, for one that a single scribble mends
_LOOK_MS = (1500, 6000)  # how long a reader looks at a case, at least and at most


class Photographer:
    """A window of one size with the panels, and what a reader does with them."""

    def __init__(self, out: Path, size: tuple[int, int], theme: str) -> None:
        self.out = out
        self.frames: list[Image.Image] = []
        self.viewer = napari.Viewer(show=True)
        self.viewer.theme = theme
        self.viewer.window._qt_window.resize(*size)
        self.panels = BcpWidget(self.viewer)
        self.viewer.window.add_dock_widget(self.panels, name="Bidirectional Copy-Paste", area="right")
        self.session = get_keeper().session

    def wait(self, condition: Callable[[], object], seconds: float = 600) -> None:
        """Let the window work until something holds."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError
            QTest.qWait(20)

    def shoot(self, name: str, tab: int | None = None, settle_ms: int = 700) -> None:
        """Take a picture of the whole window."""
        if tab is not None:
            self.panels.tabs.setCurrentIndex(tab)
        QTest.qWait(settle_ms)
        picture = Image.fromarray(self.viewer.screenshot(canvas_only=False, flash=False)[..., :3])
        picture.save(self.out / f"{name}.png", optimize=True)
        print(self.out / f"{name}.png", flush=True)
        self.frame(picture)

    def frame(self, picture: Image.Image | None = None) -> None:
        """Add a picture, or the window as it is, to the animated one."""
        if picture is None:
            picture = Image.fromarray(self.viewer.screenshot(canvas_only=False, flash=False)[..., :3])
        small = picture.resize((_WIDE, round(picture.height * _WIDE / picture.width)), Image.Resampling.LANCZOS)
        self.frames.append(small.quantize(64, dither=Image.Dither.NONE))

    def save_loop(self) -> None:
        """Write the animated picture."""
        first, *others = self.frames
        options = {"append_images": others, "save_all": True, "duration": _FRAME_MS, "loop": 0, "optimize": True}
        first.save(self.out / "loop.gif", **options)
        print(self.out / "loop.gif", flush=True)

    def stroke(self, first: tuple[float, float], last: tuple[float, float]) -> None:
        """Draw with the mouse from one place to another, as shares of the canvas."""
        canvas = self.viewer.window._qt_viewer.canvas.native
        size = canvas.size()
        places = [
            QPoint(
                round(size.width() * (first[0] + (last[0] - first[0]) * i / 8)),
                round(size.height() * (first[1] + (last[1] - first[1]) * i / 8)),
            )
            for i in range(9)
        ]
        QTest.mousePress(canvas, Qt.MouseButton.LeftButton, pos=places[0])
        for place in places:
            QTest.mouseMove(canvas, place)
            QTest.qWait(15)
        QTest.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=places[-1])

    def open_first(self) -> None:
        """Open the case that is proposed first."""
        former = self.session.current
        self.session.next_case()
        self.wait(lambda: self.session.current is not former and not self.session.busy)

    def open(self, name: str) -> None:
        """Open a case."""
        self.session.open_case(name)
        self.wait(lambda: self.session.current is not None and self.session.current.name == name)

    def share(self, row: float, column: float) -> tuple[float, float]:
        """Return where a place of the axial plane, in voxels, is on the canvas, as shares of its width and height."""
        view, camera = self.panels.review.layers.view, camera_of(self.viewer)
        size = self.viewer.window._qt_viewer.canvas.native.size()
        _, high, wide = view.spacing
        x = (column * wide - camera.center[-1]) * camera.zoom / size.width() + 0.5
        y = (row * high - camera.center[-2]) * camera.zoom / size.height() + 0.5
        return x, y

    def mend(self, truth: NDArray[np.uint8]) -> bool:
        """Scribble through what the open case lacks most, as a reader would; return whether it became better."""
        case, layers = self.session.current, self.panels.review.layers
        for value, index, first, last in lacking(case.labels, truth):
            before = dice(case.labels, truth, value)
            layers.choose(value)
            layers.go_to_slice(0, index)
            layers.take_brush("smart")
            self.shoot("review-before", settle_ms=1500)
            self.stroke(self.share(*first), self.share(*last))
            QTest.qWait(1500)
            if "scribble" in case.edits.operations and dice(case.labels, truth, value) > before + 0.002:
                return True
            if case.edits.can_undo:
                layers.undo()
            self.frames.pop()
        return False

    def accept_more(self, truth: Path | None) -> None:
        """Look at further cases, mend and accept them, while it trains on."""
        looks = np.random.default_rng(0).integers(*_LOOK_MS, _ACCEPTED)
        self.session.start_training("quick", looks.sum() / 60_000 + 0.5, {})
        self.wait(lambda: self.session.training.phase == "training")
        for look in looks:
            self.open_first()
            for _ in range(int(look) // 500):
                self.session.current.look()
                QTest.qWait(500)
            if truth is not None:
                self.session.edit_current("replace", true_labels(self.session, truth))
                self.wait(lambda: not self.session.busy)
            self.session.accept()
            self.wait(lambda: not self.session.busy and not self.session.current.editable)
        self.session.stop_training()
        self.wait(lambda: not self.session.training.active and self.session.progress is None)


def take_all(out: Path) -> None:
    """Take the pictures in windows of all sizes and themes, each in a process of its own, with the arguments given."""
    given = [word for word in sys.argv[1:] if word != "--all"]
    for size, theme in product(_SIZES, _THEMES):
        folder = out / f"{size}-{theme}"
        words = [*given, "--out", str(folder), "--size", size, "--theme", theme]
        subprocess.run([sys.executable, __file__, *words], check=True)


def true_labels(session: Session, folder: Path) -> NDArray[np.uint8]:
    """Return the true labels of the open case as the window shows labels, z, y, x."""
    case = session.current
    scan = read_scan(case.case.path)
    labels, _ = display_arrays(read_mask(folder / f"{case.name}.nii.gz", scan.grid).voxels, scan.grid)
    return np.ascontiguousarray(labels)


def dice(labels: NDArray[np.uint8], truth: NDArray[np.uint8], value: int) -> float:
    """Return the Dice of one class."""
    ours, theirs = labels == value, truth == value
    return float(2 * (ours & theirs).sum() / max(1, ours.sum() + theirs.sum()))


def most_lacking(session: Session, folder: Path) -> list[str]:
    """Return the predicted cases, those first whose pseudo-labels have the largest gap in an axial slice: a scribble is
    for large ones.
    """
    found = {}
    for case in session.cases:
        if case.status == "predicted":
            scan = read_scan(case.path)
            truth = read_mask(folder / f"{case.name}.nii.gz", scan.grid).voxels
            missing = (truth > 0) & (read_mask(case.map.pseudo_path, scan.grid).voxels != truth)
            parts = [label(missing[..., z])[0].ravel() for z in range(missing.shape[2])]
            found[case.name] = max(int(np.bincount(one)[1:].max(initial=0)) for one in parts)
    return sorted(found, key=lambda name: -found[name])


def lacking(labels: NDArray[np.uint8], truth: NDArray[np.uint8]) -> list[tuple[int, int, Place, Place]]:
    """Return the largest gaps of each class in axial slices, classes in turn: value, slice, two far places in it."""
    found = {}
    for value in np.unique(truth[truth > 0]):
        gaps = found.setdefault(int(value), [])
        for index in range(len(truth)):
            parts, number = label((truth[index] == value) & (labels[index] != value))
            for part in range(1, number + 1):
                places = np.argwhere(parts == part)
                along = (places - places.mean(axis=0)) @ np.linalg.svd(
                    places - places.mean(axis=0), full_matrices=False
                )[2][0]
                order = np.argsort(along)
                ends = (places[order[int(share * (len(order) - 1))]] for share in (0.2, 0.8))
                first, last = ((float(y), float(x)) for y, x in ends)
                gaps.append((len(places), int(value), index, first, last))
    by_class = [sorted(gaps, reverse=True)[:4] for gaps in found.values()]
    return [tuple(one[1:]) for turn in zip_longest(*by_class) for one in turn if one is not None]


def main() -> None:
    """Go the whole way once, and take a picture of every panel."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pool", type=Path, help="a pool of your own instead of the sample")
    parser.add_argument("--truth", type=Path, help="a folder with the true masks of its cases, to mend towards")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--size", default=_SIZES[0])
    parser.add_argument("--theme", choices=_THEMES, default=_THEMES[0])
    parser.add_argument("--all", action="store_true", help="small and large, dark and light")
    wishes = parser.parse_args()
    if wishes.all:
        take_all(wishes.out)
        return
    wishes.out.mkdir(parents=True, exist_ok=True)
    width, height = map(int, wishes.size.split("x"))
    with tempfile.TemporaryDirectory() as folder:
        one = Photographer(wishes.out, (width, height), wishes.theme)
        one.shoot("welcome")
        truth = wishes.truth
        if wishes.pool is None:
            truth = Path(folder) / "sample" / "truth"
            one.session.open_sample(truth.parent)
        else:
            one.session.open_pool(wishes.pool)
        one.wait(lambda: one.session.pool is not None and one.session.proposals)
        one.shoot("cases-before", CASES)
        one.panels.train._minutes.setValue(wishes.minutes)
        one.session.start_training("quick", wishes.minutes, {})
        one.open_first()
        one.wait(lambda: one.session.training.share > 0.6 or not one.session.training.active)
        one.shoot("train", TRAIN)
        one.wait(lambda: not one.session.training.active and one.session.progress is None)
        one.shoot("cases", CASES)
        one.open_first()
        one.shoot("review", REVIEW, settle_ms=2500)
        layers = one.panels.review.layers
        if truth is not None:
            for name in most_lacking(one.session, truth)[:_TRIED]:
                one.open(name)
                if one.mend(true_labels(one.session, truth)):
                    break
            else:
                raise SystemExit("No scribble made the labels better: look at the smart brush.")
        one.shoot("review-scribble", settle_ms=1500)
        layers.show_changes(True)
        one.shoot("review-changes", settle_ms=1500)
        layers.show_changes(False)
        layers.take_brush("plain")
        one.panels.review.show_planes(True)
        one.shoot("review-planes", settle_ms=2500)
        one.panels.review.show_planes(False)
        layers.show_overlay("uncertainty")
        layers.set_plane("coronal")
        one.shoot("review-uncertainty", settle_ms=1500)
        layers.show_overlay("nothing")
        layers.set_plane("3-D")
        one.shoot("review-3d", settle_ms=1500)
        layers.set_plane("axial")
        layers.show_overlay("map")
        one.session.accept()
        one.wait(lambda: not one.session.busy and not one.session.current.editable)
        one.shoot("review-accepted", settle_ms=700)
        one.accept_more(truth)
        one.shoot("report", REPORT)
        one.save_loop()
        if wishes.theme == "dark":
            one.viewer.theme = "light"
            QTest.qWait(700)
            layers.set_plane("axial")  # the canvas has another size in this theme
            one.shoot("review-light", REVIEW)
        one.viewer.close()
        get_keeper().close()


if __name__ == "__main__":
    main()
