"""Networks to start from: convolutional and recurrent ones of spiking neurons, and two without neurons or time."""

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
    """A small VGG-like network: 3 x 3 convolutions, each pooled by 2, normalised and fired, then a dense read-out.

    Arguments: the shape of an image `(C, H, W)`, the number of classes, the channels of each convolution, the membrane
    time constant in ms at steps of 1 ms, for four steps or so. Batch normalisation runs over batch, time and space.
    Raises ValueError where the image is too small for so many pools.

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
    """Recurrent layers of spiking neurons and a leaky read-out, for sequences such as those of `fsdd`.

    Arguments: the features of a step, the number of classes, the units of each layer, the membrane time constant in
    steps of 1 ms.

    >>> recurrent()(torch.zeros(20, 2, 40)).output.shape
    torch.Size([20, 2, 10])
    """
    hidden = [f"{width}r" for width in units]
    return build(shape, classes, hidden, LIF(tau_mem=tau_mem), LeakyIntegrator(tau_mem=tau_mem), seed=seed)


def perceptron(
    shape: tuple[int, ...], classes: int, hidden: Sequence[int] = (32,) * 7, *, activation: str = "tanh", seed: int = 0
) -> nn.Sequential:
    """Dense layers and activations, drawn orthogonal so that they keep lengths; no neurons, no time.

    Arguments: the shape of a sample, the number of classes, the units of each hidden layer, `tanh` or `relu` (drawn
    with a gain of sqrt 2).

    >>> perceptron((1, 8, 8), 10, hidden=(32,))(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 10])

    Reference: Saxe, McClelland & Ganguli 2014 (arXiv 1312.6120), for the initial weights.
    """
    active, gain = pick_activation(activation)
    sizes = [math.prod(shape), *hidden, classes]
    parts: list[nn.Module] = [nn.Flatten()] if len(shape) > 1 else []
    for inputs, outputs in zip(sizes, sizes[1:], strict=False):
        parts += [nn.Linear(inputs, outputs), active()]
    return drawn(nn.Sequential(*parts[:-1]), gain, seed)


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
    """Strided convolutions with group normalisation, whose statistics are those of a sample alone; a dense read-out.

    Arguments: the shape of an image `(C, H, W)`, the number of classes, channels and stride of each convolution (of
    the smallest odd kernel from 3 on that covers the stride), the groups of each normalisation, `relu` or `tanh`. No
    neurons, no time, and no gains or offsets beside the weights and biases of synapses, of which layered rules would
    know nothing. Raises ValueError where channels and strides differ in number.

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
        norm = nn.GroupNorm(groups, outputs, affine=False)
        parts += [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2), norm, active()]
        inputs, side = outputs, [(length - 1) // stride + 1 for length in side]
    parts += [nn.Flatten(), nn.Linear(inputs * math.prod(side), classes)]
    return drawn(nn.Sequential(*parts), gain, seed)


ACTIVATIONS: dict[str, tuple[Callable[[], nn.Module], float]] = {
    "tanh": (nn.Tanh, 1.0),
    "relu": (nn.ReLU, math.sqrt(2)),
}


def pick_activation(name: str) -> tuple[Callable[[], nn.Module], float]:
    """An activation and the gain with which layers in front of it keep lengths."""
    if name not in ACTIVATIONS:
        raise unknown("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]


def drawn(model: nn.Sequential, gain: float, seed: int) -> nn.Sequential:
    """The model with orthogonal weights; the read-out, behind which nothing follows, keeps a gain of 1."""
    rng = torch.Generator().manual_seed(seed)
    orthogonal_(model, rng, gain)
    orthogonal_(model[-1], rng)
    return model


MODELS: dict[str, Callable[..., nn.Module]] = {
    "convolutional": convolutional,
    "recurrent": recurrent,
    "perceptron": perceptron,
    "normalised": normalised,
}
