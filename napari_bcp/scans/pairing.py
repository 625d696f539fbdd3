"""Which mask belongs to which scan, from the names of files alone. What matches nothing is listed, not guessed."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from napari_bcp.errors import ScanError, SettingError
from napari_bcp.scans.classes import ClassSpec, read_classes
from napari_bcp.scans.nifti import is_nifti, stem

_MASK_ENDING = re.compile(r"(?P<scan>.+)[._-](?:mask|masks|label|labels|seg|segmentation)", re.IGNORECASE)
_CHANNEL = re.compile(r"(?P<scan>.+)_(?P<channel>\d{4})")
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?", re.IGNORECASE)  # no file names on Windows
_LONGEST_NAME = 100
FROM_FOLDERS = "name the one with the scans, or, if every case has one, put all scans into one, each under its own name"
"""What to do with a folder that holds folders only."""


class Pair(NamedTuple):
    """A scan under the name of its case, with its mask if it has one."""

    case: str
    image: Path
    mask: Path | None


@dataclass
class Pairing:
    """What a folder holds.

    pairs : a scan each, sorted by file name
    unmatched : masks that belong to no scan; `notes` says why
    classes : from the folder's `dataset.json`, if there is one
    notes : what the reader should know, a sentence each
    """

    pairs: list[Pair] = field(default_factory=list)
    unmatched: list[Path] = field(default_factory=list)
    classes: tuple[ClassSpec, ...] | None = None
    notes: list[str] = field(default_factory=list)


def pair(images: str | Path, labels: str | Path | None = None) -> Pairing:
    """Find the scans in `images` and their masks, there or in `labels`; only names are looked at.

    A mask has its scan's name, or that and `_mask`, `_label` or `_seg` (also with `-` or `.`). `images` may be a
    data set of nnU-Net or the Medical Segmentation Decathlon, or its `imagesTr`: masks are then in `labelsTr`,
    and scans in `imagesTs` have none. Hidden files are not looked at, nor is what lies in subfolders; a note names
    those that hold NIfTI files.

    Of two files that differ in their ending only, the second is left out, with a note.

    Raises ScanError if a folder does not exist or scans have several channels.
    """
    images = Path(images)
    root = images.parent if images.name == "imagesTr" else images
    found = Pairing()
    if (root / "imagesTr").is_dir():
        scans = _files(root / "imagesTr", found)
        extra = _files(root / "imagesTs", found) if (root / "imagesTs").is_dir() else []
        folder = Path(labels) if labels is not None else root / "labelsTr"
        masks = _files(folder, found) if labels is not None or folder.is_dir() else []
    else:
        scans, extra = _files(images, found, labels), []
        apart = labels is not None and Path(labels).resolve() != images.resolve()
        masks = _files(Path(labels), found, images) if labels is not None and apart else []
    _read_dataset(root / "dataset.json", found)
    _match(scans, extra, masks, found)
    return found


def _match(scans: list[Path], extra: list[Path], masks: list[Path], found: Pairing) -> None:
    """Put scans, `extra` scans that have no mask, and masks together in `found`."""
    scans, extra = _without_doubles(scans, found), _without_doubles(extra, found)
    masks = masks + [path for path in scans if _MASK_ENDING.fullmatch(stem(path))]
    scans = [path for path in scans if not _MASK_ENDING.fullmatch(stem(path))]
    names = _scan_names(scans, extra, {name for path in masks for name in _names_of_mask(path)})
    by_name = {names[path]: path for path in scans}
    candidates: dict[Path, list[Path]] = defaultdict(list)
    for path in masks:
        owner = next((by_name[name] for name in _names_of_mask(path) if name in by_name), None)
        (found.unmatched if owner is None else candidates[owner]).append(path)
    if found.unmatched:
        found.notes.append(f"Masks without a scan are left out: {some_of([path.name for path in found.unmatched])}.")
    used: set[str] = set()
    renamed = []
    for path in scans + extra:
        own = candidates[path]
        if len(own) > 1:
            found.unmatched += own
            found.notes.append(f"{path.name} has several masks, so none is used: {some_of([m.name for m in own])}.")
        case = _unique(_safe(names[path]), used)
        if case != names[path]:
            renamed.append(f"{names[path]} becomes {case}")
        found.pairs.append(Pair(case, path, own[0] if len(own) == 1 else None))
    if renamed:
        found.notes.append(f"Cases need plain file names, each its own: {some_of(renamed)}.")


def _names_of_mask(path: Path) -> list[str]:
    """Return the names that the scan of a mask may have, the likelier first."""
    ending = _MASK_ENDING.fullmatch(stem(path))
    return [stem(path), ending["scan"]] if ending else [stem(path)]


def _scan_names(scans: list[Path], extra: list[Path], masks: set[str]) -> dict[Path, str]:
    """Return the name of each scan as its mask has it: the stem, without nnU-Net's `_0000` where that is used.

    `masks` are the names that scans of masks may have. nnU-Net's names are used if every scan has a channel and
    either a mask goes without it or all are `_0000`; `la_0001` with a mask `la_0001` is just a number.

    Raises ScanError if there are other channels than `_0000`.
    """
    names = {path: stem(path) for path in scans + extra}
    channels = {path: match for path, name in names.items() if (match := _CHANNEL.fullmatch(name))}
    own = [channels[path] for path in scans if path in channels]
    all_have_one = bool(own) and len(own) == len(scans) and not masks & {names[path] for path in scans}
    if all_have_one and (any(c["scan"] in masks for c in own) or all(c["channel"] == "0000" for c in own)):
        for path, match in channels.items():
            if match["channel"] != "0000":
                raise ScanError(
                    f"{path.name} is a further channel of {match['scan']}, and a pool takes one channel: "
                    "keep the files of one channel only, named _0000.",
                    path=path,
                )
            names[path] = match["scan"]
    return names


def _without_doubles(paths: list[Path], found: Pairing) -> list[Path]:
    """Return the files without those whose name, apart from the ending, an earlier one in their folder has."""
    first: dict[tuple[Path, str], Path] = {}
    for path in paths:
        other = first.setdefault((path.parent, stem(path)), path)
        if other is not path:
            found.notes.append(f"{path.name} is left out, as {other.name} has the same name: rename it to use both.")
    return list(first.values())


def _files(folder: Path, found: Pairing, other: str | Path | None = None) -> list[Path]:
    """Return the NIfTI files directly in `folder`, sorted by name; note if there are none, or more in subfolders.

    A file that is named itself counts as a folder of one; `other`, a folder that was named too, may lie in it
    without being noted. Raises ScanError if the folder cannot be read.
    """
    if is_nifti(folder) and folder.is_file():
        return [folder]
    try:
        entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise ScanError(
            f"The folder {folder} cannot be read ({error.strerror}): check the path.", path=folder
        ) from None
    files = [path for path in entries if is_nifti(path) and path.is_file()]
    known = {*files, folder / "dataset.json"}
    others = Counter(path.suffix or path.name for path in entries if path.is_file() and path not in known)
    if files and others:
        kinds = ", ".join(f"{number} {ending}" for ending, number in sorted(others.items()))
        found.notes.append(f"Files in {folder.name} that are no NIfTI are left out: {kinds}; convert scans to .nii.gz.")
    named = None if other is None else Path(other).resolve()
    inner = [path for path in entries if path.is_dir() and path.resolve() != named]
    if not files:
        inside = f", only folders ({some_of([path.name for path in inner])}): {FROM_FOLDERS}" if inner else ""
        found.notes.append(f"{folder.name} holds no .nii or .nii.gz file{inside}.")
    elif skipped := [path.name for path in inner if _holds_nifti(path)]:
        found.notes.append(
            f"Subfolders of {folder.name} were not looked into, although they hold NIfTI files: {some_of(skipped)}; "
            "name the one with masks as that of masks, and put scans into one folder."
        )
    return files


def _holds_nifti(folder: Path) -> bool:
    """Return whether there is a NIfTI file directly in a folder; one that cannot be read has none."""
    with suppress(OSError):
        return any(is_nifti(path) and not path.name.startswith(".") for path in folder.iterdir())
    return False


def _read_dataset(path: Path, found: Pairing) -> None:
    """Take the classes from a `dataset.json`, if there is one; say so if they cannot be used."""
    if not path.is_file():
        return
    try:
        found.classes = read_classes(path)
    except SettingError as error:
        found.notes.append(str(error))


def _safe(name: str) -> str:
    """Return `name` as a plain file name on every system: letters, digits, `.`, `_`, `-`; no dot at either end."""
    plain = unicodedata.normalize("NFKD", name.replace("ß", "ss"))
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))  # ö is o with two dots
    safe = re.sub(r"\.{2,}", ".", re.sub(r"[^A-Za-z0-9._-]+", "_", plain))[:_LONGEST_NAME].lstrip(".-").rstrip(".")
    if not re.search(r"[A-Za-z0-9]", safe):
        return "case"
    return f"case_{safe}" if _RESERVED.fullmatch(safe) else safe


def _unique(name: str, used: set[str]) -> str:
    """Return `name`, numbered if it is in `used` in any case of letters, and add it there."""
    case, number = name, 2
    while case.lower() in used:
        case, number = f"{name}_{number}", number + 1
    used.add(case.lower())
    return case


def some_of(items: list[str], most: int = 5) -> str:
    """Return the first few `items` as text, and how many more there are."""
    more = f" and {len(items) - most:,} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more
