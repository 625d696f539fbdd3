"""Train and judge on real cohorts through the commands a user types: new, train, predict, segment, evaluate.

    python benchmarks/cohorts.py DATA la --labelled 4 --minutes 5 --out la.json

DATA holds one folder a cohort (`la`, `acdc`, `hippocampus`), each with `images/` and `masks/` of the same names. Cases
are split by number: the first ones are labelled, the next unlabelled, the last ones judged (nothing is chosen on
them). `--dev` judges on the last of the unlabelled cases instead: use it to compare settings.
Prints one JSON object: Dice a class, seconds and peak memory of each command, the machine, the version.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SPLITS = {  # last labelled by default, last unlabelled, last of all, first of the development cases
    "la": (4, 52, 64, 37),
    "acdc": (3, 30, 40, 21),
    "hippocampus": (4, 80, 120, 61),
}


def number(path: Path) -> int:
    """Return the case's (for `acdc` the patient's) number in a file's name."""
    return int(re.search(r"\d+", path.name).group())


def call(*words: str) -> dict[str, float]:
    """Run a command of ours; return wall seconds and its peak memory in MB. Ends the script when it fails."""
    start = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "napari_bcp", *words])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"'{' '.join(words)}' ended with {os.waitstatus_to_exitcode(status)}")
    return {"seconds": round(time.monotonic() - start, 1), "peak_mb": round(usage.ru_maxrss / 1024)}


def commit() -> str:
    """Return the commit that is measured, with a + when files differ from it."""
    here = Path(__file__).parent
    found = subprocess.run(["git", "describe", "--always", "--dirty=+"], cwd=here, capture_output=True, text=True)
    return found.stdout.strip()


def machine() -> str:
    """Return what it is measured on."""
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def main() -> None:
    """Run one cohort."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("cohort", choices=SPLITS)
    parser.add_argument("--labelled", type=int)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--supervised", action="store_true", help="leave the unlabelled scans out")
    parser.add_argument("--dev", action="store_true", help="judge on development cases")
    parser.add_argument("--keep", type=Path, help="folder to work in, kept")
    parser.add_argument("--out", type=Path, help="append the result to this file, a line each")
    asked = parser.parse_args()

    default, last_unlabelled, last, first_dev = SPLITS[asked.cohort]
    labelled = asked.labelled or default
    images = sorted((asked.data / asked.cohort / "images").iterdir())
    judged = [p for p in images if last_unlabelled < number(p) <= last]
    if asked.dev:
        judged = [p for p in images if first_dev <= number(p) <= last_unlabelled]
    shown = [p for p in images if number(p) <= (labelled if asked.supervised else last_unlabelled)]

    work = asked.keep or Path(tempfile.mkdtemp(prefix="napari-bcp-"))
    for name, files in (
        ("images", shown),
        ("labels", [p for p in shown if number(p) <= labelled]),
        ("judged", judged),
        ("truth", judged),
    ):
        folder = work / name
        folder.mkdir(parents=True, exist_ok=True)
        for path in files:
            source = path if name in ("images", "judged") else path.parent.parent / "masks" / path.name
            (folder / path.name).unlink(missing_ok=True)
            (folder / path.name).symlink_to(source.resolve())
    shutil.rmtree(work / "pool", ignore_errors=True)
    pool = str(work / "pool")
    settings = [word for pair in asked.set for word in ("--set", pair)]
    runs = {"new": call("new", pool, "--images", str(work / "images"), "--labels", str(work / "labels"))}
    runs["train"] = call("train", pool, "--minutes", str(asked.minutes), "--preset", asked.preset, *settings)
    if not asked.supervised and not asked.dev:
        runs["predict"] = call("predict", pool)
    runs["segment"] = call("segment", pool, str(work / "judged"), "-o", str(work / "out"))
    runs["evaluate"] = call("evaluate", str(work / "out"), str(work / "truth"), "--json", str(work / "report.json"))
    report = json.loads((work / "report.json").read_text())
    state = json.loads(
        subprocess.run(
            [sys.executable, "-m", "napari_bcp", "status", pool, "--json"], capture_output=True, text=True, check=True
        ).stdout
    )
    result = {
        "cohort": asked.cohort,
        "labelled": labelled,
        "minutes": asked.minutes,
        "preset": asked.preset,
        "set": asked.set,
        "supervised": asked.supervised,
        "judged": "development" if asked.dev else "judged",
        "steps": state["runs"][-1]["step"],
        "summary": report["summary"],
        "commands": runs,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(),
    }
    sys.stdout.write(json.dumps(result) + "\n")
    if asked.out:
        with asked.out.open("a") as file:
            file.write(json.dumps(result) + "\n")
    if not asked.keep:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
