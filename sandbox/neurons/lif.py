"""The leaky integrate-and-fire neuron, with an exact step."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple

from torch import Tensor

from rules.spikes.surrogate import Surrogate
from sandbox.neurons.base import affine, decay, full, toward
from sandbox.neurons.firing import Resetting, held, idle


class LIFState(NamedTuple):
    """State of a population, one value per cell in each field."""

    v: Tensor  # membrane potential [mV]
    wait: Tensor | None = None  # steps of the refractory period left; None without one


@dataclass(frozen=True)
class LIF(Resetting):
    """Leaky integrate-and-fire with a hard threshold.

        tau_mem dv/dt = v_leak - v + r current
        spike where v >= v_threshold (v > v_threshold if `strict`), then reset; silent and clamped for t_refractory

    The current is constant within a step, so the step is exact: `v <- v_inf + (v - v_inf) exp(-dt / tau_mem)`, with
    `v_inf = v_leak + r current`. The refractory period is cut to whole steps as in Brian2, floor(t_refractory / dt).
    The surrogate sees `u = (v - v_threshold) / |v_threshold - v_leak|`, so its width means the same in every neuron.
    The defaults give a threshold of 1 above rest.

    Args:
        tau_mem: membrane time constant [ms].
        r: membrane resistance [MOhm].
        v_leak: resting potential [mV].
        v_threshold: threshold [mV].
        v_reset: potential after a spike [mV].
        reset: "to_value" (v_reset), "subtract" (v_threshold - v_reset is subtracted) or "none".
        t_refractory: refractory period [ms]; 0 for none.
        strict: fire only where v > v_threshold, not at equality.
        surrogate: surrogate gradient of the spike.

    Raises:
        ValueError: for a time constant that is not positive, a negative refractory period, or an unknown reset.

    >>> import torch
    >>> neuron = LIF(tau_mem=10.0, v_leak=-65.0, v_threshold=-50.0, v_reset=-65.0, r=10.0, t_refractory=2.0)
    >>> spikes, state = neuron.step(torch.tensor([200.0]), neuron.initial_state((1,), torch.zeros(1)), dt=1.0)
    >>> float(spikes), float(state.v), float(state.wait)
    (1.0, -65.0, 1.0)

    Reference: Lapicque 1907; Gerstner, Kistler, Naud & Paninski 2014, Neuronal Dynamics, section 1.3.
    """

    tau_mem: float = 20.0
    r: float = 1.0
    v_leak: float = 0.0
    v_threshold: float = 1.0
    v_reset: float = 0.0
    reset: Literal["to_value", "subtract", "none"] = "to_value"
    t_refractory: float = 0.0
    strict: bool = False
    surrogate: Surrogate = field(default_factory=lambda: Surrogate("atan"))

    equations: ClassVar[str] = "dv/dt = (v_leak - v + r * current) / tau_mem : volt (unless refractory)"
    method: ClassVar[str] = "exact"
    units: ClassVar[dict[str, str]] = {
        "tau_mem": "ms",
        "r": "Mohm",
        "v_leak": "mV",
        "v_threshold": "mV",
        "v_reset": "mV",
        "v": "mV",
        "current": "nA",
    }
    above: ClassVar[dict[str, float | str]] = {"tau_mem": 0.0, "r": 0.0, "v_threshold": "v_reset"}

    def initial_state(self, shape: Iterable[int], like: Tensor) -> LIFState:
        """Return the resting state, ready to fire."""
        v = full(shape, self.v_leak, like)
        return LIFState(v, idle(v, self.t_refractory))

    def integrate(self, current: Tensor, state: LIFState, dt: float) -> LIFState:
        """Return the exact solution after one step; refractory cells are clamped."""
        v = toward(affine(current, self.r, self.v_leak), state.v, decay(dt, self.tau_mem))
        return LIFState(held(state.wait, state.v, v), state.wait)
