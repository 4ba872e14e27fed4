"""Numerical schemes as in Brian2, for neurons whose equations have no exact step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Variables = tuple[Tensor, ...]
Derivatives = Callable[..., Variables]  # takes the variables one by one, returns their derivatives per ms


def euler(f: Derivatives, x: Variables, dt: float) -> Variables:
    """Take a step of order 1: x + dt f(x).

    >>> euler(lambda v: (-v,), (torch.ones(1),), 0.5)
    (tensor([0.5000]),)
    """
    return _moved(x, f(*x), dt)


def rk2(f: Derivatives, x: Variables, dt: float) -> Variables:
    """Take a step of order 2, the midpoint rule: x + dt f(x + dt f(x) / 2)."""
    return _moved(x, f(*_moved(x, f(*x), dt / 2)), dt)


def rk4(f: Derivatives, x: Variables, dt: float) -> Variables:
    """Take a step of order 4, the classical Runge-Kutta scheme (Kutta 1901)."""
    k1 = f(*x)
    k2 = f(*_moved(x, k1, dt / 2))
    k3 = f(*_moved(x, k2, dt / 2))
    k4 = f(*_moved(x, k3, dt))
    return tuple(a + dt / 6 * (p + 2 * (q + r) + s) for a, p, q, r, s in zip(x, k1, k2, k3, k4, strict=True))


def relax(x: Tensor, target: Tensor, rate: Tensor, dt: float) -> Tensor:
    """Take an exponential Euler step, of order 1, for dx/dt = rate (target - x), with both constant in the step.

    Reference: Rush & Larsen 1978 (doi 10.1109/TBME.1978.326270).
    """
    return torch.lerp(target, x, torch.exp(-rate * dt))


def _moved(x: Variables, slope: Variables, by: float) -> Variables:
    return tuple(torch.add(a, k, alpha=by) for a, k in zip(x, slope, strict=True))
