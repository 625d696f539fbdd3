"""Where a map is unsure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from napari_bcp.metrics import predictive_entropy

if TYPE_CHECKING:
    from numpy.typing import NDArray


def entropy(probabilities: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the predictive entropy of each voxel: 0 where one class is certain, 255 where all are equally likely.

    probabilities : (classes, *shape), 0 to 255, without the background, which has what is left to 255
    """
    result = np.zeros(probabilities.shape[1:], np.uint8)
    scale = 255 / math.log(len(probabilities) + 1)
    for index, plane in enumerate(result):
        part = probabilities[:, index]
        if part.any():
            plane[...] = np.rint(np.minimum(entropy_nats(part) * scale, 255))
    return result


def entropy_nats(probabilities: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the predictive entropy of each voxel in nats, float32; the argument is that of `entropy`."""
    rest = 255 - np.minimum(probabilities.sum(axis=0, dtype=np.uint16), 255)
    everything = np.concatenate([rest[None].astype(np.uint8), probabilities])
    nats: NDArray[np.float32] = predictive_entropy(everything)
    return nats
