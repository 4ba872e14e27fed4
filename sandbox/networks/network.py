"""Networks of neurons: layers that weigh, fire and remember, and the carry that lets a run continue."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from rules.contract import Run, Trace
from rules.forward import fold
from sandbox.kernels.attempt import attempt_recurrent
from sandbox.neurons.base import Neuron
from sandbox.neurons.learnable import Learned, learnables
from sandbox.neurons.stepping import advance, check_resolution, loop, rest
from sandbox.simulation import sequence


class Part(Protocol):
    """A stage of a network: it runs a sequence from a carry, and says what it offers."""

    @property
    def offers(self) -> frozenset[str]: ...

    def run(self, x: Tensor, carry: Any = None, record: bool = False) -> Run: ...


class Population(nn.Module):
    """Neurons of one kind that share a drive and, if recurrent, hear their own last output.

    Fields of the neuron that are marked as `learnable` become parameters of this module.
    """

    def __init__(self, neuron: Neuron, dt: float, recurrent: nn.Linear | None = None) -> None:
        super().__init__()
        check_resolution(neuron, dt)
        self.neuron = neuron
        self.learned = Learned(neuron) if learnables(neuron) else None
        self.dt = dt
        self.recurrent = recurrent

    def present(self) -> Neuron:
        """The neuron with what it has learned so far in its fields."""
        return self.neuron if self.learned is None else self.learned()

    def rest(self, currents: Tensor) -> tuple[Any, Tensor | None]:
        """The carry before anything has happened."""
        heard = currents.new_zeros(currents.shape[1:]) if self.recurrent is not None else None
        return rest(self.present(), currents), heard

    def forward(self, currents: Tensor, carry: Any = None, record: bool = False) -> tuple[Tensor, Any, Tensor | None]:
        """Currents `[T, B, ...]` in nA to output `[T, B, ...]`, carry, and, if recorded, membrane minus threshold."""
        neuron, dt, recurrent = self.present(), self.dt, self.recurrent
        state, heard = self.rest(currents) if carry is None else carry
        if recurrent is None:
            (output, *rest), state = sequence(neuron, currents, state, dt, centred=record)
            return output, (state, None), rest[0] if rest else None

        fused = attempt_recurrent(neuron, recurrent, currents, state, heard, dt, record)
        if fused is not None:
            (output, *rest), state = fused
            return output, (state, output[-1]), rest[0] if rest else None

        def one(current: Tensor, carry: Any) -> tuple[tuple[Tensor, ...], Any]:
            state, heard = carry
            shown, state = advance(neuron, current + recurrent(heard), state, dt, centred=record)
            return shown, (state, shown[0])

        (output, *rest), carry = loop(one, currents, (state, heard))
        return output, carry, rest[0] if rest else None

    def extra_repr(self) -> str:
        return f"{self.neuron}, dt={self.dt}"


class Layer(nn.Module):
    """A synapse, applied at every step, and the population it drives.

    `forward(x)` maps a sequence `[T, B, ...]` to a sequence, from rest, as rules call it; `run` continues from a carry
    and can record.
    """

    def __init__(self, synapse: nn.Module, cells: Population) -> None:
        super().__init__()
        self.synapse = synapse
        self.cells = cells

    @property
    def offers(self) -> frozenset[str]:
        """`gradient` where the neuron is differentiable, and `bits` where it also spikes."""
        neuron = self.cells.neuron
        if not neuron.differentiable:
            return frozenset()
        return frozenset({"gradient", "bits"} if neuron.spiking else {"gradient"})

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x).output

    def run(self, x: Tensor, carry: Any = None, record: bool = False) -> Run:
        """The sequence from a carry; the traces are those of the feed-forward and of the recurrent weight."""
        return self.respond(x, fold(self.synapse, x), carry, record)

    def respond(self, x: Tensor, currents: Tensor, carry: Any, record: bool) -> Run:
        """What the population makes of `currents`, of which `x` was the cause."""
        start = self.cells.rest(currents) if carry is None else carry
        output, end, u = self.cells(currents, start, record)
        if u is None:
            return Run(output, end)
        weight = next(name for name, p in self.synapse.named_parameters() if p.ndim > 1)
        traces: tuple[Trace, ...] = (Trace(f"synapse.{weight}", x, u, output),)
        if start[1] is not None:
            heard = torch.cat([start[1][None], output[:-1]])
            traces += (Trace("cells.recurrent.weight", heard, u, output),)
        return Run(output, end, traces)


class Residual(nn.Module):
    """Layers whose last population also receives the block's input as a current, so that its spikes stay binary.

    `shortcut` matches shapes where they differ. Reference: He et al. 2016 (arXiv 1512.03385); that the sum is taken
    before the neuron is a choice of ours.
    """

    def __init__(self, layers: Sequence[Layer], shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.shortcut = shortcut or nn.Identity()

    @property
    def offers(self) -> frozenset[str]:
        """What all its layers offer."""
        return frozenset.intersection(*(layer.offers for layer in self.stack))

    @property
    def stack(self) -> list[Layer]:
        """Its layers, first to last."""
        return list(self.layers)  # type: ignore[arg-type]  # ModuleList forgets what it holds

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x).output

    def run(self, x: Tensor, carry: Any = None, record: bool = False) -> Run:
        """As a layer's; the carry has one entry for each layer inside."""
        *inner, last = self.stack
        starts = [None] * len(self.layers) if carry is None else list(carry)
        body = chain("layers", inner, x, starts[:-1], record)
        currents = fold(last.synapse, body.output) + fold(self.shortcut, x)
        end = last.respond(body.output, currents, starts[-1], record)
        return Run(end.output, (*body.carry, end.carry), body.traces + renamed(f"layers.{len(inner)}", end.traces))


