"""Run a network of counting neurons with zeros and ones alone."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rules.forward import fold
from sandbox.networks.network import Layer, Network
from sandbox.neurons.cell import Cell
from sandbox.neurons.counting import Adaptive, Counting
from sandbox.neurons.stepping import rest
from sandbox.simulation import sequence


class BinaryRun(NamedTuple):
    """The result of a network whose layers hand on bits."""

    output: Tensor  # [T, B, classes]
    bits: tuple[Tensor, ...]  # [T D, B, ...] of each layer that counts: zeros and ones, D steps for each of training


def thermometer(counts: Tensor, levels: int) -> Tensor:
    """Return whole numbers `[T, ...]` from 0 to `levels` as bits `[T levels, ...]`, ones first within a step.

    >>> thermometer(torch.tensor([2.0, 0.0]), 3).tolist()
    [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    """
    place = torch.arange(levels, device=counts.device).reshape(1, levels, *[1] * (counts.ndim - 1))
    return (place < counts[:, None]).to(counts.dtype).flatten(0, 1)


@torch.no_grad()
def binary_inference(network: Network, x: Tensor) -> BinaryRun:
    """Run a network of `ILIF`, `NILIF`, `ASN` or `NASN` as spiking hardware does, one bit a step.

    A count n from `low` to `low + levels` becomes `levels` binary steps, of which the first `n - low` have a spike. The
    next synapse, affine in its input, weighs bits alone and adds them up over these steps; what it makes of `low`, the
    same in every step, belongs to its bias:

        W n = sum_d W s[d] + W low

    A window is that of the ceiling of alpha, also where training used the fractional one; the outputs of the network
    differ from `network(x)` by that gap, and otherwise by rounding.

    Args:
        network: of layers, without residual blocks; it is not changed.
        x: a batch `[T, B, *shape]`.

    Returns: The output and the bits of every counting layer.

    Raises:
        ValueError: for another module than a `Network`, one without a counting layer, a residual block or a recurrent
            layer, another shape of input, and in training mode with batch normalisation.

    >>> from sandbox import build
    >>> from sandbox.neurons import ILIF
    >>> net = build((4,), 3, (5,), ILIF())
    >>> x = torch.rand(2, 1, 4)
    >>> run = binary_inference(net, x)
    >>> run.bits[0].shape, torch.allclose(run.output, net(x).output, atol=1e-5)
    (torch.Size([8, 1, 5]), True)

    Reference: Zhou et al. 2026 (arXiv 2604.12365); the order of spikes within a step is free, and ours.
    """
    if not isinstance(network, Network):
        raise ValueError(
            f"{type(network).__name__} is not a network of sandbox.build, whose cells say how they count: give one"
        )
    wanted = ", ".join(map(str, network.shape))
    if x.ndim < 3 or prod(x.shape[2:]) != prod(network.shape):
        raise ValueError(f"x has shape {tuple(x.shape)}: give time, samples and the input, [T, B, {wanted}]")
    varying = (nn.BatchNorm1d, nn.BatchNorm2d, nn.Dropout, nn.Dropout1d, nn.Dropout2d)
    if network.training and any(isinstance(module, varying) for module in network.modules()):
        raise ValueError("batch normalisation and dropout vary while a network trains: call network.eval() first")
    kept: list[Tensor] = []
    before: Counting | None = None
    x = x.reshape(*x.shape[:2], *network.shape)
    for number, part in enumerate(network.stack):
        if not isinstance(part, Layer) or part.cells.recurrent is not None:
            kind = "a recurrent layer" if isinstance(part, Layer) else f"a {type(part).__name__}"
            raise ValueError(
                f"layers.{number} is {kind}: wanted layers of a synapse and cells that do not hear themselves"
            )
        currents = fold(part.synapse, x) if before is None else summed(part.synapse, x, before)
        cell = deployed(part.cells.present())
        (x,), _ = sequence(cell, currents, rest(cell, currents), part.cells.dt)
        output, before = x, cell if isinstance(cell, Counting) else None
        if before is not None:
            x = thermometer((x / before.unit - before.offset).round(), before.levels)
            kept.append(x)
    if not kept:
        raise ValueError(
            "no layer of this network counts (ILIF, NILIF, ASN, NASN), so that it hands on what it was trained with: "
            "call network(x)"
        )
    return BinaryRun(output, tuple(kept))


def deployed(cell: Cell) -> Cell:
    """Return a cell with a window of whole numbers."""
    return replace(cell, window="ceiling") if isinstance(cell, Adaptive) else cell


def summed(synapse: nn.Module, bits: Tensor, cell: Counting) -> Tensor:
    """Return the currents `[T, B, ...]` of a synapse that weighs the bits of a cell one by one."""
    nothing = torch.zeros_like(bits[:1])
    third = (torch.arange(nothing[0, :1].numel(), device=bits.device) % 3).reshape(nothing[0, :1].shape)
    one, other = ((third == number).to(bits).expand_as(nothing) for number in (0, 1))
    parts, together = fold(synapse, one) + fold(synapse, other) - fold(synapse, nothing), fold(synapse, one + other)
    if not torch.allclose(parts, together, rtol=1e-3, atol=1e-4):
        raise ValueError(
            f"{type(synapse).__name__} is not affine in its input: behind it a count is not the sum of its spikes"
        )
    weighed = (fold(synapse, bits) - fold(synapse, nothing)).unflatten(0, (-1, cell.levels)).sum(1)
    currents: Tensor = weighed * cell.unit + fold(synapse, nothing + cell.unit * cell.offset)
    return currents
