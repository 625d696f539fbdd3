"""One phantom stored in all 48 axis orders and directions: geometry, and masks written back."""

from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff
from scipy.spatial.transform import Rotation

from napari_bcp.errors import GridMismatchError, MaskError
from napari_bcp.scans import (
    display_arrays,
    from_canonical,
    from_display,
    read_grid,
    read_mask,
    read_scan,
    to_canonical,
    write_map,
    write_mask,
)

CODES = ["".join(axes) for order in permutations(("RL", "AP", "SI")) for axes in product(*order)]
SHAPE, SPACING = (5, 6, 7), (0.8, 1.1, 2.5)
VOXELS = np.random.default_rng(0).permutation(np.arange(-100, 110, dtype=np.int16)).reshape(SHAPE)
CLASSES = (np.abs(VOXELS) % 3).astype(np.uint8)
AFFINE = np.eye(4)
AFFINE[:3, :3] = Rotation.from_euler("xyz", (12, -7, 20), degrees=True).as_matrix() * SPACING
AFFINE[:3, 3] = (-31.5, 12.25, 7.75)
# What a mask's header may change of its scan's: type of the voxels, their place, scaling, window, intent.
OWN_FIELDS = {"datatype", "bitpix", "vox_offset", "scl_slope", "scl_inter", "cal_min", "cal_max", "intent_code"}


def save(path, voxels, code="RAS", affine=AFFINE, kind=nib.Nifti1Image):
    """Store a canonical array with its axes in the order and directions of `code`."""
    orientation = axcodes2ornt(code)  # from file axes to RAS
    back = nib.orientations.ornt_transform(axcodes2ornt("RAS"), orientation)
    stored = apply_orientation(voxels, back)
    image = kind(np.asfortranarray(stored), affine @ inv_ornt_aff(back, voxels.shape))
    image.set_qform(image.affine, 1)
    image.set_sform(image.affine, 2)
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = b"made for a test"
    image.header["cal_max"], image.header["intent_code"] = 77, 1001
    nib.save(image, path)
    return path


def test_there_are_48_orientations():
    assert len(set(CODES)) == 48


@pytest.mark.parametrize("code", CODES)
def test_every_orientation_holds_the_same_voxels_in_the_same_places(code, tmp_path):
    scan = read_scan(save(tmp_path / "scan.nii", VOXELS, code))
    assert scan.voxels.dtype == np.float32
    assert scan.voxels.flags.c_contiguous
    np.testing.assert_array_equal(scan.voxels, VOXELS)
    assert scan.grid.shape == SHAPE
    assert scan.grid.spacing == SPACING
    assert scan.notes == ()
    marked = np.argwhere(scan.voxels == VOXELS[1, 4, 5])[0]
    np.testing.assert_allclose(scan.grid.affine @ (*marked, 1), AFFINE @ (1, 4, 5, 1), atol=1e-5)


@pytest.mark.parametrize(
    ("code", "ending", "kind"),
    [
        *((code, ".nii", nib.Nifti1Image) for code in CODES),
        ("SPR", ".nii.gz", nib.Nifti1Image),
        ("SPR", ".nii", nib.Nifti2Image),
        ("LPS", ".nii.gz", nib.Nifti2Image),
    ],
)
def test_a_mask_is_written_exactly_as_its_scan_is_stored(code, ending, kind, tmp_path):
    source = save(tmp_path / f"scan{ending}", VOXELS, code, kind=kind)
    grid = read_grid(source)
    write_mask(tmp_path / f"mask{ending}", CLASSES, grid)

    scan, mask = nib.load(source), nib.load(tmp_path / f"mask{ending}")
    assert type(mask) is kind
    np.testing.assert_array_equal(np.asarray(mask.dataobj), np.abs(np.asarray(scan.dataobj)) % 3)
    assert mask.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(mask.affine, scan.affine)
    for name in set(scan.header.keys()) - OWN_FIELDS:
        assert mask.header[name].tobytes() == scan.header[name].tobytes(), name
    assert [mask.dataobj.slope, mask.dataobj.inter, mask.header["cal_max"], mask.header["intent_code"]] == [1, 0, 0, 0]
    back = read_mask(tmp_path / f"mask{ending}", grid, classes={1, 2})
    np.testing.assert_array_equal(back.voxels, CLASSES)
    assert back.voxels.dtype == np.uint8
    assert back.notes == ()


