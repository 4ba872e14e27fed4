"""Leaky integrate-and-fire neurons in the discrete forms in which other groups publish and train them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from rules.spikes.surrogate import Surrogate
from sandbox.neurons.base import Value, affine, full
from sandbox.neurons.cell import admit_tensor
from sandbox.neurons.firing import Resetting, held, idle
from sandbox.neurons.learnable import learnable
from sandbox.neurons.lif import LIF, LIFState


@dataclass(frozen=True)
class PLIF(LIF):
    """Parametric LIF: a forward Euler step, with one learned time constant for each layer.

        v <- v + (dt / tau_mem) (v_leak - v + r current),    1 / tau_mem = sigmoid(w) at dt = 1

    then spike and reset as `LIF`. Learning keeps tau_mem above 1 ms, the step of the paper, as sigmoid(w) does.

    Args:
        tau_mem: membrane time constant [ms], learned from 2 on by default.
        r: membrane resistance [MOhm].
        v_leak: resting potential [mV].
        v_threshold: threshold [mV].
        v_reset: potential after a spike [mV].
        reset: "to_value", "subtract" or "none", as `LIF`.
        t_refractory: refractory period [ms]; 0 for none.
        strict: fire only where v > v_threshold, not at equality.
        surrogate: surrogate gradient of the spike.

    Raises:
        ValueError: for a time constant of at most 1 ms.

    >>> cell = PLIF(tau_mem=2.0)
    >>> spikes, state = cell.step(torch.tensor([1.0]), cell.initial_state((1,), torch.zeros(1)), dt=1.0)
    >>> float(state.v)
    0.5

    Reference: Fang et al. 2021 (arXiv 2007.05785).
    """

    tau_mem: float = field(default_factory=lambda: learnable(2.0))

    method: ClassVar[str] = "euler"
    above: ClassVar[dict[str, float | str]] = {"tau_mem": 1.0, "r": 0.0, "v_threshold": "v_reset"}

    def integrate(self, current: Tensor, state: LIFState, dt: float) -> LIFState:
        """Return the membrane after one Euler step; refractory cells are clamped."""
        v = state.v + (affine(current, self.r, self.v_leak) - state.v) * (dt / self.tau_mem)
        return LIFState(held(state.wait, state.v, v), state.wait)


@dataclass(frozen=True)
class IF(LIF):
    """Integrate-and-fire without a leak: `v <- v + (dt / tau_mem) r current`, then spike and reset as `LIF`.

    Args:
        tau_mem: time in which `r current` is added once to the membrane [ms], 1 by default.
        r: membrane resistance [MOhm].
        v_leak: potential before the first step [mV].
        v_threshold: threshold [mV].
        v_reset: potential after a spike [mV].
        reset: "to_value", "subtract" or "none", as `LIF`.
        t_refractory: refractory period [ms]; 0 for none.
        strict: fire only where v > v_threshold, not at equality.
        surrogate: surrogate gradient of the spike.

    >>> cell = IF()
    >>> spikes, state = cell.step(torch.tensor([0.5, 1.0]), cell.initial_state((2,), torch.zeros(1)), dt=1.0)
    >>> spikes.tolist(), state.v.tolist()
    ([0.0, 1.0], [0.5, 0.0])

    Reference: Lapicque 1907; in this form in Fang et al. 2021 (arXiv 2102.04159), from the authors' code.
    """

    tau_mem: float = 1.0

    equations: ClassVar[str] = "dv/dt = r * current / tau_mem : volt (unless refractory)"
    method: ClassVar[str] = "euler"

    def integrate(self, current: Tensor, state: LIFState, dt: float) -> LIFState:
        """Return the membrane after one step; refractory cells are clamped."""
        v = state.v + affine(current, self.r) * (dt / self.tau_mem)
        return LIFState(held(state.wait, state.v, v), state.wait)


@dataclass(frozen=True)
class MSLIF(LIF):
    """The LIF of MS-ResNet, at dt = 1: `v <- 0.25 v + current`, spike where v > 0.5, then reset to 0.

    It is the exact step of `LIF` with tau_mem = 1 / ln 4 and r = 4 / 3, and these are its defaults.

    Args:
        tau_mem: membrane time constant [ms].
        r: membrane resistance [MOhm].
        v_threshold: threshold [mV].
        strict: fire only where v > v_threshold.
        surrogate: surrogate gradient of the spike, 1 where |v - v_threshold| < 0.5 by default.

    >>> cell = MSLIF()
    >>> spikes, _ = cell.step(torch.tensor([0.5, 0.51]), cell.initial_state((2,), torch.zeros(1)), dt=1.0)
    >>> spikes.tolist()
    [0.0, 1.0]

    Reference: Hu et al. 2024 (arXiv 2112.08954), from the authors' code.
    """

    tau_mem: float = 1 / math.log(4)
    r: float = 4 / 3
    v_threshold: float = 0.5
    strict: bool = True
    surrogate: Surrogate = field(default_factory=lambda: Surrogate("rect", alpha=0.5))

    published_dt: ClassVar[float] = 1.0


@dataclass(frozen=True)
class KLIF(Resetting):
    """LIF whose membrane is scaled by a learned `k` and rectified before the threshold.

        u = v + (dt / tau_mem) (v_leak - v + r current),    f = max(0, k u)
        spike where f >= v_threshold,    v <- f after the reset

    Args:
        k: scale, learned from 1 on by default.
        tau_mem: membrane time constant [ms].
        r: membrane resistance [MOhm].
        v_leak: resting potential [mV].
        v_threshold: threshold [mV].
        v_reset: potential after a spike [mV].
        reset: "to_value", "subtract" or "none", as `LIF`.
        surrogate: surrogate gradient of the spike.

    >>> cell = KLIF(k=3.0)
    >>> spikes, _ = cell.step(torch.tensor([0.6, 0.7]), cell.initial_state((2,), torch.zeros(1)), dt=1.0)
    >>> spikes.tolist()  # 0.9 and 1.05
    [0.0, 1.0]

    Reference: Jiang & Zhang 2023 (arXiv 2302.09238, recalled); the step is that of SpikingJelly's KLIFNode.
    """

    k: float = field(default_factory=lambda: learnable(1.0))
    tau_mem: float = 2.0
    r: float = 1.0
    v_leak: float = 0.0
    v_threshold: float = 1.0
    v_reset: float = 0.0
    reset: str = "to_value"
    surrogate: Surrogate = field(default_factory=lambda: Surrogate("atan"))

    reference: ClassVar[str] = "its formula in NumPy and float64"
    units: ClassVar[dict[str, str]] = {**LIF.units, "k": "1"}
    above: ClassVar[dict[str, float | str]] = {"tau_mem": 0.0, "r": 0.0, "v_threshold": "v_reset"}

    def initial_state(self, shape: Iterable[int], like: Tensor) -> LIFState:
        """Return the resting state."""
        return LIFState(full(shape, self.v_leak, like))

    def integrate(self, current: Tensor, state: LIFState, dt: float) -> LIFState:
        """Return the scaled and rectified membrane before it fires."""
        u = state.v + (affine(current, self.r, self.v_leak) - state.v) * (dt / self.tau_mem)
        return LIFState(torch.relu(self.k * u))


@dataclass(frozen=True)
class CPLIF(Resetting):
    """LIF with a learned leak and bias for each channel; the leaks of all channels add up to 1.

        v[c] <- v[c] + (v_leak - v[c] + r current[c]) p[c] + bias[c],    p = softmax(weight)

    then spike and reset. Time constants are 1 / p[c], more than one step; with equal weights of C channels they are all
    C. A single channel has no memory. The step is in steps: `dt` plays no part.

    Args:
        channels: number of channels, of the first axis behind the batch; None for that of the layer.
        weight: `[channels]`; None for the initial one, normal around 1 with a standard deviation of 0.02.
        bias: `[channels]` [mV]; None for the initial one, 0.
        r: membrane resistance [MOhm].
        v_leak: resting potential [mV].
        v_threshold: threshold [mV].
        v_reset: potential after a spike [mV].
        reset: "to_value", "subtract" or "none", as `LIF`.
        surrogate: surrogate gradient of the spike.

    Raises:
        ValueError: for a weight of another shape, and in a layer for channels that are not known.

    >>> cell = CPLIF(channels=2)
    >>> spikes, state = cell.step(torch.tensor([[0.5, 1.0]]), cell.initial_state((1, 2), torch.zeros(1)), dt=1.0)
    >>> state.v.tolist()
    [[0.25, 0.5]]

    Reference: Wang et al. 2025 (arXiv 2508.05164), from the authors' code.
    """

    channels: int | None = None
    weight: Any = None
    bias: Any = None
    r: float = 1.0
    v_leak: float = 0.0
    v_threshold: float = 1.0
    v_reset: float = 0.0
    reset: str = "to_value"
    surrogate: Surrogate = field(default_factory=lambda: Surrogate("atan", alpha=5.0))

    reference: ClassVar[str] = "its formula in float64"
    shared: ClassVar[frozenset[str]] = frozenset({"weight", "bias"})
    units: ClassVar[dict[str, str]] = {**LIF.units, "weight": "1", "bias": "mV"}
    above: ClassVar[dict[str, float | str]] = {"r": 0.0, "v_threshold": "v_reset"}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.channels is not None and self.channels < 1:
            raise ValueError(f"channels={self.channels}: give a whole number, at least 1")
        for name in ("weight", "bias"):
            admit_tensor(self, name, self.channels)

    def drawn(self, generator: torch.Generator | None, channels: int | None) -> dict[str, Tensor]:
        """Return the initial weight and bias."""
        count = self.channels or channels
        if count is None:
            raise ValueError("CPLIF has a time constant for each channel: say how many, as in CPLIF(channels=30)")
        return {"weight": 1 + 0.02 * torch.randn(count, generator=generator), "bias": torch.zeros(count)}

    def initial_state(self, shape: Iterable[int], like: Tensor) -> LIFState:
        """Return the resting state, ready to fire."""
        v = full(shape, self.v_leak, like)
        return LIFState(v, idle(v, self.t_refractory))

    def integrate(self, current: Tensor, state: LIFState, dt: float) -> LIFState:
        """Return the membrane before it fires."""
        axis = min(1, current.ndim - 1)
        count = current.shape[axis]
        for name, value in (("channels", self.channels), ("weight", self.weight)):
            found = value if value is None or isinstance(value, int) else len(value)
            if found not in (None, count):
                raise ValueError(
                    f"CPLIF has {found} {name}, and the cells have {count} channels: {tuple(current.shape)}"
                )
        shape = (count, *[1] * (current.ndim - 1 - axis))
        p: Value = 1 / count if self.weight is None else torch.softmax(self.weight.to(current), 0).reshape(shape)
        shift = 0.0 if self.bias is None else self.bias.to(current).reshape(shape)
        v = state.v + (affine(current, self.r, self.v_leak) - state.v) * p + shift
        return LIFState(held(state.wait, state.v, v), state.wait)
