"""Masks, maps, runs, history and the scans' files of a pool that is open."""

import os
import threading

import numpy as np
import pytest
from pool_cohorts import SHAPE, put_map, some_mask, write_mask_file, write_scan

from napari_bcp.errors import (
    GridMismatchError,
    MaskError,
    PoolError,
    ScanError,
    SettingError,
    StateError,
    UnknownCaseError,
)
from napari_bcp.pool import Pool
from napari_bcp.pool.database import Database
from napari_bcp.pool.fingerprint import Fingerprint, fingerprint
from napari_bcp.pool.table import Table, grid_columns

# -- listing ------------------------------------------------------------------------------------------------------


def test_cases_are_listed_by_status_or_statuses(pool):
    pool.exclude("c")
    assert [case.name for case in pool.cases("unlabelled")] == ["b", "d"]
    assert [case.name for case in pool.cases(["excluded", "accepted"])] == ["a", "c"]
    assert pool.cases([]) == []


def test_an_unknown_status_is_refused_with_the_nearest_one(pool):
    with pytest.raises(SettingError, match="did you mean 'accepted'"):
        pool.cases("acepted")


def test_an_unknown_case_is_refused_with_the_nearest_name(cohort):
    write_scan(cohort / "images" / "patient_007.nii.gz")
    with Pool.create(cohort / "pool", cohort / "images") as pool:
        with pytest.raises(UnknownCaseError, match=r"no case 'patient_07'; did you mean 'patient_007'\?"):
            pool.case("patient_07")
        with pytest.raises(UnknownCaseError, match="did you mean 'patient_007'"):
            pool.exclude("Patient_007")


def test_ten_thousand_cases_are_listed_completely_and_in_order(tmp_path):
    table = Table(tmp_path, Database(tmp_path / "pool.sqlite", write=True, new=True))
    with table.transaction():
        for number in reversed(range(10_000)):
            name = f"case_{number:05d}"
            table.add_case(
                name,
                f"../images/{name}.nii.gz",
                grid_columns((4, 5, 6), (0.5, 0.5, 3.0)),
                Fingerprint(100, number, "0" * 32),
                "it is blurred." if number % 100 == 0 else "",
                (),
            )
    table.close()
    with Pool.open(tmp_path) as pool:
        cases = pool.cases()
        assert [case.name for case in cases] == [f"case_{number:05d}" for number in range(10_000)]
        assert cases[17].path == tmp_path.parent / "images" / "case_00017.nii.gz"
        assert cases[17].spacing == (0.5, 0.5, 3.0)
        assert pool.counts()["unusable"] == len(pool.cases("unusable")) == 100


# -- accepting ----------------------------------------------------------------------------------------------------


def test_every_accepted_version_is_kept_and_the_newest_is_in_force(pool):
    first = pool.mask_path("a").read_bytes()
    assert pool.accept("a", some_mask(2)) == 2
    assert pool.mask_path("a").name == "0002.nii.gz"
    assert (pool.root / "masks" / "a" / "0001.nii.gz").read_bytes() == first
    np.testing.assert_array_equal(pool.mask("a"), some_mask(2))
    assert (pool.case("a").mask_version, pool.case("a").mask_by) == (2, "person")


def test_a_mask_is_accepted_from_a_file_as_from_an_array(pool, tmp_path):
    file = write_mask_file(tmp_path / "drawn.nii.gz", some_mask(1, 2))
    pool.accept("b", file)
    pool.accept("c", some_mask(1, 2))
    np.testing.assert_array_equal(pool.mask("b"), pool.mask("c"))
    assert pool.history("b")[-1].details["source"] == str(file)


def test_a_boolean_or_a_wide_integer_array_is_a_mask(pool):
    pool.accept("b", some_mask(1).astype(bool))
    pool.accept("c", some_mask(1).astype(np.int64))
    assert pool.mask("b").dtype == np.uint8
    np.testing.assert_array_equal(pool.mask("b"), pool.mask("c"))


