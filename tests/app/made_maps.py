"""Maps and pseudo-labels by hand, as the training process would report them."""

import numpy as np

from napari_bcp.events import MapMade
from napari_bcp.pool import Pool
from napari_bcp.scans import read_grid, write_mask
from napari_bcp.scans.maps import MapWriter


def made_map(root, name, labels, step=10, run="0001", soft=0.9):
    """Write a map and its pseudo-label, whose classes are those of `labels` (x, y, z); return the child's report."""
    folder = root / "maps" / name
    stem = f"run{run}-step{step:07d}"
    with Pool.open(root) as pool:
        grid = read_grid(pool.case(name).path)
        values = [one.value for one in pool.classes]
    writer = MapWriter(labels.shape, values)
    writer.add(0, np.stack([np.where(labels == value, round(255 * soft), 0) for value in values]).astype(np.uint8))
    writer.save(folder / f"{stem}.map.b2nd", {"run": run, "step": step})
    write_mask(folder / f"{stem}.pseudo.nii.gz", labels, grid)
    return MapMade(
        case=name,
        run=run,
        step=step,
        map_path=str(folder / f"{stem}.map.b2nd"),
        pseudo_path=str(folder / f"{stem}.pseudo.nii.gz"),
        quality=dict.fromkeys(values, soft),
        entropy=1 - soft,
        volume_ml=dict.fromkeys(values, 10.0),
        islands={},
        seconds=0.1,
    )
