"""Take the pictures of this folder: python resources/screenshots/make_screenshots.py [--pool POOL] [--out FOLDER].

Without a pool the sample cohort is drawn and trained on, which takes a few minutes. The pictures in the order in which
they were taken are `loop.gif` too. Needs a screen; a virtual one will do:
xvfb-run -s "-screen 0 1920x1080x24 +extension GLX" python resources/screenshots/make_screenshots.py
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

os.environ["NAPARI_CONFIG"] = ""  # before napari is imported: nobody's own settings shall show

import napari
from PIL import Image
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest

from napari_bcp.app.application import get_keeper
from napari_bcp.app.dock import BcpWidget

if TYPE_CHECKING:
    from collections.abc import Callable

CASES, TRAIN, REVIEW, REPORT = range(4)
_WIDE, _FRAME_MS = 900, 1600


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
        self.session.next_case()
        self.wait(lambda: self.session.current is not None and not self.session.busy)


def main() -> None:
    """Go the whole way once, and take a picture of every panel."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pool", type=Path, help="a pool of your own instead of the sample")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--size", default="1280x800")
    parser.add_argument("--theme", choices=("dark", "light"), default="dark")
    wishes = parser.parse_args()
    wishes.out.mkdir(parents=True, exist_ok=True)
    width, height = map(int, wishes.size.split("x"))
    with tempfile.TemporaryDirectory() as folder:
        one = Photographer(wishes.out, (width, height), wishes.theme)
        one.shoot("welcome")
        if wishes.pool is None:
            one.session.open_sample(Path(folder) / "sample")
        else:
            one.session.open_pool(wishes.pool)
        one.wait(lambda: one.session.pool is not None and one.session.proposals)
        one.shoot("cases-before", CASES)
        one.session.start_training("quick", wishes.minutes, {})
        one.open_first()
        one.wait(lambda: one.session.training.share > 0.6 or not one.session.training.active)
        one.shoot("train", TRAIN)
        one.wait(lambda: not one.session.training.active and one.session.progress is None)
        one.shoot("cases", CASES)
        one.shoot("review", REVIEW, settle_ms=2500)
        layers = one.panels.review.layers
        layers.take_brush("smart")
        one.stroke((0.5, 0.37), (0.54, 0.41))
        one.wait(lambda: "scribble" in one.session.current.edits.operations)
        one.shoot("review-scribble", settle_ms=1500)
        layers.undo()
        layers.take_brush("plain")
        one.panels.review.show_planes(True)
        one.shoot("review-planes", settle_ms=2500)
        one.panels.review.show_planes(False)
        layers.show_overlay("uncertainty")
        layers.set_plane("coronal")
        one.shoot("review-uncertainty", settle_ms=1500)
        layers.show_overlay("map")
        layers.set_plane("axial")
        one.session.move_border(layers.chosen, 190, final=True)
        one.stroke((0.45, 0.45), (0.55, 0.5))
        one.wait(lambda: not one.session.border_moving)
        layers.show_changes(True)
        one.shoot("review-changes", settle_ms=1500)
        layers.show_changes(False)
        layers.set_plane("3-D")
        layers.show_overlay("nothing")
        one.shoot("review-3d", settle_ms=1500)
        layers.set_plane("axial")
        layers.show_overlay("map")
        for _ in range(3):
            name = one.session.current.name
            one.stroke((0.45, 0.5), (0.5, 0.5))
            one.session.accept(then_next=True)
            one.wait(lambda name=name: one.session.current.name != name and not one.session.busy)
            QTest.qWait(600)
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
