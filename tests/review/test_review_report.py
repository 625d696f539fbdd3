"""The report from the pool's history."""

import numpy as np
import pytest

from napari_bcp.pool import Event, Pool
from napari_bcp.review.report import MOST_POINTS, csv_rows, make_report
from napari_bcp.scans.phantom import write_cohort


def event(minute, what, case=None, **details):
    return Event(f"2026-01-01T{minute // 60:02d}:{minute % 60:02d}:00.000+00:00", case, what, details, "anna")


def accepted(minute, case, dice=None, what="accept", **details):
    return event(minute, what, case, to="accepted", **({} if dice is None else {"dice": dice}), **details)


def test_statuses_over_time():
    history = [
        event(0, "pool created"),
        event(1, "case added", "a"),
        event(2, "case added", "b", reason="it is sheared"),
        event(3, "predict", "a", to="predicted"),
        event(4, "predict", "a", to="predicted"),
        accepted(5, "a"),
        event(6, "mark usable", "b", to="unlabelled"),
    ]
    curve = make_report(history).statuses
    assert [time[11:16] for time in curve.times] == ["00:01", "00:02", "00:03", "00:05", "00:06"]
    assert curve.counts["unlabelled"] == (1, 1, 0, 0, 1)
    assert curve.counts["unusable"] == (0, 1, 1, 1, 0)
    assert curve.counts["predicted"] == (0, 0, 1, 0, 0)
    assert curve.counts["accepted"] == (0, 0, 0, 1, 1)
    assert curve.counts["draft"] == curve.counts["excluded"] == (0,) * 5


def test_what_happens_at_one_time_is_one_point():
    history = [event(1, "case added", name) for name in "abc"]
    curve = make_report(history).statuses
    assert len(curve.times) == 1
    assert curve.counts["unlabelled"] == (3,)


def test_a_long_history_is_thinned_and_keeps_its_ends():
    history = [event(minute, "case added", f"c{minute}") for minute in range(1400)]
    curve = make_report(history).statuses
    assert len(curve.times) == MOST_POINTS
    assert (curve.counts["unlabelled"][0], curve.counts["unlabelled"][-1]) == (1, 1400)


def test_dice_by_round_and_class():
    """Five masks by hand a round; the one by rule and the one without a pseudo-label do not count."""
    history = [accepted(minute, f"c{minute}", {"1": 0.5 + 0.01 * minute}) for minute in range(5)]
    history += [accepted(10, "rule", {"1": 0.1}, what="accept by rule"), accepted(11, "first", {})]
    history += [accepted(12, "d", {"1": 0.8, "2": 0.9}), accepted(13, "e", {"1": 0.9})]
    one, two = make_report(history).rounds
    assert (one.first, one.last, one.cases) == (1, 5, {1: 5})
    assert one.dice == {1: pytest.approx(0.52)}
    assert (two.first, two.last, two.cases) == (6, 7, {1: 2, 2: 1})
    assert two.dice == {1: pytest.approx(0.85), 2: pytest.approx(0.9)}


def test_effort_of_a_case_adds_up():
    history = [
        accepted(1, "a", seconds=90.0, changed_voxels=100),
        accepted(2, "b", seconds=30.0),
        event(3, "reopen", "a", to="draft"),
        accepted(4, "a", seconds=30.0, changed_voxels=5),
        accepted(5, "from a file", source="mask.nii.gz"),
    ]
    report = make_report(history)
    found = [(one.case, one.minutes, one.changed_voxels, one.accepted_times) for one in report.efforts]
    assert found == [("a", 2.0, 105, 2), ("b", 0.5, 0, 1)]
    assert report.minutes == 2.5


def test_rows_for_a_spreadsheet():
    history = [
        accepted(1, "a", {"2": 0.9, "7": 0.5}, seconds=90.0, changed_voxels=100, run="0003", step=412),
        accepted(2, "b", what="accept by rule"),
    ]
    rows = csv_rows(make_report(history), {1: "aorta", 2: "liver"})
    head = ["time", "case", "accepted by", "run", "step", "minutes by hand", "voxels by hand"]
    assert rows == [
        [*head, "Dice aorta", "Dice liver", "Dice class 7"],
        [history[0].time, "a", "person", "0003", "412", "1.50", "100", "", "0.9000", "0.5000"],
        [history[1].time, "b", "rule", "", "", "", "", "", "", ""],
    ]


@pytest.mark.parametrize(
    "details",
    [
        {"dice": "0.9", "seconds": "long", "changed_voxels": None, "run": 3, "step": []},
        {"dice": {"1": None, "x": 0.5, "-1": 0.5, "2": 1.5, "3": float("nan"), "4": True}, "seconds": float("nan")},
        {"dice": [1], "seconds": -1, "changed_voxels": True, "step": float("inf")},
    ],
)
def test_details_that_are_not_what_they_should_be_are_unknown(details):
    report = make_report([event(1, "accept", "a", **details), event(2, "accept", "a", to="lost")])
    assert all(one.dice == {} and one.seconds is None and one.run is None for one in report.acceptances)
    assert report.rounds == report.efforts == report.statuses.times == ()


def test_nothing_has_happened():
    report = make_report([])
    assert report.statuses.times == report.acceptances == ()
    assert report.minutes == 0
    assert csv_rows(report, {})[1:] == []


def test_the_history_of_a_real_pool(tmp_path):
    """What the pool writes is what the report reads."""
    scans = write_cohort(tmp_path, 3, 1)
    with Pool.create(tmp_path / "pool", scans / "images", scans / "labels", scans / "classes.json") as pool:
        labelled = pool.cases("accepted")[0].name
        name = pool.cases("unlabelled")[0].name
        mask = np.zeros(pool.case(name).shape, np.uint8)
        details = {"dice": {1: 0.75}, "changed_voxels": 12, "seconds": 30.0, "run": "0001", "step": 40}
        pool.accept(name, mask, details=details)
        report = make_report(pool.history())
        counts = pool.counts()
    assert {status: numbers[-1] for status, numbers in report.statuses.counts.items()} == counts
    assert [one.case for one in report.acceptances] == [labelled, name]
    last = report.acceptances[-1]
    assert (last.dice, last.changed_voxels, last.seconds, last.run, last.step) == ({1: 0.75}, 12, 30.0, "0001", 40)
    assert len(report.rounds) == 1
