"""The command that opens the window, without opening one."""

import pytest

import napari_bcp
import napari_bcp.scans.phantom
from napari_bcp.cli import doctor, window


@pytest.fixture
def started(monkeypatch):
    """What would have been started; it leaves with 0."""
    calls = []
    monkeypatch.setattr(window.subprocess, "call", lambda words: calls.append(words) or 0)
    monkeypatch.setenv("DISPLAY", ":0")
    return calls


def test_open_shows_the_pool_in_a_window_of_its_own_process(command, started, tmp_path):
    folder = napari_bcp.scans.phantom.write_cohort(tmp_path / "cohort", 2, 1, 0, "tiny")
    napari_bcp.new_pool(tmp_path / "pool", folder / "images", folder / "labels").close()
    assert command("open", tmp_path / "pool").code == 0
    [words] = started
    assert words[1:] == ["-m", "napari_bcp.app", str(tmp_path / "pool")]


def test_open_without_a_pool_shows_the_welcome_page(command, started):
    assert command("open").code == 0
    [words] = started
    assert words[1:] == ["-m", "napari_bcp.app"]


def test_a_folder_that_is_no_pool_is_refused_before_a_window_opens(command, started, tmp_path):
    left = command("open", tmp_path)
    assert left.code == 4
    assert "There is no pool" in left.err
    assert not started


def test_without_a_screen_the_command_says_so(monkeypatch):
    monkeypatch.setattr(window.sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert "there is no screen" in window.why_no_window()
    with pytest.raises(napari_bcp.BcpError, match="The window cannot be opened"):
        window.open_window()


def test_a_window_system_that_the_package_is_not_made_for_is_no_window_system(monkeypatch):
    """The doctor does not name it either."""
    monkeypatch.setattr(window, "find_spec", lambda name: None if name in ("PySide6", "PyQt6") else name)
    assert "with a window system is not installed" in window.why_no_window()
    monkeypatch.setattr(doctor, "_version", lambda name: None if name in ("PySide6", "PyQt6") else "5.15")
    assert doctor._qt_binding() is None


def test_without_napari_the_command_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(window, "find_spec", lambda name: None)
    assert "pip install 'napari-bcp[pyside6]'" in window.why_no_window()


@pytest.mark.parametrize("asked", [(), ("--window",)])
def test_where_there_is_a_screen_the_demo_is_a_window_that_trains_already(command, started, tmp_path, asked):
    assert command("demo", tmp_path / "demo", *asked).code == 0
    [words] = started
    assert words[1:] == ["-m", "napari_bcp.app", "--sample", str(tmp_path / "demo"), "--train", "10.0"]


def test_the_window_of_the_demo_takes_no_device(command, started):
    """It is among napari's preferences; left out without a word it would be wrong."""
    left = command("demo", "--window", "--device", "cpu")
    assert left.code == 2
    assert "leave --device out" in left.err
    assert not started
