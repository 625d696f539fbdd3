"""What the pool's table holds, as immutable records; each is made from a row whose every value is checked."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from napari_bcp.errors import PoolError, SettingError
from napari_bcp.pool.fingerprint import Fingerprint
from napari_bcp.pool.paths import check_name, lexically_inside, located_scan
from napari_bcp.pool.status import STATUSES, Status
from napari_bcp.scans import ClassSpec

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from pathlib import Path

RUN_STATUSES: Final = ("planned", "running", "stopped", "finished", "failed")

T = TypeVar("T")


@dataclass(frozen=True)
class MapRecord:
    """The newest map of a case.

    run, step : which run's teacher made it, and after how many steps
    map_path, pseudo_path : absolute paths of the map and of the pseudo-label
    quality : per class value, a rank of expected quality; None where the class is not predicted
    entropy : mean predictive entropy of the voxels that are not surely background, nats
    volume_ml, islands : per class value, the pseudo-label's volume, and how many islands the clean-up removed
    time : UTC, ISO 8601
    """

    run: str
    step: int
    map_path: Path
    pseudo_path: Path
    quality: dict[int, float | None]
    entropy: float
    volume_ml: dict[int, float]
    islands: dict[int, int]
    time: str


@dataclass(frozen=True)
class Case:
    """A scan in the pool.

    reason : why it is unusable, else empty
    path : absolute path of the scan's file
    mask_version, mask_by : the accepted mask in force and who accepted it ("person" or "rule"); None without one
    shape, spacing : canonical x, y, z; voxels and mm; None if the file could never be read
    changed : time of the last change, UTC, ISO 8601
    fingerprint : of the scan's file when it was last looked at; None if there was none
    """

    name: str
    status: Status
    reason: str
    path: Path
    mask_version: int | None
    mask_by: str | None
    map: MapRecord | None
    shape: tuple[int, int, int] | None
    spacing: tuple[float, float, float] | None
    changed: str
    fingerprint: Fingerprint | None

    @property
    def has_mask(self) -> bool:
        """Whether a mask is trained on and exported: that of a reopened case is, until the next one is accepted."""
        return self.status in ("accepted", "draft") and self.mask_version is not None


@dataclass(frozen=True)
class RunRecord:
    """One training.

    id : four digits or more;  path : its folder;  status : one of RUN_STATUSES
    step, elapsed_s : how far it came;  checkpoint : absolute path of the newest one
    started, changed : UTC, ISO 8601
    """

    id: str
    path: Path
    preset: str
    config: dict[str, Any]
    plan: dict[str, Any]
    status: str
    step: int
    elapsed_s: float
    checkpoint: Path | None
    started: str
    changed: str


@dataclass(frozen=True)
class Event:
    """One line of the history: when (UTC, ISO 8601), which case (None: the pool), what, details, and who did it."""

    time: str
    case: str | None
    what: str
    details: dict[str, Any]
    who: str


CASE_COLUMNS: Final = """
    SELECT cases.*, masks.accepted_by AS mask_by,
        maps.run AS map_run, maps.step AS map_step, maps.map_file, maps.pseudo_file, maps.quality, maps.entropy,
        maps.volume_ml, maps.islands, maps.time AS map_time
    FROM cases
    LEFT JOIN masks ON masks.case_name = cases.name AND masks.version = cases.mask_version
    LEFT JOIN maps ON maps.case_name = cases.name
