"""The exponential integrate-and-fire neuron: a leaky membrane with an exponential upstroke."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from rules.spikes.surrogate import Surrogate
from sandbox.neurons.base import Neuron, Value, affine, full
from sandbox.neurons.firing import cut, held, idle, to_value
from sandbox.neurons.schemes import euler


class EIFState(NamedTuple):
    """State of a population, one value per cell in each field."""

    v: Tensor  # membrane potential [mV]
    wait: Tensor | None = None  # steps of the refractory period left; None without one


@dataclass(frozen=True)
class EIF(Neuron):
    """Exponential integrate-and-fire.

        tau_mem dv/dt = v_leak - v + delta_t exp((v - v_rheobase) / delta_t) + r current
        spike where v >= v_threshold, then v <- v_reset, clamped for t_refractory

    Forward Euler, because a scheme of higher order would evaluate the exponential above the level at which the upstroke
    is cut off. Defaults: the paper's fit to a conductance-based cell; r and v_threshold are a choice of ours.

    Args:
        tau_mem: membrane time constant [ms].
        delta_t: sharpness of the upstroke [mV].
        r: membrane resistance [MOhm].
        v_leak: leak potential [mV].
        v_rheobase: potential at which the upstroke begins [mV], V_T in the paper.
        v_threshold: level at which the upstroke is cut off and the spike is emitted [mV].
        v_reset: potential after a spike [mV].
        t_refractory: refractory period [ms], in which v is clamped; 0 for none.
        surrogate: surrogate gradient of the spike.

    >>> round(EIF().rheobase, 2)  # (v_rheobase - delta_t - v_leak) / r
    1.62

    Reference: Fourcaud-Trocme, Hansel, van Vreeswijk & Brunel 2003 (doi 10.1523/JNEUROSCI.23-37-11628.2003).
    """

    tau_mem: float = 10.0
    delta_t: float = 3.48
    r: float = 1.0
    v_leak: float = -65.0
    v_rheobase: float = -59.9
    v_threshold: float = -30.0
    v_reset: float = -68.0
    t_refractory: float = 1.7
    surrogate: Surrogate = field(default_factory=lambda: Surrogate("atan"))

    equations: ClassVar[str] = """
        dv/dt = (v_leak - v + upstroke + r * current) / tau_mem : volt (unless refractory)
        upstroke = delta_t * exp((v - v_rheobase) / delta_t) : volt
    """
    threshold: ClassVar[str] = "v >= v_threshold"
    reset_code: ClassVar[str] = "v = v_reset"
    method: ClassVar[str] = "euler"
    units: ClassVar[dict[str, str]] = {
        "tau_mem": "ms",
        "delta_t": "mV",
        "r": "Mohm",
        "v_leak": "mV",
        "v_rheobase": "mV",
        "v_threshold": "mV",
        "v_reset": "mV",
        "v": "mV",
        "current": "nA",
    }
    above: ClassVar[dict[str, float | str]] = {
        "tau_mem": 0.0,
        "delta_t": 0.0,
        "r": 0.0,
        "v_rheobase": "v_leak",
        "v_threshold": "v_rheobase",
    }

    @property
    def swing(self) -> Value:
        """Distance from rest to the start of the upstroke [mV]."""
        return self.v_rheobase - self.v_leak

    @property
    def rheobase(self) -> Value:
        """Current at which the two fixed points meet [nA]."""
        return (self.swing - self.delta_t) / self.r

    def initial_state(self, shape: Iterable[int], like: Tensor) -> EIFState:
        """Return the state at the leak potential, ready to fire."""
        v = full(shape, self.v_leak, like)
        return EIFState(v, idle(v, self.t_refractory))

    def derivative(self, current: Tensor, v: Tensor) -> Tensor:
        """Return dv/dt [mV/ms]."""
        upstroke = self.delta_t * torch.exp((v - self.v_rheobase) / self.delta_t)
        return (self.v_leak - v + upstroke + affine(current, self.r)) / self.tau_mem

    def integrate(self, current: Tensor, state: EIFState, dt: float) -> EIFState:
        """Take one Euler step; refractory cells are clamped."""
        (v,) = euler(lambda v: (self.derivative(current, v),), (state.v,), dt)
        return state._replace(v=held(state.wait, state.v, v))

    def fire(self, state: EIFState, dt: float) -> tuple[Tensor, EIFState]:
        """Return spikes `[...]`, 0 or 1, and the state after the reset."""
        spikes, wait = cut(self, state, dt)
        return spikes, EIFState(to_value(state.v, spikes, self.v_reset), wait)

    def centred(self, state: EIFState) -> Tensor:
        """Return membrane minus the level at which the upstroke is cut off [mV]."""
        return state.v - self.v_threshold
