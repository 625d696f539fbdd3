"""Every setting of a training: default, range, unit and help, once.

`--set key=value`, the forms of the app and the table in docs/settings.md grow from `TrainConfig`.
A preset is a set of values that differ from the defaults. Names of networks and losses stand here as plain
strings, so that a panel can list them without loading torch; tests hold them equal to the registries.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import BaseModel, Field, ValidationError

from napari_bcp.errors import SettingError, unknown_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

NETWORKS = ("quick", "quick2d", "unet2d", "vnet", "vnet-instance")

LOSSES = (
    "balanced-ce",
    "ce",
    "ce-dice",
    "ce-dice-balanced",
    "ce-dice-squared",
    "ce-dml",
    "ce-jml",
    "combo",
    "correlation-ssim",
    "ctl",
    "dice",
    "dice-squared",
    "distance-ce",
    "dml",
    "exp-log",
    "focal",
    "focal-tversky",
    "hausdorff",
    "jml",
    "log-cosh-dice",
    "lovasz-softmax",
    "sensitivity-specificity",
    "shape-aware",
    "soft-jaccard",
    "tversky",
    "weighted-ce",
)


def _unit(name: str) -> dict[str, Any]:
    return {"unit": name}


class TrainConfig(BaseModel, frozen=True, extra="forbid"):
    """How a run trains. A value of None (or "auto") leaves the choice to the plan."""

    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 1337
    """Start of every random draw; the same seed, pool and number of steps give the same result on a processor."""

    # -- the plan ---------------------------------------------------------------------------------------------
    dimensions: Literal["auto", "2", "3"] = "auto"
    """Train on slices (2) or on blocks (3)."""
    network: Literal["auto", "quick", "quick2d", "unet2d", "vnet", "vnet-instance"] = "auto"
    """The network's name."""
    width: Annotated[int | None, Field(ge=2, le=128)] = None
    """Channels of the network's first level."""
    spacing: Annotated[tuple[float, ...] | None, Field(json_schema_extra=_unit("mm"))] = None
    """Voxel size that scans are resampled to for the network, along x, y, z; 0 keeps the scan's own."""
    patch: Annotated[tuple[int, ...] | None, Field(json_schema_extra=_unit("voxels"))] = None
    """Size of the block that the network sees at once, along x, y, z."""
    batch: Annotated[int | None, Field(ge=1, le=64)] = None
    """Images a step; a mixed step of stage 2 takes an even number, half inward, half outward, or one of either way."""
    stage1_batch: Annotated[int | None, Field(ge=1, le=64)] = None
    """Images of a mixed step in stage 1; the same as batch when empty."""
    normalise: Literal["auto", "zscore", "minmax", "ct", "none"] = "auto"
    """How intensities are scaled: per scan (zscore, minmax), by fixed CT windows (ct), or not at all."""
    fit: Literal["spacing", "resize"] = "spacing"
    """Bring scans to one voxel size (spacing), or every slice to the block's size by nearest neighbour (resize)."""

    # -- the method (Bai et al., CVPR 2023) ------------------------------------------------------------------
    stage1_share: Annotated[float, Field(ge=0, le=1)] = 0.4
    """Share of the budget that trains on labelled scans alone before unlabelled ones join."""
    stage1_steps: Annotated[int, Field(ge=0)] = 200
    """Steps of stage 1 at the least: a teacher that misses a structure would teach that it is not there."""
    mixing: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Share of steps that mix images, at the start; the other steps show labelled blocks as they are."""
    mixing_late: Annotated[float, Field(ge=0, le=1)] = 0.6
    """Share of steps that mix images, at the end; in between it grows with time, and with `mixing_steps`."""
    mixing_steps: Annotated[int, Field(ge=1), Field(json_schema_extra=_unit("steps"))] = 1500
    """Steps that the share of mixed steps needs to grow to its end, also where the time is up before."""
    stage1_regions: bool = True
    """In stage 1, take the loss of both parts of a mixed image by themselves, or of the image as a whole."""
    direction: Literal["both", "in", "out"] = "both"
    """Paste unlabelled into labelled (in), labelled into unlabelled (out), or both."""
    mask: Literal["box", "contact", "random"] = "box"
    """Shape of the pasted region: one box, a slab, or scattered boxes."""
    beta: Annotated[float, Field(gt=0, lt=1)] = 2 / 3
    """Side of the pasted box as a share of the block's side."""
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Weight of pseudo-labelled voxels beside hand-labelled ones."""
    ema: Annotated[float, Field(ge=0, le=0.9999), Field(json_schema_extra=_unit("per step"))] = 0.97
    """Share of the teacher that is kept at each step. Where it follows from the start, step n keeps n / (n + 10) until
    that is more: at first it is a mean over about the last tenth of the steps."""
    buffers: Literal["own", "average"] = "average"
    """Statistics of the teacher's normalisation: moved by its own passes, or averaged from the student."""
    teacher_mode: Literal["train", "eval"] = "eval"
    """Whether the teacher labels with dropout and batch statistics (train) or without (eval)."""
    teacher_from_start: bool = True
    """Let the teacher follow the student in stage 1 too, or start it as its copy in stage 2."""
    joint_passes: bool = True
    """Send inward and outward mixes through the network together, or one after the other."""
    predict_with: Literal["teacher", "student"] = "teacher"
    """The network that makes maps."""
    components: Literal["auto", "largest", "all"] = "auto"
    """Of each class of a pseudo-label keep as many of its largest connected components as masks have, one, or all."""
    map_components: Literal["auto", "largest", "all"] = "auto"
    """The same for the pseudo-labels that a reader sees; auto keeps both of two kidneys that are drawn as one class."""
    pseudo: Literal["crop", "case"] = "case"
    """Let the teacher label the blocks of each step (crop), or whole scans now and then (case)."""
    pseudo_every: Annotated[int, Field(ge=1), Field(json_schema_extra=_unit("steps"))] = 150
    """Steps after which a whole scan's pseudo-label is made anew when it is next used."""
    sure: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Whole scans' pseudo-labels teach only where the teacher is this sure."""
    trusted: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the unlabelled scans whose pseudo-labels teach: those of which the teacher is most confident."""
    connectivity: Literal["face", "edge", "corner"] = "corner"
    """When voxels count as connected."""

    # -- the loss ---------------------------------------------------------------------------------------------
    loss: Literal[
        "balanced-ce",
        "ce",
        "ce-dice",
        "ce-dice-balanced",
        "ce-dice-squared",
        "ce-dml",
        "ce-jml",
        "combo",
        "correlation-ssim",
        "ctl",
        "dice",
        "dice-squared",
        "distance-ce",
        "dml",
        "exp-log",
        "focal",
        "focal-tversky",
        "hausdorff",
        "jml",
        "log-cosh-dice",
        "lovasz-softmax",
        "sensitivity-specificity",
        "shape-aware",
        "soft-jaccard",
        "tversky",
        "weighted-ce",
    ] = "ce-dice"
    """What the student minimises."""

    balanced_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the budget, before stage 2, that minimises ce-dice-balanced: small structures are found sooner."""

    mean_loss: bool = True
    """Divide the loss of a mixed step by its total weight, so that all steps count alike, or sum it as published."""

    # -- the optimiser ----------------------------------------------------------------------------------------
    optimiser: Literal["adamw", "adam", "sgd"] = "adamw"
    """The optimiser."""
    lr: Annotated[float, Field(gt=0, le=10)] = 2e-3
    """Learning rate at its highest."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 1e-2
    """Weight decay."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Momentum (sgd only)."""
    schedule: Literal["decay-at-end", "constant", "step-2500"] = "decay-at-end"
    """Learning rate over time: falling in the last third, constant, or a tenth after every 2,500 steps of stage 2."""
    new_optimiser: bool = False
    """Start stage 2 with a fresh optimiser."""

    # -- the data ---------------------------------------------------------------------------------------------
    augment: Literal["auto", "strong", "light", "paper-la", "paper-acdc", "none"] = "auto"
    """How blocks are varied: auto chooses strong."""
    style: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of labelled blocks that take over the distribution of intensities of an unlabelled scan."""
    foreground: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of blocks that are centred on a structure, or on where labelled scans have one."""
    unlabelled_crop: Literal["random", "centre"] = "random"
    """Where blocks of unlabelled scans are cut."""

    # -- speed ------------------------------------------------------------------------------------------------
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of the network; auto takes bfloat16 where the processor is fast at it."""
    channels_last: bool = True
    """Memory format that convolutions are fastest with on most processors."""
    threads: Annotated[int | None, Field(ge=1, le=256)] = None
    """CPU threads; when empty all cores, in the window all but one."""

    # -- housekeeping -----------------------------------------------------------------------------------------
    hold_out: Annotated[int | None, Field(ge=0, le=100)] = None
    """Labelled cases kept for validation, of those not learnt from yet; when empty, one in five from ten cases on."""
    validate_every: Annotated[float, Field(gt=0), Field(json_schema_extra=_unit("share of the run's time"))] = 0.1
    """How often the held-out cases are segmented."""
    save_every: Annotated[float, Field(gt=0), Field(json_schema_extra=_unit("s"))] = 60.0
    """Seconds between two checkpoints."""


_PAPER: dict[str, Any] = {
    "stage1_steps": 0,
    "balanced_share": 0.0,
    "ema": 0.99,
    "mixing": 1.0,
    "mixing_late": 1.0,
    "mean_loss": False,
    "pseudo": "crop",
    "style": 0.0,
    "teacher_mode": "train",
    "teacher_from_start": False,
    "joint_passes": False,
    "predict_with": "student",
    "components": "largest",
    "foreground": 0.0,
    "precision": "float32",
}

PRESETS: dict[str, dict[str, Any]] = {
    "quick": {},
    "quality": {"width": 32, "stage1_share": 0.3, "ema": 0.99, "lr": 1e-3},
    "paper-la": {
        "dimensions": "3",
        "network": "vnet",
        "patch": (112, 112, 80),
        "batch": 4,
        "normalise": "zscore",
        "spacing": (0.0, 0.0, 0.0),
        "stage1_batch": 2,
        **_PAPER,
        "map_components": "largest",
        "stage1_regions": False,
        "stage1_share": 2000 / 17000,
        "buffers": "own",
        "optimiser": "sgd",
        "lr": 0.01,
        "weight_decay": 1e-4,
        "schedule": "step-2500",
        "new_optimiser": True,
        "augment": "paper-la",
    },
    "paper-acdc": {
        "dimensions": "2",
        "network": "unet2d",
        "patch": (256, 256),
        "batch": 12,
        "normalise": "minmax",
        "fit": "resize",
        "map_components": "all",
        "stage1_batch": 6,
        **_PAPER,
        "stage1_share": 10000 / 40000,
        "loss": "ce-dice-squared",
        "buffers": "average",
        "optimiser": "sgd",
        "lr": 0.01,
        "weight_decay": 1e-4,
        "schedule": "constant",
        "augment": "paper-acdc",
    },
    "paper-pancreas": {
        "dimensions": "3",
        "network": "vnet-instance",
        "patch": (96, 96, 96),
        "batch": 4,
        "normalise": "none",
        "spacing": (0.0, 0.0, 0.0),
        "stage1_batch": 2,
        **_PAPER,
        "stage1_regions": False,
        "unlabelled_crop": "centre",
        "stage1_share": 60 * 30 / (60 * 30 + 200 * 25),
        "map_components": "all",
        "seed": 2020,
        "connectivity": "edge",
        "optimiser": "adam",
        "buffers": "own",
        "lr": 1e-3,
        "weight_decay": 0.0,
        "schedule": "constant",
        "augment": "none",
    },
}


def settings_table() -> list[dict[str, Any]]:
    """Return one row a setting (name, default, choices, span, unit, help) for help texts, forms and docs.

    span : which numbers it takes: "0 to 1", "from 0, below 1", "above 0"; empty where it takes other things
    """
    import ast
    import inspect

    helps: dict[str, str] = {}
    body = ast.parse(inspect.getsource(TrainConfig)).body[0]
    assert isinstance(body, ast.ClassDef)  # noqa: S101 - it is the class above
    for field, doc in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(doc, ast.Expr) and isinstance(doc.value, ast.Constant):
            helps[ast.unparse(field.target)] = " ".join(str(doc.value.value).split())
    rows = []
    for name, spec in TrainConfig.model_json_schema()["properties"].items():
        kinds = [spec, *spec.get("anyOf", ())]
        found = {key: kind[key] for kind in kinds for key in kind}
        rows.append(
            {
                "name": name,
                "default": TrainConfig.model_fields[name].default,
                "choices": found.get("enum"),
                "span": _span(found),
                "unit": found.get("unit", ""),
                "help": helps[name],
            }
        )
    return rows


def _span(found: Mapping[str, Any]) -> str:
    if {"minimum", "maximum"} <= found.keys():
        return f"{found['minimum']:.10g} to {found['maximum']:.10g}"
    words = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "up to", "exclusiveMaximum": "below"}
    return ", ".join(f"{word} {found[key]:.10g}" for key, word in words.items() if key in found)


def parse_assignments(pairs: Iterable[str]) -> dict[str, Any]:
    """Turn `key=value` strings into settings; a value is read as JSON where it can be, `.5,.5,1` as a list of numbers.

    Raises SettingError for a string without `=`.
    """
    values: dict[str, Any] = {}
    for pair in pairs:
        key, sign, text = pair.partition("=")
        if not sign or not key.strip():
            raise SettingError(f"'{pair}' is no setting; write it as key=value, for example loss=dml.")
        text = text.strip()
        value = _read(text)
        if value is text and "," in text:
            parts = [_read(part.strip()) for part in text.split(",")]
            value = text if any(isinstance(part, str) for part in parts) else parts
        if text.lower() in ("none", "null", "") and text not in _choices(key.strip()):
            value = None
        if key.strip() == "dimensions":
            value = text
        values[key.strip()] = value
    return values


def _read(text: str) -> Any:
    """Return what a text says as JSON, or as a number such as .5; else the text itself."""
    for read in (json.loads, float):
        with suppress(ValueError):
            return read(text)
    return text


def _choices(key: str) -> tuple[Any, ...]:
    """Return the words that setting `key` can take, such as "none" for augment; empty for other kinds of setting."""
    known = TrainConfig.model_fields.get(key)
    return get_args(known.annotation) if known is not None else ()


def make_config(preset: str = "quick", settings: Mapping[str, Any] | None = None) -> TrainConfig:
    """Return the preset with `settings` laid over it.

    Raises SettingError for an unknown preset or setting, or a value out of range.
    """
    if preset not in PRESETS:
        raise unknown_name("preset", preset, PRESETS)
    values = {**PRESETS[preset], **(settings or {})}
    for key in values:
        if key not in TrainConfig.model_fields:
            raise unknown_name("setting", key, TrainConfig.model_fields)
    try:
        return TrainConfig(**values)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0]) if first["loc"] else "a setting"
        raise SettingError(
            f"Setting '{key}' cannot be {values.get(key)!r}: {first['msg'][:1].lower()}{first['msg'][1:]}; "
            "see 'napari-bcp train --help-settings'."
        ) from None
