"""Run the compiled loop of a circuit, sample by sample, and its adjoint, as an autograd function."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._C import _functorch

from sandbox.kernels.launch import ops, store
from sandbox.kernels.launch.again import differentiated, unchanged
from sandbox.kernels.launch.buffers import numbers
from sandbox.kernels.launch.circuit_call import Cable, Call, followed
from sandbox.kernels.launch.compiled import REALS
from sandbox.kernels.launch.registered import STRUCTURES
from sandbox.kernels.write.circuit_parts import Spec
from sandbox.kernels.write.emit_circuit import forward
from sandbox.kernels.write.emit_circuit_backward import backward
from sandbox.machine.memory import empty
from sandbox.machine.threads import share_out

ROOM = 2**16  # events of a sample for which there is room at first
WRITERS = {"forward": forward, "backward": backward}


@lru_cache(maxsize=256)
def compiled(direction: str, keys: tuple[str, ...], spec: Any, dtype: torch.dtype) -> Any:
    """Return a compiled loop with the names of its buffers and integers; keys stand for the structures of a spec."""
    second = STRUCTURES[keys[1]] if len(keys) > 1 else None
    source, reals, whole = WRITERS[direction](Spec(STRUCTURES[keys[0]], second, *spec), dtype == torch.float64)
    return store.compiled(source, REALS[dtype]), reals, whole


class Loop:
    """A compiled loop with its buffers; those of a sample are `stride` elements after those of the one before."""

    def __init__(self, direction: str, call: Call, spec: Spec, dtype: torch.dtype) -> None:
        keys = (call.first.key,) if call.second is None else (call.first.key, call.second.key)
        self.function, self.reals, self.whole = compiled(direction, keys, spec[2:], dtype)
        self.call = call
        self.buffers: dict[str, tuple[Tensor, int]] = {}
        self.integers: dict[str, int] = {}

    def give(self, name: str, buffer: Tensor, stride: int = 0) -> None:
        """Add a buffer."""
        self.buffers[name] = buffer, stride

    def give_cables(self, weights: Sequence[Tensor]) -> None:
        """Add the synapses; dense weights are `[pre, post]`."""
        for k, (cable, weight) in enumerate(zip(self.call.cables, weights, strict=True)):
            self.give(f"w{k}", weight)
            for name, value in (("start", cable.start), ("place" if cable.several else "post", cable.post)):
                if value is not None:
                    self.give(f"{name}{k}", value)
            post, pre = cable.places
            self.integers |= {f"POST{k}": post.start, f"POSTS{k}": len(post)}
            self.integers |= {f"PRE{k}": pre.start, f"PRES{k}": len(pre)}
            self.integers |= {} if cable.delay is None else {f"DELAY{k}": cable.delay}

    def give_step(self, x: Tensor, flows: dict[str, Tensor]) -> None:
        """Add the currents, parameters and draws, and buffers `[..., B n]` by name."""
        parts = [("p", self.call.first)] + ([] if self.call.second is None else [("r", self.call.second)])
        flows = flows | {f"d{i}": draw for i, draw in enumerate(self.call.draws)} | {"x": x}
        flows |= {f"{name}{i}": p for name, part in parts for i, p in enumerate(part.params) if p.ndim}
        for name, flow in flows.items():
            self.give(name, flow if name == "x" else flow.contiguous(), self.call.cells)

    def run(self, sample: int, x: Tensor, fired: Tensor, rows: Tensor, begin: int) -> int:
        """Run the steps of a sample from `begin` on; return the step at which there was no more room for events."""
        first, second = self.call.first, self.call.second
        shared = [None if part is None else numbers(part.constants, part.params, x) for part in (first, second)]
        at = [0, rows.data_ptr(), fired.data_ptr(), 0 if shared[1] is None else shared[1].data_ptr()]
        at += [self._address(name, sample) for name in self.reals]
        at += [
            self.integers[name] if name.isupper() else self._address("spikes" if name == "bits" else name, sample)
            for name in self.whole
        ]
        addresses = np.array(at, np.int64)
        stride = x.stride(0) if len(x) > 1 else 0
        assert shared[0] is not None
        size = self.call.cells, 0, len(x), x.shape[1], stride, len(fired)
        self.function(begin, *size, addresses, shared[0].data_ptr())
        return int(addresses[0])

    def _address(self, name: str, sample: int) -> int:
        buffer, stride = self.buffers[name]
        return buffer.data_ptr() + sample * stride * buffer.element_size()


class Run(torch.autograd.Function):
    """All steps of a circuit: currents `[T, B n]`, first states `[B n]` and weights to what is recorded, `[T, B n]`.

    The first output are the spikes, if they are wanted. The others are the recorded variables.
    """

    @staticmethod
    def forward(ctx: Any, call: Call, spikes: bool, save: bool, x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        given, x = x, ops.rows(x)
        states, weights = rest[: call.first.structure.states], rest[call.first.structure.states :]
        kept = kept_names(call) if save else []
        saves = [empty(x.shape, x) for _ in kept]
        records = [empty(x.shape, x) for _ in call.record]
        flows = {f"s{i}": state.clone(memory_format=torch.contiguous_format) for i, state in enumerate(states)}
        flows |= dict(zip(kept, saves, strict=True)) | {f"record{i}": each for i, each in enumerate(records)}
        loop = Loop("forward", call, call.spec(save=save), x.dtype)
        loop.give_step(x, flows | {"spikes": torch.zeros_like(x[0], memory_format=torch.contiguous_format)})
        loop.give_cables([weighing(c, w) for c, w in zip(call.cables, weights, strict=True)])
        give_rings(loop, x)
        simulate(loop, x)
        outputs = [*([dense(call, x)] if spikes else []), *records]
        if save:
            live = followed(call, ctx.needs_input_grad[3:], len(x))
            shown = zip(outputs, live if spikes else live[1:], strict=True)
            ctx.mark_non_differentiable(*(each for each, alive in shown if not alive))
        ctx.call, ctx.spikes, ctx.count = call, spikes, len(weights)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(given, *weights, *saves)
        ctx.first = [(state, state._version) for state in states]  # only `in_torch` reads them
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *errors: Tensor | None) -> tuple[Tensor | None, ...]:
        call: Call = ctx.call
        given, *rest = ctx.saved_tensors
        weights, saves = rest[: ctx.count], rest[ctx.count :]
        if torch.is_grad_enabled() or ops.batched(errors) or _functorch.maybe_current_level() is not None:
            return in_torch(ctx, given, weights, errors)
        x = ops.rows(given)
        needs = ctx.needs_input_grad[3:]
        count = call.first.structure.states
        learned = list(needs[1 + count :])
        heard = errors if ctx.spikes else (None, *errors)
        told = tuple(error is not None for error in heard)
        loop = Loop("backward", call, call.spec(learned, told=told, for_x=needs[0]), x.dtype)
        flows = {f"told{i}": error for i, error in enumerate(heard) if error is not None}
        flows |= dict(zip(kept_names(call), saves, strict=True))
        ends = [torch.zeros_like(x[0], memory_format=torch.contiguous_format) for _ in range(count)]
        flows |= {f"g_end{i}": end for i, end in enumerate(ends)}
        at_current = x.new_zeros(x.shape) if needs[0] else None
        if at_current is not None:
            flows["g_x"] = at_current
        loop.give_step(x, flows)
        ways = [weighing(c, w) for c, w in zip(call.cables, weights, strict=True)]
        loop.give_cables(ways)
        found = [torch.zeros_like(w) if wanted else None for w, wanted in zip(ways, learned, strict=True)]
        for k, (weight, gradient) in enumerate(zip(weights, found, strict=True)):
            loop.give(f"v{k}", weight.contiguous())
            if gradient is not None:
                loop.give(f"g_w{k}", gradient)
        for sample in range(x.shape[1] // call.cells):  # one after another, so that sums have one order
            give_scratch(loop, x)
            loop.run(sample, x, call.events[sample][1], call.events[sample][0], 0)
        grads = (g.t() if g is not None and c.post is None else g for g, c in zip(found, call.cables, strict=True))
        return None, None, None, at_current, *ends, *grads


def in_torch(ctx: Any, x: Tensor, weights: Sequence[Tensor], errors: Sequence[Tensor | None]) -> tuple[Any, ...]:
    """Do what `Run.backward` does for errors that a kernel cannot take: torch differentiates the plain loop."""
    groups = {"s": unchanged(ctx.first), "w": weights}

    def again() -> list[Tensor]:
        results: list[Tensor] = ctx.call.again(x, groups["s"], weights)
        return results if ctx.spikes else results[1:]

    found = differentiated(again, {"x": x} | ops.named(groups), errors)
    of_states, of_weights = ops.listed(groups, found)
    return None, None, None, found.get("x"), *of_states, *of_weights


def kept_names(call: Call) -> list[str]:
    """Return the names of the buffers that the adjoint reads again."""
    later = [] if call.second is None else [f"later{name[1:]}" for name in call.second.kept()]
    return [*(f"save{name[1:]}" for name in call.first.kept()), *later]


def weighing(cable: Cable, weight: Tensor) -> Tensor:
    """Return the weights as the loop reads them: a row for each presynaptic cell."""
    return (weight.detach().t() if cable.post is None else weight.detach()).contiguous()


def give_rings(loop: Loop, x: Tensor) -> None:
    """Add what is on its way to each cell, for synapses with several delays."""
    samples, cells = x.shape[1] // loop.call.cells, loop.call.cells
    for k, cable in enumerate(loop.call.cables):
        if cable.several:
            size = (cable.longest + 1) * cells
            loop.integers[f"SIZE{k}"] = size
            loop.give(f"ring{k}", x.new_zeros(samples, size), size)


def give_scratch(loop: Loop, x: Tensor) -> None:
    """Add what the adjoint of a sample writes to and reads again."""
    cells = loop.call.cells
    loop.give("error", x.new_zeros(cells))
    loop.give("spikes", x.new_zeros(cells))
    for target in {c.target for c in loop.call.cables}:
        size = (1 + max(c.longest for c in loop.call.cables if c.target == target)) * cells
        loop.integers[f"SIZE{target}"] = size
        loop.give(f"worth{target}", x.new_zeros(size))


def simulate(loop: Loop, x: Tensor) -> None:
    """Run all samples, on as many threads as torch uses, and keep their events."""
    call, steps = loop.call, len(x)

    def some(first: int, last: int) -> list[tuple[Tensor, Tensor]]:
        return [one(sample) for sample in range(first, last)]

    def one(sample: int) -> tuple[Tensor, Tensor]:
        rows = torch.zeros(steps + 1, dtype=torch.int64)
        fired = torch.empty(ROOM + call.cells, dtype=torch.int32)
        at = loop.run(sample, x, fired, rows, 0)
        while at < steps:
            fired = torch.cat([fired, torch.empty_like(fired)])
            at = loop.run(sample, x, fired, rows, at)
        return rows, fired[: int(rows[-1])]

    call.events.extend(pair for part in share_out(some, x.shape[1] // call.cells) for pair in part)


def dense(call: Call, x: Tensor) -> Tensor:
    """Return the spikes of all samples as an array `[T, B n]`."""
    spikes = x.new_zeros(x.shape)
    for sample, (rows, cells) in enumerate(call.events):
        spikes[steps_of(rows), cells.long() + sample * call.cells] = 1.0
    return spikes


def steps_of(rows: Tensor) -> Tensor:
    """Return the step of each event, from where each step begins."""
    counts = rows.diff()
    return torch.repeat_interleave(torch.arange(len(counts)), counts)
