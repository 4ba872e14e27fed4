"""How many pulses reach a device, and when: a counter that carries, or digits of different weight that do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from rules.plasticity.memristor.device import Device, State, uniform


class WeightStore(ABC):
    """Holds weights in devices: settings as a frozen dataclass, the state handed in and changed in place.

    Pulses are asked for in whole numbers, as tensors of the weights' dtype, each worth `step(device)` on average.
    """

    @abstractmethod
    def step(self, device: Device) -> float:
        """Mean weight change of one pulse that is asked for, at weight 0."""

    @abstractmethod
    def range(self, device: Device) -> tuple[float, float]:
        """Nominal bounds of the weights."""

    @abstractmethod
    def init(self, device: Device, weights: Tensor, rng: torch.Generator) -> State:
        """Fabricate the devices and write `weights`; raises ValueError for a device that does not fit."""

    @abstractmethod
    def arrays(self, state: State) -> list[tuple[float, State]]:
        """Every array of devices, with what its weights count in the sum."""

    @abstractmethod
    def pulse(self, device: Device, state: State, n: Tensor, rng: torch.Generator) -> int:
        """Ask for n pulses; returns how many were written to devices."""

    @abstractmethod
    def tick(self, device: Device, state: State, rng: torch.Generator) -> int:
        """One step passes: carry if it is time to, then drift; returns how many pulses were written."""

    def read(self, device: Device, state: State) -> Tensor:
        """The weights that the devices show."""
        return self._sum(state, device.read)

    def held(self, device: Device, state: State) -> Tensor:
        """The weights that the devices hold, without write noise."""
        return self._sum(state, device.held)

    def drifted(self, device: Device, state: State, steps: int) -> Tensor:
        """What `read` will give after so many steps without a pulse."""
        return self._sum(state, lambda array: device.drifted(array, steps))

    def bounds(self, device: Device, state: State) -> tuple[Tensor, Tensor]:
        """The bounds of `held`, weight by weight."""
        return tuple(self._sum(state, lambda array, side=side: device.bounds(array)[side]) for side in (0, 1))  # type: ignore

    def _sum(self, state: State, look: Callable[[State], Tensor]) -> Tensor:
        parts = [look(array) if k == 1 else k * look(array) for k, array in self.arrays(state)]
        return parts[0] if len(parts) == 1 else torch.stack(parts).sum(0)


@dataclass(frozen=True)
class AccumulateAndCarry(WeightStore):
    r"""A digital counter before each device, which takes a pulse for every `threshold` that were asked for.

    .. math::
        h \leftarrow h + n; \quad \text{every } period \text{ steps:} \quad
        c = \mathrm{trunc}(h / \theta), \quad h \leftarrow h - c\,\theta, \quad c \text{ pulses to the device}

    What remains is kept, so no pulse is lost: `threshold * applied + h` is the sum of all n, exactly, as long as it
    is a whole number of the weights' dtype (below 2^24 in float32). With `one_step` at most one pulse a carry,
    `c = sign(h) [|h| >= threshold]`. `Direct()`, which is `threshold=1, period=1`, passes every pulse on at once.

    Source: reconstruction of the periodic carry of Li et al. (arXiv 2304.12866), whose equations could not be read.

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
    r"""Several devices a weight, as the digits of a number: pulses reach the least, and are carried to the next.

    .. math::
        W = \sum_{q=0}^{Q-1} k_q g_q, \quad k_q = base^{-(Q-1-q)}; \\
        \text{every } period \text{ steps, for } q = 0, 1, ...: \quad m = \mathrm{trunc}\frac{g_q}{base\; dg}

    m pulses to digit q + 1 and `base m` pulses back on digit q, which leaves W as it was where devices are ideal. Only
    digits that took a pulse since the last carry are looked at, so weights that nothing moves rest. With
    `reset` digit q is written to zero instead, verified, at the price of one pulse, and m is one of the two whole
    numbers about the ratio, by chance and right on average: for devices whose steps are too uneven to be taken back.

    A `threshold` puts the counter of `AccumulateAndCarry` before the least digit, for devices of few levels. Write
    noise above `base` steps is carried as if it were weight: give such a device a larger base.

    Raises ValueError, when devices are made, where the least digit could overflow between two carries: it must be that
    `(period / threshold + base) dg_0 <= 1`, with the step dg_0 relative to the smaller bound, because up to
    `period / threshold` pulses, one asked for per step, come on top of a remainder below `base dg_0`.

    Source: Agarwal et al., VLSI Technology 2017 (periodic carry); `threshold` and the chance in `reset` are ours.

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
        for q in reversed(range(self.digits)):  # the greatest digit takes what it can hold, the next the rest
            digits.insert(0, device.init(rest / self._counts(q), rng))
            rest = rest - self._counts(q) * device.held(digits[0])
            rest = rest.clamp(-self._counts(q) * device.step, self._counts(q) * device.step)  # what a carry leaves
        touched = [torch.zeros_like(weights, dtype=torch.bool) for _ in digits]  # by a pulse since the last carry
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
            m = torch.trunc(ratio * (1 + 8 * torch.finfo(ratio.dtype).eps)) * touched  # m base steps summed still carry
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
    """What is carried from a counter, taken off it."""
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
            raise ValueError(f"{name}={getattr(store, name)}: give at least 1, which is every pulse or every step")
