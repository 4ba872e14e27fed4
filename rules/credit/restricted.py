"""Credit of other rules for some of the parameters: of one, or of several that share a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import reduce
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

from rules.contract import Batch, Claim, Continues, Cost, Credit, CreditRule, Holding, Objective, OverProcesses, Run
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
        found = {name: p for name, p in known.items() if self.chooses(model, name)}
        if not found:
            chosen = self.chosen(model)
            raise ValueError(f"only={chosen} names no trainable parameter; there are: {', '.join(known) or 'none'}")
        return found

    def chosen(self, model: nn.Module) -> tuple[str, ...]:
        """Return the names, or patterns of names, that `only` gives for a model."""
        return self.only(model) if callable(self.only) else self.only

    def chooses(self, model: nn.Module, name: str) -> bool:
        """Return whether `only` chooses the parameter of this name."""
        return any(fnmatchcase(name, pattern) for pattern in self.chosen(model))

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


class Several(NamedTuple):
    """The carry of several credits, one for each part."""

    parts: tuple[Any, ...]


@dataclass(frozen=True)
class Partition(CreditRule):
    """Several credits on one model: each trainable parameter belongs to one of them.

    What is to stay as it is, is frozen: `model.layers[1].requires_grad_(False)`. Every part runs the model for itself,
    so costs add up. The objective's own parameters follow the first part, and so does the loss that is reported.

    Args:
        parts: pairs of a credit and what it trains: a function of the model that returns names of parameters, or a
            tuple of glob patterns such as `("layers.0.*",)`.

    Raises:
        ValueError: for fewer than two parts; with a model, for a parameter that belongs to two parts or to none; in a
            team, for parts that share its processes in different ways.

    >>> from rules.credit.bptt import BPTT
    >>> from rules.credit.zero_order import SPSA
    >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> sorted(Partition(((SPSA(), ("0.*",)), (BPTT(), ("2.*",)))).parameters(net))
    ['0.bias', '0.weight', '2.bias', '2.weight']
    """

    parts: tuple[tuple[CreditRule, Callable[[nn.Module], tuple[str, ...]] | tuple[str, ...]], ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple((credit, only) for credit, only in self.parts))
        if len(self.parts) < 2:
            raise ValueError(
                f"a partition of {len(self.parts)} part: give at least two, or use rules.Restricted(credit, only)"
            )

    @property
    def credits(self) -> tuple[Restricted, ...]:
        """The credits, each restricted to its parameters."""
        return tuple(Restricted(credit, only) for credit, only in self.parts)

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]  # those of all parts
        return frozenset().union(*(credit.needs for credit, _ in self.parts))

    @property
    def claim(self) -> Claim:  # type: ignore[override]  # what all parts claim
        found = {credit.claim for credit, _ in self.parts}
        return found.pop() if len(found) == 1 else "none"

    @property
    def inferences(self) -> tuple[str, ...]:  # type: ignore[override]  # those of the first part
        return self.parts[0][0].inferences

    def runs(self, model: nn.Module) -> Callable[[Batch], Run] | None:
        """Return how the first part runs a model."""
        return self.parts[0][0].runs(model)

    def infer(self, run: Callable[[Batch], Run], batch: Batch, mode: str, rng: torch.Generator) -> Run:
        """Run the model as the first part does."""
        return self.parts[0][0].infer(run, batch, mode, rng)

    @property
    def relies_on(self) -> frozenset[str]:  # type: ignore[override]
        return frozenset().union(*(credit.relies_on for credit, _ in self.parts))

    @property
    def rounds(self) -> bool:  # type: ignore[override]
        return all(credit.rounds for credit, _ in self.parts)

    @property
    def over_processes(self) -> OverProcesses:  # type: ignore[override]
        ways = {credit.over_processes for credit, _ in self.parts}
        if len(ways) > 1:
            raise ValueError(
                f"the parts share the processes of a team in different ways, {', '.join(sorted(ways))}: let one "
                "process learn, or put credits together that do it alike, such as gradients with gradients"
            )
        return ways.pop()

    @property
    def continues(self) -> Continues:  # type: ignore[override]  # as far as all parts do
        found = {credit.continues for credit, _ in self.parts}
        return "no" if "no" in found else "state" if "state" in found else "traces"

    @property
    def timing(self) -> Literal["sequence", "step"]:  # type: ignore[override]
        return "step" if any(credit.timing == "step" for credit, _ in self.parts) else "sequence"

    @property
    def asks(self) -> bool:  # type: ignore[override]
        return any(credit.asks for credit, _ in self.parts)

    @property
    def detaches(self) -> frozenset[str]:  # type: ignore[override]
        return frozenset().union(*(credit.detaches for credit, _ in self.parts))

    def located(self, model: nn.Module, batch: Batch) -> CreditRule:
        """Return this rule with its parts located."""
        found = (Restricted(credit, only).located(model, batch) for credit, only in self.parts)
        return replace(self, parts=tuple((each.credit, each.only) for each in found))  # type: ignore[attr-defined]

    def confirm(self, model: nn.Module, batch: Batch) -> None:
        """Ask every part."""
        for credit in self.credits:
            credit.confirm(model, batch)

    def parameters(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """Return the parameters of all parts."""
        found: dict[str, nn.Parameter] = {}
        for credit in self.credits:
            own = credit.parameters(model)
            if both := sorted(found.keys() & own.keys()):
                raise ValueError(f"{', '.join(both[:4])} belong to two parts: let each parameter belong to one")
            found |= own
        self._require_all(model)
        return found

    def _require_all(self, model: nn.Module) -> None:
        """Raise ValueError for trainable parameters that no part chooses."""
        named = [name for name, p in model.named_parameters() if p.requires_grad]
        left = [name for name in named if not any(credit.chooses(model, name) for credit in self.credits)]
        if left:
            some = ", ".join(left[:4]) + (f" and {len(left) - 4} more" if len(left) > 4 else "")
            raise ValueError(
                f"no part of the partition trains {some} of {type(model).__name__}: add to a part what it should "
                f"train, (credit, ({left[0]!r}, ...)), and freeze what should stay as it is: "
                f"model.get_parameter({left[0]!r}).requires_grad_(False)"
            )

    def init(self, model: nn.Module, rng: torch.Generator) -> Any:
        """Return the initial state of each part."""
        self.parameters(model)
        return tuple(credit.init(model, rng) for credit in self.credits)

    def assign(self, model: nn.Module, objective: Objective, batch: Batch, state: Any, rng: torch.Generator) -> Credit:
        """Return the credits of all parts together."""
        carried = batch.carry if isinstance(batch.carry, Several) else Several((batch.carry,) * len(self.parts))
        made = [
            credit.assign(model, objective, batch._replace(carry=carry), held, rng)
            for credit, held, carry in zip(self.credits, state, carried.parts, strict=True)
        ]
        grads: dict[str, torch.Tensor] = {}
        for credit in made:
            grads = {**credit.grads, **grads}
        return made[0]._replace(
            grads=grads,
            state=tuple(credit.state for credit in made),
            cost=reduce(Cost.__add__, (credit.cost for credit in made)),
            carry=Several(tuple(credit.carry for credit in made)),
            info={name: value for credit in reversed(made) for name, value in credit.info.items()},
            findings=tuple(each for credit in made for each in credit.findings),
        )
