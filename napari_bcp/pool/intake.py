"""Taking scans and masks in: first everything is looked at and copied, then all of it is recorded at once."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from napari_bcp.errors import BcpError, PoolError, SettingError
from napari_bcp.pool.fingerprint import Fingerprint, fingerprint
from napari_bcp.pool.masks import values_in
from napari_bcp.pool.paths import check_name, printable, settled, stored_scan
from napari_bcp.pool.table import grid_columns
from napari_bcp.scans import check_classes, default_classes, is_nifti, pair, read_classes, read_grid, read_mask
from napari_bcp.scans.pairing import FROM_FOLDERS, some_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_bcp.pool.masks import MaskFolder
    from napari_bcp.pool.records import Case
    from napari_bcp.pool.table import Table
    from napari_bcp.scans import ClassSpec, Pairing

    Progress = Callable[[int, int, str], None]


@dataclass
class Found:
    """A scan that is new to the pool: what its header says, or the `problem` that makes it unusable."""

    name: str
    scan: str
    grid: dict[str, str] = field(default_factory=dict)
    seen: Fingerprint | None = None
    problem: str = ""
    notes: tuple[str, ...] = ()


@dataclass
class Intake:
    """What a pairing brings.

    folder : where masks are written;  cases : new scans;  masks : (case, version written, source)
    refused : (case, source, why);  passed : known cases whose masks are left aside, by why
    values : all classes seen in the masks;  notes : sentences for the reader
    """

    folder: MaskFolder
    cases: list[Found] = field(default_factory=list)
    masks: list[tuple[str, int, str]] = field(default_factory=list)
    refused: list[tuple[str, str, str]] = field(default_factory=list)
    passed: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    values: set[int] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)


def find_pairs(images: Path, labels: Path | None) -> Pairing:
    """Return which scans and masks the folders hold. Raises PoolError if there is no scan."""
    pairing = pair(images, labels)
    if not pairing.pairs:
        raise PoolError(f"There is no scan (.nii or .nii.gz) in {images}{_what_else(images)}.", path=images)
    return pairing


def _what_else(folder: Path) -> str:
    """Return how the sentence about a folder without scans goes on: what is in it, and what to do about that."""
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith(".")) if folder.is_dir() else []
    if any(is_nifti(path) for path in entries):
        return " that is no mask; name the folder that holds them"
    folders = [path.name for path in entries if path.is_dir()]
    if folders:
        return f", only folders ({some_of(folders)}): {FROM_FOLDERS}"
    if entries:
        return f", only {entries[0].name} and the like; convert scans to NIfTI first, DICOM for example with dcm2niix"
    return "; name the folder that holds them"


def choose_classes(given: Path | Sequence[ClassSpec] | None, pairing: Pairing) -> tuple[ClassSpec, ...]:
    """Return the classes that are given (as a file or a list), else those of the data set's own description.

    Raises SettingError if a value or a name stands twice, or a class is called background.
    """
    if given is None:
        specs = tuple(pairing.classes or ())
    elif isinstance(given, Path):
        specs = read_classes(given)
    else:
        specs = tuple(given)
    check_classes(specs)
    return specs


def require_classes(images: Path, labels: Path | None, given: Path | Sequence[ClassSpec] | None) -> None:
    """Raise SettingError if neither masks nor the data set nor `given` say which classes there are to draw."""
    if not given:
        pairing = find_pairs(images, labels)
        if not pairing.classes and not any(mask for _, _, mask in pairing.pairs):
            raise SettingError(
                f"There are no masks with the scans in {images}, so nothing says what is to be drawn; name one class "
                "or more."
            )


def look(
    root: Path,
    pairing: Pairing,
    classes: Sequence[ClassSpec],
    table: Table,
    masks: MaskFolder,
    progress: Progress | None,
) -> Intake:
    """Read the headers of new scans, and read, check and copy the masks that are new; record nothing.

    classes : those that masks may hold; any if empty
    progress : what it raises goes on, once the masks that were written are removed again
    A mask of a known case is new if that case never had one; others are passed over with a note. What cannot be used
    is named, and stops nothing.
    """
    intake = Intake(masks, notes=list(pairing.notes))
    try:
        _look(intake, root, pairing, [spec.value for spec in classes] or None, table, progress)
    except BaseException:
        for name, version, _ in intake.masks:
            _drop(masks, name, version)
        raise
    return intake


def _look(
    intake: Intake,
    root: Path,
    pairing: Pairing,
    allowed: list[int] | None,
    table: Table,
    progress: Progress | None,
) -> None:
    known = {case.path: case for case in table.cases(None)}
    taken = {case.name.lower() for case in known.values()}
    total = len(pairing.pairs)
    for done, (given, image, mask) in enumerate(pairing.pairs):
        if progress is not None:
            progress(done, total, given)
        path = settled(image)
        case = known.get(path)
        if case is not None:
            name = case.name
            why = _why_not(table, case)
            if why:
                if mask is not None:
                    intake.passed[why].append(name)
                continue
        else:
            name = _free_name(given, taken)
            found = _look_at(root, name, path)
            if found is None:
                intake.notes.append(f"{path} has a name that is not valid text; rename it to use it.")
                continue
            taken.add(name.lower())
            intake.cases.append(found)
            if name != given:
                intake.notes.append(f"{path} became case '{name}', because there is another case '{given}'.")
            if found.problem:
                intake.notes.append(f"Case '{name}' is unusable: {found.problem}")
                continue
        if mask is not None:
            _take_mask(intake, name, path, mask, allowed, table)
    if progress is not None:
        progress(total, total, "")
    odd = [found for found in intake.cases if found.notes]
    if odd:
        more = f" Other scans with such notes: {len(odd) - 1:,}; each is shown with its case." if len(odd) > 1 else ""
        intake.notes.append(odd[0].notes[0] + more)


def record(intake: Intake, classes: Sequence[ClassSpec], table: Table) -> list[str]:
    """Write what `look` found into the table, all of it or nothing; return the new cases' names.

    classes : those that `look` allowed; if empty, the values in the masks become classes
    Masks of cases that a reader has begun or that were given another one since then are passed over, and removed.
    """
    late: list[tuple[str, int]] = []
    new = {found.name for found in intake.cases}
    of_known = 0
    with table.transaction():
        table.add_classes(classes or default_classes(intake.values))
        for found in intake.cases:
            table.add_case(found.name, found.scan, found.grid, found.seen, found.problem, found.notes)
        for name, version, source in intake.masks:
            why = "" if name in new else _why_not(table, table.case(name))
            if why:
                intake.passed[why].append(name)
                late.append((name, version))
            else:
                of_known += name not in new
                table.accept(name, version, "person", {"source": source})
        for name, source, reason in intake.refused:
            table.log("mask refused", name, source=source, reason=reason)
    for name, version in late:
        _drop(intake.folder, name, version)
    if of_known:
        intake.notes.append(f"Masks taken in for cases that had none: {of_known:,}.")
    for why, names in intake.passed.items():
        remedy = (
            "include them first" if why in ("is excluded", "is unusable") else "hand one in with 'napari-bcp accept'"
        )
        intake.notes.append(f"Masks passed over, because the case {why}: {some_of(names)}; {remedy}.")
    intake.notes = [printable(note) for note in intake.notes]
    return [found.name for found in intake.cases]


def _why_not(table: Table, case: Case) -> str:
    """Return why no mask is taken in for a known case, empty if one may be."""
    if table.newest_version(case.name):
        return "had one before"
    return "" if case.status in ("unlabelled", "predicted") else f"is {case.status}"


def _drop(masks: MaskFolder, name: str, version: int) -> None:
    """Remove a mask that was written but is not recorded, and its folder if nothing else is in it."""
    masks.remove(name, version)
    with suppress(OSError):
        masks.path(name, version).parent.rmdir()


def _look_at(root: Path, name: str, path: Path) -> Found | None:
    """Return what a scan's header says; None if its path cannot be stored as text."""
    found = Found(check_name(name), stored_scan(root, path))
    try:
        found.scan.encode()
    except UnicodeEncodeError:
        return None
    try:
        grid = read_grid(path)
        found.grid, found.notes = grid_columns(grid.shape, grid.spacing), tuple(grid.notes)
    except BcpError as error:
        found.problem = str(error)
    found.seen = fingerprint_or_none(path)
    return found


def _take_mask(intake: Intake, name: str, scan: Path, mask: Path, allowed: list[int] | None, table: Table) -> None:
    """Read, check and copy one mask; note why if it cannot be used."""
    try:
        grid = read_grid(scan)
        voxels = read_mask(mask, grid, classes=allowed).voxels
    except BcpError as error:
        intake.refused.append((name, printable(str(mask)), printable(str(error))))
        intake.notes.append(f"The mask of case '{name}' was left out: {error}")
        return
    intake.values.update(values_in(voxels))
    version = intake.folder.write_next(name, table.newest_version(name), voxels, grid)
    intake.masks.append((name, version, printable(str(mask))))


def fingerprint_or_none(path: Path) -> Fingerprint | None:
    """Return the file's fingerprint, or None if it cannot be read."""
    try:
        return fingerprint(path)
    except OSError:
        return None


def _free_name(name: str, taken: set[str]) -> str:
    """Return the name, numbered if another case has it, in whatever letters' case."""
    number, free = 2, name
    while free.lower() in taken:
        number, free = number + 1, f"{name}_{number}"
    return free
