"""Every edit can be undone and is in the journal, whichever tool made it and whatever the disk does."""

import itertools
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
from edits_by_hand import SHAPE, box_of, new_edits, opened, paint
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from napari.layers import Labels

from napari_bcp.app import edits as edits_module
from napari_bcp.app.edits import Edits
from napari_bcp.errors import GridMismatchError, PoolError, StateError
from napari_bcp.pool import drafts
from napari_bcp.pool.drafts import Draft
from napari_bcp.pool.edit_records import History

HERE = Path(__file__).parent


# -- strokes ------------------------------------------------------------------------------------------------------


def test_overlapping_stamps_of_a_drag_are_one_edit_whose_undo_gives_what_was_before_the_first(edits):
    array = edits.array
    array[1, 0:2] = 3
    edits.start_from(array.copy())
    before = array.copy()
    disc = np.array([[False, True], [True, True]])
    stamps = [
        paint(array, box_of((1, 2), (0, 2), (0, 2)), 1),
        paint(array, box_of((1, 2), (1, 3), (1, 3)), 2, disc[None]),
        paint(array, box_of((1, 2), (0, 2), (0, 2)), 1),
        paint(array, box_of((1, 2), (4, 5), (6, 7)), 1),
    ]
    after = array.copy()
    assert edits.record_stroke(stamps) == box_of((1, 2), (0, 5), (0, 7))
    assert edits.operations == ("paint",)
    assert edits.undo() == box_of((1, 2), (0, 5), (0, 7))
    np.testing.assert_array_equal(array, before)
    edits.redo()
    np.testing.assert_array_equal(array, after)


def test_a_drag_that_ends_where_it_began_is_no_edit(edits):
    stamps = [paint(edits.array, box_of((0, 1), (0, 2), (0, 2)), value) for value in (1, 0)]
    assert edits.record_stroke(stamps) is None
    assert edits.record_stroke([]) is None
    assert edits.record_stroke([paint(edits.array, box_of((0, 1), (5, 3), (0, 2)), 1)]) is None
    assert not edits.can_undo
    assert not edits.dirty


def test_voxels_may_be_given_one_by_one(edits):
    """As napari does where a program sets them."""
    places = (np.array([0, 2]), np.array([-1, 3]), np.array([2, 2]))
    edits.array[places] = 5
    box = edits.record_stroke([(places, None, np.array([0, 0]), 5)], "fill")
    assert box == box_of((0, 3), (3, 6), (2, 3))
    edits.undo()
    assert not edits.array.any()
    edits.array[1, :, 4] = 6
    assert edits.record_stroke([((1, slice(None), np.array(4)), None, np.zeros(6), 6)]) == box_of(
        (1, 2), (0, 6), (4, 5)
    )
    edits.undo()
    assert not edits.array.any()


def test_a_stamp_may_be_told_of_before_it_is_painted(edits):
    box = box_of((0, 1), (0, 2), (0, 2))
    mask = np.array([[[True, False], [True, True]]])
    edits.record_stroke([(box, mask, np.zeros(3, np.uint8), 4)])
    assert edits.array[0, :2, :2].tolist() == [[4, 0], [4, 4]]
    paint(edits.array, box, 4, mask)
    edits.undo()
    assert not edits.array.any()


def test_strokes_of_napari_itself_are_undone_and_brought_back(edits, path):
    layer = Labels(edits.array, scale=(3, 1, 1))
    assert layer.data is edits.array
    layer.brush_size, layer.n_edit_dimensions = 3, 3

    def told(event):
        edits.record_stroke([tuple(one) if len(one) == 4 else (one[0], None, *one[1:]) for one in event.value])

    layer.events.paint.connect(told)
    with layer.block_history():
        for x in range(1, 5):
            layer.paint((1, 3, x), 1)
    first = layer.data.copy()
    layer.fill((0, 0, 0), 2)
    layer.data_setitem((np.array([0]), np.array([0]), np.array([0])), 4)
    last = layer.data.copy()
    assert np.unique(last).tolist() == [1, 2, 4]
    assert len(edits.operations) == 3
    edits.save()
    np.testing.assert_array_equal(opened(path).array, last)
    while len(edits.operations) > 1:
        edits.undo()
    np.testing.assert_array_equal(layer.data, first)
    edits.undo()
    assert not layer.data.any()


