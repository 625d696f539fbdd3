"""The plan: voxel size, block, network and batch, derived from the data and the device.

Nobody has to choose a block size. Two budgets rule: how many voxels a whole scan may have on the network's grid,
and how many a block. The grid is as coarse as the first asks for and as fine as the smallest structure needs.
"""

from __future__ import annotations

import hashlib
import json
import math
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, Field

from napari_bcp.engine.device import bfloat16_crawls, bfloat16_pays
from napari_bcp.errors import SettingError
from napari_bcp.networks import NETWORKS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from napari_bcp.config import TrainConfig
    from napari_bcp.engine.fingerprint import Fingerprint


# A plan is read from tables, checkpoints and messages: what no computer could hold is none.
_Side = Annotated[int, Field(ge=1, le=4096)]
_Number = Annotated[int, Field(ge=1, le=1024)]
_Shrink = Annotated[int, Field(ge=1, le=4)]
_Value = Annotated[int, Field(ge=1, le=255)]
_Size = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Plan(BaseModel, frozen=True, extra="forbid"):
    """Everything that turns a scan into blocks and scores into a map; stored with every run and checkpoint.

    spacing : mm along x, y, z, 0 keeps a scan's own.  patch : voxels along x, y, z, z is 1 in two dimensions.
    classes : the mask values of the network's channels 1, 2, ….  strides : of the network's levels.
    blend : how overlapping blocks are weighted.  stride : step between blocks in voxels.
    device, bfloat16 : kind of device that it was made for, and whether bfloat16 was found to pay there.
    ct_window : low, high, mean and SD for normalise = "ct".
    parts : of how many components each of the classes consists, as far as the masks tell.
    """

    dimensions: Literal[2, 3]
    fit: Literal["spacing", "resize"]
    spacing: tuple[_Size, _Size, _Size]
    normalise: Literal["zscore", "minmax", "ct", "none"]
    ct_window: tuple[float, float, float, float]
    patch: tuple[_Side, _Side, _Side]
    stride: tuple[_Side, _Side, _Side]
    blend: Literal["gaussian", "mean"]
    padding: Literal["edge", "zero"]
    network: str
    width: _Number
    strides: tuple[tuple[_Shrink, ...], ...]
    classes: tuple[_Value, ...]
    batch: _Number
    stage1_batch: _Number
    device: str
    bfloat16: bool
    parts: tuple[int, ...] = ()  # of runs before it was measured: one each
    air: bool = False  # whether values may be Hounsfield units

    def bfloat16_on(self, device: torch.device) -> bool:
        """Say whether to compute in bfloat16: as was decided for the device that the plan was made for.

        A graphics card that has no bfloat16 goes without: the plan may have been made for another one.
        """
        return self.bfloat16 and device.type == self.device and not (device.type == "cuda" and bfloat16_crawls(device))

    def parts_kept(self, components: str, values: Sequence[int]) -> dict[int, int]:
        """Return how many components of each class stay where only its largest are kept.

        components : "auto" for as many as masks have, "largest" for one.  values : of the classes in the labels
        """
        return dict(zip(values, self.parts, strict=False)) if components == "auto" else {}

    @property
    def grid_key(self) -> str:
        """A short name for how scans are preprocessed; another one means that the cache is made anew."""
        parts = (self.fit, self.spacing, self.patch[:2] if self.fit == "resize" else 0, self.normalise, self.ct_window)
        return hashlib.sha256(json.dumps([*parts, self.classes]).encode()).hexdigest()[:12]

    @property
    def block(self) -> tuple[int, ...]:
        """The block as the network sees it: two or three axes."""
        return self.patch[: self.dimensions]


