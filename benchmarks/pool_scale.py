"""How long a pool of many cases takes to make, open and list: `python benchmarks/pool_scale.py --cases 10000`.

Makes tiny NIfTI files in a temporary folder, a few of them with masks, and prints seconds as JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np

from napari_bcp.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Callable


def timed(work: Callable[[], object]) -> float:
    """Return how many seconds `work` takes."""
    start = time.perf_counter()
    work()
    return round(time.perf_counter() - start, 4)


def make_cohort(folder: Path, cases: int, masks: int) -> None:
    """Write scans of 4 × 4 × 4 voxels, and a mask for the first few."""
    (folder / "images").mkdir()
    (folder / "labels").mkdir()
    scan = nib.Nifti1Image(np.arange(64, dtype=np.int16).reshape(4, 4, 4), np.diag([-0.8, -0.8, 2.5, 1]))
    scan.header.set_xyzt_units("mm")
    scan.to_filename(folder / "images" / "first.nii.gz")
    content = (folder / "images" / "first.nii.gz").read_bytes()
    (folder / "images" / "first.nii.gz").unlink()
    for number in range(cases):
        (folder / "images" / f"case_{number:05d}.nii.gz").write_bytes(content)
    mask = nib.Nifti1Image((np.arange(64) % 3 == 0).astype(np.uint8).reshape(4, 4, 4), scan.affine)
    for number in range(masks):
        mask.to_filename(folder / "labels" / f"case_{number:05d}.nii.gz")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--masks", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_cohort(folder, options.cases, options.masks)
        seconds = {}
        seconds["create"] = timed(lambda: Pool.create(folder / "pool", folder / "images", folder / "labels").close())
        seconds["open for reading"] = timed(lambda: Pool.open(folder / "pool").close())
        seconds["open for writing"] = timed(lambda: Pool.open(folder / "pool", write=True).close())
        with Pool.open(folder / "pool", write=True) as pool:
            seconds["list all cases"] = timed(pool.cases)
            seconds["list accepted cases"] = timed(lambda: pool.cases("accepted"))
            seconds["count"] = timed(pool.counts)
            seconds["one case"] = timed(lambda: pool.case(f"case_{options.cases // 2:05d}"))
            seconds["exclude one case"] = timed(lambda: pool.exclude(f"case_{options.cases // 2:05d}"))
            seconds["extend by nothing"] = timed(lambda: pool.extend(folder / "images", folder / "labels"))
        size = (folder / "pool" / "pool.sqlite").stat().st_size
        print(json.dumps({"cases": options.cases, "seconds": seconds, "table_bytes": size}, indent=2))


if __name__ == "__main__":
    main()
