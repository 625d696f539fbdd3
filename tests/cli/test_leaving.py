"""How commands end."""

import errno
import os
import re
import signal
from itertools import count
from pathlib import Path

import pytest

from napari_bcp import errors
from napari_bcp.cli.leaving import ALL_SKIPPED, INTERRUPTED, OUTPUT_CLOSED

ERRORS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.BcpError)]
EXIT_CODES = Path(__file__).parents[2] / "docs" / "exit-codes.md"

ENDLESS_TRAINING = """
import itertools, pathlib
def train(root, stop, **settings):
    for number in itertools.count(1):
        yield step(number)
        if stop():
            pathlib.Path(root, "saved").write_text(str(number))
            yield Finished(reason="stopped", step=number)
            return
"""


@pytest.mark.parametrize("kind", ERRORS)
def test_an_error_becomes_its_sentence_and_exit_code(command, kind):
    """Nothing but the sentence is shown."""

    def status(root):
        raise kind("The case 'a' is not there; name another.")

    done = command("status", "pool", status=status)
    assert (done.code, done.out) == (kind.exit_code, "")
    assert done.err == "The case 'a' is not there; name another.\n"


def test_the_unexpected_is_one_sentence_and_its_traceback_is_in_a_file(command):
    """A user sees no traceback, and can send the file that has it."""

    def status(root):
        raise ZeroDivisionError("no\nway")

    done = command("status", "pool", status=status)
    assert done.code == 1
    assert done.err.count("\n") == 1
    log = Path(re.fullmatch(r"Something .*\(ZeroDivisionError: no way\); the details are in (.*)\.\n", done.err)[1])
    assert "in status\n" in log.read_text()
    assert "Traceback" not in done.out + done.err


@pytest.mark.parametrize(
    ("number", "place", "says"),
    [
        (errno.ENOSPC, None, "A file cannot be used (No space left on device); free some space"),
        (errno.EACCES, "table.csv", "table.csv cannot be used (Permission denied); "),
    ],
)
def test_a_full_disk_or_a_locked_folder_is_nothing_unexpected(command, number, place, says):
    """It is said with what can be done."""

    def status(root):
        raise OSError(number, os.strerror(number), place)

    done = command("status", "pool", status=status)
    assert done.code == 4
    assert done.err.startswith(says)
    assert done.err.count("\n") == 1


def test_every_exit_code_is_documented():
    """The table has the codes of all errors and of all other ways to end, and no more."""
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", EXIT_CODES.read_text(), re.MULTILINE)}
    assert listed == {kind.exit_code for kind in ERRORS} | {0, ALL_SKIPPED, INTERRUPTED, OUTPUT_CLOSED}


@pytest.mark.parametrize(
    "arguments", [["fly"], ["train"], ["train", "p", "--minutes", "soon"], ["status", "p", "--no"]]
)
def test_a_command_line_that_makes_no_sense_ends_with_2(command, arguments):
    """It says what is wrong with it."""
    done = command(*arguments)
    assert done.code == 2
    assert "Usage: napari-bcp" in done.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_training_stops_between_two_steps_and_says_how_to_go_on(process, tmp_path, number):
    """The work is kept, and the exit code tells that it was not finished."""
    running = process("train", tmp_path, "--json", verbs=ENDLESS_TRAINING)
    running.stdout.readline()
    running.send_signal(number)
    out, err = running.communicate()
    assert running.returncode == 130
    assert (tmp_path / "saved").exists()
    assert f"Go on with: napari-bcp train {tmp_path}" in out
    assert "Stopping after this step" in err


def test_a_second_interrupt_ends_a_command_at_once(process, tmp_path):
    """Even if the work never looks at the wish to stop."""
    deaf = "def train(root, stop, **settings):\n    while True:\n        yield step(1)"
    running = process("train", tmp_path, "--json", verbs=deaf)
    running.stdout.readline()
    running.send_signal(signal.SIGINT)
    while "Stopping after" not in running.stderr.readline():
        pass
    running.send_signal(signal.SIGINT)
    assert running.wait() == 130


def test_a_command_without_steps_ends_at_the_first_interrupt(process, tmp_path):
    """Creating a pool unwinds, so that nothing half made stays."""
    making = """
import itertools, pathlib
def new_pool(root, images, labels, classes, progress):
    try:
        for number in itertools.count():
            progress(0, 1, "a")
    finally:
        pathlib.Path(root, "unwound").touch()
"""
    running = process("new", tmp_path, "--images", tmp_path, "--json", verbs=making)
    running.stdout.readline()
    running.send_signal(signal.SIGINT)
    _, err = running.communicate()
    assert (running.returncode, err) == (130, "Interrupted.\n")
    assert (tmp_path / "unwound").exists()


def test_training_saves_when_nobody_reads_its_output_any_more(process, tmp_path):
    """As in `napari-bcp train POOL --json | head -1`."""
    running = process("train", tmp_path, "--json", verbs=ENDLESS_TRAINING)
    running.stdout.readline()
    running.stdout.close()
    assert running.wait() == 141
    assert (tmp_path / "saved").exists()
    assert running.stderr.read() == ""


def test_a_long_listing_may_be_cut_off_by_its_reader(process, tmp_path):
    """As in `napari-bcp status POOL | head -1`: no complaint, no traceback."""
    listing = "def status(root):\n    while True:\n        print('a case', flush=True)"
    running = process("status", tmp_path, verbs=listing)
    running.stdout.readline()
    running.stdout.close()
    assert running.wait() == 141
    assert running.stderr.read() == ""


def test_signals_are_as_before_once_the_work_is_done():
    """A program that uses the context keeps its own handlers."""
    from napari_bcp.cli.leaving import stop_on_signals

    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with stop_on_signals() as stop:
        assert not stop()
        os.kill(os.getpid(), signal.SIGTERM)
        assert next(n for n in count() if stop() or n > 1000) <= 1000
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
