"""The resonate-and-fire neuron: a damped oscillation below threshold, so that timing decides."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from rules.spikes.surrogate import Surrogate
from sandbox.neurons.base import Neuron, Value, affine, full, smallest, span
from sandbox.neurons.firing import cut, to_value
from sandbox.neurons.schemes import Variables, rk4


class ResonateAndFireState(NamedTuple):
    """What a cell remembers."""

    v: Tensor  # voltage-like part [mV]
    w: Tensor  # current-like part [mV]
    wait: Tensor | None = None  # steps for which it stays refractory; None where no cell ever is


@dataclass(frozen=True)
class ResonateAndFire(Neuron):
    """Resonate-and-fire.

        dv/dt = omega w - (v - v_leak) / tau_mem
        dw/dt = -omega (v - v_leak) - w / tau_mem + r current / tau_mem
        spike where v >= v_threshold, then v <- v_reset and w <- 0

    In the paper's notation z = w + i (v - v_leak), dz/dt = (-1 / tau_mem + i omega) z + input. Classical Runge-Kutta
    (rk4), because Brian2's exact scheme does not take complex rates. Units: tau_mem ms; omega rad/ms; r MOhm; v_* mV.

    >>> round(ResonateAndFire().omega / (2 * math.pi) * 1000)  # Hz
    40

    Reference: Izhikevich 2001 (doi 10.1016/S0893-6080(01)00078-8); the defaults are ours.
    """

    tau_mem: float = 20.0
    omega: float = 2 * math.pi * 0.04
    r: float = 1.0
    v_leak: float = 0.0
    v_threshold: float = 1.0
    v_reset: float = 0.0
    t_refractory: float = 0.0
    surrogate: Surrogate = field(default_factory=lambda: Surrogate("atan"))

    equations: ClassVar[str] = """
        dv/dt = omega * w - (v - v_leak) / tau_mem : volt
        dw/dt = -omega * (v - v_leak) - w / tau_mem + r * current / tau_mem : volt
    """
    threshold: ClassVar[str] = "v >= v_threshold"
    reset_code: ClassVar[str] = "v = v_reset\nw = 0*mV"
    method: ClassVar[str] = "rk4"
    units: ClassVar[dict[str, str]] = {
        "tau_mem": "ms",
        "omega": "1/ms",
        "r": "Mohm",
        "v_leak": "mV",
        "v_threshold": "mV",
        "v_reset": "mV",
        "v": "mV",
        "w": "mV",
        "current": "nA",
    }
    above: ClassVar[dict[str, float | str]] = {"tau_mem": 0.0, "omega": 0.0, "r": 0.0, "v_threshold": "v_reset"}

    @property
    def swing(self) -> Value:
        """From rest to threshold [mV]."""
        return span(self.v_leak, self.v_threshold)

    @property
    def rheobase(self) -> Value:
        """Where the settled membrane meets the threshold; the onset of a step overshoots and fires earlier [nA]."""
        turn = self.omega * self.tau_mem
        return self.swing * (1 + turn**2) / (turn * self.r)

    @property
    def fastest(self) -> float:
        """The damping, or a radian of the oscillation [ms]."""
        return min(smallest(self.tau_mem), smallest(1 / self.omega))

    def initial_state(self, shape: Iterable[int], like: Tensor) -> ResonateAndFireState:
        """At rest, free to fire."""
        v = full(shape, self.v_leak, like)
        return ResonateAndFireState(v, torch.zeros_like(v), torch.zeros_like(v) if self.t_refractory > 0 else None)

    def derivatives(self, current: Tensor, v: Tensor, w: Tensor) -> Variables:
        """dv/dt and dw/dt [mV/ms]."""
        above_rest = affine(v, 1.0, -self.v_leak)
        dw = (affine(current, self.r) - w) / self.tau_mem - self.omega * above_rest
        return self.omega * w - above_rest / self.tau_mem, dw

    def integrate(self, current: Tensor, state: ResonateAndFireState, dt: float) -> ResonateAndFireState:
        """One Runge-Kutta step; a refractory cell goes on oscillating."""
        v, w = rk4(lambda v, w: self.derivatives(current, v, w), (state.v, state.w), dt)
        return state._replace(v=v, w=w)

    def fire(self, state: ResonateAndFireState, dt: float) -> tuple[Tensor, ResonateAndFireState]:
        """Spikes `[...]` of zeros and ones, and the state after the reset."""
        spikes, wait = cut(self, state, dt)
        v = to_value(state.v, spikes, self.v_reset)
        return spikes, ResonateAndFireState(v, to_value(state.w, spikes, 0.0), wait)

    def centred(self, state: ResonateAndFireState) -> Tensor:
        """Membrane minus threshold [mV]."""
        return state.v - self.v_threshold
