"""How smooth the window is, on two cores while it trains: `python benchmarks/smoothness.py DATA [--only PART …]`.

Opens the real window on a screen (a virtual one will do: xvfb-run -s "-screen 0 1920x1080x24 +extension GLX"), on a
pool of the left atrium of DATA (folders as in cohorts.py: 4 masks, 48 scans without), with the training in its real
child, and prints JSON:

strokes  milliseconds from a move of the mouse with the brush down until the canvas is drawn: napari alone, with the
         same layers and a canvas of the same size; the window at rest; the window while it trains
stalls   the longest time that the event loop did not come round, by what went on
train    seconds from Train pressed to the first map on the screen
accept   seconds from Accept pressed to the first step with the mask
switch   milliseconds from Next to the next, prefetched case being drawn
pool     seconds until a pool of 10 000 cases is listed
ct       a scan of 512×512×300 with map and labels: seconds to open, to accept, to scroll a slice, one and three planes
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ["NAPARI_CONFIG"] = ""  # before napari is imported: nobody's own settings shall count

import napari
import nibabel as nib
import numpy as np
from cohorts import SPLITS, call, commit, machine, number
from large_ct import write_ct
from pool_scale import make_cohort
from qtpy.QtCore import QEventLoop, QPoint, Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QWidget

import napari_bcp
from napari_bcp.app.application import get_keeper
from napari_bcp.app.canvas import canvas_of
from napari_bcp.app.dock import BcpWidget
from napari_bcp.app.layer_options import NONE_YET
from napari_bcp.pool import Pool
from napari_bcp.scans import read_grid, write_mask
from napari_bcp.scans.maps import MapWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PARTS = ("strokes", "train", "accept", "switch", "pool", "ct")
SIZE = 1280, 800
MOVES, STROKES = 20, 12


def wait(condition: Callable[[], object], seconds: float = 120) -> None:
    """Let the window work until something holds; looks every millisecond."""
    loop, timer = QEventLoop(), QTimer()
    deadline = time.monotonic() + seconds

    def look() -> None:
        if condition() or time.monotonic() > deadline:
            loop.quit()

    timer.timeout.connect(look)
    timer.start(1)
    try:
        if not condition():
            loop.exec()
    finally:  # else a collection of garbage in another thread may be what ends them, and the process
        timer.timeout.disconnect(look)
        timer.stop()
        timer.deleteLater()
    if not condition():
        raise TimeoutError


def rest(seconds: float) -> None:
    """Let the window work for a while."""
    end = time.monotonic() + seconds
    wait(lambda: time.monotonic() > end)


class Heart:
    """A beat every two milliseconds; the longest pause between two is the longest stall."""

    def __init__(self) -> None:
        self.longest: dict[str, float] = {}
        self._timer = QTimer(timerType=Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._beat)
        self._last, self._gap = 0.0, 0.0

    @contextmanager
    def listening(self, what: str) -> Iterator[None]:
        """Note the longest stall in milliseconds of what is done inside."""
        self._gap, self._last = 0.0, time.perf_counter()
        self._timer.start(2)
        try:
            yield
        finally:
            self._beat()
            self._timer.stop()
            self.longest[what] = max(self.longest.get(what, 0.0), round(1000 * self._gap, 1))

    def _beat(self) -> None:
        now = time.perf_counter()
        self._gap, self._last = max(self._gap, now - self._last), now


class Canvas:
    """A viewer's canvas: strokes on it, and when it was last drawn."""

    def __init__(self, viewer: Any) -> None:
        self.viewer = viewer
        self.widget = canvas_of(viewer).native
        self.drawn = 0
        self.widget.frameSwapped.connect(self._count)

    def _count(self) -> None:
        self.drawn += 1

    def draws(self, act: Callable[[], object], seconds: float = 30) -> float:
        """Return the milliseconds from `act` to the canvas drawn anew."""
        before, start = self.drawn, time.perf_counter()
        act()
        wait(lambda: self.drawn > before, seconds)
        return 1000 * (time.perf_counter() - start)

    def strokes(self) -> list[float]:
        """Draw strokes and return the milliseconds of each move."""
        size, found = self.widget.size(), []
        for row in range(STROKES):
            y = round(size.height() * (0.4 + 0.2 * row / STROKES))
            places = [QPoint(round(size.width() * (0.42 + 0.16 * i / MOVES)), y) for i in range(MOVES + 1)]
            QTest.mouseMove(self.widget, places[0])
            rest(0.02)
            QTest.mousePress(self.widget, Qt.MouseButton.LeftButton, pos=places[0])
            for place in places[1:]:
                rest(0.012)  # hands move in about this rhythm
                found.append(self.draws(lambda place=place: QTest.mouseMove(self.widget, place)))
            QTest.mouseRelease(self.widget, Qt.MouseButton.LeftButton, pos=places[-1])
            rest(0.3)
        return found


