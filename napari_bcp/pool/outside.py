"""Scans outside the pool that are to be segmented: which files these are, and where nothing may be written for them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_bcp.errors import ScanError
from napari_bcp.pool.paths import settled
from napari_bcp.scans import is_nifti, stem

if TYPE_CHECKING:
    import os
    from collections.abc import Collection, Mapping, Sequence


def scans_among(images: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """Return the files that are named, and those in folders that are named, each once. ScanError if there is none."""
    files: list[Path] = []
    for image in map(Path, images):
        if image.is_dir():
            files += sorted(path for path in image.iterdir() if is_nifti(path) and not path.name.startswith("."))
        else:
            files.append(image)
    if not files:
        raise ScanError("There is no NIfTI file to segment; name .nii or .nii.gz files, or a folder of them.")
    return list({settled(file): file for file in files}.values())


def targets_of(file: Path, out: Path, values: Sequence[int]) -> list[Path]:
    """Return what is written of a scan to the folder `out`: its mask, and a map for each of these classes."""
    return [out / f"{stem(file)}.nii.gz", *(out / f"{stem(file)}_prob_{value}.nii.gz" for value in values)]


def without_a_place(targets: Mapping[Path, Sequence[Path]], out: Path, own: Collection[Path]) -> dict[Path, str]:
    """Return the scans whose files must not be written to the folder `out`, with the sentence why.

    targets : what is to be written of each scan;  own : scans of the pool
    A scan must not get what another one gets, and no file may take a scan's place or lie beside it under its name.
    """
    owners: dict[Path, list[Path]] = {}
    for file, wanted in targets.items():
        for target in wanted:
            owners.setdefault(target, []).append(file)
    scans = {file.resolve() for file in targets}
    beside = {stem(file) for file in targets if file.parent.resolve() == out.resolve()}
    refused = {}
    for file, wanted in targets.items():
        for target in wanted:
            others = [other for other in owners[target] if other != file]
            if others:
                refused[file] = f"{file} and {others[0]} would both become {target}: rename one, or leave one out."
            elif target.resolve() in scans or target.resolve() in own or stem(target) in beside:
                refused[file] = (
                    f"What is made of {file} would be named as a scan in {out}: choose another folder with -o."
                )
    return refused
