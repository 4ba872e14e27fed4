"""Soft thresholds that rise with the learning rate: weights are pruned while they learn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from rules.fields import at_least
from rules.plasticity.projected.inner import Inner
from rules.plasticity.projected.projection import Factor, Memory
from rules.plasticity.projected.recipe import Projected
from rules.plasticity.projected.straight import away_from_zero
from rules.plasticity.projected.thresholds import lats, pgh, s_lats


@dataclass(frozen=True)
class SoftThreshold(Projected):
    """Soft-thresholded weights, `w = sign(theta) max(|theta| - d, 0)`, whose threshold d rises with the learning rate.

    The gradient passes straight to theta, also where w is 0, except where theta is exactly 0. After each update at the
    learning rate eta the threshold rises by `mu eta`, also in steps without a gradient. With SGD and active weights one
    update is then one of ISTA on the loss plus `mu |w|`. With momentum m weights move by eta / (1 - m) on average, so
    that the penalty is that of `mu (1 - m)`; with Adam the reading is a heuristic. All matrices are pruned by default,
    the first and the last too.

    One of two is given: `mu`, or the threshold at the end, `final`, with the number of updates, `steps`. Then
    `d = final * (sum of eta so far) / (sum of eta planned)`, where the Trainer hands over the schedule that is planned.
    Elsewhere the plan is a constant rate. If the rates differ from the plan, d is at most `final`, and the last update
    sets it to `final`.

    Args:
        mu: coefficient of the penalty; None for what `final` gives.
        final: threshold at the end.
        steps: number of updates in all; None for those of the whole training, in an experiment.
        schedule: of the threshold; "rate" follows the learning rate; "s_lats", "lats" and "pgh" are the authors' closed
            forms for a cosine, of the share of updates so far; "fixed" is `final` from the first update on, with
            initial theta so much larger that w is as it was initialised.
        start: share of the updates before which the threshold is 0, 0 by default.
        stop: share of the updates after which it stays, 1 by default; what lies between runs through the schedule.
        epochs: number of epochs, for "lats".
        beta: scale of the penalty at the end, above 0, for "pgh".

    Raises:
        ValueError: for a negative number, and for settings that do not fit together. When used, without `mu` and
            `final`, and for `steps` left open where they are needed.

    >>> p = torch.nn.Parameter(torch.tensor([[0.5, -0.05]]))
    >>> optimizer = SoftThreshold(mu=1.0, lr=0.1)([p])
    >>> optimizer.step()
    >>> p.data
    tensor([[0.4000, -0.0000]])

    Reference: Chen et al. 2023 (arXiv 2302.13019): rule and closed forms from the authors' code; the rule for any
    schedule is our reconstruction from their theory. In their code a late start compresses the schedule, as here; an
    early stop is ours.
    """

    usual: ClassVar[Inner] = "sgd"  # the theory is of SGD
    prunes: ClassVar[bool] = True

    mu: float | None = None
    final: float | None = None
    steps: int | None = None
    schedule: Literal["rate", "s_lats", "lats", "pgh", "fixed"] = "rate"
    start: float = 0.0
    stop: float = 1.0
    epochs: int | None = None
    beta: float | None = None

    def check(self) -> None:
        at_least(0, self, "mu", "final")
        at_least(1, self, "steps", "epochs")
        if self.mu is not None and self.final is not None:
            raise ValueError(f"mu={self.mu} and final={self.final}: each gives the other, leave one out")
        if self.schedule != "rate" and self.final is None:
            raise ValueError(f"schedule={self.schedule!r} needs the threshold at the end: give final")
        if not 0 <= self.start < self.stop <= 1:
            raise ValueError(f"start={self.start}, stop={self.stop}: give two shares from 0 to 1, the smaller first")
        if self.schedule == "lats" and self.epochs is None:
            raise ValueError("schedule='lats' changes at every epoch: give epochs")
        if self.schedule == "pgh":
            pgh(0.0, 0.0 if self.beta is None else self.beta)

    def over(self, updates: int) -> SoftThreshold:
        """Return the same for a training of so many updates, if it was left open how many there will be."""
        return replace(self, steps=updates) if self.steps is None else self

    def latent(self, weight: Tensor) -> Tensor:
        if self.schedule != "fixed" or self.final is None:
            return weight
        return torch.sign(weight) * (weight.abs() + self.final)

    def init(self, latents: Sequence[Tensor], rates: Sequence[float], factor: Factor | None) -> list[Memory]:
        if self.mu is None and self.final is None and latents:
            size = float(torch.cat([latent.flatten() for latent in latents]).float().square().mean().sqrt())
            raise ValueError(
                "soft_threshold without mu and final: give final, the threshold at the end, beside weights with an "
                f"rms of {size:.2g} here, or mu, the penalty on their magnitude"
            )
        if self.schedule == "fixed":
            return [{"threshold": self.final} for _ in latents]
        first, last = self._window()
        total = dict.fromkeys(rates, 0.0)
        if self.schedule == "rate" and self.final is not None and last is not None:
            for rate in total:
                for n in range(first, last):  # in the order of the updates, for the same rounding
                    total[rate] += (1.0 if factor is None else factor(n)) * rate
        return [{"threshold": 0.0, "updates": 0, "sum": 0.0, "total": total[rate]} for rate in rates]

    def advance(self, memories: Sequence[Memory], latents: Sequence[Tensor], rates: Sequence[float]) -> list[Memory]:
        return [self._risen(memory, rate) for memory, rate in zip(memories, rates, strict=True)]

    def show(self, latent: Tensor, memory: Memory, out: Tensor | None = None) -> Tensor:
        return soft(latent, memory["threshold"], out)

    def pull(self, gradient: Tensor, latent: Tensor, memory: Memory, out: Tensor | None = None) -> Tensor:
        return away_from_zero(gradient, latent, out)

    def _window(self) -> tuple[int, int | None]:
        """Return the first update at which the threshold rises, and the first at which it no longer does."""
        if self.steps is None:
            if self.final is not None or (self.start, self.stop) != (0.0, 1.0):
                raise ValueError("the threshold depends on the number of updates: give steps, such as steps=1000")
            return 0, None
        first, last = round(self.start * self.steps), round(self.stop * self.steps)
        return first, max(last, first + 1)

    def _risen(self, memory: Memory, rate: float) -> Memory:
        """Return the memory after an update at a learning rate."""
        if self.schedule == "fixed":
            return memory
        first, last = self._window()
        n, gone = memory["updates"], memory["sum"]
        if n >= first and (last is None or n < last):
            gone += rate
        known = {**memory, "updates": n + 1, "sum": gone}
        return {**known, "threshold": self._threshold(known, first, last)}

    def _threshold(self, memory: Memory, first: int, last: int | None) -> float:
        """Return the threshold after so many updates, at rates of so large a sum."""
        n: int = memory["updates"]
        gone: float = memory["sum"]
        total: float = memory["total"]
        if self.final is None or last is None:
            return gone * (self.mu or 0.0)
        if self.schedule == "rate" and not total:  # a group that does not learn is not pruned either
            return 0.0
        if n >= last:
            return self.final
        if self.schedule == "rate":
            return self.final * min(1.0, gone / total)
        progress = max(0.0, (n - first) / (last - first))
        if self.schedule == "lats":
            return self.final * lats(progress, self.epochs or 1)
        return self.final * (s_lats(progress) if self.schedule == "s_lats" else pgh(progress, self.beta or 0.0))


def soft(theta: Tensor, threshold: float, out: Tensor | None = None) -> Tensor:
    """Return soft-thresholded values, `sign(theta) max(|theta| - d, 0)`.

    >>> soft(torch.tensor([-1.0, 0.2, 2.0]), 0.5)
    tensor([-0.5000,  0.0000,  1.5000])
    """
    if out is None:
        return torch.nn.functional.softshrink(theta, threshold)
    found: Tensor = torch.ops.aten.softshrink.out(theta, threshold, out=out)
    return found
