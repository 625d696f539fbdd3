"""The verbs, from a folder of scans to masks, as Python users call them."""

import errno
import shutil
from inspect import isfunction

import numpy as np
import pytest
import torch

import napari_bcp
from napari_bcp import api
from napari_bcp.engine import checkpoint
from napari_bcp.errors import (
    CheckpointError,
    DeviceError,
    PoolError,
    SettingError,
    StateError,
    TrainingError,
    UnknownCaseError,
)
from napari_bcp.scans import read_grid, read_mask, read_scan
from napari_bcp.scans.maps import MapFile
from napari_bcp.scans.phantom import write_cohort

SMALL = {"width": 4, "patch": (24, 24, 16), "batch": 2, "threads": 1, "precision": "float32"}


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """Return a folder with a tiny phantom cohort, for reading only."""
    return write_cohort(tmp_path_factory.mktemp("phantom"), cases=6, labelled=3, seed=5, size="tiny")


@pytest.fixture
def cohort(drawn, tmp_path):
    """Return a copy of the cohort that the test may change."""
    return shutil.copytree(drawn, tmp_path / "cohort")


@pytest.fixture
def pool(cohort):
    """Return an open pool of the cohort."""
    with api.new_pool(cohort / "pool", cohort / "images", cohort / "labels", cohort / "classes.json") as made:
        yield made


def train(pool, steps=3, **more):
    settings = {**SMALL, **more.pop("settings", {})}
    return list(api.train(pool, steps=steps, settings=settings, device="cpu", **more))


def last(events, kind):
    return next(e for e in reversed(list(events)) if e.kind == kind)


def test_the_whole_way_leaves_masks_and_maps_on_the_scans_grid(pool, cohort, tmp_path):
    train(pool)
    events = list(api.predict(pool, device="cpu"))
    assert last(events, "finished").reason == "done"
    assert pool.counts()["predicted"] == 3
    for case in pool.cases("predicted"):
        grid = read_grid(case.path)
        written = read_grid(case.map.pseudo_path)
        assert written.file_shape == grid.file_shape
        np.testing.assert_array_equal(written.header.get_best_affine(), grid.header.get_best_affine())
        assert MapFile(case.map.map_path).shape == grid.shape
    counts = api.export(pool, tmp_path / "out")
    assert sum(counts.values()) >= 6
    found = list(api.segment(pool.root, [cohort / "images"], tmp_path / "masks", probabilities=True, device="cpu"))
    assert len([e for e in found if e.kind == "map"]) == 6
    for image in (cohort / "images").iterdir():
        mask = read_mask(tmp_path / "masks" / image.name, read_scan(image).grid)
        assert set(np.unique(mask.voxels)) <= {0, 1, 2, 3}
    assert len(list((tmp_path / "masks").glob("*_prob_*.nii.gz"))) == 18
    report = api.evaluate(tmp_path / "masks", cohort / "truth")
    assert {row.case for row in report.rows} == {p.name.removesuffix(".nii.gz") for p in (cohort / "truth").iterdir()}


def test_the_state_of_a_pool_tells_where_each_scan_lies(pool, cohort):
    assert {one["name"]: one["path"] for one in api.status(pool)["cases"]} == {
        path.name.removesuffix(".nii.gz"): str(path) for path in (cohort / "images").iterdir()
    }


def test_a_second_prediction_has_nothing_to_do(pool):
    train(pool)
    list(api.predict(pool, device="cpu"))
    assert [e.kind for e in api.predict(pool, device="cpu") if e.kind == "map"] == []
    name = pool.cases("predicted")[0].name
    assert [e.case for e in api.predict(pool, [name], device="cpu") if e.kind == "map"] == [name]


def test_a_prediction_of_no_case_makes_none_and_one_case_may_be_named_by_itself(pool):
    train(pool)
    events = list(api.predict(pool, [], device="cpu"))
    assert [event.kind for event in events if event.kind != "progress"] == ["finished"]
    name = pool.cases("unlabelled")[0].name
    assert [event.case for event in api.predict(pool, name, device="cpu") if event.kind == "map"] == [name]


