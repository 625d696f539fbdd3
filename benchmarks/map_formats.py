"""Compare ways to keep a map on disk: python benchmarks/map_formats.py.

A made-up map of two classes, 320×320×90 voxels, 8 bit. Prints JSON: size in MB, milliseconds to write, to read one
axial slice of one class, and to read everything, for Blosc2, NumPy's .npy and .npz, and zarr where it is installed.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from napari_bcp.scans.maps import MapFile, MapWriter


def make_map(shape: tuple[int, int, int] = (320, 320, 90)) -> np.ndarray:
    """Return two soft balls, (2, x, y, z) uint8, with noise on their borders."""
    grid = np.indices(shape).astype(np.float32)
    rng = np.random.default_rng(0)
    balls = []
    for centre, radius in (((110, 150, 40), 45), ((210, 170, 50), 30)):
        away = np.sqrt(sum(((g - c) / s) ** 2 for g, c, s in zip(grid, centre, (1, 1, 0.5), strict=True))) - radius
        balls.append(1 / (1 + np.exp(np.clip(away + rng.normal(0, 0.5, shape), -30, 30))))
    return np.rint(np.stack(balls) * 255).astype(np.uint8)


def timed(action, repeats: int = 5) -> float:
    """Return the best of some calls in milliseconds."""
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        best = min(best, time.perf_counter() - start)
    return round(1000 * best, 1)


def main() -> None:
    """Measure all formats."""
    array = make_map()
    results = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def write_blosc2() -> None:
            writer = MapWriter(array.shape[1:], (1, 2))
            for z in range(0, array.shape[3], 16):
                writer.add(z, array[..., z : z + 16])
            writer.save(folder / "m.b2nd", {})

        ways = {
            "blosc2": (
                folder / "m.b2nd",
                write_blosc2,
                lambda: MapFile(folder / "m.b2nd").read(1, (slice(None), slice(None), slice(40, 41))),
                lambda: MapFile(folder / "m.b2nd").read_all(),
            ),
            "npy": (
                folder / "m.npy",
                lambda: np.save(folder / "m.npy", array),
                lambda: np.array(np.load(folder / "m.npy", mmap_mode="r")[0, :, :, 40]),
                lambda: np.load(folder / "m.npy"),
            ),
            "npz": (
                folder / "m.npz",
                lambda: np.savez_compressed(folder / "m.npz", m=array),
                lambda: np.load(folder / "m.npz")["m"][0, :, :, 40],
                lambda: np.load(folder / "m.npz")["m"],
            ),
        }
        if find_spec("zarr"):
            import zarr

            def write_zarr() -> None:
                stored = zarr.open_array(
                    folder / "m.zarr", mode="w", shape=array.shape, chunks=(1, 320, 320, 16), dtype="u1"
                )
                stored[:] = array

            ways["zarr"] = (
                folder / "m.zarr",
                write_zarr,
                lambda: zarr.open_array(folder / "m.zarr", mode="r")[0, :, :, 40],
                lambda: zarr.open_array(folder / "m.zarr", mode="r")[:],
            )
        for key, (path, write, read_slice, read_all) in ways.items():
            write_ms = timed(write, 3)
            files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
            results[key] = {
                "mb": round(sum(p.stat().st_size for p in files) / 1e6, 2),
                "write_ms": write_ms,
                "slice_ms": timed(read_slice),
                "all_ms": timed(read_all),
            }
    sys.stdout.write(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
