"""Time of a training step of a preset, against the same step in plain float32 with channels first, in one process.

    python benchmarks/step_time.py --preset paper-la --steps 2

Both do stage 2 on made-up scans: two teacher passes, clean-up, two student passes, loss, backward, optimiser, teacher.
Steps of the two kinds take turns. Prints JSON: seconds of each step, their medians and the ratio.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
from cohorts import commit, machine

from napari_bcp.config import PRESETS, make_config
from napari_bcp.engine.cache import CaseFiles, Prepared
from napari_bcp.engine.device import pick_device
from napari_bcp.engine.fingerprint import Survey
from napari_bcp.engine.plan import make_plan
from napari_bcp.engine.sampler import Sampler
from napari_bcp.engine.state import new_state
from napari_bcp.engine.step import Learner
from napari_bcp.scans import read_mask, read_scan
from napari_bcp.scans.phantom import write_cohort


def learner(preset: str, folder: Path, device: torch.device, **settings: object) -> Learner:
    """Return what does steps of stage 2 on made-up scans of 120×120×90 voxels."""
    config = make_config(preset, settings)
    survey = Survey()
    images = sorted((folder / "images").iterdir())
    for image in images:
        mask = folder / "labels" / image.name
        if mask.exists():
            scan = read_scan(image)
            survey.add(scan, read_mask(mask, scan.grid))
    shape = (120, 120, 90)
    plan = make_plan(survey.fingerprint([(shape, (1.0, 1.0, 1.0))]), [1], config, device)
    rng = np.random.default_rng(0)
    labels = np.zeros(shape, np.uint8)
    labels[40:80, 40:80, 30:60] = 1
    image = (rng.normal(0, 0.3, shape) + labels).astype(np.float32)
    seeds = (np.argwhere(labels == 1)[::50].astype(np.int32),)

    def fetch(case: CaseFiles) -> Prepared:
        return Prepared(case.name, image, labels if case.mask else None, seeds if case.mask else ())

    state = new_state(plan, config, device)
    state.stage2_from = 0
    sampler = Sampler(plan, config, state.rng, fetch, device)
    cases = [CaseFiles(f"case_{i}", Path("scan"), Path("mask") if i < 4 else None) for i in range(12)]
    sampler.set_cases(cases[:4], cases[4:])
    return Learner(plan, config, state, sampler, device)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=PRESETS, default="paper-la")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--device", default="auto")
    asked = parser.parse_args()
    import tempfile

    device = pick_device(asked.device)
    with tempfile.TemporaryDirectory() as name:
        folder = write_cohort(Path(name), 2, 1, 0, "tiny")
        ours = learner(asked.preset, folder, device, mixing=1.0, mixing_late=1.0)
        plain = learner(
            asked.preset, folder, device, mixing=1.0, mixing_late=1.0, channels_last=False, precision="float32"
        )
    times: dict[str, list[float]] = {"ours": [], "plain": []}
    for turn in range(asked.steps + 1):
        for kind, one in (("ours", ours), ("plain", plain)):
            begun = time.perf_counter()
            one.step(2, 1.0)
            if device.type == "cuda":
                torch.cuda.synchronize()
            if turn:  # the first is a warm-up
                times[kind].append(round(time.perf_counter() - begun, 3))
    medians = {kind: statistics.median(values) for kind, values in times.items()}
    result = {
        "preset": asked.preset,
        "device": str(device),
        "threads": torch.get_num_threads(),
        "block": list(ours.plan.block),
        "batch": ours.plan.batch,
        "seconds": times,
        "median": medians,
        "ratio": round(medians["plain"] / medians["ours"], 3),
        "commit": commit(),
        "machine": machine(),
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
