"""The verbs for the cases and classes of a pool, without a training."""

import json
import shutil

import numpy as np
import pytest

from napari_bcp import api
from napari_bcp.errors import (
    MaskError,
    PoolError,
    ScanError,
    SettingError,
    StateError,
    UnknownCaseError,
)
from napari_bcp.review.report import make_report
from napari_bcp.scans import read_grid, write_mask
from napari_bcp.scans.phantom import write_cohort

from mapped import put_map  # isort: skip

FIRST, SECOND, THIRD, FOURTH, FIFTH = (f"phantom_00{number}" for number in range(5))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A folder with five tiny scans, of which the first two have masks, for reading only."""
    return write_cohort(tmp_path_factory.mktemp("phantom"), cases=5, labelled=2, seed=5, size="tiny")


@pytest.fixture
def cohort(drawn, tmp_path):
    """A copy of the folder that the test may change."""
    return shutil.copytree(drawn, tmp_path / "cohort")


@pytest.fixture
def pool(cohort):
    with api.new_pool(cohort / "pool", cohort / "images", cohort / "labels", cohort / "classes.json") as made:
        yield made


def statuses(pool):
    return {case.name: case.status for case in pool.cases()}


def break_scan(pool, name):
    """Put nonsense into a scan's file; its case is unusable."""
    pool.case(name).path.write_bytes(b"nonsense")
    pool.mark_unusable(name, "it is nonsense")


# -- classes ----------------------------------------------------------------------------------------------------


def test_a_class_is_renamed_and_another_added_with_its_colour(pool):
    said = []
    before = pool.classes
    found = api.name_classes(pool, {1: "hepar", 4: "tumour"}, {4: "#cc79a7"}, note=said.append)
    assert found == pool.classes
    assert [(one.value, one.name) for one in found] == [
        (1, "hepar"),
        (2, before[1].name),
        (3, before[2].name),
        (4, "tumour"),
    ]
    assert (found[0].colour, found[3].colour) == (before[0].colour, "#cc79a7")
    assert len(said) == 1
    assert "have no tumour: reopen the cases that show it" in said[0]
    assert pool.history()[-1].what == "classes changed"
    assert pool.history()[-1].details == {"classes": {"1": "hepar", "4": "tumour"}}


def test_a_new_name_or_colour_alone_says_nothing_about_masks(pool):
    said = []
    before = pool.classes[1]
    api.name_classes(pool, {1: "hepar"}, note=said.append)
    api.name_classes(pool, {}, {2: "#000000"}, note=said.append)
    assert said == []
    assert (pool.classes[1].name, pool.classes[1].colour) == (before.name, "#000000")


def test_a_mask_with_a_class_is_taken_once_the_pool_has_it(pool, tmp_path):
    grid = read_grid(pool.case(THIRD).path)
    voxels = np.zeros(grid.shape, np.uint8)
    voxels[2:5, 2:5, 2:5] = 4
    write_mask(tmp_path / "tumour.nii.gz", voxels, grid)
    with pytest.raises(MaskError, match=r"class 4.*napari-bcp classes"):
        api.accept(pool, THIRD, tmp_path / "tumour.nii.gz")
    api.name_classes(pool, {4: "tumour"})
    api.accept(pool, THIRD, tmp_path / "tumour.nii.gz")
    np.testing.assert_array_equal(pool.mask(THIRD), voxels)


@pytest.mark.parametrize(
    ("names", "colours"),
    [
        ({4: "Stomach"}, {}),
        ({4: "Background"}, {}),
        ({0: "air"}, {}),
        ({256: "x"}, {}),
        ({4: " "}, {}),
        ({4: "x"}, {4: "red"}),
        ({}, {4: "#000000"}),
    ],
)
def test_what_is_no_class_changes_none(pool, names, colours):
    before = pool.classes
    with pytest.raises(SettingError):
        api.name_classes(pool, {1: "hepar", **names}, colours)
    assert pool.classes == before


def test_classes_are_not_changed_by_a_reader(pool):
    with api.open_pool(pool.root) as reader, pytest.raises(PoolError, match="reading only"):
        api.name_classes(reader, {1: "hepar"})


