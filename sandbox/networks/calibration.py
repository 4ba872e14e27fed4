"""Scale initial weights so that every layer fires at a given rate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from rules.contract import Batch
from rules.diagnostics.health import firing_rates
from rules.diagnostics.normalised import batches_until_settled
from rules.forward import looking
from rules.generators import Globals
from rules.seeds import derived, seeded
from rules.spikes.surrogate import differentiating
from rules.steps import wide
from sandbox.networks.network import Layer, Network


def populated(network: nn.Module) -> Iterator[Layer]:
    """Yield every layer with neurons, in the order of the forward pass."""
    return (module for module in network.modules() if isinstance(module, Layer))


def norms(module: nn.Module) -> list[_BatchNorm]:
    """Return every batch normalisation inside a module."""
    return [inner for inner in module.modules() if isinstance(inner, _BatchNorm)]


def calibrate(network: Network, x: Tensor, rate: float = 0.1) -> dict[str, float]:
    """Scale the weights layer by layer until a batch makes each spiking layer fire with probability `rate` per step.

    Of cells that count, `rate` is the share of the spikes that they could put out.
    A layer without spikes is scaled to outputs of standard deviation 1. A layer of stochastic binary units is scaled
    until the standard deviation of its membranes is the width of the logistic. In a layer with batch normalisation the
    gain of the normalisation is scaled, and its running statistics become those of the batch. Recurrent weights are not
    scaled.

    Args:
        network: changed in place.
        x: a batch `[T, B, *shape]`, already encoded.
        rate: probability of a spike per neuron and step, 0.1 by default.

    Returns: The firing rates after calibration, as in `firing_report`.

    Raises:
        ValueError: for a rate outside (0, 1), and for a model with branches, or any that `sandbox.build` has not made.

    >>> from sandbox import build
    >>> net = build((4,), 3, hidden=(30,), seed=0)
    >>> report = calibrate(net, torch.rand(20, 64, 4, generator=torch.Generator().manual_seed(0)), rate=0.1)
    >>> 0.08 < report["layers.0"] < 0.12
    True
    """
    if not 0 < rate < 1:
        raise ValueError(f"rate={rate}: give a firing probability per step between 0 and 1")
    if not isinstance(network, Network):
        raise ValueError(
            f"calibrate scales the layers of a network of `sandbox.build`, one after the other, and this is a "
            f"{type(network).__name__}; where it has normalisations, they scale its currents once their statistics are "
            "those of a batch: sandbox.networks.calibration.settle(model, x)"
        )
    modes = {module: module.training for module in network.modules()}
    network.train()
    try:
        with torch.no_grad(), Globals(derived(0, "calibration")).inside():
            _calibrate(network, x, rate)
    finally:
        for module, mode in modes.items():
            module.training = mode
    return firing_report(network, x)


def _calibrate(network: Network, x: Tensor, rate: float) -> None:
    """Scale the weights of every layer, first to last, in training mode."""
    for layer in populated(network):
        gains = [norm.weight for norm in norms(layer) if norm.affine]
        scales = gains or list(layer.synapse.parameters())
        drawn = [p.clone() for p in scales]

        def scaled(factor: float, layer: Layer = layer, scales: Any = scales, drawn: Any = drawn) -> Tensor:
            for p, first in zip(scales, drawn, strict=True):
                p.copy_(first * factor)
            return _output(network, layer, x)

        neuron = layer.cells.neuron
        if neuron.spontaneous:
            scaled(float(neuron.swing) / max(float(_drive(network, layer, x).std()), 1e-6))
        elif neuron.spiking:
            most = _most(layer)
            _bisect(lambda k, scaled=scaled, most=most: float(wide(scaled(k)).mean()) / most - rate)  # type: ignore[misc]
        else:
            scaled(1 / max(float(scaled(1.0).std()), 1e-6))
    settle(network, x)


def settle(model: nn.Module, x: Tensor) -> None:
    """Set the running statistics of all batch normalisations to those of one input; nothing else changes.

    Their counters then say that enough batches were followed (`rules.diagnostics.normalised.lagging`).

    Args:
        model: any module.
        x: its input, such as `[T, B, ...]`.

    >>> norm = nn.BatchNorm1d(1)
    >>> settle(norm, torch.tensor([[1.0], [5.0]]))
    >>> norm.running_mean, norm.running_var
    (tensor([3.]), tensor([8.]))
    """
    found = norms(model)
    momenta = [norm.momentum for norm in found]
    modes = {module: module.training for module in model.modules()}
    model.train()
    for norm in found:
        norm.reset_running_stats()
        norm.momentum = None  # None means a cumulative mean, here over a single batch
    try:
        if found:
            with torch.no_grad(), Globals(derived(0, "calibration")).inside():
                model(x)
    finally:
        for norm, momentum in zip(found, momenta, strict=True):
            norm.momentum = momentum
            if momentum and norm.num_batches_tracked is not None:  # as after so many batches, for `lagging`
                norm.num_batches_tracked.fill_(batches_until_settled(momentum))
        for module, mode in modes.items():
            module.training = mode


def firing_report(network: nn.Module, x: Tensor) -> dict[str, float]:
    """Return the probability of a spike per neuron and step on a batch, for each spiking layer.

    Of cells that count it is the mean number of spikes over the largest.

    Args:
        network: the network.
        x: a batch `[T, B, *shape]`, already encoded.

    Returns: The probability of each layer that spikes, by layer name.

    >>> from sandbox import build
    >>> net = build((4,), 3, hidden=(30,))
    >>> firing_report(net, torch.zeros(10, 2, 4))
    {'layers.0': 0.0}
    """
    rates = firing_rates(network, Batch(x))
    layers = {name: module for name, module in network.named_modules() if isinstance(module, Layer)}
    return {
        name: rates[f"{name}.cells"] if layer.cells.neuron.levels == 1 else _counted(network, layer, x)
        for name, layer in layers.items()
        if layer.cells.neuron.spiking
    }


def _counted(network: nn.Module, layer: Layer, x: Tensor) -> float:
    """Return the share of its largest number of spikes that a counting layer puts out, in evaluation mode."""
    seen: list[Tensor] = []
    with torch.no_grad(), looking(network, {layer.cells: lambda module, inputs, output: seen.append(output[0])}):
        network(x)
    return float(wide(seen[0]).mean()) / _most(layer)


def _most(layer: Layer) -> float:
    """Return the largest output of a spiking cell."""
    return layer.cells.neuron.unit * layer.cells.neuron.levels


def _output(network: Network, layer: Layer, x: Tensor) -> Tensor:
    """Return the output of the layer's population for the network's input `x`."""
    output: Tensor = _answered(network, layer, x)[0]
    return output


def _drive(network: Network, layer: Layer, x: Tensor) -> Tensor:
    """Return membrane minus threshold [mV] of the layer's population for the network's input `x`."""
    membrane: Tensor = _answered(network, layer, x)[2]
    return membrane


def _answered(network: Network, layer: Layer, x: Tensor) -> Any:
    """Return output, carry and membrane of the layer's population."""
    seen: list[Any] = []
    handle = layer.cells.register_forward_hook(lambda module, inputs, output: seen.append(output))
    try:
        with differentiating(generator=seeded(0, "calibration")):  # the same numbers for every factor
            network(x, record=True)
    finally:
        handle.remove()
    return seen[0]


def _bisect(excess: Callable[[float], float], lowest: float = -8.0, highest: float = 8.0) -> None:
    """Bisect the exponent of 2 in the factor until `excess`, which grows with the factor, is close to zero."""
    for _ in range(12):
        middle = (lowest + highest) / 2
        lowest, highest = (lowest, middle) if excess(2**middle) > 0 else (middle, highest)
