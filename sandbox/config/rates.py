"""The learning rate of a plasticity that replaces a rule's own, where nobody gave it one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from rules.plasticity import Normalised
from rules.plasticity.projected import Projected
from rules.recipes import LearningRule
from rules.recipes.optimizers import OPTIMIZERS, RATES


def rated(
    plasticity: Any,
    given: Mapping[str, Any],
    rule: LearningRule,
    recipe: Callable[..., Any],
    options: Mapping[str, Any],
) -> Any:
    """Return a plasticity with a learning rate.

    That is its own if it was given one, and otherwise `lr` of the rule's options. Without both, a projected plasticity
    such as `levels` has the rate that the rule has with that optimizer, and any other its own default.

    Args:
        plasticity: that replaces the rule's.
        given: its options.
        rule: as its recipe made it.
        recipe: of the rule.
        options: of the rule.

    >>> import rules
    >>> rated(rules.plasticity.Levels(), {}, rules.make("bptt"), rules.RULES["bptt"], {}).lr
    0.005
    """
    if not is_dataclass(plasticity) or isinstance(plasticity, type) or "lr" in given:
        return plasticity
    projected = isinstance(plasticity, (Projected, Normalised))
    name = plasticity.unrated if isinstance(plasticity, (Projected, Normalised)) else None
    if "lr" not in [field.name for field in fields(plasticity)] or (projected and name is None):
        return plasticity
    rate = options.get("lr")
    if rate is None and name in OPTIMIZERS:
        own: Any = rule.plasticity
        if isinstance(own, OPTIMIZERS[name]):
            rate = own.lr
        elif "optimizer" in inspect.signature(recipe).parameters:
            rate = RATES[name]
    return plasticity if rate is None else replace(plasticity, lr=rate)
