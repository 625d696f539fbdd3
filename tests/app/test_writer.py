"""Labels layers saved as masks: in the geometry of their scan, or not at all."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from napari.layers import Labels
from napari.utils.notifications import notification_manager
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from napari_bcp.app.reader import read_layers, source_options
from napari_bcp.app.writer import save_labels, write_labels
from napari_bcp.errors import BcpError, GridMismatchError, MaskError, ScanAwayError, ScanError

MANIFEST = Path(__file__).parents[2] / "napari_bcp" / "napari.yaml"
SHAPE = (5, 6, 7)  # x, y, z
SPACING = (1.0, 2.0, 3.0)


@pytest.fixture
def viewer(npe2pm, make_napari_viewer):
    """A viewer with the plugin."""
    with npe2pm.tmp_plugin(manifest=str(MANIFEST)):
        yield make_napari_viewer()


def oblique(origin=(-20.0, 30.0, 7.5)):
    """Return an affine that is turned by some degrees about two axes."""
    a, b = np.radians((12, 7))
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_x @ np.diag(SPACING)
    affine[:3, 3] = origin
    return affine


def written(path, voxels, axes="RAS", affine=None, codes=(1, 4)):
    """Write voxels (x, y, z) as a file whose axes run as `axes`, with codes of qform and sform; return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(voxels, oblique() if affine is None else affine)
    image = image.as_reoriented(ornt_transform(io_orientation(image.affine), axcodes2ornt(tuple(axes))))
    image.header.set_qform(image.affine, codes[0])
    image.header.set_sform(image.affine, codes[1])
    nib.save(image, path)
    return str(path)


def scan_file(path, axes="RAS", affine=None):
    return written(path, np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE), axes, affine)


def geometry(path):
    """Return everything in a header that says where voxels lie."""
    header = nib.load(path).header
    keys = ["dim", "pixdim", "xyzt_units", "qform_code", "quatern_b", "quatern_c", "quatern_d"]
    keys += ["qoffset_x", "qoffset_y", "qoffset_z", "sform_code", "srow_x", "srow_y", "srow_z"]
    return {key: header[key].tolist() for key in keys}


def in_patient(path, value):
    """Return the place of the voxel of that value, in mm."""
    image = nib.load(path)
    [index] = np.argwhere(np.asarray(image.dataobj) == value)
    return nib.affines.apply_affine(image.affine, index)


def message_of(call):
    """Return the notifications that a call leads to."""
    before = len(notification_manager.records)
    call()
    return " ".join(one.message for one in list(notification_manager.records)[before:])


@pytest.mark.parametrize(("axes", "ending"), [("RAS", ".nii"), ("LPS", ".nii.gz"), ("SPR", ".nii.gz"), ("AIL", ".nii")])
def test_a_mask_that_is_opened_painted_and_saved_lies_where_it_lay(viewer, tmp_path, axes, ending):
    """Voxel by voxel, with the header's affine and the codes that say in which space."""
    voxels = np.zeros(SHAPE, np.uint8)
    voxels[1, 4, 2] = 1
    source = written(tmp_path / f"scan_mask{ending}", voxels, axes)
    [layer] = viewer.open(source, plugin="napari-bcp")
    layer.data_setitem(tuple(np.array([n]) for n in (1, 2, 3)), 2)  # z, y, x from head, front and right
    [saved] = viewer.layers.save(str(tmp_path / f"new_mask{ending}"), plugin="napari-bcp")
    assert geometry(saved) == geometry(source)
    assert in_patient(saved, 1) == pytest.approx(nib.affines.apply_affine(oblique(), (1, 4, 2)), abs=1e-4)
    assert in_patient(saved, 2) == pytest.approx(nib.affines.apply_affine(oblique(), (1, 3, 5)), abs=1e-4)
    assert np.count_nonzero(nib.load(saved).dataobj) == 2
    [again] = viewer.open(saved, plugin="napari-bcp")
    assert np.array_equal(again.data, layer.data)
    assert np.array_equal(again.scale, layer.scale)


