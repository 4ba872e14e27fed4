"""Stores: how many pulses reach a device, and when; a counter with carry, or digits of different weight."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from rules.fields import check_fields
from rules.plasticity.memristor.device import Device, State, uniform


class WeightStore(ABC):
    """Holds weights in devices: settings in a frozen dataclass, the state passed as an argument and changed in place.

    Pulses are requested in whole numbers, as tensors of the weights' dtype; each changes a weight by `step(device)` on
    average.
    """

    @abstractmethod
    def step(self, device: Device) -> float:
        """Return the mean weight change of one requested pulse, at weight 0."""

    @abstractmethod
    def range(self, device: Device) -> tuple[float, float]:
        """Return the nominal bounds of the weights."""

    @abstractmethod
    def init(self, device: Device, weights: Tensor, rng: torch.Generator) -> State:
        """Fabricate the devices and write `weights`; raise ValueError for a device that does not fit."""

    @abstractmethod
    def arrays(self, state: State) -> list[tuple[float, State]]:
        """Return every array of devices, with its factor in the sum."""

    @abstractmethod
    def pulse(self, device: Device, state: State, n: Tensor, rng: torch.Generator) -> int:
        """Request n pulses; return how many were written to devices."""

    @abstractmethod
    def tick(self, device: Device, state: State, rng: torch.Generator) -> int:
        """Let one step pass: carry if it is due, then drift; return how many pulses were written."""

    def read(self, device: Device, state: State) -> Tensor:
        """Return the visible weights of the devices, write noise included."""
        return self._sum(state, device.read)

    def held(self, device: Device, state: State) -> Tensor:
        """Return the weights that the devices hold, without write noise."""
        return self._sum(state, device.held)

    def drifted(self, device: Device, state: State, steps: int) -> Tensor:
        """Return what `read` will give after `steps` steps without a pulse."""
        return self._sum(state, lambda array: device.drifted(array, steps))

    def bounds(self, device: Device, state: State) -> tuple[Tensor, Tensor]:
        """Return the bounds of `held`, weight by weight."""
        return tuple(self._sum(state, lambda array, side=side: device.bounds(array)[side]) for side in (0, 1))  # type: ignore

    def _sum(self, state: State, look: Callable[[State], Tensor]) -> Tensor:
        parts = [look(array) if k == 1 else k * look(array) for k, array in self.arrays(state)]
        return parts[0] if len(parts) == 1 else torch.stack(parts).sum(0)


@dataclass(frozen=True)
class AccumulateAndCarry(WeightStore):
    r"""A digital counter before each device, which gets one pulse for every `threshold` requested ones.

    .. math::
        h \leftarrow h + n; \quad \text{every } period \text{ steps:} \quad
        c = \mathrm{trunc}(h / \theta), \quad h \leftarrow h - c\,\theta, \quad c \text{ pulses to the device}

    The remainder is kept, so no pulse is lost: `threshold * applied + h` is exactly the sum of all n, as long as the
    weights' dtype can represent it as a whole number (below 2^24 in float32). `Direct()`, which is `threshold=1,
    period=1`, passes every pulse on at once.

    Args:
        threshold: theta, requested pulses per pulse to the device, 8 by default.
        period: steps between carries, 10 by default.
        one_step: at most one pulse per carry, `c = sign(h) [|h| >= threshold]`.

    Source: reconstruction of the periodic carry of Li et al. (arXiv 2304.12866), whose equations were not accessible.

    >>> from rules.plasticity.memristor.laws import ConstantStep
    >>> device, store = ConstantStep(dw_min=0.25), AccumulateAndCarry(threshold=2, period=1)
    >>> rng = torch.Generator().manual_seed(0)
    >>> state = store.init(device, torch.zeros(1), rng)
    >>> for _ in range(3):
    ...     _ = store.pulse(device, state, torch.ones(1), rng), store.tick(device, state, rng)
    >>> store.read(device, state), state["counter"]
    (tensor([0.2500]), tensor([1.]))
    """

    threshold: int = 8
    period: int = 10
    one_step: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        _at_least_one(self, "threshold", "period")

    def step(self, device: Device) -> float:
        return device.step / self.threshold

    def range(self, device: Device) -> tuple[float, float]:
        return device.range

    def init(self, device: Device, weights: Tensor, rng: torch.Generator) -> State:
        return {"cells": device.init(weights, rng), "counter": torch.zeros_like(weights), "ticks": 0}

    def arrays(self, state: State) -> list[tuple[float, State]]:
        return [(1, state["cells"])]

    def pulse(self, device: Device, state: State, n: Tensor, rng: torch.Generator) -> int:
        state["counter"].add_(n)
        return 0

    def tick(self, device: Device, state: State, rng: torch.Generator) -> int:
        state["ticks"] += 1
        written = 0
        if state["ticks"] % self.period == 0:
            written = device.pulse(state["cells"], _carry(state["counter"], self.threshold, self.one_step), rng)
        return written + device.tick(state["cells"], rng)


Direct = partial(AccumulateAndCarry, threshold=1, period=1)


@dataclass(frozen=True)
class Positional(WeightStore):
    r"""Several devices per weight, as digits of a number: pulses go to the least digit and are carried to the next.

    .. math::
        W = \sum_{q=0}^{Q-1} k_q g_q, \quad k_q = base^{-(Q-1-q)}; \\
        \text{every } period \text{ steps, for } q = 0, 1, ...: \quad m = \mathrm{trunc}\frac{g_q}{base\; dg}

    m pulses to digit q + 1 and `base m` pulses back on digit q, which leaves W unchanged if devices are ideal. Only
    digits that got a pulse since the last carry are read, so weights without pulses stay unchanged. Write noise above
    `base` steps is carried as if it were weight: give such a device a larger base.

    Args:
        digits: Q, devices per weight, 3 by default.
        base: ratio between the factors of neighbouring digits, 4 by default.
        period: steps between carries, 100 by default.
        threshold: puts the counter of `AccumulateAndCarry` before the least digit, for devices with few levels.
        reset: write digit q to zero instead, with verification, at a cost of one pulse; m is then the ratio rounded at
            random, right on average. For devices whose steps are too uneven to be undone by pulses.

    Raises:
        ValueError: when devices are made, if the least digit could overflow between two carries. It needs
            `(period / threshold + base) dg_0 <= 1`, with the step dg_0 relative to the smaller bound, because up to
            `period / threshold` pulses, one requested per step, are added to a remainder below `base dg_0`.

    Source: Agarwal et al., VLSI Technology 2017 (periodic carry); `threshold` and random rounding in `reset` are ours.

    >>> from rules.plasticity.memristor.laws import ConstantStep
    >>> device, store = ConstantStep(dw_min=0.125), Positional(digits=2, base=2, period=4)
    >>> rng = torch.Generator().manual_seed(0)
    >>> state = store.init(device, torch.zeros(1), rng)
    >>> for _ in range(4):
    ...     _ = store.pulse(device, state, torch.ones(1), rng), store.tick(device, state, rng)
    >>> store.read(device, state), [device.read(digit) for digit in state["digits"]]
    (tensor([0.2500]), [tensor([0.]), tensor([0.2500])])
    """

    digits: int = 3
    base: int = 4
    period: int = 100
    threshold: int = 1
    reset: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        _at_least_one(self, "period", "threshold")
        if self.digits < 2:
            raise ValueError(
                f"digits={self.digits}: a positional store needs 2 or more; for one use AccumulateAndCarry"
            )
        if self.base < 2:
            raise ValueError(f"base={self.base}: the digits of a number need a base of at least 2")

    def step(self, device: Device) -> float:
        return device.step * self._counts(0) / self.threshold

    def range(self, device: Device) -> tuple[float, float]:
        whole = sum(map(self._counts, range(self.digits)))
        low, high = device.range
        return low * whole, high * whole

    def init(self, device: Device, weights: Tensor, rng: torch.Generator) -> State:
        bound = min(-device.range[0], device.range[1])
        need = (self.period / self.threshold + self.base) * device.step
        if need > bound:
            raise ValueError(
                f"period={self.period}, base={self.base}, threshold={self.threshold} and a device of step "
                f"{device.step:.4g}: (period / threshold + base) * step = {need:.4g} must not exceed the bound "
                f"{bound:.4g}, or the least digit overflows between two carries; {self._remedy(bound / device.step)}"
            )
        digits: list[State] = []
        rest = weights
        for q in reversed(range(self.digits)):  # the greatest digit first; the next gets the rest
            digits.insert(0, device.init(rest / self._counts(q), rng))
            rest = rest - self._counts(q) * device.held(digits[0])
            rest = rest.clamp(-self._counts(q) * device.step, self._counts(q) * device.step)  # the remainder of a carry
        touched = [torch.zeros_like(weights, dtype=torch.bool) for _ in digits]  # pulsed since the last carry
        return {"digits": digits, "touched": touched, "counter": torch.zeros_like(weights), "ticks": 0}

    def arrays(self, state: State) -> list[tuple[float, State]]:
        return [(self._counts(q), digit) for q, digit in enumerate(state["digits"])]

    def pulse(self, device: Device, state: State, n: Tensor, rng: torch.Generator) -> int:
        if self.threshold > 1:
            n = _carry(state["counter"].add_(n), self.threshold)
        state["touched"][0] |= n != 0
        return device.pulse(state["digits"][0], n, rng)

    def tick(self, device: Device, state: State, rng: torch.Generator) -> int:
        state["ticks"] += 1
        written = 0
        if state["ticks"] % self.period == 0:
            for q in range(self.digits - 1):
                written += self._up(device, state, q, rng)
        return written + sum(device.tick(digit, rng) for digit in state["digits"])

    def _up(self, device: Device, state: State, q: int, rng: torch.Generator) -> int:
        """Carry from digit q to the next."""
        (low, high), (touched, next_touched) = (state[name][q : q + 2] for name in ("digits", "touched"))
        ratio = device.read(low) / (self.base * device.step)
        if self.reset:
            m = torch.floor(ratio + uniform(ratio, rng)) * touched
            device.write(low, torch.zeros_like(ratio), rng, touched)
            written = int(touched.sum())
        else:
            # the factor above 1 makes a sum of m * base steps carry m, even where rounding left it slightly smaller
            m = torch.trunc(ratio * (1 + 8 * torch.finfo(ratio.dtype).eps)) * touched
            written = device.pulse(low, -self.base * m, rng)
        touched.zero_()
        next_touched |= m != 0
        return written + device.pulse(high, m, rng)

    def _counts(self, q: int) -> float:
        return float(self.base) ** (q + 1 - self.digits)

    def _remedy(self, steps: float) -> str:
        longest = int(self.threshold * (steps - self.base))
        if longest >= 1:
            return f"set period to at most {longest}"
        return f"raise threshold, and keep base below {steps:.3g}, or take a device of smaller steps"


STORES: dict[str, Callable[..., WeightStore]] = {
    "direct": Direct,
    "accumulate_and_carry": AccumulateAndCarry,
    "positional": Positional,
}


def _carry(counter: Tensor, threshold: int, one_step: bool = False) -> Tensor:
    """Subtract the carry from a counter, in place, and return it."""
    if threshold == 1 and not one_step:
        carried = counter.clone()
        counter.zero_()
        return carried
    carried = torch.trunc(counter / threshold)
    if one_step:
        carried.clamp_(-1, 1)
    counter.sub_(carried, alpha=threshold)
    return carried


def _at_least_one(store: object, *names: str) -> None:
    for name in names:
        if not getattr(store, name) >= 1:
            raise ValueError(f"{name}={getattr(store, name)}: give at least 1, which means every pulse or every step")
