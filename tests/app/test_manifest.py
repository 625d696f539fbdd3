"""What napari is told of the package, and what it gets when it asks."""

import subprocess
import sys
import tomllib
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from napari.errors import MultipleReaderError
from napari.layers import Image, Labels, Layer
from npe2 import PluginManifest
from npe2.manifest.contributions import MenuCommand

from napari_bcp.app.dock import BcpWidget
from napari_bcp.app.reader import DOCK, PLUGIN, POOL_TABLE, get_pool_reader, get_reader, open_pool
from napari_bcp.app.sample import COHORT, get_cohort_reader
from napari_bcp.errors import BcpError, PoolError
from napari_bcp.pool.store import TABLE
from napari_bcp.scans.phantom import PHANTOM_CLASSES

ROOT = Path(__file__).parents[2]


MANIFEST = ROOT / "napari_bcp" / "napari.yaml"


@pytest.fixture(scope="module")
def manifest():
    """Return the manifest as the file in the package has it."""
    return PluginManifest.from_file(MANIFEST)


@pytest.fixture
def viewer(npe2pm, make_napari_viewer):
    """A viewer with the plugin."""
    with npe2pm.tmp_plugin(manifest=str(MANIFEST)):
        yield make_napari_viewer()


@pytest.fixture
def opened(keeper, monkeypatch):
    """Return the list of what the process's session is asked to open; nothing is opened."""
    asked = []
    monkeypatch.setattr(keeper.session, "open_pool", lambda root: asked.append(("pool", root)))
    monkeypatch.setattr(keeper.session, "open_sample", lambda folder: asked.append(("sample", folder)))
    return asked


@pytest.fixture
def pool(tmp_path):
    """Return a folder that looks like a pool."""
    folder = tmp_path / "study" / "pool"
    folder.mkdir(parents=True)
    (folder / TABLE).write_bytes(b"")
    return folder


# -- the manifest -------------------------------------------------------------------------------------------------


def test_every_command_of_the_manifest_can_be_imported_and_called(manifest):
    """A wrong name would only show when a user clicks."""
    for one in manifest.contributions.commands:
        module, name = str(one.python_name).split(":")
        assert callable(getattr(import_module(module), name))


def test_contributions_refer_to_commands_of_the_manifest_and_all_commands_are_used(manifest):
    """So nothing is left over when a contribution goes."""
    told = manifest.contributions
    samples = [one for one in told.sample_data if hasattr(one, "command")]
    used = {one.command for one in [*told.widgets, *told.readers, *told.writers, *samples]}
    known = [one.id for one in told.commands]
    assert used == set(known)
    assert len(known) == len(set(known))
    assert all(one.startswith(f"{manifest.name}.") for one in known)


def test_menus_hold_commands_and_submenus_that_there_are_where_napari_takes_them(manifest):
    """napari drops others without a word."""
    from napari._app_model.constants._menus import is_menu_contributable

    told = manifest.contributions
    commands, submenus = {one.id for one in told.commands}, {one.id for one in told.submenus or ()}
    assert told.menus
    for menu, items in told.menus.items():
        assert menu in submenus or is_menu_contributable(menu)
        for item in items:
            assert (item.command in commands) if isinstance(item, MenuCommand) else (item.submenu in submenus)


def test_samples_by_address_are_read_by_a_reader_of_the_manifest(manifest):
    """No other plugin knows the address."""
    [sample] = [one for one in manifest.contributions.sample_data if hasattr(one, "uri")]
    patterns = {pattern for reader in manifest.contributions.readers for pattern in reader.filename_patterns}
    assert (sample.uri, sample.reader_plugin) == (COHORT, manifest.name)
    assert sample.uri in patterns


def test_the_code_names_plugin_and_dock_as_the_manifest_does(manifest):
    """napari's menu names a dock by the plugin's display name, its function for plugins by the plugin's name."""
    [widget] = manifest.contributions.widgets
    assert (manifest.name, manifest.display_name, widget.display_name) == (PLUGIN, PLUGIN, DOCK)
    assert TABLE == POOL_TABLE


def test_the_tool_for_manifests_finds_nothing_wrong(manifest):
    """`npe2 validate` is in the checks of style; this is its look at the imports."""
    manifest.validate_imports()


def test_napari_finds_the_manifest_in_the_package():
    """By the entry point, as package data, and at the root for tools that look there."""
    [found] = entry_points(group="napari.manifest", name="napari-bcp")
    assert found.value == "napari_bcp:napari.yaml"
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "napari.yaml" in settings["tool"]["setuptools"]["package-data"]["napari_bcp"]
    assert (ROOT / "napari.yaml").resolve() == ROOT / "napari_bcp" / "napari.yaml"


