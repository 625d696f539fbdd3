"""What the doctor finds."""

import json
from importlib.metadata import version

from napari_bcp.cli.doctor import sentences


def test_the_doctor_tells_what_this_computer_has(command):
    """Numbers that are true of any computer that runs this test."""
    found = json.loads(command("doctor", "--json").out)
    assert found["versions"]["torch"] == version("torch")
    assert 0 < found["memory_free_gb"] <= found["memory_gb"]
    assert found["cores"] >= 1
    assert found["disk_free_gb"] > 0
    assert found["device"].startswith("cuda" if found["gpus"] else "cpu")
    assert isinstance(found["bfloat16"], bool)


def test_every_finding_becomes_a_remark():
    """Also on a computer without a window system, and on one with GPUs."""
    found = {
        "versions": {"napari-bcp": "0.1.0", "torch": "2.13.0", "napari": None},
        "python": "3.11.7",
        "system": "Linux",
        "device": "cuda:0",
        "gpus": [{"name": "H100", "memory_gb": 80.0}],
        "processor": "Xeon",
        "cores": 8,
        "bfloat16": True,
        "memory_gb": 64.0,
        "memory_free_gb": 32.5,
        "folder": "/data",
        "disk_free_gb": 500.0,
        "qt": None,
        "opengl": None,
    }
    remarks = dict(sentences(found))
    assert remarks["device"] == "cuda:0: H100 (80.0 GB)"
    assert remarks["memory"] == "32.5 of 64.0 GB free"
    assert remarks["napari"].startswith("not installed")
    remarks = dict(
        sentences({**found, "gpus": [], "device": "cpu", "versions": {**found["versions"], "napari": "0.9.2"}})
    )
    assert "no GPU" in remarks["device"]
    assert dict(sentences({**found, "device": "cpu"}))["device"].endswith("cannot compute on H100 (80.0 GB)")
    assert remarks["napari"] == "0.9.2, no Qt binding"
