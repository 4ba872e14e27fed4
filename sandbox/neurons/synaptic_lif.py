"""Leaky integrate-and-fire neurons whose input current is filtered by a synapse, with exact steps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from rules.spikes.surrogate import Surrogate
from sandbox.neurons.base import affine, decay, full, toward
from sandbox.neurons.exprel import exprel, exprel_slope
from sandbox.neurons.firing import Resetting, held, idle
from sandbox.neurons.leaky_integrator import driven


class CubaLIFState(NamedTuple):
    """State of a population, one value per cell in each field."""

    v: Tensor  # membrane potential [mV]
    i_syn: Tensor  # synaptic current [nA]
    wait: Tensor | None = None  # steps of the refractory period left; None without one


@dataclass(frozen=True)
class CubaLIF(Resetting):
    """Current-based leaky integrate-and-fire with an exponential synapse.

        tau_mem dv/dt     = v_leak - v + r i_syn
        tau_syn di_syn/dt = current - i_syn
        spike where v >= v_threshold (v > v_threshold if `strict`), then reset; v is clamped for t_refractory

    The synapse is not clamped. It has unit gain: the charge that arrives does not depend on tau_syn. The current is
    constant within a step and the step is exact, also for tau_syn = tau_mem, where Brian2's closed form divides by
    zero.

    Args:
        tau_mem: membrane time constant [ms].
        tau_syn: time constant of the synapse [ms].
        r: membrane resistance [MOhm].
        v_leak: resting potential [mV].
        v_threshold: threshold [mV].
        v_reset: potential after a spike [mV].
        reset: "to_value" (v_reset), "subtract" (v_threshold - v_reset is subtracted) or "none".
        t_refractory: refractory period [ms]; 0 for none.
        strict: fire only where v > v_threshold, not at equality.
        surrogate: surrogate gradient of the spike.

    >>> neuron = CubaLIF(tau_mem=10.0, tau_syn=10.0)
    >>> _, state = neuron.step(torch.ones(1), neuron.initial_state((1,), torch.zeros(1)), dt=10.0)
    >>> round(float(state.v), 4)  # 1 - 2 exp(-1)
    0.2642

    Reference: Gerstner, Kistler, Naud & Paninski 2014, Neuronal Dynamics, section 3.1; NIR (doi
    10.1038/s41467-024-52259-9), `CubaLIF`.
    """

    tau_mem: float = 20.0
    tau_syn: float = 5.0
    r: float = 1.0
    v_leak: float = 0.0
    v_threshold: float = 1.0
    v_reset: float = 0.0
    reset: Literal["to_value", "subtract", "none"] = "to_value"
    t_refractory: float = 0.0
    strict: bool = False
    surrogate: Surrogate = field(default_factory=lambda: Surrogate("atan"))

    equations: ClassVar[str] = """
        dv/dt = (v_leak - v + r * i_syn) / tau_mem : volt (unless refractory)
        di_syn/dt = (current - i_syn) / tau_syn : amp
    """
    method: ClassVar[str] = "exact"
    units: ClassVar[dict[str, str]] = {
        "tau_mem": "ms",
        "tau_syn": "ms",
        "r": "Mohm",
        "v_leak": "mV",
        "v_threshold": "mV",
        "v_reset": "mV",
        "v": "mV",
        "i_syn": "nA",
        "current": "nA",
    }
    above: ClassVar[dict[str, float | str]] = {"tau_mem": 0.0, "tau_syn": 0.0, "r": 0.0, "v_threshold": "v_reset"}

    def initial_state(self, shape: Iterable[int], like: Tensor) -> CubaLIFState:
        """Return the resting state, ready to fire."""
        v = full(shape, self.v_leak, like)
        return CubaLIFState(v, torch.zeros_like(v), idle(v, self.t_refractory))

    def integrate(self, current: Tensor, state: CubaLIFState, dt: float) -> CubaLIFState:
        """Return the exact solution after one step: the synapse relaxes, and the membrane follows it."""
        v, i_syn = driven(self, current, state.v, state.i_syn, dt)
        return state._replace(v=held(state.wait, state.v, v), i_syn=i_syn)


class AlphaLIFState(NamedTuple):
    """State of a population, one value per cell in each field."""

    v: Tensor  # membrane potential [mV]
    i_syn: Tensor  # synaptic current [nA]
    x: Tensor  # first stage of the synapse [nA]
    wait: Tensor | None = None  # steps of the refractory period left; None without one


@dataclass(frozen=True)
class AlphaLIF(Resetting):
    """Current-based leaky integrate-and-fire with an alpha synapse.

        tau_mem dv/dt     = v_leak - v + r i_syn
        tau_syn di_syn/dt = x - i_syn
        tau_syn dx/dt     = current - x
        spike where v >= v_threshold, then reset; v is clamped for t_refractory, the synapse is not

    An impulse of current becomes `t / tau_syn^2 exp(-t / tau_syn)`, of area 1. The step is exact for every pair of time
    constants. The arguments are those of `CubaLIF`.

    >>> neuron = AlphaLIF(tau_syn=5.0)
    >>> _, state = neuron.step(torch.ones(1), neuron.initial_state((1,), torch.zeros(1)), dt=5.0)
    >>> round(float(state.i_syn), 4)  # 1 - 2 exp(-1)
    0.2642

    Reference: Rall 1967 (doi 10.1152/jn.1967.30.5.1138); exact steps as in Rotter & Diesmann 1999 (doi
    10.1007/s004220050570).
    """

    tau_mem: float = 20.0
    tau_syn: float = 5.0
    r: float = 1.0
    v_leak: float = 0.0
    v_threshold: float = 1.0
    v_reset: float = 0.0
    reset: Literal["to_value", "subtract", "none"] = "to_value"
    t_refractory: float = 0.0
    strict: bool = False
    surrogate: Surrogate = field(default_factory=lambda: Surrogate("atan"))

    equations: ClassVar[str] = """
        dv/dt = (v_leak - v + r * i_syn) / tau_mem : volt (unless refractory)
        di_syn/dt = (x - i_syn) / tau_syn : amp
        dx/dt = (current - x) / tau_syn : amp
    """
    method: ClassVar[str] = "exact"
    units: ClassVar[dict[str, str]] = {**CubaLIF.units, "x": "nA"}
    above: ClassVar[dict[str, float | str]] = CubaLIF.above

    def initial_state(self, shape: Iterable[int], like: Tensor) -> AlphaLIFState:
        """Return the resting state, ready to fire."""
        v = full(shape, self.v_leak, like)
        zero = torch.zeros_like(v)
        return AlphaLIFState(v, zero, zero, idle(v, self.t_refractory))

    def integrate(self, current: Tensor, state: AlphaLIFState, dt: float) -> AlphaLIFState:
        """Return the exact solution after one step."""
        i_excess, x_excess = state.i_syn - current, state.x - current
        kept, part = decay(dt, self.tau_mem), dt / self.tau_syn
        gap = dt / self.tau_mem - part
        drive = self.r * dt / self.tau_mem * kept
        v = toward(affine(current, self.r, self.v_leak), state.v, kept)
        v = v + drive * exprel(gap) * i_excess + drive * part * exprel_slope(gap) * x_excess
        fading = decay(dt, self.tau_syn)
        i_syn = current + fading * (i_excess + part * x_excess)
        return state._replace(v=held(state.wait, state.v, v), i_syn=i_syn, x=toward(current, state.x, fading))