def spread(milliseconds: list[float]) -> dict[str, float]:
    """Return median and 95th percentile."""
    return {
        "median_ms": round(statistics.median(milliseconds), 1),
        "p95_ms": round(float(np.percentile(milliseconds, 95)), 1),
    }


class Bench:
    """The window with the panels, and what is measured."""

    def __init__(self) -> None:
        self.heart = Heart()
        self.viewer = napari.Viewer(show=True)
        self.viewer.window._qt_window.resize(*SIZE)
        self.panels = BcpWidget(self.viewer)
        self.viewer.window.add_dock_widget(self.panels, name="Bidirectional Copy-Paste", area="right")
        self.session = get_keeper().session
        self.canvas = Canvas(self.viewer)
        self.told: list[str] = []
        self.session.told.connect(lambda message: self.told.append(message.text))

    def open_pool(self, pool: Path) -> float:
        """Return the seconds until the cases of `pool` are listed."""
        start = time.perf_counter()
        self.session.open_pool(pool)
        wait(lambda: self.session.pool is not None and self.session.proposals)
        self.panels.tabs.setCurrentIndex(0)
        wait(lambda: self.panels.cases.table.model().rowCount() >= len(self.session.cases))
        return time.perf_counter() - start

    def close_pool(self) -> None:
        """Close it, and wait for the training to end."""
        self.session.close_pool()
        wait(lambda: self.session.pool is None and self.session.child is None)

    def open_case(self, name: str) -> float:
        """Return the seconds until a case is drawn."""
        start = time.perf_counter()
        self.session.open_case(name)
        wait(lambda: self.session.current is not None and self.session.current.name == name)
        wait(lambda: "labels" in self.viewer.layers)
        self.canvas.draws(self.canvas.widget.update)
        return time.perf_counter() - start

    def ready(self) -> None:
        """Wait until nothing of the open case is under way."""
        wait(lambda: not self.session.busy)

    def bare(self) -> dict[str, float]:
        """Measure strokes in napari alone, with the layers and the canvas size of the window."""
        viewer = napari.Viewer(show=True)
        viewer.window._qt_window.resize(*SIZE)
        blank = QWidget()
        viewer.window.add_dock_widget(blank, name="blank", area="right")
        for layer in self.viewer.layers:
            data = layer.data.copy()
            make = viewer.add_labels if isinstance(layer, napari.layers.Labels) else viewer.add_image
            copy = make(data, scale=layer.scale, translate=layer.translate, blending=layer.blending, name=layer.name)
            copy.visible, copy.opacity = layer.visible, layer.opacity
            if make == viewer.add_image:
                copy.colormap, copy.contrast_limits = layer.colormap, layer.contrast_limits
            else:
                copy.contour, copy.brush_size, copy.selected_label = layer.contour, layer.brush_size, 1
        viewer.dims.set_point(range(3), self.viewer.dims.point)
        viewer.layers[-1].mode = "paint"
        rest(1)
        blank.setMinimumWidth(
            blank.width() + viewer.window._qt_viewer.canvas.native.width() - self.canvas.widget.width()
        )
        rest(2)
        canvas = Canvas(viewer)
        found = spread(canvas.strokes()) | {"canvas": [canvas.widget.width(), canvas.widget.height()]}
        viewer.close()
        rest(1)
        return found


def strokes(bench: Bench) -> dict[str, Any]:
    """Measure strokes: napari alone, at rest, training."""
    bench.open_case(bench.session.proposals[0].name)
    bench.ready()
    bench.viewer.layers["labels"].mode = "paint"
    rest(2)
    found: dict[str, Any] = {"napari": bench.bare()}
    bench.viewer.window.activate()
    rest(1)
    found["at_rest"] = spread(bench.canvas.strokes())
    found["canvas"] = [bench.canvas.widget.width(), bench.canvas.widget.height()]
    start_training(bench)
    wait(lambda: bench.session.training.phase == "training")
    found["training"] = spread(bench.canvas.strokes())
    with bench.heart.listening("training, a minute, maps arriving"):
        rest(60)
    for state in ("at_rest", "training"):
        found[f"{state}_ratio"] = {
            which: round(found[state][which] / found["napari"][which], 2) for which in ("median_ms", "p95_ms")
        }
    stop_training(bench)
    return found