def test_training_goes_on_where_it_ended(pool):
    train(pool)
    events = train(pool, 2)
    assert [e.step for e in events if e.kind == "step"] == [4, 5]
    assert [(r.id, r.step, r.status) for r in pool.runs()] == [("0001", 5, "finished")]


def test_a_fresh_run_another_preset_or_other_classes_begin_anew(pool):
    train(pool)
    assert last(train(pool, fresh=True), "planned").run == "0002"
    events = train(pool, preset="quality")
    assert last(events, "planned").run == "0003"
    assert any("a new run begins" in event.text for event in events if event.kind == "note")


def test_a_setting_of_the_plan_cannot_change_on_the_way(pool):
    train(pool)
    with pytest.raises(SettingError, match="--fresh"):
        train(pool, settings={"patch": (16, 16, 16)})
    assert last(train(pool, 1, settings={"optimiser": "sgd", "weight_decay": 0.0}), "step").step == 4


def test_a_run_that_was_stopped_before_its_first_step_hides_no_earlier_one(pool):
    train(pool)
    events = train(pool, 100, fresh=True, stop=lambda: True)
    assert last(events, "finished").reason == "stopped"
    assert len([e for e in api.predict(pool, device="cpu") if e.kind == "map"]) == 3


def test_a_mask_accepted_between_two_steps_joins_at_the_next(pool, cohort):
    events = api.train(pool, steps=4, settings=SMALL, device="cpu")
    newcomer = pool.cases("unlabelled")[0]
    notes = []
    for event in events:
        if event.kind == "step" and event.step == 2:
            pool.accept(newcomer.name, cohort / "truth" / newcomer.path.name)
        if event.kind == "note":
            notes.append(event.text)
    assert notes[0] == f"{newcomer.name} joined the training at step 2."


def test_a_caller_that_goes_away_leaves_a_stopped_run_with_its_work(pool):
    events = api.train(pool, steps=100, settings=SMALL, device="cpu")
    for event in events:
        if event.kind == "step" and event.step == 2:
            break
    events.close()
    run = pool.last_run()
    assert (run.status, run.step) == ("stopped", 2)
    assert run.checkpoint.exists()


def test_a_scan_that_is_away_is_left_out_and_stays_usable(pool):
    train(pool)
    away = pool.cases("unlabelled")[0]
    hidden = away.path.rename(away.path.with_name("hidden"))
    events = list(api.predict(pool, device="cpu"))
    assert [(e.case, e.lasting) for e in events if e.kind == "unusable"] == [(away.name, False)]
    assert pool.case(away.name).status == "unlabelled"
    hidden.rename(away.path)
    assert [e.case for e in api.predict(pool, device="cpu") if e.kind == "map"] == [away.name]


def test_a_broken_scan_becomes_unusable_with_its_reason(pool):
    broken = pool.cases("unlabelled")[0]
    broken.path.write_bytes(broken.path.read_bytes()[:400])
    events = train(pool, 5)
    assert [(e.case, e.lasting) for e in events if e.kind == "unusable"] == [(broken.name, True)]
    assert broken.path.name in pool.case(broken.name).reason
    with pytest.raises(StateError, match="unusable"):
        list(api.predict(pool, [broken.name], device="cpu"))


def test_a_broken_file_among_many_is_reported_and_the_rest_segmented(pool, cohort, tmp_path):
    train(pool)
    (cohort / "images" / "bad.nii.gz").write_bytes(b"nonsense")
    events = list(api.segment(pool.root, [cohort / "images"], tmp_path / "o", device="cpu"))
    assert [e.case for e in events if e.kind == "unusable"] == ["bad"]
    assert len([e for e in events if e.kind == "map"]) == 6


