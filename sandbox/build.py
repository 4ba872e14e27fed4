"""Building networks from a short description, with weights that make neurons fire."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from rules.contract import Batch
from rules.health import firing_rates
from sandbox.network import Layer, Network, Population, Residual
from sandbox.neurons import LIF, LeakyIntegrator, Neuron
from sandbox.synapses import EventLinear

PART = re.compile(r"(?P<width>\d+)(?P<recurrent>r)?(?:(?P<kind>[cx])(?P<kernel>\d+))?(?P<normed>b)?(?:p(?P<pool>\d+))?")
HINT = (
    "30 (dense), '30r' (recurrent), '16c5p2' (16 channels, 5 x 5 kernel, average pool by 2 before the neuron), "
    "'16x3' (residual block of two 3 x 3 convolutions), with a b for batch normalisation: '100b', '16c3bp2'"
)


def build(
    shape: tuple[int, ...],
    classes: int,
    hidden: Sequence[int | str] = (100,),
    neuron: Neuron | None = None,
    readout: Neuron | None = None,
    dt: float = 1.0,
    seed: int = 0,
) -> Network:
    """A network of `hidden` layers and a dense read-out, drawn from a seed.

    A hidden layer is 30 (dense), "30r" (recurrent), "16c5p2" (16 channels of 5 x 5, average-pooled by 2 before the
    neuron) or "16x3" (a residual block of two 3 x 3 convolutions); a b, as in "16c3bp2", normalises the currents over
    batch, time and space. Weights are normal with standard deviation
    `3 rheobase / sqrt(fan_in m)`, biases zero, where m is the mean square of the input: taken as 1 for the first
    layer and as 0.02, that of firing rates around 0.1 per step, for those behind spikes. That makes a steady drive of
    about three times the distance from rest to threshold; normalised currents have the rheobase as their standard
    deviation. `calibrate` fits the scale to data.

    Raises ValueError for a layer that cannot be read, or a convolution on an input that is no image `(C, H, W)`.

    >>> net = build((1, 28, 28), classes=10, hidden=("8c5p2", 50))
    >>> [name for name, _ in net.named_parameters() if name.endswith("weight")]
    ['layers.0.synapse.0.weight', 'layers.1.synapse.1.weight', 'layers.2.synapse.weight']

    Reference: normalisation folded over time is that of Zheng et al. 2021 (arXiv 2011.05280), with the threshold's part
    taken by the rheobase.
    """
    neuron = neuron or LIF()
    readout = readout or LeakyIntegrator()
    layers: list[nn.Module] = []
    size = shape
    for description in hidden:
        layer, size = _part(str(description), size, neuron, dt)
        layers.append(layer)
    layers.append(_dense(size, classes, readout, dt))
    network = Network(layers, shape)
    initialise(network, torch.Generator().manual_seed(seed))
    return network


def _part(description: str, size: tuple[int, ...], neuron: Neuron, dt: float) -> tuple[nn.Module, tuple[int, ...]]:
    found = PART.fullmatch(description)
    if found is None or int(found["width"]) == 0 or (found["recurrent"] and found["kind"]):
        raise ValueError(f"layer {description!r} cannot be read; write {HINT}")
    width, normed = int(found["width"]), bool(found["normed"])
    if found["kind"] is None:
        recurrent = EventLinear(width, width, bias=False) if found["recurrent"] else None
        return _dense(size, width, neuron, dt, recurrent, normed), (width,)
    if len(size) != 3:
        raise ValueError(f"layer {description!r} is a convolution and wants an image (C, H, W); its input is {size}")
    kernel, pool = int(found["kernel"]), int(found["pool"] or 1)
    out = (width, size[1] // pool, size[2] // pool)
    if kernel % 2 == 0 or min(out) == 0:
        raise ValueError(f"layer {description!r}: use an odd kernel, and a pool no larger than the image {size}")
    first = _conv(size[0], width, kernel, pool, neuron, dt, normed)
    if found["kind"] == "c":
        return first, out
    same = size[0] == width and pool == 1
    shortcut = None if same else nn.Sequential(nn.Conv2d(size[0], width, 1, bias=False), nn.AvgPool2d(pool))
    return Residual([first, _conv(width, width, kernel, 1, neuron, dt, normed)], shortcut), out


def _dense(
    size: tuple[int, ...],
    width: int,
    neuron: Neuron,
    dt: float,
    recurrent: nn.Linear | None = None,
    normed: bool = False,
) -> Layer:
    parts: list[nn.Module] = [] if len(size) == 1 else [nn.Flatten()]
    parts.append(EventLinear(math.prod(size), width, bias=not normed))
    if normed:
        parts.append(nn.BatchNorm1d(width))
    return Layer(parts[0] if len(parts) == 1 else nn.Sequential(*parts), Population(neuron, dt, recurrent))


def _conv(inputs: int, outputs: int, kernel: int, pool: int, neuron: Neuron, dt: float, normed: bool) -> Layer:
    parts: list[nn.Module] = [nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=not normed)]
    if pool > 1:
        parts.append(nn.AvgPool2d(pool))
    if normed:  # of what reaches the neurons, so that their drive has the spread it is meant to have
        parts.append(nn.BatchNorm2d(outputs))
    return Layer(nn.Sequential(*parts), Population(neuron, dt))


def initialise(network: Network, rng: torch.Generator) -> None:
    """Draw every weight anew, as `build` says; recurrent ones at half the scale, so that the input leads."""
    with torch.no_grad():
        for number, layer in enumerate(populated(network)):
            neuron = layer.cells.neuron
            scale = 3 * neuron.rheobase / math.sqrt(0.02 if number else 1.0)
            for name, p in layer.named_parameters():
                if p.ndim < 2:
                    p.zero_()
                else:
                    gain = scale / 2 if "recurrent" in name else scale
                    p.normal_(0, gain / math.sqrt(p[0].numel()), generator=rng)
            for norm in norms(layer):
                norm.weight.fill_(neuron.rheobase)
        for module in network.modules():
            if isinstance(module, Residual):
                for p in module.shortcut.parameters():
                    p.normal_(0, 1 / math.sqrt(p[0].numel()), generator=rng)


def populated(network: nn.Module) -> Iterator[Layer]:
    """Every layer with neurons, in the order of the forward pass."""
    return (module for module in network.modules() if isinstance(module, Layer))


def norms(module: nn.Module) -> list[_BatchNorm]:
    """Every batch normalisation inside."""
    return [inner for inner in module.modules() if isinstance(inner, _BatchNorm)]


def calibrate(network: Network, x: Tensor, rate: float = 0.1) -> dict[str, float]:
    """Scale the weights layer by layer until a batch makes each spiking layer fire with probability `rate` per step.

    Arguments: a batch `[T, B, *shape]`, the wished-for probability. A layer without spikes is scaled to outputs of
    standard deviation 1, one of stochastic binary units to membranes as spread as their logistic is wide; a normalised
    one by the gain of its normalisation, whose running statistics become those of the batch. Returns the report of
    `firing_report`. In the spirit of Mishkin & Matas 2016 (LSUV, arXiv 1511.06422), with the firing rate in place of
    the variance. Raises ValueError for a rate outside (0, 1).

    >>> net = build((4,), 3, hidden=(30,), seed=0)
    >>> report = calibrate(net, torch.rand(20, 64, 4, generator=torch.Generator().manual_seed(0)), rate=0.1)
    >>> 0.08 < report["layers.0"] < 0.12
    True
    """
    if not 0 < rate < 1:
        raise ValueError(f"rate={rate}: give a firing probability per step between 0 and 1")
    mode = network.training
    network.train()
    with torch.no_grad():
        for layer in populated(network):
            gains = [norm.weight for norm in norms(layer)]
            scales = gains or [p for name, p in layer.named_parameters() if "recurrent" not in name]
            drawn = [p.clone() for p in scales]

            def scaled(factor: float, layer: Layer = layer, scales: Any = scales, drawn: Any = drawn) -> Tensor:
                for p, first in zip(scales, drawn, strict=True):
                    p.copy_(first * factor)
                return _output(network, layer, x)

            neuron = layer.cells.neuron
            if neuron.spontaneous:
                scaled(float(neuron.swing) / max(float(_drive(network, layer, x).std()), 1e-6))
            elif neuron.spiking:
                _bisect(lambda factor, scaled=scaled: float(scaled(factor).mean()) - rate)  # type: ignore[misc]
            else:
                scaled(1 / max(float(scaled(1.0).std()), 1e-6))
        _settle(network, x)
    network.train(mode)
    return firing_report(network, x)


def _settle(network: Network, x: Tensor) -> None:
    """Let running statistics be those of this batch alone."""
    found = norms(network)
    momenta = [norm.momentum for norm in found]
    for norm in found:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative mean, here of one batch
    if found:
        network(x)
    for norm, momentum in zip(found, momenta, strict=True):
        norm.momentum = momentum


def firing_report(network: nn.Module, x: Tensor) -> dict[str, float]:
    """The probability per step with which each spiking layer fires on a batch `[T, B, *shape]`, by layer name.

    >>> net = build((4,), 3, hidden=(30,))
    >>> firing_report(net, torch.zeros(10, 2, 4))
    {'layers.0': 0.0}
    """
    rates = firing_rates(network, Batch(x))
    spiking = [name for name, module in network.named_modules() if isinstance(module, Layer) and _fires(module)]
    return {name: rates[f"{name}.cells"] for name in spiking}


def _fires(layer: Layer) -> bool:
    return layer.cells.neuron.spiking


def _output(network: Network, layer: Layer, x: Tensor) -> Tensor:
    """What the layer's population puts out when the network sees `x`."""
    output: Tensor = _answered(network, layer, x)[0]
    return output


def _drive(network: Network, layer: Layer, x: Tensor) -> Tensor:
    """Membranes minus threshold of the layer's population when the network sees `x` [mV]."""
    membrane: Tensor = _answered(network, layer, x)[2]
    return membrane


def _answered(network: Network, layer: Layer, x: Tensor) -> Any:
    """Output, carry and membrane of the layer's population."""
    seen: list[Any] = []
    handle = layer.cells.register_forward_hook(lambda module, inputs, output: seen.append(output))
    try:
        network(x, record=True)
    finally:
        handle.remove()
    return seen[0]


def _bisect(excess: Callable[[float], float], lowest: float = -8.0, highest: float = 8.0) -> None:
    """Halve the range of exponents of 2 until `excess`, which grows with the factor, is about nothing."""
    for _ in range(12):
        middle = (lowest + highest) / 2
        lowest, highest = (lowest, middle) if excess(2**middle) > 0 else (middle, highest)
