"""Which case next, and why."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_bcp.pool import Case, MapRecord
from napari_bcp.review.proposals import BalancedUncertainty, Candidate

NAMES = {1: "aorta", 2: "liver"}
SHARP = 10  # a round in which the noise has faded

some_candidates = st.lists(
    st.builds(
        Candidate,
        name=st.uuids().map(str),
        entropy=st.none() | st.floats(0, 1.1),
        quality=st.dictionaries(st.integers(1, 3), st.none() | st.floats(0, 1)),
        volume_ml=st.dictionaries(st.integers(1, 3), st.floats(0, 5000)),
        map_step=st.integers(0, 1000),
        rejected=st.booleans(),
    ),
    max_size=30,
    unique_by=lambda candidate: candidate.name,
)


def candidate(name, aorta=0.9, liver=0.95, entropy=0.3, volumes=(40.0, 1500.0), **others):
    return Candidate(name, entropy, {1: aorta, 2: liver}, dict(zip((1, 2), volumes, strict=True)), 100, **others)


def cohort(count=30, **others):
    return [candidate(f"c{number:02d}", **others) for number in range(count)]


def ranked(candidates, round_=SHARP, seed=0, **options):
    return BalancedUncertainty(NAMES, **options).rank(candidates, round_, np.random.default_rng(seed))


def uncertain(proposals):
    return [proposal for proposal in proposals if proposal.kind == "uncertain"]


@settings(max_examples=100, deadline=None)
@given(some_candidates, st.integers(0, 20), st.integers(0, 1000))
def test_every_case_is_proposed_once_with_a_reason(candidates, round_, seed):
    """Equal input gives an equal order, whatever the order of the candidates."""
    proposals = ranked(candidates, round_, seed)
    assert sorted(one.name for one in proposals) == sorted(one.name for one in candidates)
    assert all(one.reason and one.score >= 0 and np.isfinite(one.score) for one in proposals)
    assert ranked(candidates[::-1], round_, seed) == proposals
    unseen = {one.name for one in candidates if one.entropy is None}
    assert {one.name for one in proposals if one.kind == "unseen"} == unseen


def test_two_are_uncertain_and_the_third_is_random():
    kinds = [proposal.kind for proposal in ranked(cohort())]
    assert kinds == ["uncertain", "uncertain", "random"] * 10


def test_the_most_uncertain_cases_come_first_once_the_noise_has_faded():
    candidates = cohort()
    candidates[7] = candidate("c07", aorta=0.4)
    candidates[3] = candidate("c03", liver=0.5)
    first, second = ranked(candidates)[:2]
    assert (first.name, first.reason) == ("c07", "the model is unsure about the aorta")
    assert (second.name, second.reason) == ("c03", "the model is unsure about the liver")
    assert first.score == pytest.approx(0.3 * 0.6)


def test_classes_take_turns():
    """All aortas are harder than all livers; half of the attention is the livers' all the same."""
    random = np.random.default_rng(5)
    candidates = [candidate(f"c{n:02d}", random.uniform(0.3, 0.6), random.uniform(0.8, 0.99)) for n in range(60)]
    reasons = Counter(one.reason for one in uncertain(ranked(candidates))[:20])
    assert reasons == {"the model is unsure about the aorta": 10, "the model is unsure about the liver": 10}


def test_entropy_decides_between_equal_qualities():
    candidates = cohort()
    candidates[11] = candidate("c11", entropy=0.9)
    assert ranked(candidates)[0].name == "c11"


def test_noise_fades_over_the_rounds():
    """At first the worst case is often not the first; later it always is."""
    candidates = [candidate(f"c{n:02d}", aorta=0.9 - 0.02 * n) for n in range(20)]

    def firsts(round_):
        return {ranked(candidates, round_, seed)[0].name for seed in range(20)}

    assert firsts(SHARP) == firsts(SHARP + 5) == {"c19"}
    assert len(firsts(0)) > 4


def test_the_random_ones_are_drawn_from_all():
    """Sure ones too: which come third differs from seed to seed."""
    assert len({ranked(cohort(), seed=seed)[2].name for seed in range(20)}) > 8
    proposal = ranked(cohort())[2]
    assert proposal.reason == "picked at random, to keep the view honest"


