"""The stimuli of a validation: silence, a step, a ramp, noise, a sine wave, saturation, and currents of both signs."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from sandbox.neurons.base import Neuron, smallest
from sandbox.neurons.stepping import rest
from sandbox.reference.brian import jumps

Maker = Callable[[Neuron, int, int, float, int], Tensor]
BOTH_SIGNS = "both signs"  # the stimulus of `step=` alone, which has a check of its own
SIZES = (100.0, 30.0, 10.0, 3.0)  # rheobases of the largest current of both signs: the first that a scheme survives
PULSES = 20  # of both signs, in the time of a stimulus


def noisy_currents(neuron: Neuron, cells: int, steps: int, dt: float, seed: int = 0) -> Tensor:
    """Draw Ornstein-Uhlenbeck currents `[steps, cells]` [nA], float64, with means from 0.5 to 3 times the rheobase.

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
    """Return zero current."""
    return torch.zeros(steps, cells, dtype=torch.float64)


def stepped(neuron: Neuron, cells: int, steps: int, dt: float, seed: int) -> Tensor:
    """Switch on after 1/10 of the time and off after 4/5, to show onset and recovery."""
    on = torch.zeros(steps, 1, dtype=torch.float64)
    on[steps // 10 : 4 * steps // 5] = 1.0
    return on * strengths(neuron, cells)


def ramp(neuron: Neuron, cells: int, steps: int, dt: float, seed: int) -> Tensor:
    """Rise linearly from zero."""
    return torch.linspace(0, 1, steps, dtype=torch.float64)[:, None] * strengths(neuron, cells)


def sinusoidal(neuron: Neuron, cells: int, steps: int, dt: float, seed: int) -> Tensor:
    """Oscillate by half a rheobase about each mean, from 2 Hz in the first cell to 200 Hz in the last."""
    t = dt * torch.arange(steps, dtype=torch.float64)[:, None] / 1000  # [s]
    hertz = torch.logspace(math.log10(2), math.log10(200), cells, dtype=torch.float64)
    return strengths(neuron, cells) + 0.5 * rheobase(neuron) * torch.sin(2 * math.pi * hertz * t)


def saturating(neuron: Neuron, cells: int, steps: int, dt: float, seed: int) -> Tensor:
    """Saturate: a cell with a reset fires in almost every step in which it can.

    With a reset, or several spikes in a step, one to three times the current that moves a membrane over its swing in
    one step; for other cells, five to fifteen rheobases.
    """
    much = 5.0
    if (neuron.reset_code or neuron.levels > 1) and math.isfinite(neuron.fastest):
        much = max(10.0, smallest(neuron.fastest) / dt)
    return much * rheobase(neuron) * torch.linspace(1, 3, cells, dtype=torch.float64).expand(steps, cells)


def alternating(neuron: Neuron, cells: int, steps: int, dt: float, seed: int) -> Tensor:
    """Change sign twenty times, each time to another size, from one rheobase to a hundred; negative at first.

    The sizes are drawn, their logarithms evenly, and so are no simple fractions of one another; each cell has its own.
    """
    rng = torch.Generator().manual_seed(seed)
    held = max(steps // PULSES, 1)
    many = -(-steps // held)
    exponents = torch.rand(many, cells, generator=rng, dtype=torch.float64)
    signs = 1.0 - 2.0 * (torch.arange(many)[:, None] % 2 == 0)
    by = rheobase(neuron) * signs

    def pulses(most: float) -> Tensor:
        return (by * most**exponents).repeat_interleave(held, 0)[:steps]

    return next((pulses(most) for most in SIZES if _finite(neuron, pulses(most), dt)), pulses(SIZES[-1]))


def _finite(neuron: Neuron, currents: Tensor, dt: float) -> bool:
    """Return whether the membrane stays a number; Euler steps of some equations do not under strong currents."""
    currents = currents * dt if jumps(neuron) else currents
    with torch.no_grad():
        (_, above), _ = neuron.respond(currents, rest(neuron, currents), dt, (), True)
    return bool(torch.isfinite(above).all())


STIMULI: dict[str, Maker] = {
    "step": stepped,
    "ramp": ramp,
    "noisy": noisy_currents,
    "sinusoidal": sinusoidal,
    "silent": silent,
    "saturating": saturating,
}


def all_currents(neuron: Neuron, cells: int, steps: int, dt: float, seed: int = 0) -> Tensor:
    """Return every stimulus side by side, `[steps, len(STIMULI) * cells]` [nA].

    >>> from sandbox import LIF
    >>> all_currents(LIF(), cells=3, steps=10, dt=0.1).shape
    torch.Size([10, 18])
    """
    return torch.cat([given(make, neuron, cells, steps, dt, seed) for make in STIMULI.values()], 1)


STEP_STIMULI: dict[str, Maker] = {**STIMULI, BOTH_SIGNS: alternating}  # of a step, which may be clamped


def step_currents(neuron: Neuron, cells: int, steps: int, dt: float, seed: int = 0) -> Tensor:
    """Return every stimulus of `step=` side by side, `[steps, len(STEP_STIMULI) * cells]` [nA].

    >>> from sandbox import LIF
    >>> step_currents(LIF(), cells=3, steps=10, dt=0.1).shape
    torch.Size([10, 21])
    """
    return torch.cat([given(make, neuron, cells, steps, dt, seed) for make in STEP_STIMULI.values()], 1)


def given(make: Maker, neuron: Neuron, cells: int, steps: int, dt: float, seed: int = 0) -> Tensor:
    """Return a stimulus `[steps, cells]`; of a neuron with several inputs `[steps, cells, inputs]`.

    Each cell receives it through one of the inputs, in turn, and a tenth of it through the others. What is added to a
    variable in each step is counted per ms, as its rheobase is.
    """
    one = make(neuron, cells, steps, dt, seed)
    added = jumps(neuron)
    if not neuron.inputs:
        return one * dt if added else one
    scales = torch.as_tensor(neuron.rheobase, dtype=torch.float64)
    scales = torch.where(scales == 0, 1.0, scales) / rheobase(neuron)
    scales = scales * torch.tensor([dt if name in added else 1.0 for name in neuron.inputs], dtype=torch.float64)
    turn = torch.arange(cells)[:, None] % len(neuron.inputs) == torch.arange(len(neuron.inputs))
    return one[..., None] * scales * torch.where(turn, 1.0, 0.1)


def rheobase(neuron: Neuron) -> float:
    """Return the current scale [nA]."""
    return abs(smallest(neuron.rheobase)) or 1.0


def strengths(neuron: Neuron, cells: int) -> Tensor:
    """Return mean currents `[cells]` [nA], from about half the rheobase to three times the rheobase.

    No multiple is a simple fraction, with which a membrane may reach the threshold exactly at the end of a step, where
    rounding decides whether it fires.
    """
    return rheobase(neuron) * torch.linspace(0.5005, 3.003, cells, dtype=torch.float64)
