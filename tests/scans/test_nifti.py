"""Variants that other programs write, files that are broken, and hostile ones; all made here byte by byte."""

import gzip
import os
import struct
import tracemalloc
from collections import namedtuple

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_bcp.errors import GridMismatchError, MaskError, ScanError
from napari_bcp.scans import Grid, display_arrays, is_nifti, nifti, read_grid, read_mask, read_scan, stem, write_mask

SHAPE = (4, 5, 6)
VOXELS = np.random.default_rng(0).integers(0, 200, SHAPE, dtype=np.uint8)
CLASSES = (VOXELS % 3).astype(np.uint8)
# Offsets in a NIfTI-1 header
DIM, INTENT, DATATYPE, PIXDIM, VOX_OFFSET, SLOPE, UNITS, FORMS, QUATERNION, SROW, MAGIC = (
    40, 68, 70, 76, 108, 112, 123, 252, 256, 280, 344,
)  # fmt: skip


def image(voxels=VOXELS, affine=None, unit="mm", **fields):
    """Return a NIfTI-1 image with the spacing 1 × 2 × 3 mm unless said otherwise."""
    made = nib.Nifti1Image(voxels, np.diag([1.0, 2, 3, 1]) if affine is None else affine)
    made.header.set_xyzt_units(unit)
    for name, value in fields.items():
        made.header[name] = value
    return made


def save(path, *args, **kwargs):
    nib.save(image(*args, **kwargs), path)
    return path


def edited(path, *edits, source=None):
    """Write the bytes of a plain scan with `(offset, struct format, values…)` put over its header."""
    content = bytearray(image().to_bytes() if source is None else source)
    for offset, form, *values in edits:
        struct.pack_into(form, content, offset, *values)
    path.write_bytes(gzip.compress(bytes(content), mtime=0) if path.suffix == ".gz" else bytes(content))
    return path


def no_forms(*edits):
    """Return edits that switch off both orientations and then `edits`."""
    return ((FORMS, "<hh", 0, 0), *edits)


