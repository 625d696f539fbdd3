"""Running commands: in this process over verbs that a test makes up, or as a process of their own."""

import signal
import subprocess
import sys
from types import ModuleType, SimpleNamespace

import pytest

import napari_bcp
from napari_bcp.cli.main import main


@pytest.fixture(scope="session")
def small_training():
    """Return settings with which a step of training takes no time."""
    return {"width": 4, "batch": 2, "patch": [24, 24, 16], "precision": "float32", "threads": 1}


@pytest.fixture
def command(monkeypatch, capsys):
    """Return a function that runs a command in this process; `verbs` that are given stand in for napari_bcp.api's."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(*arguments, **verbs):
        with monkeypatch.context() as patch:
            if verbs:
                api = ModuleType("napari_bcp.api")
                vars(api).update(verbs)
                patch.setitem(sys.modules, "napari_bcp.api", api)
                patch.setattr(napari_bcp, "api", api, raising=False)
            patch.setattr(sys, "argv", ["napari-bcp", *map(str, arguments)])
            with pytest.raises(SystemExit) as left:
                main()
        out, err = capsys.readouterr()
        return SimpleNamespace(code=left.value.code or 0, out=out, err=err)

    yield run
    for number, handler in before.items():
        signal.signal(number, handler)


_PROGRAM = """
import sys, types
import napari_bcp
from napari_bcp.events import *

api = types.ModuleType("napari_bcp.api")
sys.modules["napari_bcp.api"] = napari_bcp.api = api

def step(number, share=0.0):
    return Step(step=number, stage=1, loss=0.5, lr=0.1, elapsed_s=number, steps_per_s=1.0, share=share, eta_s=60.0)

{verbs}

for name, value in list(globals().items()):
    if callable(value):
        setattr(api, name, value)
from napari_bcp.cli.main import main
main()
"""


@pytest.fixture
def process():
    """Return a function that starts a command as a process; `verbs` is source code of the verbs that it calls."""
    started = []

    def start(*arguments, verbs="", **streams):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **streams}
        source = _PROGRAM.format(verbs=verbs)
        started.append(subprocess.Popen([sys.executable, "-c", source, *map(str, arguments)], **pipes))
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.communicate()
