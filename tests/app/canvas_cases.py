"""An open case and a session by hand, for tests of the canvas and the Review panel: no pool, no thread, no process."""

from types import SimpleNamespace

import numpy as np
from psygnal import Signal
from scipy.ndimage import gaussian_filter

from napari_bcp.app.edits import Edits
from napari_bcp.app.opened import border_name, borders_in
from napari_bcp.review.changes import differences
from napari_bcp.review.cleanup import fill_holes, keep_largest, smooth, threshold
from napari_bcp.review.interpolate import interpolate_between, painted_slices
from napari_bcp.review.islands import removed_islands, restore
from napari_bcp.review.uncertainty import entropy
from napari_bcp.review.worst import slices_worth_a_look
from napari_bcp.scans import ClassSpec

CLASSES = (ClassSpec(1, "liver", "#e69f00"), ClassSpec(2, "spleen", "#56b4e9"), ClassSpec(5, "aorta", "#d55e00"))
SPACING = (3.0, 1.0, 1.0)
SHAPE = (24, 64, 64)


def no_draft():
    raise AssertionError("nothing is saved in these tests")


class HandMadeCase:
    """An open case: a liver with an island beside it, a spleen, and a map of both."""

    def __init__(self, name="case_a", shape=SHAPE, spacing=SPACING, status="predicted", with_map=True, classes=CLASSES):
        rng = np.random.default_rng(len(name))
        z, y, x = (n / 2 for n in shape)
        grid = np.indices(shape, np.float32)
        liver = sum(((g - c) / r) ** 2 for g, c, r in zip(grid, (z, y, x * 0.6), shape, strict=True)) < 0.02
        spleen = sum(((g - c) / r) ** 2 for g, c, r in zip(grid, (z, y, x * 1.5), shape, strict=True)) < 0.01
        labels = liver.astype(np.uint8) + 2 * spleen.astype(np.uint8)
        self.island_box = (slice(2, 4), slice(4, 9), slice(5, 9))
        islands = liver.copy()
        islands[self.island_box] = True
        self.name, self.spacing_zyx, self.classes = name, spacing, classes
        version = 2 if status == "accepted" else None
        facts = {"status": status, "mask_by": None, "mask_version": version, "path": f"/scans/{name}.nii.gz"}
        self.case = SimpleNamespace(name=name, **facts)
        self.scan = (100 * labels + rng.normal(0, 10, shape)).astype(np.float32)
        self.proposal = labels.copy()
        self.looked, self.outdated, self.newer = False, False, None
        self.edits = Edits(labels, no_draft)
        self.editable = status not in ("accepted", "excluded")
        self.source, self.restored = "pseudo-label", ""
        self.map = object() if with_map else None
        self.map_stamp = self.source_stamp = "run 0001 · step 412"
        self.probabilities = np.stack([self.soft(islands), self.soft(spleen), np.zeros(shape, np.uint8)])
        self.whole_range = (float(self.scan.min()), float(self.scan.max()))
        self.centre = (shape[0] // 2, shape[1] // 2, shape[2] // 3)
        self.contrast, self.windows = (-20.0, 250.0), {}
        self.thresholds = []

    @staticmethod
    def soft(mask):
        return np.clip(gaussian_filter(mask * 255.0, 0.7), 0, 255).astype(np.uint8)

    @property
    def labels(self):
        return self.edits.array

    def look(self):
        self.looked = True

    def values(self):
        return [one.value for one in self.classes]

    def probability(self, value):
        return self.probabilities[self.values().index(value)]

    def uncertainty(self):
        return entropy(self.probabilities)

    def islands(self):
        return removed_islands(self.probabilities, self.values(), self.edits.settled, self.spacing_zyx)

    def worth_a_look(self, axis):
        names = {one.value: one.name for one in self.classes}
        return slices_worth_a_look(self.probabilities, self.edits.settled, axis, values=self.values(), names=names)

    def changes(self):
        return differences(self.proposal, self.labels)

    def set_threshold(self, value, level, final):
        self.thresholds.append((value, level, final))
        labels = threshold(self.edits.settled, self.probability(value), value, level)
        self.edits.preview("move border", labels, name=border_name(self.classes, value, level))
        if final:
            self.edits.settle()

    def border_at(self, value):
        return borders_in(self.edits.operations, self.classes).get(value, 128)

    # what `edit_current` may be asked for: new labels, nothing else is touched

    def keep_largest(self, labels, value):
        return keep_largest(labels, value)

    def fill_holes(self, labels, value):
        return fill_holes(labels, value)

    def smooth(self, labels, value):
        return smooth(labels, value, self.spacing_zyx)

    def interpolate(self, labels, value, axis):
        slices = painted_slices(labels, value, axis)
        return interpolate_between(labels, value, axis, slices, self.spacing_zyx)

    def restore_island(self, labels, island):
        return restore(labels, island)

    def revert(self, _labels):
        return self.proposal

    def replace(self, labels, given):
        return given.astype(np.uint8) if given.shape == labels.shape and given.max() <= 5 else labels


class HandMadeSession:
    """What the canvas and the Review panel use of a session; everything happens at once."""

    case_opened = Signal()
    case_loading = Signal(str)
    cases_changed = Signal(frozenset)
    map_changed = Signal(str)
    busy_changed = Signal()

    def __init__(self, case=None):
        self.current, self.busy, self.proposals, self.done = case, "", [], []
        self.painting, self.border_moving = (lambda: False), False

    @property
    def following(self):
        return next((one for one in self.proposals if one.name != self.current.name), None)

    def open(self, case):
        self.current = case
        self.case_opened.emit()

    def give_current(self, then):
        then(self.current)

    def ask_current(self, question, then):
        then(question(self.current))

    def edit_current(self, operation, *arguments):
        self.done.append((operation, *arguments))
        edits, work = self.current.edits, getattr(self.current, operation)
        edits.take(edits.prepare(operation.replace("_", " "), lambda labels: work(labels, *arguments)))

    def move_border(self, value, level, final):
        if self.current.editable:
            self.current.set_threshold(value, level, final)

    def say(self, text):
        self.done.append(("say", text))

    def take_newer(self):
        self.done.append(("take newer",))

    def include(self, names):
        self.done.append(("include", names))

    def be_busy(self, what):
        """Say that something is being done with the open case."""
        self.busy = what
        self.busy_changed.emit()

    def change(self, **facts):
        """Change the status of the open case, as accepting and reopening do."""
        for name, value in facts.items():
            setattr(self.current.case if name in ("status", "mask_by", "mask_version") else self.current, name, value)
        self.cases_changed.emit(frozenset({self.current.name}))

    def accept(self, then_next=False):
        self.done.append(("accept", then_next))
        self.change(status="accepted", editable=False)

    def reject(self):
        self.done.append(("reject",))

    def revert(self):
        self.done.append(("revert",))
        self.current.edits.apply("revert", self.current.proposal.copy())

    def reopen(self):
        self.done.append(("reopen",))
        self.change(status="draft", editable=True)

    def next_case(self):
        self.done.append(("next",))
