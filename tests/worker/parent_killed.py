"""Run as a program: starts a child that trains, tells its number once it does, and waits until it is killed.

python parent_killed.py JOB
"""

import sys

from children import Child

from napari_bcp.worker.messages import decode_command


def main():
    """Print the child's number and the step that it has reached."""
    child = Child()
    child.send(decode_command(sys.argv[1].encode()))
    step = child.until_step(3).step
    sys.stdout.write(f"{child.worker.pid} {step}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
