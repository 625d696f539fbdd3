"""Real files in every orientation, and odd ones that people do open; marked `real`."""

import os
from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_bcp.errors import MaskError, ScanError
from napari_bcp.scans import pair, read_grid, read_mask, read_scan, write_mask

pytestmark = pytest.mark.real

CODES = ["".join(axes) for order in permutations(("RL", "AP", "SI")) for axes in product(*order)]
LIKE_SMALL = ["big_endian.nii", "nifti2.nii.gz", "trailing_1.nii.gz", "micron.nii.gz", "qform_only.nii.gz",
              "sform_only.nii.gz"]  # fmt: skip
REFUSED_SCANS = [
    "4d_three_volumes.nii.gz", "rgb.nii.gz", "complex.nii.gz", "sheared.nii.gz", "singular_affine.nii.gz",
    "zero_pixdim.nii", "all_nan.nii.gz", "truncated.nii", "truncated_gzip.nii.gz", "empty.nii.gz", "not_nifti.nii.gz",
    "gzip_named_nii.nii", "datatype.nii", "vox_offset.nii", "negative_dim.nii", "zero_dim.nii",
    "header_claims_32767_cubed.nii", "header_claims_32767_cubed.nii.gz",
]  # fmt: skip
REFUSED_MASKS = {
    "other_shape": "has 15 × 24 × 16 voxels",
    "other_affine": "lies elsewhere",
    "of_reoriented_scan": "has 32 × 48 × 32 voxels",
    "unknown_classes": "but the classes are 1, 2",
    "fractions": "no whole numbers",
    "negative": "values from -2",
}


@pytest.fixture(scope="module")
def formats():
    if "NAPARI_BCP_DATA" not in os.environ:
        pytest.skip("NAPARI_BCP_DATA does not name the folder of real scans")
    return Path(os.environ["NAPARI_BCP_DATA"]) / "formats"


@pytest.fixture(scope="module")
def odd(formats):
    return formats / "odd"


@pytest.fixture(scope="module")
def small(odd):
    return read_scan(odd / "good_small.nii.gz")


@pytest.mark.parametrize("code", CODES)
def test_all_orientations_hold_the_same_scan_and_mask(code, formats, tmp_path):
    folder = formats / "orientations"
    reference = read_scan(folder / "images" / "RAS.nii.gz")
    truth = read_mask(folder / "masks" / "RAS.nii.gz", reference.grid)
    scan = read_scan(folder / "images" / f"{code}.nii.gz")
    np.testing.assert_array_equal(scan.voxels, reference.voxels)
    np.testing.assert_allclose(scan.grid.affine, reference.grid.affine, atol=1e-4)
    assert scan.grid.spacing == (0.8, 1.1, 2.5)
    mask = read_mask(folder / "masks" / f"{code}.nii.gz", scan.grid)
    np.testing.assert_array_equal(mask.voxels, truth.voxels)
    write_mask(tmp_path / "mask.nii.gz", mask.voxels, scan.grid)
    written, stored = nib.load(tmp_path / "mask.nii.gz"), nib.load(folder / "masks" / f"{code}.nii.gz")
    np.testing.assert_array_equal(np.asarray(written.dataobj), np.asarray(stored.dataobj))
    np.testing.assert_array_equal(written.affine, nib.load(scan.path).affine)


@pytest.mark.parametrize("name", LIKE_SMALL)
def test_variants_of_a_scan_hold_its_voxels(name, odd, small):
    scan = read_scan(odd / f"good_{name}")
    np.testing.assert_array_equal(scan.voxels, small.voxels)
    assert scan.grid.spacing == ((0.8, 1.1, 2.5) if name.startswith("sform") else (1, 1, 1))


def test_slope_and_intercept_are_applied(odd):
    stored = nib.load(odd / "good_slope_intercept.nii.gz").dataobj.get_unscaled()
    np.testing.assert_array_equal(read_scan(odd / "good_slope_intercept.nii.gz").voxels, 7.5 * stored - 1000)


def test_flat_images_are_volumes_of_one_slice(odd):
    flat, slice_ = read_scan(odd / "good_2d.nii.gz"), read_scan(odd / "good_one_slice.nii.gz")
    assert flat.voxels.shape == (16, 24, 1)
    np.testing.assert_array_equal(flat.voxels, slice_.voxels)
    assert flat.grid.spacing[:2] == (0.5, 0.5)
    assert slice_.grid.spacing == (0.5, 0.5, 8)


@pytest.mark.parametrize("name", ["affine_rounding", "float_integers"])
def test_masks_that_are_fine_are_read(name, odd, small):
    truth = read_mask(odd / "good_small_mask.nii.gz", small.grid, classes={1, 2})
    mask = read_mask(odd / f"good_mask_{name}.nii.gz", small.grid, classes={1, 2})
    np.testing.assert_array_equal(mask.voxels, truth.voxels)
    assert mask.notes == truth.notes == ()
    assert set(np.unique(truth.voxels)) == {0, 1, 2}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no_forms", "does not say how it is oriented"),
        ("units_unknown", "does not say the unit"),
        ("some_nan", "has 2 voxels that are not finite: they were set to its lowest value"),
        ("constant", "is 7 everywhere"),
    ],
)
def test_usable_scans_come_with_a_word_to_the_reader(name, words, odd, small):
    scan = read_scan(odd / f"warn_{name}.nii.gz")
    (note,) = scan.notes
    assert words in note
    if name != "constant":
        differ = scan.voxels != (small.voxels[::-1] if name == "no_forms" else small.voxels)
        assert differ.sum() == (2 if name == "some_nan" else 0)


def test_an_empty_mask_comes_with_a_word_to_the_reader(odd, small):
    (note,) = read_mask(odd / "warn_mask_empty.nii.gz", small.grid).notes
    assert "is empty" in note


@pytest.mark.parametrize("name", REFUSED_SCANS)
def test_what_is_no_plain_scan_is_refused(name, odd):
    with pytest.raises(ScanError, match=rf"/bad_{name} ") as caught:
        read_scan(odd / f"bad_{name}")
    assert str(caught.value).count(". ") == 0


@pytest.mark.parametrize("name", REFUSED_MASKS)
def test_a_mask_that_does_not_belong_is_refused(name, odd, small):
    with pytest.raises(MaskError, match=rf"/bad_mask_{name}\.nii\.gz .*{REFUSED_MASKS[name]}"):
        read_mask(odd / f"bad_mask_{name}.nii.gz", small.grid, classes={1, 2})


def test_every_odd_file_has_its_test(odd):
    tested = {f"bad_{name}" for name in REFUSED_SCANS} | {f"bad_mask_{name}.nii.gz" for name in REFUSED_MASKS}
    assert {path.name for path in odd.iterdir() if path.name.startswith("bad_")} == tested


@pytest.mark.parametrize(("cohort", "cases"), [("la", 64), ("hippocampus", 120), ("acdc", 80)])
def test_cohorts_are_paired_and_their_masks_lie_on_their_scans(cohort, cases, formats):
    root = formats.parent / cohort
    pairing = pair(root / "images", root / "masks")
    assert len(pairing.pairs) == cases
    assert pairing.unmatched == pairing.notes == []
    for _, image, mask in pairing.pairs[::20]:
        assert mask is not None
        assert read_mask(mask, read_grid(image)).voxels.any()