# -- operations ---------------------------------------------------------------------------------------------------


def test_the_result_of_an_operation_is_one_edit_in_place(edits):
    array, new = edits.array, edits.array.copy()
    new[2, 1:3, 4] = 7
    assert edits.apply("fill holes", new) == box_of((2, 3), (1, 3), (4, 5))
    assert edits.array is array
    np.testing.assert_array_equal(array, new)
    assert edits.apply("fill holes", new) is None
    assert edits.operations == ("fill holes",)
    new[:] = 9
    assert array.max() == 7  # what was handed in stays the caller's
    edits.undo()
    assert not array.any()
    assert edits.undone == ("fill holes",)
    assert edits.undo() is None
    edits.redo()
    assert edits.redo() is None
    assert array[2, 1, 4] == 7


def test_a_result_that_is_no_labels_of_this_case_is_refused(edits):
    with pytest.raises(GridMismatchError, match=r"'smooth' have the shape \(3, 6, 8\)"):
        edits.apply("smooth", np.zeros((3, 6, 8), np.uint8))
    with pytest.raises(ValueError, match="int64 numbers"):
        edits.apply("smooth", np.zeros(SHAPE, np.int64))
    assert not edits.dirty


def test_a_new_edit_ends_what_could_be_redone(edits):
    for value in (1, 2):
        edits.apply(str(value), np.full(SHAPE, value, np.uint8))
    edits.undo()
    edits.apply("3", np.full(SHAPE, 3, np.uint8))
    assert (edits.operations, edits.undone, edits.can_redo) == (("1", "3"), (), False)


def test_everybody_is_told_of_every_change_with_its_box(edits):
    boxes = []
    edits.changed.connect(boxes.append)
    box = box_of((0, 1), (0, 2), (3, 7))
    edits.record_stroke([paint(edits.array, box, 1)])
    edits.undo()
    edits.redo()
    edits.undo()
    edits.undo()
    new = edits.array.copy()
    new[box] = 2
    edits.apply("smooth", new)
    edits.apply("smooth", new)
    assert boxes == [box] * 5


def test_voxels_changed_are_those_that_differ_from_the_base(edits):
    edits.start_from(np.full(SHAPE, 1, np.uint8))
    edits.apply("one", np.full(SHAPE, 2, np.uint8))
    assert edits.voxels_changed == 126
    new = edits.array.copy()
    new[0] = 1
    edits.apply("back by hand", new)
    assert edits.voxels_changed == 84
    edits.undo()
    assert edits.voxels_changed == 126
    edits.undo()
    assert edits.voxels_changed == 0
    edits.redo()
    assert edits.voxels_changed == 126


def test_a_newer_map_replaces_only_what_nobody_has_edited(edits, path):
    array = edits.array
    assert edits.start_from(np.full(SHAPE, 4, np.uint8)) == box_of((0, 3), (0, 6), (0, 7))
    assert edits.array is array
    assert (edits.voxels_changed, edits.can_undo, edits.dirty) == (0, False, False)
    edits.apply("fill", np.full(SHAPE, 5, np.uint8))
    for _ in range(2):
        with pytest.raises(StateError, match="have been edited"):
            edits.start_from(np.zeros(SHAPE, np.uint8))
        edits.save()
    again = opened(path)
    assert (int(again.array.min()), int(again.base.max())) == (5, 4)


