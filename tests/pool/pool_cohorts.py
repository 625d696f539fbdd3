"""Small scans, masks and maps for the tests of the pool."""

import nibabel as nib
import numpy as np

SHAPE = (5, 6, 7)
AFFINE = np.diag([-0.8, 0.8, 2.5, 1.0])  # the file's first axis runs to the left


def write_scan(path, seed=0, shape=SHAPE):
    """Write a small scan of random intensities."""
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.random.default_rng(seed).integers(0, 1000, shape).astype(np.int16)
    image = nib.Nifti1Image(voxels, AFFINE)
    image.header.set_xyzt_units("mm")
    image.to_filename(path)
    return path


def some_mask(*values, shape=SHAPE):
    """Return a mask, canonical, that holds each of the values in a slab of its own."""
    mask = np.zeros(shape, np.uint8)
    for place, value in enumerate(values):
        mask[:, place, 1:4] = value
    mask[0] = 0  # not symmetric
    return mask


def write_mask_file(path, mask, affine=AFFINE):
    """Write a canonical mask with the scan's axes, whose first is flipped."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(np.ascontiguousarray(mask[::-1]), affine)
    image.header.set_xyzt_units("mm")
    image.to_filename(path)
    return path


def put_map(pool, name, step=1, run="0001", values=(1, 2)):
    """Record a map of a case, its files as a worker would have written them; return their paths."""
    folder = pool.map_folder(name)
    folder.mkdir(parents=True, exist_ok=True)
    grid_from = pool.case(name).path
    map_file, pseudo_file = folder / f"{step:06d}.map", folder / f"{step:06d}.nii.gz"
    map_file.write_bytes(b"a map")
    image = nib.load(grid_from)
    write_mask_file(pseudo_file, some_mask(*values), image.affine)
    pool.record_map(
        name,
        run=run,
        step=step,
        map_file=map_file,
        pseudo_file=pseudo_file,
        quality={1: 0.75, 2: None},
        entropy=0.25,
        volume_ml={1: 1.5, 2: 0.0},
        islands={1: 3, 2: 0},
    )
    return map_file, pseudo_file
