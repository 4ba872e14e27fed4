"""Spiking transformers: Spikingformer beside the same one of SpikingJelly's modules, and attention as tokens double.

python benchmarks/transformers.py          # all, some minutes; writes its section of README.md
python benchmarks/transformers.py tiny     # one size, three rounds; only prints
"""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Callable
from copy import deepcopy
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "SANDBOX_KERNELS": "auto"}

import torch
from memory import growth, of_process
from readme import machine, put, table
from timing import in_turn, spent
from torch import Tensor, nn

from sandbox import make_model
from sandbox.machine.memory import keep_freed_memory
from sandbox.networks.attention import SaccadicGate, SelfAttention, TokenGate
from sandbox.networks.network import Layer
from sandbox.networks.parts import Joined, Neurons, Stack, Stateless
from sandbox.networks.population import Population

SIDES = ("ours", "SpikingJelly")
SIZES = {"tiny": ("tiny", (3, 32, 32), 16), "4-384": ("4-384", (3, 32, 32), 8)}  # size, image, batch
T, CLASSES, ROUNDS = 4, 10, 7
ALIKE = ("convolution", "batch_norm", "max_pool2d", "aten::bmm")  # operators
FASTER, GROWTH, ROOM = ">= 1.3", "<= 2.3", "<= 1.00"
LINEAR = {"QKTA: query-key attention of tokens": TokenGate, "SSSA: saccadic attention": SaccadicGate}


class Theirs(nn.Module):
    """The modules of SpikingJelly for a Spikingformer of ours, with its weights, in the order of the authors' code."""

    def __init__(self, parts: nn.ModuleList) -> None:
        super().__init__()
        self.stages = nn.ModuleList(theirs(part) for part in parts)

    def forward(self, x: Tensor) -> Tensor:
        for stage in self.stages:
            x = stage(x)
        return x


class Block(Theirs):
    """Stages and a shortcut around them."""

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


