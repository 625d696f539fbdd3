"""Run as a program: does one thing with a pool again and again, killed a moment later each time.

    python pool_killed.py FOLDER create|accept|map    FOLDER/cohort is copied to FOLDER/0, FOLDER/1, …
    python pool_killed.py POOL spill                  killed with half a transaction in the table's file
    python pool_killed.py POOL hold                   opens for writing, says so and waits for the end of its input
    python pool_killed.py POOL loop                   accepts one mask after another, names each, and never ends
    python pool_killed.py POOL read                   reads as a user who may write nothing

Every file renamed or flushed and every statement sent to the table is a moment; prints how many there were.
"""

import os
import shutil
import signal
import sqlite3
import sys
from pathlib import Path

from pool_cohorts import put_map, some_mask

from napari_bcp.errors import PoolError
from napari_bcp.pool import Pool
from napari_bcp.pool.database import Database


def say(*words):
    """Tell the parent at once."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def die():
    """End as `kill -9` does: without another line of Python."""
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(moment):
    """Make the process die when that many moments have passed."""
    passed = 0

    def counted(function):
        def wrapped(*values, **named):
            nonlocal passed
            if str(values[-1]).startswith("CREATE"):  # tables are made a dozen at a time
                return function(*values, **named)
            if passed == moment:
                die()
            passed += 1
            return function(*values, **named)

        return wrapped

    os.replace = counted(os.replace)
    os.fsync = counted(os.fsync)
    Database.change = counted(Database.change)


def act(folder, action):
    """Do what is to be killed."""
    if action == "create":
        Pool.create(folder / "pool", folder / "images", folder / "labels").close()
        return
    with Pool.open(folder / "pool", write=True) as pool:
        if action == "accept":
            pool.accept("b", some_mask(1))
        else:
            put_map(pool, "b", 1)
            put_map(pool, "b", 2)


def every_moment(folder, action):
    """Kill the action at its first moment, in a fresh copy at its second, and so on until it is not killed."""
    moment, killed = 0, True
    while killed:
        copy = folder / str(moment)
        shutil.copytree(folder / "cohort", copy)
        child = os.fork()
        if child == 0:
            die_at(moment)
            act(copy, action)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status)
        if not killed and os.waitstatus_to_exitcode(status) != 0:
            sys.exit(f"moment {moment} failed instead of being killed")
        moment += 1
    say(moment)


def spill(root):
    """Die in a transaction that is too large for memory, so that half of it stands in the file already."""
    connection = sqlite3.connect(root / "pool.sqlite", isolation_level=None)
    connection.execute("PRAGMA cache_size = 1")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("UPDATE cases SET reason = printf('%.*c', 20000, 'x')")
    connection.execute("SELECT count(*) FROM cases").fetchall()
    die()


def main():
    """Do what the arguments say."""
    folder, action = Path(sys.argv[1]), sys.argv[2]
    if action == "spill":
        spill(folder)
    elif action == "hold":
        with Pool.open(folder, write=True):
            say("held")
            sys.stdin.read()
    elif action == "loop":
        with Pool.open(folder, write=True) as pool:
            while True:
                say(pool.accept("b", some_mask(1, 2)))
    elif action == "read":
        if os.getuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        try:
            Pool.open(folder, write=True)
        except PoolError as error:
            say(type(error).__name__, error)
        with Pool.open(folder) as pool:
            say(pool.counts()["accepted"], pool.mask("a").sum())
    else:
        every_moment(folder, action)


if __name__ == "__main__":
    main()
