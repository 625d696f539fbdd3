"""What is shown on a terminal."""

import os
import pty
import re

import pytest

from napari_bcp.cli.console import duration

TRAINING = """
def train(root, stop, **settings):
    yield Progress(task="preparing", done=1, total=4, case="a", eta_s=30.0)
    for number in range(1, 101):
        yield step(number, share=number / 100)
    yield Note(text="a.nii does not say its unit: mm are assumed.")
    yield Validated(step=100, dice={1: 0.913}, best=True)
    yield Finished(reason="budget", step=100, elapsed_s=65)
"""


def screen_of(process, *arguments, verbs):
    """Run a command on a terminal of 100 columns; return what it wrote there, without colours, and its output."""
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"}
    running = process(*arguments, verbs=verbs, stderr=slave, env=environment)
    os.close(slave)
    out = running.stdout.read()
    running.wait()
    text = b""
    try:
        while part := os.read(master, 65536):
            text += part
    except OSError:  # the other side is closed, all is read
        pass
    os.close(master)
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text.decode()), out


def test_training_on_a_terminal_shows_a_bar_with_notes_above_it(process, tmp_path):
    """The bar has stage, step, loss, speed and the time left; the result goes to standard output."""
    screen, out = screen_of(process, "train", tmp_path, verbs=TRAINING)
    assert re.search(r"train .*100% stage 1, step 100, loss 0\.500, 1\.0 steps/s, 1:00 left", screen)
    note, validation = screen.index("a.nii does not say its unit"), screen.index("class 1: 0.913 (best so far)")
    assert note < validation < screen.rindex("stage 1, step 100")
    assert out.startswith("The run has 100 steps after 1:05 of training.")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.4, "0:59"), (59.6, "1:00"), (3599, "59:59"), (3720, "1:02:00")]
)
def test_a_duration_reads_like_a_clock(seconds, text):
    """Rounded to seconds."""
    assert duration(seconds) == text