class SSA(nn.Module):
    """Spiking self-attention without its projection: heads are split as in the authors' code."""

    def __init__(self, part: SelfAttention) -> None:
        super().__init__()
        self.heads, self.drive = part.heads, part.drive
        self.query, self.key, self.value = (Theirs(part.sources[name]) for name in ("query", "key", "value"))
        self.fires = neurons(part.cells)

    def forward(self, x: Tensor) -> Tensor:
        steps, samples, channels, height, width = x.shape
        shape = (steps, samples, self.heads, channels // self.heads, height * width)
        q, k, v = (part(x).reshape(shape).transpose(-1, -2) for part in (self.query, self.key, self.value))
        made = (q @ (k.transpose(-2, -1) @ v)) * self.drive
        spikes: Tensor = self.fires(made.transpose(-1, -2).reshape(steps, samples, channels, height * width))
        return spikes.reshape(x.shape)


def neurons(cells: Population) -> nn.Module:
    """Return the LIF of SpikingJelly that a population of ours is, whose loop over time is torch's."""
    from spikingjelly.activation_based import neuron, surrogate

    given: Any = cells.neuron
    slope = dict(given.surrogate.parameters)["alpha"] / given.v_threshold  # ours is in units of the threshold
    shape = surrogate.Sigmoid(alpha=slope)
    how = {"detach_reset": True, "step_mode": "m"}
    made: nn.Module = neuron.LIFNode(tau=given.tau_mem, v_threshold=given.v_threshold, surrogate_function=shape, **how)
    return made


def theirs(part: nn.Module) -> nn.Module:
    """Return the modules of SpikingJelly for a part."""
    if isinstance(part, Stateless):
        return every_step(part.module)
    if isinstance(part, Neurons):
        return neurons(part.cells)
    if isinstance(part, Layer):
        return nn.Sequential(every_step(part.synapse), neurons(part.cells))
    if isinstance(part, Joined):
        return Block(part.branch)
    if isinstance(part, SelfAttention):
        return SSA(part)
    raise TypeError(f"{type(part).__name__} is not a part of Spikingformer")


def every_step(module: nn.Module) -> nn.Module:
    """Return a copy of modules without memory that is applied at every step."""
    from spikingjelly.activation_based import layer

    made: nn.Module = layer.SeqToANNContainer(deepcopy(module))
    return made


def model(side: str, size: str, seed: int = 0) -> nn.Module:
    """Return a Spikingformer of one side; both have the same weights."""
    name, shape, _ = SIZES[size]
    ours: Stack = make_model("spikingformer", name, shape=shape, classes=CLASSES, seed=seed)
    return ours if side == "ours" else Theirs(ours.parts)


def data(size: str) -> tuple[Tensor, Tensor]:
    """Return images that are shown at every step, as the encoder `constant` does, and their classes."""
    _, shape, batch = SIZES[size]
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(batch, *shape, generator=rng)
    return x.expand(T, *x.shape), torch.arange(batch) % CLASSES


def both(net: nn.Module, x: Tensor, y: Tensor) -> Callable[[], tuple[Tensor, list[Tensor]]]:
    """Return a call that runs a batch forward and backward, and returns output and gradients."""
    theirs = isinstance(net, Theirs)

    def call() -> tuple[Tensor, list[Tensor]]:
        if theirs:
            from spikingjelly.activation_based import functional

            functional.reset_net(net)
        output = net(x) if theirs else net(x).output
        loss = nn.functional.cross_entropy(output.mean(0), y)
        return output.detach(), list(torch.autograd.grad(loss, list(net.parameters())))

    return call


def require_equal(size: str) -> None:
    """Raise unless outputs and gradients agree in float64, where spikes that differ by rounding are unlikely."""
    x, y = data(size)
    x = x[0, :2].double().expand(T, 2, *x.shape[2:])
    runs = [both(model(side, size).double(), x, y[:2])() for side in SIDES]
    torch.testing.assert_close(*(output for output, _ in runs))
    for a, b in zip(*(grads for _, grads in runs), strict=True):
        torch.testing.assert_close(a, b)


def times(size: str, rounds: int) -> tuple[str, ...]:
    """Return the row of a size: CPU times of both sides, and their ratio."""
    require_equal(size)
    calls = [spent(both(model(side, size), *data(size))) for side in SIDES]
    in_turn(calls, 1)
    found = in_turn(calls, rounds)
    ours, other = (f"{statistics.median(column):.3f} s" for column in zip(*found, strict=True))
    ratio = statistics.median(b / a for a, b in found)
    limit = 1 / common(both(model("SpikingJelly", size), *data(size)))
    return f"{size}, B = {SIZES[size][2]}", other, ours, f"{ratio:.2f}", FASTER, f"{limit:.2f}"


def common(call: Callable[[], object]) -> float:
    """Return the share of a call's time for what is the same on both sides: the operators in ALIKE."""
    call()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        call()
    found = {event.key: event.self_cpu_time_total for event in seen.key_averages()}
    return sum(time for key, time in found.items() if any(name in key for name in ALIKE)) / sum(found.values())


def added(side: str, size: str) -> float:
    """Measure what forward and backward add to the resident peak [MiB]."""
    call = both(model(side, size), *data(size))
    call()
    return growth(call)


def room(size: str) -> tuple[str, ...]:
    """Return the row of a size: the peak of both sides, each in processes of its own."""
    ours, other = (of_process(__file__, "--memory", side, size) for side in SIDES)
    return f"{size}, B = {SIZES[size][2]}", f"{other:.0f} MiB", f"{ours:.0f} MiB", f"{ours / other:.2f}", ROOM


def attention(kind: type, side: int) -> Callable[[], object]:
    """Return a call that runs attention over side x 32 tokens of 64 channels, forward and backward."""
    model = next(
        part
        for name, shape in (("qkformer", (3, 32, 32)), ("snn_vit", (3, 32, 32)))
        for part in make_model(name, shape=shape).modules()
        if type(part) is kind
    )
    width = next(p for p in model.parameters() if p.ndim == 4).shape[1]
    x = torch.rand(T, 8, width, side, 32, generator=torch.Generator().manual_seed(0))
    wanted = [p for p in model.parameters() if p.requires_grad]
    return lambda: torch.autograd.grad(model.run(x).output.sum(), wanted, allow_unused=True)


def grown(name: str, rounds: int) -> tuple[str, ...]:
    """Return the row of a kind of attention: CPU times at 1,024 and 2,048 tokens."""
    calls = [spent(attention(LINEAR[name], side)) for side in (32, 64)]
    in_turn(calls, 1)
    found = in_turn(calls, rounds)
    one, two = (f"{1e3 * statistics.median(column):.1f} ms" for column in zip(*found, strict=True))
    return name, one, two, f"{statistics.median(b / a for a, b in found):.2f}", GROWTH


WORDS = """\
Forward and backward of Spikingformer for CIFAR-10, images of 3 x 32 x 32, T = {steps}, in training mode and float32,
SANDBOX_KERNELS=auto, one thread (OMP_NUM_THREADS=1). The other side has the same structure and weights in modules of
SpikingJelly: LIFNode(step_mode="m"), on a CPU in torch, and SeqToANNContainer. An image is the same at every step, so
that our first convolution is computed once (`rules.forward.fold`). Outputs and all gradients are compared in float64
before anything is timed. Calls alternate in one process, {rounds} rounds; times are medians of CPU time, which other
jobs of the machine disturb less, and ratios are medians within a round. The process keeps freed memory
(`sandbox.machine.memory`), for both sides. Memory is the growth of the resident peak over one call, in a fresh process
for each side.

The limit is the ratio that would be reached if neurons and additions took no time, beside the convolutions,
normalisations, pools and products of attention of SpikingJelly. torch.profiler finds their share in one call; it
charges many small operators a little more than few large ones, so that the limit is a little too high.

Tried and left out: 1 x 1 convolutions as one product of matrices, and channels last. Both gain on single convolutions,
change the order of sums in models that are compared with published outputs, and are not enough for the target.
"""


def main() -> None:
    """Write the section."""
    torch.set_num_threads(1)
    keep_freed_memory()
    speed = table(
        ("Spikingformer", "SpikingJelly", "ours", "SpikingJelly / ours", "target", "limit"),
        [times(size, ROUNDS) for size in SIZES],
    )
    peak = table(
        ("peak memory", "SpikingJelly", "ours", "ours / SpikingJelly", "target"), [room(size) for size in SIZES]
    )
    tokens = table(
        ("attention, T = 4, B = 8", "1,024 tokens", "2,048 tokens", "2,048 / 1,024", "target"),
        [grown(name, 2 * ROUNDS) for name in LINEAR],
    )
    words = WORDS.format(steps=T, rounds=ROUNDS)
    put("Spiking transformers", "\n\n".join([words.strip(), speed, peak, tokens, machine("torch", "spikingjelly")]))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--memory"]:
        torch.set_num_threads(1)
        print(added(*sys.argv[2:]))
    elif sys.argv[1:]:
        torch.set_num_threads(1)
        keep_freed_memory()
        print(times(sys.argv[1], 3), room(sys.argv[1]), *(grown(name, 2 * ROUNDS) for name in LINEAR), sep="\n")
    else:
        main()
