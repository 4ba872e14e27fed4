"""The quadratic integrate-and-fire neuron, the normal form of a neuron at the onset of firing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

from torch import Tensor

from rules.spikes.surrogate import Surrogate
from sandbox.neurons.base import Neuron, Value, affine, full
from sandbox.neurons.firing import cut, held, idle, to_value
from sandbox.neurons.schemes import rk2


class QIFState(NamedTuple):
    """State of a population, one value per cell in each field."""

    v: Tensor  # membrane potential [mV]
    wait: Tensor | None = None  # steps of the refractory period left; None without one


@dataclass(frozen=True)
class QIF(Neuron):
    """Quadratic integrate-and-fire.

        tau_mem dv/dt = k (v - v_leak) (v - v_critical) + r current
        spike where v >= v_threshold, then v <- v_reset

    Midpoint rule (rk2). The defaults are a choice of ours.

    Args:
        tau_mem: membrane time constant [ms].
        k: curvature of the membrane current [1/mV].
        r: membrane resistance [MOhm].
        v_leak: resting potential [mV].
        v_critical: potential above which the membrane diverges without input [mV].
        v_threshold: level at which the upstroke is cut off and the spike is emitted [mV].
        v_reset: potential after a spike [mV].
        t_refractory: refractory period [ms], in which v is clamped; 0 for none.
        surrogate: surrogate gradient of the spike.

    >>> round(QIF().rheobase, 3)  # k (v_critical - v_leak)^2 / (4 r)
    0.225

    Reference: Latham et al. 2000 (doi 10.1152/jn.2000.83.2.808); Neuronal Dynamics, section 5.3.
    """

    tau_mem: float = 10.0
    k: float = 0.04
    r: float = 10.0
    v_leak: float = -65.0
    v_critical: float = -50.0
    v_threshold: float = -20.0
    v_reset: float = -65.0
    t_refractory: float = 0.0
    surrogate: Surrogate = field(default_factory=lambda: Surrogate("atan"))

    equations: ClassVar[str] = """
        dv/dt = (k * (v - v_leak) * (v - v_critical) + r * current) / tau_mem : volt (unless refractory)
    """
    threshold: ClassVar[str] = "v >= v_threshold"
    reset_code: ClassVar[str] = "v = v_reset"
    method: ClassVar[str] = "rk2"
    units: ClassVar[dict[str, str]] = {
        "tau_mem": "ms",
        "k": "1/mV",
        "r": "Mohm",
        "v_leak": "mV",
        "v_critical": "mV",
        "v_threshold": "mV",
        "v_reset": "mV",
        "v": "mV",
        "current": "nA",
    }
    above: ClassVar[dict[str, float | str]] = {
        "tau_mem": 0.0,
        "k": 0.0,
        "r": 0.0,
        "v_critical": "v_leak",
        "v_threshold": "v_reset",
    }

    @property
    def swing(self) -> Value:
        """Distance from rest to the point of no return, v_critical [mV]."""
        return self.v_critical - self.v_leak

    @property
    def rheobase(self) -> Value:
        """Current at which the two fixed points meet [nA]."""
        return self.k * self.swing**2 / (4 * self.r)

    def initial_state(self, shape: Iterable[int], like: Tensor) -> QIFState:
        """Return the resting state, ready to fire."""
        v = full(shape, self.v_leak, like)
        return QIFState(v, idle(v, self.t_refractory))

    def derivative(self, current: Tensor, v: Tensor) -> Tensor:
        """Return dv/dt [mV/ms]."""
        return (self.k * (v - self.v_leak) * (v - self.v_critical) + affine(current, self.r)) / self.tau_mem

    def integrate(self, current: Tensor, state: QIFState, dt: float) -> QIFState:
        """Take one midpoint step; refractory cells are clamped."""
        (v,) = rk2(lambda v: (self.derivative(current, v),), (state.v,), dt)
        return state._replace(v=held(state.wait, state.v, v))

    def fire(self, state: QIFState, dt: float) -> tuple[Tensor, QIFState]:
        """Return spikes `[...]`, 0 or 1, and the state after the reset."""
        spikes, wait = cut(self, state, dt)
        return spikes, QIFState(to_value(state.v, spikes, self.v_reset), wait)

    def centred(self, state: QIFState) -> Tensor:
        """Return membrane minus the level at which the upstroke is cut off [mV]."""
        return state.v - self.v_threshold
