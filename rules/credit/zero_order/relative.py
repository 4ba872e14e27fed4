"""The size of perturbations, in units of the root mean square (rms) of what is perturbed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from rules.synapses import Changes

ACROSS_SPIKES = 0.3  # of the rms: a step large enough to change some spikes
SMOOTH = 1e-2  # of the rms: a difference has a bias of its square, far below the error of any number of draws
LEAST = 1e-3  # of the rms of all parameters, for those that have no size of their own yet


def random_step(spikes: bool, smooth: float = SMOOTH) -> float:
    """Return the default step along random directions, in a model with spikes or, `smooth`, without."""
    return ACROSS_SPIKES if spikes else smooth


def exact_step(dtype: torch.dtype, diff: Literal["central", "forward"], spikes: bool) -> float:
    """Return the default step along one coordinate; without spikes that of the least error in this precision.

    >>> exact_step(torch.float64, "forward", spikes=False) == torch.finfo(torch.float64).eps ** 0.5
    True
    """
    order = 1 / 3 if diff == "central" else 1 / 2
    return ACROSS_SPIKES if spikes else float(torch.finfo(dtype).eps ** order)


def scales_of(parameters: Mapping[str, Tensor], modules: Iterable[nn.Module]) -> dict[str, float]:
    """Return the scale of each parameter's perturbations, the rms of its entries.

    A bias has the scale of the weights of its module: both are added to the same sums, and many biases begin at zero.
    Learned constants of cells that are stored as changes from 0 on (`rules.synapses.Changes`) have the scale 1. No
    other scale is below `LEAST` times the rms of all parameters together, and all are 1 where every parameter is zero.

    Args:
        parameters: those that are perturbed, by name.
        modules: all modules that hold them.

    >>> layer = nn.Linear(2, 2)
    >>> with torch.no_grad():
    ...     _ = layer.weight.fill_(3.0), layer.bias.zero_()
    >>> scales_of(dict(layer.named_parameters()), [layer])
    {'weight': 3.0, 'bias': 3.0}
    """
    held = list(modules)
    weights, changes = weights_of_biases(held), changes_in(held)
    units = {name: 1.0 for name, p in parameters.items() if id(p) in changes}
    parameters = {name: p for name, p in parameters.items() if name not in units}
    measured: dict[str, Sequence[Tensor]] = {name: weights.get(id(p), [p]) for name, p in parameters.items()}
    distinct = {id(p): p for tensors in (*measured.values(), parameters.values()) for p in tensors}
    squares = dict(zip(distinct, squared([norm(p) for p in distinct.values()]), strict=True))

    def rms(tensors: Iterable[Tensor]) -> float:
        each = list(tensors)
        return math.sqrt(sum(squares[id(p)] for p in each) / max(1, sum(p.numel() for p in each)))

    every = rms(parameters.values())
    found = {name: max(rms(tensors), LEAST * every) for name, tensors in measured.items()}
    return {name: scale or 1.0 for name, scale in found.items()} | units


def changes_in(modules: Iterable[nn.Module]) -> set[int]:
    """Return the ids of the parameters that are changes of constants, in units of their own."""
    return {id(p) for module in modules if isinstance(module, Changes) for p in module.parameters(recurse=False)}


def weights_of_biases(modules: Iterable[nn.Module]) -> dict[int, list[Tensor]]:
    """Return, by the id of each bias, the weights of its module: parameters are told apart by how their names begin."""
    found: dict[int, list[Tensor]] = {}
    for module in modules:
        own = dict(module.named_parameters(recurse=False))
        weights: list[Tensor] = [p for name, p in own.items() if name.startswith("weight")]
        if weights:
            found |= {id(p): weights for name, p in own.items() if name.startswith("bias")}
    return found


def norm(signal: Tensor) -> Tensor:
    """Return the Euclidean norm of a tensor, in its own precision or the single one, whichever is higher."""
    kind = torch.promote_types(signal.dtype, torch.float32)
    found: Tensor = torch.linalg.vector_norm(signal.detach(), dtype=kind)
    return found


def squared(norms: Sequence[Tensor]) -> list[float]:
    """Return the squares of norms as numbers, with one wait for the device."""
    return [float(each) ** 2 for each in torch.stack([each.to(norms[0]) for each in norms]).cpu()] if norms else []