def test_a_class_that_most_have_and_one_has_not_is_what_to_look_at():
    """Even if the map is perfectly sure of it."""
    candidates = cohort()
    candidates[4] = candidate("c04", aorta=None, entropy=0.0, volumes=(0.0, 1500.0))
    first = ranked(candidates)[0]
    assert (first.name, first.reason) == ("c04", "the aorta was not found, which most scans show")


def test_a_class_that_few_have_is_not_missed():
    candidates = cohort(liver=None)
    candidates[4] = candidate("c04", liver=0.6)
    proposals = ranked(candidates)
    assert (proposals[1].name, proposals[1].reason) == ("c04", "the model is unsure about the liver")
    assert not any("not found" in one.reason for one in proposals)


def test_an_unusual_volume_is_said():
    """From the 10th to the 90th percentile is usual."""
    candidates = [candidate(f"c{n:02d}", volumes=((30.0, 40.0, 40.0, 55.0)[n % 4], 1500.0)) for n in range(40)]
    candidates += [candidate("small", aorta=0.2, volumes=(12.0, 1500.0))]
    candidates += [candidate("large", liver=0.1, volumes=(40.0, 4000.0))]
    reasons = {one.name: one.reason for one in ranked(candidates)}
    assert reasons["small"].endswith("; unusually small aorta (12 ml; usually 30–55 ml)")
    assert reasons["large"].endswith("; unusually large liver (4,000 ml; usually 1,500 ml)")
    assert sum("unusually" in reason for reason in reasons.values()) == 2


def test_volumes_of_accepted_masks_say_what_is_usual():
    few = [candidate("a", volumes=(12.0, 1500.0)), candidate("b", volumes=(40.0, 1500.0))]
    assert not any("unusually" in one.reason for one in ranked(few))
    known = {1: [35.0, 38.0, 40.0, 42.0, 44.0, 45.0, 47.0, 50.0]}
    reasons = {one.name: one.reason for one in ranked(few, volumes=known)}
    assert "unusually small aorta (12 ml" in reasons["a"]
    assert "unusually" not in reasons["b"]


def test_a_volume_does_not_change_the_order():
    usual = cohort()
    odd = [replace(one, volume_ml={1: 1.0, 2: 1.0}) if one.name == "c13" else one for one in usual]
    assert [one.name for one in ranked(odd)] == [one.name for one in ranked(usual)]


def test_cases_without_a_map_come_after_those_with_one_and_rejected_ones_last():
    candidates = [
        Candidate("new", None, {}, {}, None),
        candidate("bad", aorta=0.1, rejected=True),
        candidate("good", aorta=0.99),
    ]
    good, new, bad = ranked(candidates)
    assert (good.name, new.name, bad.name) == ("good", "new", "bad")
    assert (new.kind, new.reason) == ("unseen", "no map yet; in random order")
    assert bad.reason == "you rejected this pseudo-label; a newer map may be better"


def test_before_the_first_training_the_order_is_random():
    candidates = [Candidate(f"c{n}", None, {}, {}, None) for n in range(10)]
    orders = {tuple(one.name for one in ranked(candidates, 0, seed)) for seed in range(10)}
    assert len(orders) == 10


def test_a_sure_map_is_not_called_unsure():
    (proposal,) = ranked([candidate("a", 1.0, 1.0, entropy=0.0)])
    assert proposal.reason == "the model has no doubts here"


def test_a_case_of_the_pool_becomes_a_candidate():
    found = MapRecord("0003", 412, Path("m"), Path("p"), {1: 0.8}, 0.2, {1: 33.0}, {1: 0}, "2026-01-01T00:00:00")
    case = Case("a", "predicted", "", Path("a.nii"), None, None, found, (1, 1, 1), (1.0, 1.0, 1.0), "", None)
    assert Candidate.of(case) == Candidate("a", 0.2, {1: 0.8}, {1: 33.0}, 412)
    assert Candidate.of(replace(case, map=None), rejected=True) == Candidate("a", None, {}, {}, None, True)
