"""A table of measures over cases and classes: its means, how it is written, and how two folders of masks fill it.

A measure that an empty mask leaves undefined stays NaN and out of the means; how many were left out, and how many
structures were missed altogether or made up, stands beside each mean.
"""

from __future__ import annotations

import csv
import json
import math
import statistics
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_bcp.errors import BcpError, MaskError
from napari_bcp.files import atomic_path, write_text
from napari_bcp.metrics.cases import MEASURES, Mode, Row, measure_case

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Summary:
    """One measure over the cases, for one class, or (value None) over all values of all classes.

    n : values that went into mean and SD; SD is that of a sample, NaN for fewer than two values
    undefined : values that did not
    misses, false_alarms : structures that only the truth, or only the prediction has
    """

    value: int | None
    measure: str
    mean: float
    sd: float
    n: int
    undefined: int
    misses: int
    false_alarms: int


@dataclass
class Report:
    """Measures of many cases.

    classes : class values with their names, the order of the summary
    rows : one for each class of each case
    missing : cases with a truth but no prediction; they are in no mean
    refused : cases that could not be measured, with the sentence why; they are in no mean
    extra : predictions without a truth
    """

    mode: Mode = "mm"
    classes: dict[int, str] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    extra: list[str] = field(default_factory=list)

    def summary(self) -> list[Summary]:
        """Return each measure per class and, where there are several classes, over all."""
        groups: list[tuple[int | None, list[Row]]] = [
            (value, [row for row in self.rows if row.value == value]) for value in self.classes
        ]
        if len(groups) > 1:
            groups.append((None, self.rows))
        return [_summarise(value, name, rows) for value, rows in groups for name in MEASURES[self.mode]]

    def summary_rows(self) -> list[dict[str, str]]:
        """Return the summary as text for printing: one dict a line, all with the same keys."""
        return [
            {
                "class": "all" if line.value is None else self.classes[line.value],
                "measure": MEASURES[self.mode][line.measure],
                "mean ± SD": f"{_text(line.mean)} ± {_text(line.sd)}",
                "n": str(line.n),
                "undefined": str(line.undefined),
                "misses": str(line.misses),
                "false alarms": str(line.false_alarms),
            }
            for line in self.summary()
        ]

    def to_json(self, path: str | Path) -> None:
        """Write everything as JSON, atomically; what is undefined is null."""
        content = {
            "mode": self.mode,
            "measures": MEASURES[self.mode],
            "classes": {str(value): name for value, name in self.classes.items()},
            "summary": [
                {"class": line.value, **_without_nan({key: vars(line)[key] for key in vars(line) if key != "value"})}
                for line in self.summary()
            ],
            "cases": [
                {"case": row.case, "class": row.value, "status": row.status, **_without_nan(row.measures)}
                for row in self.rows
            ],
            "missing": self.missing,
            "refused": self.refused,
            "extra": self.extra,
        }
        write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")

    def to_csv(self, path: str | Path) -> None:
        """Write a line for each class of each case, atomically; what is undefined is empty.

        Cases that are in no mean follow with the status missing or refused and the reason as note.
        """
        heading = ["case", "class", "name", "status", *MEASURES[self.mode], "note"]
        with atomic_path(path) as part, part.open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, heading, lineterminator="\n")
            table.writeheader()
            for row in self.rows:
                start = {"case": row.case, "class": row.value, "name": self.classes[row.value], "status": row.status}
                table.writerow({**start, **_without_nan(row.measures)})
            for case in self.missing:
                table.writerow({"case": case, "status": "missing", "note": "There is no prediction of this name."})
            for case, reason in self.refused.items():
                table.writerow({"case": case, "status": "refused", "note": reason})


