"""Run as a program: edits a draft and saves after every stroke, tells how many are safe, and never ends.

python edits_killed.py JOURNAL
"""

import sys
from pathlib import Path

import numpy as np

from napari_bcp.app.edits import Edits
from napari_bcp.pool.drafts import Draft

SHAPE = (8, 50, 50)


def main():
    """Paint one voxel after another, value 1 to 250 by its place."""
    path = Path(sys.argv[1])
    labels = np.zeros(SHAPE, np.uint8)
    edits = Edits(labels, lambda: Draft.create(path, edits.base, {}))
    for place in range(labels.size):
        at = np.unravel_index(place, SHAPE)
        box = tuple(slice(int(n), int(n) + 1) for n in at)
        labels[at] = place % 250 + 1
        edits.record_stroke([(box, None, np.zeros((1, 1, 1), np.uint8), labels[at])])
        edits.save()
        sys.stdout.write(f"{place + 1} {edits.problem or ''}\n")
        sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
