"""What the residual models share: convolutions with normalisation, their read-out, and their initial weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn

from rules.errors import unknown
from sandbox.networks.network import Layer
from sandbox.networks.parts import Stack, Stateless
from sandbox.networks.population import Population
from sandbox.neurons import Cell

Size = TypeVar("Size")
Draw = Callable[[Any, torch.Generator], None]


def convolved(
    inputs: int, outputs: int, kernel: int, stride: int = 1, *, bias: bool = False, scale: float = 1.0
) -> nn.Sequential:
    """Return a padded convolution and a batch normalisation over batch, time and space.

    Args:
        inputs: channels that enter.
        outputs: channels that leave.
        kernel: width of the kernel, odd.
        stride: of the convolution, 1 by default.
        bias: whether the convolution has one.
        scale: initial gain of the normalisation, 1 by default.
    """
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=bias)
    norm = nn.BatchNorm2d(outputs)
    nn.init.constant_(norm.weight, scale)
    return nn.Sequential(convolution, norm)


def spiking(synapse: nn.Module, neuron: Cell) -> Layer:
    """Return a layer of neurons, at steps of 1 ms, behind a synapse."""
    return Layer(synapse, Population(neuron, 1.0))


def averaged(features: int, classes: int, dropout: float = 0.0) -> Stateless:
    """Return the read-out: a global average over space and a dense layer, at every step.

    The published networks average over time before the dense layer. That is the mean over time of this output, as the
    loss `ce_mean` takes it.
    """
    between = [nn.Dropout(dropout)] if dropout else []
    return Stateless(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), *between, nn.Linear(features, classes)))


def residual(module: Any, rng: torch.Generator) -> None:
    """Draw a module as the residual networks do; biases are uniform within `1 / sqrt(fan_in)`.

    Convolutions: normal with a variance of `2 / fan_out` (He et al. 2015, arXiv 1502.01852). Dense layers: uniform
    within `1 / sqrt(fan_in)`.
    """
    if isinstance(module, nn.Linear):
        uniform(module, rng)
        return
    module.weight.normal_(0, math.sqrt(2 / module.weight[:, 0].numel()), generator=rng)
    if module.bias is not None:
        bound = 1 / math.sqrt(module.weight[0].numel())
        module.bias.uniform_(-bound, bound, generator=rng)


def uniform(module: Any, rng: torch.Generator) -> None:
    """Draw weights and biases uniformly within `1 / sqrt(fan_in)`, as torch does by default."""
    bound = 1 / math.sqrt(module.weight[0].numel())
    module.weight.uniform_(-bound, bound, generator=rng)
    if module.bias is not None:
        module.bias.uniform_(-bound, bound, generator=rng)


def transformer(module: Any, rng: torch.Generator) -> None:
    """Draw a module as the transformers do: convolutions as torch by default, dense layers narrow and without offset.

    Dense layers: normal with a standard deviation of 0.02, cut at +-2.
    """
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02, generator=rng)
        nn.init.zeros_(module.bias)
    else:
        uniform(module, rng)


def xavier(module: Any, rng: torch.Generator) -> None:
    """Draw weights uniformly within `sqrt(6 / (fan_in + fan_out))` (Glorot & Bengio 2010), biases as torch does."""
    uniform(module, rng)
    nn.init.xavier_uniform_(module.weight, generator=rng)


def drawn(model: Stack, seed: int, draw: Draw = residual) -> Stack:
    """Return the model with the weights of its convolutions and dense layers drawn from a seed.

    Args:
        model: its normalisations stay as they are.
        seed: of the weights.
        draw: draws those of one module.
    """
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)):
                draw(module, rng)
    return model


def require_image(shape: tuple[int, ...], patch: int = 1) -> None:
    """Raise ValueError for samples that are not images, or whose sides are no multiples of a patch."""
    if len(shape) != 3:
        raise ValueError(
            f"shape={tuple(shape)}: this model takes images (C, H, W); the task digits makes them with the "
            "option {image: true}"
        )
    if any(side < 1 or side % patch for side in shape[1:]):
        raise ValueError(
            f"shape={tuple(shape)}: patches of {patch} x {patch} do not divide an image of {shape[1]} x {shape[2]}; "
            f"crop or pad its sides to multiples of {patch}, or choose another size of the model"
        )


def sized(what: str, name: int | str | Size, sizes: dict[int | str, Size]) -> Size:
    """Return the member of a table of sizes, or a size as it is; raise ValueError for an unknown name."""
    if not isinstance(name, (int, str)):
        return name
    if name not in sizes:
        if isinstance(name, str) and name.isdecimal() and int(name) in sizes:  # as a command line gives it
            return sizes[int(name)]
        raise unknown(what, str(name), list(map(str, sizes)))
    return sizes[name]
