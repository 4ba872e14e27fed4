"""A trained model without its latent weights, and how many bits it takes."""

from __future__ import annotations

import copy
from typing import NamedTuple, TypeVar

import torch
from torch import nn

from rules.plasticity.projected.optimizer import ProjectedOptimizer

FULL = 32  # bits of a weight that is not quantised, and of a scale
Model = TypeVar("Model", bound=nn.Module)


class ModelSize(NamedTuple):
    """How large a model is; weights that are 0 count in `bits` as all others do."""

    bits: int  # of all parameters: quantised * bits + scales * 32 + full * 32
    full: int  # bits of all parameters at 32 each
    weights: int  # that are projected
    nonzero: int  # of these


def exported(model: Model, optimizer: ProjectedOptimizer) -> Model:
    """Return a plain copy of a model whose parameters are the shown weights; its outputs are equal bit for bit.

    Args:
        model: that was trained.
        optimizer: that projects some of its parameters, `trainer.optimizer`.

    Raises:
        ValueError: for another optimizer, one of another model, and weights that somebody else has written.

    >>> from rules.plasticity import Sign
    >>> net = nn.Linear(2, 3)
    >>> plain = exported(net, Sign()(net.parameters()))
    >>> torch.equal(plain.weight, net.weight)
    True
    """
    require_of(optimizer, model)
    found = copy.deepcopy(model)
    copies = dict(found.named_parameters())
    with torch.no_grad():
        for name, p in model.named_parameters():
            copies[name].copy_(optimizer.shown(p) if p in optimizer.state else p)
            copies[name].grad = None
    return found


def model_size(model: nn.Module, optimizer: ProjectedOptimizer) -> ModelSize:
    """Return the size of a model's parameters, with its projected weights as they can be stored.

    Args:
        model: whose parameters are counted, each once; buffers are not.
        optimizer: that projects some of them, `trainer.optimizer`.

    Raises:
        ValueError: as `exported`.

    >>> from rules.plasticity import Levels
    >>> net = nn.Linear(8, 4)
    >>> model_size(net, Levels(bits=2)(net.parameters()))
    ModelSize(bits=320, full=1152, weights=32, nonzero=32)
    """
    require_of(optimizer, model)
    bits = full = weights = nonzero = 0
    for p in model.parameters():
        full += FULL * p.numel()
        if p not in optimizer.state:
            bits += FULL * p.numel()
            continue
        storage = optimizer.storage(p)
        bits += storage.bits * p.numel() + FULL * storage.scales
        weights += p.numel()
        nonzero += int(torch.count_nonzero(optimizer.shown(p)))
    return ModelSize(bits, full, weights, nonzero)


def require_of(optimizer: ProjectedOptimizer, model: nn.Module) -> None:
    """Raise ValueError for an optimizer that projects no weight of a model, or does not show what it holds."""
    if not isinstance(optimizer, ProjectedOptimizer):
        raise ValueError(
            f"{type(optimizer).__name__} projects no weights: give the optimizer of a projected plasticity, "
            "trainer.optimizer, or optimizer = Levels(bits=4)(model.parameters())"
        )
    if not any(p in optimizer.state for p in model.parameters()):
        raise ValueError(
            f"none of the weights that this optimizer projects belong to the {type(model).__name__}: give the model "
            "that it trains"
        )
    optimizer.settle()
    optimizer.require_shown()
