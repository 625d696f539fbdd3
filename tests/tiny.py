"""Settings with which a step of training takes a blink, whatever it learns, and what a cohort of cubes looks like."""

from napari_bcp.engine.fingerprint import Fingerprint

QUICK = {"width": 4, "patch": (16, 16, 16), "batch": 2, "threads": 1, "precision": "float32", "stage1_steps": 0}


def cubes(side, diameter):
    """Return the fingerprint of cubic scans of `side` voxels of 1 mm, with one structure of `diameter` mm."""
    size = (float(side),) * 3
    return Fingerprint(
        shape=size,
        spacing=(1.0, 1.0, 1.0),
        extent=size,
        ct=False,
        foreground=(0.0, 1.0, 2.0, 1.0, 1.0),
        diameters={1: diameter},
    )
