"""The mask M that says which voxels of a mixed image come from the first image (True) and which are pasted (False).

The published strategy pastes one box ("zero-centred": zeros are the inner region, its place is random). The two
others are the paper's ablations. Every function works in two and three dimensions.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

Strategy = Literal["box", "contact", "random"]


class Box(NamedTuple):
    """A box of voxels: its lowest corner and its size along each axis."""

    corner: tuple[int, ...]
    size: tuple[int, ...]


class IntegerSource(Protocol):
    """What draws corners: numpy's Generator, or anything with its `integers`."""

    def integers(self, low: int, high: int) -> int:
        """Return a whole number from low to high - 1."""


def box_sides(shape: Sequence[int], beta: float) -> tuple[int, ...]:
    """Return the sides ⌊β·n⌋, at least one voxel, of the pasted box in a block of `shape`."""
    return tuple(max(1, int(beta * n)) for n in shape)


def draw_boxes(
    shape: Sequence[int], rng: IntegerSource, *, strategy: Strategy = "box", beta: float = 2 / 3
) -> list[Box]:
    """Draw the boxes to paste in a block of `shape` (two or three axes).

    box : one box of sides ⌊β·n⌋, its corner uniform in [0, n − side) along each axis.
    contact : a slab across the whole block; in 3-D ⌊8n/27⌋ thick on the last axis, in 2-D ⌊4n/9⌋ on the first,
        within n of its voxels: as many as the second axis has, as published, but no more than there are.
    random : 3 cells along each axis with one small box each.

    A range that a small block leaves empty holds its lowest place.
    """
    if strategy == "box":
        sides = box_sides(shape, beta)
        corner = tuple(_draw(rng, 0, n - side) for n, side in zip(shape, sides, strict=True))
        return [Box(corner, sides)]
    if strategy == "contact":
        return [_contact_slab(shape, rng)]
    if strategy == "random":
        return _scattered_boxes(shape, rng)
    raise ValueError(f"there is no mask {strategy!r}")


def keep_mask(shape: Sequence[int], boxes: Sequence[Box], device: torch.device | str | None = None) -> Tensor:
    """Return M: bool of `shape`, False inside the boxes, True elsewhere; boxes are cut at the border."""
    keep = torch.ones(tuple(shape), dtype=torch.bool, device=device)
    for box in boxes:
        keep[tuple(slice(low, low + side) for low, side in zip(box.corner, box.size, strict=True))] = False
    return keep


def _draw(rng: IntegerSource, low: int, high: int) -> int:
    return int(rng.integers(low, max(high, low + 1)))


def _contact_slab(shape: Sequence[int], rng: IntegerSource) -> Box:
    if len(shape) == 3:
        thickness = max(1, shape[2] * 8 // 27)
        start = _draw(rng, 0, shape[2] - thickness - 1)
        return Box((0, 0, start), (shape[0], shape[1], thickness))
    length = min(shape)  # the published code takes the second axis' even where the first is shorter
    thickness = max(1, length * 4 // 9)
    start = _draw(rng, 0, length - thickness)
    return Box((start, 0), (thickness, shape[1]))


def _scattered_boxes(shape: Sequence[int], rng: IntegerSource) -> list[Box]:
    cells = tuple(n // 3 for n in shape)
    if len(shape) == 3:
        sides = tuple(max(1, 2 * n // 3 // 3 + (1 if axis < 2 else 0)) for axis, n in enumerate(shape))
        slack = 1  # the published 3-D ranges end one voxel early
    else:
        sides = tuple(max(1, 2 * n // 9) for n in shape)
        slack = 0
    boxes = []
    for index in product(range(3), repeat=len(shape)):
        corner = tuple(
            _draw(rng, i * cell, (i + 1) * cell - side - slack)
            for i, cell, side in zip(index, cells, sides, strict=True)
        )
        boxes.append(Box(corner, sides))
    return boxes
