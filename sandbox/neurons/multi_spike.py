"""Integrate-and-fire neurons that fire as often in a step as the threshold fits into the membrane."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from rules.spikes.surrogate import reset_signal
from sandbox.neurons.base import Neuron, affine, decay, full, toward
from sandbox.neurons.cell import Value
from sandbox.neurons.counting import rounded
from sandbox.neurons.leaky_integrator import LeakyIntegratorState


class MultiSpike(Neuron):
    """Base class of cells whose output is a number of spikes, each of which takes a threshold from the membrane.

        n = min(max(trunc(v / v_threshold), 0), levels),    v <- v - n v_threshold

    The gradient of n is that of v / v_threshold between 0 and `levels`.
    """

    tau_mem: float
    r: float
    v_leak: float
    v_threshold: float

    units: ClassVar[dict[str, str]] = {
        **dict.fromkeys(("v_leak", "v_threshold", "v"), "mV"),
        "tau_mem": "ms",
        "r": "Mohm",
        "current": "nA",
    }
    above: ClassVar[dict[str, float | str]] = {"tau_mem": 0.0, "r": 0.0, "v_threshold": 0.0}
    reference: ClassVar[str] = "its formula in NumPy and float64"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.levels <= 255:
            raise ValueError(f"levels={self.levels}: give the largest number of spikes in a step, from 1 to 255")

    def initial_state(self, shape: Iterable[int], like: Tensor) -> LeakyIntegratorState:
        """Return the resting state."""
        return LeakyIntegratorState(full(shape, self.v_leak, like))

    def fire(self, state: Any, dt: float) -> tuple[Tensor, LeakyIntegratorState]:
        """Return the numbers of spikes `[...]`, and the state after the reset."""
        u = state.v / self.v_threshold
        count = rounded(u, 0.0, float(self.levels), torch.trunc(u).clamp(0.0, float(self.levels)))
        return count, LeakyIntegratorState(state.v - reset_signal(count) * self.v_threshold)

    def centred(self, state: Any) -> Tensor:
        """Return membrane minus threshold [mV]."""
        membrane: Tensor = state.v
        return membrane - self.v_threshold

    @property
    def swing(self) -> Value:
        """The threshold [mV]."""
        return self.v_threshold


@dataclass(frozen=True)
class MultiLIF(MultiSpike):
    """Leaky integrate-and-fire with several spikes in a step, each of which takes a threshold from the membrane.

        tau_mem dv/dt = v_leak - v + r current
        n = min(max(trunc(v / v_threshold), 0), levels),    v <- v - n v_threshold

    The current is constant within a step, so the step between spikes is exact. This is the LIF of Sinabs, whose time
    constants are in steps, with its defaults: `MultiLIF(tau_mem=tau)` at dt = 1.

    Args:
        tau_mem: membrane time constant [ms].
        r: membrane resistance [MOhm].
        v_leak: resting potential [mV].
        v_threshold: threshold, above 0 [mV].
        levels: largest number of spikes in a step.

    Raises:
        ValueError: for a threshold that is not positive, or levels outside 1 to 255.

    >>> cell = MultiLIF(r=2.0)
    >>> spikes, state = cell.step(torch.tensor([30.0]), cell.initial_state((1,), torch.zeros(1)), dt=1.0)
    >>> float(spikes), round(float(state.v), 4)  # 60 (1 - exp(-1 / 20)) = 2.9262
    (2.0, 0.9262)

    Reference: Sinabs 3.1 (`sinabs.layers.LIF` with `MultiSpike`), from its code.
    """

    tau_mem: float = 20.0
    r: float = 1.0
    v_leak: float = 0.0
    v_threshold: float = 1.0
    levels: int = 255

    def integrate(self, current: Tensor, state: LeakyIntegratorState, dt: float) -> LeakyIntegratorState:
        """Return the exact solution after one step, before spikes."""
        return LeakyIntegratorState(toward(affine(current, self.r, self.v_leak), state.v, decay(dt, self.tau_mem)))


@dataclass(frozen=True)
class MultiIF(MultiSpike):
    """Integrate-and-fire without a leak and with several spikes in a step: `tau_mem dv/dt = r current`, as `MultiLIF`.

    This is the IAF of Sinabs, at dt = 1.

    Args:
        tau_mem: time in which `r current` is added once to the membrane [ms], 1 by default.
        r: membrane resistance [MOhm].
        v_leak: potential before the first step [mV].
        v_threshold: threshold, above 0 [mV].
        levels: largest number of spikes in a step.

    Raises:
        ValueError: for a threshold that is not positive, or levels outside 1 to 255.

    >>> cell = MultiIF()
    >>> spikes, state = cell.step(torch.tensor([2.5, -1.0]), cell.initial_state((2,), torch.zeros(1)), dt=1.0)
    >>> spikes.tolist(), state.v.tolist()
    ([2.0, 0.0], [0.5, -1.0])

    Reference: Sinabs 3.1 (`sinabs.layers.IAF` with `MultiSpike`), from its code.
    """

    tau_mem: float = 1.0
    r: float = 1.0
    v_leak: float = 0.0
    v_threshold: float = 1.0
    levels: int = 255

    def integrate(self, current: Tensor, state: LeakyIntegratorState, dt: float) -> LeakyIntegratorState:
        """Return the membrane after one step, before spikes."""
        return LeakyIntegratorState(state.v + affine(current, self.r) * (dt / self.tau_mem))
