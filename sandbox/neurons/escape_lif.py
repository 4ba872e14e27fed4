"""A leaky integrate-and-fire neuron that fires at random, more likely the closer it is to threshold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from rules.spikes.surrogate import Surrogate
from sandbox.neurons.base import Neuron, Value, affine, decay, full, smallest, span, toward
from sandbox.neurons.dice import following, uniform
from sandbox.neurons.firing import RESETS, held, idle, spike


class EscapeLIFState(NamedTuple):
    """State of a population, one value per cell in each field."""

    v: Tensor  # membrane potential [mV]
    key: Tensor  # key of the next random numbers, one int64 for all cells
    wait: Tensor | None = None  # steps of the refractory period left; None without one


@dataclass(frozen=True)
class EscapeLIF(Neuron):
    """Leaky integrate-and-fire with escape noise.

        tau_mem dv/dt = v_leak - v + r current
        hazard = exp((v - v_threshold) / delta_v) / tau_escape
        spike with probability 1 - exp(-dt hazard) in a step, then reset

    The step uses an equivalent random threshold: with `dice` drawn uniformly from (0, 1), a cell fires where
    v >= v_threshold + delta_v log(-log(dice) tau_escape / dt). The surrogate sees the distance to this threshold. The
    draws depend on `state.key` alone, which comes from `seed`, or from the generator given to `scan`, to `simulate` or,
    by a rule, to the pass.

    Args:
        tau_mem: membrane time constant [ms].
        tau_escape: mean time to a spike at threshold [ms].
        delta_v: width of the noise [mV].
        r: membrane resistance [MOhm].
        v_leak: resting potential [mV].
        v_threshold: threshold without noise [mV].
        v_reset: potential after a spike [mV].
        reset: "to_value" (v_reset), "subtract" (v_threshold - v_reset is subtracted) or "none".
        t_refractory: refractory period [ms], in which v is clamped; 0 for none.
        seed: key of the random numbers if no generator is given.
        surrogate: surrogate gradient of the spike.

    >>> neuron = EscapeLIF(v_threshold=0.0, tau_escape=10.0)  # hazard 0.1 / ms at rest
    >>> spikes, _ = neuron.fire(neuron.initial_state((100_000,), torch.zeros(1)), dt=1.0)
    >>> round(float(spikes.mean()), 2)  # 1 - exp(-0.1) = 0.095
    0.1

    Reference: Gerstner, Kistler, Naud & Paninski 2014, Neuronal Dynamics, section 9.1; Jolivet et al. 2006 (doi
    10.1007/s10827-006-7074-5).
    """

    tau_mem: float = 20.0
    tau_escape: float = 1.0
    delta_v: float = 0.1
    r: float = 1.0
    v_leak: float = 0.0
    v_threshold: float = 1.0
    v_reset: float = 0.0
    reset: Literal["to_value", "subtract", "none"] = "to_value"
    t_refractory: float = 0.0
    seed: int = 0
    surrogate: Surrogate = field(default_factory=lambda: Surrogate("atan"))

    equations: ClassVar[str] = "dv/dt = (v_leak - v + r * current) / tau_mem : volt (unless refractory)"
    threshold: ClassVar[str] = "v >= v_threshold + delta_v * log(-log(dice) * tau_escape / dt)"
    method: ClassVar[str] = "exact"
    units: ClassVar[dict[str, str]] = {
        "tau_mem": "ms",
        "tau_escape": "ms",
        "delta_v": "mV",
        "r": "Mohm",
        "v_leak": "mV",
        "v_threshold": "mV",
        "v_reset": "mV",
        "v": "mV",
        "dice": "1",
        "current": "nA",
    }
    draws: ClassVar[dict[str, str]] = {"dice": "uniform"}
    above: ClassVar[dict[str, float | str]] = {"tau_mem": 0.0, "tau_escape": 0.0, "delta_v": 0.0, "r": 0.0}
    choices: ClassVar[dict[str, Any]] = {"reset": RESETS}

    @property
    def reset_code(self) -> str:
        return RESETS[self.reset][1]

    @property
    def swing(self) -> Value:
        """Distance from rest to threshold [mV]."""
        return span(self.v_leak, self.v_threshold)

    @property
    def fastest(self) -> float:
        """Time constant of the membrane [ms]; the hazard has no dynamics of its own."""
        return smallest(self.tau_mem)

    def initial_state(self, shape: Iterable[int], like: Tensor) -> EscapeLIFState:
        """Return the resting state, ready to fire, with the key of the seed."""
        v = full(shape, self.v_leak, like)
        key = torch.tensor(self.seed, dtype=torch.int64, device=like.device)
        return EscapeLIFState(v, key, idle(v, self.t_refractory))

    def integrate(self, current: Tensor, state: EscapeLIFState, dt: float) -> EscapeLIFState:
        """Return the exact solution after one step; refractory cells are clamped."""
        v = toward(affine(current, self.r, self.v_leak), state.v, decay(dt, self.tau_mem))
        return state._replace(v=held(state.wait, state.v, v))

    def fire(self, state: EscapeLIFState, dt: float) -> tuple[Tensor, EscapeLIFState]:
        """Return spikes `[...]`, 0 or 1, and the state after the reset."""
        dice = uniform(state.key, state.v)
        lifted = self.delta_v * torch.log(-torch.log(dice) * (self.tau_escape / dt))
        u = affine(self.centred(state) - lifted, 1 / self.swing)
        spikes, wait = spike(self.surrogate, u, state.wait, self.t_refractory, dt)
        spikes = spikes.to(state.v.dtype)  # the draws of half precision are float32
        return spikes, EscapeLIFState(RESETS[self.reset][0](state.v, spikes, self), following(state.key), wait)

    def centred(self, state: EscapeLIFState) -> Tensor:
        """Return membrane minus the noise-free threshold [mV]."""
        return state.v - self.v_threshold
