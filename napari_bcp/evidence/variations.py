"""What an ablation varies: for each subject its variants, each a name and the settings that differ."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from napari_bcp.config import LOSSES, TrainConfig, parse_assignments
from napari_bcp.errors import SettingError, unknown_name

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Variant:
    """One line of an ablation's table.

    unlabelled : whether the scans without a mask take part
    """

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    unlabelled: bool = True


def _of(setting: str, values: Sequence[Any], **more: Any) -> tuple[Variant, ...]:
    return tuple(Variant(str(value), {setting: value, **more}) for value in values)


_ONE_LOSS: Final[dict[str, Any]] = {"balanced_share": 0.0}
"""Without the loss that the quick preset begins with: it lasts until stage 2, so where one variant has a longer stage 1
than another, or none, the loss would differ as well."""

VARIATIONS: Final[dict[str, tuple[Variant, ...]]] = {
    "unlabelled": (
        Variant("used", _ONE_LOSS),
        Variant("left out", {"stage1_share": 1.0, **_ONE_LOSS}, unlabelled=False),
        Variant(
            "left out, no mixing",
            {"stage1_share": 1.0, "mixing": 0.0, "mixing_late": 0.0, **_ONE_LOSS},
            unlabelled=False,
        ),
    ),
    "beta": tuple(Variant(name, {"beta": value}) for name, value in (("1/2", 1 / 2), ("2/3", 2 / 3), ("5/6", 5 / 6))),
    "alpha": _of("alpha", (0.0, 0.25, 0.5, 1.0)),
    "mask": _of("mask", ("box", "contact", "random")),
    "direction": _of("direction", ("both", "in", "out")),
    "pretrain": _of("stage1_share", (0.0, 0.2, 0.4, 0.6, 0.8), stage1_steps=0, **_ONE_LOSS),
    "mixing": tuple(
        Variant(f"{first} to {last}", {"mixing": first, "mixing_late": last, "mixing_steps": 1})
        for first, last in ((0.0, 0.0), (0.2, 0.2), (0.2, 0.5), (0.5, 1.0), (1.0, 1.0))
    ),
    "components": _of("components", ("auto", "largest", "all")),
    "ema": _of("ema", (0.9, 0.97, 0.99, 0.999)),
    "teacher-mode": _of("teacher_mode", ("eval", "train")),
    "pseudo": (
        Variant("blocks of each step", {"pseudo": "crop"}),
        Variant("whole scans in turn", {"pseudo": "case"}),
        Variant("whole scans, where sure of 0.8", {"pseudo": "case", "sure": 0.8}),
    ),
    "style": _of("style", (0.0, 0.25, 0.5)),
    "augment": _of("augment", ("none", "light", "strong")),
    "loss": _of("loss", LOSSES, **_ONE_LOSS),
}
"""By the word that `--vary` takes. Shares of mixed steps are compared as they are named, however few the steps."""


def variants_of(vary: str, only: Sequence[str] = ()) -> tuple[Variant, ...]:
    """Return the variants of a subject, or those of them that are named. Raises SettingError for what there is not.

    vary : a name of `VARIATIONS`, or a setting with its values: `lr=0.001,0.004`, `patch=[64,64,32],[96,96,32]`
    """
    if vary not in VARIATIONS and vary in TrainConfig.model_fields:
        raise SettingError(f"Which values of '{vary}' are to be compared? Write {vary}=V1,V2.")
    if vary not in VARIATIONS and "=" not in vary:
        raise unknown_name("variation", vary, VARIATIONS)
    variants = _of_a_setting(vary) if "=" in vary else VARIATIONS[vary]
    found = {one.name: one for one in variants}
    for name in only:
        if name not in found:
            raise SettingError(f"'{vary}' has no variant '{name}'; choose from {', '.join(found)}.")
    return tuple(found[name] for name in dict.fromkeys(only)) if only else variants


def subject_of(vary: str) -> str:
    """Return what varies: the name of the variation, or of the setting. Tables and pictures are named after it."""
    return vary.partition("=")[0].strip()


def _of_a_setting(vary: str) -> tuple[Variant, ...]:
    """Return a variant for each value in SETTING=V1,V2; commas in brackets belong to a value."""
    setting, values = subject_of(vary), vary.partition("=")[2]
    if setting not in TrainConfig.model_fields:
        raise unknown_name("setting", setting, TrainConfig.model_fields)
    texts = dict.fromkeys(text.strip() for text in re.split(r",(?![^\[]*\])", values))
    return tuple(Variant(text, parse_assignments([f"{setting}={text}"])) for text in texts)
