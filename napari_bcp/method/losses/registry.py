"""Every loss by its name, with its constants, their ranges and where it comes from.

Families are those of Jadon's survey (arXiv 2006.14822) and the losses for soft targets:

| family | idea |
|---|---|
| distribution | a mean over voxels of how unlikely the target is |
| region | how much of prediction and target do not overlap |
| boundary | how far borders or structures are apart |
| compound | a combination of those |
| soft-label | overlap whose best prediction is the target also where that is a probability |
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from napari_bcp.errors import SettingError, unknown_name
from napari_bcp.method.losses import boundary, compound, overlap, soft, voxel
from napari_bcp.method.losses.inputs import Inputs, Loss

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

Family = Literal["distribution", "region", "boundary", "compound", "soft-label"]

_Share = Annotated[float, Field(ge=0, le=1)]
_Positive = Annotated[float, Field(gt=0, le=1e6)]
_Weight = Annotated[float, Field(ge=0, le=1e6)]

CONSTANTS: Mapping[str, Any] = {
    "alpha": _Weight,  # of false positives
    "background": bool,  # average class 0 in
    "batch": bool,  # sums over the whole batch, else per sample
    "beta": _Weight,  # of false negatives
    "by_class": _Share,  # of the mean over images first
    "by_image": _Share,  # of the mean over classes first
    "classes": overlap.Classes,  # which are averaged
    "constant": _Positive,  # keeps a ratio away from 0/0
    "floor": _Share,  # lowest class weight
    "foreground": _Share,  # weight of classes above 0; the background has the rest
    "gamma": Annotated[float, Field(ge=0, le=10)],  # power of a class's or voxel's loss
    "log": bool,  # minus the logarithm of the index
    "norm": Literal[1, 2],  # sizes are sums, or sums of squares
    "power": Annotated[float, Field(ge=1, le=10)],  # of a distance or of a class's loss
    "share": _Share,  # of the overlap part (combo: of cross-entropy)
    "smooth": _Positive,  # added above and below
    "spacing": Annotated[tuple[_Positive, ...], Field(min_length=1, max_length=3)] | None,  # mm, along each axis
    "threshold": _Share,  # of the highest error
    "weight": _Share,  # of sensitivity; specificity has the rest
    "weights": Annotated[tuple[_Weight, ...], Field(min_length=1)],  # of classes 0, 1 …; the last holds for the rest
}


@dataclass(frozen=True)
class LossSpec:
    """A loss under its name.

    name : as the settings and the command line know it
    function : computes it from `Inputs`
    family : see the module's table
    summary, source : one sentence; the paper
    soft_safe : whether the prediction that minimises it is the target also for soft targets
    hard_only : whether it is defined for hard targets alone
    fixed : arguments of the function that make it this loss and no other
    """

    name: str
    function: Callable[..., Tensor]
    family: Family
    summary: str
    source: str
    soft_safe: bool
    hard_only: bool = False
    fixed: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def constants(self) -> dict[str, Any]:
        """What can be set, with its default."""
        parameters = list(inspect.signature(self.function).parameters.values())[1:]
        free = {p.name: p.default for p in parameters if p.name not in self.fixed}
        return free | dict(self.defaults)

    def make(self, **constants: object) -> Loss:
        """Return the loss with `constants` laid over the defaults.

        Raises SettingError for a constant that the loss does not have or that is out of range.
        """
        values: dict[str, Any] = {key: self._checked(key, value) for key, value in (self.constants | constants).items()}
        return _BoundLoss(self, values | dict(self.fixed))

    def _checked(self, key: str, value: object) -> object:
        """Return the value in its type."""
        if key not in self.constants:
            raise unknown_name(f"constant of loss '{self.name}' called", key, self.constants)
        try:
            return TypeAdapter(CONSTANTS[key]).validate_python(value)
        except ValidationError as error:
            why = error.errors()[0]["msg"]
            raise SettingError(
                f"Constant '{key}' of loss '{self.name}' cannot be {value!r}: {why[:1].lower()}{why[1:]}."
            ) from None


@dataclass(frozen=True)
class _BoundLoss:
    """A loss with its constants, the `Loss` that callers get."""

    spec: LossSpec
    constants: Mapping[str, Any]

    def __call__(self, logits: Tensor, target: Tensor, region: Tensor | None = None) -> Tensor:
        """See `Loss`."""
        v = Inputs(logits, target, region)
        if self.spec.hard_only and not v.hard:
            raise SettingError(f"Loss '{self.spec.name}' needs hard targets; take 'jml', which can do with either.")
        value = self.spec.function(v, **self.constants)
        return value if region is None else value * (v.size > 0)


def _table(*specs: LossSpec) -> dict[str, LossSpec]:
    return {spec.name: spec for spec in sorted(specs, key=lambda spec: spec.name)}


_JML, _DML = {"alpha": 1.0, "beta": 1.0}, {"alpha": 0.5, "beta": 0.5}
_PLAIN, _SQUARED = {"squared": False}, {"squared": True}
_POOLED = {"batch": True, "smooth": 1e-10}

LOSSES: Mapping[str, LossSpec] = _table(
    LossSpec(
        "ce",
        voxel.cross_entropy,
        "distribution",
        "Cross-entropy: each voxel counts the same, so that a large background outweighs a small structure.",
        "textbook",
        soft_safe=True,
    ),
    LossSpec(
        "weighted-ce",
        voxel.weighted_ce,
        "distribution",
        "Cross-entropy with a weight per class.",
        "Jadon 2020, arXiv 2006.14822",
        soft_safe=False,
    ),
    LossSpec(
        "balanced-ce",
        voxel.balanced_ce,
        "distribution",
        "Cross-entropy that weighs a class the more, the rarer it is in the batch.",
        "Xie & Tu 2015, arXiv 1504.06375",
        soft_safe=False,
    ),
    LossSpec(
        "focal",
        voxel.focal,
        "distribution",
        "Cross-entropy that fades out voxels which are already right.",
        "Lin et al. 2017, arXiv 1708.02002",
        soft_safe=False,
    ),
    LossSpec(
        "distance-ce",
        boundary.distance_ce,
        "distribution",
        "Cross-entropy that counts up to twice near the true border.",
        "Caliva et al. 2019, arXiv 1908.03679",
        soft_safe=True,
    ),
    LossSpec(
        "shape-aware",
        boundary.shape_aware,
        "boundary",
        "Cross-entropy that counts more in wrong voxels, the farther the borders are apart.",
        "Hayder et al. 2017, arXiv 1612.03129",
        soft_safe=True,
    ),
    LossSpec(
        "hausdorff",
        boundary.hausdorff,
        "boundary",
        "Squared errors weighted by their distance to both borders; not for a network that starts from nothing.",
        "Karimi & Salcudean 2019, arXiv 1904.10030",
        soft_safe=True,
    ),
    LossSpec(
        "correlation-ssim",
        boundary.correlation_ssim,
        "compound",
        "Binary cross-entropy where the neighbourhoods of prediction and target differ most.",
        "Zhao et al. 2019, arXiv 1910.08711",
        soft_safe=True,
    ),
    LossSpec(
        "dice",
        overlap.dice,
        "region",
        "Plain Dice per sample, the overlap part of BCP in 3-D.",
        "Bai et al. 2023, arXiv 2305.00673",
        soft_safe=False,
        fixed=_PLAIN,
    ),
    LossSpec(
        "dice-squared",
        overlap.dice,
        "region",
        "Dice with squared sizes over the batch, the overlap part of BCP in 2-D.",
        "Milletari et al. 2016, arXiv 1606.04797",
        soft_safe=True,
        fixed=_SQUARED,
        defaults=_POOLED,
    ),
    LossSpec(
        "log-cosh-dice",
        overlap.log_cosh_dice,
        "region",
        "Plain Dice, flattened near its minimum.",
        "Jadon 2020, arXiv 2006.14822",
        soft_safe=False,
    ),
    LossSpec(
        "soft-jaccard",
        overlap.soft_jaccard,
        "region",
        "Intersection over union with the product as intersection.",
        "Rahman & Wang 2016",
        soft_safe=False,
    ),
    LossSpec(
        "lovasz-softmax",
        overlap.lovasz_softmax,
        "region",
        "The convex extension of intersection over union.",
        "Berman et al. 2018, arXiv 1705.08790",
        soft_safe=False,
        hard_only=True,
    ),
    LossSpec(
        "tversky",
        overlap.tversky,
        "region",
        "Overlap that weighs false negatives (beta) more than false positives (alpha).",
        "Salehi et al. 2017, arXiv 1706.05721",
        soft_safe=False,
    ),
    LossSpec(
        "focal-tversky",
        overlap.focal_tversky,
        "region",
        "Tversky to a power, which shifts attention between classes that are done and those that are not.",
        "Abraham & Khan 2019, arXiv 1810.07842",
        soft_safe=False,
    ),
    LossSpec(
        "sensitivity-specificity",
        overlap.sensitivity_specificity,
        "region",
        "Squared errors, averaged inside and outside of each structure apart.",
        "Brosch et al. 2015",
        soft_safe=True,
    ),
    LossSpec(
        "ce-dice",
        compound.ce_dice,
        "compound",
        "Half cross-entropy, half plain Dice per sample: BCP in 3-D.",
        "Bai et al. 2023, arXiv 2305.00673",
        soft_safe=False,
        fixed=_PLAIN,
    ),
    LossSpec(
        "ce-dice-balanced",
        compound.ce_dice_balanced,
        "compound",
        "Half cross-entropy with weights that fall with the root of a class's share, half plain Dice per sample.",
        "weights of Wong et al. 2018, arXiv 1809.00076",
        soft_safe=False,
    ),
    LossSpec(
        "ce-dice-squared",
        compound.ce_dice,
        "compound",
        "Half cross-entropy, half squared Dice over the batch: BCP in 2-D.",
        "Bai et al. 2023, arXiv 2305.00673",
        soft_safe=True,
        fixed=_SQUARED,
        defaults=_POOLED,
    ),
    LossSpec(
        "combo",
        compound.combo,
        "compound",
        "Weighted cross-entropy minus the Dice index; can be negative.",
        "Taghanaki et al. 2019, arXiv 1805.02798",
        soft_safe=False,
    ),
    LossSpec(
        "exp-log",
        compound.exponential_log,
        "compound",
        "Powers of the logarithms of Dice and of the voxels, for structures of very different size.",
        "Wong et al. 2018, arXiv 1809.00076",
        soft_safe=False,
    ),
    LossSpec(
        "ce-jml",
        compound.ce_compatible,
        "compound",
        "A quarter cross-entropy, three quarters Jaccard metric loss, for soft targets.",
        "Wang et al. 2023, arXiv 2302.05666",
        soft_safe=True,
        fixed=_JML,
    ),
    LossSpec(
        "ce-dml",
        compound.ce_compatible,
        "compound",
        "A quarter cross-entropy, three quarters Dice metric loss: the choice for soft targets.",
        "Wang et al. 2023, arXiv 2303.16296",
        soft_safe=True,
        fixed=_DML,
    ),
    LossSpec(
        "jml",
        soft.compatible_tversky,
        "soft-label",
        "Jaccard metric loss: intersection over union that soft targets minimise.",
        "Wang et al. 2023, arXiv 2302.05666",
        soft_safe=True,
        fixed=_JML,
    ),
    LossSpec(
        "dml",
        soft.compatible_tversky,
        "soft-label",
        "Dice metric loss: Dice that soft targets minimise.",
        "Wang et al. 2023, arXiv 2303.16296",
        soft_safe=True,
        fixed=_DML,
    ),
    LossSpec(
        "ctl",
        soft.compatible_tversky,
        "soft-label",
        "Compatible Tversky loss: unequal weights of misses and inventions, for soft targets too.",
        "Wang et al. 2023, arXiv 2303.16296",
        soft_safe=True,
    ),
)


def get_loss(name: str, **constants: object) -> Loss:
    """Return the loss called `name`, `constants` laid over its defaults (see `LOSSES[name].constants`).

    Raises SettingError for an unknown name or constant, or a constant out of range.
    """
    if name not in LOSSES:
        raise unknown_name("loss", name, LOSSES)
    return LOSSES[name].make(**constants)