@pytest.mark.parametrize(
    ("mask", "error", "sentence"),
    [
        (some_mask(1, shape=(5, 6, 8)), GridMismatchError, r"shape \(5, 6, 8\) and its scan \(5, 6, 7\)"),
        (some_mask(1)[0], GridMismatchError, "shape"),
        (some_mask(1).astype(float), MaskError, "float64"),
        (some_mask(1).astype(np.int16) - 1, MaskError, "outside 0 to 255"),
        (some_mask(1).astype(np.int16) * 300, MaskError, "outside 0 to 255"),
        (some_mask(1, 3), MaskError, "class 3, but the classes are 1 class 1, 2 class 2"),
    ],
)
def test_an_array_that_is_no_mask_of_this_case_is_refused_and_changes_nothing(pool, mask, error, sentence):
    before, events = pool.cases(), pool.history()
    with pytest.raises(error, match=sentence):
        pool.accept("b", mask)
    assert pool.cases() == before
    assert pool.history() == events
    assert not (pool.root / "masks" / "b").exists()


def test_a_file_on_another_grid_or_with_other_classes_is_refused(pool, tmp_path):
    moved = np.diag([-0.8, 0.8, 2.5, 1.0])
    moved[:3, 3] = 10
    with pytest.raises(GridMismatchError, match=r"moved\.nii"):
        pool.accept("b", write_mask_file(tmp_path / "moved.nii", some_mask(1), moved))
    with pytest.raises(MaskError, match="class 5"):
        pool.accept("b", write_mask_file(tmp_path / "five.nii", some_mask(5)))
    assert pool.case("b").status == "unlabelled"


def test_facts_about_an_acceptance_stand_in_its_line_of_the_history(pool):
    pool.accept("b", some_mask(1, 2), details={"dice": {1: np.float32(0.5)}, "seconds": 61, "by": "x"})
    details = pool.history("b")[-1].details
    assert (details["dice"], details["seconds"], details["by"]) == ({"1": 0.5}, 61, "person")
    assert details["version"] == 1


def test_facts_that_cannot_be_recorded_are_refused_before_a_mask_is_written(pool):
    with pytest.raises(TypeError, match="cannot be written"):
        pool.accept("b", some_mask(1), details={"seconds": object()})
    assert pool.case("b").status == "unlabelled"
    assert not (pool.root / "masks" / "b").exists()


def test_the_rule_never_replaces_what_a_person_has_begun_or_accepted(pool):
    with pytest.raises(StateError, match="'a' is accepted"):
        pool.accept("a", some_mask(1), by="rule")
    pool.begin_draft("b")
    with pytest.raises(StateError, match="'b' is draft"):
        pool.accept("b", some_mask(1), by="rule")
    put_map(pool, "c")
    pool.accept("c", pool.map_of("c").pseudo_path, by="rule")
    assert pool.case("c").mask_by == "rule"
    with pytest.raises(SettingError, match="did you mean 'rule'"):
        pool.accept("d", some_mask(1), by="rules")


def test_a_reopened_case_keeps_its_mask_in_force_and_a_reset_one_does_not(pool):
    pool.reopen("a")
    assert pool.case("a").status == "draft"
    np.testing.assert_array_equal(pool.mask("a"), some_mask(1, 2))
    pool.reset("a")
    assert pool.mask_path("a") is None
    with pytest.raises(MaskError, match="no accepted mask"):
        pool.mask("a")
    assert (pool.root / "masks" / "a" / "0001.nii.gz").is_file()
    assert pool.accept("a", some_mask(1)) == 2


def test_a_rejected_proposal_is_on_record_and_the_case_is_as_if_nobody_had_touched_it(pool):
    put_map(pool, "b", step=7)
    pool.begin_draft("b")
    pool.reject("b")
    assert pool.case("b").status == "predicted"
    last = pool.history("b")[-1]
    assert (last.what, last.details) == ("rejected", {"run": "0001", "step": 7, "from": "draft", "to": "predicted"})
    pool.reject("b")
    assert pool.case("b").status == "predicted"
    pool.begin_draft("c")
    pool.reject("c")
    assert pool.case("c").status == "unlabelled"
    with pytest.raises(StateError, match="'c' is unlabelled and cannot be rejected"):
        pool.reject("c")


def test_a_rejected_mask_is_not_in_force_and_not_lost(pool):
    with pytest.raises(StateError, match="'a' is accepted and cannot be rejected: reopen or reset it first"):
        pool.reject("a")
    pool.reopen("a")
    pool.reject("a")
    assert (pool.case("a").status, pool.mask_path("a")) == ("unlabelled", None)
    assert (pool.root / "masks" / "a" / "0001.nii.gz").exists()


