"""A look at a model that leaves everything as it was: modes, buffers, attributes, random numbers."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import is_dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from rules.generators import Globals

HOOKS = ("_hooks", "_hooks_with_kwargs", "_hooks_always_called")  # how the names of torch's own tables end
OWN = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set")


@contextmanager
def untouched(*modules: nn.Module | None, seed: int = 0) -> Iterator[None]:
    """Run a block that may call modules, and put back whatever its passes changed.

    Put back are the mode of every part, one by one; buffers; and what parts keep in attributes, such as membranes,
    also in lists, tuples, dicts, deques and dataclasses, and the numbers of parameters, which some modules renormalise
    in a pass. Global generators start from `seed` inside and are restored. Without gradient.

    Args:
        modules: whatever is called; None is skipped.
        seed: of the global generators inside.

    >>> norm = nn.BatchNorm1d(2)
    >>> with untouched(norm):
    ...     shown = norm(torch.ones(4, 2))
    >>> norm.running_mean
    tensor([0., 0.])
    """
    parts = {id(part): part for module in modules if module is not None for part in module.modules()}
    kept = [(part, _kept(part)) for part in parts.values()]
    try:
        with torch.no_grad(), Globals(seed).inside():
            yield
    finally:
        for part, before in kept:
            _put_back(part, before)


Before = tuple[dict[str, Any], dict[str, Any]]


def _kept(part: nn.Module) -> Before:
    """Return a module's attributes and buffers."""
    attributes = {name: _copied(value) for name, value in vars(part).items() if not _of_torch(name)}
    held = {**part._buffers, **part._parameters}
    return attributes, {name: _copied(each) for name, each in held.items()}


def _of_torch(name: str) -> bool:
    return name in OWN or name.endswith(HOOKS)


def _put_back(part: nn.Module, before: Before) -> None:
    attributes, buffers = before
    for name in [name for name in vars(part) if name not in attributes and not _of_torch(name)]:
        del part.__dict__[name]
    part.__dict__.update({name: _original(value) for name, value in attributes.items()})
    for name in [name for name in part._buffers if name not in buffers]:
        del part._buffers[name]
    restored = {name: _original(value) for name, value in buffers.items()}
    part._buffers.update({name: value for name, value in restored.items() if name not in part._parameters})


class _Tensor:
    """A tensor and a copy of its numbers."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor, self.numbers = tensor, tensor.detach().clone()

    def original(self) -> Tensor:
        """Return the same object, with its numbers of then."""
        if self.tensor.shape != self.numbers.shape:  # observers of quantisation grow
            self.tensor.data = self.numbers
        elif not torch.equal(self.tensor, self.numbers):  # batch normalisation leaves no mark in the version
            self.tensor.detach().copy_(self.numbers)
        return self.tensor


class _Container:
    """A list, tuple, dict, deque, or the attributes of a dataclass, and what it held."""

    def __init__(self, held: Any, around: tuple[int, ...]) -> None:
        self.held = held
        items = held.items() if isinstance(held, dict) else enumerate(held)
        self.items = [(key, _copied(value, (*around, id(held)))) for key, value in items]

    def original(self) -> Any:
        """Return the same object, with what it held then."""
        before = [(key, _original(value)) for key, value in self.items]
        if isinstance(self.held, dict):
            self.held.clear()
            self.held.update(before)
        elif not isinstance(self.held, tuple):  # whose entries are the same, with their numbers of then
            self.held.clear()
            self.held.extend(value for _, value in before)
        return self.held


class _Object:
    """An object, and its attributes."""

    def __init__(self, subject: Any, around: tuple[int, ...]) -> None:
        self.subject, self.attributes = subject, _Container(vars(subject), (*around, id(subject)))

    def original(self) -> Any:
        """Return the same object, with its attributes of then."""
        self.attributes.original()
        return self.subject


def _copied(value: Any, around: tuple[int, ...] = ()) -> Any:
    """Return a value, or what is needed to restore it; `around` are the containers that it is in."""
    if isinstance(value, Tensor) and type(value) in (Tensor, nn.Parameter) and value.layout is torch.strided:
        return _Tensor(value)
    if id(value) in around:
        return value
    if type(value) in (list, dict, OrderedDict, defaultdict, deque) or isinstance(value, tuple):
        return _Container(value, around)
    return _Object(value, around) if type(value) is SimpleNamespace or _dataclass(value) else value


def _dataclass(value: Any) -> bool:
    """Return whether a value is an instance of a dataclass, with attributes, and not a module."""
    return is_dataclass(value) and hasattr(value, "__dict__") and not isinstance(value, (type, nn.Module))


def _original(value: Any) -> Any:
    return value.original() if isinstance(value, (_Tensor, _Container, _Object)) else value
