"""From the credit of a step to an update of the weights: accumulated, clipped, at the scheduled learning rate."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from rules.schedules import Schedule
from rules.steps import power_of_two, wide


class Updates:
    """Applies gradients to parameters; holds what has been accumulated since the last update.

    Args:
        schedule: of the learning rate of every group; None keeps it.
        clip: largest norm of all gradients together; None for no bound.
        accumulate: steps whose mean gradient makes one update.

    Raises:
        ValueError: for a number out of range.
    """

    def __init__(self, schedule: Schedule | None, clip: float | None, accumulate: int) -> None:
        if clip is not None and not clip > 0:
            raise ValueError(f"clip={clip}: give the largest norm of the gradients, above 0, or None for no bound")
        if accumulate < 1:
            raise ValueError(f"accumulate={accumulate}: give the number of steps that make an update, at least 1")
        if schedule is not None:
            schedule.factor(0)  # raises for one whose length was left open
        self.schedule, self.clip, self.accumulate = schedule, clip, accumulate
        self.pending: dict[str, Tensor] = {}

    def apply(
        self, optimizer: torch.optim.Optimizer, parameters: dict[str, nn.Parameter], grads: dict[str, Tensor], step: int
    ) -> None:
        """Take the gradients of step number `step`, counted from 0, and update the weights if it is time to.

        An exception changes nothing.
        """
        total = grads
        if self.accumulate > 1:
            total = {name: self._sum(name, g) for name, g in grads.items()}
            total = {**{name: g for name, g in self.pending.items() if name not in grads}, **total}
            if (step + 1) % self.accumulate:
                self.pending = total
                return
        for name, parameter in parameters.items():
            parameter.grad = total.get(name)
        try:
            if self.clip is not None:
                clipped(parameters.values(), self.clip)
            if self.schedule is not None:
                set_rate(optimizer, self.schedule.factor(step // self.accumulate))
            optimizer.step()
        finally:
            optimizer.zero_grad(set_to_none=True)
        self.pending = {}

    def _sum(self, name: str, g: Tensor) -> Tensor:
        """Return what has been accumulated of a gradient, this one included."""
        share = g / self.accumulate
        return self.pending[name] + share if name in self.pending else share

    def state_dict(self) -> dict[str, Any]:
        """Return what has been accumulated."""
        return dict(self.pending)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what had been accumulated."""
        self.pending = dict(state)


def clipped(parameters: Iterable[nn.Parameter], most: float) -> None:
    """Scale the gradients, in place, so that their norm together is at most `most`.

    As `torch.nn.utils.clip_grad_norm_`, except where the squares of finite gradients overflow their dtype: there it
    would take the norm for infinite and the gradients for zero.

    >>> weight = nn.Parameter(torch.zeros(2))
    >>> weight.grad = torch.tensor([3e30, 4e30])
    >>> clipped([weight], 1.0)
    >>> weight.grad
    tensor([0.6000, 0.8000])
    """
    known = [p for p in parameters if p.grad is not None]
    gradients = [p.grad for p in known if p.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    if gradients and not norm.isfinite():
        scale = power_of_two(torch.stack([wide(g.abs().max()).to(norm.device) for g in gradients if g.numel()]).max())
        if scale.isfinite():  # and so are the gradients
            norm = nn.utils.get_total_norm([wide(g) / scale.to(g.device) for g in gradients])
            if float(norm) * float(scale) > most:
                for g in gradients:
                    g.div_(scale.to(g.device)).mul_(most / float(norm))
            return
    nn.utils.clip_grads_with_norm_(known, most, norm)


def set_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set the learning rate of every group to its initial one times a factor."""
    for group in optimizer.param_groups:
        group["lr"] = factor * group.setdefault("initial_lr", group["lr"])
