"""What long work reports while it runs: training, prediction and preprocessing are generators of these.

One closed set, told apart by `kind`, each a JSON object a line when written out. Arrays never travel here,
only paths of files that hold them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field


class _Event(BaseModel, frozen=True, extra="ignore"):
    """Base: immutable; fields that a newer writer may have added are passed over."""


class Progress(_Event):
    """`done` of `total` things of one `task` are finished; `eta_s` seconds are left, as far as can be told."""

    kind: Literal["progress"] = "progress"
    task: str
    done: int
    total: int
    case: str | None = None
    eta_s: float | None = None


class Note(_Event):
    """Something worth a reader's attention that stops nothing."""

    kind: Literal["note"] = "note"
    text: str
    case: str | None = None


class CaseUnusable(_Event):
    """A case dropped out; `reason` is the sentence to show. Without `lasting` it may be usable the next time."""

    kind: Literal["unusable"] = "unusable"
    case: str
    reason: str
    lasting: bool = True


class Planned(_Event):
    """A run begins or goes on: its plan, its settings and how many cases of each sort it has.

    held_out : how many of the labelled ones judge the network, and are not learnt from
    """

    kind: Literal["planned"] = "planned"
    run: str
    plan: dict[str, object]
    settings: dict[str, object]
    labelled: int
    unlabelled: int
    step: int
    held_out: int = 0


class Step(_Event):
    """One optimiser step. `share` is the part of the budget used (0 to 1), `agreement` Dice(teacher, student)."""

    kind: Literal["step"] = "step"
    step: int
    stage: Literal[1, 2]
    loss: float
    lr: float
    elapsed_s: float
    steps_per_s: float
    share: float
    eta_s: float | None = None
    agreement: float | None = None


class Validated(_Event):
    """Dice of the teacher on the held-out labelled cases, per class value."""

    kind: Literal["validated"] = "validated"
    step: int
    dice: dict[int, float]
    best: bool


class Saved(_Event):
    """A checkpoint is safely on disk."""

    kind: Literal["saved"] = "saved"
    step: int
    path: str


class MapMade(_Event):
    """A case has a new map and pseudo-label; of a scan outside the pool both paths are the mask that was written.

    quality : per class value, soft Dice confidence (a rank, not a Dice); None where the class is not predicted
    entropy : mean predictive entropy, in nats, of the voxels that are not surely background (probability below 0.99)
    volume_ml : per class value, volume of the pseudo-label
    islands : per class value, number of components that the clean-up removed
    note : a sentence on how it was made, where that was not as usual
    """

    kind: Literal["map"] = "map"
    case: str
    run: str
    step: int
    map_path: str
    pseudo_path: str
    quality: dict[int, float | None]
    entropy: float
    volume_ml: dict[int, float]
    islands: dict[int, int]
    seconds: float
    note: str = ""


class Finished(_Event):
    """The work ended. `reason` is why: the budget, a request, or nothing left to do."""

    kind: Literal["finished"] = "finished"
    reason: Literal["budget", "stopped", "done"]
    step: int = 0
    elapsed_s: float = 0.0


class Paused(_Event):
    """The training rests after `step`."""

    kind: Literal["paused"] = "paused"
    step: int


class Resumed(_Event):
    """The training goes on after `step`."""

    kind: Literal["resumed"] = "resumed"
    step: int


class Vitals(_Event):
    """What the work runs on and needs: resident memory in MB."""

    kind: Literal["vitals"] = "vitals"
    device: str
    threads: int
    memory_mb: float


Event = Annotated[
    Progress
    | Note
    | CaseUnusable
    | Planned
    | Step
    | Validated
    | Saved
    | MapMade
    | Finished
    | Paused
    | Resumed
    | Vitals,
    Field(discriminator="kind"),
]
