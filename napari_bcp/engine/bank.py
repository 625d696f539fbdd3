"""Pseudo-labels of whole unlabelled scans: made by the teacher, kept, and made anew in turn.

A step then costs no more than a supervised one, the largest component is taken over the whole scan, where it means
something, and what the student learns from is what a map of that step would show.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from napari_bcp.engine.predict import whole_probabilities
from napari_bcp.method.pseudo_labels import keep_largest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_bcp.config import TrainConfig
    from napari_bcp.engine.cache import Prepared
    from napari_bcp.engine.plan import Plan
    from napari_bcp.engine.state import State

UNSURE: Final = 255
"""Marks voxels of which the teacher is not sure enough to teach."""
_KEPT: Final = 256  # scans


class Bank:
    """Labels of the scans that were used last, compressed, with the step that each was made at."""

    def __init__(self, plan: Plan, config: TrainConfig, state: State, device: torch.device) -> None:
        self._plan, self._config, self._state, self._device = plan, config, state, device
        self._kept: OrderedDict[str, tuple[int, tuple[int, ...], bytes]] = OrderedDict()

    def labels(self, case: Prepared) -> NDArray[np.uint8]:
        """Return channel numbers (x, y, z) of a case, UNSURE where the teacher is; made anew when they are old."""
        step, found = self._state.step, self._kept.get(case.name)
        if found is not None and step - found[0] < self._config.pseudo_every and found[1] == case.image.shape:
            self._kept.move_to_end(case.name)
            return np.frombuffer(zlib.decompress(found[2]), np.uint8).reshape(found[1])
        labels = self._make(np.asarray(case.image, np.float32))
        self._kept[case.name] = (step, labels.shape, zlib.compress(labels.tobytes(), 1))
        self._kept.move_to_end(case.name)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return labels

    def _make(self, image: NDArray[np.float32]) -> NDArray[np.uint8]:
        teacher = self._state.teacher
        teacher.train(self._config.teacher_mode == "train")
        chances = whole_probabilities(teacher, self._plan, image, self._device)
        labels: NDArray[np.uint8] = chances.argmax(axis=0).astype(np.uint8)
        if self._config.components == "largest":
            labels, _ = keep_largest(labels, self._config.connectivity)
        if self._config.sure > 0:
            labels[chances.max(axis=0) < self._config.sure] = UNSURE
        return labels

    def content(self) -> dict[str, Any]:
        """Return what a checkpoint holds of it."""
        return {
            name: {"step": step, "shape": list(shape), "packed": torch.frombuffer(bytearray(packed), dtype=torch.uint8)}
            for name, (step, shape, packed) in self._kept.items()
        }

    def restore(self, content: dict[str, Any]) -> None:
        """Take over what a checkpoint holds; entries that are none are made anew when they are needed."""
        self._kept.clear()
        for name, one in content.items():
            try:
                shape, packed = tuple(int(n) for n in one["shape"]), one["packed"].numpy().tobytes()
                if len(zlib.decompressobj().decompress(packed, int(np.prod(shape)) + 1)) == np.prod(shape):
                    self._kept[str(name)] = (int(one["step"]), shape, packed)
            except (KeyError, TypeError, ValueError, AttributeError, zlib.error):
                continue
