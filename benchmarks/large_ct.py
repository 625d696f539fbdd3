"""Peak memory and time of `segment` on a CT-sized scan with ten classes: python benchmarks/large_ct.py.

Makes two small labelled scans with ten balls at 2 mm, trains one step of the quick recipe on them, and segments a
made-up scan of 512×512×600 voxels of 0.8×0.8×1 mm. What the network finds does not matter here.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
from cohorts import call


def write_ct(path: Path, shape: tuple[int, int, int], spacing: tuple[float, float, float], mask: Path | None) -> None:
    """Write a scan in Hounsfield-like units with ten bright balls and, if asked, its mask; slab by slab."""
    rng = np.random.default_rng(0)
    size = np.array(shape) * spacing
    centres = rng.uniform(0.25, 0.75, (10, 3)) * size
    x, y = (
        np.arange(n)[:, None] * s if i == 0 else np.arange(n) * s
        for i, (n, s) in enumerate(zip(shape[:2], spacing[:2], strict=True))
    )
    scan = np.empty(shape, np.int16)
    labels = np.zeros(shape, np.uint8) if mask else None
    for k in range(shape[2]):
        plane = rng.integers(-60, 60, shape[:2])
        body = (x - size[0] / 2) ** 2 + (y - size[1] / 2) ** 2 < (0.45 * size[0]) ** 2
        plane = np.where(body, plane, -1000)
        for value, centre in enumerate(centres, 1):
            ball = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (k * spacing[2] - centre[2]) ** 2 < (
                0.06 * size.min()
            ) ** 2
            plane[ball] += 40 * value
            if labels is not None:
                labels[:, :, k][ball] = value
        scan[:, :, k] = plane
    affine = np.diag([*spacing, 1.0])
    nib.save(nib.Nifti1Image(scan, affine), path)
    if mask is not None:
        nib.save(nib.Nifti1Image(labels, affine), mask)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=600)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("images", "labels", "out"):
            (folder / part).mkdir()
        for i in range(2):
            write_ct(folder / "images" / f"{i}.nii.gz", (120, 120, 100), (2, 2, 2), folder / "labels" / f"{i}.nii.gz")
        large = folder / "large.nii.gz"
        write_ct(large, (512, 512, asked.slices), (0.8, 0.8, 1.0), None)
        pool = str(folder / "pool")
        call("new", pool, "--images", str(folder / "images"), "--labels", str(folder / "labels"))
        call("train", pool, "--steps", "1", "--set", "spacing=2,2,2")
        found = call("segment", pool, str(large), "-o", str(folder / "out"))
        sys.stdout.write(json.dumps({"shape": [512, 512, asked.slices], "classes": 10, "segment": found}) + "\n")


if __name__ == "__main__":
    main()
