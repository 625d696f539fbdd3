"""What parent and child say to each other: a JSON object a line, one closed set each way, told apart by `kind`.

Arrays never travel here, only paths of files. A line of a kind that is not known is passed over with a warning, so
that either side may be the newer one.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, Field, TypeAdapter, ValidationError

from napari_bcp.errors import PoolError
from napari_bcp.events import (
    CaseUnusable,
    Finished,
    MapMade,
    Note,
    Paused,
    Planned,
    Progress,
    Resumed,
    Saved,
    Step,
    Validated,
    Vitals,
)
from napari_bcp.pool.paths import check_name

VERSION: Final = 1
"""Of this set; told by `ready`, and raised when a message changes its meaning."""


class _Message(BaseModel, frozen=True, extra="ignore"):
    """Base: immutable; fields that a newer side adds are passed over."""


def _safe(name: str) -> str:
    """Return the name of a case if it may be part of a path."""
    try:
        return check_name(name)
    except PoolError as error:
        raise ValueError(str(error)) from None


class CaseInfo(_Message):
    """A case that takes part.

    scan, mask : absolute paths; without a mask it is unlabelled
    shape, spacing : x, y, z; voxels and mm
    map_run, map_step : which run made its newest map, and after how many steps; None without one
    """

    name: Annotated[str, AfterValidator(_safe)]
    scan: str
    mask: str | None = None
    shape: tuple[int, int, int] | None = None
    spacing: tuple[float, float, float] | None = None
    map_run: str | None = None
    map_step: int | None = None


# -- to the child -----------------------------------------------------------------------------------------------


class Train(_Message):
    """Train a run; a job.

    run : its folder;  cache, maps : the pool's folders for preprocessed scans and for maps
    config : the settings, as `TrainConfig` dumps them;  plan : None to have it made for `classes`
    resume : go on from the run's checkpoint;  minutes or steps : the budget
    map_share : part of the time for maps, 0 to 1, when nobody waits for one
    """

    kind: Literal["train"] = "train"
    run: str
    cache: str
    maps: str
    config: dict[str, Any]
    plan: dict[str, Any] | None = None
    classes: tuple[int, ...]
    resume: bool = False
    minutes: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    steps: int | None = Field(default=None, gt=0)
    device: str = "auto"
    threads: int | None = Field(default=None, gt=0)
    map_share: float = Field(default=0.1, ge=0, le=1)
    cases: tuple[CaseInfo, ...]


class Predict(_Message):
    """Make maps of `names` with a checkpoint; a job. `cases` are all that take part."""

    kind: Literal["predict"] = "predict"
    checkpoint: str
    maps: str
    names: tuple[str, ...]
    device: str = "auto"
    threads: int | None = Field(default=None, gt=0)
    cases: tuple[CaseInfo, ...]


class Cases(_Message):
    """Cases that have changed, or joined, and names of those that have left."""

    kind: Literal["cases"] = "cases"
    changed: tuple[CaseInfo, ...] = ()
    gone: tuple[str, ...] = ()


class Attend(_Message):
    """Which case is on screen, and which will be shown next: their maps are made before those of others."""

    kind: Literal["attend"] = "attend"
    visible: str | None = None
    proposed: tuple[str, ...] = ()


class PredictNow(_Message):
    """Make the map of a case before the next step, or as soon as the network has learnt anything at all."""

    kind: Literal["predict now"] = "predict now"
    name: str


class Pause(_Message):
    """Do nothing until `resume`; maps that are asked for are made all the same."""

    kind: Literal["pause"] = "pause"


class Resume(_Message):
    """Go on after `pause`."""

    kind: Literal["resume"] = "resume"


class Stop(_Message):
    """End the job after this step; a training saves."""

    kind: Literal["stop"] = "stop"


class Quit(_Message):
    """End the job and the process. The end of the pipe means the same."""

    kind: Literal["quit"] = "quit"


Command = Annotated[
    Train | Predict | Cases | Attend | PredictNow | Pause | Resume | Stop | Quit, Field(discriminator="kind")
]


# -- from the child ---------------------------------------------------------------------------------------------


class Ready(_Message):
    """The child can take a job."""

    kind: Literal["ready"] = "ready"
    version: int = VERSION
    pid: int


class Failed(_Message):
    """The job ended by an error; `text` is the sentence to show, `error` the class's name."""

    kind: Literal["failed"] = "failed"
    text: str
    error: str = ""


class Ended(_Message):
    """The job is over, in whatever way; the child can take the next."""

    kind: Literal["ended"] = "ended"
    job: Literal["train", "predict"]


Report = Annotated[
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
    | Vitals
    | Ready
    | Failed
    | Ended,
    Field(discriminator="kind"),
]


class UnknownLineError(ValueError):
    """A line that is no message of ours, with the reason."""


_COMMANDS: Final[TypeAdapter[Command]] = TypeAdapter(Command)
_REPORTS: Final[TypeAdapter[Report]] = TypeAdapter(Report)


def encode(message: BaseModel) -> bytes:
    """Return a message as a line."""
    return message.model_dump_json(exclude_none=True).encode() + b"\n"


def decode_command(line: bytes) -> Command:
    """Return the command in a line. Raises UnknownLineError."""
    command: Command = _decoded(_COMMANDS, line)
    return command


def decode_report(line: bytes) -> Report:
    """Return what the child reports in a line. Raises UnknownLineError."""
    report: Report = _decoded(_REPORTS, line)
    return report


def _decoded(kinds: TypeAdapter[Any], line: bytes) -> Any:
    try:
        return kinds.validate_python(json.loads(line))
    except (ValueError, RecursionError) as error:
        if isinstance(error, ValidationError):
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            raise UnknownLineError(f"{first['msg']}: {_shown(line)}") from None
        raise UnknownLineError(f"no JSON: {_shown(line)}") from None


def _shown(line: bytes) -> str:
    return repr(line[:120].decode(errors="replace"))
