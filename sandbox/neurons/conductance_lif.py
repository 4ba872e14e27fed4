"""A leaky integrate-and-fire neuron driven through conductances, with reversal potentials."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from rules.spikes.surrogate import Surrogate
from sandbox.neurons.base import Value, decay, full, toward
from sandbox.neurons.firing import Resetting, held, idle
from sandbox.neurons.schemes import relax


class CobaLIFState(NamedTuple):
    """State of a population, one value per cell in each field."""

    v: Tensor  # membrane potential [mV]
    g_e: Tensor  # excitatory conductance [uS]
    g_i: Tensor  # inhibitory conductance [uS]
    wait: Tensor | None = None  # steps of the refractory period left; None without one


@dataclass(frozen=True)
class CobaLIF(Resetting):
    """Conductance-based leaky integrate-and-fire with excitatory and inhibitory synapses.

        tau_mem dv/dt = v_leak - v + r (g_e (e_e - v) + g_i (e_i - v))
        tau_e dg_e/dt = max(current, 0) / (e_e - v_leak) - g_e
        tau_i dg_i/dt = max(-current, 0) / (v_leak - e_i) - g_i
        spike where v >= v_threshold, then reset; v is clamped for t_refractory, the conductances are not

    A positive current opens the excitatory conductance, a negative one the inhibitory conductance. The size of the
    current is what the conductance would pass at rest, so weights have the same meaning as in a current-based cell;
    this form of the input is a choice of ours. Exponential Euler. Defaults: Vogels & Abbott 2005, as given by Brette et
    al. 2007.

    Args:
        tau_mem: membrane time constant [ms].
        tau_e: decay time of the excitatory conductance [ms].
        tau_i: decay time of the inhibitory conductance [ms].
        r: membrane resistance [MOhm].
        v_leak: resting potential [mV].
        e_e: reversal potential of excitation [mV].
        e_i: reversal potential of inhibition [mV].
        v_threshold: threshold [mV].
        v_reset: potential after a spike [mV].
        reset: "to_value" (v_reset), "subtract" (v_threshold - v_reset is subtracted) or "none".
        t_refractory: refractory period [ms]; 0 for none.
        surrogate: surrogate gradient of the spike.

    >>> neuron = CobaLIF()
    >>> _, state = neuron.step(torch.tensor([0.6, -0.6]), neuron.initial_state((2,), torch.zeros(2)), dt=100.0)
    >>> [round(float(g), 4) for g in (*state.g_e, *state.g_i)]  # 0.6 nA / 60 mV, and 0.6 nA / 20 mV
    [0.01, 0.0, 0.0, 0.03]

    Reference: Vogels & Abbott 2005 (doi 10.1523/JNEUROSCI.3508-05.2005); Brette et al. 2007 (doi
    10.1007/s10827-007-0038-6), benchmark 1.
    """

    tau_mem: float = 20.0
    tau_e: float = 5.0
    tau_i: float = 10.0
    r: float = 100.0
    v_leak: float = -60.0
    e_e: float = 0.0
    e_i: float = -80.0
    v_threshold: float = -50.0
    v_reset: float = -60.0
    reset: Literal["to_value", "subtract", "none"] = "to_value"
    t_refractory: float = 5.0
    surrogate: Surrogate = field(default_factory=lambda: Surrogate("atan"))

    equations: ClassVar[str] = """
        dv/dt = (v_leak - v + r * (g_e * (e_e - v) + g_i * (e_i - v))) / tau_mem : volt (unless refractory)
        dg_e/dt = ((abs(current) + current) / (2 * (e_e - v_leak)) - g_e) / tau_e : siemens
        dg_i/dt = ((abs(current) - current) / (2 * (v_leak - e_i)) - g_i) / tau_i : siemens
    """
    method: ClassVar[str] = "exponential_euler"
    units: ClassVar[dict[str, str]] = {
        "tau_mem": "ms",
        "tau_e": "ms",
        "tau_i": "ms",
        "r": "Mohm",
        "v_leak": "mV",
        "e_e": "mV",
        "e_i": "mV",
        "v_threshold": "mV",
        "v_reset": "mV",
        "v": "mV",
        "g_e": "uS",
        "g_i": "uS",
        "current": "nA",
    }
    above: ClassVar[dict[str, float | str]] = {
        "tau_mem": 0.0,
        "tau_e": 0.0,
        "tau_i": 0.0,
        "r": 0.0,
        "e_e": "v_threshold",
        "v_threshold": "v_reset",
    }

    @property
    def rheobase(self) -> Value:
        """Constant current that brings the membrane to the threshold [nA]."""
        return self.swing * (self.e_e - self.v_leak) / (self.r * (self.e_e - self.v_threshold))

    def initial_state(self, shape: Iterable[int], like: Tensor) -> CobaLIFState:
        """Return the resting state, ready to fire."""
        v = full(shape, self.v_leak, like)
        zero = torch.zeros_like(v)
        return CobaLIFState(v, zero, zero, idle(v, self.t_refractory))

    def integrate(self, current: Tensor, state: CobaLIFState, dt: float) -> CobaLIFState:
        """Take one exponential Euler step: exact for the conductances; the membrane uses those before the step."""
        g_e, g_i = self.r * state.g_e, self.r * state.g_i
        total = 1 + g_e + g_i
        v = relax(state.v, (self.v_leak + g_e * self.e_e + g_i * self.e_i) / total, total / self.tau_mem, dt)
        excited = current.clamp(min=0) / (self.e_e - self.v_leak)
        inhibited = (-current).clamp(min=0) / (self.v_leak - self.e_i)
        return state._replace(
            v=held(state.wait, state.v, v),
            g_e=toward(excited, state.g_e, decay(dt, self.tau_e)),
            g_i=toward(inhibited, state.g_i, decay(dt, self.tau_i)),
        )
