"""Izhikevich's simple model, with the seven cells of the paper as presets."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

from torch import Tensor

from rules.spikes.surrogate import Surrogate
from sandbox.neurons.base import Neuron, Value, affine, full, smallest
from sandbox.neurons.firing import adapted, cut, held, idle, to_value
from sandbox.neurons.schemes import Variables, euler


class IzhikevichState(NamedTuple):
    """State of a population, one value per cell in each field."""

    v: Tensor  # membrane potential [mV]
    u: Tensor  # recovery [mV/ms]
    wait: Tensor | None = None  # steps of the refractory period left; None without one


@dataclass(frozen=True)
class Izhikevich(Neuron):
    """The simple model of Izhikevich.

        dv/dt = 0.04 v^2 + 5 v + 140 - u + current / c_mem
        du/dt = a (b v - u)
        spike where v >= v_threshold, then v <- v_reset and u <- u + d

    In mV and ms; with c_mem = 1 nF, a current in nA is the paper's I. Forward Euler, where the paper takes two half
    steps of v for each step of u. `Izhikevich.preset(name)` returns the paper's RS, IB, CH, FS, LTS, TC and RZ cells.

    Args:
        a: rate of the recovery [1/ms].
        b: coupling of the recovery to v [1/ms].
        v_reset: potential after a spike [mV], c in the paper.
        d: rise of the recovery with each spike [mV/ms].
        c_mem: membrane capacitance [nF].
        v_threshold: peak of the spike [mV].
        t_refractory: refractory period [ms], in which v is clamped; 0 for none.
        surrogate: surrogate gradient of the spike.

    >>> Izhikevich.preset("FS").a, round(Izhikevich().rheobase, 6)
    (0.1, 4.0)

    Reference: Izhikevich 2003 (doi 10.1109/TNN.2003.820440), equations 1 to 3 and figure 2.
    """

    a: float = 0.02
    b: float = 0.2
    v_reset: float = -65.0
    d: float = 8.0
    c_mem: float = 1.0
    v_threshold: float = 30.0
    t_refractory: float = 0.0
    surrogate: Surrogate = field(default_factory=lambda: Surrogate("atan"))

    equations: ClassVar[str] = """
        dv/dt = 0.04 / mV / ms * v**2 + 5 / ms * v + 140 * mV / ms - u + current / c_mem : volt (unless refractory)
        du/dt = a * (b * v - u) : volt / second
    """
    threshold: ClassVar[str] = "v >= v_threshold"
    reset_code: ClassVar[str] = "v = v_reset\nu += d"
    method: ClassVar[str] = "euler"
    units: ClassVar[dict[str, str]] = {
        "a": "1/ms",
        "b": "1/ms",
        "v_reset": "mV",
        "d": "mV/ms",
        "c_mem": "nF",
        "v_threshold": "mV",
        "v": "mV",
        "u": "mV/ms",
        "current": "nA",
    }
    above: ClassVar[dict[str, float | str]] = {"a": 0.0, "c_mem": 0.0, "v_threshold": "v_reset"}
    presets: ClassVar[dict[str, dict[str, float]]] = {
        "RS": {"a": 0.02, "b": 0.2, "v_reset": -65.0, "d": 8.0},
        "IB": {"a": 0.02, "b": 0.2, "v_reset": -55.0, "d": 4.0},
        "CH": {"a": 0.02, "b": 0.2, "v_reset": -50.0, "d": 2.0},
        "FS": {"a": 0.1, "b": 0.2, "v_reset": -65.0, "d": 2.0},
        "LTS": {"a": 0.02, "b": 0.25, "v_reset": -65.0, "d": 2.0},
        "TC": {"a": 0.02, "b": 0.25, "v_reset": -65.0, "d": 0.05},
        "RZ": {"a": 0.1, "b": 0.26, "v_reset": -65.0, "d": 2.0},
    }
    preset_currents: ClassVar[dict[str, float]] = dict.fromkeys(presets, 10.0)

    @property
    def swing(self) -> Value:
        """Distance from the resting potential of the paper's cell, -70 mV, to its spike onset, -50 mV."""
        return 20.0

    @property
    def rheobase(self) -> Value:
        """Current at which the two fixed points meet [nA]; a cell with b > a may fire a little earlier."""
        return self.c_mem * ((5 - self.b) ** 2 / 0.16 - 140)

    @property
    def fastest(self) -> float:
        """Time constant of the recovery, or of the membrane at the reset, whichever is shorter [ms]."""
        return min(smallest(1 / self.a), smallest(1 / abs(0.08 * self.v_reset + 5)))

    def initial_state(self, shape: Iterable[int], like: Tensor) -> IzhikevichState:
        """Return the resting state, or the point nearest to rest if b leaves no fixed point; ready to fire."""
        b = smallest(self.b)
        v = full(shape, (b - 5 - math.sqrt(max((5 - b) ** 2 - 22.4, 0.0))) / 0.08, like)
        return IzhikevichState(v, v * self.b, idle(v, self.t_refractory))

    def derivatives(self, current: Tensor, v: Tensor, u: Tensor) -> Variables:
        """Return dv/dt [mV/ms] and du/dt [mV/ms^2]."""
        dv = (0.04 * v + 5) * v + 140 - u + affine(current, 1 / self.c_mem)
        return dv, self.a * (self.b * v - u)

    def integrate(self, current: Tensor, state: IzhikevichState, dt: float) -> IzhikevichState:
        """Take one Euler step; the membrane of refractory cells is clamped."""
        v, u = euler(lambda v, u: self.derivatives(current, v, u), (state.v, state.u), dt)
        return state._replace(v=held(state.wait, state.v, v), u=u)

    def fire(self, state: IzhikevichState, dt: float) -> tuple[Tensor, IzhikevichState]:
        """Return spikes `[...]`, 0 or 1, and the state after the reset."""
        spikes, wait = cut(self, state, dt)
        return spikes, IzhikevichState(to_value(state.v, spikes, self.v_reset), adapted(state.u, spikes, self.d), wait)

    def centred(self, state: IzhikevichState) -> Tensor:
        """Return membrane minus the peak of the spike [mV]."""
        return state.v - self.v_threshold
