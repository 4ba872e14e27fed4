"""State as plain data, for `torch.load(..., weights_only=True)`, so that opening a checkpoint runs no code."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

PLAIN = (type(None), bool, int, float, complex, str, torch.Size, torch.dtype, torch.device)
KEYS = (type(None), bool, int, float, str)
WHOLE = (np.float64, np.bool_, np.integer)  # scalars of NumPy that a Python number holds without a change
CLASS, FIELDS = "NamedTuple", "fields"  # the keys of a dict that stands for a NamedTuple


def to_plain(tree: Any, where: str, like: Any = None) -> Any:
    """Return nested state without user-defined classes: a NamedTuple becomes a dict of its name and its fields.

    Args:
        tree: dicts, lists, tuples and NamedTuples of tensors, numbers, strings and None.
        where: the owner of the state, for the message.
        like: state that holds a NamedTuple of each class that may occur, from which `from_plain` restores them.

    Raises:
        TypeError: for anything else; the message names its place and class, and what to use instead.

    >>> to_plain({"steps": np.int64(3), "sizes": (1.0, "a")}, "the state")
    {'steps': 3, 'sizes': (1.0, 'a')}
    """
    return _plain(tree, where, named_tuples(like))


def from_plain(plain: Any, like: Any) -> Any:
    """Return the original of `to_plain`, with the NamedTuple classes that occur in `like`."""
    return _restored(plain, named_tuples(like))


def named_tuples(tree: Any) -> dict[str, type[Any]]:
    """Return the NamedTuple classes inside nested state, by name."""
    return {kind.__qualname__: kind for kind in _kinds(tree)}


def _kinds(tree: Any) -> Iterator[type[Any]]:
    if _is_named(type(tree)):
        yield type(tree)
    if isinstance(tree, dict):
        tree = tree.values()
    elif not isinstance(tree, (list, tuple)):
        return
    for part in tree:
        yield from _kinds(part)


def _is_named(kind: type[Any]) -> bool:
    """Whether a class is a NamedTuple itself; a subclass of one may hold or check more than its fields."""
    return hasattr(kind, "_fields") and kind.__bases__ == (tuple,)


def _plain(tree: Any, where: str, known: dict[str, type[Any]]) -> Any:
    kind = type(tree)
    if kind in PLAIN or (kind in (Tensor, nn.Parameter) and not tree.__dict__):
        return tree
    if isinstance(tree, WHOLE):
        return tree.item()
    if kind in (dict, OrderedDict):
        entries = {_key(key, where): _plain(value, f"{where}[{key!r}]", known) for key, value in tree.items()}
        if set(entries) == {CLASS, FIELDS}:
            raise TypeError(f"{where} has the keys {CLASS!r} and {FIELDS!r}, which stand for a NamedTuple: rename one")
        if kind is dict:
            return entries
        ordered = OrderedDict(entries)  # nn.Module.state_dict keeps the versions of modules beside the entries
        ordered.__dict__.update(_plain(dict(tree.__dict__), f"{where}.__dict__", known))
        return ordered
    if kind in (list, tuple):
        return kind(_plain(value, f"{where}[{place}]", known) for place, value in enumerate(tree))
    if known.get(kind.__qualname__) is kind:
        fields = {name: _plain(getattr(tree, name), f"{where}.{name}", known) for name in kind._fields}
        return {CLASS: kind.__qualname__, FIELDS: fields}
    raise TypeError(f"{where} is {_described(tree)}")


def _key(key: Any, where: str) -> Any:
    inner = key if type(key) is tuple else (key,)
    if all(type(part) in KEYS for part in inner):
        return key
    raise TypeError(f"{where} has the key {key!r}: {_described(key)}")


def _described(value: Any) -> str:
    """Return the class of something that is not plain, and what to do."""
    kind = type(value)
    if isinstance(value, (UninitializedParameter, UninitializedBuffer)):
        return "not initialised yet: run one batch through the model first"
    if kind in (Tensor, nn.Parameter):
        return f"a tensor with attributes ({', '.join(value.__dict__)}), which would be lost: keep them apart"
    return (
        f"of class {kind.__module__}.{kind.__qualname__}: a checkpoint holds plain data, so that reading it runs no "
        "code; keep dicts, lists or tuples of tensors, Python's numbers, strings and None (the state of a rule may "
        "also hold NamedTuples of classes that occur in what its `init` returns)"
    )


def copied_to(state: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Return a copy of nested dicts with their tensors on a device."""
    return {
        key: value.detach().to(device, copy=True)
        if isinstance(value, Tensor)
        else copied_to(value, device)
        if isinstance(value, dict)
        else copy.copy(value)
        for key, value in state.items()
    }


def _restored(plain: Any, known: dict[str, type[Any]]) -> Any:
    kind = type(plain)
    if kind is dict and set(plain) == {CLASS, FIELDS}:
        return known[plain[CLASS]](**_restored(plain[FIELDS], known))
    if kind is dict:
        return {key: _restored(value, known) for key, value in plain.items()}
    if kind is OrderedDict:
        ordered = OrderedDict((key, _restored(value, known)) for key, value in plain.items())
        ordered.__dict__.update(plain.__dict__)
        return ordered
    if kind in (list, tuple):
        return kind(_restored(value, known) for value in plain)
    return plain
