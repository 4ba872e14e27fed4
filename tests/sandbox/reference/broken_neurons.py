"""Neurons with one error each, and the check that must find it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from rules.spikes.surrogate import reset_signal
from sandbox.neurons import ALIF, LIF, QIF, LeakyIntegrator
from sandbox.neurons.adaptive_lif import ALIFState
from sandbox.neurons.firing import spike
from sandbox.neurons.lif import LIFState
from sandbox.neurons.schemes import euler


@dataclass(frozen=True)
class Sloppy(LIF):
    """Forward Euler under the name of the exact scheme."""

    def integrate(self, current, state, dt):
        return state._replace(v=state.v + dt / self.tau_mem * (self.v_leak + self.r * current - state.v))


@dataclass(frozen=True)
class Hasty(LIF):
    """Refractory for one step less than its parameter specifies."""

    def fire(self, state, dt):
        spikes, after = super().fire(state, dt)
        return spikes, after._replace(wait=None if after.wait is None else (after.wait - spikes.detach()).clamp(min=0))


@dataclass(frozen=True)
class Swapped(ALIF):
    """Adapts by the membrane before the reset, although its equations specify after it."""

    v_reset: float = -1.0

    @property
    def reset_code(self):
        return "v = v_reset\na += v / v_threshold"

    def fire(self, state, dt):
        spikes, after = super().fire(state, dt)
        return spikes, ALIFState(after.v, state.a + reset_signal(spikes) * state.v / self.v_threshold, after.wait)


@dataclass(frozen=True)
class Undecided(LIF):
    """`>` where its equations specify `>=`."""

    def fire(self, state, dt):
        spikes, wait = spike(self.surrogate, self.centred(state), state.wait, self.t_refractory, dt, strict=True)
        return spikes, LIFState(state.v * (1 - spikes) + self.v_reset * spikes, wait)


@dataclass(frozen=True)
class Cancelling(LIF):
    """Right in float64, but it takes a difference of large numbers."""

    def integrate(self, current, state, dt):
        after = super().integrate(current, state, dt)
        return after._replace(v=(after.v + 2e4) - 2e4)


@dataclass(frozen=True)
class WrongUnit(LIF):
    """A resistance in millivolt."""

    units: ClassVar[dict[str, str]] = {**LIF.units, "r": "mV"}


@dataclass(frozen=True)
class Unknown(LIF):
    """An equation with a name that nobody defines."""

    equations = "dv/dt = (v_leak - v + r * current + offset) / tau_mem : volt (unless refractory)"


@dataclass(frozen=True)
class FirstOrder(QIF):
    """Euler under the name of the midpoint rule."""

    def integrate(self, current, state, dt):
        (v,) = euler(lambda v: (self.derivative(current, v),), (state.v,), dt)
        return state._replace(v=v)


@dataclass(frozen=True)
class High(LIF):
    """Fires two per cent above the threshold of its text, however small the step is."""

    def fire(self, state, dt):
        return replace(LIF(), v_threshold=1.02 * self.v_threshold).fire(state, dt)


@dataclass(frozen=True)
class Weak(LeakyIntegrator):
    """A resistance that is five per cent smaller than its parameter."""

    def integrate(self, current, state, dt):
        return super().integrate(0.95 * current, state, dt)


@dataclass(frozen=True)
class Fragile(LIF):
    """Overflows under a strong current."""

    def integrate(self, current, state, dt):
        after = super().integrate(current, state, dt)
        return after._replace(v=after.v + 0 * torch.exp(10 * current))


WRONG = {  # the tier, and the checks that must fail
    "Sloppy": (Sloppy(), "same_scheme", ["v"]),
    "Hasty": (Hasty(), "same_scheme", ["refractory period"]),
    "Swapped": (Swapped(), "same_scheme", ["reset order"]),
    "Undecided": (Undecided(), "same_scheme", ["threshold at equality"]),
    "Fragile": (Fragile(), "same_scheme", ["values that are not finite"]),
    "Cancelling": (Cancelling(), "float32", ["voltage RMSE"]),
    "Sloppy in the limit": (Sloppy(), "limit", ["error of the variables"]),
    "FirstOrder": (FirstOrder(), "limit", ["order of the variables"]),
    "High": (High(), "limit", ["order of the spike times", "f-I curve"]),
    "Weak": (Weak(), "limit", ["frequency response"]),
}