def test_the_time_of_a_draft_goes_on_when_it_is_opened_again(path, monkeypatch):
    clock = iter(itertools.count(100.0, 10.0))
    monkeypatch.setattr(edits_module.time, "monotonic", lambda: next(clock))
    edits = new_edits(path)
    for value in (1, 2, 3):
        edits.apply("fill", np.full(SHAPE, value, np.uint8))
    spent = edits.seconds
    assert spent >= 20.0
    edits.save()
    again = opened(path)
    assert again.seconds == spent
    again.undo()
    again.touch()
    assert again.seconds >= spent + 10.0


# -- the journal --------------------------------------------------------------------------------------------------


def test_nothing_is_written_before_the_first_edit(edits, path):
    edits.save()
    edits.compact(beyond=0)
    assert not path.exists()
    edits.apply("fill", np.full(SHAPE, 1, np.uint8))
    assert edits.dirty
    edits.save()
    assert (edits.dirty, edits.problem) == (False, None)
    np.testing.assert_array_equal(Draft.open(path, SHAPE).array, edits.array)


def test_a_draft_is_brought_back_with_its_undo(edits, path):
    for value in (1, 2, 3):
        edits.apply(f"fill {value}", np.full(SHAPE, value, np.uint8))
    edits.undo()
    edits.save()
    again = opened(path)
    assert (again.operations, again.undone, again.voxels_changed) == (("fill 1", "fill 2"), ("fill 3",), 126)
    again.redo()
    again.redo()
    assert int(again.array[0, 0, 0]) == 3
    for _ in range(3):
        again.undo()
    assert not again.array.any()


def test_a_case_that_is_left_comes_back_with_its_undo(edits, path):
    for value in (1, 2):
        edits.apply(f"fill {value}", np.full(SHAPE, value, np.uint8))
    edits.compact()
    assert not edits.dirty
    assert opened(path).operations == ("fill 1", "fill 2")


def test_a_large_journal_is_made_compact_and_can_be_edited_on(edits, path):
    for value in (1, 2, 3):
        edits.apply("fill", np.full(SHAPE, value, np.uint8))
    edits.compact(beyond=0)
    assert not edits.can_undo
    edits.apply("later", np.full(SHAPE, 4, np.uint8))
    edits.undo()
    edits.save()
    again = opened(path)
    assert (int(again.array.min()), again.operations, again.undone) == (3, (), ("later",))
    assert again.voxels_changed == 126
    assert not again.base.any()


def test_an_accepted_draft_leaves_no_journal(edits, path):
    edits.apply("fill", np.full(SHAPE, 1, np.uint8))
    edits.save()
    edits.undo()
    edits.discard()
    assert not path.exists()
    assert (edits.dirty, edits.problem) == (False, None)
    edits.save()
    assert not path.exists()


def test_a_full_disk_loses_nothing(edits, path, monkeypatch):
    append = Draft.append

    def full(self, record, seconds=0.0):
        raise OSError(28, "No space left on device")

    edits.apply("1", np.full(SHAPE, 1, np.uint8))
    edits.save()
    monkeypatch.setattr(Draft, "append", full)
    edits.apply("2", np.full(SHAPE, 2, np.uint8))
    edits.undo()
    edits.apply("3", np.full(SHAPE, 3, np.uint8))
    edits.save()
    assert "No space left on device" in edits.problem
    assert edits.dirty
    edits.compact(beyond=0)
    assert edits.operations == ("1", "3")
    monkeypatch.setattr(Draft, "append", append)
    edits.save()
    assert (edits.dirty, edits.problem) == (False, None)
    again = opened(path)
    assert (int(again.array.max()), again.operations) == (3, ("1", "3"))


def test_a_folder_that_cannot_be_written_is_told_and_tried_again(edits, path):
    path.parent.write_text("a file in the place of the folder")
    edits.apply("1", np.full(SHAPE, 1, np.uint8))
    edits.save()
    assert "not on the disk yet" in edits.problem
    assert str(path.parent) in edits.problem
    path.parent.unlink()
    edits.save()
    assert edits.problem is None
    assert opened(path).operations == ("1",)