# -- several cases at once --------------------------------------------------------------------------------------


def test_a_single_case_may_be_named_without_a_list(pool):
    api.exclude(pool, FIRST)
    assert [case.name for case in pool.cases("excluded")] == [FIRST]
    api.include(pool, FIRST)
    api.reset(pool, FIRST)
    assert statuses(pool)[FIRST] == "unlabelled"


@pytest.mark.parametrize(
    ("verb", "good", "bad", "error"),
    [
        (api.exclude, THIRD, FIFTH, StateError),
        (api.reset, FIRST, FOURTH, StateError),
        (api.reopen, FIRST, THIRD, StateError),
        (api.reject, SECOND, THIRD, StateError),
        (api.include, FOURTH, FIFTH, ScanError),
        (api.reset, FIRST, FIFTH, ScanError),
        (api.include, FOURTH, "nobody", UnknownCaseError),
    ],
)
def test_a_case_that_is_refused_leaves_the_others_as_they_were(pool, verb, good, bad, error):
    pool.reopen(SECOND)
    pool.exclude(FOURTH)
    break_scan(pool, FIFTH)
    before = statuses(pool)
    with pytest.raises(error):
        verb(pool, [good, bad])
    assert statuses(pool) == before
    verb(pool, [good])
    assert statuses(pool) != before


def test_including_what_takes_part_already_is_no_error_and_no_change(pool):
    pool.exclude(THIRD)
    lines = len(pool.history())
    api.include(pool, [FIRST, THIRD])
    assert statuses(pool)[FIRST] == "accepted"
    assert statuses(pool)[THIRD] == "unlabelled"
    assert len(pool.history()) == lines + 1


# -- what to look at, and verdicts ------------------------------------------------------------------------------


def test_the_case_with_a_map_that_is_unsure_is_proposed_before_those_without(pool):
    put_map(pool, FOURTH, {1: 0.6, 2: 0.9, 3: 0.9})
    found = api.propose(pool)
    assert {one.name for one in found} == {THIRD, FOURTH, FIFTH}
    assert found[0].name == FOURTH
    assert "unsure about the liver" in found[0].reason
    assert [one.kind for one in found[1:]] == ["unseen", "unseen"]
    assert api.propose(pool) == found, "asking changes nothing"
    assert api.propose(pool, 2) == found[:2]
    assert api.propose(pool.root) == found


def test_a_rejected_map_is_proposed_last_until_there_is_a_newer_one(pool):
    for name in (THIRD, FOURTH, FIFTH):
        put_map(pool, name, {1: 0.6, 2: 0.9, 3: 0.9})
    first = api.propose(pool)[0].name
    api.reject(pool, first)
    assert api.propose(pool)[-1].name == first
    assert "rejected" in api.propose(pool)[-1].reason
    put_map(pool, first, {1: 0.6, 2: 0.9, 3: 0.9}, step=2)
    assert not any("rejected" in one.reason for one in api.propose(pool))


def test_a_rejected_draft_is_put_aside_with_a_word(pool):
    pool.begin_draft(THIRD)
    journal = pool.draft_file(THIRD)
    journal.parent.mkdir(exist_ok=True)
    journal.write_bytes(b"an hour of work")
    said = []
    api.reject(pool, THIRD, note=said.append)
    assert statuses(pool)[THIRD] == "unlabelled"
    assert said == [f"An unfinished draft of case '{THIRD}' was put aside as {journal}.before."]


def test_a_reopened_case_keeps_its_mask_in_force(pool):
    api.reopen(pool, [FIRST])
    assert statuses(pool)[FIRST] == "draft"
    assert pool.case(FIRST).has_mask


def test_a_pseudo_label_is_accepted_as_it_is_and_counts_as_one_without_a_mistake(pool):
    grid = read_grid(pool.case(THIRD).path)
    voxels = np.zeros(grid.shape, np.uint8)
    voxels[1, 2, 3] = 2
    put_map(pool, THIRD, {1: None, 2: 0.8}, voxels)
    assert api.accept(pool, THIRD, pseudo_label=True) == 1
    np.testing.assert_array_equal(pool.mask(THIRD), voxels)
    assert pool.case(THIRD).mask_by == "person"
    [*_, told] = make_report(pool.history()).acceptances
    assert (told.case, told.dice, told.changed_voxels, told.run, told.step) == (THIRD, {2: 1.0}, 0, "0001", 1)


