"""What gates eligibility: a reward for each step and sample, or how far it lies from what was usual."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from rules.contract import Batch
from rules.processes import divided, summed
from rules.sites.reward import rewards, told

BASELINES = ("none", "mean")


class Modulation(NamedTuple):
    """The third factor of some consecutive steps."""

    gate: Tensor  # [T, B]
    loss: float  # minus the sum of rewards, a mean over samples
    state: Any


def fresh(baseline: str) -> dict[str, Tensor]:
    """Return the first state of a running mean: the sum of weighted rewards, and of their weights."""
    zero = torch.zeros((), dtype=torch.float64)
    return {} if baseline == "none" else {"sum": zero, "weight": zero.clone()}


def modulated(batch: Batch, output: Tensor, baseline: str, memory: float, state: dict[str, Tensor]) -> Modulation:
    """Return the reward, less the mean of earlier batches if that is the baseline, and 0 where none is told.

    The mean is of batches before this one, so it does not depend on what the cells do now: it changes how much the
    updates vary, and not their mean.

    Args:
        batch: with rewards in `targets`, or classes.
        output: of the model, `[T, B, classes]`.
        baseline: a member of `BASELINES`.
        memory: share of the running mean that is kept in a step.
        state: of the running mean.

    >>> batch = Batch(torch.zeros(1, 2, 1), targets=torch.tensor([[1.0, 3.0]]))
    >>> first = modulated(batch, torch.zeros(1, 2, 1), "mean", 0.9, fresh("mean"))
    >>> first.gate.tolist(), modulated(batch, torch.zeros(1, 2, 1), "mean", 0.9, first.state).gate.tolist()
    ([[1.0, 3.0]], [[-1.0, 1.0]])
    """
    reward = rewards(batch, output)
    loss = -float(reward.sum()) / reward.shape[1]
    if baseline == "none":
        return Modulation(reward, loss, state)
    counts = told(batch, output)
    usual = state["sum"] / state["weight"] if state["weight"] else state["sum"]
    seen = torch.stack([reward.double().sum(), counts.double().sum()])
    if divided() is not None:  # the mean of the whole batch, in every process
        seen = summed(seen)
    mean = (seen[0] / seen[1].clamp(min=1)).cpu()
    after = {"sum": memory * state["sum"] + (1 - memory) * mean, "weight": memory * state["weight"] + 1 - memory}
    return Modulation(torch.where(counts, reward - float(usual), 0.0), loss, after)


def ahead(gate: Tensor, leak: float) -> Tensor:
    """Return what eligibility of each step is worth: `g[s] = m[s] + leak g[s + 1]`.

    >>> ahead(torch.tensor([0.0, 0.0, 1.0]), 0.5)
    tensor([0.2500, 0.5000, 1.0000])
    """
    rows, worth = [], torch.zeros_like(gate[0])
    for entry in gate.flip(0).unbind(0):
        worth = leak * worth + entry
        rows.append(worth)
    return torch.stack(rows[::-1])
