"""A leaky integrate-and-fire neuron whose threshold rises with every spike."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from rules.spikes.surrogate import Surrogate
from sandbox.neurons.base import Neuron, Value, affine, decay, full, span, toward
from sandbox.neurons.firing import RESETS, adapted, cut, held, idle


class ALIFState(NamedTuple):
    """State of a population, one value per cell in each field."""

    v: Tensor  # membrane potential [mV]
    a: Tensor  # adaptation: the cell's own spikes, decaying
    wait: Tensor | None = None  # steps of the refractory period left; None without one


@dataclass(frozen=True)
class ALIF(Neuron):
    """Leaky integrate-and-fire with an adaptive threshold.

        tau_mem dv/dt   = v_leak - v + r current
        tau_adapt da/dt = -a
        spike where v >= v_threshold + beta a, then reset, and a <- a + 1

    The step is exact. Every spike adds 1 to the adaptation, as in Bellec et al. 2020; Bellec et al. 2018 add
    1 - exp(-dt / tau_adapt). The reset "subtract" uses the threshold without adaptation. The gradient through `a`
    follows the same choice as the gradient through the reset.

    Args:
        tau_mem: membrane time constant [ms].
        tau_adapt: time constant of the adaptation [ms].
        beta: rise of the threshold with each spike [mV].
        r: membrane resistance [MOhm].
        v_leak: resting potential [mV].
        v_threshold: threshold without adaptation [mV].
        v_reset: potential after a spike [mV].
        reset: "to_value" (v_reset), "subtract" (v_threshold - v_reset is subtracted) or "none".
        t_refractory: refractory period [ms], in which v is clamped; 0 for none.
        surrogate: surrogate gradient of the spike.

    >>> neuron = ALIF(tau_mem=10.0, beta=0.5)
    >>> spikes, state = neuron.step(torch.full((1,), 3.0), neuron.initial_state((1,), torch.zeros(1)), dt=10.0)
    >>> float(spikes), float(state.a), float(neuron.centred(state))  # the threshold is now at 1.5
    (1.0, 1.0, -1.5)

    Reference: Bellec et al. 2018 (arXiv 1803.09574); Bellec et al. 2020 (doi 10.1038/s41467-020-17236-y).
    """

    tau_mem: float = 20.0
    tau_adapt: float = 200.0
    beta: float = 0.1
    r: float = 1.0
    v_leak: float = 0.0
    v_threshold: float = 1.0
    v_reset: float = 0.0
    reset: Literal["to_value", "subtract", "none"] = "to_value"
    t_refractory: float = 0.0
    surrogate: Surrogate = field(default_factory=lambda: Surrogate("atan"))

    equations: ClassVar[str] = """
        dv/dt = (v_leak - v + r * current) / tau_mem : volt (unless refractory)
        da/dt = -a / tau_adapt : 1
    """
    threshold: ClassVar[str] = "v >= v_threshold + beta * a"
    method: ClassVar[str] = "exact"
    units: ClassVar[dict[str, str]] = {
        "tau_mem": "ms",
        "tau_adapt": "ms",
        "beta": "mV",
        "r": "Mohm",
        "v_leak": "mV",
        "v_threshold": "mV",
        "v_reset": "mV",
        "v": "mV",
        "a": "1",
        "current": "nA",
    }
    above: ClassVar[dict[str, float | str]] = {"tau_mem": 0.0, "tau_adapt": 0.0, "r": 0.0, "v_threshold": "v_reset"}
    choices: ClassVar[dict[str, Any]] = {"reset": RESETS}

    @property
    def reset_code(self) -> str:
        return f"{RESETS[self.reset][1]}\na += 1".strip()

    @property
    def swing(self) -> Value:
        """Distance from rest to the threshold without adaptation [mV]."""
        return span(self.v_leak, self.v_threshold)

    def initial_state(self, shape: Iterable[int], like: Tensor) -> ALIFState:
        """Return the resting state, without adaptation, ready to fire."""
        v = full(shape, self.v_leak, like)
        return ALIFState(v, torch.zeros_like(v), idle(v, self.t_refractory))

    def integrate(self, current: Tensor, state: ALIFState, dt: float) -> ALIFState:
        """Return the exact solution after one step."""
        v = toward(affine(current, self.r, self.v_leak), state.v, decay(dt, self.tau_mem))
        return state._replace(v=held(state.wait, state.v, v), a=state.a * decay(dt, self.tau_adapt))

    def fire(self, state: ALIFState, dt: float) -> tuple[Tensor, ALIFState]:
        """Return spikes `[...]`, 0 or 1, and the state after the reset."""
        spikes, wait = cut(self, state, dt)
        return spikes, ALIFState(RESETS[self.reset][0](state.v, spikes, self), adapted(state.a, spikes, 1.0), wait)

    def centred(self, state: ALIFState) -> Tensor:
        """Return membrane minus threshold [mV]."""
        return state.v - (self.v_threshold + self.beta * state.a)