def test_a_mask_never_overwrites_its_scan(pool, cohort):
    train(pool)
    scan = next((cohort / "images").iterdir())
    before = scan.read_bytes()
    events = list(api.segment(pool.root, [scan], cohort / "images", device="cpu"))
    assert [e.kind for e in events if e.kind in ("unusable", "map")] == ["unusable"]
    assert scan.read_bytes() == before


def files_in(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_masks_that_are_there_stay_so_that_a_stopped_call_goes_on(pool, cohort, tmp_path):
    train(pool)
    out = tmp_path / "o"
    out.mkdir()
    first, *_ = sorted((cohort / "images").iterdir())
    (out / first.name).write_bytes(b"an hour of drawing")
    made = []

    def segment(stop_after, **more):
        made.clear()
        for event in api.segment(
            pool.root, [cohort / "images"], out, device="cpu", stop=lambda: len(made) == stop_after, **more
        ):
            if event.kind == "map":
                made.append(event.case)
            yield event

    events = list(segment(2))
    assert [event.text for event in events if event.kind == "note"] == [
        f"{out} holds 1 of 6 files already, and these stay as they are; add --replace to make them anew."
    ]
    assert last(events, "finished").reason == "stopped"
    before = files_in(out)
    assert len(before) == 3
    assert last(list(segment(-1)), "finished").reason == "done"
    assert len(made) == 3
    assert len(files_in(out)) == 6
    assert {name: files_in(out)[name] for name in before} == before
    list(segment(-1))
    assert made == []
    list(segment(-1, replace=True))
    assert len(made) == 6
    assert files_in(out)[first.name] != b"an hour of drawing"


def test_probabilities_are_made_for_masks_that_are_there(pool, cohort, tmp_path):
    train(pool)
    scan = next((cohort / "images").iterdir())
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / scan.name).write_bytes(b"mended by hand")
    list(api.segment(pool.root, [scan], tmp_path / "o", probabilities=True, device="cpu"))
    assert len(files_in(tmp_path / "o")) == 4
    assert files_in(tmp_path / "o")[scan.name] == b"mended by hand"


def test_two_scans_that_would_share_a_mask_are_refused_before_anything_is_written(pool, cohort, tmp_path):
    train(pool)
    first, second, *_ = sorted((cohort / "images").iterdir())
    twin = first.with_name(first.name.removesuffix(".gz"))
    twin.write_bytes(b"another scan")
    named_alike = tmp_path / "more" / first.name
    named_alike.parent.mkdir()
    shutil.copy(first, named_alike)
    for other in (twin, named_alike):
        events = api.segment(pool.root, [first, other, second], tmp_path / "o", device="cpu", replace=True)
        refused = [next(events), next(events)]
        assert [(event.kind, event.case) for event in refused] == [("unusable", first.name.removesuffix(".nii.gz"))] * 2
        assert str(first) in refused[0].reason
        assert str(other) in refused[0].reason
        assert files_in(tmp_path / "o") == {}
        assert [event.case for event in events if event.kind == "map"] == [second.name.removesuffix(".nii.gz")]
        shutil.rmtree(tmp_path / "o")


def test_nothing_is_written_over_or_beside_a_scan_even_if_files_may_be_replaced(pool, cohort, tmp_path):
    train(pool)
    first, second, *_ = sorted((cohort / "images").iterdir())
    plain = first.with_name("other.nii")
    plain.write_bytes(b"unpacked")
    before = files_in(cohort / "images")
    events = list(api.segment(pool.root, [plain, second], cohort / "images", device="cpu", replace=True))
    assert [event.kind for event in events if event.kind in ("unusable", "map")] == ["unusable", "unusable"]
    assert files_in(cohort / "images") == before
    (tmp_path / "today").mkdir()
    shutil.copyfile(second, tmp_path / "today" / first.name)  # another scan with the name of one in the pool
    events = list(api.segment(pool.root, [tmp_path / "today" / first.name], first.parent, device="cpu", replace=True))
    assert [event.kind for event in events if event.kind in ("unusable", "map")] == ["unusable"]
    assert files_in(cohort / "images") == before
    (tmp_path / "links").mkdir()
    linked = tmp_path / "links" / "other.nii.gz"
    linked.symlink_to(second)
    (tmp_path / "o").symlink_to(cohort / "images")
    (cohort / "images" / "other.nii.gz").symlink_to(second)
    events = list(api.segment(pool.root, [linked], tmp_path / "o", device="cpu", replace=True))
    assert [event.kind for event in events if event.kind in ("unusable", "map")] == ["unusable"]
    assert (cohort / "images" / "other.nii.gz").is_symlink()


