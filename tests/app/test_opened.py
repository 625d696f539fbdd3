"""The open case: what its tools make of labels and map, and the drafts that it comes back from."""

import os

import nibabel as nib
import numpy as np
import pytest

import napari_bcp
from napari_bcp.app.contrast import usual_contrast, windows
from napari_bcp.app.opened import load_case
from napari_bcp.errors import ScanError, StateError
from napari_bcp.pool import Pool
from napari_bcp.pool.edit_records import difference
from napari_bcp.pool.runs import record_made
from napari_bcp.scans import display_arrays, from_display, read_grid

from made_maps import made_map  # isort: skip

SHAPE = (12, 10, 8)  # x, y, z
BALL = (slice(3, 7), slice(3, 7), slice(2, 6))
ISLAND = (slice(10, 12), slice(8, 10), slice(6, 8))


@pytest.fixture
def pool(tmp_path):
    """A pool of one case, 'a' is unlabelled and 'b' has a mask; axes are stored as PSR, spacing 1, 2, 3 mm."""
    for folder in ("scans", "masks"):
        (tmp_path / folder).mkdir()
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(tuple("PSR"))
    )
    rng = np.random.default_rng(0)
    for name in "ab":
        image = nib.Nifti1Image(rng.integers(0, 900, SHAPE).astype(np.int16), affine)
        nib.save(image.as_reoriented(turn), tmp_path / "scans" / f"{name}.nii.gz")
    mask = np.zeros(SHAPE, np.uint8)
    mask[BALL] = 1
    nib.save(nib.Nifti1Image(mask, affine).as_reoriented(turn), tmp_path / "masks" / "b.nii.gz")
    made = napari_bcp.new_pool(tmp_path / "pool", tmp_path / "scans", tmp_path / "masks")
    yield made
    made.close()


