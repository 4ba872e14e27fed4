"""Izhikevich's simple model, and the seven cells of its paper."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from rules.spikes.surrogate import Surrogate
from sandbox.neurons.base import Neuron, Value, affine, full, smallest
from sandbox.neurons.firing import cut, held, plus, to_value
from sandbox.neurons.schemes import Variables, euler


class IzhikevichState(NamedTuple):
    """What a cell remembers."""

    v: Tensor  # membrane potential [mV]
    u: Tensor  # recovery [mV/ms]
    wait: Tensor | None = None  # steps for which it stays refractory; None where no cell ever is


@dataclass(frozen=True)
class Izhikevich(Neuron):
    """The simple model of Izhikevich.

        dv/dt = 0.04 v^2 + 5 v + 140 - u + current / c_mem
        du/dt = a (b v - u)
        spike where v >= v_threshold, then v <- v_reset and u <- u + d

    (mV and ms; with c_mem = 1 nF a current in nA is the paper's I.) Forward Euler; the paper takes two half steps of
    v for each of u. Units: a, b 1/ms; v_* mV; d mV/ms; c_mem nF. `Izhikevich.preset(name)` has the paper's RS, IB, CH,
    FS, LTS, TC and RZ cells.

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
        """From the resting cell of the paper to the potential from which it runs away, -70 to -50 mV."""
        return 20.0

    @property
    def rheobase(self) -> Value:
        """Where the two fixed points meet; a cell with b > a may fire a little earlier [nA]."""
        return self.c_mem * ((5 - self.b) ** 2 / 0.16 - 140)

    @property
    def fastest(self) -> float:
        """Of the recovery, and of the membrane at the reset [ms]."""
        return min(smallest(1 / self.a), smallest(1 / abs(0.08 * self.v_reset + 5)))

    def initial_state(self, shape: Iterable[int], like: Tensor) -> IzhikevichState:
        """At rest, or where b leaves no rest at the point nearest to one; free to fire."""
        b = smallest(self.b)
        v = full(shape, (b - 5 - math.sqrt(max((5 - b) ** 2 - 22.4, 0.0))) / 0.08, like)
        return IzhikevichState(v, v * self.b, torch.zeros_like(v) if self.t_refractory > 0 else None)

    def derivatives(self, current: Tensor, v: Tensor, u: Tensor) -> Variables:
        """dv/dt [mV/ms] and du/dt [mV/ms^2]."""
        dv = (0.04 * v + 5) * v + 140 - u + affine(current, 1 / self.c_mem)
        return dv, self.a * (self.b * v - u)

    def integrate(self, current: Tensor, state: IzhikevichState, dt: float) -> IzhikevichState:
        """One Euler step; the membrane of refractory cells stays where it is."""
        v, u = euler(lambda v, u: self.derivatives(current, v, u), (state.v, state.u), dt)
        return state._replace(v=held(state.wait, state.v, v), u=u)

    def fire(self, state: IzhikevichState, dt: float) -> tuple[Tensor, IzhikevichState]:
        """Spikes `[...]` of zeros and ones, and the state after the reset."""
        spikes, wait = cut(self, state, dt)
        return spikes, IzhikevichState(to_value(state.v, spikes, self.v_reset), plus(state.u, spikes, self.d), wait)

    def centred(self, state: IzhikevichState) -> Tensor:
        """Membrane minus the peak of the spike [mV]."""
        return state.v - self.v_threshold
