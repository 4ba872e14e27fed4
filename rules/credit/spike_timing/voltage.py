"""Plasticity by the membrane: spikes of an input meet the voltage of a cell, not its spikes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rules.credit.spike_timing.window import Term, filtered, require_traces
from rules.fields import at_least, check_fields

LEAST = -1e6  # [mV], for steps that do not count, whose membrane is given as minus infinity


@dataclass(frozen=True)
class Voltage:
    """Voltage-based plasticity, in the place of a `Window`.

        x <- exp(-dt / tau_x) x + pre
        low <- low + (1 - exp(-dt / tau_minus)) (u - low),    high likewise with tau_plus
        dw = a_plus dt x [u - theta_plus]+ [high - theta_minus]+  -  a_minus pre [low - theta_minus]+

    u is the membrane less the threshold, before the reset, [mV]; [.]+ is the positive part. x counts the input of the
    step; low and high are those of the step before, and begin at the first u. The two thresholds of plasticity are
    distances to that of spikes, so that -1 is the rest of a cell that fires 1 mV above it.

    Args:
        a_plus: amplitude of strengthening [1 / (mV^2 ms)], 1 by default.
        a_minus: amplitude of weakening [1 / mV], 1 by default.
        theta_minus: low threshold, above which inputs weaken [mV], -1 by default.
        theta_plus: high threshold, above which they strengthen [mV], -0.25 by default.
        tau_x: time constant of x [ms], 15 by default.
        tau_minus: time constant of low [ms], 10 by default.
        tau_plus: time constant of high [ms], 7 by default.

    Raises:
        ValueError: for a time constant that is not positive, a negative amplitude, or a high threshold that is not
            above the low one.

    >>> pre, u = torch.zeros(2, 1, 1, 1), torch.tensor([-1.0, -0.5])[:, None, None, None]
    >>> pre[1] = 1
    >>> terms, _ = Voltage(theta_minus=-2.0).terms(pre, u, 1.0, (), u)
    >>> [round(float((cell * entry).sum()), 4) for cell, entry in terms]  # low is still -1, 1 above theta_minus
    [0.0, -1.0]

    Reference: Clopath, Buesing, Vasilaki & Gerstner 2010 (doi 10.1038/nn.2479), without the homeostasis of a_minus;
    reconstructed, the time constants recalled.
    """

    a_plus: float = 1.0
    a_minus: float = 1.0
    theta_minus: float = -1.0
    theta_plus: float = -0.25
    tau_x: float = 15.0
    tau_minus: float = 10.0
    tau_plus: float = 7.0

    membranes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_fields(self)
        at_least(0, self, "a_plus", "a_minus")
        for name in ("tau_x", "tau_minus", "tau_plus"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)}: give a time constant above 0, in ms")
        if not self.theta_plus > self.theta_minus:
            raise ValueError(
                f"theta_plus={self.theta_plus}, theta_minus={self.theta_minus}: give a high threshold above the low one"
            )

    @property
    def longest(self) -> float:
        """The time in which an input can meet a voltage [ms]."""
        return self.tau_x

    def terms(
        self, pre: Tensor, post: Tensor, dt: float, traces: Sequence[Tensor], u: Tensor
    ) -> tuple[tuple[Term, Term], tuple[Tensor, ...]]:
        """Return the two terms of the change in each step, and the traces after the last one.

        Args:
            pre: what entered each weight, `[T, B, L, K]`.
            post: spikes of the cells, which do not matter.
            dt: time step [ms].
            traces: those after the step before; empty for none.
            u: membranes less thresholds, `[T, B, C, L]` [mV].

        Raises:
            ValueError: for traces that are not of these cells and samples.
        """
        starts = tuple(traces) or (torch.zeros_like(pre[0]), u[0], u[0])
        require_traces(starts, (pre, u, u))
        x, x_end = filtered(pre, math.exp(-dt / self.tau_x), starts[0], nearest=False, after=True)
        rows, ends = [], []
        for tau, start in zip((self.tau_minus, self.tau_plus), starts[1:], strict=True):
            keep = math.exp(-dt / tau)
            after, end = filtered((1 - keep) * u.clamp(min=LEAST), keep, start, nearest=False, after=True)
            rows.append(torch.cat([start[None], after[:-1]]))  # of the step before
            ends.append(end)
        low, high = ((row - self.theta_minus).clamp(min=0) for row in rows)
        up = self.a_plus * dt * (u - self.theta_plus).clamp(min=0) * high
        return (Term(up, x), Term(-self.a_minus * low, pre)), (x_end, *ends)

    def operations(self, pre: Tensor, post: Tensor) -> int:
        """Return the multiply-accumulates of traces and products, zeros included, for as many steps as are given."""
        return pre.numel() + 4 * post.numel() + 2 * pre.numel() * post.shape[2]