def test_an_output_that_cannot_be_written_is_said_before_the_work_and_a_full_disk_during_it(
    pool, cohort, tmp_path, monkeypatch
):
    train(pool)
    scan = next((cohort / "images").iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(PoolError, match=r"file.o cannot be written \(.+\); .*choose another folder with -o"):
        next(api.segment(pool.root, [scan], tmp_path / "file" / "o", device="cpu"))

    def full(*values):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("napari_bcp.scans.write_mask", full)
    with pytest.raises(PoolError, match=r"o cannot be written \(No space left on device\); free some space"):
        list(api.segment(pool.root, [scan], tmp_path / "o", device="cpu"))
    monkeypatch.setattr("napari_bcp.scans.maps.MapWriter.save", full)
    with pytest.raises(PoolError, match=r"maps.* cannot be written \(No space left on device\); free some space"):
        list(api.predict(pool, device="cpu"))
    shutil.rmtree(pool.root / "maps")
    (pool.root / "maps").touch()
    with pytest.raises(PoolError, match=r"maps cannot be written"):
        next(api.predict(pool, device="cpu"))


def test_a_checkpoint_segments_without_its_pool(pool, cohort, tmp_path):
    train(pool)
    checkpoint = tmp_path / "model.pt"
    shutil.copy(pool.last_run().checkpoint, checkpoint)
    events = list(api.segment(checkpoint, [next((cohort / "images").iterdir())], tmp_path / "o", device="cpu"))
    assert last(events, "map").run == "0001"


def test_losses_that_stay_nan_end_the_run_and_keep_the_last_good_state(pool, monkeypatch):
    import torch

    from napari_bcp.engine import step as module

    train(pool)
    good = pool.last_run().checkpoint.read_bytes()
    monkeypatch.setattr(module, "get_loss", lambda name: lambda z, t, r: z.sum() * torch.nan)
    with pytest.raises(TrainingError, match="smaller rates"):
        train(pool)
    assert pool.last_run().checkpoint.read_bytes() == good
    assert pool.last_run().status == "failed"


def test_memory_that_runs_out_is_said_in_a_sentence(pool, monkeypatch):
    import torch

    from napari_bcp.engine import step as module

    def full(name):
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(module, "get_loss", full)
    with pytest.raises(DeviceError, match="ran out of memory"):
        train(pool)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [({"steps": 1, "minutes": 1}, "not both"), ({"steps": 0}, "greater than zero"), ({"preset": "quik"}, "quick")],
)
def test_budgets_and_presets_that_cannot_be_are_refused(pool, arguments, says):
    with pytest.raises(SettingError, match=says):
        list(api.train(pool, **arguments))


def test_without_training_there_is_nothing_to_predict_with(pool, tmp_path):
    with pytest.raises(CheckpointError, match="train first"):
        list(api.predict(pool))
    with pytest.raises(CheckpointError, match="train first"):
        list(api.segment(pool.root, [pool.cases()[0].path], tmp_path / "o"))


def test_without_masks_training_says_what_to_do(cohort):
    with (
        api.new_pool(cohort / "pool", cohort / "images", classes=cohort / "classes.json") as pool,
        pytest.raises(TrainingError, match="napari-bcp accept"),
    ):
        list(api.train(pool, steps=1))


