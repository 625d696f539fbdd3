"""The losses by name: `get_loss("ce-dice")` returns a function of logits, target and region."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch

from napari_bcp.errors import unknown_name
from napari_bcp.method.losses.compound import ce_dice
from napari_bcp.method.losses.inputs import Inputs, Loss

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Loss", "get_loss"]

_FIRST = {
    "ce-dice": ce_dice,
    "ce-dice-squared": partial(ce_dice, squared=True, batch=True, smooth=1e-10),
}


def get_loss(name: str, **constants: object) -> Loss:
    """Return the loss called `name` with `constants` laid over its defaults. Raises SettingError."""
    if name not in _FIRST:
        raise unknown_name("loss", name, _FIRST)
    function = _FIRST[name]

    def loss(logits: Tensor, target: Tensor, region: Tensor | None = None) -> Tensor:
        with torch.autocast(logits.device.type, enabled=False):
            v = Inputs(logits, target, region)
            return function(v, **constants) * (v.size > 0)  # type: ignore[arg-type]

    return loss
