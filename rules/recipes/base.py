"""A learning rule of three parts, what all recipes share, and members of registries by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import nn

from rules.contract import CreditRule, Objective, require_steps
from rules.errors import unknown
from rules.fields import admit, at_least, shown
from rules.objectives.regularisers import Sum
from rules.options import built, with_option

# a name in OBJECTIVES, {"name": ..., "options": {...}}, or an objective
Loss: TypeAlias = str | dict[str, Any] | Objective


@dataclass(frozen=True)
class LearningRule:
    """A learning rule: the loss to minimise, how credit is assigned, and how a synapse changes its weight.

    Args:
        objective: the loss to minimise.
        credit: how each parameter should change.
        plasticity: makes the optimizer of the parameters that learn.
        every: time steps between two updates of the weights, inside a sequence; None for one at its end. The last
            window of a sequence may be shorter. The loss of a window is its share of the loss of the whole sequence.

    Raises:
        ValueError: for an objective whose loss is not a sum over steps, if the credit or `every` need one, or with a
            teacher, if the credit learns from rewards alone; for an `every` below 1, or with a credit that cannot go on
            from where a window ends.

    >>> from rules.credit.bptt import BPTT
    >>> from rules.objectives import OBJECTIVES
    >>> from rules.plasticity import Adam
    >>> LearningRule(OBJECTIVES["ce_last"](), BPTT(window=5), Adam(lr=1e-3)).needs == {"gradient", "labels"}
    True
    >>> sorted(LearningRule(OBJECTIVES["ce_rate"](), BPTT(), Adam(lr=1e-3), every=10).needs)
    ['carry', 'gradient', 'labels']
    """

    objective: Objective
    credit: CreditRule
    plasticity: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
    every: int | None = None

    def __post_init__(self) -> None:
        self.credit.suits(self.objective)
        require_use(self.objective, self.credit)
        if self.every is None:
            if self.credit.timing == "step":
                require_steps(self.objective)
            return
        object.__setattr__(self, "every", admit("every", self.every, int))
        at_least(1, self, "every")
        if self.credit.continues == "no":
            raise ValueError(
                f"every={self.every}: {type(self.credit).__name__} learns from whole sequences, and cannot go on where "
                'a window ends; use a rule that can, such as rules.make("eprop") or rules.make("tet"), or every=None'
            )
        if self.credit.asks:
            require_steps(self.objective, f"every={self.every}: ")

    @property
    def needs(self) -> frozenset[str]:
        """What the model and the batch must offer, keys of `NEEDS`."""
        asked = self.objective.needs if self.credit.asks else frozenset()
        return asked | self.credit.needs | ({"carry"} if self.every is not None else frozenset())


def require_use(objective: Objective, credit: CreditRule) -> None:
    """Raise ValueError for an objective that teaches nothing, or penalties that nobody asks."""
    if credit.asks and not objective.teaches:
        raise ValueError(
            f"{type(objective).__name__} judges what was learned without labels, and {type(credit).__name__} learns "
            'from a loss: give it one, such as objective="ce_mean", or take rules.make("stdp")'
        )
    if not credit.asks and isinstance(objective, Sum):
        raise ValueError(
            f"{type(credit).__name__} never asks its objective, so that {len(objective.terms) - 1} of its terms would "
            'change nothing: leave the regularisers out, or take a rule that lowers a loss, such as rules.make("bptt")'
        )


timed = with_option("every", "int | None", None, lambda rule, every: replace(rule, every=every))


def pick(kind: str, members: dict[str, Any], name: Any, **options: Any) -> Any:
    """Build a member of a registry by name; an unknown name or option lists the valid ones and the nearest.

    A dict is a name with options, as a configuration file gives them. Anything else is returned as it is.

    >>> from rules.objectives import OBJECTIVES
    >>> pick("objective", OBJECTIVES, {"name": "mse", "options": {"at": "step"}})
    MeanSquaredError(at='step')
    """
    if isinstance(name, Mapping):
        for key in name:
            if key not in ("name", "options"):
                raise unknown(f"key of {kind}", str(key), ("name", "options"))
        if "name" not in name:
            raise ValueError(f"{kind}={shown(name)} has no name: write {{'name': ..., 'options': {{...}}}}")
        return pick(kind, members, name["name"], **{**name.get("options", {}), **options})
    if not isinstance(name, str):
        return name
    if name not in members:
        raise unknown(kind, name, members)
    return built(kind, name, members[name], options)