# -- what is read exactly -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_every_type_of_number_and_byte_order_is_read(dtype, order, kind, tmp_path):
    voxels = (VOXELS // 2).astype(dtype)
    header = kind.header_class(endianness=order)
    header.set_data_dtype(dtype)
    header.set_xyzt_units("mm")
    nib.save(kind(voxels, np.diag([1.0, 2, 3, 1]), header), tmp_path / "scan.nii.gz")
    scan = read_scan(tmp_path / "scan.nii.gz")
    np.testing.assert_array_equal(scan.voxels, voxels)
    assert scan.grid.spacing == (1, 2, 3)
    assert scan.grid.header.endianness == order
    write_mask(tmp_path / "mask.nii", CLASSES, scan.grid)
    np.testing.assert_array_equal(nib.load(tmp_path / "mask.nii").get_fdata(), CLASSES)


def test_intensities_are_scaled_as_the_header_says(tmp_path):
    path = edited(tmp_path / "scan.nii", (SLOPE, "<ff", 7.5, -1000))
    np.testing.assert_array_equal(read_scan(path).voxels, VOXELS * 7.5 - 1000)


@pytest.mark.parametrize("slope", [0.0, np.nan])
def test_a_slope_of_zero_means_not_scaled(slope, tmp_path):
    path = edited(tmp_path / "scan.nii", (SLOPE, "<ff", slope, 12))
    np.testing.assert_array_equal(read_scan(path).voxels, VOXELS)


@pytest.mark.parametrize(("unit", "factor"), [("micron", 0.001), ("meter", 1000), ("mm", 1)])
def test_lengths_are_converted_to_mm_and_written_back_as_they_were(unit, factor, tmp_path):
    affine = np.diag([1.0, 2, 3, 1]) / factor
    affine[:3, 3] = np.array([-10, 20, 30]) / factor
    affine[3, 3] = 1
    grid = read_grid(save(tmp_path / "scan.nii", affine=affine, unit=unit))
    assert grid.spacing == (1, 2, 3)
    np.testing.assert_allclose(grid.affine[:3, 3], (-10, 20, 30), rtol=1e-6)
    assert grid.notes == ()
    write_mask(tmp_path / "mask.nii", CLASSES, grid)
    header = nib.load(tmp_path / "mask.nii").header
    assert header.get_xyzt_units()[0] == unit
    np.testing.assert_allclose(header.get_sform(), affine, rtol=1e-6)


def test_a_mask_in_mm_fits_a_scan_in_microns(tmp_path):
    grid = read_grid(save(tmp_path / "scan.nii", affine=np.diag([1000.0, 2000, 3000, 1]), unit="micron"))
    np.testing.assert_array_equal(read_mask(save(tmp_path / "mask.nii", CLASSES), grid).voxels, CLASSES)


def test_the_qform_counts_where_there_is_no_sform(tmp_path):
    """A turn by 180° about the y axis: x and z run backwards; the unused sform is garbage."""
    path = edited(
        tmp_path / "scan.nii",
        (FORMS, "<hh", 1, 0),
        (QUATERNION, "<6f", 0, 1, 0, 7, 8, 9),
        (SROW, "<12f", *[np.nan] * 12),
    )
    scan = read_scan(path)
    np.testing.assert_array_equal(scan.voxels, VOXELS[::-1, :, ::-1])
    np.testing.assert_allclose(scan.grid.affine @ (3, 0, 5, 1), (7, 8, 9, 1), atol=1e-5)


def test_a_qfac_of_zero_means_one(tmp_path):
    path = edited(tmp_path / "scan.nii", (FORMS, "<hh", 1, 0), (PIXDIM, "<f", 0))
    np.testing.assert_array_equal(read_scan(path).voxels, VOXELS)


def test_the_sform_counts_before_the_qform_and_the_spacing(tmp_path):
    path = edited(tmp_path / "scan.nii", (FORMS, "<hh", 1, 2), (PIXDIM, "<4f", 1, 0, 0, 0))
    assert read_grid(path).spacing == (1, 2, 3)


def test_the_thickness_of_a_flat_image_may_be_missing(tmp_path):
    source = image(VOXELS[..., 0]).to_bytes()
    path = edited(tmp_path / "scan.nii", *no_forms((PIXDIM + 12, "<f", 0)), source=source)
    assert read_grid(path).spacing == (1, 2, 1)
    path = edited(tmp_path / "flat.nii", (SROW, "<12f", 1, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0), source=source)
    assert read_grid(path).spacing == (1, 2, 1)
    np.testing.assert_array_equal(read_scan(path).voxels[..., 0], VOXELS[..., 0])


def test_a_scan_is_read_whole_when_it_takes_many_slabs(tmp_path, monkeypatch):
    monkeypatch.setattr(nifti, "_SLAB_BYTES", 2 * 4 * 5)  # two slices each
    voxels = VOXELS[:, :, :5].astype(np.float32)
    voxels[0, 0, 0], voxels[..., 4] = np.nan, voxels.min()  # the last slab is constant, the scan is not
    scan = read_scan(save(tmp_path / "scan.nii.gz", voxels, np.diag([-1.0, -2, 3, 1])))
    voxels[0, 0, 0] = np.nanmin(voxels)
    np.testing.assert_array_equal(scan.voxels, voxels[::-1, ::-1])
    assert len(scan.notes) == 1
    mask = save(tmp_path / "mask.nii", CLASSES[:, :, :5], np.diag([-1.0, -2, 3, 1]))
    np.testing.assert_array_equal(read_mask(mask, scan.grid).voxels, CLASSES[::-1, ::-1, :5])


def test_endings_count_in_any_case_of_letters(tmp_path):
    path = save(tmp_path / "scan.nii.gz").rename(tmp_path / "Scan.NII.GZ")
    np.testing.assert_array_equal(read_scan(path).voxels, VOXELS)
    assert stem(path) == "Scan"
    assert [stem(name) for name in ("a.b.nii", "x/c.nii.gz", "d.Nii", "e.mha")] == ["a.b", "c", "d", "e.mha"]
    assert is_nifti("a.NII")
    assert not is_nifti("a.nii.gz.txt")


# -- what is read with a word to the reader -----------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 4, 5, 16])
def test_an_unknown_unit_is_taken_as_mm_and_noted(code, tmp_path):
    path = edited(tmp_path / "scan.nii", (UNITS, "<B", code))
    grid = read_grid(path)
    assert grid.spacing == (1, 2, 3)
    assert grid.notes == ("scan.nii does not say the unit of its spacing: mm are assumed.",)
    assert read_scan(path).notes == grid.notes


def test_without_orientation_the_axes_of_analyze_are_assumed_and_noted(tmp_path):
    path = edited(tmp_path / "scan.nii", *no_forms())
    scan = read_scan(path)
    assert scan.grid.spacing == (1, 2, 3)
    np.testing.assert_array_equal(scan.voxels, VOXELS[::-1])
    (note,) = scan.notes
    assert "scan.nii does not say how it is oriented" in note
    np.testing.assert_allclose(scan.grid.affine, nib.as_closest_canonical(nib.load(path)).affine)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_voxels_that_are_not_finite_become_the_lowest_value(dtype, tmp_path):
    voxels = VOXELS.astype(dtype) + 3
    voxels[1, 2, 3], voxels[0, 0, 0], voxels[3, 0, 0], voxels[0, 4, 5] = np.nan, np.inf, -np.inf, 1e30
    scan = read_scan(save(tmp_path / "scan.nii", voxels))
    (note,) = scan.notes
    expected = np.where(np.abs(voxels) < 1e18, voxels, 0)
    lowest = expected[expected > 0].min()
    np.testing.assert_array_equal(scan.voxels, np.where(expected > 0, expected, lowest))
    assert note == f"scan.nii has 4 voxels that are not finite: they were set to its lowest value, {lowest:g}."


def test_a_constant_scan_is_noted(tmp_path):
    (note,) = read_scan(save(tmp_path / "scan.nii", np.full(SHAPE, 7, np.int16))).notes
    assert note == "scan.nii is 7 everywhere: nothing can be seen in it."


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_bytes_after_the_last_voxel_are_noted(ending, tmp_path):
    scan = read_scan(edited(tmp_path / f"scan{ending}", source=image().to_bytes() + b"more"))
    np.testing.assert_array_equal(scan.voxels, VOXELS)
    assert scan.notes == (f"scan{ending} goes on after its last voxel: the rest is not read.",)


def test_an_empty_mask_is_noted(tmp_path):
    grid = read_grid(save(tmp_path / "scan.nii"))
    mask = read_mask(save(tmp_path / "mask.nii", np.zeros(SHAPE, np.uint8)), grid, classes={1})
    assert mask.notes == ("mask.nii is empty: every voxel is background.",)


# -- what is refused ----------------------------------------------------------------------------------------------

IDENTITY_ROWS = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0]
REFUSED_HEADERS = {
    "a time series": ([(DIM, "<5h", 4, 4, 5, 2, 3)], "holds 3 volumes"),
    "a vector image": ([(DIM, "<6h", 5, 4, 5, 2, 1, 3)], "holds 3 volumes"),
    "RGB": ([(DATATYPE, "<h", 128)], "colours"),
    "complex": ([(DATATYPE, "<h", 32)], "complex numbers"),
    "single bits": ([(DATATYPE, "<h", 1)], r"does not know \(1\)"),
    "unknown type": ([(DATATYPE, "<h", 9999)], r"does not know \(9999\)"),
    "no axes": ([(DIM, "<h", 0)], "impossible shape"),
    "too many axes": ([(DIM, "<h", 8)], "impossible shape"),
    "negative length": ([(DIM + 2, "<h", -5)], r"impossible shape \(-5 × 5 × 6\)"),
    "length zero": ([(DIM + 4, "<h", 0)], r"impossible shape \(4 × 0 × 6\)"),
    "a line": ([(DIM, "<4h", 3, 1, 1, 6)], "is no image"),
    "one axis": ([(DIM, "<h", 1)], "is no image"),
    "huge": ([(DIM, "<4h", 3, 32767, 32767, 32767)], "too small for the 32767 × 32767 × 32767 voxels"),
    "huge and flat": ([(DIM, "<3h", 2, 32767, 32767)], "too small for the 32767 × 32767 voxels"),
    "a voxel more": ([(DIM + 6, "<h", 7)], "too small|cut short"),
    "offset in the header": ([(VOX_OFFSET, "<f", 100)], "begin at byte 100"),
    "offset not a number": ([(VOX_OFFSET, "<f", np.nan)], "begin at byte nan"),
    "offset infinite": ([(VOX_OFFSET, "<f", np.inf)], "begin at byte inf"),
    "offset beyond the file": ([(VOX_OFFSET, "<f", 1e9)], "too small"),
    "sheared": ([(SROW, "<12f", 1, 0.4, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0)], "sheared"),
    "flattened": ([(SROW, "<12f", *IDENTITY_ROWS[:10], 0, 0)], "flattens it"),
    "two axes alike": ([(SROW, "<12f", 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0)], "sheared"),
    "orientation not finite": ([(SROW, "<12f", np.nan, *IDENTITY_ROWS[1:])], "not finite"),
    "origin infinite": ([(SROW, "<12f", 1, 0, 0, np.inf, *IDENTITY_ROWS[4:])], "not finite"),
    "spacing of a galaxy": ([(SROW, "<12f", *IDENTITY_ROWS[:10], 1e20, 0)], "not believable"),
    "no spacing": (no_forms((PIXDIM + 4, "<3f", 0, 0, 0)), "voxel spacing of 0 × 0 × 0"),
    "spacing not a number": (no_forms((PIXDIM + 4, "<f", np.nan)), "voxel spacing of nan"),
    "spacing infinite": (no_forms((PIXDIM + 4, "<f", np.inf)), "not finite"),
    "no rotation": ([(FORMS, "<hh", 1, 0), (QUATERNION, "<3f", 2, 2, 2)], "is no rotation"),
    "scaled by infinity": ([(SLOPE, "<f", np.inf)], "scales its voxels by inf"),
    "shifted by nothing": ([(SLOPE, "<ff", 1, np.nan)], "scales its voxels by 1 and nan"),
    "half of a pair": ([(MAGIC, "<4s", b"ni1\0")], "half of a pair"),
    "Analyze": ([(MAGIC, "<4s", bytes(4))], "is no NIfTI file"),
    "no header length": ([(0, "<i", 347)], "is no NIfTI file"),
}


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("name", REFUSED_HEADERS)
def test_a_header_that_describes_no_plain_scan_is_refused(name, ending, tmp_path):
    edits, sentence = REFUSED_HEADERS[name]
    path = edited(tmp_path / f"scan{ending}", *edits)
    with pytest.raises(ScanError, match=sentence) as caught:
        read_scan(path)
    assert_is_one_sentence(caught.value, path)


