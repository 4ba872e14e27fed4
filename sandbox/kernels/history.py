"""What this process has run: short sequences of few cells take a kernel once they have earned it.

A kernel takes a second to compile and then gains 8 to 30 times on them, so `auto` compiles one when the plain loop has
taken about as long, or takes one that has been compiled already. Kernels round otherwise than the plain loop, so this
must not depend on what is hard to repeat: only calls of this process count, never a time or a cache on the disk. A
program that makes the same calls again gets the same bits, in an empty cache and in a full one. A run that is resumed
makes other calls; runs therefore go by shapes alone (`using(history=False)`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

CASUAL = 2**16  # steps times cells of a class, and of a plan, below which nothing is looked up
EARNED = 2**23  # steps times cells times operations of a step that take the plain loop as long as compiling a kernel
LOOKED_UP = 4096  # plans that are counted

_CLASSES: dict[type, int] = {}
_PLANS: dict[Any, int] = {}
_READY: set[tuple[str, torch.dtype, bool]] = set()
_READY_CLASSES: set[type] = set()


def counted(kind: type, work: int) -> bool:
    """Count a call of a class; return whether looking for its kernel is worthwhile."""
    total = _CLASSES[kind] = _CLASSES.get(kind, 0) + work
    return total >= CASUAL or kind in _READY_CLASSES


def counted_plan(key: Any, work: int) -> int:
    """Count a call of a plan; return the steps times cells of all its calls."""
    if len(_PLANS) >= LOOKED_UP:
        _PLANS.clear()
    total = _PLANS[key] = _PLANS.get(key, 0) + work
    return total


def ran(kind: type, key: str, dtype: torch.dtype, differentiated: bool) -> None:
    """Note that a kernel has run, so that it is compiled."""
    _READY.add((key, dtype, differentiated))
    _READY_CLASSES.add(kind)


def ready(key: str, dtype: torch.dtype, differentiated: bool) -> bool:
    """Return whether a kernel has run."""
    return (key, dtype, differentiated) in _READY


def differentiated(currents: Tensor, state: Any) -> bool:
    """Return whether a gradient of the currents or of the state is wanted."""
    if not torch.is_grad_enabled():
        return False
    return currents.requires_grad or any(isinstance(value, Tensor) and value.requires_grad for value in state)


def forget() -> None:
    """Forget all calls."""
    for each in (_CLASSES, _PLANS, _READY, _READY_CLASSES):
        each.clear()