def evaluate_folder(
    predictions: Path,
    truth: Path,
    *,
    paper: bool = False,
    classes: Mapping[int, str] | Collection[int] | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> Report:
    """Measure each mask in the folder `truth` against the file of the same name in `predictions`.

    paper : measure in voxels as publications on BCP do, see MEASURES
    classes : class values, with names or without; when None all that occur in any of the files
    progress : called after each case with the cases done, the cases in all and the name

    What cannot be used is listed in the report, and the rest goes on. Raises MaskError where a folder does not
    exist or holds no mask.
    """
    from napari_bcp.scans import read_grid, read_mask  # here: measuring arrays needs no file library

    truths, guesses = _masks_in(truth), _masks_in(predictions)
    for folder, found, which in ((truth, truths, "true masks"), (predictions, guesses, "masks to measure")):
        if not found:
            raise MaskError(_holds_none(folder, which), path=folder)
    wanted = None if classes is None else set(classes)
    report = Report("paper" if paper else "mm", extra=sorted(guesses.keys() - truths.keys()))
    measured: list[str] = []
    for done, case in enumerate(sorted(truths), start=1):
        if case not in guesses:
            report.missing.append(case)
        else:
            try:
                true_path, guess_path = _only_one(truths[case]), _only_one(guesses[case])
                grid = read_grid(true_path)
                true, guess = read_mask(true_path, grid), read_mask(guess_path, grid)
            except BcpError as error:
                report.refused[case] = str(error)
            else:
                measured.append(case)
                report.rows += measure_case(case, guess.voxels, true.voxels, grid.spacing, classes=wanted, paper=paper)
        if progress:
            progress(done, len(truths), case)
    values = sorted({row.value for row in report.rows})
    names = classes if isinstance(classes, Mapping) else {}
    report.classes = {value: names.get(value, f"class {value}") for value in values}
    report.rows = _with_absent(report.rows, measured, values, report.mode)
    return report


def _masks_in(folder: Path) -> dict[str, list[Path]]:
    """Return the NIfTI files of a folder by stem."""
    from napari_bcp.scans import is_nifti, stem

    if not folder.is_dir():
        raise MaskError(f"There is no folder {folder}; name one that holds masks.", path=folder)
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if is_nifti(path) and not path.name.startswith(".") and path.is_file():
            found.setdefault(stem(path), []).append(path)
    return found


def _holds_none(folder: Path, which: str) -> str:
    """Return the sentence for a folder without masks, with the subfolders that have some: exports have them there."""
    folders = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith("images")]
    inner = [path.name for path in folders if _masks_in(path)]
    if inner:
        return f"{folder} holds no mask itself, but its subfolders do: name one of them ({', '.join(inner)})."
    return f"{folder} holds no mask (.nii or .nii.gz); name the folder with the {which}."


def _only_one(paths: list[Path]) -> Path:
    if len(paths) > 1:
        names = " and ".join(map(str, paths))
        raise MaskError(f"{names} are masks of one name; keep one of them.", path=paths[0])
    return paths[0]


def _with_absent(rows: list[Row], cases: list[str], classes: list[int], mode: Mode) -> list[Row]:
    """Return a row for each class of each case: the given ones, and those of classes that a case has nothing of."""
    nothing = {name: 1.0 if name == "specificity" else math.nan for name in MEASURES[mode]}
    known = {(row.case, row.value): row for row in rows}
    return [known.get((case, value)) or Row(case, value, "absent", nothing) for case in cases for value in classes]


def _summarise(value: int | None, name: str, rows: list[Row]) -> Summary:
    values = [row.measures[name] for row in rows if not math.isnan(row.measures[name])]
    return Summary(
        value,
        name,
        mean=statistics.fmean(values) if values else math.nan,
        sd=statistics.stdev(values) if len(values) > 1 else math.nan,
        n=len(values),
        undefined=len(rows) - len(values),
        misses=sum(row.status == "missed" for row in rows),
        false_alarms=sum(row.status == "false alarm" for row in rows),
    )


def _without_nan(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in values.items()}


def _text(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"