def assert_is_one_sentence(error, path):
    """The file is named with its folder, there is something to do, and it is one line with one full stop."""
    text = str(error)
    assert text.startswith(f"{path} ")
    assert error.path == path
    assert ":" in text
    assert text.endswith(".")
    assert "\n" not in text
    assert ". " not in text


def test_a_scan_without_any_finite_voxel_is_refused(tmp_path):
    path = save(tmp_path / "scan.nii", np.full(SHAPE, np.nan, np.float32))
    with pytest.raises(ScanError, match="no finite voxel"):
        read_scan(path)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("scan.nii", b"", "is empty"),
        ("scan.nii.gz", b"", "is empty"),
        ("scan.nii", b"x" * 200, "no NIfTI file"),
        ("scan.nii.gz", gzip.compress(b"plain text\n" * 90, mtime=0), "no NIfTI file"),
        ("scan.nii.gz", gzip.compress(b"", mtime=0), "no NIfTI file"),
        ("scan.nii.gz", image().to_bytes(), r"not compressed: .* rename it to end in \.nii$"),
        ("scan.nii", gzip.compress(image().to_bytes(), mtime=0), r"is compressed: .* rename it to end in \.nii\.gz"),
        ("scan.nii", image().to_bytes()[:-1], "too small"),
        ("scan.nii", image().to_bytes()[:300], "no NIfTI file"),
        ("scan.nii.gz", gzip.compress(image().to_bytes(), mtime=0)[:-9], "broken or cut short"),
        ("scan.nii.gz", gzip.compress(image().to_bytes(), mtime=0)[:12], "broken or cut short"),
        ("scan.nii.gz", gzip.compress(image().to_bytes()[:-1], mtime=0), "broken or cut short"),
        ("scan.nii.gz", gzip.compress(image().to_bytes(), mtime=0)[:-8] + bytes(8), "broken or cut short"),
        ("scan.mha", image().to_bytes(), r"is no \.nii or \.nii\.gz file"),
    ],
)
def test_a_broken_file_is_refused(name, content, sentence, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ScanError, match=sentence.replace("$", r"\.$")) as caught:
        read_scan(path)
    assert_is_one_sentence(caught.value, path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(ScanError, match=r"none\.nii cannot be read \(No such file or directory\)") as caught:
        read_grid(tmp_path / "none.nii")
    assert_is_one_sentence(caught.value, tmp_path / "none.nii")
    (tmp_path / "folder.nii").mkdir()
    with pytest.raises(ScanError, match=r"folder\.nii is not a file"):
        read_grid(tmp_path / "folder.nii")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_named_pipe_is_refused_rather_than_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.nii")
    with pytest.raises(ScanError, match=r"pipe\.nii is not a file"):
        read_grid(tmp_path / "pipe.nii")


def test_a_scan_larger_than_the_free_memory_is_refused(tmp_path, monkeypatch):
    path = save(tmp_path / "scan.nii")
    memory = namedtuple("memory", "available")
    monkeypatch.setattr(nifti.psutil, "virtual_memory", lambda: memory(1000))
    with pytest.raises(ScanError, match=r"needs 0\.1 GB of memory and 0\.0 GB are free") as caught:
        read_scan(path)
    assert_is_one_sentence(caught.value, path)


# -- masks that do not belong -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("voxels", "sentence"),
    [
        (CLASSES * 0.5, "no whole numbers"),
        (np.where(CLASSES, np.nan, 0), "no whole numbers"),
        (np.where(CLASSES, np.inf, 0), "no whole numbers"),
        (CLASSES.astype(np.int16) - 2, "values from -2 to 0"),
        (CLASSES.astype(np.int16) * 200, "values from 0 to 400"),
        (CLASSES * 4, "voxels of class 4, 8, but the classes are 1, 2"),
    ],
)
def test_a_mask_of_other_values_than_classes_is_refused(voxels, sentence, tmp_path):
    grid = read_grid(save(tmp_path / "scan.nii"))
    path = save(tmp_path / "mask.nii", voxels)
    with pytest.raises(MaskError, match=sentence) as caught:
        read_mask(path, grid, classes={1, 2})
    assert_is_one_sentence(caught.value, path)