# -- scans and masks ----------------------------------------------------------------------------------------------


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
        ("scan - Labels.nii", Labels),
        ("scan - Labels [1].nii", Labels),
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


# -- pools and samples --------------------------------------------------------------------------------------------


def test_a_pool_is_opened_in_the_dock_by_its_folder_or_its_table(viewer, opened, pool):
    """The dock comes to the current window, once, and no layer with it."""
    for path in (pool, pool / TABLE):
        assert viewer.open(str(path), plugin="napari-bcp") == []
    assert opened == [("pool", pool), ("pool", pool)]
    [(name, widget)] = viewer.window.dock_widgets.items()
    assert name == "Bidirectional Copy-Paste (napari-bcp)"
    assert isinstance(widget, BcpWidget)


def test_the_dock_from_the_menu_is_used_again(viewer, opened, pool, mock_app_model):
    """And brought back to sight."""
    mock_app_model.commands.execute_command("napari-bcp.dock")
    [dock] = viewer.window._wrapped_dock_widgets.values()
    dock.hide()
    viewer.open(str(pool), plugin="napari-bcp")
    assert list(viewer.window._wrapped_dock_widgets.values()) == [dock]
    assert not dock.isHidden()


def test_a_dock_that_was_closed_comes_back_with_a_pool(viewer, opened, pool, qtbot):
    """The session has outlived it."""
    viewer.open(str(pool), plugin="napari-bcp")
    [dock] = viewer.window._wrapped_dock_widgets.values()
    dock.destroyOnClose()  # what the cross in its title does
    viewer.open(str(pool), plugin="napari-bcp")
    assert len(viewer.window.dock_widgets) == 1
    assert len(opened) == 2


def test_a_pool_given_by_its_table_needs_no_choice_of_a_plugin(npe2pm, viewer, opened, pool):
    """As a folder does, for napari itself reads folders, too."""
    with npe2pm.tmp_plugin(package="napari"):
        with pytest.raises(MultipleReaderError):
            viewer.open(str(pool), plugin=None)
        assert viewer.open(str(pool / TABLE), plugin=None) == []
    assert opened == [("pool", pool)]


def test_folders_and_tables_that_are_no_pool_are_left_to_other_readers(pool, tmp_path):
    """napari asks about every folder."""
    (tmp_path / "other.sqlite").write_bytes(b"")
    (tmp_path / "odd" / TABLE).mkdir(parents=True)
    for path in (pool.parent, tmp_path / "odd", tmp_path / "none", tmp_path / TABLE, tmp_path / "other.sqlite"):
        assert get_pool_reader(str(path)) is None
    for several in ([], [str(pool), str(pool)]):
        assert get_pool_reader(several) is None
    assert get_pool_reader([str(pool)]) is not None


def test_looking_at_a_folder_loads_nothing_heavy(tmp_path):
    """It happens whenever a user of napari opens a folder of anything."""
    ask = f"""
import sys
from napari_bcp.app.reader import get_pool_reader
assert get_pool_reader({str(tmp_path)!r}) is None
print({{"torch", "napari", "qtpy", "sqlite3"}} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_a_pool_that_went_away_or_has_no_window_is_refused_in_a_sentence(pool, tmp_path, monkeypatch):
    """Both are errors that napari shows."""
    monkeypatch.setattr("napari.current_viewer", lambda: None)
    with pytest.raises(PoolError, match="open a viewer first"):
        open_pool(str(pool))
    with pytest.raises(PoolError, match="study is no pool"):
        open_pool(str(pool.parent))


def test_the_phantom_cohort_is_opened_in_the_dock(viewer, opened, tmp_path, monkeypatch):
    """In the user's own folder for data, as from the dock."""
    monkeypatch.setattr("platformdirs.user_data_path", lambda name: tmp_path / name)
    assert viewer.open_sample("napari-bcp", "phantom_cohort") == []
    assert opened == [("sample", tmp_path / "napari-bcp" / "sample")]
    assert [type(one) for one in viewer.window.dock_widgets.values()] == [BcpWidget]
    assert get_cohort_reader("napari-bcp://else") is None


def test_the_sample_is_a_scan_with_its_mask_on_one_grid(viewer):
    """With the names and colours of the classes."""
    scan, mask = viewer.open_sample("napari-bcp", "phantom")
    assert (type(scan), type(mask)) == (Image, Labels)
    assert scan.data.shape == mask.data.shape
    assert scan.scale.tolist() == mask.scale.tolist()
    assert scan.units == mask.units
    assert mask.features["name"].tolist() == ["background", *(one.name for one in PHANTOM_CLASSES)]
    liver = np.argwhere(mask.data == 1)
    assert liver[:, 2].mean() < mask.data.shape[2] / 2  # on the patient's right, which is on the viewer's left
