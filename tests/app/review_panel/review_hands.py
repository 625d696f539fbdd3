"""What hands do to the Review panel."""

from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence
from qtpy.QtTest import QTest
from strokes import press

from napari_bcp.app.panels.review import KEYS, ReviewPanel

LEFT = Qt.MouseButton.LeftButton
LIVER = 1


def keyed(where, name):
    """Press the key of an action, with the focus on a panel, or on the canvas of a viewer."""
    combination = QKeySequence(KEYS[name][0])[0]
    if isinstance(where, ReviewPanel):
        QTest.keyClick(where, combination.key(), combination.keyboardModifiers())
    else:
        press(where, combination.key(), combination.keyboardModifiers())


def painted(session, box=(slice(12, 13), slice(2, 5), slice(2, 5)), value=LIVER):
    """Draw a block, as a stroke; return its number of voxels."""
    edits = session.current.edits
    old = edits.array[box].copy()
    edits.array[box] = value
    edits.record_stroke([(box, None, old, value)])
    return old.size
