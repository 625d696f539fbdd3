"""The phantom cohort: repeatable, varied, geometrically honest, and not to be solved by a threshold."""

import hashlib

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from napari_bcp.errors import SettingError
from napari_bcp.scans import read_classes, read_mask, read_scan
from napari_bcp.scans.phantom import CYCLE, PHANTOM_CLASSES, SIZES, STORED_AXES, make_case, write_cohort

TINY = SIZES["tiny"]
VALUES = [spec.value for spec in PHANTOM_CLASSES]


@pytest.fixture(scope="module")
def cases():
    """Two turns of the cycle of variants, tiny."""
    return [make_case(0, index, shape=TINY) for index in range(12)]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """A written cohort with every variant, four of its six cases labelled."""
    return write_cohort(tmp_path_factory.mktemp("cohort"), cases=6, labelled=4, size="tiny")


def digests(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def centre(case, value):
    """Centre of a class in mm."""
    return case.affine[:3, :3] @ np.argwhere(case.mask == value).mean(0) + case.affine[:3, 3]


def millilitres(case, value):
    return (case.mask == value).sum() * np.prod(case.spacing) / 1000


def best_threshold_dice(voxels, target):
    """Highest Dice that "brighter than" or "darker than" any of 256 levels reaches."""
    levels = np.quantile(voxels, np.linspace(0, 1, 256))
    inside, everything = (np.searchsorted(np.sort(array.ravel()), levels) for array in (voxels[target], voxels))
    darker = 2 * inside / (everything + target.sum())
    brighter = 2 * (target.sum() - inside) / (voxels.size - everything + target.sum())
    return max(darker.max(), brighter.max())


def test_the_same_seed_and_index_give_the_same_case(cases):
    again = make_case(0, 3, shape=TINY)
    assert np.array_equal(again.voxels, cases[3].voxels)
    assert np.array_equal(again.mask, cases[3].mask)
    assert np.array_equal(again.affine, cases[3].affine)


def test_another_seed_gives_other_bodies(cases):
    """No case of one cohort turns up in another, under whatever number."""
    other = make_case(1, 0, shape=TINY)
    for case in cases:
        if case.mask.shape == other.mask.shape:
            assert (other.mask != case.mask).sum() > 0.15 * (case.mask > 0).sum()


def test_the_same_arguments_give_the_same_bytes_however_many_cases_there_are(cohort, tmp_path):
    shorter = digests(write_cohort(tmp_path / "shorter", cases=3, labelled=1, size="tiny"))
    whole = digests(cohort)
    assert len(shorter) == 3 + 3 + 1 + 1
    assert shorter.items() <= whole.items()


def test_the_cohort_has_all_scans_and_truths_and_only_the_labels_asked_for(cohort):
    names = {folder.name: {path.name for path in folder.iterdir()} for folder in cohort.iterdir() if folder.is_dir()}
    everything = {f"phantom_{index:03d}.nii.gz" for index in range(6)}
    assert names == {"images": everything, "truth": everything, "labels": set(sorted(everything)[:4])}
    assert read_classes(cohort / "classes.json") == PHANTOM_CLASSES


def test_progress_is_told_after_each_case(tmp_path):
    told = []
    write_cohort(tmp_path, cases=2, labelled=0, size="tiny", progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)]
    assert not (tmp_path / "labels").exists()


@pytest.mark.parametrize("index", range(6))
def test_a_written_case_reads_back_as_it_was_made(cohort, cases, index):
    """Whatever the storage order, the canonical arrays, spacing and affine are those of the case."""
    case = cases[index]
    scan = read_scan(cohort / "images" / f"{case.name}.nii.gz")
    mask = read_mask(cohort / "truth" / f"{case.name}.nii.gz", scan.grid, classes=VALUES)
    assert np.array_equal(scan.voxels, case.voxels)
    assert np.array_equal(mask.voxels, case.mask)
    assert scan.grid.spacing == pytest.approx(case.spacing, rel=1e-6)
    np.testing.assert_allclose(scan.grid.affine, case.affine, atol=1e-4)


def test_files_are_stored_in_the_axis_order_of_the_case(cohort, cases):
    stored = ["".join(nib.aff2axcodes(nib.load(path).affine)) for path in sorted((cohort / "images").iterdir())]
    assert stored == [case.axes for case in cases[:6]]
    assert stored[3] == STORED_AXES[0] == "LPS"


def test_every_class_is_one_connected_piece_of_every_case(cases):
    for case in cases:
        assert set(np.unique(case.mask)) == {0, *VALUES}
        for value in VALUES:
            assert ndimage.label(case.mask == value)[1] == 1, (case.name, value)


def test_organs_lie_where_a_reader_looks_for_them(cases):
    """Liver on the patient's right, stomach on the left and in front of the aorta, which lies near the middle."""
    for case in cases:
        liver, stomach, aorta = (centre(case, value) for value in VALUES)
        assert stomach[0] < aorta[0] < liver[0]
        assert aorta[1] < stomach[1]
        assert millilitres(case, 1) > 2 * millilitres(case, 2) > 2 * millilitres(case, 3) > 0


