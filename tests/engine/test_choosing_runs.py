"""Which run a training of a pool goes on with, and what it is refused for."""

import shutil

import nibabel as nib
import numpy as np
import pytest

import napari_bcp
from napari_bcp.config import make_config
from napari_bcp.errors import PoolError, SettingError, TrainingError
from napari_bcp.pool.runs import choose_run
from napari_bcp.scans import ClassSpec
from napari_bcp.scans.phantom import write_cohort

OTHERS = {
    "seed": 7,
    "dimensions": "2",
    "network": "vnet",
    "width": 8,
    "spacing": (1.0, 1.0, 1.0),
    "patch": (32, 32, 32),
    "batch": 3,
    "stage1_batch": 3,
    "normalise": "minmax",
    "fit": "resize",
    "precision": "bfloat16",
}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_cohort(tmp_path_factory.mktemp("phantom"), 3, 1, 0, "tiny")


@pytest.fixture
def pool(cohort, tmp_path):
    """An open pool of three scans, one with a mask, with a run that has a checkpoint."""
    made = napari_bcp.new_pool(tmp_path / "pool", cohort / "images", cohort / "labels", cohort / "classes.json")
    with made:
        plan = {"classes": [spec.value for spec in made.classes]}
        run = made.new_run("quick", make_config("quick", {"precision": "float32"}).model_dump(mode="json"), plan)
        (run.path / "last.pt").touch()
        yield made


@pytest.mark.parametrize("key", OTHERS)
def test_what_a_run_began_with_cannot_change_while_it_goes_on(pool, key):
    with pytest.raises(SettingError, match=f"'{key}' cannot change while run 0001 goes on; begin a new run"):
        choose_run(pool, None, {key: OTHERS[key]}, False)
    assert choose_run(pool, None, {key: OTHERS[key]}, True).config.model_dump()[key] == OTHERS[key]


def test_what_was_given_before_may_be_given_again_and_other_settings_may_change(pool):
    chosen = choose_run(pool, None, {"precision": "float32", "seed": 1337, "lr": 1e-4}, False)
    assert (chosen.resume, chosen.record.id, chosen.config.lr) == (True, "0001", 1e-4)


@pytest.fixture
def of_quality(pool):
    """The pool, with a newer run of the preset quality that has a checkpoint."""
    plan = {"classes": [spec.value for spec in pool.classes]}
    run = pool.new_run("quality", make_config("quality").model_dump(mode="json"), plan)
    (run.path / "last.pt").touch()
    return pool


def test_a_fresh_run_has_the_preset_of_the_last_one_unless_another_is_asked_for(of_quality):
    fresh = choose_run(of_quality, None, {}, True)
    assert (fresh.record.preset, fresh.config) == ("quality", make_config("quality"))
    other = choose_run(of_quality, "quick", {}, True)
    assert (other.record.preset, other.config) == ("quick", make_config("quick"))


def test_a_run_of_another_preset_begins_where_that_is_asked_for(of_quality):
    chosen = choose_run(of_quality, "quick", {}, False)
    assert (chosen.resume, chosen.record.preset) == (False, "quick")
    assert [note.text for note in chosen.notes] == ["Run 0002 used preset quality; a new run begins with quick."]
    assert choose_run(of_quality, "quality", {}, False).record.id == "0002"


def test_without_a_run_the_preset_is_quick(cohort, tmp_path):
    with napari_bcp.new_pool(tmp_path / "new", cohort / "images", cohort / "labels", cohort / "classes.json") as made:
        assert choose_run(made, None, {}, False).record.preset == "quick"


def test_another_class_begins_a_new_run_of_the_same_preset_and_another_name_none(of_quality):
    of_quality.change_classes([ClassSpec(1, "hepar", "#000000")])
    assert choose_run(of_quality, None, {}, False).resume
    of_quality.change_classes([ClassSpec(9, "tumour", "#000000")])
    chosen = choose_run(of_quality, None, {}, False)
    assert (chosen.resume, chosen.record.preset) == (False, "quality")
    assert [note.text for note in chosen.notes] == ["The classes have changed since run 0002; a new run begins."]


@pytest.mark.parametrize("plan", [{"classes": 5}, {"classes": [1, "a"]}, {"classes": None}, {}])
def test_a_run_whose_plan_says_nothing_of_use_cannot_go_on(pool, plan):
    """The table is a file that anybody may have written to."""
    pool.update_run("0001", plan=plan)
    chosen = choose_run(pool, None, {}, False)
    assert (chosen.resume, chosen.record.id) == (False, "0002")
    assert [note.text for note in chosen.notes] == ["The plan of run 0001 cannot be read; a new run begins."]


def test_a_scan_that_is_another_file_than_when_its_mask_was_made_is_told(cohort, tmp_path):
    scans = shutil.copytree(cohort / "images", tmp_path / "scans")
    with napari_bcp.new_pool(tmp_path / "own", scans, cohort / "labels", cohort / "classes.json") as made:
        [masked], [free, *_] = made.cases("accepted"), made.cases("unlabelled")
        for case in (masked, free):
            case.path.touch()
        assert choose_run(made, None, {}, True).notes == (), "another date is no other scan"
        for case in (masked, free):
            image = nib.load(case.path)
            nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[::-1].copy(), image.affine), case.path)
        [note] = choose_run(made, None, {}, True).notes
        assert f"The scan of case '{masked.name}' is another file" in note.text
        masked.path.unlink()
        assert choose_run(made, None, {}, True).notes == (), "training says that it is away"


def test_a_mask_that_was_taken_up_again_is_in_force_and_can_be_learnt_from(pool):
    [case] = pool.cases("accepted")
    pool.reopen(case.name)
    assert not pool.cases("accepted")
    assert choose_run(pool, None, {}, False).resume


def test_without_a_mask_in_force_there_is_nothing_to_train_on(pool):
    [case] = pool.cases("accepted")
    pool.reset(case.name)
    with pytest.raises(TrainingError, match="no accepted mask"):
        choose_run(pool, None, {}, False)


@pytest.mark.parametrize("place", ["cache", "maps", "runs/0001"])
def test_nothing_is_trained_through_a_link_that_leads_out_of_the_pool(pool, tmp_path, place):
    folder = pool.root / place
    if folder.exists():
        folder.rename(tmp_path / "outside")
    folder.symlink_to(tmp_path / "outside")
    with pytest.raises(PoolError, match=r"outside the pool.*replace the link by a folder"):
        choose_run(pool, None, {}, False)