def test_the_package_offers_every_verb():
    verbs = {name for name, one in vars(api).items() if isfunction(one) and one.__module__ == api.__name__}
    assert {name for name in verbs if not name.startswith("_")} == {*napari_bcp.__all__} - {
        *("BcpError", "Pool", "__version__")
    }
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        napari_bcp.nonsense  # noqa: B018 - it raises


def test_a_mask_from_a_file_puts_an_unfinished_draft_aside_and_says_so(pool, cohort):
    case = pool.cases("unlabelled")[0]
    pool.begin_draft(case.name)
    journal = pool.draft_file(case.name)
    journal.parent.mkdir(exist_ok=True)
    journal.write_bytes(b"an hour of work")
    said = []
    api.accept(pool, case.name, cohort / "truth" / case.path.name, note=said.append)
    aside = journal.with_name(journal.name + ".before")
    assert aside.read_bytes() == b"an hour of work"
    assert said == [f"An unfinished draft of case '{case.name}' was put aside as {aside}."]


def test_an_empty_mask_is_accepted_with_a_word(pool, tmp_path):
    from napari_bcp.scans import write_mask

    case = pool.cases("unlabelled")[0]
    grid = read_grid(case.path)
    write_mask(tmp_path / "empty.nii.gz", np.zeros(grid.shape, np.uint8), grid)
    said = []
    assert api.accept(pool, case.name, tmp_path / "empty.nii.gz", note=said.append) == 1
    assert len(said) == 1
    assert "empty" in said[0]


def test_cases_are_excluded_included_reset_and_joined_by_more(pool, cohort, tmp_path):
    """As in the window."""
    names = [case.name for case in pool.cases()]
    api.exclude(pool, names[:2])
    assert pool.counts()["excluded"] == 2
    api.include(pool, names[:1])
    api.reset(pool, names[:1])
    assert (pool.case(names[0]).status, pool.case(names[1]).status) == ("unlabelled", "excluded")
    with pytest.raises(UnknownCaseError):
        api.exclude(pool, [names[3], "nobody"])
    assert pool.case(names[3]).status != "excluded", "of names that are wrong nothing is done"
    (tmp_path / "more").mkdir()
    shutil.copy(cohort / "images" / pool.case(names[0]).path.name, tmp_path / "more" / "late.nii.gz")
    said = []
    assert api.add(pool, tmp_path / "more", note=said.append) == ["late"]
    assert api.add(pool, tmp_path / "more", note=said.append) == []


def test_torch_has_its_threads_back_after_a_prediction(pool, cohort, tmp_path):
    """The model sets its own while it works, in the process of a Python user."""
    train(pool)
    former = torch.get_num_threads()
    try:
        torch.set_num_threads(former + 1)
        list(api.predict(pool, device="cpu"))
        assert torch.get_num_threads() == former + 1
        segmenting = api.segment(pool.root, [cohort / "images"], tmp_path / "out", device="cpu")
        next(event for event in segmenting if event.kind == "map")
        segmenting.close()
        assert torch.get_num_threads() == former + 1
    finally:
        torch.set_num_threads(former)


def test_the_best_network_on_held_out_cases_is_the_one_that_is_used(pool, cohort, monkeypatch):
    """The newest is, where the file of the best one is torn."""
    scores = iter([0.9, 0.1])
    monkeypatch.setattr("napari_bcp.engine.train.dice_per_class", lambda *_: dict.fromkeys((1, 2, 3), next(scores)))
    train(pool, steps=4, settings={"hold_out": 1, "validate_every": 0.3, "stage1_steps": 0})
    run = pool.last_run()
    best = checkpoint.load(run.path / "best.pt")["step"]
    assert best < run.step == 4
    name = pool.cases("unlabelled")[0].name
    assert last(api.predict(pool, [name], device="cpu"), "map").step == best
    (run.path / "best.pt").write_bytes(b"torn")
    assert last(api.predict(pool, [name], device="cpu"), "map").step == 4
