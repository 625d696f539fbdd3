"""The table of transitions, alone and through a real pool."""

import itertools
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from pool_cohorts import put_map, some_mask, write_scan

from napari_bcp.errors import StateError
from napari_bcp.pool import STATUSES, TRANSITIONS, Pool
from napari_bcp.pool.status import next_status


def allowed():
    """Return every (action, from, to) of the table, "back" as it stands there."""
    return [(action, old, new) for action, moves in TRANSITIONS.items() for old, new in moves.items()]


@pytest.mark.parametrize(("action", "status"), list(itertools.product(TRANSITIONS, STATUSES)))
def test_every_action_on_every_status_ends_in_a_status_or_in_one_sentence(action, status):
    if status in TRANSITIONS[action]:
        assert next_status("a", action, status, "draft") in STATUSES
    else:
        with pytest.raises(StateError, match=rf"^Case 'a' is {status} and cannot .+\.$"):
            next_status("a", action, status)


def test_the_way_of_a_case_from_unlabelled_to_accepted_and_back_is_in_the_table():
    status = "unlabelled"
    for action, expected in [
        ("predict", "predicted"),
        ("draft", "draft"),
        ("accept", "accepted"),
        ("reopen", "draft"),
        ("reset", "unlabelled"),
    ]:
        status = next_status("a", action, status)
        assert status == expected


def test_a_map_or_the_rule_never_takes_away_what_a_person_has_begun():
    for action, old, new in allowed():
        if action == "predict" and old != "unlabelled":
            assert new == old
        if action == "accept by rule":
            assert old in ("unlabelled", "predicted")


def test_every_status_is_reached_and_left():
    assert {new for _, _, new in allowed()} - {"back"} == set(STATUSES)
    assert {old for _, old, new in allowed() if new != old} == set(STATUSES)


@pytest.mark.parametrize("before", ["unlabelled", "predicted", "draft", "accepted"])
def test_an_excluded_case_comes_back_as_what_it_was(before):
    assert next_status("a", "exclude", before) == "excluded"
    assert next_status("a", "include", "excluded", before) == before


class AnyOrderOfActions(RuleBasedStateMachine):
    """Whatever is asked in whatever order, a case's status, mask and map agree, and nothing accepted is lost."""

    names = st.sampled_from(["a", "b"])

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        for seed, name in enumerate("ab"):
            write_scan(self.folder / "images" / f"{name}.nii", seed)
        self.pool = Pool.create(self.folder / "pool", self.folder / "images")
        self.files = {}
        self.events = 0
        self.step = 0

    def teardown(self):
        self.pool.close()
        shutil.rmtree(self.folder)

    def do(self, action, name, *values, **named):
        """Try it; a refusal changes nothing."""
        before = self.pool.cases()
        try:
            getattr(self.pool, action)(name, *values, **named)
        except StateError:
            assert self.pool.cases() == before

    @rule(name=names, value=st.integers(0, 2), by=st.sampled_from(["person", "rule"]))
    def accept(self, name, value, by):
        was = self.pool.case(name)
        self.do("accept", name, some_mask(*[1, 2][:value]) if self.pool.classes else some_mask(1, 2), by=by)
        now = self.pool.case(name)
        if by == "rule" and was.status in ("accepted", "draft"):
            assert now == was

    @rule(name=names)
    def predict(self, name):
        was = self.pool.case(name).status
        self.step += 1
        if was == "unusable":
            with pytest.raises(StateError):
                put_map(self.pool, name, self.step)
        else:
            put_map(self.pool, name, self.step)
            assert self.pool.map_of(name).step == self.step
            assert self.pool.case(name).status == ("predicted" if was == "unlabelled" else was)

    @rule(
        name=names,
        action=st.sampled_from(["begin_draft", "reject", "take_back", "reopen", "reset", "exclude", "include"]),
    )
    def move(self, name, action):
        self.do(action, name)

    @rule(name=names)
    def mark_unusable(self, name):
        self.pool.mark_unusable(name, "It is blurred.")
        assert self.pool.case(name).reason == "It is blurred."

    @precondition(lambda self: self.pool.counts()["unusable"])
    @rule(name=names)
    def mark_usable(self, name):
        self.do("mark_usable", name)

    @rule()
    def open_again(self):
        before = self.pool.cases()
        self.pool.close()
        self.pool = Pool.open(self.folder / "pool", write=True)
        assert self.pool.cases() == before

    @invariant()
    def status_mask_and_map_agree(self):
        for case in self.pool.cases():
            if case.status == "unlabelled":
                assert case.map is None
                assert case.mask_version is None
            if case.status == "predicted":
                assert case.map is not None
                assert case.mask_version is None
            if case.status == "accepted":
                assert self.pool.mask_path(case.name).is_file()
            if case.map is not None:
                assert case.map.map_path.is_file()
                assert case.map.pseudo_path.is_file()
            assert bool(case.reason) == (case.status == "unusable")

    @invariant()
    def accepted_files_and_history_only_grow(self):
        for path, content in self.files.items():
            assert path.read_bytes() == content
        for path in (self.folder / "pool" / "masks").rglob("*"):
            if path.is_file():
                self.files.setdefault(path, path.read_bytes())
        events = len(self.pool.history())
        assert events >= self.events
        self.events = events


AnyOrderOfActions.TestCase.settings = settings(
    max_examples=12, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
)
TestAnyOrderOfActions = AnyOrderOfActions.TestCase
