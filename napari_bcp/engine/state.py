"""What changes while a run trains, all of it in one object that can be saved between any two steps."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from napari_bcp.engine.predict import memory_format, network_of
from napari_bcp.errors import CheckpointError

if TYPE_CHECKING:
    from napari_bcp.config import TrainConfig
    from napari_bcp.engine.plan import Plan


ORDER: Final = frozenset({"labelled", "labelled_left", "unlabelled", "unlabelled_left", "waiting"})
"""What is told of the order of cases."""


@dataclass
class State:
    """Everything that changes while a run trains.

    step, elapsed : how many steps, and seconds, it has trained;  stage2_from : step at which stage 2 began, or None
    best : Dice on the held-out cases of the best network so far;  validated : share of the run's time at which they
        were judged last
    rate_scale : the learning rate is multiplied by it; less than 1 after losses that were no numbers
    bank : pseudo-labels of whole scans
    order : where the sampler is, and which unlabelled cases wait to be prepared, in their order
    """

    student: nn.Module
    teacher: nn.Module
    optimiser: torch.optim.Optimizer
    rng: np.random.Generator
    torch_rng: Tensor
    step: int = 0
    stage2_from: int | None = None
    elapsed: float = 0.0
    best: float = -1.0
    validated: float = 0.0
    held_out: list[str] = field(default_factory=list)
    held_masks: list[str] = field(default_factory=list)
    trained_on: list[str] = field(default_factory=list)
    rate_scale: float = 1.0
    order: dict[str, list[str]] = field(default_factory=dict)
    bank: dict[str, Any] = field(default_factory=dict)

    def content(self) -> dict[str, Any]:
        """Return what a checkpoint holds of it: tensors, numbers and strings."""
        return {
            "student": self.student.state_dict(),
            "teacher": self.teacher.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "optimiser_name": type(self.optimiser).__name__,
            "rng": json.dumps(self.rng.bit_generator.state),
            "torch_rng": self.torch_rng,
            "step": self.step,
            "stage2_from": self.stage2_from,
            "elapsed": self.elapsed,
            "best": self.best,
            "validated": self.validated,
            "held_out": self.held_out,
            "held_masks": self.held_masks,
            "trained_on": self.trained_on,
            "rate_scale": self.rate_scale,
            "order": self.order,
            "bank": self.bank,
        }

    def restore(self, content: dict[str, Any], device: torch.device) -> None:
        """Take over what a checkpoint holds. Raises CheckpointError when it does not fit the plan."""
        try:
            self.student.load_state_dict(content["student"])
            self.teacher.load_state_dict(content["teacher"])
            wanted = [dict(group) for group in self.optimiser.param_groups]
            if content["optimiser_name"] == type(self.optimiser).__name__:  # else the new one starts afresh
                self.optimiser.load_state_dict(content["optimiser"])
                _lay_as_parameters(self.optimiser)
            for group, now in zip(self.optimiser.param_groups, wanted, strict=True):
                group.update({k: now[k] for k in ("weight_decay", "momentum") if k in now})
            self.rng.bit_generator.state = json.loads(content["rng"])
            self.torch_rng = content["torch_rng"]
            self.step, self.stage2_from = content["step"], content["stage2_from"]
            self.elapsed, self.best = content["elapsed"], content["best"]
            self.held_out, self.trained_on = list(content["held_out"]), list(content["trained_on"])
            self.validated = float(content.get("validated", 0.0))
            self.held_masks = [str(name) for name in content.get("held_masks", ())]
            self.rate_scale = float(content.get("rate_scale", 1.0))
            self.order = {key: [str(name) for name in names] for key, names in content.get("order", {}).items()}
            if self.order and not self.order.keys() >= ORDER:
                raise KeyError("order")
            self.bank = dict(content.get("bank", {}))
        except (KeyError, AttributeError, RuntimeError, ValueError, TypeError) as error:
            raise CheckpointError(
                f"The run's checkpoint does not fit its plan ({type(error).__name__}); start over with --fresh."
            ) from None


def new_state(plan: Plan, config: TrainConfig, device: torch.device) -> State:
    """Return an untrained state; the same seed gives the same one. The global generator is left as it was."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(config.seed)
        form = memory_format(plan, config.channels_last)
        student = network_of(plan).to(device=device, memory_format=form)  # type: ignore[call-overload]
        torch_rng = torch.get_rng_state()
    teacher = copy.deepcopy(student)
    for parameter in teacher.parameters():
        parameter.requires_grad_(False)
    return State(student, teacher, new_optimiser(config, student), np.random.default_rng(config.seed), torch_rng)


def _lay_as_parameters(optimiser: torch.optim.Optimizer) -> None:
    """Bring moments into the memory format of their parameters: kernels for all at once take it for granted."""
    for parameter, moments in optimiser.state.items():
        for key, moment in moments.items():
            if isinstance(moment, torch.Tensor) and moment.shape == parameter.shape:
                moments[key] = torch.empty_like(parameter).copy_(moment)


def new_optimiser(config: TrainConfig, network: nn.Module) -> torch.optim.Optimizer:
    """Return the optimiser that the settings ask for, with nothing learnt yet."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    if config.optimiser == "sgd":
        return torch.optim.SGD(parameters, config.lr, momentum=config.momentum, weight_decay=config.weight_decay)
    if config.optimiser == "adam":
        return torch.optim.Adam(parameters, config.lr, weight_decay=config.weight_decay)
    return torch.optim.AdamW(parameters, config.lr, weight_decay=config.weight_decay, fused=True)
