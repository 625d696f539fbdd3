"""What napari is told of the package, and what it gets when it asks."""

import tomllib
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from napari.layers import Image, Labels, Layer
from npe2 import PluginManifest

from napari_bcp.app.reader import get_reader
from napari_bcp.app.sample import phantom
from napari_bcp.errors import BcpError
from napari_bcp.scans.phantom import PHANTOM_CLASSES

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def manifest():
    """Return the manifest as the file in the package has it."""
    return PluginManifest.from_file(ROOT / "napari_bcp" / "napari.yaml")


def test_every_command_of_the_manifest_can_be_imported_and_called(manifest):
    """A wrong name would only show when a user clicks."""
    for one in manifest.contributions.commands:
        module, name = str(one.python_name).split(":")
        assert callable(getattr(import_module(module), name))


def test_contributions_refer_to_commands_of_the_manifest_and_all_commands_are_used(manifest):
    """So nothing is left over when a contribution goes."""
    told = manifest.contributions
    used = {one.command for one in [*told.readers, *told.sample_data]}
    assert used == {one.id for one in told.commands}


def test_napari_finds_the_manifest_in_the_package():
    """By the entry point, as package data, and at the root for tools that look there."""
    [found] = entry_points(group="napari.manifest", name="napari-bcp")
    assert found.value == "napari_bcp:napari.yaml"
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "napari.yaml" in settings["tool"]["setuptools"]["package-data"]["napari_bcp"]
    assert (ROOT / "napari.yaml").resolve() == ROOT / "napari_bcp" / "napari.yaml"


@pytest.mark.parametrize("path", ["a.dcm", "a.nii.txt", "folder", ["a.nii", "b.png"], []])
def test_other_files_are_left_to_other_readers(path):
    """Also a stack of which one file is something else."""
    assert get_reader(path) is None


def written(path, voxels, axes="RAS", spacing=(1.0, 2.0, 3.0)):
    """Write voxels (x, y, z in RAS) as a file whose axes run as `axes`; return the path as text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(voxels, np.diag([*spacing, 1.0]))
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(tuple(axes))
    )
    nib.save(image.as_reoriented(turn), path)
    return str(path)


@pytest.mark.parametrize("axes", ["RAS", "LPS", "SAR", "PIR"])
def test_a_scan_opens_upright_whatever_order_its_file_has(tmp_path, axes):
    """Axes z, y, x run to the feet, the back and the patient's left, in mm."""
    voxels = np.zeros((5, 6, 7), np.int16)
    voxels[0, 5, 6] = 9  # left, anterior, superior: x = 0 is the patient's left in RAS+
    path = written(tmp_path / "scan.nii.gz", voxels, axes)
    [(array, options, kind)] = get_reader(path)(path)
    layer = Layer.create(array, options, kind)
    assert isinstance(layer, Image)
    assert np.argwhere(array == 9).tolist() == [[0, 0, 4]]
    assert layer.scale.tolist() == [3.0, 2.0, 1.0]
    assert [str(unit) for unit in layer.units] == ["millimeter"] * 3
    assert layer.axis_labels == ("z", "y", "x")
    assert layer.name == "scan"


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("scan.nii", Image),
        ("segovia.nii", Image),
        ("scan_seg.nii", Labels),
        ("scan-mask.nii", Labels),
        ("Label.nii", Labels),
        ("labelsTr/scan.nii", Labels),
        ("masks/scan.nii", Labels),
        ("masks/case/0001.nii", Labels),
        ("my-masks-and-scans/scan.nii", Image),
    ],
)
def test_a_file_is_labels_if_its_name_or_folder_says_mask(tmp_path, name, layer):
    """Values tell nothing: many scans have few of them."""
    path = written(tmp_path / name, np.eye(4, dtype=np.uint8)[..., None])
    assert isinstance(Layer.create(*get_reader(path)(path)[0]), layer)


def test_several_files_open_as_several_layers(tmp_path):
    """As when they are dropped on the window together."""
    paths = [written(tmp_path / f"{name}.nii", np.eye(4, dtype=np.int16)[..., None]) for name in "ab"]
    assert [options["name"] for _, options, _ in get_reader(paths)(paths)] == ["a", "b"]


def test_a_scan_of_one_value_can_be_shown(tmp_path):
    """Contrast limits must differ."""
    path = written(tmp_path / "flat.nii", np.full((4, 4, 4), 7, np.int16))
    low, high = Layer.create(*get_reader(path)(path)[0]).contrast_limits
    assert low < high


def test_a_broken_file_is_refused_in_a_sentence(tmp_path):
    """Which napari shows."""
    path = tmp_path / "torn.nii"
    path.write_bytes(b"no scan")
    with pytest.raises(BcpError, match=r"torn\.nii"):
        get_reader(str(path))(str(path))


def test_the_sample_is_a_scan_with_its_mask_on_one_grid():
    """With the names and colours of the classes."""
    scan, mask = (Layer.create(*data) for data in phantom())
    assert (type(scan), type(mask)) == (Image, Labels)
    assert scan.data.shape == mask.data.shape
    assert scan.scale.tolist() == mask.scale.tolist()
    assert scan.units == mask.units
    assert mask.features["name"].tolist() == ["background", *(one.name for one in PHANTOM_CLASSES)]
    liver = np.argwhere(mask.data == 1)
    assert liver[:, 2].mean() < mask.data.shape[2] / 2  # on the patient's right, which is on the viewer's left
