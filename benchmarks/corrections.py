"""Scribbles until a pseudo-label is good enough, against plain painting: python benchmarks/corrections.py POOL TRUTH.

POOL has maps (train, predict); TRUTH holds masks of some of its cases without masks. A made-up reader looks for the
largest wrong region of a class in an axial slice and mends it, again and again, until the class reaches --dice:

- painting: that region, outlined and filled without a fault, is a stroke;
- scribbles: a line along its middle, inside or outside, and the border follows in three dimensions;
- both: a scribble where it mends more than painting would, else painting.

Prints one JSON object: strokes of each until there (median over the cases and classes that begin between 0.5 and
--dice; one that gives up counts as --most + 1), mm drawn (outlines or lines), Dice after so many strokes, and the
seconds that a scribble takes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from cohorts import commit, machine
from scipy import ndimage
from skimage.morphology import skeletonize

from napari_bcp.app.opened import load_case
from napari_bcp.pool import Pool
from napari_bcp.review.scribble import follow_scribble
from napari_bcp.scans import display_arrays, read_grid, read_mask

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_bcp.app.opened import OpenCase


def dice(labels: NDArray, truth: NDArray) -> float:
    """Return the Dice of two boolean arrays."""
    return 2 * np.count_nonzero(labels & truth) / max(1, np.count_nonzero(labels) + np.count_nonzero(truth))


def worst(labels: NDArray, truth: NDArray) -> tuple[NDArray, bool]:
    """Return the largest region of an axial slice that is missing (True) or too much (False), as a mask of the scan."""
    best, where, missing = 0, (0, np.zeros(truth.shape[1:], bool)), True
    for kind, wrong in ((True, truth & ~labels), (False, labels & ~truth)):
        for index in np.argsort(-wrong.sum(axis=(1, 2)))[:8]:
            parts, _ = ndimage.label(wrong[index])
            sizes = np.bincount(parts.ravel())[1:]
            if sizes.size and sizes.max() > best:
                best, where, missing = int(sizes.max()), (int(index), parts == 1 + int(sizes.argmax())), kind
    region = np.zeros(truth.shape, bool)
    region[where[0]] = where[1]
    return region, missing


def line(region: NDArray) -> NDArray:
    """Return the middle line of a region of one slice."""
    found = np.zeros_like(region)
    index = int(np.flatnonzero(region.any(axis=(1, 2)))[0])
    found[index] = skeletonize(region[index])
    return found


AFTER = (0, 1, 3, 6, 12, 24)  # strokes


def outline(region: NDArray) -> NDArray:
    """Return the border of a region of one slice."""
    return region & ~ndimage.binary_erosion(region, np.ones((1, 3, 3)))


def mend(way: str, opened: OpenCase, value: int, right: NDArray, asked: argparse.Namespace, seconds: list) -> dict:
    """Correct one class of one case; return the strokes, the mm that were drawn, and the Dice after each stroke."""
    chance = opened.probability(value)
    labels = np.where(opened.labels == value, np.uint8(value), np.uint8(0))
    trace, drawn = [dice(labels == value, right)], 0.0
    while len(trace) <= asked.most and trace[-1] < asked.dice:
        region, inside = worst(labels == value, right)
        painted = labels.copy()
        painted[region] = value if inside else 0
        if way != "painting":
            start = time.perf_counter()
            followed = follow_scribble(labels, value, line(region), inside, opened.scan, chance, opened.spacing_zyx)
            seconds.append(time.perf_counter() - start)
        better = way != "painting" and dice(followed == value, right) > dice(painted == value, right)
        scribbled = way == "scribbles" or better
        labels = followed if scribbled else painted
        drawn += opened.spacing_zyx[2] * np.count_nonzero(line(region) if scribbled else outline(region))
        trace.append(dice(labels == value, right))
    there = trace[-1] >= asked.dice
    return {
        "strokes": len(trace) - 1 if there else asked.most + 1,
        "reached": bool(there),
        "mm": round(float(drawn)),
        "dice": [round(float(trace[min(n, len(trace) - 1)]), 4) for n in AFTER],
    }


def main() -> None:
    """Correct all cases in each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pool", type=Path)
    parser.add_argument("truth", type=Path)
    parser.add_argument("--dice", type=float, default=0.92)
    parser.add_argument("--most", type=int, default=60, help="strokes after which the reader gives up")
    parser.add_argument("--cases", type=int, default=1000)
    asked = parser.parse_args()
    found: dict[str, list[dict]] = {"painting": [], "scribbles": [], "both": []}
    seconds: list[float] = []
    with Pool.open(asked.pool, write=False) as pool:
        named = {path.name.split(".")[0]: path for path in sorted(asked.truth.iterdir())}
        cases = [one for one in pool.cases() if one.name in named and one.map is not None][: asked.cases]
        for case in cases:
            opened = load_case(pool, case.name)
            grid = read_grid(case.path)
            truth, _ = display_arrays(read_mask(named[case.name], grid).voxels, grid)
            for one in opened.classes:
                right = truth == one.value
                if 0.5 <= dice(opened.labels == one.value, right) < asked.dice:
                    for way, rows in found.items():
                        rows.append(mend(way, opened, one.value, right, asked, seconds))
                    sys.stderr.write(f"{case.name} {one.name}: {[rows[-1]['strokes'] for rows in found.values()]}\n")
    result = {"pool": str(asked.pool), "dice": asked.dice, "corrected": len(seconds and found["painting"])}
    result["ways"] = {way: summary(rows) for way, rows in found.items() if rows}
    if seconds:
        result["seconds"] = {"median": round(statistics.median(seconds), 3), "longest": round(max(seconds), 3)}
    sys.stdout.write(json.dumps({**result, "commit": commit(), "machine": machine()}) + "\n")


def summary(rows: list[dict]) -> dict:
    """Return one way's figures over all that was corrected."""
    return {
        "strokes": statistics.median(row["strokes"] for row in rows),
        "reached": sum(row["reached"] for row in rows),
        "mm": statistics.median(row["mm"] for row in rows),
        "dice": {n: round(float(np.mean([row["dice"][i] for row in rows])), 3) for i, n in enumerate(AFTER)},
    }


if __name__ == "__main__":
    main()
