"""Another rule's credit, for some of the parameters alone."""

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
    """The trainable parameters of the last module that has any of its own: the read-out.

    >>> last_layer(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)))
    ('2.weight', '2.bias')
    """
    trainable = [name for name, p in model.named_parameters() if p.requires_grad]
    owner = trainable[-1].rpartition(".")[0] if trainable else ""
    return tuple(name for name in trainable if name.rpartition(".")[0] == owner)


@dataclass(frozen=True)
class Restricted(Holding):
    """The credit of `credit` for the parameters named by `only`; all others keep still.

    `only` is a function of the model that names parameters, or a tuple of glob patterns such as `("layers.1.*",)`.
    Raises ValueError where nothing matches, with the names there are.

    >>> from rules.credit.bptt import BPTT
    >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> list(Restricted(BPTT(), only=("0.*",)).parameters(net))
    ['0.weight', '0.bias']
    """

    credit: CreditRule
    only: Callable[[nn.Module], tuple[str, ...]] | tuple[str, ...] = last_layer

    def parameters(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """The chosen ones among those the held rule has an opinion on."""
        known = self.credit.parameters(model)
        chosen = self.only(model) if callable(self.only) else self.only
        found = {name: p for name, p in known.items() if any(fnmatchcase(name, pattern) for pattern in chosen)}
        if not found:
            raise ValueError(f"only={chosen} names no trainable parameter; there are: {', '.join(known) or 'none'}")
        return found

    def init(self, model: nn.Module) -> Any:
        """The held rule's first state."""
        with self._others_frozen(model):
            return self.credit.init(model)

    def assign(self, model: nn.Module, objective: Objective, batch: Batch, state: Any, rng: torch.Generator) -> Credit:
        """The held rule's credit while every other parameter is frozen, so that it costs what it should."""
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
