"""What is only previewed, and edits that were worked out beside the window."""

import numpy as np
import pytest
from edits_by_hand import SHAPE, box_of, opened, paint

from napari_bcp.errors import GridMismatchError, StateError


def labels_with(value, *box):
    """Return empty labels with a block of `value`."""
    made = np.zeros(SHAPE, np.uint8)
    made[box] = value
    return made


WIDE = labels_with(1, 1, slice(1, 5), slice(1, 5))
NARROW = labels_with(1, 1, slice(2, 4), slice(2, 4))


def test_a_preview_is_on_the_screen_and_no_edit_until_it_is_settled(edits, path):
    boxes = []
    edits.changed.connect(boxes.append)
    assert edits.preview("border", WIDE) == box_of((1, 2), (1, 5), (1, 5))
    np.testing.assert_array_equal(edits.array, WIDE)
    assert not edits.settled.any()
    assert (edits.operations, edits.can_undo, edits.dirty, edits.voxels_changed) == ((), False, False, 0)
    edits.save()
    assert not path.exists()
    edits.preview("border", NARROW)
    assert edits.settle() == box_of((1, 2), (2, 4), (2, 4))
    np.testing.assert_array_equal(edits.settled, NARROW)
    assert (edits.operations, edits.dirty, edits.voxels_changed) == (("border",), True, 4)
    assert edits.settle() is None
    assert boxes == [box_of((1, 2), (1, 5), (1, 5))] * 2 + [box_of((1, 2), (2, 4), (2, 4))]
    edits.undo()
    assert not edits.array.any(), "one step, however far the slider went"


def test_a_preview_that_ends_where_it_began_is_no_edit(edits):
    edits.apply("fill", NARROW)
    edits.preview("border", WIDE)
    edits.preview("border", NARROW)
    assert edits.settle() is None
    assert edits.operations == ("fill",)
    np.testing.assert_array_equal(edits.array, NARROW)


def test_a_preview_of_what_is_there_already_leaves_what_can_be_redone(edits):
    edits.apply("fill", NARROW)
    edits.undo()
    edits.preview("border", np.zeros(SHAPE, np.uint8))
    edits.settle()
    assert edits.undone == ("fill",)


@pytest.mark.parametrize("painted_first", [True, False])
def test_a_stroke_during_a_preview_comes_after_it_and_both_are_undone_one_by_one(edits, path, painted_first):
    """A stroke, and a fill, of which napari tells before it is painted."""
    edits.preview("border", WIDE)
    box = box_of((1, 2), (3, 6), (3, 7))
    old = edits.array[box].copy()
    if painted_first:
        edits.array[box] = 2
    edits.record_stroke([(box, None, old, 2)])
    both = WIDE.copy()
    both[box] = 2
    np.testing.assert_array_equal(edits.array, both)
    assert edits.operations == ("border", "paint")
    edits.save()
    again = opened(path)
    np.testing.assert_array_equal(again.array, both)
    assert again.operations == ("border", "paint")
    for one in (edits, again):
        one.undo()
        np.testing.assert_array_equal(one.array, WIDE)
        one.undo()
        assert not one.array.any()
        one.redo()
        one.redo()
        np.testing.assert_array_equal(one.array, both)


def test_a_stroke_that_changes_nothing_still_ends_the_preview(edits):
    edits.preview("border", WIDE)
    box = box_of((1, 2), (2, 3), (2, 3))
    edits.record_stroke([paint(edits.array, box, 1)])
    assert edits.operations == ("border",)
    np.testing.assert_array_equal(edits.array, WIDE)


def test_undo_and_redo_settle_first(edits):
    edits.apply("fill", NARROW)
    edits.preview("border", WIDE)
    edits.undo()
    np.testing.assert_array_equal(edits.array, NARROW)
    assert (edits.operations, edits.undone) == (("fill",), ("border",))
    edits.undo()
    edits.preview("border", WIDE)
    edits.redo()
    np.testing.assert_array_equal(edits.array, WIDE)
    assert (edits.operations, edits.undone) == (("border",), ()), "a new edit ends what could be redone"


