"""A pool and a session by hand, for tests of the panels Cases and Report: no folder, no thread, no process."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from psygnal import Signal

from napari_bcp.pool import TRANSITIONS, Case, MapRecord
from napari_bcp.review.proposals import Proposal
from napari_bcp.review.report import make_report
from napari_bcp.scans import ClassSpec

CLASSES = (ClassSpec(1, "liver", "#e69f00"), ClassSpec(2, "spleen", "#56b4e9"), ClassSpec(5, "aorta", "#d55e00"))
DAY = "2026-03-01T08:00:00.000+00:00"


def a_map(name, quality):
    """The record of a map with these expected qualities, by class value."""
    folder = Path("/pool/maps") / name
    volumes = dict.fromkeys(quality, 10.0)
    return MapRecord("0001", 40, folder / "map.b2nd", folder / "pseudo.nii.gz", quality, 0.1, volumes, {}, DAY)


def a_case(name, status="unlabelled", quality=None, **facts):
    """A case of a pool; `quality` by class value is that of its map, without which there is none."""
    facts = {
        "reason": "",
        "path": Path(f"/scans/{name}.nii.gz"),
        "mask_version": 1 if status == "accepted" else None,
        "mask_by": "person" if status == "accepted" else None,
        "map": None if quality is None else a_map(name, quality),
        "shape": (256, 256, 40),
        "spacing": (0.75, 0.75, 5.0),
        "changed": DAY,
        "fingerprint": None,
        **facts,
    }
    return Case(name=name, status=status, **facts)


def a_proposal(name, reason="the model is unsure about the liver", kind="uncertain"):
    return Proposal(name, 0.5, reason, kind)


class PoolSession:
    """What the panels Cases and Report use of a session; everything happens at once, and `done` tells what was asked.

    history : the events of the pool, of which the report is made
    hold_acceptance : let accepting by the rule go on after it was asked for, until `accepted_by_rule`
    """

    pool_changed = Signal()
    case_opened = Signal()
    cases_changed = Signal(frozenset)

    def __init__(self, cases=(), proposals=(), classes=CLASSES, history=()):
        self.done, self.current, self.passed = [], None, set()
        self.hold_acceptance = False
        self._fill(cases, proposals, classes, history)

    def _fill(self, cases, proposals, classes, history):
        self.pool = SimpleNamespace(root=Path("/pool"))
        self.by_name = {case.name: case for case in cases}
        self.proposals, self.classes, self.history = tuple(proposals), tuple(classes), list(history)

    @property
    def cases(self):
        return list(self.by_name.values())

    # what happens to a pool

    def open_other(self, cases=(), proposals=(), classes=CLASSES, history=()):
        """Another pool takes the place of this one."""
        self.close_pool()
        self._fill(cases, proposals, classes, history)
        self.cases_changed.emit(frozenset())
        self.pool_changed.emit()

    def close_pool(self):
        self.pool, self.by_name, self.proposals, self.classes, self.history = None, {}, (), (), []
        if self.current is not None:
            self.current = None
            self.case_opened.emit()
        self.pool_changed.emit()

    def change(self, *names, **facts):
        """Facts of these cases change, as by a map that was made."""
        for name in names:
            self.by_name[name] = replace(self.by_name[name], **facts)
        self.cases_changed.emit(frozenset(names))

    def propose(self, *proposals):
        self.proposals = proposals
        self.cases_changed.emit(frozenset(one.name for one in proposals[:1]))

    # what panels ask for

    def open_case(self, name):
        self.done.append(("open", name))
        self.current = SimpleNamespace(name=name)
        self.case_opened.emit()

    @property
    def following(self):
        waiting = [one for one in self.proposals if self.current is None or one.name != self.current.name]
        return next((one for one in waiting if one.name not in self.passed), next(iter(waiting), None))

    def next_case(self):
        self.done.append(("next",))
        if self.current is not None:
            self.passed.add(self.current.name)
        following = self.following
        if following is not None:
            self.passed -= {one.name for one in self.proposals} if following.name in self.passed else set()
            self.open_case(following.name)

    def predict_now(self, name):
        self.done.append(("predict", name))

    def exclude(self, names):
        self._act("exclude", names, "excluded")

    def include(self, names):
        self._act("include", names, "unlabelled")

    def reset(self, names):
        self._act("reset", names, "unlabelled", map=None, mask_by=None, mask_version=None)

    def take_back(self, names):
        self._act("take back", names, "predicted", mask_by=None, mask_version=None)

    def _act(self, action, names, status, **facts):
        self.done.append((action, *names))
        for name in names:
            assert self.by_name[name].status in TRANSITIONS[action], f"the pool would refuse to {action} {name}"
        self.change(*names, status=status, **facts)

    def cases_above(self, quality):
        def good(case):
            values = list(case.map.quality.values())
            return None not in values and min(values) >= quality

        here = "" if self.current is None else self.current.name
        return [case.name for case in self.cases if case.status == "predicted" and case.name != here and good(case)]

    def accept_all_above(self, quality):
        names = self.cases_above(quality)
        self.done.append(("accept above", round(quality, 2)))
        if not self.hold_acceptance:
            self.accepted_by_rule(*names)
        return names

    def accepted_by_rule(self, *names):
        self.change(*names, status="accepted", mask_by="rule", mask_version=1)

    def ask_report(self, then):
        self.done.append(("report",))
        then(make_report(self.history))
