"""What a user has chosen once and for all."""

import sys
from dataclasses import asdict, fields
from pathlib import Path
from types import SimpleNamespace

import pytest
from npe2 import PluginManifest

from napari_bcp.app.preferences import Preferences, load
from napari_bcp.config import PRESETS

MANIFEST = Path(__file__).parents[2] / "napari_bcp" / "napari.yaml"

pytestmark = pytest.mark.usefixtures("plugin_settings")  # napari's own: settings of plugins in a folder of the test


@pytest.fixture
def settings(npe2pm):
    """Return napari's settings for the plugin, kept in a folder of the test."""
    from napari.settings import get_plugin_settings

    with npe2pm.tmp_plugin(manifest=str(MANIFEST)):
        yield get_plugin_settings("napari-bcp")


@pytest.fixture
def stored(monkeypatch):
    """Return a function that makes napari have given values, whatever they are."""

    def store(**values):
        found = SimpleNamespace(training=SimpleNamespace(**values))
        monkeypatch.setattr("napari.settings.get_plugin_settings", lambda _: found)

    return store


def test_a_user_who_has_chosen_nothing_gets_the_defaults(settings):
    """Which are the same in the manifest."""
    assert load() == Preferences()
    assert settings.training.model_dump() == asdict(Preferences())


def test_the_manifest_offers_every_preference_and_no_other():
    """A preference that cannot be chosen is none."""
    [training] = PluginManifest.from_file(MANIFEST).contributions.configurations.values()
    assert set(training.properties) == {one.name for one in fields(Preferences)}
    assert training.properties["preset"].enum == list(PRESETS)


def test_what_is_chosen_in_napari_counts_from_then_on(settings):
    """Also in the next session: napari writes it down."""
    settings.training.minutes = 90
    settings.training.preset = "quality"
    settings.training.device = "cuda:0"
    settings.training.threads = 3
    settings.training.map_share = 0.25
    assert load() == Preferences(90, "quality", "cuda:0", 3, 0.25)
    from napari.settings import _clear_plugin_settings_cache

    _clear_plugin_settings_cache()
    assert load() == Preferences(90, "quality", "cuda:0", 3, 0.25)


@pytest.mark.parametrize(
    ("name", "value"),
    [("minutes", 0), ("preset", "slow"), ("device", "tpu"), ("threads", -1), ("map_share", 1.5)],
)
def test_napari_refuses_what_is_out_of_range(settings, name, value):
    """So the page of preferences cannot be filled in wrongly."""
    with pytest.raises(ValueError, match=name):
        setattr(settings.training, name, value)


def test_a_settings_file_with_nonsense_leaves_the_rest_of_it_in_force(npe2pm, tmp_path):
    """A file may be edited by hand, or be from another version."""
    (tmp_path / "napari-bcp.yaml").write_text("training:\n  minutes: -3\n  threads: 2\n  unheard_of: 1\n")
    with npe2pm.tmp_plugin(manifest=str(MANIFEST)):
        assert load() == Preferences(threads=2)


def test_a_settings_file_that_cannot_be_read_means_defaults(npe2pm, tmp_path):
    """Not an error in the middle of a training's start."""
    (tmp_path / "napari-bcp.yaml").write_text("- a list\n- of things\n")
    with npe2pm.tmp_plugin(manifest=str(MANIFEST)):
        assert load() == Preferences()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("minutes", 0),
        ("minutes", True),
        ("minutes", 2.5),
        ("preset", "slow"),
        ("preset", ["quick"]),
        ("device", "cuda"),
        ("device", None),
        ("threads", 257),
        ("map_share", float("nan")),
        ("map_share", "much"),
    ],
)
def test_a_value_that_fits_nothing_falls_back_alone(stored, name, value):
    """The others are kept."""
    kept = {"minutes": 7, "preset": "quality", "device": "cpu", "threads": 1, "map_share": 0.5}
    stored(**{**kept, name: value})
    assert asdict(load()) == {**kept, name: asdict(Preferences())[name]}


def test_a_second_gpu_can_be_named_in_the_settings(stored):
    """The page offers the first one only."""
    stored(device="cuda:1")
    assert load() == Preferences(device="cuda:1")


def test_an_older_napari_means_defaults(monkeypatch):
    """It has no settings of plugins."""
    import napari.settings

    monkeypatch.delattr(napari.settings, "get_plugin_settings")
    assert load() == Preferences()


def test_no_napari_means_defaults(monkeypatch):
    """As on a server."""
    monkeypatch.setitem(sys.modules, "napari.settings", None)
    assert load() == Preferences()


def test_a_plugin_that_is_switched_off_means_defaults():
    """napari then knows of no settings."""
    assert load() == Preferences()
