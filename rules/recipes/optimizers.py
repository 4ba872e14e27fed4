"""The optimizer of a recipe as an option: `optimizer`, and its `momentum`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from rules.errors import unknown
from rules.plasticity import SGD, Adam, RMSprop
from rules.recipes.base import LearningRule

OPTIMIZERS: dict[str, type[Adam] | type[SGD] | type[RMSprop]] = {"adam": Adam, "sgd": SGD, "rmsprop": RMSprop}
RATES = {"adam": 5e-3, "sgd": 0.05, "rmsprop": 5e-3}  # of a recipe with another optimizer than its own
MOMENTUM = {"sgd": 0.9, "rmsprop": 0.0}  # Adam has moments of its own

Recipe = TypeVar("Recipe", bound=Callable[..., LearningRule])


def optimised(own: str) -> Callable[[Recipe], Recipe]:
    """Decorate a recipe whose plasticity is the optimizer `own` with the options `optimizer` and `momentum`.

    With `own`, and without these options, the rule is as it was. With another one `lr`, if it is not given, is that of
    `RATES`, `momentum` that of `MOMENTUM`, and `weight_decay` is added to the gradient, but for Adam's.

    Raises ValueError for another name, a momentum of Adam, and feedback whose decay other optimizers do not keep.

    >>> from rules.credit.bptt import BPTT
    >>> from rules.objectives import OBJECTIVES
    >>> @optimised("adam")
    ... def recipe(*, lr=5e-3): return LearningRule(OBJECTIVES["ce_mean"](), BPTT(), Adam(lr))
    >>> recipe(optimizer="sgd").plasticity
    SGD(lr=0.05, momentum=0.9, weight_decay=0.0)
    """

    def decorate(recipe: Recipe) -> Recipe:
        signature = inspect.signature(recipe)
        held = signature.parameters

        @functools.wraps(recipe)
        def made(**options: Any) -> LearningRule:
            name = options.pop("optimizer", own)
            if name not in OPTIMIZERS:
                raise unknown("optimizer", name, OPTIMIZERS)
            momentum = options.get("momentum") if "momentum" in held else options.pop("momentum", None)
            if name == "adam" and momentum:
                raise ValueError(
                    f"momentum={momentum} with optimizer='adam', which keeps moments of its own: leave momentum out, "
                    "or take optimizer='sgd'"
                )
            if name == own:
                return recipe(**options)
            rule = recipe(**{"lr": RATES[name], **options})
            return replace(rule, plasticity=exchanged(rule, name, momentum))

        more = [option("optimizer", "str", own)] + [option("momentum", "float | None", None)] * ("momentum" not in held)
        named = [p for p in held.values() if p.kind is not p.VAR_KEYWORD]
        made.__signature__ = signature.replace(parameters=[*named, *more])  # type: ignore[attr-defined]
        made.__annotations__ = {**recipe.__annotations__, **{p.name: p.annotation for p in more}}
        return made  # type: ignore[return-value]

    return decorate


def option(name: str, hint: str, default: Any) -> inspect.Parameter:
    """Return a keyword argument of a signature."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)


def exchanged(rule: LearningRule, name: str, momentum: float | None) -> Adam | SGD | RMSprop:
    """Return the optimizer of this name with the rate and the decay of the rule's own."""
    given: Any = rule.plasticity
    shared = {"lr": given.lr, "weight_decay": given.weight_decay}
    if name == "adam":
        return Adam(**shared)
    momentum = MOMENTUM[name] if momentum is None else momentum
    credit: Any = rule.credit
    follows = "kolen_pollack" in vars(credit).values() or "adaptive" in vars(credit).values()
    if follows and (name != "sgd" or momentum):
        raise ValueError(
            f"optimizer={name!r} with momentum={momentum}: feedback that follows the weights decays with them by a "
            "fixed share, which only Adam and SGD without momentum keep: use optimizer='adam', or 'sgd' with momentum=0"
        )
    return OPTIMIZERS[name](momentum=momentum, **shared)  # type: ignore[call-arg]  # Adam has left above
