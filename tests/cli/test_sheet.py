"""The contact sheet: the right slice, the right way round, legible, and nothing on top of anything else."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from napari_bcp.cli import sheet
from napari_bcp.cli.sheet import SheetRow, write_sheet
from napari_bcp.errors import GridMismatchError, SettingError
from napari_bcp.scans import ClassSpec

CLASSES = (ClassSpec(1, "organ", "#e69f00"), ClassSpec(2, "spot", "#56b4e9"))
PAPER = np.array(to_rgb(sheet.PAPER))


def row_of(shape=(40, 30, 8), spacing=(1.0, 1.0, 3.0), **changes):
    """A noisy scan with a box of class 1 and, in it, a smaller one of class 2 in fewer slices."""
    rng = np.random.default_rng(0)
    labels = np.zeros(shape, np.uint8)
    labels[8:30, 8:24] = 1
    labels[20:26, 12:18, shape[2] // 2 :] = 2
    scan = rng.normal(100, 20, shape).astype(np.float32) + 80 * labels
    maps = np.stack([np.where(labels == value, 230, 5) for value in (1, 2)]).astype(np.uint8)
    return SheetRow(**{"name": "case_a", "scan": scan, "map": maps, "pseudo": labels, "truth": labels,
                       "spacing": spacing, "dice": {1: 0.91, 2: 0.5}, "note": "a note"} | changes)  # fmt: skip


def picture_of(folder, rows, classes=CLASSES, title=""):
    write_sheet(folder / "sheet.png", rows, classes, title)
    return imread(folder / "sheet.png")[..., :3]


def panels_of(picture, columns, rows=1):
    """Cut the panels out of a sheet without title, by rows and columns."""
    left, bottom = sheet.MARGIN + sheet.SIDE, sheet.MARGIN
    width = (picture.shape[1] - left - sheet.MARGIN) // columns - sheet.GAP
    top = picture.shape[0] - bottom - rows * sheet.ROW - (rows - 1) * sheet.GAP
    return [
        [
            picture[y : y + sheet.ROW, x : x + width]
            for x in (left + column * (width + sheet.GAP) for column in range(columns))
        ]
        for y in (top + row * (sheet.ROW + sheet.GAP) for row in range(rows))
    ]


def has_colour(panel, colour, least=10):
    return (np.abs(panel - to_rgb(colour)).max(-1) < 0.12).sum() >= least


def has_hue(panel):
    """Whether anything in the panel is not grey."""
    return np.ptp(panel, axis=-1).max() > 0.2


def bright_box(panel):
    """First and last row and column of what is white."""
    rows, columns = np.nonzero(panel.min(-1) > 0.9)
    return rows.min(), rows.max(), columns.min(), columns.max()


@pytest.mark.parametrize("shape", [(40, 30, 8), (40, 30, 1)])
def test_a_row_shows_scan_map_pseudo_label_and_mask(tmp_path, shape):
    ((scan, heat, pseudo, mask),) = panels_of(picture_of(tmp_path, [row_of(shape)]), 4)
    assert scan.std() > 0.1
    assert not has_hue(scan)
    assert has_hue(heat)
    for panel in (pseudo, mask):
        assert has_colour(panel, "#e69f00")
        assert has_colour(panel, "#56b4e9")


def test_without_masks_their_column_is_left_out(tmp_path):
    with_masks = picture_of(tmp_path, [row_of()])
    without = picture_of(tmp_path, [row_of(truth=None, dice=None)])
    assert without.shape[0] == with_masks.shape[0]
    width = with_masks.shape[1] - without.shape[1]
    assert width == without.shape[1] - 2 * sheet.MARGIN - sheet.SIDE - 2 * width
    ((_, heat, pseudo),) = panels_of(without, 3)
    assert has_hue(heat)
    assert has_colour(pseudo, "#e69f00")


def test_a_case_without_map_or_mask_says_so_where_others_have_them(tmp_path):
    rows = [row_of(), row_of(map=None, truth=None, dice=None)]
    _, (scan, heat, pseudo, mask) = panels_of(picture_of(tmp_path, rows), 4, rows=2)
    assert scan.std() > 0.1
    assert has_colour(pseudo, "#e69f00")
    for panel in (heat, mask):
        assert np.median(panel) == 0
        assert panel.max() > 0.4  # the words
        assert (panel > 0.1).mean() < 0.05


def test_every_row_adds_the_same_height(tmp_path):
    one, two = (picture_of(tmp_path, [row_of()] * count) for count in (1, 2))
    assert two.shape[0] - one.shape[0] == sheet.ROW + sheet.GAP
    assert two.shape[1] == one.shape[1]


def test_the_patients_right_is_on_the_left_and_anterior_is_up(tmp_path):
    scan = np.zeros((40, 40, 3), np.float32)
    scan[30:36, 28:38] = 1  # +x is right, +y is anterior
    scene = row_of((40, 40, 3), scan=scan, map=None, truth=None)
    panel = panels_of(picture_of(tmp_path, [scene]), 3)[0][0]
    top, bottom, left, right = bright_box(panel)
    assert bottom < panel.shape[0] / 2
    assert right < panel.shape[1] / 2
    assert (bottom - top) / (right - left) == pytest.approx(10 / 6, rel=0.05)


def test_voxels_keep_their_proportions_in_mm(tmp_path):
    scan = np.zeros((40, 20, 3), np.float32)
    scan[10:30, 5:15] = 1
    scene = row_of((40, 20, 3), (1.0, 3.0, 2.0), scan=scan, map=None, truth=None)
    top, bottom, left, right = bright_box(panels_of(picture_of(tmp_path, [scene]), 3)[0][0])
    assert (bottom - top) / (right - left) == pytest.approx(30 / 20, rel=0.05)


def test_a_flat_scan_is_shown_across_its_flat_axis(tmp_path):
    labels = np.zeros((30, 1, 40), np.uint8)
    labels[5:15, :, 30:38] = 1
    scan = labels.astype(np.float32)
    scene = row_of((30, 1, 40), scan=scan, map=None, pseudo=labels, truth=None)
    panel = panels_of(picture_of(tmp_path, [scene]), 3)[0][0]
    top, bottom, left, right = bright_box(panel)
    assert bottom < panel.shape[0] / 2  # superior is up
    assert left > panel.shape[1] / 2 - (right - left) / 2  # the patient's left is on the right
    assert (bottom - top) / (right - left) == pytest.approx(8 * 3 / 10, rel=0.06)


def test_the_slice_with_the_most_foreground_is_shown_each_class_counting_alike():
    labels = np.zeros((20, 20, 5), np.uint8)
    labels[:10, :10, 1] = 1  # 100 of class 1
    labels[:9, :10, 3] = 1  # 90 of class 1 and all of class 2
    labels[15, 15, 3] = 2
    assert sheet._choose_cut(row_of((20, 20, 5), pseudo=labels, truth=None)) == (2, 3)
    labels[15, 15, 3] = 0
    assert sheet._choose_cut(row_of((20, 20, 5), pseudo=labels, truth=None)) == (2, 1)


def test_the_mask_decides_on_the_slice_and_the_middle_if_nothing_is_labelled():
    empty, mask = np.zeros((20, 20, 5), np.uint8), np.zeros((20, 20, 5), np.uint8)
    mask[3, 3, 4] = 1
    pseudo = np.roll(mask, -2, axis=2)
    assert sheet._choose_cut(row_of((20, 20, 5), pseudo=pseudo, truth=mask)) == (2, 4)
    assert sheet._choose_cut(row_of((20, 20, 5), pseudo=pseudo, truth=empty)) == (2, 2)
    assert sheet._choose_cut(row_of((20, 20, 5), pseudo=empty, truth=None)) == (2, 2)


def test_a_map_with_a_plane_of_background_looks_the_same(tmp_path):
    scene = row_of()
    background = 255 - scene.map.sum(0, keepdims=True)
    more = np.concatenate([background, scene.map]).astype(np.uint8)
    assert np.array_equal(picture_of(tmp_path, [scene]), picture_of(tmp_path, [row_of(map=more)]))


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "a_case_whose_name_is_far_too_long_to_be_shown_beside_its_pictures"},
        {"note": "a_note_of_one_word_that_is_very_long " * 9},
        {"dice": dict.fromkeys(range(1, 31), 0.5), "note": "a note of many words " * 9},
    ],
)
def test_words_stay_in_their_column_and_row(tmp_path, changes):
    """The gaps between the words and the pictures, and between two rows, stay empty."""
    classes = tuple(ClassSpec(value, f"a class of number {value} with a name", "#e69f00") for value in range(1, 31))
    picture = picture_of(tmp_path, [row_of(**changes)] * 2, classes)
    lower = picture[-sheet.MARGIN - 2 * sheet.ROW - sheet.GAP :]
    beside = lower[:, sheet.MARGIN + sheet.SIDE - 6 : sheet.MARGIN + sheet.SIDE - 1]
    between = lower[sheet.ROW + 2 : sheet.ROW + sheet.GAP - 1, : sheet.MARGIN + sheet.SIDE - 1]
    for strip in (beside, between, picture[:, : sheet.MARGIN - 2], picture[:, -sheet.MARGIN + 2 :]):
        np.testing.assert_allclose(strip, np.broadcast_to(PAPER, strip.shape), atol=0.01)


def test_the_legend_names_every_class_and_wraps(tmp_path):
    classes = tuple(
        ClassSpec(v, f"class with the long name {v}", c) for v, c in enumerate(("#e69f00", "#cc79a7") * 6, 1)
    )
    few, many = picture_of(tmp_path, [row_of()]), picture_of(tmp_path, [row_of()], classes)
    added = many.shape[0] - few.shape[0]
    assert added > 0
    swatches = many[: added + sheet.MARGIN + sheet.LINE]
    counts = [(np.abs(swatches - to_rgb(colour)).max(-1) < 0.02).sum() for colour in ("#e69f00", "#cc79a7")]
    assert counts == pytest.approx([6 * 144, 6 * 144], rel=0.1)


def test_any_name_can_be_drawn(tmp_path):
    """Signs of formulas are not read as such, and letters that the font lacks do not stop the sheet."""
    classes = (ClassSpec(1, "$\\frac{", "#e69f00"), ClassSpec(2, "肝臓", "#56b4e9"))
    row = row_of(name="a$_b^$", note="$5 a piece, 50 $ in all")
    assert picture_of(tmp_path, [row], classes, "100 $\\badly{").size


@pytest.mark.parametrize("value", [0.0, -1000.0, np.nan])
def test_a_scan_of_one_brightness_is_shown(tmp_path, value):
    scene = row_of(scan=np.full((40, 30, 8), value, np.float32), dice={1: np.nan})
    panel = panels_of(picture_of(tmp_path, [scene]), 4)[0][2]
    assert has_colour(panel, "#e69f00")


def test_a_class_that_fills_the_slice_is_outlined_at_its_edge(tmp_path):
    full = np.ones((40, 30, 8), np.uint8)
    panel = panels_of(picture_of(tmp_path, [row_of(pseudo=full, truth=None)]), 3)[0][2]
    assert has_colour(panel, "#e69f00", 500)


def test_of_many_cases_the_first_are_shown_and_the_title_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(sheet, "MOST", 2)
    written, put = [], sheet._Page.text

    def put_and_note(page, x, y, words, *args, **style):
        written.append(words)
        put(page, x, y, words, *args, **style)

    monkeypatch.setattr(sheet._Page, "text", put_and_note)
    picture_of(tmp_path, [row_of(name=f"case_{number}") for number in range(3)], title="All")
    assert "All (the first 2 of 3 cases)" in written
    assert {"case_0", "case_1"} <= set(written)
    assert "case_2" not in written


def test_no_case_is_refused(tmp_path):
    with pytest.raises(SettingError, match="at least one case"):
        write_sheet(tmp_path / "sheet.png", [], CLASSES)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"pseudo": np.zeros((40, 30, 7), np.uint8)}, "pseudo-label"),
        ({"truth": np.zeros((30, 40, 8), np.uint8)}, "mask"),
        ({"map": np.zeros((2, 40, 30, 9), np.uint8)}, "map"),
    ],
)
def test_an_array_of_another_shape_is_refused_by_name(tmp_path, changes, what):
    with pytest.raises(GridMismatchError, match=f"The {what} of case 'case_a'"):
        write_sheet(tmp_path / "sheet.png", [row_of(**changes)], CLASSES)
    assert not list(tmp_path.iterdir())