@pytest.mark.parametrize("axes", ["RAS", "LPS", "SPR"])
def test_a_labels_layer_made_over_a_scan_is_saved_on_the_scans_grid(viewer, tmp_path, axes):
    """By napari's own button for new labels, which tells nothing of the scan."""
    source = scan_file(tmp_path / "scan.nii.gz", axes)
    viewer.open(source, plugin="napari-bcp")
    viewer._new_labels()
    labels = viewer.layers[-1]
    labels.data_setitem(tuple(np.array([n]) for n in (6, 0, 4)), 9)  # of the feet, the front and the left
    [saved] = viewer.layers.save(str(tmp_path / "mask.nii.gz"), selected=True, plugin="napari-bcp")
    assert geometry(saved) == geometry(source)
    assert in_patient(saved, 9) == pytest.approx(nib.affines.apply_affine(oblique(), (0, 5, 0)), abs=1e-4)
    assert nib.load(saved).get_data_dtype() == np.uint8


def test_saving_needs_no_name_of_a_plugin(viewer, tmp_path):
    """The ending is enough."""
    source = written(tmp_path / "scan_mask.nii.gz", np.eye(5, dtype=np.uint8)[..., None], "LPS")
    viewer.open(source, plugin="napari-bcp")
    [saved] = viewer.layers.save(str(tmp_path / "new.nii"))
    assert geometry(saved) == geometry(source)


def test_a_layer_that_names_its_scan_needs_no_viewer(tmp_path):
    """As the layers of the dock do."""
    source = scan_file(tmp_path / "scan.nii.gz", "SPR")
    layer = Labels(np.ones(SHAPE[::-1], np.int32), scale=SPACING[::-1], **source_options(source))
    [saved] = write_labels(tmp_path / "mask.nii.gz", *layer.as_layer_data_tuple()[:2])
    assert geometry(saved) == geometry(source)


def test_a_mask_may_be_saved_over_its_own_file(viewer, tmp_path):
    """Which is what Save means."""
    source = written(tmp_path / "scan_mask.nii.gz", np.eye(5, dtype=np.uint8)[..., None], "LPS")
    before = geometry(source)
    [layer] = viewer.open(source, plugin="napari-bcp")
    layer.data_setitem(tuple(np.array([n]) for n in (0, 0, 0)), 7)
    viewer.layers.save(source, plugin="napari-bcp")
    assert geometry(source) == before
    assert np.count_nonzero(np.asarray(nib.load(source).dataobj) == 7) == 1


def test_a_name_without_an_ending_gets_one(tmp_path):
    """napari's dialog adds none, and a layer's name may hold a dot."""
    layer = Labels(np.ones((2, 3, 4), np.uint8))
    saved = write_labels(tmp_path / "liver v1.2", *layer.as_layer_data_tuple()[:2])
    assert saved == [str(tmp_path / "liver v1.2.nii.gz")]
    with pytest.raises(MaskError, match=r"there already.*ending"):  # the dialog has asked about another name
        write_labels(tmp_path / "liver v1.2", *layer.as_layer_data_tuple()[:2])


# -- without a scan -----------------------------------------------------------------------------------------------


def test_labels_without_a_scan_come_back_as_they_were_and_the_user_is_told(viewer, tmp_path):
    """They have a spacing, and a place only on the screen."""
    data = np.zeros(SHAPE[::-1], np.int32)
    data[0, 1, 2] = 3
    layer = viewer.add_labels(data, scale=(3, 2, 0.8), translate=(10, 20, 30), name="liver")
    saved = str(tmp_path / "mask.nii.gz")
    said = message_of(lambda: viewer.layers.save(saved, plugin="napari-bcp"))
    assert "'liver'" in said
    assert "no place in the patient" in said
    assert in_patient(saved, 3) == pytest.approx((-(30 + 2 * 0.8), -(20 + 1 * 2), -10), abs=1e-4)
    [again] = viewer.open(saved, plugin="napari-bcp")
    assert np.array_equal(again.data, data)
    assert again.scale == pytest.approx(layer.scale)


def test_a_saved_mask_with_a_known_scan_needs_no_word(viewer, tmp_path):
    """A message at every save is read at none."""
    viewer.open(scan_file(tmp_path / "scan.nii.gz"), plugin="napari-bcp")
    viewer._new_labels()
    path = str(tmp_path / "mask.nii.gz")
    assert message_of(lambda: viewer.layers.save(path, selected=True, plugin="napari-bcp")) == ""


