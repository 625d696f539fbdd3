"""The figures of an ablation's table, of masks whose measures are known by hand."""

import statistics
from types import SimpleNamespace

import numpy as np
import pytest

from napari_bcp.evidence import ablation
from napari_bcp.evidence.ablation import ablate, table
from napari_bcp.scans import read_grid, stem, write_mask

HERE, AWAY = (slice(2, 6),) * 3, (slice(4, 8), slice(2, 6), slice(2, 6))  # 64 voxels each, of which they share 32
SMALL = (slice(2, 4), slice(8, 10), slice(2, 4))


@pytest.fixture
def judged(pool, tmp_path, monkeypatch):
    """Return the voxel size of two cases that are judged by masks of two boxes, and the rows of a sweep of two seeds.

    The first seed finds all of the first case, and says that half of it is the third class, which is not there; in
    the second case the first class is half beside its place, and the second is missed. The second seed errs in nothing.
    """
    names = [case.name for case in pool.cases("unlabelled")][:2]
    grids = {name: read_grid(pool.case(name).path) for name in names}
    truth, made = {}, {}
    for name, grid in grids.items():
        truth[name] = np.zeros(grid.shape, np.uint8)
        truth[name][HERE], truth[name][SMALL] = 1, 2
        write_mask(tmp_path / "truth" / f"{name}.nii.gz", truth[name], grid)
    first, second = (truth[name].copy() for name in names)
    first[first.shape[0] // 2 :] = 3
    assert (first == 3).mean() == 0.5
    assert not (truth[names[0]][first == 3]).any()
    second[:] = 0
    second[AWAY] = 1
    made = {1337: dict(zip(names, (first, second), strict=True)), 1338: truth}

    def train_one(one, *_):
        one.folder.mkdir(parents=True)
        (one.folder / "last.pt").write_text(str(one.config.seed))
        yield from ()
        return True

    def load(path, _):
        labels = made[int(path.read_text())]
        return SimpleNamespace(segment=lambda scan, _: SimpleNamespace(labels=labels[stem(scan.path)]))

    def load_newest(folder):
        first = (folder / "last.pt").read_text() == "1337"
        return {"step": 3 if first else 5, "elapsed": 10.0 if first else 30.0}

    monkeypatch.setattr(ablation, "_train_one", train_one)
    monkeypatch.setattr(ablation, "Model", SimpleNamespace(load=load))
    monkeypatch.setattr(ablation.checkpoint, "load_newest", load_newest)
    list(ablate(pool, tmp_path / "truth", "beta", only=["2/3"], steps=3, seeds=2, device="cpu"))
    grid = grids[names[0]]
    return SimpleNamespace(voxels=int(np.prod(grid.shape)), x=grid.spacing[0], rows=table(pool, "beta"))


def over_seeds(one, other, digits):
    return f"{(one + other) / 2:.{digits}f} ± {statistics.stdev([one, other]):.{digits}f}"


def test_the_table_has_the_means_of_cases_of_classes_and_of_seeds(judged):
    [row] = judged.rows
    # Means of both cases, class by class, of the first seed; what is undefined (nothing there to find) is in none.
    dice = [(1 + 0.5) / 2, (1 + 0) / 2, 0.0]
    sensitivity = [(1 + 0.5) / 2, (1 + 0) / 2]
    beside = judged.voxels - 64
    specificity = [(1 + (beside - 32) / beside) / 2, 1.0, (0.5 + 1) / 2]
    distance = [(0 + 2 * judged.x) / 2, 0.0]
    assert row["Dice"] == over_seeds(sum(dice) / 3, 1.0, 4)
    assert row["sensitivity"] == over_seeds(sum(sensitivity) / 2, 1.0, 4)
    assert row["specificity"] == over_seeds(sum(specificity) / 3, 1.0, 4)
    assert row["HD95 (mm)"] == over_seeds(sum(distance) / 2, 0.0, 1)
    assert [row[f"Dice of {name}"] for name in ("liver", "stomach", "aorta")] == ["0.8750", "0.7500", "0.0000"]


def test_a_structure_counts_as_missed_once_and_one_that_was_made_up_does_not(judged):
    assert judged.rows[0]["missed"] == "1"


def test_steps_and_time_are_those_of_one_training(judged):
    assert (judged.rows[0]["seeds"], judged.rows[0]["steps"], judged.rows[0]["seconds"]) == ("2", "4", "20")
    assert len(judged.rows[0]["folders"].split()) == 2