def test_accepting_needs_a_mask_or_the_pseudo_label(pool, cohort):
    for asked in ({}, {"mask": cohort / "truth" / f"{THIRD}.nii.gz", "pseudo_label": True}):
        with pytest.raises(SettingError, match="one of them"):
            api.accept(pool, THIRD, **asked)
    with pytest.raises(StateError, match=f"'{THIRD}' has no pseudo-label"):
        api.accept(pool, THIRD, pseudo_label=True)
    assert statuses(pool)[THIRD] == "unlabelled"


def test_the_rule_accepts_what_is_above_in_every_class_and_leaves_out_what_cannot_be(pool):
    put_map(pool, THIRD, {1: 0.97, 2: 0.95})
    put_map(pool, FOURTH, {1: 0.99, 2: None})
    put_map(pool, FIFTH, {1: 0.99, 2: 0.94})
    asked, said = [], []
    assert api.accept_above(pool, 0.95, lambda *what: asked.append(what), note=said.append) == [THIRD]
    assert said == []
    assert asked == [(0, 1, THIRD), (1, 1, "")]
    assert pool.case(THIRD).mask_by == "rule"
    assert (statuses(pool)[FOURTH], statuses(pool)[FIFTH]) == ("predicted", "predicted")
    told = next(event for event in reversed(pool.history()) if event.what == "accept by rule")
    assert (told.details["quality_from"], told.details["run"], told.details["step"]) == (0.95, "0001", 1)
    put_map(pool, FOURTH, {1: 0.99, 2: 0.99}, step=2)
    pool.case(FOURTH).map.pseudo_path.write_bytes(b"torn")
    assert api.accept_above(pool, 0.9, note=said.append) == [FIFTH]
    assert len(said) == 1
    assert statuses(pool)[FOURTH] == "predicted"


@pytest.mark.parametrize("quality", [-0.1, 1.1, 95, float("nan")])
def test_an_expected_quality_is_a_share(pool, quality):
    with pytest.raises(SettingError, match="from 0 to 1"):
        api.accept_above(pool, quality)


# -- the state --------------------------------------------------------------------------------------------------


def test_the_state_tells_where_the_files_of_a_case_are_and_what_they_are_like(pool):
    put_map(pool, THIRD, {1: 0.9, 2: None})
    found = api.status(pool)
    assert json.loads(json.dumps(found)) == found
    cases = {one["name"]: one for one in found["cases"]}
    made, case = pool.case(THIRD).map, cases[THIRD]
    assert (case["map_path"], case["pseudo_path"]) == (str(made.map_path), str(made.pseudo_path))
    assert (case["run"], case["step"], case["entropy"]) == ("0001", 1, 0.25)
    assert case["quality"] == {"1": 0.9, "2": None}
    assert (case["mask_version"], case["mask_path"]) == (None, None)
    assert tuple(case["shape"]) == read_grid(pool.case(THIRD).path).shape
    assert case["spacing"] == list(pool.case(THIRD).spacing)
    first = cases[FIRST]
    assert (first["mask_version"], first["mask_path"]) == (1, str(pool.mask_path(FIRST)))
    assert [first[key] for key in ("map_path", "pseudo_path", "run", "step", "entropy", "quality")] == [None] * 6


# -- evaluation -------------------------------------------------------------------------------------------------


def test_classes_are_named_in_an_evaluation_and_those_without_a_name_are_measured_all_the_same(cohort, tmp_path):
    (tmp_path / "names.json").write_text('{"1": "hepar", "9": "nothing"}')
    report = api.evaluate(cohort / "truth", cohort / "truth", classes=tmp_path / "names.json")
    assert report.classes == {1: "hepar", 2: "class 2", 3: "class 3"}
    assert report.summary_rows()[0]["class"] == "hepar"
    with pytest.raises(SettingError):
        api.evaluate(cohort / "truth", cohort / "truth", classes=tmp_path / "away.json")
