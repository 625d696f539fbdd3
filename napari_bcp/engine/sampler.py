"""Drawing blocks from labelled and unlabelled cases.

Cases come in shuffled passes, each once a pass. A labelled block is centred on a structure (classes in turn, so
that small ones are seen) or anywhere; an unlabelled one around a place where some labelled scan has a structure,
at the same relative position, or anywhere.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from napari_bcp.engine import augment

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_bcp.config import TrainConfig
    from napari_bcp.engine.cache import CaseFiles, Prepared
    from napari_bcp.engine.plan import Plan


_PART = 64  # unlabelled cases
_AGAIN = 4


@dataclass
class Deck:
    """Names dealt in shuffled passes; what joins or leaves does so at once.

    part : where given, a pass over more than twice as many names deals so many of them several times before it goes on
        to the next ones, so that what is made for a case serves more than once
    """

    names: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    part: int | None = None

    def update(self, names: list[str]) -> None:
        """Take over a new list: newcomers are dealt first."""
        known, keep = set(self.names), set(names)
        fresh = [n for n in names if n not in known]
        self.names = list(names)
        self.left = [n for n in self.left if n in keep] + fresh

    def add(self, name: str) -> None:
        """Take in one more name, which is dealt first."""
        self.names.append(name)
        self.left.append(name)

    def deal(self, rng: np.random.Generator) -> str:
        """Return the next name; raises IndexError when there is none at all."""
        if not self.left:
            self.left = [self.names[i] for i in rng.permutation(len(self.names))]
            if self.part is not None and len(self.left) > 2 * self.part:
                parts = [self.left[i : i + self.part] for i in range(0, len(self.left), self.part)]
                self.left = [part[i] for part in parts for _ in range(_AGAIN) for i in rng.permutation(len(part))]
        return self.left.pop()


class Sampler:
    """Blocks for training, on `device`. All randomness comes from `rng`.

    fetch : returns a prepared case; it may be slow the first time.
    """

    keep = 128  # prepared cases held open at once; each is a memory map, not an array

    def __init__(
        self,
        plan: Plan,
        config: TrainConfig,
        rng: np.random.Generator,
        fetch: Callable[[CaseFiles], Prepared],
        device: torch.device | str = "cpu",
    ) -> None:
        self.plan, self.config, self.rng = plan, config, rng
        self.mode: augment.Augmentation = "strong" if config.augment == "auto" else config.augment
        self.labelled, self.unlabelled = Deck(), Deck(part=_PART if config.pseudo == "case" else None)
        self._files: dict[str, CaseFiles] = {}
        self._fetch, self._device = fetch, device
        self.failed: CaseFiles | None = None  # the case whose fetching raised
        self._open: OrderedDict[tuple[str, bool], Prepared] = OrderedDict()

    def content(self) -> dict[str, list[str]]:
        """Return where it is, for a checkpoint: the names of both decks and what is left of them."""
        return {
            "labelled": list(self.labelled.names),
            "labelled_left": list(self.labelled.left),
            "unlabelled": list(self.unlabelled.names),
            "unlabelled_left": list(self.unlabelled.left),
        }

    def restore(self, content: dict[str, list[str]]) -> None:
        """Go on from where another one was; `set_cases` then says what has changed since."""
        self.labelled.names, self.labelled.left = list(content["labelled"]), list(content["labelled_left"])
        self.unlabelled.names, self.unlabelled.left = list(content["unlabelled"]), list(content["unlabelled_left"])

    def set_cases(self, labelled: list[CaseFiles], unlabelled: list[CaseFiles]) -> None:
        """Say which cases there are now; files may have changed."""
        files = {c.name: c for c in [*labelled, *unlabelled]}
        for key in [k for k in self._open if files.get(k[0]) != self._files.get(k[0])]:
            del self._open[key]
        self._files = files
        self.labelled.update([c.name for c in labelled])
        self.unlabelled.update([c.name for c in unlabelled])

    def add_unlabelled(self, case: CaseFiles) -> None:
        """Let one more unlabelled case join."""
        self._files[case.name] = case
        self.unlabelled.add(case.name)

    def draw_labelled(self, count: int) -> tuple[Tensor, Tensor]:
        """Return images (count, 1, *block) float32 without intensity changes and labels (count, *block) int64."""
        drawn = [self._labelled_block() for _ in range(count)]
        return self._stack([i for i, _ in drawn]), self._stack([t for _, t in drawn])[:, 0].long()

    def draw_unlabelled(self, count: int) -> Tensor:
        """Return images (count, 1, *block) float32 without intensity changes."""
        return self._stack([self._unlabelled_block()[0] for _ in range(count)])

    def draw_pseudo_labelled(
        self, count: int, labels_of: Callable[[Prepared], tuple[NDArray[np.uint8], bool]]
    ) -> tuple[Tensor, Tensor]:
        """Return images as `draw_unlabelled`, and labels (count, *block) int64 cut from those of the whole scans.

        labels_of : gives them, and whether they are good enough; if not, another scan is dealt for a while
        """
        drawn = [self._unlabelled_block(labels_of) for _ in range(count)]
        labels = [label for _, label in drawn if label is not None]
        return self._stack([image for image, _ in drawn]), self._stack(labels)[:, 0].long()

    def vary(self, images: Tensor) -> Tensor:
        """Return images (count, 1, *block) with their intensities varied, each by itself."""
        if self.mode not in ("strong", "light"):
            return images
        strength = 1.0 if self.mode == "strong" else 0.5
        shape = self.plan.patch
        varied = [augment.vary_intensity(self.rng, one.reshape(shape), strength) for one in images]
        return torch.stack(varied).reshape(images.shape)

    # -- one block --------------------------------------------------------------------------------------------

    def _labelled_block(self) -> tuple[Tensor, Tensor]:
        case = self._get(self.labelled.deal(self.rng))
        assert case.labels is not None  # noqa: S101 - the deck holds labelled cases only
        seed = self._seed(case) if self.rng.random() < self.config.foreground else None
        image, labels = self._cut(case, seed)
        assert labels is not None  # noqa: S101
        if self.config.style and self.unlabelled.names and self.rng.random() < self.config.style:
            other = self._get(self.unlabelled.names[int(self.rng.integers(len(self.unlabelled.names)))])
            image = augment.take_style(self.rng, image, case.levels, other.levels)
        return image, labels

    def _unlabelled_block(
        self, labels_of: Callable[[Prepared], tuple[NDArray[np.uint8], bool]] | None = None
    ) -> tuple[Tensor, Tensor | None]:
        case = self._get(self.unlabelled.deal(self.rng))
        if labels_of is not None:
            found, good = labels_of(case)
            for _ in range(2 * len(self.unlabelled.names)):  # two passes deal each of them at least once more
                if good:
                    break
                case = self._get(self.unlabelled.deal(self.rng))
                found, good = labels_of(case)
            case = replace(case, labels=found)
        if self.config.unlabelled_crop == "centre":
            start = [(n - b) // 2 for n, b in zip(case.image.shape, self.plan.patch, strict=True)]
            labels = None if case.labels is None else augment.cut_plain(case.labels, start, self.plan.patch)
            return augment.cut_plain(case.image, start, self.plan.patch), labels
        seed = None
        if self.rng.random() < self.config.foreground:
            guide = self._get(self.labelled.names[int(self.rng.integers(len(self.labelled.names)))])
            place = self._seed(guide)
            if place is not None:
                seed = (place + 0.5) / np.array(guide.image.shape) * np.array(case.image.shape) - 0.5
        return self._cut(case, seed)

    def _cut(self, case: Prepared, seed: NDArray[np.float64] | None) -> tuple[Tensor, Tensor | None]:
        """Cut a block around `seed`, or anywhere, varied in shape as the augmentation says."""
        if self.mode in augment.WARPS:
            warp = augment.WARPS[self.mode]
            matrix = augment.draw_matrix(self.rng, warp, case.spacing, self.plan.dimensions)
            shifts = augment.draw_shifts(self.rng, warp, self.plan.patch)
            return augment.cut_warped(
                case.image, case.labels, self._centre(case, seed), matrix, shifts, self.plan.patch, self._device
            )
        start = self._plain_start(case) if seed is None else self._start_around(case, seed)
        image = augment.cut_plain(case.image, start, self.plan.patch)
        labels = None if case.labels is None else augment.cut_plain(case.labels, start, self.plan.patch)
        both: tuple[Any, ...] = (image, labels)
        if self.mode == "paper-la" or (self.mode == "paper-acdc" and self.rng.random() < 0.5):
            both = augment.turn_and_flip(self.rng, image, labels)
        elif self.mode == "paper-acdc" and self.rng.random() < 0.5:
            both = augment.turn_by_degrees(self.rng, image, labels)
        return both[0], both[1]

    def _seed(self, case: Prepared) -> NDArray[np.float64] | None:
        if not case.seeds:
            return None
        places = case.seeds[int(self.rng.integers(len(case.seeds)))]
        place: NDArray[np.float64] = places[int(self.rng.integers(len(places)))].astype(np.float64)
        return place

    def _centre(self, case: Prepared, seed: NDArray[np.float64] | None) -> NDArray[np.float64]:
        """Return a centre that keeps the block inside the scan, a tenth of its side aside, where it fits."""
        size, block = np.array(case.image.shape, dtype=float), np.array(self.plan.patch, dtype=float)
        slack = np.where(block > 1, 0.1 * block, 0.0)
        low, high = block / 2 - slack - 0.5, size - block / 2 + slack - 0.5
        middle = (size - 1) / 2
        # Where the block is longer than the scan, its centre stays near the scan's.
        low, high = np.where(low < high, low, middle - slack), np.where(low < high, high, middle + slack)
        if seed is None:
            centre = self.rng.uniform(low, np.maximum(high, low))
        else:
            centre = np.clip(seed + self.rng.uniform(-0.3, 0.3, 3) * block, low, high)
        if self.plan.dimensions == 2:  # a slice lies on whole voxels, and on the seed
            z = self.rng.integers(case.image.shape[2]) if seed is None else int(np.clip(round(seed[2]), 0, size[2] - 1))
            centre[2] = z
        return centre

    def _start_around(self, case: Prepared, seed: NDArray[np.float64]) -> list[int]:
        """Draw the corner of a block around `seed`; it lies inside the scan, or the scan inside it, axis by axis."""
        block = np.array(self.plan.patch)
        spare = np.array(case.image.shape) - block
        start = np.rint(self._centre(case, seed) - (block - 1) / 2)
        return [int(n) for n in np.clip(start, np.minimum(spare, 0), np.maximum(spare, 0))]

    def _plain_start(self, case: Prepared) -> list[int]:
        """Draw a block's corner as published: uniform over the scan, padded when it is not larger than the block."""
        size, block = case.image.shape, self.plan.patch
        if self.plan.dimensions == 2:
            start = [int(self.rng.integers(max(n - b, 0) + 1)) for n, b in zip(size[:2], block[:2], strict=True)]
            return [*start, int(self.rng.integers(size[2]))]
        small = any(n <= b for n, b in zip(size, block, strict=True))
        start = []
        for n, b in zip(size, block, strict=True):
            pad = max((b - n) // 2 + 3, 0) if small else 0
            start.append(int(self.rng.integers(n + 2 * pad - b)) - pad)
        return start

    # -- small things -----------------------------------------------------------------------------------------

    def _get(self, name: str) -> Prepared:
        files = self._files[name]
        key = (name, files.mask is not None)
        if key not in self._open:
            self.failed = files
            self._open[key] = self._fetch(files)
            self.failed = None
            while len(self._open) > self.keep:
                self._open.popitem(last=False)
        self._open.move_to_end(key)
        return self._open[key]

    def _stack(self, blocks: list[Tensor]) -> Tensor:
        return torch.stack(blocks).reshape(len(blocks), 1, *self.plan.block).to(self._device)
