"""The losses by name: `get_loss("ce-dice")` returns a function of logits, target and region.

A file a family: `voxel` (cross-entropy), `overlap` (Dice), `soft` (for soft targets), `boundary`, `compound`;
`inputs` prepares what they share, `registry` names them.
"""

from napari_bcp.method.losses.inputs import Loss
from napari_bcp.method.losses.registry import LOSSES, LossSpec, get_loss

__all__ = ["LOSSES", "Loss", "LossSpec", "get_loss"]
