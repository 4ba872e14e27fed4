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

    The gradients of k steps are averaged as those of one batch of all their samples are:

        g = sum_i n_i g_i / sum_i n_i

    with n_i the answers that step i is a mean over (`Objective.amount`), so that samples or steps that are left out of
    a loss do not make the others of their batch count more.

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
        self.pending: dict[str, Tensor] = {}  # sum of n_i g_i / (n_1 accumulate)
        self.first = 0.0  # n_1, 0 where nothing is pending
        self.shares = 0.0  # sum of n_i / n_1

    def apply(
        self,
        optimizer: torch.optim.Optimizer,
        parameters: dict[str, nn.Parameter],
        grads: dict[str, Tensor],
        step: int,
        amount: float = 1.0,
    ) -> None:
        """Take the gradients of step number `step`, counted from 0, and update the weights if it is time to.

        `amount` is the number of answers that they are a mean over. An exception changes nothing.
        """
        total = grads
        if self.accumulate > 1:
            first = self.first or amount
            total, shares = self._sum(grads, amount / first), self.shares + amount / first
            if (step + 1) % self.accumulate:
                self.pending, self.first, self.shares = total, first, shares
                return
            if shares != self.accumulate:
                total = {name: g * (self.accumulate / shares) for name, g in total.items()}
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
        self.pending, self.first, self.shares = {}, 0.0, 0.0

    def _sum(self, grads: dict[str, Tensor], weight: float) -> dict[str, Tensor]:
        """Return what has been accumulated, these gradients included; where all count alike, they keep their bits."""
        found = dict(self.pending)
        for name, g in grads.items():
            share = g / self.accumulate * weight
            found[name] = found[name] + share if name in found else share
        return found

    def state_dict(self) -> dict[str, Any]:
        """Return what has been accumulated; empty where there is nothing."""
        if not self.first:
            return {}
        return {"gradients": dict(self.pending), "first": self.first, "shares": self.shares}

    def load_state_dict(self, state: dict[str, Any], done: int) -> None:
        """Restore what had been accumulated.

        Args:
            state: of `state_dict`. Those of earlier versions are the gradients alone, of steps that count alike.
            done: steps since the last update.
        """
        if isinstance(state.get("gradients"), dict):
            self.pending, self.first, self.shares = dict(state["gradients"]), state["first"], state["shares"]
        else:
            self.pending, self.first, self.shares = dict(state), 0.0, float(done)


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
