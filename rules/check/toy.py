"""Toy models to check a rule on: one for every set of needs that a model can offer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

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

    @property
    def layers(self) -> list[nn.Module]:
        """The stages."""
        return list(self)

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


@dataclass(frozen=True)
class Neuron:
    """The constants of the cells of `Recurrent`: `h[t] = decay v[t-1] + W x[t] + R s[t-1]`, a spike where h >= 1."""

    decay: float = 0.8
    v_threshold: float = 1.0
    surrogate: Surrogate = field(default_factory=lambda: Surrogate("atan"))
    spiking: bool = True


class Population(nn.Module):
    """Cells with recurrent weights; the neuron has their constants."""

    def __init__(self, size: int, neuron: Neuron, recurrent: bool) -> None:
        super().__init__()
        self.neuron, self.dt = neuron, 1.0
        self.recurrent = nn.Linear(size, size, bias=False) if recurrent else None

    def rest(self, currents: Tensor) -> tuple[Tensor, Tensor]:
        """Return membrane and output before the first step."""
        return torch.zeros_like(currents[0]), torch.zeros_like(currents[0])

    def advance(self, current: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Take one step; the state is the membrane."""
        neuron = self.neuron
        h = neuron.decay * state + current
        if not neuron.spiking:
            return h, h
        spikes = neuron.surrogate.spike(h - neuron.v_threshold)
        return spikes, h * (1 - reset_signal(spikes))

    def unpacked(self, state: Tensor) -> tuple[Tensor, ...]:
        """Return the membrane alone."""
        return (state,)

    def packed(self, state: Tensor, values: tuple[Tensor, ...]) -> Tensor:
        """Return another membrane."""
        return values[0]


class Layer(nn.Module):
    """A synapse and the cells behind it, as `rules.optional.CellLayer`."""

    def __init__(self, inputs: int, outputs: int, neuron: Neuron, recurrent: bool) -> None:
        super().__init__()
        self.synapse = nn.Linear(inputs, outputs)
        self.cells = Population(outputs, neuron, recurrent)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x).output

    def run(self, x: Tensor, carry: Any = None, record: bool = False) -> Run:
        return self.respond(x, self.synapse(x), carry, record)

    def respond(self, cause: Tensor, currents: Tensor, carry: Any, record: bool) -> Run:
        """Run the cells on currents `[T, B, out]`."""
        neuron, recurrent = self.cells.neuron, self.cells.recurrent
        v, shown = carry or self.cells.rest(currents)
        us, outputs, heard = [], [], [shown]
        for current in currents:
            h = neuron.decay * v + current + (0 if recurrent is None else recurrent(shown))
            us.append(h - neuron.v_threshold)
            shown = neuron.surrogate.spike(us[-1]) if neuron.spiking else h
            v = h * (1 - reset_signal(shown)) if neuron.spiking else h
            outputs.append(shown)
            heard.append(shown)
        u, output = torch.stack(us), torch.stack(outputs)
        if not record:
            return Run(output, (v, shown))
        traces: tuple[Trace, ...] = (Trace("synapse.weight", cause, u, output),)
        if recurrent is not None:
            traces += (Trace("cells.recurrent.weight", torch.stack(heard[:-1]), u, output),)
        return Run(output, (v, shown), traces)


class Compartments(NamedTuple):
    """State of `Dendrites`."""

    v: Tensor
    v_dend: Tensor


@dataclass(frozen=True)
class TwoCompartments:
    """The constants of `Dendrites`."""

    v_threshold: float = 0.5

    def predicted(self, v_dend: Tensor) -> Tensor:
        """Return the potential to which the dendrite alone brings the soma."""
        return 0.5 * v_dend


class Dendrites(nn.Module):
    """Cells with a soma and a dendrite: `d[t] = 0.8 d[t-1] + W x[t]`, `v[t] = v[t-1] + 0.4 (d[t] / 2 - v[t-1])`."""

    def __init__(self) -> None:
        super().__init__()
        self.neuron, self.dt, self.recurrent = TwoCompartments(), 1.0, None

    def rest(self, currents: Tensor) -> tuple[Compartments, None]:
        """Return the state before the first step."""
        return Compartments(torch.zeros_like(currents[0]), torch.zeros_like(currents[0])), None

    def advance(self, current: Tensor, state: Compartments) -> tuple[Tensor, Compartments]:
        """Take one step; the soma is the output."""
        v_dend = 0.8 * state.v_dend + current
        v = state.v + 0.4 * (self.neuron.predicted(v_dend) - state.v)
        return v, Compartments(v, v_dend)

    def unpacked(self, state: Compartments) -> tuple[Tensor, ...]:
        """Return both potentials."""
        return tuple(state)

    def packed(self, state: Compartments, values: tuple[Tensor, ...]) -> Compartments:
        """Return other potentials."""
        return Compartments(*values)