def test_a_draft_ends_with_its_case_being_accepted_rejected_or_reset_and_not_before(pool):
    for end in (pool.reject, pool.reset, lambda name: pool.accept(name, some_mask(1))):
        pool.begin_draft("b")
        file = pool.draft_file("b")
        assert file == pool.root / "drafts" / "b.journal"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"a draft")
        put_map(pool, "b")
        pool.exclude("b")
        pool.include("b")
        with pytest.raises(MaskError):
            pool.accept("b", some_mask(9))
        assert file.exists()
        end("b")
        assert not file.exists()


@pytest.mark.parametrize(
    "end", [lambda pool, **how: pool.accept("b", some_mask(1), **how), lambda pool, **how: pool.reject("b", **how)]
)
def test_only_a_draft_that_is_said_to_be_done_is_removed_with_its_end(pool, end):
    """A mask from elsewhere does not take away what somebody else has drawn."""
    file = pool.draft_file("b")
    file.parent.mkdir()
    aside = file.with_name("b.journal.before")
    for done in (False, True):
        pool.begin_draft("b")
        file.write_bytes(b"an hour of work")
        end(pool, draft_is_done=done)
        assert not file.exists()
        assert aside.exists() is not done
        assert [note for note in pool.notes if "unfinished draft" in note] == (
            [] if done else [f"An unfinished draft of case 'b' was put aside as {aside}."]
        )
        if not done:
            assert aside.read_bytes() == b"an hour of work"
            aside.unlink()
            pool.reset("b")


def test_what_the_rule_accepted_is_taken_back_with_its_map_kept(pool):
    put_map(pool, "b", step=7)
    found = pool.map_of("b")
    pool.accept("b", found.pseudo_path, by="rule")
    pool.accept("c", some_mask(1), by="rule")
    pool.take_back("b")
    pool.take_back("c")
    assert [(pool.case(name).status, pool.mask_path(name)) for name in "bc"] == [
        *(("predicted", None), ("unlabelled", None)),
    ]
    assert pool.map_of("b") == found
    assert found.map_path.exists()
    assert found.pseudo_path.exists()
    last = pool.history("b")[-1]
    assert (last.what, last.details) == ("taken back", {"from": "accepted", "to": "predicted"})
    assert (pool.root / "masks" / "b" / "0001.nii.gz").is_file()
    with pytest.raises(StateError, match="'b' is predicted and cannot be taken back"):
        pool.take_back("b")


def test_what_a_person_accepted_is_not_taken_back(pool):
    before = pool.case("a")
    with pytest.raises(StateError, match="'a' was accepted by a person"):
        pool.take_back("a")
    assert pool.case("a") == before


