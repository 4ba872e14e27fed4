"""Credit of another rule, for some of the parameters only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from rules.contract import Batch, Credit, CreditRule, Holding, Objective


def last_layer(model: nn.Module) -> tuple[str, ...]:
    """Return the names of the trainable parameters of the last module that has any: the read-out.

    >>> last_layer(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)))
    ('2.weight', '2.bias')
    """
    trainable = [name for name, p in model.named_parameters() if p.requires_grad]
    owner = trainable[-1].rpartition(".")[0] if trainable else ""
    return tuple(name for name in trainable if name.rpartition(".")[0] == owner)


@dataclass(frozen=True)
class Restricted(Holding):
    """The credit of another rule for some parameters; all others stay fixed.

    Args:
        credit: the wrapped rule.
        only: a function that returns the names of a model's parameters to train, or a tuple of glob patterns such as
            `("layers.1.*",)`; the last layer by default.

    Raises:
        ValueError: if nothing matches; the message lists the existing names.

    >>> from rules.credit.bptt import BPTT
    >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> list(Restricted(BPTT(), only=("0.*",)).parameters(net))
    ['0.weight', '0.bias']
    """

    credit: CreditRule
    only: Callable[[nn.Module], tuple[str, ...]] | tuple[str, ...] = last_layer

    def parameters(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """Return those of the wrapped rule's parameters that are chosen by `only`."""
        known = self.credit.parameters(model)
        chosen = self.only(model) if callable(self.only) else self.only
        found = {name: p for name, p in known.items() if any(fnmatchcase(name, pattern) for pattern in chosen)}
        if not found:
            raise ValueError(f"only={chosen} names no trainable parameter; there are: {', '.join(known) or 'none'}")
        return found

    def init(self, model: nn.Module) -> Any:
        """Return the wrapped rule's initial state."""
        with self._others_frozen(model):
            return self.credit.init(model)

    def assign(self, model: nn.Module, objective: Objective, batch: Batch, state: Any, rng: torch.Generator) -> Credit:
        """Return the wrapped rule's credit while every other parameter is frozen, so that frozen ones cost nothing."""
        with self._others_frozen(model):
            return self.credit.assign(model, objective, batch, state, rng)

    @contextmanager
    def _others_frozen(self, model: nn.Module) -> Iterator[None]:
        chosen = {id(p) for p in self.parameters(model).values()}
        others = [p for p in model.parameters() if p.requires_grad and id(p) not in chosen]
        for p in others:
            p.requires_grad_(False)
        try:
            yield
        finally:
            for p in others:
                p.requires_grad_(True)
