"""Masks and pseudo-labels in a layout that other tools read."""

from __future__ import annotations

import csv
import gzip
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_bcp.errors import PoolError, unknown_name
from napari_bcp.files import atomic_path, write_text
from napari_bcp.scans import read_grid, read_mask, write_mask

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_bcp.pool.records import Case
    from napari_bcp.scans import ClassSpec

LAYOUTS = ("plain", "nnunet")


def export(
    cases: Sequence[Case],
    classes: Sequence[ClassSpec],
    masks: dict[str, Path],
    dest: Path,
    layout: Literal["plain", "nnunet"],
    progress: Callable[[int, int, str], None] | None,
) -> dict[str, int]:
    """Write the masks, and apart from them the pseudo-labels, of `cases` to the new or empty folder `dest`.

    masks : the file of the accepted mask of each accepted case
    plain : accepted/NAME.nii.gz, pseudo/NAME.nii.gz, cases.csv
    nnunet : version 2's layout; imagesTr and labelsTr hold what is accepted, imagesTs the rest, and pseudoTs, which
        nnU-Net does not read, the pseudo-labels. nnU-Net wants classes numbered without gaps, so masks of a pool
        whose classes have gaps are renumbered, as dataset.json says. Scans are copied, compressed.

    Returns how many files of each sort were written; they appear together at the end. Raises PoolError if the folder
    is not empty or a file cannot be read or written.
    """
    if layout not in LAYOUTS:
        raise unknown_name("layout", layout, LAYOUTS)
    dest = dest.absolute()
    try:
        if dest.exists() and (not dest.is_dir() or any(dest.iterdir())):
            raise PoolError(f"{dest} is not empty; name a new folder to export to.", path=dest)
        dest.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".exporting-", dir=dest) as part:
            counts = _write(cases, classes, masks, Path(part), layout == "nnunet", progress)
            for entry in Path(part).iterdir():
                os.replace(entry, dest / entry.name)
    except OSError as error:
        raise PoolError(f"The export to {dest} failed ({error}); free some space or mend that file.") from None
    return counts


def _write(
    cases: Sequence[Case],
    classes: Sequence[ClassSpec],
    masks: dict[str, Path],
    dest: Path,
    nnunet: bool,
    progress: Callable[[int, int, str], None] | None,
) -> dict[str, int]:
    accepted_folder, pseudo_folder = ("labelsTr", "pseudoTs") if nnunet else ("accepted", "pseudo")
    numbers = {spec.value: place for place, spec in enumerate(classes, 1)} if nnunet else {}
    counts = {"accepted": 0, "pseudo": 0, "scans": 0}
    rows = []
    for done, case in enumerate(cases):
        if progress is not None:
            progress(done, len(cases), case.name)
        file = f"{case.name}.nii.gz"
        written, source = "", ""
        if case.name in masks:
            written, source = f"{accepted_folder}/{file}", f"mask accepted by {case.mask_by}"
            _write_labels(masks[case.name], dest / written, numbers)
            counts["accepted"] += 1
        elif case.status in ("predicted", "draft") and case.map is not None:
            written, source = f"{pseudo_folder}/{file}", f"pseudo-label of run {case.map.run}, step {case.map.step}"
            _write_labels(case.map.pseudo_path, dest / written, numbers)
            counts["pseudo"] += 1
        if nnunet and case.status not in ("excluded", "unusable"):
            folder = "imagesTr" if case.name in masks else "imagesTs"
            _write_scan(case.path, dest / folder / f"{case.name}_0000.nii.gz")
            counts["scans"] += 1
        rows.append([case.name, case.status, source, written, str(case.path), case.reason])
    if nnunet:
        write_text(dest / "dataset.json", json.dumps(_dataset(classes, counts["accepted"]), indent=2) + "\n")
    with atomic_path(dest / "cases.csv") as part, part.open("w", newline="", encoding="utf-8") as table:
        writer = csv.writer(table)
        writer.writerow(["case", "status", "source", "file", "scan", "reason"])
        writer.writerows(rows)
    if progress is not None:
        progress(len(cases), len(cases), "")
    return counts


def _dataset(classes: Sequence[ClassSpec], training: int) -> dict[str, object]:
    """Return the description that nnU-Net version 2 reads; a channel that is not called CT is scaled per scan."""
    return {
        "channel_names": {"0": "scan"},
        "labels": {"background": 0} | {spec.name: place for place, spec in enumerate(classes, 1)},
        "numTraining": training,
        "file_ending": ".nii.gz",
    }


def _write_labels(source: Path, target: Path, numbers: dict[int, int]) -> None:
    """Copy a file of class values, renumbered if `numbers` (old to new) say so."""
    if all(old == new for old, new in numbers.items()) and source.name.endswith(".nii.gz"):
        with atomic_path(target) as part:
            shutil.copyfile(source, part)
        return
    grid = read_grid(source)
    table = np.arange(256, dtype=np.uint8)
    for old, new in numbers.items():
        table[old] = new
    write_mask(target, table[read_mask(source, grid).voxels], grid)


def _write_scan(source: Path, target: Path) -> None:
    """Copy a scan, compressed. Not a link: what is done to an export must never reach the original."""
    with atomic_path(target) as part:
        if source.name.lower().endswith(".gz"):
            shutil.copyfile(source, part)
            return
        with source.open("rb") as plain, part.open("wb") as file, gzip.GzipFile("", "wb", 4, file, mtime=0) as packed:
            shutil.copyfileobj(plain, packed, 1 << 20)