def start_training(bench: Bench) -> None:
    """Press Start."""
    bench.panels.tabs.setCurrentIndex(1)
    QTest.mouseClick(bench.panels.train._start, Qt.MouseButton.LeftButton)


def stop_training(bench: Bench) -> None:
    """Stop, and wait for the end."""
    bench.session.stop_training()
    wait(lambda: not bench.session.training.active and bench.session.progress is None)


def train(bench: Bench) -> dict[str, Any]:
    """Measure the time from Start to the first map on the screen, of a case without a mask."""
    name = bench.session.proposals[0].name
    bench.open_case(name)
    rest(2)  # a window's first case has layers to come
    start = time.perf_counter()
    with bench.heart.listening("a training starting, first map"):
        start_training(bench)
        wait(lambda: any(one.name.startswith("map") and one.name != NONE_YET["map"] for one in bench.viewer.layers))
        bench.canvas.draws(bench.canvas.widget.update)
    return {"first_map_s": round(time.perf_counter() - start, 2)}


def accept(bench: Bench) -> dict[str, Any]:
    """Measure the time from Accept to the first step with the mask."""
    found = []
    for _ in range(3):
        bench.session.next_case()
        bench.panels.tabs.setCurrentIndex(2)
        rest(3)
        bench.ready()
        name = bench.session.current.name
        before = len(bench.told)
        start = time.perf_counter()
        with bench.heart.listening("accepting while training"):
            QTest.mouseClick(bench.panels.review.verdict.accept, Qt.MouseButton.LeftButton)
            wait(lambda name=name, before=before: any(f"{name} joined" in text for text in bench.told[before:]))
            step = bench.session.training.step
            wait(lambda step=step: bench.session.training.step > step)
        found.append(round(time.perf_counter() - start, 2))
    return {"accept_to_step_s": found}


def switch(bench: Bench) -> dict[str, Any]:
    """Measure switches to the next case, which has been read ahead."""
    found = []
    if bench.session.current is None:  # the first case makes layers, which later ones find
        with bench.heart.listening("opening the first case"):
            bench.open_case(bench.session.proposals[0].name)
            rest(2)
    with bench.heart.listening("switching cases"):
        for _ in range(10):
            rest(2)
            here = bench.session.current.name
            start = time.perf_counter()
            bench.session.next_case()
            wait(lambda here=here: bench.session.current.name != here)
            bench.canvas.draws(bench.canvas.widget.update)
            found.append(1000 * (time.perf_counter() - start))
    return {"switch": spread(found)}


def large_pool(bench: Bench, folder: Path) -> dict[str, Any]:
    """Measure how long 10 000 cases take to be listed."""
    make_cohort(folder, 10_000, 10)
    Pool.create(folder / "pool", folder / "images", folder / "labels").close()
    with bench.heart.listening("opening 10 000 cases"):
        first = bench.open_pool(folder / "pool")
    bench.close_pool()
    again = bench.open_pool(folder / "pool")
    bench.close_pool()
    return {"open_10000_s": [round(first, 2), round(again, 2)]}


