"""A language model of a million weights: ours beside the same one of SpikingJelly's modules, per token.

python benchmarks/language.py          # writes its section of README.md
python benchmarks/language.py 3        # that many rounds; only prints
"""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "SANDBOX_KERNELS": "auto"}

import torch
from readme import machine, put, table
from timing import in_turn, spent
from torch import Tensor, nn

from sandbox.machine.memory import keep_freed_memory
from sandbox.networks.language import Block, Size, TokenModel
from sandbox.networks.models.bispikclm import bispikclm
from sandbox.networks.network import Layer
from sandbox.networks.population import Population

SIZE = Size(depth=5, width=128, heads=8, ratio=4, context=256)
LENGTH, BATCH, VOCABULARY, ROUNDS = 64, 16, 64, 7
TARGET = ">= 1"


class Theirs(nn.Module):
    """The modules of SpikingJelly for a BiSpikCLM of ours, with its weights."""

    def __init__(self, model: TokenModel) -> None:
        super().__init__()
        self.steps = model.spike_steps
        self.tokens, self.places = deepcopy(model.tokens), deepcopy(model.places)
        self.blocks = nn.ModuleList(map(TheirBlock, model.blocks))
        self.norm, self.head = deepcopy(model.norm), nn.Linear(SIZE.width, VOCABULARY, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, x: Tensor) -> Tensor:
        embedded = self.tokens(x) + self.places.weight[: len(x), None]
        stream = embedded.transpose(0, 1).repeat(self.steps, 1, 1, 1)
        for block in self.blocks:
            stream = block(stream)
        output: Tensor = self.head(self.norm(stream.mean(0).transpose(0, 1)))
        return output


class TheirBlock(nn.Module):
    """A block of attention and two dense layers."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        attention: Any = block.attention
        self.heads = attention.heads
        self.front = neurons(block.front[0].cells)
        self.query, self.key, self.value = (layer(attention.sources[name][0]) for name in ("query", "key", "value"))
        self.fires, self.again = neurons(attention.compete.cells), neurons(attention.behind[0].cells)
        self.project = layer(attention.behind[1])
        self.feed = nn.Sequential(neurons(block.feed[0].cells), layer(block.feed[1]), layer(block.feed[2]))

    def forward(self, x: Tensor) -> Tensor:
        entered = self.front(x)
        q, k, v = (
            part(entered).unflatten(-1, (self.heads, -1)).transpose(2, 3) for part in (self.query, self.key, self.value)
        )
        mask = torch.ones(x.shape[2], x.shape[2], device=x.device, dtype=x.dtype).tril()
        mixed = (self.fires((q @ k.mT) * mask) * mask) @ v
        x = x + self.project(self.again(mixed.transpose(2, 3).flatten(3)))
        return x + self.feed(x)


def layer(part: Layer) -> nn.Module:
    """Return a dense layer and its neurons."""
    return nn.Sequential(deepcopy(part.synapse), neurons(part.cells))


def neurons(cells: Population) -> nn.Module:
    """Return the LIF of SpikingJelly that a population of ours is, whose loop over time is torch's."""
    from spikingjelly.activation_based import neuron, surrogate

    given: Any = cells.neuron
    slope = dict(given.surrogate.parameters)["alpha"] / given.v_threshold
    how: dict[str, Any] = {"decay_input": False, "v_reset": None, "detach_reset": True, "step_mode": "m"}
    shape = surrogate.ATan(slope)
    made: nn.Module = neuron.LIFNode(given.tau_mem, v_threshold=given.v_threshold, surrogate_function=shape, **how)
    return made


def both(net: nn.Module, x: Tensor, y: Tensor) -> Callable[[], tuple[Tensor, list[Tensor]]]:
    """Return a call that runs a batch forward and backward, and returns output and gradients."""
    theirs = isinstance(net, Theirs)

    def call() -> tuple[Tensor, list[Tensor]]:
        if theirs:
            from spikingjelly.activation_based import functional

            functional.reset_net(net)
        output = net(x) if theirs else net(x).output
        loss = nn.functional.cross_entropy(output.flatten(0, 1), y.flatten())
        return output.detach(), list(torch.autograd.grad(loss, list(net.parameters())))

    return call


def sides(dtype: torch.dtype = torch.float32) -> list[Callable[[], tuple[Tensor, list[Tensor]]]]:
    """Return the calls of SpikingJelly and ours, on the same weights and tokens."""
    ours = bispikclm((), VOCABULARY, SIZE)
    for part in ours.modules():
        if isinstance(part, Population):  # SpikingJelly's reset subtracts the threshold itself
            part.neuron = replace(part.neuron, v_reset=0.0)
    text = torch.randint(VOCABULARY, (LENGTH + 1, BATCH), generator=torch.Generator().manual_seed(0))
    return [both(net.to(dtype), text[:-1], text[1:]) for net in (Theirs(ours), ours)]


def require_equal() -> None:
    """Raise unless outputs and gradients agree in float64, where spikes that differ by rounding are unlikely."""
    (output, grads), (other, others) = (call() for call in sides(torch.float64))
    torch.testing.assert_close(output, other)
    assert len(grads) == len(others)
    for a, b in zip(sorted(map(total, grads)), sorted(map(total, others)), strict=True):
        torch.testing.assert_close(a, b)


def total(grad: Tensor) -> float:
    """Return the norm of a gradient, by which those of both sides are put in the same order."""
    return float(grad.norm())


def times(rounds: int) -> tuple[str, ...]:
    """Return the row of CPU times per token, and their ratio."""
    require_equal()
    calls = [spent(call) for call in sides()]
    in_turn(calls, 1)
    found = in_turn(calls, rounds)
    theirs, ours = (f"{1e6 * statistics.median(column) / LENGTH / BATCH:.0f} us" for column in zip(*found, strict=True))
    count = sum(p.numel() for p in bispikclm((), VOCABULARY, SIZE).parameters())
    return f"{count:,} weights", theirs, ours, f"{statistics.median(a / b for a, b in found):.2f}", TARGET


WORDS = """\
Forward and backward of BiSpikCLM with 5 blocks of 128 channels and 8 heads, 4 spike steps, on {batch} texts of
{length} characters, in float32, SANDBOX_KERNELS=auto, one thread (OMP_NUM_THREADS=1). The other side has the same
structure and weights in modules of SpikingJelly, and LIFNode(step_mode="m"), on a CPU in torch; the resets of both
sides subtract the threshold, as that class does, and not threshold / beta, as the model's neuron does. Outputs and the
norms of all gradients are compared in float64 before anything is timed. Calls alternate in one process, {rounds}
rounds; times are medians of CPU time, and the ratio is the median within a round. The process keeps freed memory
(`sandbox.machine.memory`), for both sides.
"""


def main() -> None:
    """Write the section."""
    torch.set_num_threads(1)
    keep_freed_memory()
    if sys.argv[1:]:
        print(times(int(sys.argv[1])))
        return
    heads = ("CPU time of a token in training", "SpikingJelly", "ours", "SpikingJelly / ours", "target")
    words = WORDS.format(batch=BATCH, length=LENGTH, rounds=ROUNDS)
    put("Language", "\n\n".join([words.strip(), table(heads, [times(ROUNDS)]), machine("torch", "spikingjelly")]))


if __name__ == "__main__":
    main()
