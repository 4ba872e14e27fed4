"""Credit of another rule, for some of the parameters only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from rules.contract import Batch, Credit, CreditRule, Holding, Objective
from rules.models.readout import evident, find


@dataclass(frozen=True)
class Restricted(Holding):
    """The credit of another rule for some parameters; all others stay fixed.

    Args:
        credit: the wrapped rule.
        only: a function that returns the names of a model's parameters to train, or a tuple of glob patterns such as
            `("layers.1.*",)`; the read-out by default, which the Trainer finds by a pass (`rules.models.readout`).

    Raises:
        ValueError: if nothing matches; the message lists the existing names.
        NotFound: for a model whose read-out is not one module; the message says how to name it.

    >>> from rules.credit.bptt import BPTT
    >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> list(Restricted(BPTT(), only=("0.*",)).parameters(net))
    ['0.weight', '0.bias']
    """

    credit: CreditRule
    only: Callable[[nn.Module], tuple[str, ...]] | tuple[str, ...] = evident

    def located(self, model: nn.Module, batch: Batch) -> CreditRule:
        """Return this rule with the names of the read-out's parameters, if it is the read-out that it trains."""
        held = super().located(model, batch)
        return replace(held, only=find(model, batch)) if self.only is evident else held  # type: ignore[type-var]

    def parameters(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """Return those of the wrapped rule's parameters that are chosen by `only`."""
        known = self.credit.parameters(model)
        chosen = self.only(model) if callable(self.only) else self.only
        found = {name: p for name, p in known.items() if any(fnmatchcase(name, pattern) for pattern in chosen)}
        if not found:
            raise ValueError(f"only={chosen} names no trainable parameter; there are: {', '.join(known) or 'none'}")
        return found

    def init(self, model: nn.Module, rng: torch.Generator) -> Any:
        """Return the wrapped rule's initial state."""
        with self._others_frozen(model):
            return self.credit.init(model, rng)

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