def test_bodies_differ_in_place_and_size_of_every_organ(cases):
    for value in VALUES:
        centres = np.stack([centre(case, value) for case in cases])
        volumes = np.array([millilitres(case, value) for case in cases])
        assert centres.std(0).max() > 4
        assert volumes.std() / volumes.mean() > 0.08


@pytest.mark.parametrize("size", ["tiny", "small"])
def test_no_threshold_finds_a_class(size):
    for index in (0, 1):
        case = make_case(0, index, shape=SIZES[size])
        for value in VALUES:
            assert best_threshold_dice(case.voxels, case.mask == value) < 0.6


def test_a_threshold_would_find_a_class_that_stands_out():
    """The measure of the test above reaches 1 where it should."""
    voxels = np.arange(1000).reshape(10, 10, 10)
    assert best_threshold_dice(voxels, voxels >= 900) > 0.97
    assert best_threshold_dice(voxels, voxels < 100) > 0.97


def test_brightness_varies_from_case_to_case(cases):
    liver = np.array([np.median(case.voxels[case.mask == 1]) for case in cases])
    assert liver.max() > 1.5 * liver.min()
    blood = np.array([np.median(case.voxels[case.mask == 3]) for case in cases])
    assert (blood / liver).std() > 0.05


def test_air_is_dark_and_noisy_and_nothing_is_negative(cases):
    for case in cases:
        assert case.voxels.dtype == np.int16
        assert case.voxels.min() >= 0
        corner = case.voxels[:4, -4:]
        assert corner.std() > 0
        assert corner.mean() < 0.3 * np.median(case.voxels[case.mask == 1])


@pytest.mark.parametrize("variant", sorted(set(CYCLE)))
def test_all_variants_show_the_same_body_at_the_same_place(variant):
    plain, other = make_case(5, 1, shape=TINY, variant="plain"), make_case(5, 1, shape=TINY, variant=variant)
    for value in (1, 2):
        assert np.linalg.norm(centre(plain, value) - centre(other, value)) < 0.7 * plain.spacing[0]
        assert millilitres(other, value) == pytest.approx(millilitres(plain, value), rel=0.1)


def test_an_oblique_case_has_a_turned_grid_of_cubes():
    case = make_case(0, 0, shape=TINY, variant="oblique")
    axes = case.affine[:3, :3] / case.spacing
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-12)
    assert np.linalg.det(axes) == pytest.approx(1)
    assert 5 < np.degrees(np.arccos((np.trace(axes) - 1) / 2)) < 25
    assert case.spacing == (8.7, 8.7, 8.7)


def test_an_anisotropic_case_has_a_third_of_the_slices_each_three_times_as_thick():
    case = make_case(0, 0, shape=TINY, variant="anisotropic")
    assert case.voxels.shape == case.mask.shape == (40, 36, 9)
    assert case.spacing == pytest.approx((8.7, 8.7, 26.1))
    np.testing.assert_allclose(case.affine[:3, :3], np.diag(case.spacing))


def test_the_grid_is_centred_on_the_body(cases):
    for case in cases:
        middle = (np.array(case.voxels.shape) - 1) / 2
        np.testing.assert_allclose(case.affine @ [*middle, 1], [0, 0, 0, 1], atol=1e-9)


def test_a_body_does_not_depend_on_the_size_of_its_voxels():
    coarse, fine = make_case(0, 4, shape=TINY), make_case(0, 4, shape=SIZES["small"])
    for value in (1, 2):
        assert np.linalg.norm(centre(coarse, value) - centre(fine, value)) < 3
        assert millilitres(coarse, value) == pytest.approx(millilitres(fine, value), rel=0.08)


@pytest.mark.parametrize("shape", [(96, 80, 1), (12, 10, 2), (1, 1, 1)])
@pytest.mark.parametrize("variant", ["plain", "anisotropic", "oblique"])
def test_flat_and_minute_shapes_are_drawn_too(shape, variant):
    case = make_case(0, 0, shape=shape, variant=variant)
    assert case.voxels.shape == case.mask.shape
    assert case.voxels.shape[:2] == shape[:2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1, "index": 0}, "positive"),
        ({"seed": 0, "index": -1}, "positive"),
        ({"seed": 0, "index": 0, "shape": (10, 0, 10)}, "positive"),
        ({"seed": 0, "index": 0, "variant": "oblike"}, "did you mean 'oblique'"),
    ],
)
def test_a_case_that_cannot_be_made_is_refused(arguments, message):
    with pytest.raises(SettingError, match=message):
        make_case(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cases": 3, "labelled": 4}, "from 0 to 3"),
        ({"cases": 3, "labelled": -1}, "from 0 to 3"),
        ({"size": "smal"}, "did you mean 'small'"),
    ],
)
def test_a_cohort_that_cannot_be_made_is_refused_before_anything_is_written(tmp_path, arguments, message):
    with pytest.raises(SettingError, match=message):
        write_cohort(tmp_path / "cohort", **arguments)
    assert not (tmp_path / "cohort").exists()
