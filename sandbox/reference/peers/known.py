"""Which classes of other libraries are known, found by their names without importing the libraries."""

from __future__ import annotations

from typing import Any

from rules.errors import unknown
from sandbox.neurons.cell import Cell
from sandbox.reference.conformance.stepping import Step
from sandbox.reference.peers import norse, sinabs, snntorch, spikingjelly
from sandbox.reference.peers.mapping import Mapping

KNOWN: dict[str, dict[str, Mapping]] = {
    "snntorch": snntorch.CLASSES,
    "spikingjelly": spikingjelly.CLASSES,
    "norse": norse.CLASSES,
    "sinabs": sinabs.CLASSES,
}


def known(cell: Any) -> Mapping | None:
    """Return the mapping of a cell of a known library; None for anything else.

    >>> known(1.0) is None
    True
    """
    kind = type(cell)
    return KNOWN.get(kind.__module__.partition(".")[0], {}).get(kind.__name__)


def equation_of(cell: Any, dt: float = 1.0) -> Cell:
    """Return the equation that a cell of a known library computes, by formula from its own parameters.

    Args:
        cell: of snnTorch, SpikingJelly, Norse or Sinabs.
        dt: what one of its steps shall last [ms].

    Raises:
        ValueError: for a class that is not known, and for settings that no equation of the sandbox has.
    """
    return _mapping(cell).exact(cell, dt)


def as_step(cell: Any) -> Step:
    """Return a cell of a known library as a step for `sandbox.validate(step=...)`, in float64, on a copy.

    Raises:
        ValueError: for a class that is not known.
    """
    return _mapping(cell).step(cell)


def name_of(cell: Any) -> str:
    """Return the name of a cell's class with that of its library.

    >>> name_of(1.0)
    'builtins.float'
    """
    kind = type(cell)
    return f"{kind.__module__.partition('.')[0]}.{kind.__name__}"


def _mapping(cell: Any) -> Mapping:
    found = known(cell)
    if found is not None:
        return found
    if isinstance(cell, type | str):
        called = cell.__name__ if isinstance(cell, type) else f"sandbox.neurons.NEURONS[{cell!r}]"
        raise ValueError(f"{cell!r:.60} is a {'class' if isinstance(cell, type) else 'name'}: give a cell, {called}()")
    library = type(cell).__module__.partition(".")[0]
    if library in KNOWN:
        raise unknown(f"cell of {library}", type(cell).__name__, KNOWN[library])
    raise ValueError(
        f"{name_of(cell)} is neither a neuron of the sandbox nor a cell of {', '.join(KNOWN)}: name the equation and "
        "give the cell as a function, validate(LIF(tau_mem=10.0), step=...)"
    )
