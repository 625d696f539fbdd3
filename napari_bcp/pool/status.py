"""The statuses of a case and the one table of what may follow what.

    unlabelled → predicted → draft → accepted → (reopened as) draft
    excluded : left out by the reader;  unusable : left out because of its scan, with the reason

`excluded` and `unusable` remember the status they were entered from, and go back to it. What is rejected, or taken back
after the rule has accepted it, goes back to what nobody has touched: `predicted` with a map, `unlabelled` without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from napari_bcp.errors import StateError

if TYPE_CHECKING:
    from collections.abc import Mapping

Status = Literal["unlabelled", "predicted", "draft", "accepted", "excluded", "unusable"]
Action = Literal[
    "predict",
    "draft",
    "accept",
    "accept by rule",
    "reject",
    "take back",
    "reopen",
    "reset",
    "exclude",
    "include",
    "mark unusable",
    "mark usable",
]

STATUSES: Final[tuple[Status, ...]] = ("unlabelled", "predicted", "draft", "accepted", "excluded", "unusable")

TRANSITIONS: Final[Mapping[Action, Mapping[Status, Status | Literal["back"]]]] = {
    # a new map never takes away what a person has begun, confirmed or left out
    "predict": {
        "unlabelled": "predicted",
        "predicted": "predicted",
        "draft": "draft",
        "accepted": "accepted",
        "excluded": "excluded",
    },
    "draft": {"unlabelled": "draft", "predicted": "draft", "draft": "draft"},
    "accept": {"unlabelled": "accepted", "predicted": "accepted", "draft": "accepted", "accepted": "accepted"},
    "accept by rule": {"unlabelled": "accepted", "predicted": "accepted"},
    "reject": {"predicted": "back", "draft": "back"},
    "take back": {"accepted": "back"},
    "reopen": {"accepted": "draft"},
    "reset": {
        "unlabelled": "unlabelled",
        "predicted": "unlabelled",
        "draft": "unlabelled",
        "accepted": "unlabelled",
        "unusable": "unlabelled",
    },
    "exclude": {
        "unlabelled": "excluded",
        "predicted": "excluded",
        "draft": "excluded",
        "accepted": "excluded",
        "excluded": "excluded",
    },
    "include": {"excluded": "back", "unusable": "back"},
    "mark unusable": dict.fromkeys(STATUSES, "unusable"),
    "mark usable": {"unusable": "back"},
}

_DONE: Final[Mapping[Action, str]] = {
    "predict": "be given a map",
    "draft": "be edited",
    "accept": "be accepted",
    "accept by rule": "be accepted by the rule",
    "reject": "be rejected",
    "take back": "be taken back",
    "reopen": "be reopened",
    "reset": "be reset",
    "exclude": "be excluded",
    "include": "be included again",
    "mark unusable": "be marked unusable",
    "mark usable": "be marked usable",
}
_REMEDY: Final[Mapping[Status, str]] = {
    "unlabelled": "it takes part already and has no accepted mask",
    "predicted": "it takes part already and has no accepted mask",
    "draft": "accept or reset the draft first",
    "accepted": "reopen or reset it first",
    "excluded": "include it first",
    "unusable": "mend its scan or mask and include it first",
}


def next_status(case: str, action: Action, status: Status, before: Status | None = None) -> Status:
    """Return the status that `action` leads to from `status`.

    before : the status that a case goes back to
    Raises StateError where the table has no entry.
    """
    target = TRANSITIONS[action].get(status)
    if target is None:
        raise StateError(
            f"Case '{case}' is {status} and cannot {_DONE[action]}: {_REMEDY[status]}.",
            case=case,
        )
    if target == "back":
        return before or "unlabelled"
    return target
