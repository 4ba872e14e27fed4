"""Small networks: convolutional and recurrent spiking ones, and two models without neurons or time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import nn

from rules.credit.zero_order import orthogonal_
from rules.errors import unknown
from sandbox.networks.build import build
from sandbox.networks.network import Network
from sandbox.neurons import LIF, LeakyIntegrator


def convolutional(
    shape: tuple[int, int, int] = (3, 32, 32),
    classes: int = 10,
    channels: tuple[int, ...] = (16, 32, 64),
    *,
    tau_mem: float = 2.0,
    seed: int = 0,
) -> Network:
    """Build a small VGG-like spiking network: 3 x 3 convolutions and a dense read-out.

    Each convolution is pooled by 2, batch-normalised over batch, time and space, and followed by LIF neurons.

    Args:
        shape: of an image `(C, H, W)`.
        classes: number of outputs.
        channels: of each convolution, (16, 32, 64) by default.
        tau_mem: membrane time constant [ms] at steps of 1 ms; the default of 2 suits sequences of about four steps.
        seed: of the initial weights.

    Raises:
        ValueError: if the image is too small for so many pools.

    >>> convolutional((3, 32, 32))(torch.rand(1, 2, 3, 32, 32).expand(4, 2, 3, 32, 32)).output.shape
    torch.Size([4, 2, 10])

    Reference: the shape of VGG, Simonyan & Zisserman 2015 (arXiv 1409.1556); sizes are ours, for two cores.
    """
    hidden = [f"{width}c3bp2" for width in channels]
    return build(shape, classes, hidden, LIF(tau_mem=tau_mem), LeakyIntegrator(tau_mem=tau_mem), seed=seed)


def recurrent(
    shape: tuple[int, ...] = (40,),
    classes: int = 10,
    units: tuple[int, ...] = (128,),
    *,
    tau_mem: float = 20.0,
    seed: int = 0,
) -> Network:
    """Build recurrent layers of LIF neurons and a leaky read-out, for sequences such as those of `fsdd`.

    Args:
        shape: of the features of one step, (40,) by default.
        classes: number of outputs.
        units: neurons of each layer, (128,) by default.
        tau_mem: membrane time constant [ms] at steps of 1 ms, 20 by default.
        seed: of the initial weights.

    >>> recurrent()(torch.zeros(20, 2, 40)).output.shape
    torch.Size([20, 2, 10])
    """
    hidden = [f"{width}r" for width in units]
    return build(shape, classes, hidden, LIF(tau_mem=tau_mem), LeakyIntegrator(tau_mem=tau_mem), seed=seed)


def perceptron(
    shape: tuple[int, ...],
    classes: int,
    hidden: Sequence[int] = (32,) * 7,
    *,
    activation: str = "tanh",
    gain: float = 1.0,
    seed: int = 0,
) -> nn.Sequential:
    """Build dense layers with activations and orthogonal initial weights; no neurons, no time.

    Args:
        shape: of a sample.
        classes: number of outputs.
        hidden: units of each hidden layer, seven layers of 32 by default.
        activation: "tanh" (weights drawn with a gain of 1), "relu" (gain sqrt 2) or "hardsigmoid" (gain 1).
        gain: factor of the initial weights.
        seed: of the initial weights.

    Raises:
        ValueError: for another activation, and a gain that is not positive.

    >>> perceptron((1, 8, 8), 10, hidden=(32,))(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 10])

    Reference: Saxe, McClelland & Ganguli 2014 (arXiv 1312.6120), for the initial weights.
    """
    active, own = pick_activation(activation)
    if not 0 < gain < math.inf:
        raise ValueError(f"gain={gain}: give a factor of the initial weights, above 0")
    sizes = [math.prod(shape), *hidden, classes]
    parts: list[nn.Module] = [nn.Flatten()] if len(shape) > 1 else []
    for inputs, outputs in zip(sizes, sizes[1:], strict=False):
        parts += [nn.Linear(inputs, outputs), active()]
    network = drawn(nn.Sequential(*parts[:-1]), own, seed)
    with torch.no_grad():
        for p in network.parameters():
            p.mul_(gain)
    return network


def normalised(
    shape: tuple[int, int, int],
    classes: int,
    channels: Sequence[int] = (8, 16, 16),
    *,
    strides: Sequence[int] = (4, 2, 1),
    groups: int = 4,
    activation: str = "relu",
    seed: int = 0,
) -> nn.Sequential:
    """Build strided convolutions with group normalisation and a dense read-out; no neurons, no time.

    Group normalisation uses the statistics of each sample alone. It has no learned gains or offsets, because layered
    rules learn only the weights and biases of synapses. The kernel of a convolution is the smallest odd one from 3 on
    that covers its stride.

    Args:
        shape: of an image `(C, H, W)`.
        classes: number of outputs.
        channels: of each convolution.
        strides: of each convolution.
        groups: of each normalisation.
        activation: "relu" or "tanh".
        seed: of the initial weights.

    Raises:
        ValueError: if channels and strides differ in number.

    >>> normalised((3, 32, 32), 10)(torch.rand(2, 3, 32, 32)).shape
    torch.Size([2, 10])

    Reference: Wu & He 2018 (arXiv 1803.08494), for the normalisation; sizes are ours, for two cores.
    """
    if len(channels) != len(strides):
        raise ValueError(f"channels={list(channels)}, strides={list(strides)}: give a stride for each convolution")
    active, gain = pick_activation(activation)
    parts: list[nn.Module] = []
    inputs, side = shape[0], list(shape[1:])
    for outputs, stride in zip(channels, strides, strict=True):
        kernel = max(3, stride + 1 - stride % 2)
        if groups < 1 or outputs % groups:
            raise ValueError(f"groups={groups} does not divide channels={outputs}: give a divisor, such as 1")
        norm = nn.GroupNorm(groups, outputs, affine=False)
        parts += [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2), norm, active()]
        inputs, side = outputs, [(length - 1) // stride + 1 for length in side]
    parts += [nn.Flatten(), nn.Linear(inputs * math.prod(side), classes)]
    return drawn(nn.Sequential(*parts), gain, seed)


ACTIVATIONS: dict[str, tuple[Callable[[], nn.Module], float]] = {
    "tanh": (nn.Tanh, 1.0),
    "relu": (nn.ReLU, math.sqrt(2)),
    "hardsigmoid": (nn.Hardsigmoid, 1.0),
}


def pick_activation(name: str) -> tuple[Callable[[], nn.Module], float]:
    """Return an activation and the gain of the weights before it that preserves the scale of the signal."""
    if name not in ACTIVATIONS:
        raise unknown("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]


def drawn(model: nn.Sequential, gain: float, seed: int) -> nn.Sequential:
    """Draw orthogonal weights; the read-out, which no activation follows, gets a gain of 1."""
    rng = torch.Generator().manual_seed(seed)
    orthogonal_(model, rng, gain)
    orthogonal_(model[-1], rng)
    return model