@pytest.mark.parametrize("code", CODES)
def test_a_mask_may_be_stored_in_another_orientation_than_its_scan(code, tmp_path):
    grid = read_grid(save(tmp_path / "scan.nii", VOXELS, "LPS"))
    mask = read_mask(save(tmp_path / "mask.nii", CLASSES, code), grid)
    np.testing.assert_array_equal(mask.voxels, CLASSES)


def test_a_mask_of_a_scan_at_45_degrees_fits_though_its_nearest_patient_axis_is_another(tmp_path):
    """At 45 degrees rounding alone decides which patient axis a file axis is nearest to."""
    turned = []
    for degrees in (44.9999, 45.0001):
        affine = np.eye(4)
        affine[:3, :3] = Rotation.from_euler("z", degrees, degrees=True).as_matrix()
        turned.append(affine)
    scan = nib.Nifti1Image(VOXELS, turned[0])
    mask = nib.Nifti1Image(CLASSES, turned[1])
    for image, name in ((scan, "scan.nii"), (mask, "mask.nii")):
        image.header.set_xyzt_units("mm")
        nib.save(image, tmp_path / name)
    grid, own = read_grid(tmp_path / "scan.nii"), read_grid(tmp_path / "mask.nii")
    assert grid.shape != own.shape  # the two files do count as differently oriented
    expected = to_canonical(CLASSES, grid)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.nii", grid).voxels, expected)


def moved(shift=(0, 0, 0), stretch=(1, 1, 1), degrees=0.0):
    """Return the scan's affine moved by voxels, stretched, and turned about its first voxel."""
    affine = AFFINE.copy()
    affine[:3, 3] += AFFINE[:3, :3] @ shift
    affine[:3, :3] = Rotation.from_euler("z", degrees, degrees=True).as_matrix() @ AFFINE[:3, :3] * stretch
    return affine


@pytest.mark.parametrize("affine", [moved((0.05, 0, -0.05)), moved(stretch=(1, 1, 1 + 1e-5)), moved(degrees=0.01)])
def test_a_mask_fits_if_no_voxel_lies_further_off_than_a_tenth_of_a_voxel(affine, tmp_path):
    grid = read_grid(save(tmp_path / "scan.nii", VOXELS))
    mask = read_mask(save(tmp_path / "mask.nii", CLASSES, "PIR", affine), grid)
    np.testing.assert_array_equal(mask.voxels, CLASSES)


@pytest.mark.parametrize(
    "affine", [moved((0.2, 0, 0)), moved((0, 0, 1)), moved(stretch=(1, 1, 1.05)), moved(degrees=2)]
)
def test_a_mask_that_lies_elsewhere_is_refused(affine, tmp_path):
    grid = read_grid(save(tmp_path / "scan.nii", VOXELS))
    path = save(tmp_path / "mask.nii", CLASSES, "PIR", affine)
    with pytest.raises(GridMismatchError, match=r"mask\.nii lies elsewhere in space"):
        read_mask(path, grid)


def test_a_mirrored_mask_does_not_fit(tmp_path):
    """Flipped voxels under the scan's own header are unseen; a flipped header is refused."""
    grid = read_grid(save(tmp_path / "scan.nii", VOXELS))
    path = save(tmp_path / "mask.nii", CLASSES, affine=AFFINE @ np.diag([-1, 1, 1, 1]))
    with pytest.raises(GridMismatchError, match="lies elsewhere"):
        read_mask(path, grid)


@pytest.mark.parametrize("code", CODES)
def test_conversion_to_canonical_axes_and_back_is_exact(code, tmp_path):
    path = save(tmp_path / "scan.nii", VOXELS, code)
    grid, stored = read_grid(path), np.asarray(nib.load(path).dataobj)
    np.testing.assert_array_equal(to_canonical(stored, grid), VOXELS)
    np.testing.assert_array_equal(from_canonical(VOXELS, grid), stored)


def test_arrays_of_another_shape_are_refused(tmp_path):
    grid = read_grid(save(tmp_path / "scan.nii", VOXELS, "SPR"))
    with pytest.raises(GridMismatchError, match=r"\(7, 6, 5\)"):
        to_canonical(VOXELS, grid)
    with pytest.raises(GridMismatchError, match=r"\(7, 6, 5\)"):
        from_canonical(VOXELS.T, grid)
    with pytest.raises(GridMismatchError, match=r"mask\.nii cannot be written"):
        write_mask(tmp_path / "mask.nii", CLASSES.T, grid)
    assert not (tmp_path / "mask.nii").exists()


