"""Slices of the open case that deserve a look first."""

from itertools import pairwise

import numpy as np
import pytest

from napari_bcp.review.worst import slices_worth_a_look

NAMES = {1: "aorta", 2: "liver"}


def sure_tube(slices=40, size=20):
    """A map and labels of a tube of class 1 that the map is sure of; class 2 is nowhere."""
    probabilities = np.zeros((2, slices, size, size), np.uint8)
    probabilities[0, :, 5:15, 5:15] = 255
    return probabilities, np.where(probabilities[0] > 127, 1, 0).astype(np.uint8)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_slice_where_the_map_is_unsure_comes_first_and_names_the_class(axis):
    probabilities, labels = sure_tube()
    probabilities[0, 12, 5:10, 5:15] = 128
    probabilities[1, 30, 16:18, 5:15] = 100
    turned = np.moveaxis(probabilities, 1, axis + 1), np.moveaxis(labels, 0, axis)
    notes = slices_worth_a_look(*turned, axis, names=NAMES)
    assert [(note.index, note.reason) for note in notes] == [
        (12, "The model is unsure about the aorta here"),
        (30, "The model is unsure about the liver here"),
    ]
    assert notes[0].score == 1.0 > notes[1].score > 0


def test_a_large_slice_is_not_worse_for_its_size_alone():
    """Both are rings of doubt around a disc; the larger has twice the outline and the fourfold area."""
    probabilities = np.zeros((1, 10, 90, 90), np.uint8)
    y, x = np.indices((90, 90))
    distance = np.hypot(y - 45, x - 45)
    for index, radius in ((1, 20), (8, 40)):
        probabilities[0, index] = np.clip(128 + 40 * (radius - distance), 0, 255)
    labels = (probabilities[0] > 127).astype(np.uint8)
    small, large = sorted(slices_worth_a_look(probabilities, labels, 0, 3), key=lambda note: note.index)
    assert small.score == pytest.approx(large.score, rel=0.05)


def test_a_slice_that_was_forgotten_comes_before_all_doubt():
    probabilities, labels = sure_tube()
    probabilities[0, 12, 5:10] = 128
    labels[25:27] = 0
    notes = slices_worth_a_look(probabilities, labels, 0, names=NAMES)
    assert notes[0].index == 25
    assert notes[0].reason == "The aorta is missing between two slices that have it"
    assert notes[1].index == 12


def test_a_large_gap_is_meant():
    """Painted every tenth slice, or two kidneys: not forgotten."""
    probabilities, labels = sure_tube()
    labels[[index for index in range(40) if index % 10]] = 0
    assert slices_worth_a_look(probabilities, labels, 0) == []


@pytest.mark.parametrize(("rows", "word"), [(slice(5, 9), "smaller"), (slice(0, 20), "larger")])
def test_an_area_that_jumps_for_one_slice(rows, word):
    probabilities, labels = sure_tube()
    labels[20] = 0
    labels[20, rows, 5:15] = 1
    (note,) = slices_worth_a_look(probabilities, labels, 0, values=[1, 2], names=NAMES)
    assert (note.index, note.reason) == (20, f"The aorta is much {word} here than in the slices beside it")


def test_a_structure_that_ends_does_not_jump():
    probabilities, labels = sure_tube()
    labels[20:] = 0
    assert slices_worth_a_look(probabilities, labels, 0) == []


def test_slices_do_not_lie_side_by_side_and_are_not_more_than_asked():
    random = np.random.default_rng(0)
    probabilities = random.integers(0, 100, (2, 40, 20, 20)).astype(np.uint8)
    labels = np.zeros((40, 20, 20), np.uint8)
    for count in (0, 1, 3, 5):
        notes = slices_worth_a_look(probabilities, labels, 0, count)
        assert len(notes) == count
        indices = sorted(note.index for note in notes)
        assert all(after - before >= 2 for before, after in pairwise(indices))
        assert [note.score for note in notes] == sorted((note.score for note in notes), reverse=True)


def test_in_a_mirror_the_same_slices_have_the_same_scores():
    probabilities, labels = sure_tube()
    random = np.random.default_rng(1)
    for index in (3, 11, 19, 27, 35):
        probabilities[0, index, 5:15, 5:15] = random.integers(0, 256, (10, 10))
    seen = slices_worth_a_look(probabilities, labels, 0)
    mirrored = slices_worth_a_look(probabilities[:, ::-1], labels[::-1], 0)
    assert [39 - note.index for note in mirrored] == [note.index for note in seen]
    assert [note.score for note in mirrored] == pytest.approx([note.score for note in seen])


def test_a_class_without_a_name_is_called_by_its_value():
    probabilities, labels = sure_tube()
    probabilities[0, 12, 5:10] = 128
    (note,) = slices_worth_a_look(probabilities, labels, 0, values=[4, 9])
    assert note.reason == "The model is unsure about class 4 here"


def test_a_sure_map_and_even_labels_need_no_look():
    assert slices_worth_a_look(*sure_tube(), 0) == []
    assert slices_worth_a_look(np.zeros((1, 3, 4, 5), np.uint8), np.zeros((3, 4, 5), np.uint8), 2) == []


def test_other_shapes_are_refused():
    probabilities, labels = sure_tube()
    with pytest.raises(ValueError, match="labels"):
        slices_worth_a_look(probabilities, labels[1:], 0)


def doubtful(widths, places, slices=60, size=64):
    """A map and labels of two blocks through all slices, of these widths and places, each with a margin of doubt."""
    probabilities = np.zeros((2, slices, size, size), np.uint8)
    for place, (side, first) in enumerate(zip(widths, places, strict=True)):
        probabilities[place, :, first : first + side, first : first + side] = 128
        probabilities[place, :, first + 1 : first + side - 1, first + 1 : first + side - 1] = 255
    return probabilities, np.where(probabilities[0] > 200, 1, np.where(probabilities[1] > 200, 2, 0)).astype(np.uint8)


def test_a_small_class_is_named_beside_a_large_one_though_it_has_less_doubt_in_all():
    """The proposal of a case names it, so the list should."""
    probabilities, labels = doubtful((40, 8), (2, 50))
    probabilities[1, 30, 50:58, 50:58] = 128  # the small one is unsure in one slice
    notes = slices_worth_a_look(probabilities, labels, 0, names=NAMES)
    assert len(notes) == 5
    assert {"The model is unsure about the aorta here", "The model is unsure about the liver here"} == {
        note.reason for note in notes
    }
    assert (notes[0].index, notes[0].reason) == (30, "The model is unsure about the liver here")


def test_a_class_that_is_hardly_in_doubt_takes_no_turn_from_one_that_is():
    probabilities, labels = sure_tube()
    for index in (4, 10, 16, 22, 28):
        probabilities[0, index, 5:10] = 128
    probabilities[1, 34, 16, 5] = 100
    notes = slices_worth_a_look(probabilities, labels, 0, names=NAMES)
    assert [note.index for note in notes] == [4, 10, 16, 22, 28]