def test_the_unit_of_a_layer_counts(tmp_path):
    """Microscopes think in µm, NIfTI files of ours in mm."""
    layer = Labels(np.ones((4, 5, 6), np.uint8), scale=(500, 250, 250), units=("um",) * 3)
    [saved] = write_labels(tmp_path / "mask.nii", *layer.as_layer_data_tuple()[:2])
    assert nib.load(saved).header.get_zooms() == pytest.approx((0.25, 0.25, 0.5))


def test_flat_labels_become_one_slice(tmp_path):
    """As our reader shows a 2-D image."""
    data = np.zeros((6, 5), np.uint8)
    data[1, 2] = 1
    layer = Labels(data, scale=(2, 1))
    [saved] = write_labels(tmp_path / "scan_mask.nii", *layer.as_layer_data_tuple()[:2])
    [(array, options, _)] = read_layers(saved)
    assert np.array_equal(array, data[None])
    assert options["scale"] == (1, 2, 1)


def test_labels_on_part_of_a_scan_are_not_taken_for_the_scans(viewer, tmp_path):
    """Same spacing, other voxels: their place is made up, and that is said."""
    viewer.open(scan_file(tmp_path / "scan.nii.gz"), plugin="napari-bcp")
    path = tmp_path / "mask.nii.gz"
    part = Labels(np.ones((3, 3, 3), np.uint8), scale=SPACING[::-1])
    moved = Labels(np.ones(SHAPE[::-1], np.uint8), scale=SPACING[::-1], translate=(3, 0, 0))
    for layer in (part, moved):
        said = message_of(lambda layer=layer: write_labels(path, *layer.as_layer_data_tuple()[:2]))
        assert "no place in the patient" in said


# -- several scans ------------------------------------------------------------------------------------------------


def test_labels_over_two_scans_of_one_size_are_saved_for_the_one_in_sight(viewer, tmp_path):
    """Two patients on one scanner; nobody but the user can know."""
    first = scan_file(tmp_path / "first.nii.gz", "LPS")
    second = scan_file(tmp_path / "second.nii.gz", "RAS", oblique(origin=(1.0, 2.0, 300.0)))
    viewer.open([first, second], plugin="napari-bcp")
    labels = Labels(np.ones(SHAPE[::-1], np.uint8), scale=viewer.layers[0].scale).as_layer_data_tuple()[:2]
    with pytest.raises(MaskError, match=r"first\.nii\.gz or second\.nii\.gz: hide"):
        write_labels(tmp_path / "mask.nii.gz", *labels)
    viewer.layers["first"].visible = False
    [saved] = write_labels(tmp_path / "mask.nii.gz", *labels)
    assert geometry(saved) == geometry(second)


def test_a_scan_counts_before_a_mask_that_lies_on_it(viewer, tmp_path):
    """A mask of another program may have its axes in another order."""
    scan = scan_file(tmp_path / "scan.nii.gz", "SPR")
    mask = written(tmp_path / "scan_mask.nii.gz", np.ones(SHAPE, np.uint8), "LPS")
    viewer.open([mask, scan], plugin="napari-bcp")
    labels = Labels(np.ones(SHAPE[::-1], np.uint8), scale=viewer.layers[0].scale).as_layer_data_tuple()[:2]
    [saved] = write_labels(tmp_path / "new.nii.gz", *labels)
    assert geometry(saved) == geometry(scan)


# -- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.full((2, 3, 4), -1, np.int16), "from -1 to -1"),
        (np.full((2, 3, 4), 256, np.int32), "from 256 to 256"),
        (np.zeros((2, 3, 4), np.float32), "no whole numbers"),
        (np.zeros((2, 2, 3, 4), np.uint8), "4 axes"),
        (np.zeros(4, np.uint8), "1 axes"),
    ],
)
def test_labels_that_are_no_classes_are_refused_and_nothing_is_written(tmp_path, data, message):
    """A former mask of that name stays."""
    path = tmp_path / "mask.nii.gz"
    path.write_bytes(b"the former")
    with pytest.raises(MaskError, match=f"'liver'.*{message}"):
        write_labels(path, data, {"name": "liver"})
    assert path.read_bytes() == b"the former"
    assert [one.name for one in tmp_path.iterdir()] == ["mask.nii.gz"]


def test_labels_of_several_resolutions_are_refused(tmp_path):
    """As they come from large images."""
    layer = Labels([np.zeros((8, 8, 8), np.uint8), np.zeros((4, 4, 4), np.uint8)], multiscale=True)
    with pytest.raises(MaskError, match="resolutions"):
        write_labels(tmp_path / "mask.nii.gz", *layer.as_layer_data_tuple()[:2])