def with_map(pool, probability, name="a"):
    """Give a case a map of class 1, x, y, z, 0 to 255; its pseudo-label is the ball, whatever the map says."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[BALL] = 1
    made = made_map(pool.root, name, labels)
    from napari_bcp.scans.maps import MapWriter

    writer = MapWriter(SHAPE, [1])
    writer.add(0, probability[None])
    writer.save(pool.map_folder(name) / "run0001-step0000010.map.b2nd", {"run": "0001", "step": 10})
    record_made(pool, made)
    return load_case(pool, name)


def soft_ball():
    """A map that falls from 240 in the ball to 100 one voxel around it, with an island of 200 far away."""
    probability = np.zeros(SHAPE, np.uint8)
    probability[tuple(slice(part.start - 1, part.stop + 1) for part in BALL)] = 100
    probability[BALL] = 240
    probability[ISLAND] = 200
    return probability


def canonical(case):
    return from_display(case.labels)


def slide(case, level, final):
    """Move the border of class 1 as a slider does, with nothing between."""
    border = case.moving_border(1)
    labels = border.at(level)
    case.edits.preview("move border", labels, border.box)
    if final:
        case.settle_border(1, level, difference(case.border_name(1, level), border.labels, labels))


def test_moving_the_border_outwards_takes_in_the_rim_and_leaves_islands_alone(pool):
    case = with_map(pool, soft_ball())
    slide(case, 90, final=False)
    wanted = np.zeros(SHAPE, bool)
    wanted[tuple(slice(part.start - 1, part.stop + 1) for part in BALL)] = True
    np.testing.assert_array_equal(canonical(case) == 1, wanted)
    assert not case.edits.can_undo, "it is a preview"
    slide(case, 120, final=False)
    slide(case, 90, final=True)
    np.testing.assert_array_equal(canonical(case) == 1, wanted)
    assert case.edits.operations == ("border of class 1 at 35 %",), "a slide is one step"
    case.edits.undo()
    np.testing.assert_array_equal(case.labels, case.proposal)


def test_a_newer_map_leaves_labels_alone_that_the_reader_goes_through(pool):
    case = with_map(pool, soft_ball())
    newer = np.zeros_like(case.labels)
    newer[2:4] = 1
    before = case.labels.copy()
    case.look()
    assert not case.take_map(case.map, newer)
    np.testing.assert_array_equal(case.labels, before)
    assert case.take_newer()
    np.testing.assert_array_equal(case.labels, newer)
    assert (case.newer, case.edits.voxels_changed) == (None, 0)


def test_a_newer_proposal_is_not_taken_once_there_is_an_edit(pool):
    case = with_map(pool, soft_ball())
    case.look()
    case.take_map(case.map, np.ones_like(case.labels))
    painted = case.labels.copy()
    painted[0, 0, 0] = 1
    case.edits.apply("mend", painted)
    assert not case.take_newer()
    case.take_map(case.map, np.ones_like(case.labels))
    assert case.newer is None, "it could never be taken"
    np.testing.assert_array_equal(case.labels, painted)


def test_a_restored_draft_knows_where_its_borders_are(pool):
    case = with_map(pool, soft_ball())
    assert case.border_at(1) == 128
    slide(case, 90, final=True)
    assert case.border_at(1) == round(2.55 * 35)
    case.edits.save()
    again = load_case(pool, case.name)
    assert again.border_at(1) == round(2.55 * 35)
    again.edits.undo()
    assert again.border_at(1) == 128


def test_a_border_that_was_taken_back_can_be_moved_again(pool):
    case = with_map(pool, soft_ball())
    slide(case, 90, final=True)
    moved = case.labels.copy()
    case.edits.undo()
    slide(case, 90, final=True)
    np.testing.assert_array_equal(case.labels, moved)
    case.edits.apply("revert", case.proposal.copy())
    slide(case, 90, final=True)
    np.testing.assert_array_equal(case.labels, moved)


def test_the_border_comes_back_to_where_it_was(pool):
    case = with_map(pool, soft_ball())
    for level in (90, 250, 128):
        slide(case, level, final=True)
    np.testing.assert_array_equal(case.labels, case.proposal)


def test_what_was_drawn_by_hand_stays_when_the_border_moves(pool):
    case = with_map(pool, soft_ball())
    labels = canonical(case).copy()
    labels[0:2, 0:2, 0:2] = 1  # drawn where the map has nothing
    labels[4, 4, 3] = 0  # erased in the middle
    shown, _ = display_arrays(labels, case._grid)
    case.edits.apply("paint", np.ascontiguousarray(shown))
    slide(case, 90, final=True)
    assert (canonical(case)[0:2, 0:2, 0:2] == 1).all()
    assert canonical(case)[4, 4, 3] == 0
    assert canonical(case)[2, 3, 3] == 1, "the rim has come in"


def test_an_island_is_listed_with_its_volume_and_restored_on_its_own(pool):
    case = with_map(pool, soft_ball())
    [island] = case.islands()
    assert (island.value, island.voxels) == (1, 8)
    assert island.volume_ml == pytest.approx(8 * 6 / 1000)
    assert island.mean_probability == pytest.approx(200 / 255)
    case.edits.apply("restore island", case.restore_island(case.labels, island))
    assert (canonical(case)[ISLAND] == 1).all()
    assert case.islands() == []


def test_uncertainty_is_where_the_map_wavers(pool):
    case = with_map(pool, soft_ball())
    doubt = from_display(case.uncertainty())
    assert doubt[0, 0, 0] == 0
    assert doubt[2, 3, 3] > doubt[4, 4, 3] > 0


def test_interpolation_fills_between_painted_slices_along_the_shown_axis(pool):
    case = load_case(pool, "a")
    labels = np.zeros_like(case.labels)
    labels[1, 2:6, 2:6] = labels[5, 2:6, 2:6] = 1
    case.edits.apply("paint", labels)
    case.edits.apply("interpolate", case.interpolate(case.labels, 1, 0))
    assert (case.labels[1:6, 2:6, 2:6] == 1).all()
    assert case.labels.sum() == 5 * 16


def test_a_map_on_another_grid_is_told_of_and_not_shown(pool):
    case = with_map(pool, soft_ball())
    from napari_bcp.scans.maps import MapWriter

    MapWriter((12, 10, 9), [1]).save(case.case.map.map_path, {})
    again = load_case(pool, "a")
    assert again.map is None
    assert any("is no map that can be read" in note for note in again.notes)
    assert again.source == "pseudo-label"


def test_a_scan_that_has_another_shape_now_is_not_opened(pool):
    path = pool.case("a").path
    nib.save(nib.Nifti1Image(np.zeros((3, 4, 5), np.int16), np.eye(4)), path)
    with pytest.raises(ScanError, match=r"is \(3, 4, 5\) now and was \(12, 10, 8\)"):
        load_case(pool, "a")


def test_why_a_mask_was_refused_is_told_until_there_is_one(tmp_path, pool):
    def told():
        return [note for note in load_case(pool, "a").notes if note.startswith("The mask ")]

    assert told() == []
    (tmp_path / "more").mkdir()
    nib.save(nib.Nifti1Image(np.zeros((3, 3, 3), np.uint8), np.eye(4)), tmp_path / "more" / "a.nii.gz")
    pool.extend(tmp_path / "scans", tmp_path / "more")
    (note,) = told()
    assert note.startswith(f"The mask {tmp_path / 'more' / 'a.nii.gz'} was left out: {tmp_path / 'more' / 'a.nii.gz'}")
    pool.accept("a", np.zeros(SHAPE, np.uint8))
    assert told() == []
    pool.reset("a")
    assert told() == []


def test_an_unusable_case_says_why_it_cannot_be_shown(pool):
    pool.mark_unusable("a", "It is torn; mend it.")
    with pytest.raises(StateError, match="It is torn; mend it"):
        load_case(pool, "a")


def test_a_damaged_draft_is_kept_and_told_of_and_the_reader_begins_anew(pool):
    pool.begin_draft("a")
    file = pool.draft_file("a")
    file.parent.mkdir()
    file.write_bytes(b"no draft at all")
    case = load_case(pool, "a")
    assert any("is damaged" in note for note in case.notes)
    case.edits.apply("paint", np.ones_like(case.labels))
    case.edits.save()
    assert case.edits.problem is None
    assert file.with_name("a.journal.before").read_bytes() == b"no draft at all"
    np.testing.assert_array_equal(load_case(pool, "a").labels, case.labels)


def test_a_draft_that_was_left_over_counts_no_more_once_its_case_is_accepted(pool):
    case = load_case(pool, "a")
    case.edits.apply("paint", np.ones_like(case.labels))
    case.edits.save()
    journal = pool.draft_file("a").read_bytes()
    pool.accept("a", np.zeros(SHAPE, np.uint8))
    pool.draft_file("a").write_bytes(journal)  # as if killed between the two
    case = load_case(pool, "a")
    assert (case.source, case.editable) == ("mask", False)
    assert not case.labels.any()


def test_a_case_opens_in_the_middle_of_what_is_labelled(pool):
    case = load_case(pool, "b")
    z, y, x = case.centre
    assert case.labels[z, y, x] == 1
    z, y, x = load_case(pool, "a").centre
    assert (z, y, x) == (4, 5, 6)


def test_the_mask_lies_on_the_scan_whatever_order_the_file_has(pool):
    case = load_case(pool, "b")
    assert read_grid(pool.case("b").path).file_shape == (10, 8, 12)
    wanted = np.zeros(SHAPE, bool)
    wanted[BALL] = True
    np.testing.assert_array_equal(case.mask() == 1, wanted)
    assert case.spacing_zyx == (3, 2, 1)


def test_ct_has_its_windows_and_other_scans_their_own_range():
    rng = np.random.default_rng(0)
    ct = np.rint(rng.normal(0, 400, (20, 20, 20))).clip(-1000, 1500).astype(np.float32)
    assert windows(ct)["soft tissue"] == (-160, 240)
    assert windows(ct / 10) == {}
    assert windows(np.abs(ct)) == {}
    low, high = usual_contrast(np.arange(1001, dtype=np.float32))
    assert (low, high) == (10, 995)
    assert usual_contrast(np.zeros((3, 3, 3), np.float32)) == (0, 1)


def test_opening_a_pool_does_not_need_the_scans_of_cases_that_nobody_opens(pool):
    pool.case("b").path.unlink()
    root = pool.root
    pool.close()
    with Pool.open(root) as again:
        assert len(again.cases()) == 2
        with pytest.raises(ScanError, match=r"b\.nii\.gz"):
            load_case(again, "b")


def test_a_scan_that_was_replaced_by_another_is_told(pool, tmp_path):
    """A new date of the same file is nothing to tell."""
    file = tmp_path / "scans" / "b.nii.gz"
    os.utime(file, ns=(1, 1))
    assert not [note for note in load_case(pool, "b").notes if "look whether its labels fit" in note]
    image = nib.load(file)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[::-1].copy(), image.affine), file)
    assert [note for note in load_case(pool, "b").notes if "look whether its labels fit" in note]
