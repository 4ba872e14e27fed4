"""The currents that a neuron is tried on: nothing, a step, a ramp, noise, a sine wave, and far too much."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from sandbox.neurons.base import Neuron, smallest

Maker = Callable[[Neuron, int, int, float, int], Tensor]


def noisy_currents(neuron: Neuron, cells: int, steps: int, dt: float, seed: int = 0) -> Tensor:
    """Ornstein-Uhlenbeck currents `[steps, cells]` in nA, float64, from well below rheobase to three times above it.

        dI = (mu - I) dt / tau + sigma sqrt(2 dt / tau) xi,  tau = 5 ms, sigma = 0.5 rheobase

    >>> from sandbox import LIF
    >>> noisy_currents(LIF(), cells=3, steps=10, dt=0.1).shape
    torch.Size([10, 3])
    """
    rng = torch.Generator().manual_seed(seed)
    mean = strengths(neuron, cells)
    noise = torch.randn(steps, cells, dtype=torch.float64, generator=rng)
    keep = math.exp(-dt / 5.0)
    rows = [mean]
    for xi in noise[1:]:
        rows.append(mean + keep * (rows[-1] - mean) + 0.5 * rheobase(neuron) * math.sqrt(1 - keep**2) * xi)
    return torch.stack(rows)


def silent(neuron: Neuron, cells: int, steps: int, dt: float, seed: int) -> Tensor:
    """No current."""
    return torch.zeros(steps, cells, dtype=torch.float64)


def stepped(neuron: Neuron, cells: int, steps: int, dt: float, seed: int) -> Tensor:
    """On after a tenth of the time, off after four fifths, so that onset and recovery show."""
    on = torch.zeros(steps, 1, dtype=torch.float64)
    on[steps // 10 : 4 * steps // 5] = 1.0
    return on * strengths(neuron, cells)


def ramp(neuron: Neuron, cells: int, steps: int, dt: float, seed: int) -> Tensor:
    """From nothing up in a straight line."""
    return torch.linspace(0, 1, steps, dtype=torch.float64)[:, None] * strengths(neuron, cells)


def sinusoidal(neuron: Neuron, cells: int, steps: int, dt: float, seed: int) -> Tensor:
    """Half a rheobase about each mean, from 2 Hz for the first cell to 200 Hz for the last."""
    t = dt * torch.arange(steps, dtype=torch.float64)[:, None] / 1000  # [s]
    hertz = torch.logspace(math.log10(2), math.log10(200), cells, dtype=torch.float64)
    return strengths(neuron, cells) + 0.5 * rheobase(neuron) * torch.sin(2 * math.pi * hertz * t)


def saturating(neuron: Neuron, cells: int, steps: int, dt: float, seed: int) -> Tensor:
    """So much that a cell with a reset fires in almost every step that it may, and one without is far above its onset.

    One to three times what carries a membrane over its swing in one step; five to fifteen rheobases without a reset.
    """
    much = 5.0
    if neuron.reset_code and math.isfinite(neuron.fastest):
        much = max(10.0, smallest(neuron.fastest) / dt)
    return much * rheobase(neuron) * torch.linspace(1, 3, cells, dtype=torch.float64).expand(steps, cells)


STIMULI: dict[str, Maker] = {
    "step": stepped,
    "ramp": ramp,
    "noisy": noisy_currents,
    "sinusoidal": sinusoidal,
    "silent": silent,
    "saturating": saturating,
}


def all_currents(neuron: Neuron, cells: int, steps: int, dt: float, seed: int = 0) -> Tensor:
    """Every stimulus side by side, `[steps, len(STIMULI) * cells]` in nA.

    >>> from sandbox import LIF
    >>> all_currents(LIF(), cells=3, steps=10, dt=0.1).shape
    torch.Size([10, 18])
    """
    return torch.cat([make(neuron, cells, steps, dt, seed) for make in STIMULI.values()], 1)


def rheobase(neuron: Neuron) -> float:
    """The current scale [nA]."""
    return abs(smallest(neuron.rheobase)) or 1.0


def strengths(neuron: Neuron, cells: int) -> Tensor:
    """Mean currents `[cells]` in nA, from half the rheobase to three times it."""
    return rheobase(neuron) * torch.linspace(0.5, 3.0, cells, dtype=torch.float64)
