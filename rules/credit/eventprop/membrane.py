"""A current-based membrane between two events, in closed form, and the time at which it reaches its threshold.

    tau_mem dV/dt = -V + I,   tau_syn dI/dt = -I

    V(s) = V e^{-s/tau_mem} + I K(s),   I(s) = I e^{-s/tau_syn}
    K(s) = tau_syn / (tau_mem - tau_syn) (e^{-s/tau_mem} - e^{-s/tau_syn}),   s/tau e^{-s/tau} where both are tau

Where V rises, it is concave up to its only maximum, so it reaches the threshold once before that, or not at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from rules.fields import check_fields

NEAR = 1e-6  # relative difference of time constants below which K loses ten of sixteen digits
ITERATIONS = 100  # of a bracketed root: bisection alone needs 60 in float64


@dataclass(frozen=True)
class Membrane:
    """The constants of a current-based leaky integrate-and-fire cell; V starts again at 0 after a spike.

    Args:
        tau_mem: time constant of the membrane [ms].
        tau_syn: time constant of the synaptic current [ms].
        v_threshold: threshold [mV]; an input spike of weight w adds w [mV] to the current, in units of the membrane.

    Raises:
        ValueError: for a constant that is not positive, or time constants that differ by less than a millionth.

    >>> cell = Membrane(tau_mem=20.0, tau_syn=10.0)
    >>> round(float(cell.crossing(torch.zeros(1), torch.full((1,), 5.0), torch.full((1,), 50.0))), 4)
    6.4701

    Reference: equations of Wunderlich & Pehle 2021 (doi 10.1038/s41598-021-91786-z, arXiv 2009.08378).
    """

    tau_mem: float = 20.0
    tau_syn: float = 5.0
    v_threshold: float = 1.0

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("tau_mem", "tau_syn", "v_threshold"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)}: give a positive number")
        if self.tau_mem != self.tau_syn and abs(self.gap) < NEAR / self.tau_mem:
            raise ValueError(
                f"tau_mem={self.tau_mem} and tau_syn={self.tau_syn} differ by less than a millionth, where their "
                "closed form loses its digits: make them equal"
            )

    @property
    def gap(self) -> float:
        """1/tau_syn - 1/tau_mem [1/ms]."""
        return 1 / self.tau_syn - 1 / self.tau_mem

    @property
    def gain(self) -> float:
        """tau_syn / (tau_mem - tau_syn); not for equal time constants."""
        return self.tau_syn / (self.tau_mem - self.tau_syn)

    def kept(self, span: Tensor) -> Tensor:
        """Return what is left of V after `span` [ms]."""
        return torch.exp(span * (-1 / self.tau_mem))

    def faded(self, span: Tensor) -> Tensor:
        """Return what is left of I after `span` [ms]."""
        return torch.exp(span * (-1 / self.tau_syn))

    def response(self, span: Tensor) -> Tensor:
        """Return `K`, the V that a current of 1 has caused after `span` [ms]."""
        if self.tau_mem == self.tau_syn:
            return span / self.tau_mem * self.kept(span)
        return -self.gain * self.kept(span) * torch.expm1(-self.gap * span)

    def after(self, v: Tensor, i: Tensor, span: Tensor) -> tuple[Tensor, Tensor]:
        """Return V and I after `span` [ms] without events."""
        return v * self.kept(span) + i * self.response(span), i * self.faded(span)

    def slope(self, v: Tensor, i: Tensor) -> Tensor:
        """Return dV/dt [mV/ms]."""
        return (i - v) / self.tau_mem

    def summit(self, v: Tensor, i: Tensor) -> Tensor:
        """Return after how long V is greatest [ms]: 0 where it falls, or where it rises towards 0 only."""
        rises = i > v.clamp(min=0)
        safe = torch.where(rises, i, 1.0)
        v = torch.where(rises, v, 0.0)
        if self.tau_mem == self.tau_syn:
            at = self.tau_mem * (1 - v / safe)
        else:
            share = (v / safe + self.gain) * (self.tau_syn / (self.gain * self.tau_mem))
            up = rises & (share > 0)  # V stays below 0 elsewhere
            at = torch.where(up, -torch.log(torch.where(up, share, 1.0)) / self.gap, 0.0)
        return torch.where(rises, at, 0.0)

    def reaches(self, v: Tensor, i: Tensor, span: Tensor) -> Tensor:
        """Return where V, below the threshold now, gets there within `span` [ms]."""
        top, _ = self.after(v, i, torch.minimum(self.summit(v, i), span))
        return (top >= self.v_threshold) & (i > v)

    def crossing(self, v: Tensor, i: Tensor, span: Tensor) -> Tensor:
        """Return after how long V reaches the threshold [ms], where `reaches` says that it does within `span`.

        By the W function of Lambert for equal time constants, by a quadratic equation for tau_mem = 2 tau_syn, and
        by Newton's method within a bracket for all others.
        """
        end = torch.minimum(self.summit(v, i), span)
        return self._cross(v, i, end).clamp(min=0).minimum(end)

    @cached_property
    def _cross(self) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        if self.tau_mem == self.tau_syn:
            return self.by_lambert
        return self.by_quadratic if self.tau_mem == 2 * self.tau_syn else self.by_bracket

    def by_quadratic(self, v: Tensor, i: Tensor, end: Tensor) -> Tensor:
        """Solve `i x^2 - (v + i) x + theta = 0` for `x = e^{-s/tau_mem}`; the larger root is the earlier time."""
        both = v + i
        root = torch.sqrt((both * both - 4 * self.v_threshold * i).clamp(min=0))
        return -self.tau_mem * torch.log((both + root) / (2 * i))

    def by_lambert(self, v: Tensor, i: Tensor, end: Tensor) -> Tensor:
        """Solve `(v + i s/tau) e^{-s/tau} = theta`: `s/tau = -v/i - W(-theta/i e^{-v/i})`."""
        ratio = v / i
        return self.tau_mem * (-ratio - lambert(-self.v_threshold / i * torch.exp(-ratio)))

    def by_bracket(self, v: Tensor, i: Tensor, end: Tensor) -> Tensor:
        """Solve by Newton's method from below, and by halves where that leaves the bracket from 0 to `end`."""
        low, high, at = torch.zeros_like(end), end.clone(), torch.zeros_like(end)
        rounding = 4 * torch.finfo(end.dtype).eps * (self.v_threshold + v.abs() + i.abs())  # of V, a sum of two terms
        for _ in range(ITERATIONS):
            here, current = self.after(v, i, at)
            off, slope = here - self.v_threshold, self.slope(here, current)
            low, high = torch.where(off < 0, at, low), torch.where(off < 0, high, at)
            newton = at - off / torch.where(slope > 0, slope, 1.0)
            inside = (slope > 0) & (newton >= low) & (newton <= high)
            moved = torch.where(inside, newton, (low + high) / 2)
            if bool((off.abs() <= rounding).all()):
                break
            at = moved
        return at