"""
"""Begin of every query whose rows become cases."""


def checked(root: Path, make: Callable[[Path, sqlite3.Row], T], row: sqlite3.Row) -> T:
    """Return `make(root, row)`, with whatever a hand-edited row causes turned into a PoolError."""
    try:
        return make(root, row)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError, RecursionError) as error:
        raise PoolError(
            f"The table of pool {root} holds a value that cannot be ({error}); restore it from a copy.", path=root
        ) from None


def case_from(root: Path, row: sqlite3.Row) -> Case:
    """Return the case in a row of a query that begins with CASE_COLUMNS."""
    status = row["status"]
    if status not in STATUSES:
        raise ValueError(f"status {status!r}")
    digest, version = row["digest"], row["mask_version"]
    if version is not None and (not isinstance(version, int) or row["mask_by"] not in ("person", "rule")):
        raise ValueError(f"mask {version!r}")
    return Case(
        name=check_name(row["name"]),
        status=cast("Status", status),
        reason=_text(row["reason"]),
        path=located_scan(root, _text(row["scan"])),
        mask_version=version,
        mask_by=row["mask_by"],
        map=None if row["map_run"] is None else _map_from(root, row),
        shape=cast("tuple[int, int, int] | None", _triple(row["shape"], int)),
        spacing=cast("tuple[float, float, float] | None", _triple(row["spacing"], float)),
        changed=_text(row["changed"]),
        fingerprint=None if digest is None else Fingerprint(int(row["size"]), int(row["mtime_ns"]), _text(digest)),
    )


def class_from(root: Path, row: sqlite3.Row) -> ClassSpec:
    """Return the class in a row of the table `classes`."""
    try:
        return ClassSpec(int(row["value"]), _text(row["name"]), _text(row["colour"]))
    except SettingError as error:
        raise ValueError(str(error)) from None


def run_from(root: Path, row: sqlite3.Row) -> RunRecord:
    """Return the run in a row of the table `runs`."""
    run = _text(row["id"])
    if not run.isascii() or not run.isdigit():
        raise ValueError(f"run {run!r}")
    checkpoint = row["checkpoint"]
    return RunRecord(
        id=run,
        path=root / "runs" / run,
        preset=_text(row["preset"]),
        config=_dict(row["config"]),
        plan=_dict(row["plan"]),
        status=_text(row["status"]),
        step=int(row["step"]),
        elapsed_s=float(row["elapsed_s"]),
        checkpoint=None if checkpoint is None else lexically_inside(root, _text(checkpoint)),
        started=_text(row["started"]),
        changed=_text(row["changed"]),
    )


def event_from(root: Path, row: sqlite3.Row) -> Event:
    """Return the line of history in a row of the table `events`."""
    name = row["case_name"]
    return Event(
        time=_text(row["time"]),
        case=None if name is None else _text(name),
        what=_text(row["what"]),
        details=_dict(row["details"]),
        who=_text(row["who"]),
    )


def _map_from(root: Path, row: sqlite3.Row) -> MapRecord:
    return MapRecord(
        run=_text(row["map_run"]),
        step=int(row["map_step"]),
        map_path=lexically_inside(root, _text(row["map_file"])),
        pseudo_path=lexically_inside(root, _text(row["pseudo_file"])),
        quality={int(key): None if value is None else float(value) for key, value in _dict(row["quality"]).items()},
        entropy=float(row["entropy"]),
        volume_ml={int(key): float(value) for key, value in _dict(row["volume_ml"]).items()},
        islands={int(key): int(value) for key, value in _dict(row["islands"]).items()},
        time=_text(row["map_time"]),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{str(value)[:40]!r} where text should be")
    return value


def _dict(value: object) -> dict[str, Any]:
    found = json.loads(_text(value))
    if not isinstance(found, dict):
        raise ValueError(f"{str(found)[:40]!r} where a table should be")
    return found


@lru_cache(maxsize=4096)  # the scans of a cohort are much alike
def _triple(value: object, kind: type[int] | type[float]) -> tuple[int, ...] | tuple[float, ...] | None:
    if value is None:
        return None
    found = json.loads(_text(value))
    if not isinstance(found, list) or len(found) != 3:
        raise ValueError(f"{str(found)[:40]!r} where three numbers should be")
    numbers = tuple(kind(number) for number in found)
    if not all(0 < number < math.inf for number in numbers):
        raise ValueError(f"{str(found)[:40]!r} where three sizes should be")
    return numbers
