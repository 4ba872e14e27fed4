"""Membranes that never fire, and whose output is their voltage: read-outs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from sandbox.neurons.base import Neuron, affine, decay, full, toward
from sandbox.neurons.exprel import exprel

FAR = 300.0  # time constants of the membrane in a step, from which their exponentials come near the largest number


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


@dataclass(frozen=True)
class Integrator(Neuron):
    """A membrane without a leak or a threshold: `tau_mem dv/dt = r current`; its output is its voltage.

    The current is constant within a step, so the step is exact.

    Args:
        tau_mem: time in which `r current` is added once to the membrane [ms], 1 by default.
        r: membrane resistance [MOhm].

    >>> import torch
    >>> cell = Integrator(r=0.5)
    >>> output, state = cell.step(torch.ones(1), cell.initial_state((1,), torch.zeros(1)), dt=2.0)
    >>> float(output)
    1.0

    Reference: NIR (doi 10.1038/s41467-024-52259-9), `I`.
    """

    tau_mem: float = 1.0
    r: float = 1.0

    equations: ClassVar[str] = "dv/dt = r * current / tau_mem : volt"
    method: ClassVar[str] = "euler"
    units: ClassVar[dict[str, str]] = {"tau_mem": "ms", "r": "Mohm", "v": "mV", "current": "nA"}
    spiking: ClassVar[bool] = False
    above: ClassVar[dict[str, float | str]] = {"tau_mem": 0.0, "r": 0.0}

    def initial_state(self, shape: Iterable[int], like: Tensor) -> LeakyIntegratorState:
        """Return an empty membrane."""
        return LeakyIntegratorState(full(shape, 0.0, like))

    def integrate(self, current: Tensor, state: LeakyIntegratorState, dt: float) -> LeakyIntegratorState:
        """Return the exact solution after one step."""
        return LeakyIntegratorState(state.v + affine(current, self.r) * (dt / self.tau_mem))

    def fire(self, state: LeakyIntegratorState, dt: float) -> tuple[Tensor, LeakyIntegratorState]:
        """Return the voltage [mV] and the same state."""
        return state.v, state

    def centred(self, state: LeakyIntegratorState) -> Tensor:
        """Return the membrane itself [mV]: there is no threshold."""
        return state.v


class CubaLIState(NamedTuple):
    """State of a population, one value per cell in each field."""

    v: Tensor  # membrane potential [mV]
    i_syn: Tensor  # synaptic current [nA]


@dataclass(frozen=True)
class CubaLI(Neuron):
    """A leaky membrane behind an exponential synapse, without a threshold; its output is its voltage.

        tau_mem dv/dt     = v_leak - v + r i_syn
        tau_syn di_syn/dt = current - i_syn

    The current is constant within a step and the step is exact, also for tau_syn = tau_mem.

    Args:
        tau_mem: membrane time constant [ms].
        tau_syn: time constant of the synapse [ms].
        r: membrane resistance [MOhm].
        v_leak: resting potential [mV].

    >>> import torch
    >>> cell = CubaLI(tau_mem=10.0, tau_syn=10.0)
    >>> output, _ = cell.step(torch.ones(1), cell.initial_state((1,), torch.zeros(1)), dt=10.0)
    >>> round(float(output), 4)  # 1 - 2 exp(-1)
    0.2642

    Reference: NIR (doi 10.1038/s41467-024-52259-9), `CubaLI`.
    """

    tau_mem: float = 20.0
    tau_syn: float = 5.0
    r: float = 1.0
    v_leak: float = 0.0

    equations: ClassVar[str] = """
        dv/dt = (v_leak - v + r * i_syn) / tau_mem : volt
        di_syn/dt = (current - i_syn) / tau_syn : amp
    """
    method: ClassVar[str] = "exact"
    units: ClassVar[dict[str, str]] = {**LeakyIntegrator.units, "tau_syn": "ms", "i_syn": "nA"}
    spiking: ClassVar[bool] = False
    above: ClassVar[dict[str, float | str]] = {"tau_mem": 0.0, "tau_syn": 0.0, "r": 0.0}

    def initial_state(self, shape: Iterable[int], like: Tensor) -> CubaLIState:
        """Return the resting state."""
        v = full(shape, self.v_leak, like)
        return CubaLIState(v, torch.zeros_like(v))

    def integrate(self, current: Tensor, state: CubaLIState, dt: float) -> CubaLIState:
        """Return the exact solution after one step: the synapse relaxes, and the membrane follows it."""
        return CubaLIState(*driven(self, current, state.v, state.i_syn, dt))

    def fire(self, state: CubaLIState, dt: float) -> tuple[Tensor, CubaLIState]:
        """Return the voltage [mV] and the same state."""
        return state.v, state

    def centred(self, state: CubaLIState) -> Tensor:
        """Return the membrane itself [mV]: there is no threshold."""
        return state.v


def driven(cell: Any, current: Tensor, v: Tensor, i_syn: Tensor, dt: float) -> tuple[Tensor, Tensor]:
    """Return membrane and synapse of a leaky cell with an exponential synapse after one exact step.

    The membrane hears the difference of two exponentials, which `exprel` gives without a division by zero.
    """
    kept, excess, gap = decay(dt, cell.tau_mem), i_syn - current, dt / cell.tau_mem - dt / cell.tau_syn
    gain = cell.r * dt / cell.tau_mem
    if isinstance(gap, float) and gap > FAR:  # the same number, without 0 times infinity
        drive = gain * decay(dt, cell.tau_syn) * exprel(-gap)
    else:
        drive = gain * kept * exprel(gap)
    after = toward(affine(current, cell.r, cell.v_leak), v, kept) + drive * excess
    return after, toward(current, i_syn, decay(dt, cell.tau_syn))