def smaller(plan: Plan) -> Plan | None:
    """Return a plan that takes about half the memory a step: half the batch, else half the block; None if none is left.

    Scans stay on their grid, so that nothing has to be prepared anew.
    """
    if plan.batch > 1:
        return plan.model_copy(update={"batch": plan.batch // 2, "stage1_batch": max(1, plan.stage1_batch // 2)})
    if plan.fit == "resize":
        return None
    longest = max(range(plan.dimensions), key=lambda axis: plan.patch[axis])
    factor = math.prod(stride[longest] for stride in plan.strides)
    side = plan.patch[longest] // 2 // factor * factor
    if side < 2 * factor:
        return None
    patch = tuple(side if axis == longest else n for axis, n in enumerate(plan.patch))
    stride = tuple(max(1, min(step, n)) for step, n in zip(plan.stride, patch, strict=True))
    return plan.model_copy(update={"patch": patch, "stride": stride})


class _Budget(BaseModel, frozen=True):
    scan: int
    block: int
    batch: int


# Voxels of a whole scan and of a block, and blocks a step. The processor's figures keep a step of the quick
# network below a third of a second on two cores.
_BUDGETS = {
    ("cpu", 3): _Budget(scan=300_000, block=100_000, batch=2),
    ("cpu", 2): _Budget(scan=70_000, block=40_000, batch=8),
    ("cuda", 3): _Budget(scan=6_000_000, block=1_300_000, batch=4),
    ("cuda", 2): _Budget(scan=262_144, block=262_144, batch=24),
}


_CLASSES = 8  # with the background, that a graphics card of 8 GB has room for in blocks of this size


def make_plan(found: Fingerprint, classes: Sequence[int], config: TrainConfig, device: torch.device) -> Plan:
    """Derive the plan.

    classes : the pool's class values without background, one at least.
    Raises SettingError when settings contradict each other.
    """
    dimensions = int(config.dimensions) if config.dimensions != "auto" else choose_dimensions(found)
    if config.network != "auto":
        dimensions_of_network = NETWORKS[config.network].dimensions
        if config.dimensions != "auto" and dimensions_of_network != dimensions:
            raise SettingError(
                f"Network '{config.network}' works in {dimensions_of_network} dimensions and setting 'dimensions' is "
                f"{dimensions}; change one of them."
            )
        dimensions = dimensions_of_network
    budget = _BUDGETS[("cuda" if device.type == "cuda" else "cpu", dimensions)]
    if device.type == "cuda" and len(classes) >= _CLASSES:  # what the loss keeps grows with them
        budget = budget.model_copy(update={"block": budget.block * _CLASSES // (len(classes) + 1)})
    spacing = _spacing(found, config, budget, dimensions)
    network = config.network if config.network != "auto" else ("quick" if dimensions == 3 else "quick2d")
    paper = not network.startswith("quick")
    patch, strides = _block(found, spacing, config, budget, dimensions, network)
    normalise = config.normalise if config.normalise != "auto" else ("ct" if found.ct else "zscore")
    low, _, high, mean, sd = found.foreground
    # In minutes on a processor twice the steps are worth more than twice the channels.
    wide = device.type == "cuda" and any(s > 1 for s in strides[0])
    batch = config.batch or budget.batch
    stride: tuple[int, int, int] = (max(1, patch[0] // 2), max(1, patch[1] // 2), max(1, patch[2] // 2))
    if paper:
        stride = (min(18, patch[0]), min(18, patch[1]), 4) if dimensions == 3 else patch
    return Plan(
        dimensions=dimensions,
        fit=config.fit,
        spacing=spacing,
        normalise=normalise,
        ct_window=(low, high, mean, sd) if normalise == "ct" else (0.0, 0.0, 0.0, 1.0),
        patch=patch,
        stride=stride,
        blend="mean" if paper else "gaussian",
        padding="zero" if paper else "edge",
        network=network,
        width=config.width or (NETWORKS[network].width if paper or wide else 16),
        strides=strides,
        classes=tuple(sorted(classes)),
        batch=batch,
        stage1_batch=config.stage1_batch or batch,
        device=device.type,
        bfloat16=config.precision == "bfloat16" or (config.precision == "auto" and bfloat16_pays(device)),
        parts=tuple(found.parts.get(value, 1) for value in sorted(classes)),
        air=found.air,
    )


def choose_dimensions(found: Fingerprint) -> int:
    """Two dimensions where slices are at least three times as thick as their pixels, or few and large; else three."""
    slices = found.shape[2]  # slices are cut along z; a scan with thick slices along another axis trains in blocks
    thick = found.spacing[2] >= 3 * min(found.spacing[:2])
    few = slices < 16 and min(found.shape[:2]) >= 4 * slices
    return 2 if (thick and slices < 40) or few else 3


def _spacing(found: Fingerprint, config: TrainConfig, budget: _Budget, dimensions: int) -> tuple[float, float, float]:
    if config.fit == "resize":
        return (0.0, 0.0, 0.0)
    if config.spacing is not None:
        if len(config.spacing) not in (2, 3) or any(s < 0 for s in config.spacing):
            raise SettingError(f"Setting 'spacing' cannot be {config.spacing}; give three sizes in mm, such as 1,1,2.")
        x, y, z = (*config.spacing, 0.0)[:3]
        return (x, y, z)
    axes = range(dimensions)
    extent = math.prod(found.extent[i] for i in axes)
    coarse = (extent / budget.scan) ** (1 / dimensions)
    smallest = min(found.diameters.values(), default=math.inf)
    # Ten voxels across the smallest structure are enough to draw its border.
    size = min(coarse, smallest / 10)
    spacing = [found.spacing[i] if found.spacing[i] > size / 1.2 else size for i in range(3)]
    if dimensions == 2:
        spacing[2] = 0.0
    return (float(spacing[0]), float(spacing[1]), float(spacing[2]))


def _block(
    found: Fingerprint,
    spacing: tuple[float, float, float],
    config: TrainConfig,
    budget: _Budget,
    dimensions: int,
    network: str,
) -> tuple[tuple[int, int, int], tuple[tuple[int, ...], ...]]:
    """Return the block and the strides of the network's levels."""
    fixed = NETWORKS[network].fixed_strides
    whole = [max(1, round(found.extent[i] / (spacing[i] or found.spacing[i]))) for i in range(dimensions)]
    scan = math.prod(whole)
    if config.patch is not None:
        if len(config.patch) != dimensions and not (dimensions == 2 and len(config.patch) == 3):
            raise SettingError(f"Setting 'patch' has {len(config.patch)} sizes; give {dimensions}, such as 96,96,64.")
        sides = [int(n) for n in config.patch[:dimensions]]
    else:
        sides = _shrink(whole, budget.block)
        multiples = (
            [math.prod(level[i] for level in fixed) for i in range(dimensions)]
            if fixed
            else [2 ** _halvings(n) for n in sides]
        )
        fit = math.ceil if scan <= budget.block else round
        sides = [max(m, fit(n / m) * m) for n, m in zip(sides, multiples, strict=True)]
    # The stem halves scans that are large enough to lose nothing by it, however small the block.
    halved = scan > (100_000 if dimensions == 3 else 24_000)
    strides = tuple(tuple(s) for s in fixed) if fixed else _strides(sides, dimensions, halved)
    for i, side in enumerate(sides):
        multiple = math.prod(level[i] for level in strides)
        if side < 1 or side % multiple:
            raise SettingError(
                f"Setting 'patch' cannot have a side of {side}; network '{network}' needs multiples of {multiple}."
            )
    left = math.prod(sides) // math.prod(math.prod(level) for level in strides)
    if left < NETWORKS[network].smallest:
        raise SettingError(
            f"Setting 'patch' is too small: network '{network}' would be left with one voxel; double it."
        )
    x, y, z = (*sides, 1)[:3]
    return (x, y, z), strides


def _shrink(sides: list[int], voxels: int) -> list[int]:
    """Shrink a block to about `voxels`, all axes alike, except that none falls below sixteen."""
    while math.prod(sides) > voxels:
        large = [i for i, n in enumerate(sides) if n > 16]
        if not large:
            break
        factor = max((voxels / math.prod(sides)) ** (1 / len(large)), 0.5)
        shrunk = [max(16, min(n - 1, round(n * factor))) if i in large else n for i, n in enumerate(sides)]
        sides = shrunk
    return sides


def _halvings(side: int) -> int:
    """Return how often a side is halved: until about five voxels are left, four times at most."""
    return max(0, min(4, int(math.log2(max(side, 4) / 4))))


def _strides(sides: Sequence[int], dimensions: int, halved: bool) -> tuple[tuple[int, ...], ...]:
    """Return the strides of four levels.

    sides : of the block in voxels.  halved : whether the stem halves it.
    """
    left = [min(_halvings(n), (n & -n).bit_length() - 1) for n in sides]
    levels = []
    for level in range(4):
        now = []
        for axis in range(dimensions):
            shrink = left[axis] > 0 and (level > 0 or halved)
            # An axis that can be halved less often than others starts later, when its voxels have become the size
            # of theirs.
            shrink = shrink and (left[axis] >= max(left) - 1 or level > 0)
            now.append(2 if shrink else 1)
            left[axis] -= shrink
        levels.append(tuple(now))
    return tuple(levels)
