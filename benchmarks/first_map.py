"""Seconds from Start to the first map in the pool, as the window has it: python benchmarks/first_map.py DATA la.

DATA and cohorts are those of cohorts.py. A session as the window's, without a window, opens a new pool, shows a case
without a mask and starts the training; prints JSON with the seconds until the child is ready, until its first step and
until the shown case's map is recorded, and how many steps the map's network had had.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from cohorts import SPLITS, commit, machine, number

import napari_bcp
from napari_bcp.app.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("cohort", choices=SPLITS)
    asked = parser.parse_args()
    labelled, unlabelled, *_ = SPLITS[asked.cohort]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part, most, source in (("images", unlabelled, "images"), ("labels", labelled, "masks")):
            (folder / part).mkdir()
            for path in (asked.data / asked.cohort / source).iterdir():
                if number(path) <= most:
                    (folder / part / path.name).symlink_to(path.resolve())
        napari_bcp.new_pool(folder / "pool", folder / "images", folder / "labels").close()
        result = measure(folder / "pool")
    sys.stdout.write(json.dumps({"cohort": asked.cohort, **result, "commit": commit(), "machine": machine()}) + "\n")


def measure(pool: Path) -> dict[str, float | None]:
    """Start a training in a session and wait for the first map."""
    session, seen = Session(), {}

    def note(name: str) -> None:
        seen.setdefault(name, round(time.monotonic() - started, 2))

    def wait(condition: Callable[[], bool]) -> None:
        while not condition():
            session.pump()
            time.sleep(0.01)  # the window pumps by a timer, about as often

    started = time.monotonic()
    session.open_pool(pool)
    wait(lambda: bool(session.proposals))
    shown = session.proposals[0].name
    session.open_case(shown)
    wait(lambda: session.current is not None)
    started = time.monotonic()
    session.start_training("quick", 5, {})

    def arrived() -> bool:
        if session.child is not None:
            note("child_s")
        if session.training.step:
            note("first_step_s")
        map_ = None if session.current is None else session.current.map
        if map_ is not None:
            note("first_map_s")
            seen["step"] = map_.facts["step"]
        return map_ is not None

    wait(arrived)
    session.close()
    return seen


if __name__ == "__main__":
    main()
