"""What a mapping consists of, and the numbers that it reads out of another library's cell."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch

from sandbox.neurons.cell import Cell
from sandbox.reference.conformance.stepping import Step


@dataclass(frozen=True)
class Mapping:
    """How a class of another library is stepped, and which equation it is.

    Args:
        step: from a cell to its step, in float64, on a copy.
        exact: from a cell and dt [ms] to the equation that it computes, by formula from its own parameters; raises
            ValueError where there is none here.
        naive: the same as a reader of the names of its parameters would write it.
        formula: the exact mapping in words, for the table.
    """

    step: Callable[[Any], Step]
    exact: Callable[[Any, float], Cell]
    naive: Callable[[Any, float], Cell]
    formula: str


def doubled(cell: Any) -> Any:
    """Return a copy of a module in float64, without gradients.

    Not by `deepcopy` of the module: Sinabs makes copies from some of the arguments, and that of ALIF loses norm_input.
    """
    kind: Any = type(cell)
    twin = kind.__new__(kind)
    twin.__dict__ = deepcopy(cell.__dict__, {id(cell): twin})  # methods that it holds are then those of the copy
    return twin.double().requires_grad_(False)


def number(value: Any, name: str) -> float:
    """Return a parameter as a number; raise ValueError for one that differs between cells.

    >>> number(torch.tensor([0.5, 0.5]), "beta")
    0.5
    """
    values = torch.as_tensor(value).detach().double().flatten()
    if not bool((values == values[0]).all()):
        raise ValueError(
            f"{name} has {len(values)} values, and an equation has one: give a cell with one {name} for all"
        )
    return float(values[0])


def tau_of(kept: float, dt: float, name: str) -> float:
    """Return the time constant [ms] of a membrane of which a step keeps a share.

    >>> round(tau_of(0.9, 1.0, "beta"), 3)
    9.491
    """
    if not 0 < kept < 1:
        raise ValueError(f"{name}: a step keeps {kept:g} of the membrane, and a leak keeps a share between 0 and 1")
    return -dt / math.log(kept)


def refuse(what: str, instead: str) -> ValueError:
    """Return the error for a setting that no equation here has."""
    return ValueError(f"{what}: no equation of the sandbox does this; {instead}")