@pytest.mark.parametrize("values", [CLASSES.astype(np.float32), CLASSES.astype(int) - 1, CLASSES.astype(int) + 254])
def test_only_classes_are_written(values, tmp_path):
    grid = read_grid(save(tmp_path / "scan.nii", VOXELS))
    with pytest.raises(MaskError, match="whole numbers from 0 to 255"):
        write_mask(tmp_path / "mask.nii", values, grid)


def test_a_mask_cannot_be_written_under_another_ending(tmp_path):
    grid = read_grid(save(tmp_path / "scan.nii", VOXELS))
    with pytest.raises(MaskError, match=r"mask\.mha must end in"):
        write_mask(tmp_path / "mask.mha", CLASSES, grid)


def test_the_same_mask_gives_the_same_bytes(tmp_path):
    grid = read_grid(save(tmp_path / "scan.nii", VOXELS, "ASL"))
    write_mask(tmp_path / "one.nii.gz", CLASSES, grid)
    write_mask(tmp_path / "two.nii.gz", CLASSES.astype(np.int64), grid)
    one = (tmp_path / "one.nii.gz").read_bytes()
    assert one == (tmp_path / "two.nii.gz").read_bytes()
    assert one[3:8] == bytes(5)  # neither a name nor a time in the gzip header


def test_readers_see_a_map_as_probabilities(tmp_path):
    grid = read_grid(save(tmp_path / "scan.nii", VOXELS, "LSA"))
    eighths = np.linspace(0, 255, VOXELS.size).astype(np.uint8).reshape(SHAPE)
    write_map(tmp_path / "map.nii.gz", eighths, grid)
    image = nib.as_closest_canonical(nib.load(tmp_path / "map.nii.gz"))
    np.testing.assert_allclose(image.get_fdata(), eighths / 255, atol=1e-7)
    assert image.get_data_dtype() == np.uint8


@pytest.mark.parametrize("shape", [(9, 8), (9, 8, 1), (9, 8, 1, 1), (1, 9, 8), (9, 8, 3, 1, 1)])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_flat_files_and_trailing_ones_keep_their_shape(shape, ending, tmp_path):
    stored = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    affine = np.diag([-2.0, 3, 4, 1])
    nib.save(nib.Nifti1Image(stored, affine), tmp_path / f"scan{ending}")
    scan = read_scan(tmp_path / f"scan{ending}")
    assert scan.voxels.shape == scan.grid.shape == (*shape, 1)[:3]
    assert scan.grid.spacing[:2] == (2, 3)
    np.testing.assert_array_equal(scan.voxels, stored.reshape(scan.grid.shape)[::-1])
    write_mask(tmp_path / f"mask{ending}", scan.voxels.astype(np.uint8), scan.grid)
    mask = nib.load(tmp_path / f"mask{ending}")
    assert mask.shape == shape
    np.testing.assert_array_equal(np.asarray(mask.dataobj), stored)
    back = read_mask(tmp_path / f"mask{ending}", scan.grid)
    np.testing.assert_array_equal(back.voxels, scan.voxels)


def test_on_screen_axes_run_to_the_feet_the_back_and_the_left(tmp_path):
    """The first row of an axial slice is the patient's front, its first column the patient's right."""
    scan = read_scan(save(tmp_path / "scan.nii", VOXELS, "RAS", np.diag([*SPACING, 1.0])))
    shown, scale = display_arrays(scan.voxels, scan.grid)
    x, y, z = SHAPE
    assert shown.shape == (z, y, x)
    assert scale == SPACING[::-1]
    assert shown[0, 0, 0] == VOXELS[-1, -1, -1]  # RAS+ indices grow to right, front and head
    assert shown[-1, 0, 0] == VOXELS[-1, -1, 0]  # the last slice is at the feet
    assert shown[0, 0, -1] == VOXELS[0, -1, -1]  # the last column is the patient's left
    assert shown[0, -1, 0] == VOXELS[-1, 0, -1]  # the last row is the patient's back
    np.testing.assert_array_equal(from_display(shown), VOXELS)
