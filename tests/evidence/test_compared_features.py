"""Features of labelled and unlabelled scans to a trained network."""

import csv
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from napari_bcp import api
from napari_bcp.engine.cache import Cache
from napari_bcp.engine.model import Model
from napari_bcp.engine.sources import PoolSource
from napari_bcp.errors import CheckpointError, PoolError
from napari_bcp.evidence import features
from napari_bcp.evidence.features import NetworkFeatures, _sample, _write, compare_features
from napari_bcp.scans import ClassSpec

from tiny import QUICK  # isort: skip


SEES_SOON = {"lr": 1e-2, "width": 8, "patch": (24, 24, 24), "loss": "ce-dice-balanced", "stage1_share": 1.0}


@pytest.fixture
def trained(pool):
    list(api.train(pool, steps=40, settings={**QUICK, **SEES_SOON}, device="cpu"))
    return pool


def rows(pool, name):
    with (pool.root / "features" / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_last_run_is_compared_class_by_class_with_a_picture(trained):
    events = list(compare_features(trained, device="cpu"))
    assert events[-1].reason == "done"
    found = rows(trained, "0001")
    assert {row["unlabelled scans"] for row in found} == {str(len(PoolSource(trained).unlabelled()))}
    assert [row["class"] for row in found] == [one.name for one in trained.classes]
    seen = [row for row in found if row["distance"]]
    assert seen, "such a network sees at least the largest structure"
    for row in seen:
        assert float(row["distance"]) >= 0
        assert 0 <= float(row["overlap"]) <= 1
        assert 2 <= int(row["voxels"]) <= 2000
    assert (trained.root / "features" / "0001.png").read_bytes().startswith(b"\x89PNG")


def test_a_class_that_was_added_since_is_background_to_the_network(trained):
    case, *_ = trained.cases("accepted")
    mask = trained.mask(case.name)
    trained.change_classes([ClassSpec(9, "tumour", "#cc79a7")])
    mask[:3, :3, :3] = 9
    trained.accept(case.name, mask)
    assert list(compare_features(trained, device="cpu"))[-1].reason == "done"
    assert "tumour" not in {row["class"] for row in rows(trained, "0001")}


def test_several_runs_stand_side_by_side_and_the_same_draw_is_made_again(trained):
    list(api.train(trained, steps=5, settings=QUICK, device="cpu", fresh=True))
    list(compare_features(trained, ["0001", "0002"], device="cpu"))
    first = rows(trained, "0001-0002")
    assert {row["run"] for row in first} == {"0001", "0002"}
    list(compare_features(trained, ["0001", "0002"], device="cpu"))
    assert rows(trained, "0001-0002") == first


@pytest.mark.parametrize(
    "runs",
    [["../../outside"], [".."], [""], ["a/b", "c\\d\0"], [f"{number:016d}" for number in range(60)]],
)
def test_results_lie_in_their_folder_whatever_runs_are_called(tmp_path, runs):
    pool = SimpleNamespace(root=tmp_path / "pool")
    paths = _write(pool, [NetworkFeatures(run, 1, 0) for run in runs])
    assert all(path.is_file() for path in paths)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(paths)
    assert {path.resolve().parent for path in paths} == {tmp_path / "pool" / "features"}
    assert paths != _write(pool, [NetworkFeatures(run, 1, 0) for run in [*runs, "other"]])


def test_stopped_it_leaves_no_results_and_begins_anew(trained):
    seen = []
    for event in compare_features(trained, device="cpu", stop=lambda: len(seen) > 2):
        seen.append(event)
    assert seen[-1].reason == "stopped"
    assert not (trained.root / "features").exists()
    begun = next(iter(compare_features(trained, device="cpu")))
    assert (begun.kind, begun.done) == ("progress", 0)


def test_features_are_taken_where_the_network_says_the_class_and_the_mask_agrees(trained):
    """A network of one convolution: its features are the image, and bright voxels are class 1."""
    model = Model.load(trained.root / "runs" / "0001" / "last.pt", "cpu")
    case = Cache(trained.root / "cache", model.plan, model.plan.classes).get(PoolSource(trained).labelled()[0])

    class Bright(torch.nn.Module):
        def features(self, x):
            return x.repeat(1, 2, 1, 1, 1)

        def out(self, x):
            scores = torch.full((1, len(model.plan.classes) + 1, *x.shape[2:]), -1e3)
            scores[:, 0] = 0
            scores[:, 1] = 100 * (x[:, 0] - 0.5)
            return scores

    model = replace(model, network=Bright())
    found = _sample(model, case, np.random.default_rng(0))
    image = np.asarray(case.image, np.float32)
    wanted = image[(image > 0.5) & (np.asarray(case.labels) == 1)]
    assert len(wanted) > 10
    got = np.sort(found[model.plan.classes[0]][:, 0])
    np.testing.assert_allclose(got, np.sort(wanted), rtol=1e-6)
    assert all(len(found[value]) == 0 for value in model.plan.classes[1:])


def test_a_pool_without_a_run_or_without_both_kinds_of_scans_is_refused(pool):
    with pytest.raises(CheckpointError, match="no run"):
        list(compare_features(pool))
    for case in pool.cases("unlabelled"):
        pool.exclude(case.name)
    with pytest.raises(PoolError, match="has not both"):
        list(compare_features(pool))


def test_a_run_that_there_is_not_is_told_with_those_that_there_are(pool):
    with pytest.raises(CheckpointError, match=r"no run '0009' in the pool .*; none was trained in it\."):
        list(compare_features(pool, ["0009"]))
    for _ in range(3):
        run = pool.new_run("quick", {}, {})
        if run.id != "0002":
            (run.path / "last.pt").touch()
    with pytest.raises(CheckpointError, match=r"no run '0009' in the pool .*; its runs are 0001, 0003\."):
        list(compare_features(pool, ["0009"]))


def test_a_scan_that_is_gone_is_told_and_the_rest_is_compared(own_pool):
    list(api.train(own_pool, steps=5, settings=QUICK, device="cpu"))
    shutil.rmtree(own_pool.root / "cache")
    gone = PoolSource(own_pool).unlabelled()[0]
    gone.scan.unlink()
    events = list(compare_features(own_pool, device="cpu"))
    assert [event.case for event in events if event.kind == "unusable"] == [gone.name]
    assert events[-1].reason == "done"


def test_sides_are_compared_with_each_other_and_halves_of_the_labelled_scans_by_chance():
    """Labelled scans lie at 0 and 3, unlabelled ones at 8, each with values one above and one below."""

    def scan(middle):
        return {1: np.full((200, 4), middle) + np.tile([[-1.0], [1.0]], (100, 1))}

    pool = SimpleNamespace(classes=[ClassSpec(1, "liver", "#e69f00"), ClassSpec(2, "spleen", "#56b4e9")])
    model = SimpleNamespace(run="0001", step=7, unlabelled=2, plan=SimpleNamespace(classes=(1,)))
    found = features._compare(pool, model, [scan(0.0), scan(3.0)], [scan(8.0), scan(8.0)], 0)
    [liver] = found.classes
    assert liver.floor.distance == pytest.approx(3.0, rel=0.05)
    assert liver.shift.distance == pytest.approx(6.5 / np.sqrt((3.25 + 1) / 2), rel=0.05)
    assert liver.shift.overlap < 0.1