class DendriticLayer(nn.Module):
    """A synapse and cells with dendrites, as `rules.optional.CellLayer`."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.synapse = nn.Linear(inputs, outputs)
        self.cells = Dendrites()

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x).output

    def run(self, x: Tensor, carry: Any = None, record: bool = False) -> Run:
        return self.respond(x, self.synapse(x), carry, record)

    def respond(self, cause: Tensor, currents: Tensor, carry: Any, record: bool) -> Run:
        """Run the cells on currents `[T, B, out]`."""
        state, _ = carry or self.cells.rest(currents)
        outputs = []
        for current in currents:
            output, state = self.cells.advance(current, state)
            outputs.append(output)
        output = torch.stack(outputs)
        traces = (Trace("synapse.weight", cause, output, output),) if record else ()
        return Run(output, (state, None), traces)


class Recurrent(nn.Module):
    """A layer of recurrent spiking cells and a leaky read-out, with everything that a rule may ask of cells."""

    def __init__(self) -> None:
        super().__init__()
        self.offers = frozenset({"gradient", "layers", "bits", "cells", "carry"})
        hidden = Layer(INPUTS, HIDDEN, Neuron(), recurrent=True)
        self.layers = nn.ModuleList([hidden, Layer(HIDDEN, CLASSES, Neuron(spiking=False), recurrent=False)])

    def forward(self, x: Tensor, carry: Any = None, record: bool = False) -> Run:
        """Run `[T, B, 3]` to `[T, B, 2]`; the carry has the membrane and the last output of each layer."""
        ends, traces = [], []
        for number, (layer, start) in enumerate(zip(self.layers, carry or (None, None), strict=True)):
            run = layer.run(x, start, record)  # type: ignore[operator]  # ModuleList is not generic
            x = run.output
            ends.append(run.carry)
            traces += [trace._replace(weight=f"layers.{number}.{trace.weight}") for trace in run.traces]
        return Run(x, tuple(ends), tuple(traces))


def models() -> Iterator[nn.Module]:
    """Yield the toy models: static and leaky, smooth and spiking, with bits, and recurrent."""
    yield smooth()
    yield leaky(spiking=False)
    yield leaky(spiking=True)
    yield smooth(frozenset({"gradient", "layers", "bits"}))
    yield recurrent()
    yield dendritic()


def recurrent(seed: int = 0) -> nn.Module:
    """Build a recurrent spiking network in float64 whose layers show their cells and constants."""
    model = Recurrent()
    fill(model, seed, scale=1.5)
    return model.double()


def dendritic(seed: int = 0) -> nn.Module:
    """Build a spiking network in float64 whose last layer has dendrites."""
    model = Recurrent()
    model.offers = frozenset({"layers", "cells", "carry", "dendrites"})
    model.layers[1] = DendriticLayer(HIDDEN, CLASSES)
    fill(model, seed, scale=1.5)
    return model.double()


def bare(offers: frozenset[str]) -> nn.Module:
    """Build a model that offers exactly these needs."""
    if "cells" not in offers:
        return smooth(offers)
    model = dendritic() if "dendrites" in offers else recurrent()
    model.offers = offers  # type: ignore[assignment]
    return model if "layers" in offers else Opaque(model, offers)


def smooth(offers: frozenset[str] = frozenset({"gradient", "layers", "chain"}), seed: int = 0) -> nn.Module:
    """Build a static network in float64 that offers exactly these needs: tanh units, or stochastic bits for `bits`."""
    stage = nn.Linear if {"gradient", "chain"} & offers else Rounded
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
    timing: ClassVar[Literal["sequence", "step"]] = "step"

    def __call__(self, run: Run, batch: Batch) -> Tensor:
        return (run.output - self.target).square().mean()
