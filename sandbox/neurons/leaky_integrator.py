"""A leaky membrane that never fires: a read-out whose output is its voltage."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor

from sandbox.neurons.base import Neuron, affine, decay, full, toward


class LeakyIntegratorState(NamedTuple):
    """State of a population, one value per cell in each field."""

    v: Tensor  # membrane potential [mV]


@dataclass(frozen=True)
class LeakyIntegrator(Neuron):
    """A leaky membrane without a threshold; its output is its voltage.

        tau_mem dv/dt = v_leak - v + r current

    The current is constant within a step, so the step is exact.

    Args:
        tau_mem: membrane time constant [ms].
        r: membrane resistance [MOhm].
        v_leak: resting potential [mV].

    >>> import torch
    >>> neuron = LeakyIntegrator(tau_mem=10.0)
    >>> output, state = neuron.step(torch.ones(1), neuron.initial_state((1,), torch.zeros(1)), dt=10.0)
    >>> round(float(output), 4)  # 1 - exp(-1)
    0.6321

    Reference: Gerstner, Kistler, Naud & Paninski 2014, Neuronal Dynamics, section 1.3.1.
    """

    tau_mem: float = 20.0
    r: float = 1.0
    v_leak: float = 0.0

    equations: ClassVar[str] = "dv/dt = (v_leak - v + r * current) / tau_mem : volt"
    method: ClassVar[str] = "exact"
    units: ClassVar[dict[str, str]] = {"tau_mem": "ms", "r": "Mohm", "v_leak": "mV", "v": "mV", "current": "nA"}
    spiking: ClassVar[bool] = False
    above: ClassVar[dict[str, float | str]] = {"tau_mem": 0.0, "r": 0.0}

    def initial_state(self, shape: Iterable[int], like: Tensor) -> LeakyIntegratorState:
        """Return the resting state."""
        return LeakyIntegratorState(full(shape, self.v_leak, like))

    def integrate(self, current: Tensor, state: LeakyIntegratorState, dt: float) -> LeakyIntegratorState:
        """Return the exact solution after one step."""
        v_inf = affine(current, self.r, self.v_leak)
        return LeakyIntegratorState(toward(v_inf, state.v, decay(dt, self.tau_mem)))

    def fire(self, state: LeakyIntegratorState, dt: float) -> tuple[Tensor, LeakyIntegratorState]:
        """Return the voltage [mV] and the same state."""
        return state.v, state

    def centred(self, state: LeakyIntegratorState) -> Tensor:
        """Return the membrane itself [mV]: there is no threshold."""
        return state.v
