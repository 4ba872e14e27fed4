"""Synapses onto neurons with several inputs: one for each, stacked in a last axis."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn


class ByInput(nn.Module):
    """One synapse for each input of a neuron; the currents have the inputs as their last axis.

    Args:
        synapses: a module for each input, by name, in the order of `neuron.inputs`; all receive the same x.

    Raises:
        ValueError: for no synapse, and in a call for currents that differ in shape.

    >>> both = ByInput({"ge": nn.Linear(4, 3), "gi": nn.Linear(4, 3)})
    >>> both(torch.zeros(2, 4)).shape
    torch.Size([2, 3, 2])
    """

    def __init__(self, synapses: Mapping[str, nn.Module]) -> None:
        super().__init__()
        if not synapses:
            raise ValueError("there are no synapses: give one module for each input, {'ge': nn.Linear(4, 3), ...}")
        self.inputs = nn.ModuleDict(synapses)

    def forward(self, x: Tensor) -> Tensor:
        currents = [synapse(x) for synapse in self.inputs.values()]
        shapes = [tuple(current.shape) for current in currents]
        if len(set(shapes)) > 1:
            raise ValueError(f"the synapses {', '.join(self.inputs)} return shapes {shapes}: they drive the same cells")
        return torch.stack(currents, -1)


def input_of(name: str) -> str:
    """Return the input that a synapse of this name in a layer drives.

    >>> input_of("synapse.inputs.ge.1.weight"), input_of("cells.recurrent.inputs.gi.weight")
    ('ge', 'gi')
    """
    return name.partition("inputs.")[2].partition(".")[0]


def fitting(synapse: nn.Module, inputs: Iterable[str], kind: str) -> None:
    """Raise ValueError for a `ByInput` whose synapses are not those of the inputs of a cell, in their order."""
    wanted = list(inputs)
    found = list(synapse.inputs) if isinstance(synapse, ByInput) else None
    if found is not None and found != wanted:
        has = (
            f"has the inputs {', '.join(wanted)}: give a synapse for each, in this order" if wanted else "has one input"
        )
        raise ValueError(f"the synapses are {', '.join(found)}, and {kind} {has}")
