"""State as plain data, for `torch.load(..., weights_only=True)`, so that opening a checkpoint runs no code."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

PLAIN = (type(None), bool, int, float, complex, str, torch.Size, torch.dtype, torch.device, Tensor, nn.Parameter)


def to_plain(tree: Any, where: str, like: Any = None) -> Any:
    """Return nested state without user-defined classes: a NamedTuple becomes a dict of its fields.

    Args:
        tree: dicts, lists, tuples and NamedTuples of tensors, numbers, strings and None.
        where: the owner of the state, for the message.
        like: state of the same structure, from which `from_plain` can restore NamedTuples; None if there is none.

    Raises:
        TypeError: for anything else; the message names its place and class, and what to use instead.

    >>> to_plain({"steps": np.int64(3), "sizes": (1.0, "a")}, "the state")
    {'steps': 3, 'sizes': (1.0, 'a')}
    """
    kind = type(tree)
    if kind in PLAIN:
        return tree
    if isinstance(tree, np.generic):
        return tree.item()
    if kind in (dict, OrderedDict):
        entries = {key: to_plain(value, f"{where}[{key!r}]", _at(like, key)) for key, value in tree.items()}
        if kind is dict:
            return entries
        ordered = OrderedDict(entries)
        ordered.__dict__.update(tree.__dict__)  # module versions, which nn.Module.state_dict keeps as `_metadata`
        return ordered
    if kind in (list, tuple):
        return kind(to_plain(value, f"{where}[{place}]", _at(like, place)) for place, value in enumerate(tree))
    if hasattr(kind, "_fields") and type(like) is kind:
        return {name: to_plain(getattr(tree, name), f"{where}.{name}", getattr(like, name)) for name in kind._fields}
    raise TypeError(
        f"{where} is of class {kind.__module__}.{kind.__qualname__}: a checkpoint holds plain data, so that reading it "
        "runs no code; keep dicts, lists or tuples of tensors, numbers, strings and None (a rule's state may also be "
        "NamedTuples that its `init` returns in the same places)"
    )


def from_plain(plain: Any, like: Any) -> Any:
    """Return the original of `to_plain`, with NamedTuples in the places where `like` has them."""
    fields = getattr(type(like), "_fields", None)
    if fields is not None and isinstance(plain, dict):
        return type(like)(**{name: from_plain(plain[name], getattr(like, name)) for name in fields})
    if type(plain) is dict:
        return {key: from_plain(value, _at(like, key)) for key, value in plain.items()}
    if type(plain) in (list, tuple):
        return type(plain)(from_plain(value, _at(like, place)) for place, value in enumerate(plain))
    return plain


def _at(tree: Any, key: Any) -> Any:
    """Return the entry of a tree; None if it has none."""
    if isinstance(tree, dict):
        return tree.get(key)
    return tree[key] if isinstance(tree, (list, tuple)) and isinstance(key, int) and key < len(tree) else None
