"""Edits of a small array, strokes as a tool makes them, and boxes."""

import numpy as np
import pytest

from napari_bcp.app.edits import Edits
from napari_bcp.pool.drafts import Draft

SHAPE = (3, 6, 7)


def new_edits(path, labels=None):
    """Return edits of labels that have no draft yet."""
    labels = np.zeros(SHAPE, np.uint8) if labels is None else labels
    edits = Edits(labels, lambda: Draft.create(path, edits.base, {"source": "pseudo-label"}))
    return edits


def opened(path, shape=SHAPE):
    """Return edits that go on with a journal."""
    draft = Draft.open(path, shape)
    return Edits(draft.array, lambda: pytest.fail("there is a draft already"), draft)


def paint(array, box, value, mask=None):
    """Paint as a tool does; return the stamp."""
    old = array[box].copy() if mask is None else array[box][mask]
    array[box][... if mask is None else mask] = value
    return (box, mask, old, value)


def box_of(*ends):
    return tuple(slice(*pair) for pair in ends)