def test_an_edit_that_reached_the_file_but_not_the_disk_is_not_safe_yet(edits, monkeypatch):
    edits.apply("1", np.full(SHAPE, 1, np.uint8))
    with monkeypatch.context() as patch:
        patch.setattr(Draft, "sync", lambda self: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        edits.save()
        assert "Input/output error" in edits.problem
        assert edits.dirty
    edits.save()
    assert (edits.dirty, edits.problem) == (False, None)


def test_a_draft_begun_from_other_labels_is_not_written(path):
    edits = Edits(np.zeros(SHAPE, np.uint8), lambda: Draft.create(path, np.ones(SHAPE, np.uint8), {}))
    edits.apply("fill", np.full(SHAPE, 2, np.uint8))
    edits.save()
    assert "begun from other labels" in edits.problem
    assert not path.exists()
    assert edits.dirty


def test_a_draft_of_another_scan_is_refused(edits, path):
    edits.apply("fill", np.full(SHAPE, 2, np.uint8))
    edits.save()
    draft = Draft.open(path, SHAPE)
    with pytest.raises(GridMismatchError, match=r"a\.journal has the shape"):
        Edits(np.zeros((3, 6, 8), np.uint8), pytest.fail, draft)


def test_edits_that_fell_off_undo_stay_in_the_journal(path, monkeypatch):
    """What is forgotten while writing is forgotten while reading, so undo means the same edit in both."""
    for module in (drafts, edits_module):
        monkeypatch.setattr(module, "History", lambda: History(limit=2500))
    edits = new_edits(path)
    for value in range(1, 10):
        edits.apply(str(value), np.full(SHAPE, value, np.uint8))
        if value == 6:
            edits.undo()
    assert "1" not in edits.operations
    while edits.can_undo:
        edits.undo()
    edits.redo()
    edits.save()
    again = opened(path)
    np.testing.assert_array_equal(again.array, edits.array)
    assert (again.operations, again.undone) == (edits.operations, edits.undone)
    assert edits.array.any()


def test_saving_on_another_thread_misses_nothing(edits, path):
    done = threading.Event()

    def saver():
        while not done.is_set():
            edits.save()

    thread = threading.Thread(target=saver)
    thread.start()
    rng = np.random.default_rng(1)
    for number in range(400):
        if number % 5 == 3:
            edits.undo()
        elif number % 7 == 5:
            edits.redo()
        else:
            z, y, x = (int(rng.integers(0, n)) for n in SHAPE)
            edits.record_stroke([paint(edits.array, box_of((z, z + 1), (0, y + 1), (x, 7)), number % 4)])
    done.set()
    thread.join()
    edits.save()
    again = opened(path)
    np.testing.assert_array_equal(again.array, edits.array)
    assert (again.operations, again.undone) == (edits.operations, edits.undone)
    assert again.voxels_changed == edits.voxels_changed == np.count_nonzero(edits.array)


def test_a_killed_process_loses_no_stroke_that_it_had_saved(path):
    """`kill -9` at any moment: what comes back is a whole number of strokes, at least those that were reported."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / "edits_killed.py"), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), *sys.path])},
    )
    try:
        lines = [process.stdout.readline() for _ in range(60)]
    finally:
        process.kill()
    rest, _ = process.communicate()
    lines += [line for line in rest.splitlines(keepends=True) if line.endswith("\n")]
    said = [line.split(maxsplit=1) for line in lines]
    assert [line[1:] for line in said if line[1:]] == []
    shape = (8, 50, 50)
    draft = Draft.open(path, shape)
    count = len(draft.records)
    assert count >= int(said[-1][0]) >= 60
    expected = np.zeros(8 * 50 * 50, np.uint8)
    expected[:count] = np.arange(count) % 250 + 1
    np.testing.assert_array_equal(draft.array, expected.reshape(shape))
    edits = opened(path, shape)
    while edits.can_undo:
        edits.undo()
    assert not edits.array.any()


# -- any order ----------------------------------------------------------------------------------------------------


class AnyOrderOfEdits(RuleBasedStateMachine):
    """Whatever is done in whatever order, and wherever the file is cut, reopening gives a prefix of what was saved."""

    boxes = st.tuples(*(st.tuples(st.integers(0, n - 1), st.integers(1, n)) for n in SHAPE))

    @initialize(seed=st.integers(0, 99))
    def begin(self, seed):
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "a.journal"
        self.edits = new_edits(self.path, np.random.default_rng(seed).integers(0, 3, SHAPE, dtype=np.uint8))
        self.start = self.edits.base.copy()
        self.states = [self.start]  # after every step since the journal was made or compacted
        self.can_go_back = True

    def teardown(self):
        for file in self.folder.iterdir():
            file.unlink()
        self.folder.rmdir()

    def stepped(self, box):
        if box is not None:
            self.states.append(self.edits.array.copy())

    @rule(stamps=st.lists(st.tuples(boxes, st.integers(0, 3), st.booleans()), min_size=1, max_size=4))
    def stroke(self, stamps):
        atoms = []
        for ends, value, masked in stamps:
            box = tuple(slice(start, max(start + 1, stop)) for start, stop in ends)
            shape = tuple(part.stop - part.start for part in box)
            mask = (np.indices(shape).sum(axis=0) % 2 == 0) if masked else None
            atoms.append(paint(self.edits.array, box, value, mask))
        self.stepped(self.edits.record_stroke(atoms))

    @rule(seed=st.integers(0, 9))
    def operate(self, seed):
        self.stepped(self.edits.apply("any", np.random.default_rng(seed).integers(0, 3, SHAPE, dtype=np.uint8)))

    @rule(seeds=st.lists(st.integers(0, 9), min_size=1, max_size=3))
    def slide(self, seeds):
        """Preview and settle, with saving in between."""
        for seed in seeds:
            self.edits.preview("slide", np.random.default_rng(seed).integers(0, 3, SHAPE, dtype=np.uint8))
            np.testing.assert_array_equal(self.edits.settled, self.states[-1])
            self.edits.save()
        self.stepped(self.edits.settle())

    @rule()
    def undo(self):
        self.stepped(self.edits.undo())

    @rule()
    def redo(self):
        self.stepped(self.edits.redo())

    @rule()
    def save(self):
        self.edits.save()
        assert self.edits.problem is None
        if self.path.exists():
            np.testing.assert_array_equal(Draft.open(self.path, SHAPE).array, self.edits.array)

    @rule()
    def compact(self):
        self.edits.compact(beyond=0)
        self.states = [self.edits.array.copy()]
        self.can_go_back = False

    @rule()
    def kill(self):
        """What was not saved is lost, and so is what can be undone only in memory."""
        if self.path.exists():
            self.edits = opened(self.path)
            self.states = [state.copy() for state in self.states[: self.edits._draft._steps + 1]]
            np.testing.assert_array_equal(self.edits.array, self.states[-1])

    @rule(share=st.floats(0, 1))
    def tear(self, share):
        """Cut a copy of the file anywhere."""
        if not self.path.exists():
            return
        content = self.path.read_bytes()
        torn = self.folder / "torn.journal"
        torn.write_bytes(content[: int(share * len(content))])
        try:
            draft = Draft.open(torn, SHAPE)
        except PoolError:
            return
        if draft._steps == 0 and not self.can_go_back:
            return  # the compacted differences themselves may be what is torn
        np.testing.assert_array_equal(draft.array, self.states[draft._steps])

    @rule()
    def undo_everything(self):
        while self.edits.can_undo:
            self.undo()
        if self.can_go_back:
            np.testing.assert_array_equal(self.edits.array, self.start)
            assert self.edits.voxels_changed == 0

    @invariant()
    def counts_agree(self):
        assert self.edits.voxels_changed == np.count_nonzero(self.edits.array != self.start)


AnyOrderOfEdits.TestCase.settings = settings(
    max_examples=60, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
TestAnyOrderOfEdits = AnyOrderOfEdits.TestCase
