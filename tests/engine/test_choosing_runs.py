"""Which run a training of a pool goes on with, and what it is refused for."""

import pytest

import napari_bcp
from napari_bcp.config import make_config
from napari_bcp.errors import SettingError, TrainingError
from napari_bcp.pool.runs import choose_run
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
