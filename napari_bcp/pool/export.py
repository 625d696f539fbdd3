"""Masks and pseudo-labels in a layout that other tools read."""

from __future__ import annotations

import csv
import gzip
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from napari_bcp.errors import BcpError, PoolError, unknown_name
from napari_bcp.files import atomic_path, write_text
from napari_bcp.pool.paths import settled
from napari_bcp.scans import read_grid, read_mask, write_mask

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_bcp.pool.records import Case
    from napari_bcp.pool.store import Pool
    from napari_bcp.scans import ClassSpec

Layout = Literal["plain", "nnunet"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
_TABLE = "cases.csv"
_COLUMNS = ("case", "status", "source", "file", "scan", "reason")
_WRITTEN = {"accepted", "pseudo", _TABLE, "imagesTr", "labelsTr", "imagesTs", "pseudoTs", "dataset.json"}
_PART = ".exporting-"
_OF_THE_SYSTEM = {".DS_Store", "Thumbs.db", "desktop.ini"}  # made by whatever shows a folder


def export(
    pool: Pool,
    dest: Path,
    layout: Layout,
    replace: bool,
    progress: Callable[[int, int, str], None] | None,
) -> dict[str, int]:
    """Write the masks in force, and apart from them the pseudo-labels, of `pool` to the new or empty folder `dest`.

    plain : accepted/NAME.nii.gz, pseudo/NAME.nii.gz, cases.csv
    nnunet : version 2's layout; imagesTr and labelsTr hold what is accepted, imagesTs the rest, and pseudoTs, which
        nnU-Net does not read, the pseudo-labels. nnU-Net wants classes numbered without gaps, so masks of a pool
        whose classes have gaps are renumbered, as dataset.json says. Scans are copied, compressed.
    replace : whether `dest` may hold an earlier export, which goes once all of the new one is written

    Returns how many files of each sort were written; they appear together at the end. Raises PoolError if the folder
    holds something else or a file cannot be read or written.
    """
    if layout not in LAYOUTS:
        raise unknown_name("layout", layout, LAYOUTS)
    dest = dest.absolute()
    try:
        former = find_former(dest, replace)
        for case in pool.cases() if former else ():
            if dest.resolve() in settled(case.path).parents:
                raise PoolError(f"{dest} has scans of the pool in it ({case.name}); name a new folder to export to.")
        dest.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=_PART, dir=dest) as part:
            new = Path(part, "new")
            counts = _write(pool, new, layout == "nnunet", progress)
            _swap(new, Path(part, "old"), dest, former)
    except OSError as error:
        raise PoolError(f"The export to {dest} failed ({error}); free some space or mend that file.") from None
    return counts


def find_former(dest: Path, replace: bool) -> list[Path]:
    """Return what an earlier export has left in `dest`: nothing in a folder that is new or empty.

    Raises PoolError if anything is there that may not be replaced, OSError if the folder cannot be read.
    """
    if not dest.exists():
        return []
    if not dest.is_dir():
        raise PoolError(f"{dest} is a file; name a new folder to export to.", path=dest)
    entries = sorted(entry for entry in dest.iterdir() if entry.name not in _OF_THE_SYSTEM)
    others = [one.name for one in entries if one.name not in _WRITTEN and not one.name.startswith(_PART)]
    exported = not others and (_is_table(dest / _TABLE) or any(one.name.startswith(_PART) for one in entries))
    if entries and not (exported and replace):
        has = f"holds {others[0]}, which is no part of an export" if replace and others else "is not empty"
        instead = ", or let the export that is there be replaced" if exported else ""
        raise PoolError(f"{dest} {has}; name a new folder to export to{instead}.", path=dest)
    return entries


def _is_table(path: Path) -> bool:
    """Return whether a file is the list of cases of an export."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.readline(200).strip() == ",".join(_COLUMNS).encode()


def _swap(new: Path, old: Path, dest: Path, former: Sequence[Path]) -> None:
    """Put what lies in `new` into `dest` in place of `former`: all of it, or everything is as it was."""
    old.mkdir()
    come: list[str] = []  # noted before it is done, so that nothing can come in between
    try:
        for entry in former:
            os.replace(entry, old / entry.name)
        for entry in sorted(new.iterdir(), key=lambda entry: entry.name == _TABLE):  # last what an export is known by
            come.append(entry.name)
            os.replace(entry, dest / entry.name)
    except BaseException:
        for name in come:
            if not (new / name).exists():
                os.replace(dest / name, new / name)
        for entry in old.iterdir():
            os.replace(entry, dest / entry.name)
        raise


def _write(pool: Pool, dest: Path, nnunet: bool, progress: Callable[[int, int, str], None] | None) -> dict[str, int]:
    classes = pool.classes
    numbers = {spec.value: place for place, spec in enumerate(classes, 1)} if nnunet else {}
    counts = {"accepted": 0, "pseudo": 0, "scans": 0}
    rows = []
    names = [case.name for case in pool.cases()]
    for done, name in enumerate(names):
        if progress is not None:
            progress(done, len(names), name)
        case, written, source = _write_mask(pool, name, dest, nnunet, numbers)
        masked = case.has_mask
        if source:
            counts["accepted" if masked else "pseudo"] += 1
        if nnunet and case.status not in ("excluded", "unusable"):
            folder = "imagesTr" if masked else "imagesTs"
            _write_scan(case.path, dest / folder / f"{name}_0000.nii.gz")
            counts["scans"] += 1
        rows.append([name, case.status, source, written, str(case.path), case.reason])
    if nnunet:
        write_text(dest / "dataset.json", json.dumps(_dataset(classes, counts["accepted"]), indent=2) + "\n")
    with atomic_path(dest / _TABLE) as part, part.open("w", newline="", encoding="utf-8") as table:
        writer = csv.writer(table)
        writer.writerow(_COLUMNS)
        writer.writerows(rows)
    if progress is not None:
        progress(len(names), len(names), "")
    return counts


def _write_mask(pool: Pool, name: str, dest: Path, nnunet: bool, numbers: dict[int, int]) -> tuple[Case, str, str]:
    """Write a case's mask or pseudo-label; return the case as it was then, the file below `dest` and what it is.

    A training that goes on replaces maps by newer ones: where one is gone, the case has another by now.
    """
    for last in (False, True):
        case = pool.case(name)
        mask = pool.mask_file(case) if case.has_mask else None
        if mask is not None:
            reopened = "" if case.status == "accepted" else ", reopened since"
            file, what = mask, f"mask accepted by {case.mask_by}{reopened}"
            written = f"{'labelsTr' if nnunet else 'accepted'}/{name}.nii.gz"
        elif case.status in ("predicted", "draft") and case.map is not None:
            file, what = case.map.pseudo_path, f"pseudo-label of run {case.map.run}, step {case.map.step}"
            written = f"{'pseudoTs' if nnunet else 'pseudo'}/{name}.nii.gz"
        else:
            return case, "", ""
        try:
            _write_labels(file, dest / written, numbers)
        except (OSError, BcpError):
            if last or pool.case(name) == case:
                raise
        else:
            return case, written, what
    raise AssertionError  # the last try returns or raises


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
