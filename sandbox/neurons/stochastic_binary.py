"""A stochastic binary unit: its probability of firing is the logistic of its membrane, and it is not reset."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from rules.spikes.bits import logistic
from rules.spikes.surrogate import Surrogate
from sandbox.neurons.base import Neuron, Value, affine, decay, full, toward
from sandbox.neurons.dice import following, uniform


class StochasticBinaryState(NamedTuple):
    """State of a population, one value per cell in each field."""

    v: Tensor  # membrane potential [mV]
    key: Tensor  # key of the next random numbers, one int64 for all cells


@dataclass(frozen=True)
class StochasticBinary(Neuron):
    """Stochastic binary unit: the probability of a spike is the logistic of the membrane; there is no reset.

        tau_mem dv/dt = v_leak - v + r current
        spike with probability p = 1 / (1 + exp(-(v - v_threshold) / delta_v)) in a step

    By default the membrane forgets its past within a step (exp(-dt / tau_mem) is 4e-44 at dt = 1 ms), so v is the
    input, `v_leak + r current`: the classical stochastic binary unit. A longer tau_mem makes it leaky. The step
    compares the membrane with logistic noise: with `dice` drawn uniformly from (0, 1), the unit fires where
    v >= v_threshold + delta_v log(dice / (1 - dice)). Its derivative is that of the probability, p (1 - p) / delta_v.
    The draws come from `state.key` as in `EscapeLIF`.

    Args:
        tau_mem: membrane time constant [ms].
        delta_v: width of the logistic [mV].
        r: membrane resistance [MOhm].
        v_leak: resting potential [mV].
        v_threshold: potential at which the unit fires with probability 1/2 [mV].
        seed: key of the random numbers if no generator is given.

    >>> neuron = StochasticBinary()
    >>> spikes, _ = neuron.step(torch.full((100_000,), 1.0), neuron.initial_state((100_000,), torch.zeros(1)), dt=1.0)
    >>> round(float(spikes.mean()), 2)  # 1 / (1 + exp(-1)) = 0.731
    0.73

    Reference: Ackley, Hinton & Sejnowski 1985 (doi 10.1207/s15516709cog0901_7), for the unit.
    """

    tau_mem: float = 0.01
    delta_v: float = 1.0
    r: float = 1.0
    v_leak: float = 0.0
    v_threshold: float = 0.0
    seed: int = 0

    equations: ClassVar[str] = "dv/dt = (v_leak - v + r * current) / tau_mem : volt"
    threshold: ClassVar[str] = "v >= v_threshold + delta_v * log(dice / (1 - dice))"
    reset_code: ClassVar[str] = ""
    method: ClassVar[str] = "exact"
    spontaneous: ClassVar[bool] = True
    units: ClassVar[dict[str, str]] = {
        "tau_mem": "ms",
        "delta_v": "mV",
        "r": "Mohm",
        "v_leak": "mV",
        "v_threshold": "mV",
        "v": "mV",
        "dice": "1",
        "current": "nA",
    }
    draws: ClassVar[dict[str, str]] = {"dice": "uniform"}
    above: ClassVar[dict[str, float | str]] = {"tau_mem": 0.0, "delta_v": 0.0, "r": 0.0}

    @property
    def swing(self) -> Value:
        """Width of the logistic [mV]."""
        return self.delta_v

    @property
    def fastest(self) -> float:
        """Infinite [ms]: the membrane's step is exact, and nothing else in the unit would need a shorter one."""
        return math.inf

    def initial_state(self, shape: Iterable[int], like: Tensor) -> StochasticBinaryState:
        """Return the resting state, with the key of the seed."""
        key = torch.tensor(self.seed, dtype=torch.int64, device=like.device)
        return StochasticBinaryState(full(shape, self.v_leak, like), key)

    def integrate(self, current: Tensor, state: StochasticBinaryState, dt: float) -> StochasticBinaryState:
        """Return the exact solution after one step."""
        return state._replace(v=toward(affine(current, self.r, self.v_leak), state.v, decay(dt, self.tau_mem)))

    def fire(self, state: StochasticBinaryState, dt: float) -> tuple[Tensor, StochasticBinaryState]:
        """Return spikes `[...]`, 0 or 1; the membrane is not reset."""
        noise = logistic(uniform(state.key, state.v))
        spikes = LOGISTIC.spike(affine(self.centred(state), 1 / self.delta_v), noise=noise)
        return spikes, state._replace(key=following(state.key))

    def centred(self, state: StochasticBinaryState) -> Tensor:
        """Return membrane minus the noise-free threshold [mV]."""
        return affine(state.v, 1.0, -self.v_threshold)


LOGISTIC = Surrogate("sigmoid", alpha=1.0)
