"""The adaptive exponential integrate-and-fire neuron, with published presets for its firing patterns."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from rules.spikes.surrogate import Surrogate
from sandbox.neurons.base import Neuron, Value, full, smallest
from sandbox.neurons.firing import adapted, cut, held, idle, to_value
from sandbox.neurons.schemes import Variables, euler


class AdExState(NamedTuple):
    """State of a population, one value per cell in each field."""

    v: Tensor  # membrane potential [mV]
    w: Tensor  # adaptation current [nA]
    wait: Tensor | None = None  # steps of the refractory period left; None without one


def _pattern(
    c_mem: float, g_leak: float, v_leak: float, a: float, tau_w: float, b: float, v_reset: float
) -> dict[str, float]:
    """Convert a preset from the units of the paper (pF, nS, mV, nS, ms, pA, mV) to nF, uS, mV, uS, ms, nA, mV."""
    small = {"c_mem": c_mem, "g_leak": g_leak, "a": a, "b": b}
    return {
        **{name: value / 1000 for name, value in small.items()},
        "v_leak": v_leak,
        "tau_w": tau_w,
        "v_reset": v_reset,
        "v_rheobase": -50.0,
        "delta_t": 2.0,
        "v_threshold": 0.0,
    }


@dataclass(frozen=True)
class AdEx(Neuron):
    """Adaptive exponential integrate-and-fire.

        c_mem dv/dt = g_leak (v_leak - v) + g_leak delta_t exp((v - v_rheobase) / delta_t) - w + current
        tau_w dw/dt = a (v - v_leak) - w
        spike where v >= v_threshold, then v <- v_reset and w <- w + b

    Forward Euler, because a scheme of higher order would evaluate the exponential above the level at which the upstroke
    is cut off. The defaults are the regular-spiking cell of Brette & Gerstner 2005. `AdEx.preset(name)` returns one of
    the eight firing patterns of Naud et al. 2008, which appear under the constant currents `AdEx.preset_currents` [nA].
    The presets are the numbers of Brian2's example of that paper, which P. Mueller adjusted to match its figures.

    Args:
        c_mem: membrane capacitance [nF].
        g_leak: leak conductance [uS].
        v_leak: leak potential [mV].
        v_rheobase: potential at which the upstroke begins [mV], V_T in the paper.
        delta_t: sharpness of the upstroke [mV].
        a: subthreshold adaptation [uS].
        tau_w: time constant of the adaptation [ms].
        b: rise of the adaptation with each spike [nA].
        v_reset: potential after a spike [mV].
        v_threshold: level at which the upstroke is cut off and the spike is emitted [mV].
        t_refractory: refractory period [ms], in which v is clamped; 0 for none.
        surrogate: surrogate gradient of the spike.

    >>> neuron = AdEx.preset("tonic")
    >>> neuron.c_mem, neuron.preset_currents["tonic"]
    (0.2, 0.5)

    Reference: Brette & Gerstner 2005 (doi 10.1152/jn.00686.2005); Naud, Marcille, Clopath & Gerstner 2008 (doi
    10.1007/s00422-008-0264-7).
    """

    c_mem: float = 0.281
    g_leak: float = 0.03
    v_leak: float = -70.6
    v_rheobase: float = -50.4
    delta_t: float = 2.0
    a: float = 0.004
    tau_w: float = 144.0
    b: float = 0.0805
    v_reset: float = -70.6
    v_threshold: float = 20.0
    t_refractory: float = 0.0
    surrogate: Surrogate = field(default_factory=lambda: Surrogate("atan"))

    equations: ClassVar[str] = """
        dv/dt = (g_leak * (v_leak - v + upstroke) - w + current) / c_mem : volt (unless refractory)
        upstroke = delta_t * exp((v - v_rheobase) / delta_t) : volt
        dw/dt = (a * (v - v_leak) - w) / tau_w : amp
    """
    threshold: ClassVar[str] = "v >= v_threshold"
    reset_code: ClassVar[str] = "v = v_reset\nw += b"
    method: ClassVar[str] = "euler"
    units: ClassVar[dict[str, str]] = {
        "c_mem": "nF",
        "g_leak": "uS",
        "v_leak": "mV",
        "v_rheobase": "mV",
        "delta_t": "mV",
        "a": "uS",
        "tau_w": "ms",
        "b": "nA",
        "v_reset": "mV",
        "v_threshold": "mV",
        "v": "mV",
        "w": "nA",
        "current": "nA",
    }
    above: ClassVar[dict[str, float | str]] = {
        "c_mem": 0.0,
        "g_leak": 0.0,
        "delta_t": 0.0,
        "tau_w": 0.0,
        "v_rheobase": "v_leak",
        "v_threshold": "v_rheobase",
    }
    presets: ClassVar[dict[str, dict[str, float]]] = {
        "tonic": _pattern(200, 10, -70, 2, 30, 0, -58),
        "adapting": _pattern(200, 12, -70, 2, 300, 60, -58),
        "initial_burst": _pattern(130, 18, -58, 4, 150, 120, -50),
        "bursting": _pattern(200, 10, -58, 2, 120, 100, -46),
        "delayed_accelerating": _pattern(200, 12, -70, -10, 300, 0, -58),
        "delayed_bursting": _pattern(100, 10, -65, -10, 90, 30, -47),
        "transient": _pattern(100, 10, -65, 10, 90, 100, -47),
        "irregular": _pattern(100, 12, -60, -11, 130, 30, -48),
    }
    preset_currents: ClassVar[dict[str, float]] = {
        "tonic": 0.5,
        "adapting": 0.5,
        "initial_burst": 0.4,
        "bursting": 0.21,
        "delayed_accelerating": 0.3,
        "delayed_bursting": 0.11,
        "transient": 0.18,
        "irregular": 0.16,
    }

    @property
    def swing(self) -> Value:
        """Distance from rest to the start of the upstroke [mV]."""
        return self.v_rheobase - self.v_leak

    @property
    def rheobase(self) -> Value:
        """Slowly rising current at which the two fixed points meet [nA]."""
        leak = smallest(self.g_leak)
        slope = leak + max(smallest(self.a), -0.99 * leak)
        v = smallest(self.v_rheobase) + smallest(self.delta_t) * math.log(slope / leak)
        return slope * (v - smallest(self.v_leak) - smallest(self.delta_t))

    @property
    def fastest(self) -> float:
        """Time constant of the membrane or of the adaptation, whichever is shorter [ms]."""
        return min(smallest(tau) for tau in (self.c_mem / self.g_leak, self.tau_w))

    def initial_state(self, shape: Iterable[int], like: Tensor) -> AdExState:
        """Return the state at the leak potential, without adaptation, ready to fire."""
        v = full(shape, self.v_leak, like)
        return AdExState(v, torch.zeros_like(v), idle(v, self.t_refractory))

    def derivatives(self, current: Tensor, v: Tensor, w: Tensor) -> Variables:
        """Return dv/dt [mV/ms] and dw/dt [nA/ms]."""
        above_rest = v - self.v_leak
        upstroke = self.delta_t * torch.exp((v - self.v_rheobase) / self.delta_t)
        dv = (self.g_leak * (upstroke - above_rest) - w + current) / self.c_mem
        return dv, (self.a * above_rest - w) / self.tau_w

    def integrate(self, current: Tensor, state: AdExState, dt: float) -> AdExState:
        """Take one Euler step; the membrane of refractory cells is clamped."""
        v, w = euler(lambda v, w: self.derivatives(current, v, w), (state.v, state.w), dt)
        return state._replace(v=held(state.wait, state.v, v), w=w)

    def fire(self, state: AdExState, dt: float) -> tuple[Tensor, AdExState]:
        """Return spikes `[...]`, 0 or 1, and the state after the reset."""
        spikes, wait = cut(self, state, dt)
        return spikes, AdExState(to_value(state.v, spikes, self.v_reset), adapted(state.w, spikes, self.b), wait)

    def centred(self, state: AdExState) -> Tensor:
        """Return membrane minus the level at which the upstroke is cut off [mV]."""
        return state.v - self.v_threshold
