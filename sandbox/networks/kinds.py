"""The neurons of a deep model, of its paper or given: behind synapses, in front of them, and behind attention."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from rules.spikes.surrogate import Surrogate
from sandbox.networks.named import named
from sandbox.networks.network import Layer
from sandbox.networks.parts import Neurons
from sandbox.networks.population import Population
from sandbox.neurons import NEURONS, PLIF, Cell

ALPHA = 4.0  # of SpikingJelly 0.0.0.0.12, which the transformers name; early releases had 1
SIGMOID = Surrogate("sigmoid", alpha=ALPHA)
HALF = 0.5  # threshold of neurons behind attention

Given = Cell | str | Mapping[str, Any] | None


def lif(tau_mem: float = 2.0, **changes: Any) -> PLIF:
    """Return the LIF of several published networks, `v <- v + (current - v) / tau_mem`, with nothing to learn."""
    return PLIF(tau_mem=tau_mem, **changes)


@dataclass(frozen=True)
class Kind:
    """The neurons of a model.

    Attributes:
        usual: the neuron everywhere but behind attention.
        attending: the neuron behind attention.
        gain: initial gain of normalisations, the current [nA] at which the usual neuron begins to fire.
        drive: factor of the currents behind attention.
        generator: random generator of tensors that neurons learn.
    """

    usual: Cell
    attending: Cell
    gain: float
    drive: float
    generator: torch.Generator

    def population(self, channels: int) -> Population:
        """Return a population of the usual neuron."""
        return Population(self.usual, 1.0, None, self.generator, channels)

    def spiking(self, synapse: nn.Module, channels: int) -> Layer:
        """Return a layer of neurons, at steps of 1 ms, behind a synapse."""
        return Layer(synapse, self.population(channels))

    def fires(self, channels: int) -> Neurons:
        """Return neurons in front of a synapse."""
        return Neurons(self.population(channels))

    def attends(self, channels: int) -> Population:
        """Return the population behind attention."""
        return Population(self.attending, 1.0, None, self.generator, channels)


def kind_of(given: Given, own: Cell, attending: Cell | None = None, seed: int = 0) -> Kind:
    """Return the neurons of a model from its option `neuron`.

    A given neuron is used everywhere. Behind attention, where the published threshold is half of the usual one, its
    current is doubled, which comes to the same in a cell that adds up its input linearly.

    Args:
        given: a neuron, a name of `sandbox list neurons`, `{"name": ..., "options": {...}}`, or None for those of the
            paper.
        own: the neuron of the paper.
        attending: that behind attention in the paper; None for `own`.
        seed: of tensors that neurons learn.

    Raises:
        ValueError: for an unknown neuron or option.

    >>> kind_of("lif", lif()).usual.tau_mem, kind_of(None, lif()).usual.tau_mem
    (20.0, 2.0)
    """
    rng = torch.Generator().manual_seed(seed)
    if given is None:
        return Kind(own, attending or own, 1.0, 1.0, rng)
    cell: Cell = given if isinstance(given, Cell) else named("neuron", given, NEURONS)
    if cell.inputs:
        raise ValueError(
            f"{type(cell).__name__} has several inputs ({', '.join(cell.inputs)}), and the cells of this model have "
            "one each: use sandbox.build, or a cell with one input"
        )
    gain = float(cell.rheobase)
    return Kind(cell, cell, gain, (1.0 if attending is None else 1 / HALF) * gain, rng)


def transformer_neurons(given: Given, tau_mem: float = 2.0, seed: int = 0) -> Kind:
    """Return the neurons of Spikformer and its successors: LIF with a threshold of 1, and of 0.5 behind attention.

    The surrogate of a library neuron sees the membrane in units of its threshold, and that of the paper in units of 1;
    half the slope for half the threshold gives the derivative of the paper.
    """
    own = lif(tau_mem, surrogate=SIGMOID)
    halved = replace(own, v_threshold=HALF, surrogate=Surrogate("sigmoid", alpha=ALPHA * HALF))
    return kind_of(given, own, halved, seed)
