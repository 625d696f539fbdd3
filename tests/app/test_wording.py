"""Numbers and states as words."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from pool_sessions import a_case

from napari_bcp.app.training import TrainingState
from napari_bcp.app.wording import (
    counted,
    dice_line,
    duration,
    full_moment,
    moment,
    natural_key,
    pool_summary,
    training_line,
)

BERLIN = timezone(timedelta(hours=1))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 s"),
        (0, "0 s"),
        (40, "40 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (89, "1 min"),
        (240, "4 min"),
        (3580, "1 h"),
        (4800, "1 h 20 min"),
        (7200, "2 h"),
        (47 * 3600 + 59 * 60, "47 h 59 min"),
        (48 * 3600, "2 days"),
        (3.4 * 86400, "3 days"),
    ],
)
def test_a_length_of_time_is_told_in_one_or_two_words(seconds, text):
    assert duration(seconds) == text


def test_a_noun_follows_its_number():
    assert [counted(number, "case") for number in (0, 1, 2, 10000)] == ["0 cases", "1 case", "2 cases", "10,000 cases"]
    assert counted(2, "class", "classes") == "2 classes"


@pytest.mark.parametrize(
    ("time", "short", "full"),
    [
        ("2026-03-10T08:05:00.000+00:00", "09:05", "10 Mar 2026, 09:05"),
        ("2026-03-09T23:30:00.000+00:00", "00:30", "10 Mar 2026, 00:30"),
        ("2026-03-09T22:30:00.000+00:00", "9 Mar", "9 Mar 2026, 23:30"),
        ("2025-12-31T12:00:00.000+00:00", "Dec 2025", "31 Dec 2025, 13:00"),
        ("yesterday", "yesterday", "yesterday"),
    ],
)
def test_a_time_is_told_as_short_as_it_can_be_in_the_readers_zone(time, short, full):
    now = datetime(2026, 3, 10, 12, tzinfo=UTC).astimezone(BERLIN)
    assert moment(time, now) == short
    assert full_moment(time, now) == full


def test_names_sort_as_people_count():
    names = ["case10", "Case9", "case9b", "case", "case009a", "case100", "bcase11"]
    assert sorted(names, key=natural_key) == ["bcase11", "case", "Case9", "case009a", "case9b", "case10", "case100"]
    assert sorted(["10", "9", "007"], key=natural_key) == ["007", "9", "10"]
    assert natural_key("7" * 5000) > natural_key("8"), "a name of digits alone, however long, is no error"


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        ({"phase": "idle"}, "Not training"),
        ({"phase": "starting"}, "Training starts…"),
        (
            {"phase": "training", "stage": 2, "step": 12345, "eta_s": 240},
            "Training · stage 2 · step 12,345 · 4 min left",
        ),
        ({"phase": "training", "step": 7}, "Training · step 7"),
        ({"phase": "paused", "stage": 1, "step": 7, "eta_s": 60}, "Training paused · stage 1 · step 7"),
        ({"phase": "stopping"}, "Training stops, saving…"),
        ({"phase": "failed"}, "Training failed"),
    ],
)
def test_the_training_is_told_in_one_line(facts, line):
    assert training_line(TrainingState(**facts)) == line


def test_a_new_pool_tells_what_it_has_and_what_was_left_out():
    cases = [a_case("a", "accepted"), a_case("b"), a_case("c", "unusable", reason="It is sheared.")]
    text = pool_summary(cases, ["c: it is sheared.", "x_mask.nii belongs to no scan."])
    sentence, *notes = text.split("\n")
    assert sentence == "The pool has 3 cases and 1 mask. 1 case cannot be used. 2 notes below."
    assert notes == ["c: it is sheared.", "x_mask.nii belongs to no scan."]


def test_a_pool_without_masks_tells_how_to_begin():
    assert pool_summary([a_case("a"), a_case("b")], []) == (
        "The pool has 2 cases and 0 masks. Outline and accept a few cases to begin with."
    )


def test_dice_is_told_class_by_class():
    assert dice_line({5: 0.838, 1: 0.9, 7: 1.0}, {1: "liver", 5: "aorta"}) == "liver 0.90, aorta 0.84, class 7 1.00"