class Network(nn.Module):
    """A stack of layers and residual blocks; the last one's output is the answer.

    `network(x)` takes `[T, B, *shape]` and returns `rules.Run(output [T, B, classes], carry, traces)`; hand the carry
    back to continue, ask for traces with `record=True`. Raises ValueError for input that does not have this shape.

    >>> from sandbox import LIF, LeakyIntegrator, build
    >>> net = build(shape=(4,), classes=3, hidden=(30,), neuron=LIF(), readout=LeakyIntegrator())
    >>> net(torch.zeros(10, 2, 4)).output.shape
    torch.Size([10, 2, 3])
    """

    def __init__(self, layers: Sequence[nn.Module], shape: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.shape = tuple(shape)

    @property
    def offers(self) -> frozenset[str]:
        """`layers`, and whatever all its parts offer; the read-out need not put out bits."""
        *hidden, readout = (part.offers for part in self.stack)
        return frozenset({"layers"}) | frozenset.intersection(*hidden, readout | {"bits"})

    @property
    def stack(self) -> list[Part]:
        """Its layers, first to last."""
        return list(self.layers)  # type: ignore[arg-type]  # ModuleList forgets what it holds

    def forward(self, x: Tensor, carry: Any = None, record: bool = False) -> Run:
        if x.ndim < 3 or math.prod(x.shape[2:]) != math.prod(self.shape):
            raise ValueError(
                f"input has shape {tuple(x.shape)}; this network wants [T, B, {', '.join(map(str, self.shape))}], time "
                "first: encode a static batch with sandbox.tasks.encode, turn batch-first data with x.transpose(0, 1)"
            )
        if not x.is_floating_point():
            raise TypeError(f"input has dtype {x.dtype}; this network wants floating point: x.float()")
        starts = [None] * len(self.layers) if carry is None else list(carry)
        return chain("layers", self.stack, x.reshape(*x.shape[:2], *self.shape), starts, record)


def chain(prefix: str, stack: Sequence[Part], x: Tensor, starts: Sequence[Any], record: bool) -> Run:
    """Run parts one after the other; the traces carry the place of their part in their name."""
    ends: list[Any] = []
    traces: tuple[Trace, ...] = ()
    for number, (part, start) in enumerate(zip(stack, starts, strict=True)):
        run = part.run(x, start, record)
        x = run.output
        ends.append(run.carry)
        traces += renamed(f"{prefix}.{number}", run.traces)
    return Run(x, tuple(ends), traces)


def renamed(prefix: str, traces: tuple[Trace, ...]) -> tuple[Trace, ...]:
    """The same traces, one level further out."""
    return tuple(trace._replace(weight=f"{prefix}.{trace.weight}") for trace in traces)