@pytest.mark.parametrize("dtype", ["f4", "f8", "i2", "u2", "i4"])
def test_classes_are_read_from_any_type_of_number(dtype, tmp_path):
    grid = read_grid(save(tmp_path / "scan.nii"))
    mask = read_mask(save(tmp_path / "mask.nii", CLASSES.astype(dtype)), grid, classes={1, 2})
    np.testing.assert_array_equal(mask.voxels, CLASSES)


def test_without_named_classes_any_class_is_read(tmp_path):
    grid = read_grid(save(tmp_path / "scan.nii"))
    np.testing.assert_array_equal(read_mask(save(tmp_path / "mask.nii", CLASSES * 120), grid).voxels, CLASSES * 120)


def test_a_mask_of_another_shape_is_refused(tmp_path):
    grid = read_grid(save(tmp_path / "scan.nii"))
    path = save(tmp_path / "mask.nii", CLASSES[1:])
    with pytest.raises(GridMismatchError, match="has 3 × 5 × 6 voxels and its scan 4 × 5 × 6") as caught:
        read_mask(path, grid)
    assert_is_one_sentence(caught.value, path)


def test_a_broken_mask_is_a_mask_error(tmp_path):
    grid = read_grid(save(tmp_path / "scan.nii"))
    (tmp_path / "mask.nii").write_bytes(image(CLASSES).to_bytes()[:-1])
    with pytest.raises(MaskError, match=r"mask\.nii is too small") as caught:
        read_mask(tmp_path / "mask.nii", grid)
    assert caught.value.path == tmp_path / "mask.nii"