def test_threads_that_accept_the_same_case_get_a_version_each(pool):
    versions = []
    threads = [threading.Thread(target=lambda: versions.append(pool.accept("b", some_mask(1)))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(versions) == list(range(1, 9))
    assert len(list((pool.root / "masks" / "b").iterdir())) == 8


def test_a_mask_that_could_not_be_recorded_leaves_no_file(pool, monkeypatch):
    def refuse(*values):
        raise PoolError("The disk is full.")

    monkeypatch.setattr(pool._table, "accept", refuse)
    with pytest.raises(PoolError, match="disk is full"):
        pool.accept("b", some_mask(1))
    assert list((pool.root / "masks" / "b").iterdir()) == []


def test_a_mask_file_of_another_shape_put_in_place_by_hand_is_refused(pool):
    write_mask_file(pool.mask_path("a"), some_mask(1, shape=(5, 6, 9)))
    with pytest.raises(GridMismatchError, match=r"0001\.nii\.gz"):
        pool.mask("a")


def test_a_mask_file_that_is_gone_is_named(pool):
    pool.mask_path("a").unlink()
    with pytest.raises(MaskError, match=r"0001\.nii\.gz"):
        pool.mask("a")


# -- leaving out and coming back ----------------------------------------------------------------------------------


def test_an_excluded_case_comes_back_as_it_was(pool):
    pool.exclude("a")
    assert pool.case("a").status == "excluded"
    pool.include("a")
    assert pool.case("a").status == "accepted"
    np.testing.assert_array_equal(pool.mask("a"), some_mask(1, 2))


def test_a_case_that_gets_its_first_map_while_excluded_comes_back_predicted(pool):
    pool.exclude("b")
    put_map(pool, "b")
    assert pool.case("b").status == "excluded"
    pool.include("b")
    assert pool.case("b").status == "predicted"


def test_a_mended_scan_is_usable_again_and_looked_at_afresh(cohort):
    scan = cohort / "images" / "b.nii.gz"
    good = scan.read_bytes()
    scan.write_bytes(good[:40])
    with Pool.create(cohort / "pool", cohort / "images") as pool:
        with pytest.raises(ScanError):
            pool.mark_usable("b")
        assert pool.case("b").status == "unusable"
        scan.write_bytes(good)
        pool.mark_usable("b")
        case = pool.case("b")
        assert (case.status, case.reason, case.shape) == ("unlabelled", "", SHAPE)
        assert not pool.check_changed("b")


def test_an_unusable_case_that_was_mended_is_included_again_or_put_back(cohort):
    scan = cohort / "images" / "b.nii.gz"
    good = scan.read_bytes()
    scan.write_bytes(good[:40])
    with Pool.create(cohort / "pool", cohort / "images") as pool:
        for bring_back in (pool.include, pool.reset):
            with pytest.raises(ScanError):
                bring_back("b")
            assert pool.case("b").status == "unusable"
        scan.write_bytes(good)
        for bring_back in (pool.include, pool.reset):
            bring_back("b")
            case = pool.case("b")
            assert (case.status, case.reason, case.shape) == ("unlabelled", "", SHAPE)
            pool.mark_unusable("b", "Once more.")


def test_a_case_whose_mask_is_broken_can_be_put_back_without_it(pool):
    pool.mask_path("a").write_bytes(b"no mask")
    pool.mark_unusable("a", "Its mask is broken.")
    with pytest.raises(MaskError):
        pool.include("a")
    pool.reset("a")
    assert (pool.case("a").status, pool.case("a").mask_version) == ("unlabelled", None)


def test_an_unusable_case_shows_the_reason_and_takes_no_part(pool):
    pool.mark_unusable("a", "Half of the liver is missing.")
    assert pool.case("a").reason == "Half of the liver is missing."
    assert pool.history("a")[-1].details["reason"] == "Half of the liver is missing."
    with pytest.raises(StateError, match="'a' is unusable and cannot be accepted: mend its scan"):
        pool.accept("a", some_mask(1))
    pool.mark_usable("a")
    assert pool.case("a").status == "accepted"


def test_a_scan_replaced_by_one_of_another_shape_loses_its_map_and_not_silently_its_mask(pool):
    old, _ = put_map(pool, "b")
    for name in "ab":
        pool.mark_unusable(name, "The scan has changed.")
        write_scan(pool.case(name).path, 3, shape=(5, 6, 8))
    pool.mark_usable("b")
    assert (pool.case("b").status, pool.case("b").shape, pool.map_of("b")) == ("unlabelled", (5, 6, 8), None)
    assert not old.exists()
    with pytest.raises(GridMismatchError):
        pool.mark_usable("a")
    assert pool.case("a").status == "unusable"


def test_a_scan_that_changed_shape_gets_no_mask(pool):
    write_scan(pool.case("b").path, 3, shape=(5, 6, 8))
    with pytest.raises(GridMismatchError, match=r"is \(5, 6, 8\) now and was \(5, 6, 7\)"):
        pool.accept("b", some_mask(1))


# -- maps ---------------------------------------------------------------------------------------------------------


def test_a_map_is_recorded_with_its_numbers_and_makes_an_unlabelled_case_predicted(pool):
    map_file, pseudo_file = put_map(pool, "b", step=40)
    found = pool.map_of("b")
    assert pool.case("b").status == "predicted"
    assert (found.run, found.step, found.map_path, found.pseudo_path) == ("0001", 40, map_file, pseudo_file)
    assert found.quality == {1: 0.75, 2: None}
    assert found.entropy == 0.25
    assert found.volume_ml == {1: 1.5, 2: 0.0}
    assert found.islands == {1: 3, 2: 0}
    assert pool.case("b").map == found


def test_the_files_of_the_former_map_go_when_the_new_ones_are_recorded(pool):
    old = put_map(pool, "b", step=1)
    new = put_map(pool, "b", step=2)
    assert not any(path.exists() for path in old)
    assert all(path.exists() for path in new)
    put_map(pool, "b", step=2)
    assert all(path.exists() for path in new), "the same files again are not former ones"


def test_a_map_leaves_accepted_and_draft_cases_as_they_are(pool):
    put_map(pool, "a")
    assert pool.case("a").status == "accepted"
    pool.reopen("a")
    put_map(pool, "a", step=2)
    assert pool.case("a").status == "draft"
    assert pool.map_of("a").step == 2


def test_a_map_with_missing_files_or_without_finite_numbers_is_refused(pool):
    map_file, pseudo_file = put_map(pool, "b")
    numbers = {"quality": {1: 0.5}, "entropy": 0.1, "volume_ml": {1: 1.0}, "islands": {1: 0}}
    with pytest.raises(PoolError, match=r"nothing\.map"):
        pool.record_map(
            "c", run="0001", step=1, map_file=map_file.with_name("nothing.map"), pseudo_file=pseudo_file, **numbers
        )
    numbers["quality"] = {1: float("nan")}
    with pytest.raises(PoolError, match="not finite"):
        pool.record_map("c", run="0001", step=1, map_file=map_file, pseudo_file=pseudo_file, **numbers)
    assert pool.case("c").map is None


def test_numbers_from_numpy_are_recorded_as_plain_ones(pool):
    map_file, pseudo_file = put_map(pool, "b")
    pool.record_map(
        "b",
        run="0001",
        step=np.int64(7),
        map_file=map_file,
        pseudo_file=pseudo_file,
        quality={np.uint8(1): np.float32(0.5)},
        entropy=np.float32(0.25),
        volume_ml={np.uint8(1): np.float64(2)},
        islands={np.uint8(1): np.int64(4)},
    )
    found = pool.map_of("b")
    assert (found.step, found.quality, found.entropy, found.islands) == (7, {1: 0.5}, 0.25, {1: 4})


def test_resetting_a_case_removes_its_map(pool):
    files = put_map(pool, "b")
    pool.reset("b")
    assert pool.case("b").status == "unlabelled"
    assert pool.map_of("b") is None
    assert not any(path.exists() for path in files)


# -- runs ---------------------------------------------------------------------------------------------------------


def test_runs_are_numbered_and_remember_their_plan(pool):
    assert pool.last_run() is None
    first = pool.new_run("quick", {"seed": np.int64(3)}, {"patch": (32, 32, 16)})
    assert (first.id, first.path, first.status) == ("0001", pool.root / "runs" / "0001", "planned")
    assert first.path.is_dir()
    assert (first.config, first.plan) == ({"seed": 3}, {"patch": [32, 32, 16]})
    second = pool.new_run("quality", {}, {})
    assert [run.id for run in pool.runs()] == ["0001", "0002"]
    assert pool.last_run() == second


def test_a_run_folder_that_is_already_there_is_not_taken_again(pool):
    (pool.root / "runs" / "0007").mkdir(parents=True)
    assert pool.new_run("quick", {}, {}).id == "0008"


def test_a_run_records_how_far_it_came_and_only_news_go_into_the_history(pool):
    run = pool.new_run("quick", {}, {})
    pool.update_run(run.id, status="running")
    events = len(pool.history())
    changed = pool.update_run(run.id, step=50, elapsed_s=12.5, checkpoint=run.path / "checkpoint.pt")
    assert (changed.step, changed.elapsed_s, changed.checkpoint) == (50, 12.5, run.path / "checkpoint.pt")
    assert len(pool.history()) == events
    assert pool.update_run(run.id, config={"seed": 2}).config == {"seed": 2}
    assert pool.update_run(run.id, plan={"patch": (32, 32)}).plan == {"patch": [32, 32]}
    pool.update_run(run.id, status="finished")
    assert pool.history()[-1].what == "run finished"
    assert pool.last_run().status == "finished"


@pytest.mark.parametrize(
    ("fields", "error"),
    [({"speed": 1}, SettingError), ({"status": "flying"}, SettingError), ({"checkpoint": "../x.pt"}, PoolError)],
)
def test_a_run_refuses_fields_that_it_does_not_have(pool, fields, error):
    run = pool.new_run("quick", {}, {})
    with pytest.raises(error):
        pool.update_run(run.id, **fields)
    assert pool.last_run() == run


def test_an_unknown_run_is_refused(pool):
    with pytest.raises(PoolError, match="no run '0009'"):
        pool.update_run("0009", step=1)


# -- history ------------------------------------------------------------------------------------------------------


def test_the_history_tells_what_happened_in_order_of_one_case_or_all(pool):
    pool.reopen("a")
    pool.exclude("b")
    pool.accept("a", some_mask(1))
    assert [event.what for event in pool.history("a")] == ["case added", "accept", "reopen", "accept"]
    assert [event.case for event in pool.history(limit=3)] == ["a", "b", "a"]
    last = pool.history(limit=1)[0]
    assert last.details == {"from": "draft", "to": "accepted", "version": 2, "by": "person"}
    assert last.time.endswith("+00:00")
    assert last.who
    assert pool.history()[0].what == "pool created"


def test_the_history_cannot_be_changed_even_by_another_program(pool):
    for statement in ("DELETE FROM events", "UPDATE events SET what = 'nothing'"):
        with pytest.raises(PoolError, match="append-only"):
            pool._table._database.change(statement)


def test_the_revision_grows_with_every_change_of_a_case_and_with_nothing_else(pool):
    with Pool.open(pool.root) as reader:
        seen = [pool.revision]
        for change in (
            lambda: pool.exclude("b"),
            lambda: pool.include("b"),
            lambda: pool.accept("b", some_mask(1)),
            lambda: put_map(pool, "c"),
        ):
            change()
            seen.append(pool.revision)
            assert reader.revision == seen[-1]
        assert seen == sorted(set(seen))
        run = pool.new_run("quick", {}, {})
        before = pool.revision
        pool.update_run(run.id, step=5)
        pool.cases()
        pool.check_changed("b")
        assert pool.revision == before


# -- the scans' files ---------------------------------------------------------------------------------------------


def test_a_new_modification_time_alone_is_no_change_and_is_recorded_silently(pool):
    scan, events = pool.case("b").path, pool.history()
    os.utime(scan, ns=(1, 1))
    assert not pool.check_changed("b")
    assert pool.case("b").fingerprint.mtime_ns == 1
    assert pool.history() == events


def test_a_reader_notices_no_change_in_a_touched_scan_and_records_nothing(pool):
    pool.close()
    with Pool.open(pool.root) as reader:
        before = reader.case("b")
        os.utime(before.path, ns=(1, 1))
        assert not reader.check_changed("b")
        assert reader.case("b") == before


def test_other_voxels_are_a_change_whatever_the_file_says(pool):
    scan = pool.case("b").path
    stat = scan.stat()
    write_scan(scan, 77)
    assert pool.check_changed("b")
    assert pool.check_changed("b"), "looking does not make it known"
    assert stat.st_size
    pool.accept("b", some_mask(1))
    assert not pool.check_changed("b"), "a mask that was made for it does"


def test_a_scan_that_is_gone_is_named_with_the_remedy(pool):
    pool.case("b").path.unlink()
    with pytest.raises(ScanError, match=r"b\.nii\.gz.*relocate"):
        pool.check_changed("b")


def test_a_fingerprint_sees_a_change_at_either_end_of_a_large_file(tmp_path):
    file = tmp_path / "large"
    content = bytearray(os.urandom(300_000))
    prints = []
    for place in (None, 0, 299_999):
        if place is not None:
            content[place] ^= 1
        file.write_bytes(content)
        prints.append(fingerprint(file))
    assert len({found.digest for found in prints}) == 3
    assert {found.size for found in prints} == {300_000}


def test_a_pipe_in_place_of_a_scan_is_asked_nothing(pool, cohort):
    scan = pool.case("b").path
    scan.unlink()
    os.mkfifo(scan)  # opening it would wait for somebody to write
    with pytest.raises(ScanError, match=f"{scan.name}.*cannot be read"):
        pool.check_changed("b")
