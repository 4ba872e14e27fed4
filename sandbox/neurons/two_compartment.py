"""A neuron with two compartments: a dendrite that receives the input, and a soma that fires."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from rules.spikes.surrogate import Surrogate
from sandbox.neurons.base import Value, full, smallest
from sandbox.neurons.firing import Resetting, held, idle
from sandbox.neurons.schemes import Variables, rk4


class TwoCompartmentState(NamedTuple):
    """State of a population, one value per cell in each field."""

    v: Tensor  # membrane potential of the soma [mV]
    v_dend: Tensor  # membrane potential of the dendrite [mV]
    wait: Tensor | None = None  # steps of the refractory period left; None without one


@dataclass(frozen=True)
class TwoCompartment(Resetting):
    """Two leaky compartments coupled by an axial resistance; the current enters the dendrite, and the soma fires.

        tau_mem dv/dt       = v_leak - v + r (v_dend - v) / r_axial
        tau_dend dv_dend/dt = v_leak - v_dend + r_dend (current + (v - v_dend) / r_axial)
        spike where v >= v_threshold, then the reset of the soma; the soma is clamped for t_refractory

    Classical Runge-Kutta (rk4). The defaults are a choice of ours.

    Args:
        tau_mem: time constant of the soma [ms].
        tau_dend: time constant of the dendrite [ms].
        r: resistance of the soma [MOhm].
        r_dend: resistance of the dendrite [MOhm].
        r_axial: resistance between the compartments [MOhm].
        v_leak: resting potential of both [mV].
        v_threshold: threshold of the soma [mV].
        v_reset: potential of the soma after a spike [mV].
        reset: "to_value" (v_reset), "subtract" (v_threshold - v_reset is subtracted) or "none"; of the soma.
        t_refractory: refractory period [ms]; 0 for none.
        surrogate: surrogate gradient of the spike.

    >>> TwoCompartment().rheobase  # (1 / r + (1 + r_axial / r) / r_dend) swing
    3.0

    Reference: Gerstner, Kistler, Naud & Paninski 2014, Neuronal Dynamics, section 3.2.
    """

    tau_mem: float = 20.0
    tau_dend: float = 10.0
    r: float = 1.0
    r_dend: float = 1.0
    r_axial: float = 1.0
    v_leak: float = 0.0
    v_threshold: float = 1.0
    v_reset: float = 0.0
    reset: Literal["to_value", "subtract", "none"] = "to_value"
    t_refractory: float = 0.0
    surrogate: Surrogate = field(default_factory=lambda: Surrogate("atan"))

    equations: ClassVar[str] = """
        dv/dt = (v_leak - v + r * (v_dend - v) / r_axial) / tau_mem : volt (unless refractory)
        dv_dend/dt = (v_leak - v_dend + r_dend * (current + (v - v_dend) / r_axial)) / tau_dend : volt
    """
    method: ClassVar[str] = "rk4"
    units: ClassVar[dict[str, str]] = {
        "tau_mem": "ms",
        "tau_dend": "ms",
        "r": "Mohm",
        "r_dend": "Mohm",
        "r_axial": "Mohm",
        "v_leak": "mV",
        "v_threshold": "mV",
        "v_reset": "mV",
        "v": "mV",
        "v_dend": "mV",
        "current": "nA",
    }
    above: ClassVar[dict[str, float | str]] = {
        "tau_mem": 0.0,
        "tau_dend": 0.0,
        "r": 0.0,
        "r_dend": 0.0,
        "r_axial": 0.0,
        "v_threshold": "v_reset",
    }

    @property
    def rheobase(self) -> Value:
        """Constant current that brings the soma to threshold [nA]."""
        return self.swing * (1 / self.r + (1 + self.r_axial / self.r) / self.r_dend)

    def predicted(self, v_dend: Tensor) -> Tensor:
        """Return the potential to which a constant dendrite alone brings the soma [mV].

            g_D / (g_D + g_L) (v_dend - v_leak) + v_leak,    g_D = 1 / r_axial,  g_L = 1 / r

        >>> TwoCompartment(r_axial=3.0).predicted(torch.tensor(8.0))
        tensor(2.)
        """
        return self.v_leak + self.r / (self.r + self.r_axial) * (v_dend - self.v_leak)

    @property
    def fastest(self) -> float:
        """Time constant of the faster compartment, with the other as its load [ms]."""
        soma = self.tau_mem / (1 + self.r / self.r_axial)
        dendrite = self.tau_dend / (1 + self.r_dend / self.r_axial)
        return min(smallest(tau) for tau in (soma, dendrite))

    def initial_state(self, shape: Iterable[int], like: Tensor) -> TwoCompartmentState:
        """Return the resting state, ready to fire."""
        v = full(shape, self.v_leak, like)
        return TwoCompartmentState(v, v, idle(v, self.t_refractory))

    def derivatives(self, current: Tensor, v: Tensor, v_dend: Tensor) -> Variables:
        """Return dv/dt and dv_dend/dt [mV/ms]."""
        axial = (v_dend - v) / self.r_axial
        soma = (self.v_leak - v + self.r * axial) / self.tau_mem
        return soma, (self.v_leak - v_dend + self.r_dend * (current - axial)) / self.tau_dend

    def integrate(self, current: Tensor, state: TwoCompartmentState, dt: float) -> TwoCompartmentState:
        """Take one Runge-Kutta step; the soma of a refractory cell is clamped in every stage."""

        def f(v: Tensor, v_dend: Tensor) -> Variables:
            soma, dendrite = self.derivatives(current, v, v_dend)
            return held(state.wait, torch.zeros_like(soma), soma), dendrite

        v, v_dend = rk4(f, (state.v, state.v_dend), dt)
        return state._replace(v=v, v_dend=v_dend)
