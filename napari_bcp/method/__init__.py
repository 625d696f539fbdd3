"""BCP (Bai et al., CVPR 2023) as pure functions on tensors: no file, no clock, no global random state."""

from napari_bcp.method.masks import Box, draw_boxes, keep_mask
from napari_bcp.method.mixing import mixed_loss, paste
from napari_bcp.method.pseudo_labels import decide, keep_largest
from napari_bcp.method.schedules import consistency_ramp, learning_rate
from napari_bcp.method.teacher import update_teacher

__all__ = [
    "Box",
    "consistency_ramp",
    "decide",
    "draw_boxes",
    "keep_largest",
    "keep_mask",
    "learning_rate",
    "mixed_loss",
    "paste",
    "update_teacher",
]
