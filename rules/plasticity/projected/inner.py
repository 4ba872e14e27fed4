"""The plasticity that moves latent weights: by name, by name with options, or as an object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeAlias

import torch

from rules.errors import unknown
from rules.options import built
from rules.plasticity.descent import SGD, Adam, RMSprop
from rules.plasticity.memristor import Memristor

Recipe: TypeAlias = Callable[..., torch.optim.Optimizer]
Inner: TypeAlias = str | dict[str, Any] | Callable[..., Any]


def sgd(*, lr: float = 1e-2, momentum: float = 0.9, weight_decay: float = 0.0) -> SGD:
    """Return SGD with the momentum that rules have with it (`rules.recipes.optimizers.MOMENTUM`)."""
    return SGD(lr, momentum, weight_decay)


INNER: dict[str, Callable[..., Recipe]] = {"adam": Adam, "sgd": sgd, "rmsprop": RMSprop, "memristor": Memristor}
KEYS = ("name", "options")


def moved_by(inner: Inner, lr: float | None) -> Recipe:
    """Return the plasticity that an option names.

    Args:
        inner: a name in `INNER`, `{"name": ..., "options": {...}}`, or a plasticity.
        lr: its learning rate; None for its own.

    Raises:
        ValueError: for an unknown name or option, for a class, and for a rate of a plasticity that has none.

    >>> moved_by({"name": "sgd", "options": {"momentum": 0.5}}, lr=0.1)
    SGD(lr=0.1, momentum=0.5, weight_decay=0.0)
    """
    given: Any = {"name": inner} if isinstance(inner, str) else inner
    if not isinstance(given, dict):
        return _with_rate(given, lr)
    for key in given:
        if key not in KEYS:
            raise unknown("key of inner", str(key), KEYS)
    name = given.get("name")
    if name not in INNER:
        raise unknown("inner plasticity", str(name), INNER)
    found: Recipe = built("plasticity", name, INNER[name], given.get("options", {}))
    return _with_rate(found, lr)


def _with_rate(recipe: Any, lr: float | None) -> Recipe:
    if isinstance(recipe, type):
        raise ValueError(f"inner={recipe.__name__} is a class: give an object of it, inner={recipe.__name__}()")
    if lr is None:
        return recipe  # type: ignore[no-any-return]
    if not is_dataclass(recipe) or "lr" not in [field.name for field in fields(recipe)]:
        raise ValueError(f"lr={lr} with inner={recipe!r}, which has no field lr: give the rate to the inner plasticity")
    found: Any = recipe
    return replace(found, lr=lr)  # type: ignore[no-any-return]
