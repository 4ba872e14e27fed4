"""The resonate-and-fire neuron: a damped oscillation below threshold, sensitive to the timing of its inputs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from rules.spikes.surrogate import Surrogate
from sandbox.neurons.base import Neuron, Value, affine, full, smallest, span
from sandbox.neurons.firing import cut, idle, to_value
from sandbox.neurons.schemes import Variables, rk4


class ResonateAndFireState(NamedTuple):
    """State of a population, one value per cell in each field."""

    v: Tensor  # voltage-like part [mV]
    w: Tensor  # current-like part [mV]
    wait: Tensor | None = None  # steps of the refractory period left; None without one


@dataclass(frozen=True)
class ResonateAndFire(Neuron):
    """Resonate-and-fire.

        dv/dt = omega w - (v - v_leak) / tau_mem
        dw/dt = -omega (v - v_leak) - w / tau_mem + r current / tau_mem
        spike where v >= v_threshold, then v <- v_reset and w <- 0

    In the paper's notation z = w + i (v - v_leak), dz/dt = (-1 / tau_mem + i omega) z + input. Classical Runge-Kutta
    (rk4), because Brian2's exact scheme does not accept complex rates. Refractory cells keep oscillating.

    Args:
        tau_mem: damping time constant [ms].
        omega: angular frequency [rad/ms].
        r: membrane resistance [MOhm].
        v_leak: resting potential [mV].
        v_threshold: threshold [mV].
        v_reset: potential after a spike [mV].
        t_refractory: refractory period [ms]; 0 for none.
        surrogate: surrogate gradient of the spike.

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
        """Distance from rest to threshold [mV]."""
        return span(self.v_leak, self.v_threshold)

    @property
    def rheobase(self) -> Value:
        """Constant current that brings the settled membrane to threshold [nA]; a current step overshoots."""
        turn = self.omega * self.tau_mem
        return self.swing * (1 + turn**2) / (turn * self.r)

    @property
    def fastest(self) -> float:
        """Damping time constant, or the time of one radian, whichever is shorter [ms]."""
        return min(smallest(self.tau_mem), smallest(1 / self.omega))

    def initial_state(self, shape: Iterable[int], like: Tensor) -> ResonateAndFireState:
        """Return the resting state, ready to fire."""
        v = full(shape, self.v_leak, like)
        return ResonateAndFireState(v, torch.zeros_like(v), idle(v, self.t_refractory))

    def derivatives(self, current: Tensor, v: Tensor, w: Tensor) -> Variables:
        """Return dv/dt and dw/dt [mV/ms]."""
        above_rest = affine(v, 1.0, -self.v_leak)
        dw = (affine(current, self.r) - w) / self.tau_mem - self.omega * above_rest
        return self.omega * w - above_rest / self.tau_mem, dw

    def integrate(self, current: Tensor, state: ResonateAndFireState, dt: float) -> ResonateAndFireState:
        """Take one Runge-Kutta step; refractory cells keep oscillating."""
        v, w = rk4(lambda v, w: self.derivatives(current, v, w), (state.v, state.w), dt)
        return state._replace(v=v, w=w)

    def fire(self, state: ResonateAndFireState, dt: float) -> tuple[Tensor, ResonateAndFireState]:
        """Return spikes `[...]`, 0 or 1, and the state after the reset."""
        spikes, wait = cut(self, state, dt)
        v = to_value(state.v, spikes, self.v_reset)
        return spikes, ResonateAndFireState(v, to_value(state.w, spikes, 0.0), wait)

    def centred(self, state: ResonateAndFireState) -> Tensor:
        """Return membrane minus threshold [mV]."""
        return state.v - self.v_threshold
