"""The same stored current through Brian2 and through ours, and what came out differently."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sandbox.neurons.base import Neuron, simulate


@dataclass(frozen=True)
class ConformanceReport:
    """What differed between Brian2 and ours; it prints as a table.

    `differences` has the largest absolute difference of each variable, in its own unit, after every step.
    """

    neuron: Neuron
    dt: float  # [ms]
    duration: float  # [ms]
    cells: int
    tolerance: float  # in the unit of each variable
    differences: dict[str, float]
    spikes: int  # in Brian2
    spikes_ours: int
    spikes_differing: int  # (step, cell) pairs in which one of the two fired
    largest_shift: int  # steps between the n-th spike of a cell here and there, at most; -1 if their numbers differ
    fi_curve: tuple[tuple[float, float, float], ...]  # per cell: mean current [nA], rates there and here [Hz]

    @property
    def passed(self) -> bool:
        """Every variable within the tolerance, and no spike at another step."""
        return self.spikes_differing == 0 and all(d <= self.tolerance for d in self.differences.values())

    def __str__(self) -> str:
        rows = [
            f"{self.neuron}",
            f"  {self.cells} cells, {self.duration:g} ms at dt = {self.dt:g} ms, float64, same current, scheme "
            f"'{self.neuron.method}'",
        ]
        for name, difference in self.differences.items():
            rows.append(
                f"  {name:<12} largest difference {difference:.2e} {self.neuron.units[name]} "
                f"(tolerance {self.tolerance:g})"
            )
        if self.neuron.spiking:
            rows.append(
                f"  {'spikes':<12} {self.spikes} in Brian2, {self.spikes_ours} here, {self.spikes_differing} at "
                f"another step (largest shift {self.largest_shift} steps)"
            )
        return "\n".join([*rows, f"  {'agrees with Brian2' if self.passed else 'DOES NOT AGREE with Brian2'}"])


def noisy_currents(neuron: Neuron, cells: int, steps: int, dt: float, seed: int = 0) -> Tensor:
    """Ornstein-Uhlenbeck currents `[steps, cells]` in nA, float64, from well below rheobase to three times above it.

        dI = (mu - I) dt / tau + sigma sqrt(2 dt / tau) xi,  tau = 5 ms, sigma = 0.5 rheobase

    >>> from sandbox import LIF
    >>> noisy_currents(LIF(), cells=3, steps=10, dt=0.1).shape
    torch.Size([10, 3])
    """
    rng = torch.Generator().manual_seed(seed)
    rheobase = neuron.swing / getattr(neuron, "r", 1.0)
    mean = rheobase * torch.linspace(0.5, 3.0, cells, dtype=torch.float64)
    noise = torch.randn(steps, cells, dtype=torch.float64, generator=rng)
    keep = math.exp(-dt / 5.0)
    rows = [mean]
    for xi in noise[1:]:
        rows.append(mean + keep * (rows[-1] - mean) + 0.5 * rheobase * math.sqrt(1 - keep**2) * xi)
    return torch.stack(rows)


def validate(
    neuron: Neuron,
    currents: Tensor | None = None,
    *,
    dt: float = 0.1,
    duration: float = 1000.0,
    cells: int = 20,
    seed: int = 0,
    record: tuple[str, ...] = ("v",),
    tolerance: float = 1e-9,
) -> ConformanceReport:
    """Hold a neuron to Brian2, step for step, in float64.

    Arguments: currents `[T, N]` in nA, or None for noisy ones over `duration` ms and `cells` cells; `dt` in ms; names
    of the variables to compare; the tolerance in the unit of each variable (both sides round differently by about
    1e-16 of a value in each of 10,000 steps and forget it within a time constant, so 1e-9 leaves room only for that).

    >>> from sandbox import LIF, validate
    >>> validate(LIF(), duration=20.0, cells=2).passed
    True
    """
    from sandbox.reference.brian import run_brian2

    if currents is None:
        currents = noisy_currents(neuron, cells, round(duration / dt), dt, seed)
    currents = currents.to(torch.float64)
    theirs = run_brian2(neuron, currents, dt, record)
    with torch.no_grad():
        ours = simulate(neuron, currents, dt, record)
    a, b = (theirs.spikes, ours.spikes) if neuron.spiking else (torch.zeros(1, 1), torch.zeros(1, 1))
    seconds = len(currents) * dt / 1000
    rates = zip(currents.mean(0).tolist(), (a.sum(0) / seconds).tolist(), (b.sum(0) / seconds).tolist(), strict=False)
    return ConformanceReport(
        neuron=neuron,
        dt=dt,
        duration=len(currents) * dt,
        cells=currents.shape[1],
        tolerance=tolerance,
        differences={name: float((getattr(theirs, name) - getattr(ours, name)).abs().max()) for name in record},
        spikes=int(a.sum()),
        spikes_ours=int(b.sum()),
        spikes_differing=int((a != b).sum()),
        largest_shift=_largest_shift(a, b),
        fi_curve=tuple(rates) if neuron.spiking else (),
    )


def _largest_shift(a: Tensor, b: Tensor) -> int:
    if not torch.equal(a.sum(0), b.sum(0)):
        return -1
    steps_a, steps_b = a.T.nonzero()[:, 1], b.T.nonzero()[:, 1]
    return int((steps_a - steps_b).abs().max()) if len(steps_a) else 0
