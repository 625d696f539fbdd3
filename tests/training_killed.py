"""Run as a program: trains a pool and makes its maps, and dies at one moment of it, or finds its disk full.

python training_killed.py FOLDER kill MOMENT...   works on FOLDER/MOMENT, killed there; says which was not
python training_killed.py POOL full BYTES         no file may become larger than that; says what it was told
"""

import os
import resource
import signal
import sys

import torch
from tiny import QUICK

from napari_bcp import api
from napari_bcp.errors import BcpError


def work(pool):
    """Train for two steps, with a checkpoint after each, and make the maps."""
    for _ in api.train(pool, steps=2, settings={**QUICK, "save_every": 1e-6}, device="cpu"):
        pass
    for _ in api.predict(pool, device="cpu"):
        pass


def die_at(moment):
    """Die when as many files have been renamed or flushed."""
    passed = 0

    def counted(function):
        def wrapped(*values, **named):
            nonlocal passed
            if passed == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            passed += 1
            return function(*values, **named)

        return wrapped

    os.replace, os.fsync = counted(os.replace), counted(os.fsync)


def killed_at(pool, moment):
    """Work in a process of its own; return whether it was killed."""
    torch.set_num_threads(1)
    pid = os.fork()
    if not pid:
        die_at(moment)
        try:
            work(pool)
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def main():
    """Do what the words say."""
    place, what, *numbers = sys.argv[1:]
    if what == "kill":
        for moment in map(int, numbers):
            if not killed_at(f"{place}/{moment}", moment):
                sys.stdout.write(f"{moment}\n")
    else:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(numbers[0]), int(numbers[0])))
        try:
            work(place)
        except BcpError as error:
            sys.stdout.write(f"{type(error).__name__}: {error}\n")


if __name__ == "__main__":
    main()
