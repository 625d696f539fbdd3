"""Rules of the repository that no other tool watches."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import get_args

import pytest
from packaging.requirements import Requirement

from napari_bcp import __version__, config
from napari_bcp.cli.main import app
from napari_bcp.cli.tables import settings_page

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MODULES = sorted((ROOT / "napari_bcp").rglob("*.py"))
SOURCES = sorted(
    path
    for folder in ("napari_bcp", "tests", "docs", "benchmarks", ".ci")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in (".py", ".md", ".yaml", ".toml", "") and path.is_file()
) + [
    path
    for path in ROOT.iterdir()
    if path.suffix in (".md", ".toml", ".txt", ".cff", ".yaml") or path.name == "Makefile"
]
HEAVY = ("torch", "napari", "qtpy")


def loaded_by(code):
    """Return the heavy packages that a fresh interpreter has loaded after `code`."""
    ask = f"{code}\nimport sys\nsys.stdout.write(' '.join(name for name in {HEAVY} if name in sys.modules))"
    return subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize(
    "module",
    ["", ".api", ".cli.main", ".app.reader", ".app.sample", ".scans", ".pool", ".metrics", ".config", ".events"],
)
def test_a_module_for_everybody_loads_neither_torch_nor_a_window(module):
    """The command answers at once, and napari's process stays small."""
    assert loaded_by(f"import napari_bcp{module}") == []


def test_the_help_is_shown_without_anything_heavy():
    """Nor the libraries for files, pictures and settings."""
    code = """
import contextlib, io, sys
from napari_bcp.cli.main import main
sys.argv = ["napari-bcp", "train", "--help"]
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
    main()
assert not {"nibabel", "scipy", "matplotlib", "blosc2"} & set(sys.modules)
"""
    assert loaded_by(code) == []


def test_the_names_of_networks_and_losses_are_those_that_there_are():
    """The settings name them a second time, so that they can be listed without torch."""
    from napari_bcp.method.losses import LOSSES
    from napari_bcp.networks import NETWORKS

    assert sorted(config.NETWORKS) == sorted(NETWORKS)
    assert sorted(config.LOSSES) == sorted(LOSSES)
    fields = config.TrainConfig.model_fields
    assert set(get_args(fields["network"].annotation)) == {"auto", *NETWORKS}
    assert set(get_args(fields["loss"].annotation)) == set(LOSSES)


def test_the_page_of_settings_is_up_to_date():
    """CONTRIBUTING.md says how to write it anew."""
    assert (ROOT / "docs" / "settings.md").read_text() == settings_page()


def test_every_command_is_in_the_readme():
    """A command that nobody is told of does not exist."""
    text = (ROOT / "README.md").read_text()
    commands = {one.name or one.callback.__name__ for one in app.registered_commands}
    assert {name for name in commands if f"napari-bcp {name}" not in text} == set()


def test_all_files_tell_the_same_version():
    """Where it stands by hand."""
    assert PROJECT["version"] == __version__
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## {__version__} " in (ROOT / "CHANGELOG.md").read_text()


def test_the_constraints_pin_every_dependency_to_a_version_that_it_allows():
    """Except a window system that is an alternative to the one that the tests use."""
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]
    pins = dict(line.split("==") for line in lines)
    extras = PROJECT["optional-dependencies"]
    listed = [*PROJECT["dependencies"], *(text for name in ("dev", "napari", "pyside6") for text in extras[name])]
    wanted = [one for one in map(Requirement, listed) if one.name != PROJECT["name"]]  # an extra may take another in
    assert {one.name for one in wanted} == set(pins)
    assert [str(one) for one in wanted if not one.specifier.contains(pins[one.name])] == []


def test_the_base_installation_brings_no_window_system():
    """A server has no use for one."""
    base = {Requirement(text).name.lower() for text in PROJECT["dependencies"]}
    assert not base & {"napari", "pyside6", "pyqt6", "pyqt5", "qtpy", "magicgui"}


def test_a_module_says_what_it_is_and_can_be_read_in_one_go():
    """It begins with a sentence, and has at most 600 lines."""
    texts = {path: path.read_text() for path in MODULES}
    assert [path for path, text in texts.items() if not ast.get_docstring(ast.parse(text))] == []
    assert [path for path, text in texts.items() if text.count("\n") > 600] == []


def test_no_module_runs_code_from_files():
    """A checkpoint, map or array from elsewhere is data, not a program."""
    needed = {"torch.load": ("weights_only", "True"), "np.load": ("allow_pickle", "False")}
    unsafe = []
    for path in MODULES:
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call):
                name = ast.unparse(call.func)
                options = {one.arg: ast.unparse(one.value) for one in call.keywords}
                option, value = needed.get(name, (None, None))
                if name in ("eval", "exec", "blosc2.open", "yaml.load") or name.startswith(("pickle.load", "marshal.")):
                    unsafe.append((path, name))
                elif option and options.get(option) != value:
                    unsafe.append((path, f"{name} without {option}={value}"))
    assert unsafe == []


def test_no_file_names_a_folder_of_the_machine_it_was_written_on_or_leaves_work_for_later():
    """Both mean nothing to anybody else."""
    found = {}
    for path in SOURCES:
        hits = re.findall(r"(?<![\w.}])/(?:home|root|Users|work)/|\b(?:TO" r"DO|FIX" r"ME)\b", path.read_text())
        if hits:
            found[path] = hits
    assert found == {}