class Step(NamedTuple):
    """How V and I pass over to a later time: V' = kept V + driven I, I' = faded I."""

    kept: Tensor
    driven: Tensor
    faded: Tensor


def step(cell: Membrane, span: Tensor) -> Step:
    """Return the step of `span` [ms]."""
    return Step(cell.kept(span), cell.response(span), cell.faded(span))


def lambert(y: Tensor) -> Tensor:
    """Return the principal branch of `w e^w = y` for y from -1/e to 0, by Halley's method.

    >>> w = lambert(torch.tensor([-0.3], dtype=torch.float64))
    >>> round(float(w * torch.exp(w)), 15)
    -0.3

    Reference: Corless et al. 1996 (doi 10.1007/BF02124750), equations 4.22 and 5.9; recalled.
    """
    p = torch.sqrt((2 * (math.e * y + 1)).clamp(min=0))
    w = -1 + p * (1 - p * (1 / 3 - p * 11 / 72))
    for _ in range(4):  # cubic convergence: three reach float64, from anywhere between the ends
        e = torch.exp(w)
        f, one = w * e - y, w + 1
        safe = torch.where(one > 1e-8, one, 1.0)  # at the branch point the start is exact
        w = w - torch.where(one > 1e-8, f / (e * safe - (w + 2) * f / (2 * safe)), 0.0)
    return w
