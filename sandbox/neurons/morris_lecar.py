"""The Morris-Lecar model of the barnacle muscle fibre: calcium spikes, with two kinds of onset."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from rules.spikes.surrogate import Surrogate
from sandbox.machine.compiled import settled
from sandbox.neurons.base import Neuron, Value, affine, full, smallest
from sandbox.neurons.firing import cross
from sandbox.neurons.resting import lowest_root, plain
from sandbox.neurons.schemes import Variables, rk4


class MorrisLecarState(NamedTuple):
    """State of a population, one value per cell in each field."""

    v: Tensor  # membrane potential [mV]
    w: Tensor  # potassium activation
    wait: Tensor  # 1 from a spike until the cell is below threshold again


@dataclass(frozen=True)
class MorrisLecar(Neuron):
    """Morris-Lecar neuron, a patch of 0.001 cm^2.

        c_mem dv/dt = g_ca m_inf (e_ca - v) + g_k w (e_k - v) + g_leak (v_leak - v) + current
        dw/dt = phi (w_inf - w) cosh((v - v3) / (2 v4))
        m_inf = (1 + tanh((v - v1) / v2)) / 2,   w_inf = (1 + tanh((v - v3) / v4)) / 2

    A spike is an upward crossing of v_threshold. Classical Runge-Kutta (rk4). For this patch, a current in nA is a
    current density in uA/cm^2. Presets: "hopf", the default, begins to fire at a finite frequency; "snic" at frequency
    zero.

    Args:
        c_mem: membrane capacitance [nF].
        g_ca: maximal calcium conductance [uS].
        g_k: maximal potassium conductance [uS].
        g_leak: leak conductance [uS].
        e_ca: reversal potential of calcium [mV].
        e_k: reversal potential of potassium [mV].
        v_leak: reversal potential of the leak [mV].
        v1: potential at which half of the calcium channels are open [mV].
        v2: width of the calcium activation [mV].
        v3: potential at which half of the potassium channels are open [mV].
        v4: width of the potassium activation [mV].
        phi: rate of the potassium activation [1/ms].
        v_threshold: level that counts as a spike [mV].
        surrogate: surrogate gradient of the spike.

    >>> state = MorrisLecar().initial_state((1,), torch.zeros(1, dtype=torch.float64))
    >>> round(float(state.v), 2), round(float(state.w), 4)
    (-60.86, 0.0149)

    Reference: Morris & Lecar 1981 (doi 10.1016/S0006-3495(81)84782-0); parameters of Rinzel & Ermentrout 1998, Analysis
    of neural excitability and oscillations, table 7.1.
    """

    c_mem: float = 20.0
    g_ca: float = 4.4
    g_k: float = 8.0
    g_leak: float = 2.0
    e_ca: float = 120.0
    e_k: float = -84.0
    v_leak: float = -60.0
    v1: float = -1.2
    v2: float = 18.0
    v3: float = 2.0
    v4: float = 30.0
    phi: float = 0.04
    v_threshold: float = 0.0
    surrogate: Surrogate = field(default_factory=lambda: Surrogate("atan"))

    equations: ClassVar[str] = """
        dv/dt = (g_ca * m_inf * (e_ca - v) + g_k * w * (e_k - v) + g_leak * (v_leak - v) + current) / c_mem : volt
        dw/dt = phi * (w_inf - w) * cosh((v - v3) / (2 * v4)) : 1
        m_inf = (1 + tanh((v - v1) / v2)) / 2 : 1
        w_inf = (1 + tanh((v - v3) / v4)) / 2 : 1
    """
    threshold: ClassVar[str] = "v >= v_threshold"
    reset_code: ClassVar[str] = ""
    refractory: ClassVar[str] = "v >= v_threshold"
    method: ClassVar[str] = "rk4"
    units: ClassVar[dict[str, str]] = {
        "c_mem": "nF",
        "g_ca": "uS",
        "g_k": "uS",
        "g_leak": "uS",
        "e_ca": "mV",
        "e_k": "mV",
        "v_leak": "mV",
        "v1": "mV",
        "v2": "mV",
        "v3": "mV",
        "v4": "mV",
        "phi": "1/ms",
        "v_threshold": "mV",
        "v": "mV",
        "w": "1",
        "current": "nA",
    }
    above: ClassVar[dict[str, float | str]] = {
        "c_mem": 0.0,
        "g_ca": 0.0,
        "g_k": 0.0,
        "g_leak": 0.0,
        "v2": 0.0,
        "v4": 0.0,
        "phi": 0.0,
        "v_threshold": "v_leak",
    }
    presets: ClassVar[dict[str, dict[str, float]]] = {
        "hopf": {"g_ca": 4.4, "v3": 2.0, "v4": 30.0, "phi": 0.04},
        "snic": {"g_ca": 4.0, "v3": 12.0, "v4": 17.4, "phi": 1 / 15},
    }
    preset_currents: ClassVar[dict[str, float]] = {"hopf": 100.0, "snic": 45.0}

    @property
    def swing(self) -> Value:
        """Distance from the leak potential to the level that counts as a spike [mV]."""
        return self.v_threshold - self.v_leak

    @property
    def rheobase(self) -> Value:
        """Current at which the default cell begins to oscillate, approximately [nA]."""
        return 90.0

    @property
    def fastest(self) -> float:
        """Time constant of the potassium activation at 0 mV, or of the membrane with its channels half open [ms]."""
        membrane = smallest(self.c_mem) / (smallest(self.g_leak) + (smallest(self.g_k) + smallest(self.g_ca)) / 2)
        gate = 1 / (smallest(self.phi) * math.cosh(smallest(self.v3) / (2 * smallest(self.v4))))
        return min(membrane, gate)

    def initial_state(self, shape: Iterable[int], like: Tensor) -> MorrisLecarState:
        """Return the state at the lowest fixed point, ready to fire."""
        v = full(shape, self._resting(), like)
        return MorrisLecarState(v, (1 + torch.tanh((v - self.v3) / self.v4)) / 2, torch.zeros_like(v))

    def derivatives(self, current: Tensor, v: Tensor, w: Tensor) -> Variables:
        """Return dv/dt [mV/ms] and dw/dt [1/ms]."""
        m_inf = (1 + torch.tanh((v - self.v1) / self.v2)) / 2
        calcium = self.g_ca * m_inf * (self.e_ca - v)
        dv = (calcium + self.g_k * w * (self.e_k - v) + self.g_leak * (self.v_leak - v) + current) / self.c_mem
        x = (v - self.v3) / self.v4
        return dv, self.phi * ((1 + torch.tanh(x)) / 2 - w) * torch.cosh(x / 2)

    def integrate(self, current: Tensor, state: MorrisLecarState, dt: float) -> MorrisLecarState:
        """Take one Runge-Kutta step."""
        v, w = rk4(lambda v, w: self.derivatives(current, v, w), (state.v, state.w), dt)
        return state._replace(v=v, w=w)

    def fire(self, state: MorrisLecarState, dt: float) -> tuple[Tensor, MorrisLecarState]:
        """Return a spike `[...]` at every upward crossing of the threshold; nothing is reset."""
        spikes, wait = cross(self.surrogate, affine(self.centred(state), 1 / self.swing), state.wait)
        return spikes, state._replace(wait=wait)

    def centred(self, state: MorrisLecarState) -> Tensor:
        """Return membrane minus threshold [mV]."""
        return state.v - self.v_threshold

    @settled
    def _resting(self) -> float:
        """Return the resting potential [mV]."""
        return lowest_root(plain(self)._steady_current, -84.0, 40.0)

    def _steady_current(self, v: Tensor) -> Tensor:
        """Return the ionic current [nA] at given potentials, with both channels at their steady state."""
        m_inf = (1 + torch.tanh((v - self.v1) / self.v2)) / 2
        w_inf = (1 + torch.tanh((v - self.v3) / self.v4)) / 2
        calcium = self.g_ca * m_inf * (self.e_ca - v)
        potassium = self.g_k * w_inf * (self.e_k - v)
        return calcium + potassium + self.g_leak * (self.v_leak - v)
