"""Build networks from a short description, with initial weights that make the neurons fire."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from rules.fields import admit
from rules.seeds import seeded
from sandbox.networks.calibration import populated
from sandbox.networks.delays import DelayedPart, Delays
from sandbox.networks.network import Layer, Network, Part, Residual
from sandbox.networks.population import Population
from sandbox.neurons import LIF, Cell, LeakyIntegrator
from sandbox.synapses import EventLinear, Sparse
from sandbox.synapses.by_input import ByInput, input_of

PART = re.compile(
    r"(?P<width>\d+)(?P<recurrent>r)?(?:s(?P<percent>\d+))?(?:(?P<kind>[cx])(?P<kernel>\d+))?(?P<normed>b)?"
    r"(?:p(?P<pool>\d+))?(?:d(?P<delay>\d+))?"
)
HINT = (
    "30 (dense), '30r' (recurrent), '30s10' (each input is connected with a probability of 10 percent), '16c5p2' (16 "
    "channels, 5 x 5 kernel, average pool by 2 before the neuron), '16x3' (residual block of two 3 x 3 convolutions), "
    "with a b for batch normalisation: '100b', '16c3bp2'; with a d at the end for learned delays of the input, of up "
    "to 8 steps: '100d8'"
)


def build(
    shape: tuple[int, ...],
    classes: int,
    hidden: Sequence[int | str] = (100,),
    neuron: Cell | None = None,
    readout: Cell | None = None,
    dt: float = 1.0,
    seed: int = 0,
) -> Network:
    """Build a network of hidden layers and a dense read-out, with weights drawn from a seed.

    A hidden layer is described as 30 (dense), "30r" (recurrent), "30s10" (sparse: each pair of an input and a cell is
    connected with a probability of 10 percent; recurrent weights stay dense), "16c5p2" (16 channels of 5 x 5,
    average-pooled by 2 before the neuron) or "16x3" (a residual block of two 3 x 3 convolutions). A b, as in "16c3bp2",
    adds batch normalisation of the currents over batch, time and space. A d at the end, as in "100d8" or "16c5p2d8",
    adds learned delays of the input, here of up to 8 steps: one for each input of a dense layer, one for each channel
    of a convolution (`sandbox.networks.delays.Delays`). They start uniformly in that range.

    Weights are normal with standard deviation `3 rheobase / sqrt(fan_in m)`, biases are zero. Here m is the mean square
    of the input: 1 for the first layer, and 0.02 for the others, as for firing rates around 0.1 per step. The drive is
    then about three times the distance from rest to threshold. Normalised currents have the rheobase as their standard
    deviation. `calibrate` fits the scale to data.

    Args:
        shape: of one sample at one time, such as (4,) or (C, H, W).
        classes: number of outputs.
        hidden: descriptions of the hidden layers, (100,) by default.
        neuron: of the hidden layers; `LIF()` by default.
        readout: neuron of the last layer; `LeakyIntegrator()` by default.
        dt: time step [ms], 1 by default.
        seed: of the initial weights, 0 by default.

    Returns: The network.

    Raises:
        ValueError: for a description that cannot be read, or a convolution whose input is not an image `(C, H, W)`.

    >>> net = build((1, 28, 28), classes=10, hidden=("8c5p2", 50))
    >>> [name for name, _ in net.named_parameters() if name.endswith("weight")]
    ['layers.0.synapse.0.weight', 'layers.1.synapse.1.weight', 'layers.2.synapse.weight']

    Reference: Zheng et al. 2021 (arXiv 2011.05280) for normalisation over time, here scaled by the rheobase instead of
    the threshold.
    """
    neuron, readout = _cell("neuron", neuron or LIF()), _cell("readout", readout or LeakyIntegrator())
    if isinstance(hidden, str) or not isinstance(hidden, Sequence):
        raise ValueError(f"hidden={hidden!r:.60}: give the layers as a sequence, ({hidden!r:.60},)")
    dt = admit("dt", dt, float)
    layers: list[nn.Module] = []
    size = shape
    for number, description in enumerate(hidden):
        drawn = seeded(seed, "pattern", number), seeded(seed, "cells", number)
        layer, after = _part(str(description), size, neuron, dt, *drawn)
        layers.append(_delayed(str(description), size, layer, seeded(seed, "delays", number)))
        size = after
    out = _each(readout, lambda: _dense_synapse(size, EventLinear(math.prod(size), classes)))
    layers.append(Layer(out, Population(readout, dt, None, seeded(seed, "cells", len(hidden)), classes)))
    network = Network(layers, shape)
    initialise(network, torch.Generator().manual_seed(seed))
    return network


def _cell(name: str, given: Any) -> Cell:
    """Return a cell; raise ValueError for anything else."""
    if isinstance(given, Cell):
        return given
    raise ValueError(f"{name}={given!r:.60}: give a neuron, such as sandbox.LIF() or sandbox.neurons.NEURONS['lif']()")


def _part(
    description: str, size: tuple[int, ...], neuron: Cell, dt: float, rng: torch.Generator, cells: torch.Generator
) -> tuple[Part, tuple[int, ...]]:
    found = PART.fullmatch(description) if description.isascii() else None
    if found is None or int(found["width"]) == 0 or (found["kind"] and (found["recurrent"] or found["percent"])):
        raise ValueError(f"layer {description!r} cannot be read; write {HINT}")
    width, normed = int(found["width"]), bool(found["normed"])
    if found["kind"] is None:
        recurrent = _each(neuron, lambda: EventLinear(width, width, bias=False)) if found["recurrent"] else None

        def synapse() -> nn.Module:
            return _dense_synapse(
                size, _synapse(description, math.prod(size), width, found["percent"], not normed, rng)
            )

        return Layer(_each(neuron, synapse), Population(neuron, dt, recurrent, cells, width)), (width,)
    if len(size) != 3:
        raise ValueError(f"layer {description!r} is a convolution and needs an image (C, H, W); its input is {size}")
    kernel, pool = int(found["kernel"]), int(found["pool"] or 1)
    out = (width, size[1] // pool, size[2] // pool)
    if kernel % 2 == 0 or min(out) == 0:
        raise ValueError(f"layer {description!r}: use an odd kernel, and a pool no larger than the image {size}")
    first = _conv(size[0], width, kernel, pool, neuron, dt, normed, cells)
    if found["kind"] == "c":
        return first, out
    same = size[0] == width and pool == 1

    def shortcut() -> nn.Module:
        return nn.Sequential(nn.Conv2d(size[0], width, 1, bias=False), nn.AvgPool2d(pool))

    # a spike is a current of 1, which has no meaning in the units of several inputs
    around = None if same and not neuron.inputs else _each(neuron, shortcut)
    return Residual([first, _conv(width, width, kernel, 1, neuron, dt, normed, cells)], around), out


def rheobase(neuron: Cell, name: str) -> Any:
    """Return the rheobase of the input that a synapse of this name drives."""
    return float(neuron.rheobase[neuron.inputs.index(input_of(name))]) if neuron.inputs else neuron.rheobase


def _delayed(description: str, size: tuple[int, ...], part: Part, rng: torch.Generator) -> Part:
    """Return a part behind the delays of its description, if it has any."""
    found = PART.fullmatch(description)
    if found is None or found["delay"] is None:
        return part
    if int(found["delay"]) == 0:
        raise ValueError(f"layer {description!r} has delays of up to 0 steps: leave out d0, or write d8")
    shape = (size[0], *[1] * (len(size) - 1)) if found["kind"] else size
    return DelayedPart(Delays(shape, int(found["delay"]), generator=rng), part)


def _synapse(
    description: str, inputs: int, width: int, percent: str | None, bias: bool, rng: torch.Generator
) -> nn.Module:
    if percent is None:
        return EventLinear(inputs, width, bias=bias)
    if not 1 <= int(percent) <= 100:
        raise ValueError(f"layer {description!r} connects {percent} percent of the pairs; write 1 to 100: '{width}s10'")
    return Sparse(inputs, width, int(percent) / 100, bias, rng)


def _each(neuron: Cell, make: Callable[[], nn.Module]) -> Any:
    """Return a module, or one for each input of a neuron with several."""
    return ByInput({name: make() for name in neuron.inputs}) if neuron.inputs else make()


def _dense_synapse(size: tuple[int, ...], synapse: nn.Module) -> nn.Module:
    parts: list[nn.Module] = [] if len(size) == 1 else [nn.Flatten()]
    parts.append(synapse)
    if synapse.bias is None:  # normalisation has its own
        width: Any = synapse.out_features
        parts.append(nn.BatchNorm1d(width))
    return parts[0] if len(parts) == 1 else nn.Sequential(*parts)


def _conv(
    inputs: int, outputs: int, kernel: int, pool: int, neuron: Cell, dt: float, normed: bool, rng: torch.Generator
) -> Layer:
    def synapse() -> nn.Module:
        parts: list[nn.Module] = [nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=not normed)]
        if pool > 1:
            parts.append(nn.AvgPool2d(pool))
        if normed:  # after the pool, so that the current that reaches the neurons has the intended spread
            parts.append(nn.BatchNorm2d(outputs))
        return nn.Sequential(*parts)

    return Layer(_each(neuron, synapse), Population(neuron, dt, None, rng, outputs))


def initialise(network: Network, rng: torch.Generator) -> None:
    """Draw every weight anew as described in `build`; recurrent ones at half the scale, so that the input dominates."""
    with torch.no_grad():
        for number, layer in enumerate(populated(network)):
            neuron = layer.cells.neuron
            sparse = {id(m.weight): len(m.weight) / m.out_features for m in layer.modules() if isinstance(m, Sparse)}
            learned = {id(p) for p in layer.cells.learned.parameters()} if layer.cells.learned else set()
            for name, p in layer.named_parameters():
                if id(p) in learned:
                    continue
                inputs = sparse.get(id(p), p[0].numel() if p.ndim > 1 else 0)
                if not inputs:
                    p.zero_()
                else:
                    scale = 3 * rheobase(neuron, name) / math.sqrt(0.02 if number else 1.0)
                    gain = scale / 2 if "recurrent" in name else scale
                    p.normal_(0, gain / math.sqrt(inputs), generator=rng)
            for name, norm in layer.named_modules():
                if isinstance(norm, _BatchNorm):
                    norm.weight.fill_(rheobase(neuron, name))
        for module in network.modules():
            if isinstance(module, Residual):
                cell = module.stack[-1].cells.neuron
                for name, p in module.shortcut.named_parameters():
                    gain = rheobase(cell, name) if cell.inputs else 1
                    p.normal_(0, gain / math.sqrt(p[0].numel()), generator=rng)
