"""The whole way on a cohort that the package draws itself: new, train, predict, evaluate, pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_bcp import api
from napari_bcp.cli.arguments import count
from napari_bcp.cli.console import follow, reporter
from napari_bcp.cli.leaving import Stop, stop_on_signals
from napari_bcp.cli.sheet import SheetRow, write_sheet
from napari_bcp.cli.tables import print_table
from napari_bcp.metrics import Report, measure_case
from napari_bcp.pool.sample import CASES, open_sample
from napari_bcp.scans import read_mask, read_scan
from napari_bcp.scans.maps import MapFile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from napari_bcp.cli.console import Display
    from napari_bcp.pool import Pool
    from napari_bcp.scans.phantom import Size

_PICTURED = 6
_SHOWN_MEASURES = ("Dice", "HD95 (mm)")


def run_demo(
    folder: Path,
    training: Mapping[str, Any],
    device: str,
    display: Display,
    *,
    cases: int = CASES,
    size: Size = "small",
) -> bool:
    """Make the cohort and its pool in `folder` if they are not there, train, predict, measure and draw.

    `training` holds arguments of `api.train`. A second call goes on training. Returns False if the user stopped it.
    Raises PoolError if `folder` holds something else, and what the verbs raise.
    """
    pool = folder / "pool"
    open_sample(folder, _shown_on(display), cases=cases, size=size).close()
    with stop_on_signals() as stop:
        if not _compute(pool, training, device, display, stop):
            return False
    with api.open_pool(pool) as opened:
        report, rows = measure(opened, folder / "truth", reporter("measuring", display))
        report.to_csv(folder / "table.csv")
        if not rows:
            display.say("Every case with a pseudo-label has been touched: there is nothing to measure or to picture.")
            return True
        shown = evenly(rows, _PICTURED)
        title = f"{len(shown)} of {count(len(rows))} without a mask, from the best to the worst Dice"
        write_sheet(folder / "sheet.png", shown, opened.classes, title)
    display.say(f"\nOn the {count(len(rows))} that had no mask:")
    print_table([line for line in report.summary_rows() if line["measure"] in _SHOWN_MEASURES])
    display.say(f"\nPictures: {folder / 'sheet.png'}\nEvery case: {folder / 'table.csv'}\nThe pool: {pool}")
    return True


def measure(pool: Pool, truth: Path, progress: Callable[[int, int, str], None]) -> tuple[Report, list[SheetRow]]:
    """Compare the pseudo-labels of a pool with the true masks in `truth`; rows run from the best Dice to the worst."""
    report = Report(classes={one.value: one.name for one in pool.classes})
    rows = []
    predicted = pool.cases("predicted")
    for done, case in enumerate(predicted, start=1):
        assert case.map is not None  # noqa: S101 - a predicted case has one
        scan = read_scan(case.path)
        pseudo = read_mask(case.map.pseudo_path, scan.grid).voxels
        true = read_mask(truth / case.path.name, scan.grid).voxels
        found = measure_case(case.name, pseudo, true, scan.grid.spacing, classes=report.classes)
        report.rows += found
        dice = {row.value: row.measures["dice"] for row in found}
        probabilities = MapFile(case.map.map_path, scan.grid.shape).read_all()
        rows.append(SheetRow(case.name, scan.voxels, probabilities, pseudo, true, scan.grid.spacing, dice))
        progress(done, len(predicted), case.name)
    return report, sorted(rows, key=lambda row: sum((row.dice or {}).values()), reverse=True)


def evenly(rows: list[SheetRow], count: int) -> list[SheetRow]:
    """Return `count` of `rows`, or all if there are fewer, at even distances with the first and the last."""
    if len(rows) <= count:
        return rows
    return [rows[round(place * (len(rows) - 1) / (count - 1))] for place in range(count)]


def _shown_on(display: Display) -> Callable[[str, int, int], None]:
    """Return a callback (task, done, total) that shows the progress of each task."""
    reporters: dict[str, Callable[[int, int, str], None]] = {}

    def show(task: str, done: int, total: int) -> None:
        if task not in reporters:
            reporters[task] = reporter(task, display)
        reporters[task](done, total, "")

    return show


def _compute(pool: Path, training: Mapping[str, Any], device: str, display: Display, stop: Stop) -> bool:
    """Train and predict; return whether both came to their end."""
    for events in (
        api.train(pool, **training, device=device, stop=stop),
        api.predict(pool, device=device, stop=stop),
    ):
        if follow(events, display, stop).stopped:
            return False
    return True
