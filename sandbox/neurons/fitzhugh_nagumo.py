"""The FitzHugh-Nagumo oscillator: excitability in two variables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from rules.spikes.surrogate import Surrogate
from sandbox.machine.compiled import settled
from sandbox.neurons.base import Neuron, Value, affine, full
from sandbox.neurons.firing import cross
from sandbox.neurons.resting import lowest_root, plain
from sandbox.neurons.schemes import Variables, rk4


class FitzHughNagumoState(NamedTuple):
    """State of a population, one value per cell in each field."""

    v: Tensor  # fast variable, dimensionless
    w: Tensor  # recovery variable, dimensionless
    wait: Tensor  # 1 from a spike until the cell is below threshold again


@dataclass(frozen=True)
class FitzHughNagumo(Neuron):
    """FitzHugh-Nagumo neuron.

        tau_mem dv/dt = v - v^3 / 3 - w + r current
        tau_w dw/dt   = v + a - b w

    v and w are dimensionless; a spike is an upward crossing of v_threshold. Classical Runge-Kutta (rk4). With the
    defaults the cell oscillates for currents from about 0.33 to 1.42 nA.

    Args:
        tau_mem: time constant of the fast variable [ms].
        tau_w: time constant of the recovery [ms].
        a: offset of the recovery.
        b: slope of the recovery.
        r: gain of the input [1/nA].
        v_threshold: level of v that counts as a spike.
        surrogate: surrogate gradient of the spike.

    >>> state = FitzHughNagumo().initial_state((1,), torch.zeros(1, dtype=torch.float64))
    >>> round(float(state.v), 4), round(float(state.w), 4)
    (-1.1994, -0.6243)

    Reference: FitzHugh 1961 (doi 10.1016/S0006-3495(61)86902-6); Nagumo, Arimoto & Yoshizawa 1962 (doi
    10.1109/JRPROC.1962.288235).
    """

    tau_mem: float = 1.0
    tau_w: float = 12.5
    a: float = 0.7
    b: float = 0.8
    r: float = 1.0
    v_threshold: float = 1.0
    surrogate: Surrogate = field(default_factory=lambda: Surrogate("atan"))

    equations: ClassVar[str] = """
        dv/dt = (v - v**3 / 3 - w + r * current) / tau_mem : 1
        dw/dt = (v + a - b * w) / tau_w : 1
    """
    threshold: ClassVar[str] = "v >= v_threshold"
    reset_code: ClassVar[str] = ""
    refractory: ClassVar[str] = "v >= v_threshold"
    method: ClassVar[str] = "rk4"
    units: ClassVar[dict[str, str]] = {
        "tau_mem": "ms",
        "tau_w": "ms",
        "a": "1",
        "b": "1",
        "r": "1/nA",
        "v_threshold": "1",
        "v": "1",
        "w": "1",
        "current": "nA",
    }
    above: ClassVar[dict[str, float | str]] = {"tau_mem": 0.0, "tau_w": 0.0, "b": 0.0, "r": 0.0}

    @property
    def swing(self) -> Value:
        """Distance from the rest of the default cell to the level that counts as a spike."""
        return 2.2

    @property
    def rheobase(self) -> Value:
        """Current at which the default cell begins to oscillate, approximately [nA]."""
        return 0.33 / self.r

    def initial_state(self, shape: Iterable[int], like: Tensor) -> FitzHughNagumoState:
        """Return the state at the lowest fixed point, ready to fire."""
        v = full(shape, self._resting(), like)
        return FitzHughNagumoState(v, (v + self.a) / self.b, torch.zeros_like(v))

    @settled
    def _resting(self) -> float:
        """Return the resting value of the fast variable."""
        cell = plain(self)
        return lowest_root(lambda v: v - v**3 / 3 - (v + cell.a) / cell.b, -5.0, 5.0)

    def derivatives(self, current: Tensor, v: Tensor, w: Tensor) -> Variables:
        """Return dv/dt and dw/dt [1/ms]."""
        return (v - v**3 / 3 - w + affine(current, self.r)) / self.tau_mem, (v + self.a - self.b * w) / self.tau_w

    def integrate(self, current: Tensor, state: FitzHughNagumoState, dt: float) -> FitzHughNagumoState:
        """Take one Runge-Kutta step."""
        v, w = rk4(lambda v, w: self.derivatives(current, v, w), (state.v, state.w), dt)
        return state._replace(v=v, w=w)

    def fire(self, state: FitzHughNagumoState, dt: float) -> tuple[Tensor, FitzHughNagumoState]:
        """Return a spike `[...]` at every upward crossing of the threshold; nothing is reset."""
        spikes, wait = cross(self.surrogate, affine(self.centred(state), 1 / self.swing), state.wait)
        return spikes, state._replace(wait=wait)

    def centred(self, state: FitzHughNagumoState) -> Tensor:
        """Return fast variable minus threshold."""
        return state.v - self.v_threshold