def test_labels_that_do_not_fit_their_scan_are_refused(tmp_path):
    """With the numbers of both."""
    options = source_options(scan_file(tmp_path / "scan.nii.gz"))
    with pytest.raises(GridMismatchError, match=r"'part' has 3 × 6 × 5 voxels and scan\.nii\.gz 7 × 6 × 5"):
        write_labels(tmp_path / "mask.nii.gz", np.zeros((3, 6, 5), np.uint8), {"name": "part", **options})
    with pytest.raises(GridMismatchError, match=r"2-D and scan\.nii\.gz 3-D"):
        write_labels(tmp_path / "mask.nii.gz", np.zeros((6, 5), np.uint8), {"name": "part", **options})


def test_flat_labels_over_a_volume_are_refused(viewer, tmp_path):
    """Which slice they are of is not known."""
    viewer.open(scan_file(tmp_path / "scan.nii.gz"), plugin="napari-bcp")
    with pytest.raises(MaskError, match="is 2-D and the opened scan 3-D"):
        write_labels(tmp_path / "mask.nii.gz", np.zeros((6, 5), np.uint8), {"name": "flat"})


def test_a_scan_that_is_away_is_named_and_no_place_is_made_up(tmp_path):
    """A disk that is unplugged can be plugged in again."""
    source = scan_file(tmp_path / "scan.nii.gz")
    options = source_options(source)
    Path(source).unlink()
    with pytest.raises(ScanAwayError, match=r"scan\.nii\.gz"):
        write_labels(tmp_path / "mask.nii.gz", np.zeros(SHAPE[::-1], np.uint8), options)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    """A file stands where the folder should be."""
    (tmp_path / "folder").write_text("no folder")
    with pytest.raises(MaskError, match=r"folder.mask\.nii cannot be written .*: choose another folder"):
        write_labels(tmp_path / "folder" / "mask.nii", np.zeros((2, 3, 4), np.uint8), {})


def test_a_spacing_that_nobody_believes_is_refused(tmp_path):
    """No reader would open the file."""
    with pytest.raises(ScanError, match="spacing"):
        write_labels(tmp_path / "mask.nii", np.zeros((2, 3, 4), np.uint8), {"scale": (1e6, 1, 1)})


def test_a_scan_is_never_written_over(viewer, tmp_path):
    """By a slip in the dialog, the only copy would be gone."""
    source = scan_file(tmp_path / "scan.nii.gz")
    before = Path(source).read_bytes()
    viewer.open(source, plugin="napari-bcp")
    viewer._new_labels()
    with pytest.raises(BcpError, match="is the scan"):
        viewer.layers.save(source, selected=True, plugin="napari-bcp")
    with pytest.raises(MaskError, match="is the scan"):
        write_labels(source, np.zeros(SHAPE[::-1], np.uint8), source_options(source))
    assert Path(source).read_bytes() == before


def test_the_masks_that_a_pool_keeps_are_never_written_over(tmp_path):
    """Every accepted version stays; a new one comes by accepting."""
    pool = tmp_path / "pool"
    kept = written(pool / "masks" / "case" / "0001.nii.gz", np.ones(SHAPE, np.uint8))
    (pool / "pool.sqlite").write_bytes(b"")
    [(array, options, _)] = read_layers(kept)
    with pytest.raises(MaskError, match="pool keeps"):
        write_labels(kept, array, options)
    assert write_labels(pool / "beside.nii.gz", array, options) == [str(pool / "beside.nii.gz")]


def test_napari_shows_the_reason_of_a_refusal(viewer, tmp_path):
    """It would take a ValueError for the news that no plugin can write the file."""
    viewer.add_labels(np.full((2, 3, 4), 300, np.int32), name="liver")
    with pytest.raises(BcpError, match="'liver' has values from 300 to 300") as caught:
        viewer.layers.save(str(tmp_path / "mask.nii.gz"), plugin="napari-bcp")
    assert not isinstance(caught.value, ValueError)


def test_the_command_of_the_manifest_saves_what_can_be_saved(tmp_path):
    """It is the writer with other errors."""
    saved = save_labels(str(tmp_path / "mask.nii"), np.ones((2, 3, 4), np.uint8), {"name": "liver"})
    assert saved == [str(tmp_path / "mask.nii")]
