"""One step of the method: draw blocks, mix them, compare with the labels, learn, and let the teacher follow."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from napari_bcp.engine.bank import UNSURE, Bank
from napari_bcp.engine.predict import arithmetic, memory_format
from napari_bcp.method import decide, draw_boxes, keep_mask, mixed_loss, paste, update_teacher
from napari_bcp.method.losses import LOSSES, get_loss
from napari_bcp.method.pseudo_labels import clean_batch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_bcp.config import TrainConfig
    from napari_bcp.engine.plan import Plan
    from napari_bcp.engine.sampler import Sampler
    from napari_bcp.engine.state import State


class Learner:
    """Does steps, as the settings and the plan say, with blocks from a sampler; what it changes is the state alone."""

    def __init__(self, plan: Plan, config: TrainConfig, state: State, sampler: Sampler, device: torch.device) -> None:
        self.plan, self.config, self.state, self.sampler = plan, config, state, sampler
        self.agreement: float | None = None
        """How far the student draws what the teacher draws on unlabelled scans, 0 to 1; None before there is any."""
        self.bank = Bank(plan, config, state, device)
        self._device = device
        # Losses by distance count in the smallest voxel side, so that thick slices are as far apart as they are.
        sides = plan.spacing[: plan.dimensions]
        by_distance = "spacing" in LOSSES[config.loss].constants and all(sides)
        spacing = {"spacing": tuple(side / min(sides) for side in sides)} if by_distance else {}
        self._late_loss = self._loss = get_loss(config.loss, **spacing)
        self._early_loss = get_loss("ce-dice-balanced")
        self._bfloat16 = plan.bfloat16_on(device)
        self._form = memory_format(plan, config.channels_last)

    def step(self, stage: Literal[1, 2], share: float) -> float:
        """Do one optimiser step and move the teacher; return the loss.

        share : of the budget that is used up. Raises FloatingPointError, with the networks as they were, for a loss
        that is no number.
        """
        state, config = self.state, self.config
        early = state.stage2_from is None and share < config.balanced_share
        self._loss = self._early_loss if early else self._late_loss
        outer = torch.get_rng_state()
        torch.set_rng_state(state.torch_rng)
        try:
            state.student.train()
            grown = min(share, state.step / config.mixing_steps, 1.0)
            mixing = config.mixing + (config.mixing_late - config.mixing) * grown
            if state.rng.random() >= mixing:
                loss = self._whole_loss()
            elif stage == 1:
                loss = self._labelled_mix_loss()
            else:
                loss = self._bidirectional_loss()
            state.optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            # A graphics card is waited for here, once, with all of the step handed to it.
            value, slope = (float(x) for x in torch.stack([loss.detach().float(), self._slope()]).tolist())
            if not math.isfinite(value):
                raise FloatingPointError(f"The loss became {value}")
            if not math.isfinite(slope):  # a loss may be a number where its gradient is none
                raise FloatingPointError(f"The gradient became {slope}")
            state.optimiser.step()
        finally:
            state.torch_rng = torch.get_rng_state()
            torch.set_rng_state(outer)
        # A teacher that labels with averaged statistics has no passes of its own that would move them.
        buffers = config.buffers if config.teacher_mode == "train" and stage == 2 else "average"
        if config.teacher_from_start:
            # The teacher averages about the last tenth of the steps: a plain mean of them all, or a long memory,
            # would hold weights from before the student had seen the smaller structures.
            decay = min(config.ema, state.step / (state.step + 10))
            update_teacher(state.teacher, state.student, decay, buffers)
        elif stage == 2:
            update_teacher(state.teacher, state.student, config.ema, buffers)
        return value

    def _slope(self) -> Tensor:
        """Return the length of the gradient, a number on the device that is none where any part of it is none."""
        found = [p.grad for p in self.state.student.parameters() if p.grad is not None]
        return torch.nn.utils.get_total_norm(found).float()

    def _whole_loss(self) -> Tensor:
        """Labelled blocks as they are."""
        images, labels = self.sampler.draw_labelled(self.plan.batch)
        return self._loss(self._student(self.sampler.vary(images)), labels, None)

    def _labelled_mix_loss(self) -> Tensor:
        """Stage 1: one labelled block pasted into another."""
        count = self.plan.stage1_batch
        outer, outer_labels = self.sampler.draw_labelled(count)
        inner, inner_labels = self.sampler.draw_labelled(count)
        keep = self._draw_mask()
        mixed = paste(self.sampler.vary(outer), self.sampler.vary(inner), keep)
        logits = self._student(mixed)
        if self.config.stage1_regions:
            total = mixed_loss(self._loss, logits, outer_labels, inner_labels, keep, 1.0, 1.0)
            return total / 2 if self.config.mean_loss else total
        return self._loss(logits, paste(outer_labels, inner_labels, keep), None)

    def _bidirectional_loss(self) -> Tensor:
        """Stage 2: unlabelled into labelled (in) and labelled into unlabelled (out), judged by the teacher's labels."""
        config = self.config
        ways: tuple[str, ...] = ("in", "out") if config.direction == "both" else (config.direction,)
        if self.plan.batch < len(ways):  # one image: either way by chance
            ways = (ways[int(self.state.rng.integers(len(ways)))],)
        half = self.plan.batch // len(ways)
        pairs, pseudo = [], []
        for _ in ways:
            labelled, labels = self.sampler.draw_labelled(half)
            if config.pseudo == "case":
                unlabelled, guess = self.sampler.draw_pseudo_labelled(half, self.bank.labels)
                pseudo.append(guess)
            else:
                unlabelled = self.sampler.draw_unlabelled(half)
            pairs.append((labelled, labels, unlabelled))
        if config.pseudo == "crop":
            pseudo = self._pseudo_labels([unlabelled for _, _, unlabelled in pairs])
        keep = self._draw_mask()
        mixed, targets = [], []
        valid: list[tuple[Tensor | None, Tensor | None]] = []
        for way, (labelled, hand, unlabelled), guess in zip(ways, pairs, pseudo, strict=True):
            sure = guess != UNSURE
            teacher = guess * sure
            valid.append((None, sure) if way == "in" else (sure, None))
            a, b = self.sampler.vary(labelled), self.sampler.vary(unlabelled)
            mixed.append(paste(a, b, keep) if way == "in" else paste(b, a, keep))
            targets.append((hand, teacher, 1.0, config.alpha) if way == "in" else (teacher, hand, config.alpha, 1.0))
        if config.joint_passes:
            logits = list(self._student(torch.cat(mixed)).split(half))  # type: ignore[no-untyped-call]
        else:
            logits = [self._student(m) for m in mixed]
        total = sum(
            mixed_loss(self._loss, z, outer, inner, keep, outer_weight, inner_weight, *counts)
            for z, (outer, inner, outer_weight, inner_weight), counts in zip(logits, targets, valid, strict=True)
        )
        assert isinstance(total, Tensor)  # noqa: S101 - there is at least one way
        with torch.no_grad():
            self._measure_agreement(ways, logits, targets, keep)
        # The published loss is a sum of four terms, each about as large as one supervised loss. With whole blocks
        # in between, a step that weighs several times as much would change what the learning rate means.
        return total / (len(ways) * (1 + config.alpha)) if config.mean_loss else total

    @torch.no_grad()
    def _pseudo_labels(self, images: list[Tensor]) -> list[Tensor]:
        """Let the teacher label blocks, one pass each as published or all at once, and clean its labels."""
        teacher = self.state.teacher
        teacher.train(self.config.teacher_mode == "train")
        if self.config.joint_passes:
            logits = list(self._forward(teacher, torch.cat(images)).split(len(images[0])))  # type: ignore[no-untyped-call]
        else:
            logits = [self._forward(teacher, one) for one in images]
        labels = [decide(z) for z in logits]
        if self.config.components != "all":
            kept = self.plan.parts_kept(self.config.components, range(1, 1 + len(self.plan.classes)))
            labels = [clean_batch(one, self.config.connectivity, kept) for one in labels]
        return [one.long() for one in labels]

    def _measure_agreement(self, ways: Sequence[str], logits: list[Tensor], targets: list[Any], keep: Tensor) -> None:
        """Follow how far the student draws what the teacher drew, on unlabelled voxels; Dice over all classes."""
        found = []
        for way, z, (outer, inner, *_) in zip(ways, logits, targets, strict=True):
            teacher, region = (outer, keep) if way == "out" else (inner, ~keep)
            student = z.max(1).indices * region  # twenty times as fast as argmax
            teacher = teacher * region
            both, size = torch.stack(
                [((student == teacher) & (teacher > 0)).sum(), (student > 0).sum() + (teacher > 0).sum()]
            ).tolist()
            if size:
                found.append(2 * both / size)
        if found:
            value = float(np.mean(found))
            self.agreement = value if self.agreement is None else 0.9 * self.agreement + 0.1 * value

    def _draw_mask(self) -> Tensor:
        boxes = draw_boxes(self.plan.block, self.state.rng, strategy=self.config.mask, beta=self.config.beta)
        return keep_mask(self.plan.block, boxes, self._device)

    def _student(self, images: Tensor) -> Tensor:
        return self._forward(self.state.student, images)

    def _forward(self, network: nn.Module, images: Tensor) -> Tensor:
        with arithmetic(self._device, self._bfloat16):
            logits: Tensor = network(images.contiguous(memory_format=self._form))
        return logits
