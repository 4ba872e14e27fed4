"""A circuit: cells of one kind, groups of them by name, and the connections between these."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rules.errors import unknown
from sandbox.circuits.connection import Connection, Port
from sandbox.kernels.circuit import Wire
from sandbox.neurons.base import Neuron
from sandbox.neurons.cell import variables
from sandbox.simulation import require_fields


@dataclass(frozen=True, eq=False)
class Circuit:
    """Cells that are connected with each other.

    Within a step, in Brian2's order:

        update      every cell integrates its current, which is constant within the step
        threshold   cells fire
        synapses    the spikes of d steps ago arrive, for a delay of d steps; with d = 0 those of this step
        reset       cells that fired are reset

    so a spike acts on the next update at the earliest.

    Args:
        neuron: of all cells. Fields that are tensors `[n]` give the cells different parameters.
        n: number of cells.
        connections: between all cells or between groups.
        groups: ranges of cells by name, as slices; none by default.

    Raises:
        ValueError: for a neuron that never fires, weights that do not fit the groups, a group that is unknown or not a
            range of these cells, and a connection that needs a variable that the neuron does not have.

    >>> from sandbox import LIF
    >>> ring = Connection(torch.eye(3).roll(1, 0).to_sparse_csr(), delay=2.0)
    >>> Circuit(LIF(), n=3, connections=[ring]).ports
    (Port(kind='current', tau=None, reversal=None, variable=None),)

    Reference: Stimberg, Brette & Goodman 2019 (doi 10.7554/eLife.47314) for the order within a step.
    """

    neuron: Neuron
    n: int
    connections: Sequence[Connection] = ()
    groups: Mapping[str, slice] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.neuron, Neuron):
            raise ValueError(
                f"the neuron is a {type(self.neuron).__name__}; wanted one neuron for all cells, such as LIF(); its "
                "fields may be tensors [n]"
            )
        if isinstance(self.connections, Connection):
            raise ValueError("connections are a single Connection; wanted a list: connections=[connection]")
        name = type(self.neuron).__name__
        if not self.neuron.spiking:
            raise ValueError(f"{name} never fires, and cells of a circuit are connected by spikes; use LIF() instead")
        if self.neuron.levels > 1:
            raise ValueError(f"{name} puts out up to {self.neuron.levels} spikes in a step, and a circuit knows one")
        if self.neuron.inputs:
            raise ValueError(
                f"{name} has several inputs ({', '.join(self.neuron.inputs)}), and the cells of a circuit have one "
                "current: compile it with input=None, and let connections of kind='jump' add to its variables"
            )
        require_fields(self.neuron, (self.n,))
        for group, cells in self.groups.items():
            if not isinstance(cells, slice) or cells.indices(self.n) != (cells.start or 0, cells.stop, 1):
                raise ValueError(
                    f"group {group!r} is {cells!r} of {self.n} cells; wanted a range: {{{group!r}: slice(0, {self.n})}}"
                )
        has = variables(self.neuron.initial_state((1,), torch.zeros(1)))
        for number, given in enumerate(self.connections):
            rows, columns = self.cells(given.target), self.cells(given.source)
            wanted = len(range(*rows.indices(self.n))), len(range(*columns.indices(self.n)))
            if given.shape != wanted:
                raise ValueError(
                    f"connections[{number}] has weights of shape {given.shape}; from the {wanted[1]} cells of "
                    f"{given.source or 'the circuit'} to the {wanted[0]} of {given.target or 'the circuit'} it wants "
                    f"weights [post, pre] of shape {wanted}"
                )
            if given.kind != "jump" and not self.neuron.heeds:
                raise ValueError(
                    f"connections[{number}] is a {given.kind}, and nothing in the equations of {name} reads an input: "
                    f"let its spikes jump, Connection(weights, kind='jump', variable={has[0]!r})"
                )
            needed = given.variable if given.kind == "jump" else self.neuron.membrane
            if given.kind != "current" and needed not in has:
                raise ValueError(
                    f"connections[{number}] needs the variable {needed!r}; {name} has: {', '.join(has)}: "
                    f"Connection(weights, kind={given.kind!r}, variable={has[0]!r})"
                )

    def cells(self, group: str | None) -> slice:
        """Return the range of cells in a group; all for None."""
        if group is None:
            return slice(0, self.n)
        if group not in self.groups:
            raise unknown("group", group, self.groups)
        return self.groups[group]

    @property
    def ports(self) -> tuple[Port, ...]:
        """The different ways in which spikes arrive, in the order of the connections."""
        return tuple(dict.fromkeys(each.port for each in self.connections))

    def wires(self, dt: float, steps: int, like: Tensor) -> list[Wire]:
        """Return the connections in indices of cells and steps, for currents like these."""
        return [self._wire(number, dt, steps, like) for number in range(len(self.connections))]

    def _wire(self, number: int, dt: float, steps: int, like: Tensor) -> Wire:
        given = self.connections[number]
        values, found = given.values, given.pattern
        if (values.dtype, values.device) != (like.dtype, like.device):
            word = str(like.dtype).removeprefix("torch.")
            raise ValueError(
                f"connections[{number}] has weights in {values.dtype} on {values.device}, the currents are in "
                f"{like.dtype} on {like.device}: weights.to(torch.{word})"
            )
        # a finite sum rules out NaN and infinity; a sum that overflows needs the second, exact check
        if not torch.isfinite(values.detach().sum()) and not torch.isfinite(values.detach()).all():
            raise ValueError(
                f"connections[{number}] has weights that are not finite; wanted numbers: weights.nan_to_num()"
            )
        if given.tau is not None and given.tau < dt:
            warnings.warn(
                f"connections[{number}] has tau={given.tau:g} ms, shorter than a step of dt={dt:g} ms: times are in ms",
                stacklevel=4,
            )
        port, delay = self.ports.index(given.port), given.steps(dt, steps)
        post, pre = self.cells(given.target).start or 0, self.cells(given.source).start or 0
        if found is None:
            return Wire(port, values, delay, offsets=(post, pre))
        edges = (found.pre + pre if pre else found.pre, found.post + post if post else found.post)
        return Wire(port, found.sort(values), delay, edges)