def test_another_operation_and_another_preview_settle_first(edits):
    edits.preview("border of 1", WIDE)
    edits.preview("border of 2", labels_with(2, 0))
    assert edits.operations == ("border of 1",)
    edits.apply("smooth", NARROW)
    assert edits.operations == ("border of 1", "border of 2", "smooth")
    states = [labels_with(2, 0), WIDE, np.zeros(SHAPE, np.uint8)]
    for state in states:
        edits.undo()
        np.testing.assert_array_equal(edits.array, state)


def test_a_newer_map_does_not_replace_what_was_previewed(edits):
    edits.preview("border", WIDE)
    with pytest.raises(StateError, match="have been edited"):
        edits.start_from(NARROW)
    np.testing.assert_array_equal(edits.array, WIDE)
    assert edits.operations == ("border",)


def test_a_preview_of_a_box_leaves_the_rest_and_is_undone_as_one(edits):
    rng = np.random.default_rng(1)
    edits.apply("paint", rng.integers(0, 3, SHAPE, dtype=np.uint8))
    before, box = edits.array.copy(), box_of((1, 3), (2, 5), (0, 4))
    assert edits.preview("border", np.full((2, 3, 4), 7, np.uint8), box) == box
    np.testing.assert_array_equal(edits.settled, before)
    assert (edits.array[box] == 7).all()
    assert (edits.array == before).sum() == before.size - 24
    assert edits.settle("border of 7") == box
    assert edits.operations == ("paint", "border of 7")
    edits.undo()
    np.testing.assert_array_equal(edits.array, before)


def test_an_edit_that_was_worked_out_leaves_what_was_painted_meanwhile(edits):
    change = edits.prepare("fill", lambda labels: np.full_like(labels, 3))
    stroke = labels_with(5, 2)
    edits.apply("paint", stroke)
    left = edits.prepare("clear", lambda labels: np.where(labels == 9, np.uint8(1), labels))
    assert left.record is None
    assert edits.take(left) is None
    edits.take(change)
    assert (edits.array == 3).all(), "where the two meet, the later one counts"
    edits.undo()
    np.testing.assert_array_equal(edits.array, stroke)
    half = edits.prepare("half", lambda labels: np.where(np.arange(SHAPE[2]) < 2, np.uint8(4), labels))
    edits.apply("paint", np.where(np.arange(SHAPE[2]) == SHAPE[2] - 1, np.uint8(6), edits.array))
    edits.take(half)
    assert (edits.array[..., :2] == 4).all()
    assert (edits.array[..., -1] == 6).all()


def test_an_edit_is_worked_out_from_the_labels_without_a_preview(edits):
    edits.preview("border", WIDE)
    seen = []
    edits.prepare("look", lambda labels: seen.append(labels.copy()) or labels)
    assert not seen[0].any()


def test_a_newer_map_that_was_compared_before_a_stroke_is_not_taken(edits):
    change = edits.prepare("start", lambda _: NARROW)
    edits.apply("paint", WIDE)
    edits.undo()
    with pytest.raises(StateError):
        edits.start_from(NARROW, change)


def test_a_preview_of_other_labels_is_refused(edits):
    with pytest.raises(GridMismatchError, match="'border'"):
        edits.preview("border", np.zeros((1, 2, 3), np.uint8))
    with pytest.raises(ValueError, match="int32 numbers"):
        edits.preview("border", np.zeros(SHAPE, np.int32))
    assert edits.settle() is None


def test_the_journal_of_previews_strokes_and_undo_gives_the_same_labels(edits, path):
    rng = np.random.default_rng(3)
    for turn in range(30):
        for _ in range(rng.integers(0, 4)):
            edits.preview("border", rng.integers(0, 3, SHAPE, dtype=np.uint8))
        if turn % 4 == 1:
            edits.record_stroke([paint(edits.array, box_of((0, 2), (turn % 5, 6), (0, 4)), turn % 3)])
        elif turn % 4 == 2:
            edits.undo()
        elif turn % 8 == 3:
            edits.redo()
    edits.settle()
    edits.save()
    again = opened(path)
    np.testing.assert_array_equal(again.array, edits.array)
    assert (again.operations, again.undone) == (edits.operations, edits.undone)
    assert again.voxels_changed == edits.voxels_changed == np.count_nonzero(edits.array)
    while edits.can_undo:
        edits.undo()
    assert not edits.array.any()
