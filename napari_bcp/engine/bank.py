"""Pseudo-labels of whole unlabelled scans: made by the teacher, kept, and made anew in turn.

A step then costs no more than a supervised one, the largest component is taken over the whole scan, where it means
something, and what the student learns from is what a map of that step would show.
"""

from __future__ import annotations

import math
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from napari_bcp.engine.device import out_of_memory
from napari_bcp.engine.predict import highest, whole_probabilities
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


@dataclass(frozen=True)
class _Entry:
    step: int
    shape: tuple[int, ...]
    packed: bytes
    quality: float


class Bank:
    """Labels of the scans that were used last, compressed, with the step that each was made at."""

    def __init__(self, plan: Plan, config: TrainConfig, state: State, device: torch.device) -> None:
        self._plan, self._config, self._state, self._device = plan, config, state, device
        self._kept: OrderedDict[str, _Entry] = OrderedDict()

    def labels(self, case: Prepared) -> tuple[NDArray[np.uint8], bool]:
        """Return channel numbers (x, y, z) of a case, UNSURE where the teacher is; made anew when they are old.

        And whether it is among the share of scans of which the teacher is most confident.
        """
        step, found = self._state.step, self._kept.get(case.name)
        labels = None
        if found is not None and step - found.step < self._config.pseudo_every:
            labels = _unpacked(found, case.image.shape)
        if found is None or labels is None:
            labels, quality = self._make(np.asarray(case.image, np.float32))
            found = _Entry(step, labels.shape, zlib.compress(labels.tobytes(), 1), quality)
            self._kept[case.name] = found
        self._kept.move_to_end(case.name)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return labels, found.quality >= self._least_quality()

    def _least_quality(self) -> float:
        if self._config.trusted >= 1:
            return 0.0
        return float(np.quantile([one.quality for one in self._kept.values()], 1 - self._config.trusted))

    def _make(self, image: NDArray[np.float32]) -> tuple[NDArray[np.uint8], float]:
        teacher = self._state.teacher
        teacher.train(self._config.teacher_mode == "train")
        chances = self._chances(image)
        labels = highest(chances).astype(np.uint8)
        if self._config.components != "all":
            kept = self._plan.parts_kept(self._config.components, range(1, len(chances)))
            labels, _ = keep_largest(labels, self._config.connectivity, kept)
        quality = _quality(chances, labels)
        if self._config.sure > 0:
            labels[chances.max(axis=0) < self._config.sure] = UNSURE
        return labels, quality

    def _chances(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the teacher's probabilities; where memory runs out, block by block."""
        try:
            return whole_probabilities(self._state.teacher, self._plan, image, self._device)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
        return whole_probabilities(self._state.teacher, self._plan, image, self._device, sparing=True)

    def content(self) -> dict[str, Any]:
        """Return what a checkpoint holds of it."""
        return {
            name: {
                "step": one.step,
                "shape": list(one.shape),
                "packed": torch.frombuffer(bytearray(one.packed), dtype=torch.uint8),
                "quality": one.quality,
            }
            for name, one in self._kept.items()
        }

    def restore(self, content: dict[str, Any]) -> None:
        """Take over what a checkpoint holds; entries that are none are made anew when they are needed.

        They are unpacked only then, to no more than the scan's size: what a checkpoint claims is not believed.
        """
        self._kept.clear()
        for name, one in content.items():
            try:
                shape, packed = tuple(int(n) for n in one["shape"]), one["packed"].numpy().tobytes()
                self._kept[str(name)] = _Entry(int(one["step"]), shape, packed, float(one["quality"]))
            except (KeyError, TypeError, ValueError, AttributeError):
                continue


def _unpacked(entry: _Entry, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    """Return labels of a scan of that shape; None where the entry is of another one, or damaged."""
    if entry.shape != shape:
        return None
    try:
        content = zlib.decompressobj().decompress(entry.packed, math.prod(shape) + 1)
        return np.frombuffer(content, np.uint8).reshape(shape)
    except (zlib.error, ValueError):
        return None


def _quality(chances: NDArray[np.float32], labels: NDArray[np.uint8]) -> float:
    """Return the soft Dice confidence of the class of which the teacher is least sure, 0 where it is nowhere.

    2 Σ p ŷ / (Σ p + Σ ŷ), see Borges et al., arXiv 2402.10665.
    """
    found = []
    for channel in range(1, len(chances)):
        given = labels == channel
        both, size = float(chances[channel][given].sum()), float(chances[channel].sum()) + float(given.sum())
        found.append(2 * both / size if size else 0.0)
    return min(found)
