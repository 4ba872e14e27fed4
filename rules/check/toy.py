"""Toy models to check a rule on: one for every set of needs that a model can offer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rules.contract import Batch, Objective, Run, Trace
from rules.forward import record_sequential
from rules.spikes.bits import StochasticBits
from rules.spikes.surrogate import Surrogate, reset_signal

INPUTS, HIDDEN, CLASSES, STEPS, SAMPLES = 3, 5, 2, 4, 6


class Rounded(nn.Linear):
    """A linear stage that rounds to a hundredth, so that autograd can neither cross nor enter it."""

    def forward(self, x: Tensor) -> Tensor:
        return (nn.functional.linear(x, self.weight, self.bias).detach() * 100).round() / 100


class Static(nn.Sequential):
    """Stages without memory; the carry is accepted, and empty on return."""

    def forward(self, x: Tensor, carry: Any = None, record: bool = False) -> Run:
        if record:
            return record_sequential(self, x)._replace(carry=())
        for stage in self:
            x = stage(x)
        return Run(x, ())


class Opaque(nn.Module):
    """A model that hides its layers."""

    def __init__(self, inner: nn.Module, offers: frozenset[str]) -> None:
        super().__init__()
        self.inner = inner
        self.offers = offers

    def forward(self, x: Tensor, carry: Any = None) -> Run:
        run: Run = self.inner(x, carry)
        return run


class Leaky(nn.Module):
    """Two leaky layers and a linear read-out, independent of the neuron library.

    `h[t] = 0.8 v[t-1] + W x[t]`; smooth cells put out `tanh(h)` and keep `v = h`, spiking ones fire if h >= 1 and keep
    `v = h (1 - spike)`.
    """

    def __init__(self, spiking: bool) -> None:
        super().__init__()
        self.offers = frozenset({"gradient", "layers", "bits"} if spiking else {"gradient", "layers"})
        sizes = [INPUTS, HIDDEN, HIDDEN, CLASSES]
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in zip(sizes, sizes[1:], strict=False))
        self.cell = self.fire if spiking else self.squash
        self.surrogate = Surrogate("atan")

    def fire(self, h: Tensor) -> tuple[Tensor, Tensor]:
        spikes = self.surrogate.spike(h - 1.0)
        return spikes, h * (1 - reset_signal(spikes))

    def squash(self, h: Tensor) -> tuple[Tensor, Tensor]:
        return torch.tanh(h), h

    def forward(self, x: Tensor, carry: Any = None, record: bool = False) -> Run:
        """Run `[T, B, 3]` to `[T, B, 2]`; the carry is the membrane of both layers."""
        membranes = [x.new_zeros(x.shape[1], HIDDEN) for _ in range(2)] if carry is None else list(carry)
        traces = []
        for number, layer in enumerate(list(self.layers)[:2]):
            us, outputs = [], []
            for drive in layer(x):
                h = 0.8 * membranes[number] + drive
                output, membranes[number] = self.cell(h)
                us.append(h - 1.0)
                outputs.append(output)
            traces.append(Trace(f"layers.{number}.weight", x, torch.stack(us), torch.stack(outputs)))
            x = traces[-1].post
        output = self.layers[2](x)
        traces.append(Trace("layers.2.weight", x, output, output))
        return Run(output, tuple(membranes), tuple(traces) if record else ())


def smooth(offers: frozenset[str] = frozenset({"gradient", "layers"}), seed: int = 0) -> nn.Module:
    """Build a static network in float64 that offers exactly these needs: tanh units, or stochastic bits for `bits`."""
    stage = nn.Linear if "gradient" in offers else Rounded
    stages: list[nn.Module] = [stage(INPUTS, HIDDEN), nn.Tanh(), stage(HIDDEN, CLASSES)]
    if "bits" in offers:
        stages[1:] = [StochasticBits(), stages[2], StochasticBits()]
    model = Static(*stages)
    model.offers = offers  # type: ignore[assignment]
    fill(model, seed)
    return (model if "layers" in offers else Opaque(model, offers)).double()


def leaky(spiking: bool, seed: int = 0) -> nn.Module:
    """Build a network with memory in float64, with weights large enough that spiking cells fire."""
    model = Leaky(spiking)
    fill(model, seed, scale=1.5)
    return model.double()


def fill(model: nn.Module, seed: int, scale: float = 1.0) -> None:
    """Draw every parameter from a seed, without the global generator."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(scale * torch.randn(p.shape, generator=rng) / (p.shape[-1] ** 0.5))


def batch(seed: int = 0, labels: bool = True) -> Batch:
    """Build a batch of six random sequences of four steps, between 0 and 1, in float64."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.rand(STEPS, SAMPLES, INPUTS, generator=rng, dtype=torch.float64)
    y = torch.randint(CLASSES, (SAMPLES,), generator=rng)
    return Batch(x, y if labels else None)


@dataclass(frozen=True)
class Quadratic(Objective):
    """The mean squared distance of the output from a target: smooth everywhere, without labels."""

    target: float = 1.0

    needs: ClassVar[frozenset[str]] = frozenset()

    def __call__(self, run: Run, batch: Batch) -> Tensor:
        return (run.output - self.target).square().mean()
