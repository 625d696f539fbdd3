"""Predictions lie in the scan's own grid, and maps say what the network said."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import nn

from napari_bcp import api
from napari_bcp.config import make_config
from napari_bcp.engine.fingerprint import Fingerprint
from napari_bcp.engine.model import Model
from napari_bcp.engine.plan import make_plan
from napari_bcp.engine.predict import predict_scan
from napari_bcp.errors import DeviceError, ScanError
from napari_bcp.scans import read_grid, read_mask, read_scan
from napari_bcp.scans.maps import MapFile, MapWriter

CPU = torch.device("cpu")


class Threshold(nn.Module):
    """Bright voxels are class 1, dark ones class 2, the rest background, each with probability near 1."""

    def forward(self, x):
        return torch.cat([torch.zeros_like(x), 40 * (x - 1), 40 * (-x - 1)], 1)


def plan_for(shape, size, parts=None, **settings):
    found = Fingerprint(
        shape=shape,
        spacing=size,
        extent=tuple(n * s for n, s in zip(shape, size, strict=True)),
        ct=False,
        foreground=(0.0, 1.0, 2.0, 1.0, 1.0),
        diameters={3: 10.0, 7: 10.0},
        parts=parts or {},
    )
    return make_plan(found, [3, 7], make_config("quick", {"normalise": "none", **settings}), CPU)


@pytest.fixture
def scan(tmp_path):
    """Return a function that writes and reads a scan with a bright and a dark cube and a bright island."""

    def make(shape=(30, 26, 22), spacing=(1.0, 1.0, 2.0)):
        voxels = np.zeros(shape, np.float32)
        voxels[4:12, 5:15, 4:12] = 3
        voxels[16:26, 5:15, 4:12] = -3
        voxels[26:28, 22:24, 18:20] = 3
        nib.save(nib.Nifti1Image(voxels, np.diag([*spacing, 1.0])), tmp_path / "s.nii.gz")
        return read_scan(tmp_path / "s.nii.gz")

    return make


@pytest.mark.parametrize(
    "settings",
    [
        {"spacing": (0.0, 0.0, 0.0)},
        {"spacing": (0.0, 0.0, 0.0), "patch": (8, 8, 8), "network": "quick"},
        {"spacing": (0.0, 0.0), "dimensions": "2", "patch": (16, 16)},
        {"network": "vnet", "spacing": (0.0, 0.0, 0.0), "patch": (16, 16, 16)},
    ],
    ids=["whole", "blocks", "slices", "plain mean"],
)
def test_on_the_scans_own_grid_every_voxel_gets_its_class(scan, settings):
    loaded = scan()
    found = predict_scan(Threshold(), plan_for((30, 26, 22), (1, 1, 2), **settings), loaded, device=CPU)
    expected = np.where(loaded.voxels > 1, 3, np.where(loaded.voxels < -1, 7, 0))
    expected[26:28, 22:24, 18:20] = 0  # the island was removed
    np.testing.assert_array_equal(found.labels, expected)
    assert found.islands == {3: [8]}
    assert found.volume_ml[3] == pytest.approx(8 * 10 * 8 * 2 / 1000)
    assert found.quality[3] > 0.99
    assert found.entropy < 0.01


@pytest.mark.parametrize("spacing", [(2.0, 2.0, 2.0), (0.7, 0.8, 3.0)])
def test_another_grid_in_between_keeps_the_anatomy(scan, spacing):
    loaded = scan()
    found = predict_scan(Threshold(), plan_for((30, 26, 22), (1, 1, 2), spacing=spacing), loaded, device=CPU)
    assert found.labels.shape == loaded.voxels.shape
    for value, inside in ((3, loaded.voxels > 1), (7, loaded.voxels < -1)):
        both = (found.labels == value) & inside
        assert 2 * both.sum() / ((found.labels == value).sum() + inside.sum()) > 0.75


def test_a_map_file_gives_back_probabilities_and_facts(scan, tmp_path):
    loaded = scan()
    found = predict_scan(Threshold(), plan_for((30, 26, 22), (1, 1, 2), spacing=(0, 0, 0)), loaded, device=CPU)
    found.map.save(tmp_path / "m.b2nd", {"run": "0001", "step": 7})
    read = MapFile(tmp_path / "m.b2nd")
    assert (read.classes, read.shape, read.facts["run"], read.facts["step"]) == ((3, 7), (30, 26, 22), "0001", 7)
    np.testing.assert_array_equal(read.read(3), np.where(loaded.voxels > 1, 255, 0))
    np.testing.assert_array_equal(
        read.read(7, (slice(10, 20), slice(None), slice(4, 6))), read.read_all()[1, 10:20, :, 4:6]
    )


@pytest.mark.parametrize("content", [b"", b"garbage" * 100, None])
def test_a_file_that_is_no_map_is_refused_by_name(tmp_path, content):
    if content is not None:
        (tmp_path / "bad.b2nd").write_bytes(content)
    with pytest.raises(ScanError, match=r"bad\.b2nd"):
        MapFile(tmp_path / "bad.b2nd")


def test_a_slab_may_lie_in_memory_as_it_likes(tmp_path):
    slab = np.arange(2 * 4 * 3 * 5, dtype=np.uint8).reshape(2, 4, 3, 5)
    writer = MapWriter((4, 3, 2), (1, 2))
    writer.add(0, slab[..., 1:3])
    writer.save(tmp_path / "m.b2nd", {})
    np.testing.assert_array_equal(MapFile(tmp_path / "m.b2nd").read_all(), slab[..., 1:3])


def test_a_map_of_another_shape_than_its_scan_is_refused_before_it_is_read(tmp_path):
    MapWriter((30, 26, 22), (1, 2)).save(tmp_path / "m.b2nd", {})
    assert MapFile(tmp_path / "m.b2nd", (30, 26, 22)).shape == (30, 26, 22)
    with pytest.raises(ScanError, match=r"m\.b2nd"):
        MapFile(tmp_path / "m.b2nd", (30, 26, 23))


def test_a_prediction_can_be_stopped(scan):
    plan = plan_for((30, 26, 22), (1, 1, 2), spacing=(0, 0, 0))
    assert predict_scan(Threshold(), plan, scan(), device=CPU, stop=lambda: True) is None


class Limited(Threshold):
    """Runs out of memory on more than so many voxels at a time."""

    def __init__(self, voxels):
        super().__init__()
        self.voxels = voxels

    def forward(self, x):
        if x.numel() > self.voxels:
            raise torch.OutOfMemoryError("full")
        return super().forward(x)


@pytest.mark.parametrize("network", ["quick", "vnet"])
def test_where_the_memory_runs_out_a_scan_is_segmented_block_by_block_and_that_is_said(scan, network):
    settings = {"spacing": (0.0, 0.0, 0.0), "patch": (16, 16, 16), "network": network}
    plan, loaded = plan_for((30, 26, 22), (1, 1, 2), **settings), scan()
    config = make_config("quick", settings)
    usual = Model(Threshold(), plan, config, CPU, "0001", 5).segment(loaded)
    sparing = Model(Limited(16**3), plan, config, CPU, "0001", 5).segment(loaded)
    assert usual.note == ""
    assert sparing.note == "The memory ran out on s.nii.gz, so it was segmented in small blocks."
    np.testing.assert_array_equal(sparing.labels, usual.labels)
    with pytest.raises(DeviceError, match=r"s\.nii\.gz, and small blocks did not help"):
        Model(Limited(8), plan, config, CPU, "0001", 5).segment(loaded)


@pytest.mark.parametrize(("parts", "stays"), [({}, False), ({3: 2}, True), ({7: 2}, False)])
def test_as_many_components_stay_as_masks_have_unless_only_one_is_asked_for(scan, parts, stays):
    loaded = scan()
    loaded.voxels[24:29, 19:25, 12:21] = 3
    plan = plan_for((30, 26, 22), (1, 1, 2), parts, spacing=(0, 0, 0))
    found = predict_scan(Threshold(), plan, loaded, device=CPU)
    assert found.labels[8, 10, 8] == 3
    assert bool(found.labels[26, 22, 18] == 3) is stays
    one = predict_scan(Threshold(), plan, loaded, device=CPU, components="largest")
    assert one.labels[26, 22, 18] == 0


def test_all_components_stay_when_asked_to(scan):
    plan = plan_for((30, 26, 22), (1, 1, 2), spacing=(0, 0, 0))
    found = predict_scan(Threshold(), plan, scan(), device=CPU, components="all")
    assert found.islands == {}
    assert found.labels[26, 22, 18] == 3


@pytest.fixture
def model(scan, tmp_path):
    """A model that finds bright and dark voxels, and a scan of it stored from the left, the back and the head."""
    loaded = scan()
    image = nib.load(loaded.path)
    turn = nib.orientations.ornt_transform(
        nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(tuple("LPI"))
    )
    nib.save(image.as_reoriented(turn), tmp_path / "turned.nii.gz")
    settings = {"spacing": (0.0, 0.0, 0.0)}
    plan = plan_for((30, 26, 22), (1, 1, 2), **settings)
    expected = np.where(loaded.voxels > 1, 3, np.where(loaded.voxels < -1, 7, 0))
    expected[26:28, 22:24, 18:20] = 0
    config = make_config("quick", {"normalise": "none", **settings})
    return Model(Threshold(), plan, config, CPU, "0001", 7), tmp_path / "turned.nii.gz", expected


def test_what_is_written_of_a_case_is_what_was_found(model, tmp_path):
    made, file, expected = model
    event = made.make_map("a", file, tmp_path / "maps")
    grid = read_grid(file)
    np.testing.assert_array_equal(read_mask(event.pseudo_path, grid).voxels, expected)
    found = MapFile(Path(event.map_path))
    for value in (3, 7):
        assert (found.read(value)[expected == value] > 250).all()
        assert (found.read(value)[expected == 10 - value] < 5).all()


def test_what_segment_writes_is_what_was_found_class_by_class(model, tmp_path, monkeypatch):
    made, file, expected = model
    (tmp_path / "any.pt").touch()
    monkeypatch.setattr(Model, "load", classmethod(lambda *_: made))
    out = tmp_path / "out"
    list(api.segment(tmp_path / "any.pt", [file], out, probabilities=True))
    np.testing.assert_array_equal(read_mask(out / "turned.nii.gz", read_grid(file)).voxels, expected)
    for value in (3, 7):
        probability = read_scan(out / f"turned_prob_{value}.nii.gz").voxels
        assert (probability[expected == value] > 0.98).all()
        assert (probability[expected == 10 - value] < 0.02).all()