def ct(bench: Bench, folder: Path) -> dict[str, Any]:
    """Measure a large CT: opening, accepting, scrolling, three planes."""
    for part in ("images", "labels"):
        (folder / part).mkdir()
    write_ct(folder / "images" / "small.nii.gz", (60, 60, 40), (4, 4, 4), folder / "labels" / "small.nii.gz")
    truth = folder / "large.nii.gz"
    write_ct(folder / "images" / "large.nii.gz", (512, 512, 300), (0.8, 0.8, 1.0), truth)
    napari_bcp.new_pool(folder / "pool", folder / "images", folder / "labels").close()
    maps, stem = folder / "pool" / "maps" / "large", "run0001-step0000010"
    maps.mkdir(parents=True, exist_ok=True)
    grid = read_grid(folder / "images" / "large.nii.gz")
    labels = np.asarray(nib.load(truth).dataobj).astype(np.uint8)
    values = range(1, 11)
    writer = MapWriter(labels.shape, list(values))
    for start in range(0, labels.shape[2], 25):
        slab = labels[:, :, start : start + 25]
        writer.add(start, np.stack([(slab == value) * np.uint8(220) for value in values]))
    writer.save(maps / f"{stem}.map.b2nd", {"run": "0001", "step": 10})
    write_mask(maps / f"{stem}.pseudo.nii.gz", labels, grid)
    del labels
    with Pool.open(folder / "pool", write=True) as pool:
        run = pool.new_run("quick", {}, {})
        pool.record_map(
            "large",
            run=run.id,
            step=10,
            map_file=maps / f"{stem}.map.b2nd",
            pseudo_file=maps / f"{stem}.pseudo.nii.gz",
            quality=dict.fromkeys(values, 0.8),
            entropy=0.1,
            volume_ml=dict.fromkeys(values, 10.0),
            islands={},
        )
    bench.open_pool(folder / "pool")
    found: dict[str, Any] = {}
    with bench.heart.listening("opening a CT of 512×512×300"):
        found["open_s"] = round(bench.open_case("large"), 2)
    bench.ready()
    rest(3)
    layers, review = bench.panels.review.layers, bench.panels.review
    scroll = [bench.canvas.draws(lambda i=i: layers.go_to_slice(0, i)) for i in range(100, 130)]
    found["scroll"] = spread(scroll)
    bench.viewer.layers["labels"].mode = "paint"
    found["stroke"] = spread(bench.canvas.strokes())
    with bench.heart.listening("showing three planes of the CT"):
        review.show_planes(True)
        rest(3)
    scroll = [bench.canvas.draws(lambda i=i: layers.go_to_slice(0, i)) for i in range(130, 160)]
    found["three_planes_scroll"] = spread(scroll)
    found["three_planes_stroke"] = spread(bench.canvas.strokes())
    review.show_planes(False)
    rest(2)
    with bench.heart.listening("saving edits of the CT"):
        bench.session.edit_current("smooth", 1)
        rest(4)
    bench.ready()
    start = time.perf_counter()
    with bench.heart.listening("accepting the CT"):
        bench.session.accept()
        wait(lambda: bench.session.current.case.status == "accepted" and not bench.session.busy)
    found["accept_s"] = round(time.perf_counter() - start, 2)
    bench.close_pool()
    return found


def note(found: dict[str, Any]) -> dict[str, Any]:
    """Tell of what has been found so far."""
    print(json.dumps(found), file=sys.stderr, flush=True)
    return found


def atrium(data: Path, folder: Path) -> Path:
    """Make the pool of the left atrium and return it."""
    labelled, unlabelled, *_ = SPLITS["la"]
    for part, most, source in (("images", unlabelled, "images"), ("labels", labelled, "masks")):
        (folder / part).mkdir(parents=True)
        for path in (data / "la" / source).iterdir():
            if number(path) <= most:
                (folder / part / path.name).symlink_to(path.resolve())
    napari_bcp.new_pool(folder / "pool", folder / "images", folder / "labels").close()
    return folder / "pool"


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    asked = parser.parse_args()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bench = Bench()
        if "train" in asked.only:
            bench.open_pool(atrium(asked.data, folder / "fresh"))
            found |= note(train(bench))
            bench.close_pool()
        if {"strokes", "accept", "switch"} & set(asked.only):
            pool = atrium(asked.data, folder / "la")
            call("train", str(pool), "--steps", "150")
            call("predict", str(pool))
            bench.open_pool(pool)
            for part, measure in (("strokes", strokes), ("accept", accept), ("switch", switch)):
                if part in asked.only:
                    if part == "accept":
                        start_training(bench)
                        wait(lambda: bench.session.training.phase == "training")
                    found |= note({part: measure(bench)})
            bench.close_pool()
        if "pool" in asked.only:
            (folder / "many").mkdir()
            found |= note(large_pool(bench, folder / "many"))
        if "ct" in asked.only:
            (folder / "ct").mkdir()
            found |= note({"ct": ct(bench, folder / "ct")})
        found["longest_stalls_ms"] = bench.heart.longest
        bench.viewer.close()
        get_keeper().close()
        QApplication.processEvents()
    sys.stdout.write(json.dumps({**found, "commit": commit(), "machine": machine()}) + "\n")
    sys.stdout.flush()
    os._exit(0)  # Qt under a virtual screen may crash while it is taken down


if __name__ == "__main__":
    main()
