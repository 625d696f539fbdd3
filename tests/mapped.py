"""A case with a map and a pseudo-label, as a training would have made them."""

import numpy as np

from napari_bcp.scans import read_grid, write_mask


def put_map(pool, name, quality, labels=None, step=1):
    """Record a map with these expected qualities by class value; the pseudo-label is `labels`, or empty."""
    folder, grid = pool.map_folder(name), read_grid(pool.case(name).path)
    folder.mkdir(parents=True, exist_ok=True)
    map_file, pseudo_file = folder / f"{step}.map", folder / f"{step}.nii.gz"
    map_file.write_bytes(b"a map")
    write_mask(pseudo_file, np.zeros(grid.shape, np.uint8) if labels is None else labels, grid)
    pool.record_map(
        name,
        run="0001",
        step=step,
        map_file=map_file,
        pseudo_file=pseudo_file,
        quality=quality,
        entropy=0.25,
        volume_ml=dict.fromkeys(quality, 1.5),
        islands=dict.fromkeys(quality, 0),
    )