# -- memory, and anything at all ----------------------------------------------------------------------------------


def test_reading_takes_little_more_memory_than_the_array(tmp_path, monkeypatch):
    monkeypatch.setattr(nifti, "_SLAB_BYTES", 1 << 20)
    voxels = np.zeros((160, 160, 160), np.int16)
    voxels[80] = 1
    nib.save(image(voxels, np.diag([-1.0, -1, 1, 1])), tmp_path / "scan.nii")
    tracemalloc.start()
    try:
        scan = read_scan(tmp_path / "scan.nii")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert scan.voxels.nbytes < peak < 1.25 * scan.voxels.nbytes


def read_or_refuse(path):
    """Read a file that may be anything: a scan or a ScanError, and no memory that the file does not warrant."""
    tracemalloc.start()
    try:
        grid = read_grid(path)
        assert isinstance(grid, Grid)
        scan = read_scan(path)
        assert np.isfinite(scan.voxels).all()
        assert scan.voxels.shape == grid.shape
    except ScanError as error:
        assert_is_one_sentence(error, path)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 16 << 20


EDITS = st.lists(st.tuples(st.integers(0, 347), st.integers(0, 255)), min_size=1, max_size=6)


@settings(max_examples=100, deadline=None)
@given(edits=EDITS, zipped=st.booleans())
def test_any_header_ends_in_a_scan_or_a_refusal(edits, zipped, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / ("fuzz.nii.gz" if zipped else "fuzz.nii")
    read_or_refuse(edited(path, *((place, "<B", value) for place, value in edits)))


@settings(max_examples=100, deadline=None)
@given(place=st.integers(0, 10_000), value=st.integers(1, 255), end=st.integers(0, 10_000))
def test_any_damage_to_a_compressed_file_ends_in_a_scan_or_a_refusal(place, value, end, tmp_path_factory):
    content = bytearray(gzip.compress(image().to_bytes(), mtime=0))
    content[place % len(content)] ^= value
    path = tmp_path_factory.getbasetemp() / "damaged.nii.gz"
    path.write_bytes(content[: end % len(content) if end % 3 == 0 else None])
    read_or_refuse(path)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "SPL", "AIR"])
def test_for_the_screen_voxels_are_the_same_and_lie_as_they_are_shown(tmp_path, codes):
    rng = np.random.default_rng(3)
    stored = rng.integers(0, 4, (5, 6, 7)).astype(np.uint8)
    to_codes = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(codes)
    )
    path = tmp_path / "scan.nii.gz"
    nib.Nifti1Image(stored, np.diag([1.0, 2.0, 3.0, 1.0])).as_reoriented(to_codes).to_filename(path)
    plain, screen = read_scan(path), read_scan(path, for_screen=True)
    np.testing.assert_array_equal(screen.voxels, plain.voxels)
    assert display_arrays(screen.voxels, screen.grid)[0].flags.c_contiguous
    mask = read_mask(path, plain.grid, for_screen=True).voxels
    np.testing.assert_array_equal(mask, read_mask(path, plain.grid).voxels)
    assert display_arrays(mask, plain.grid)[0].flags.c_contiguous
