"""What a person reads of values that hold many tensors: how many, and their bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def brief(value: Any) -> str:
    """Return one line for a value: tensors by number and size, everything else as it prints.

    >>> import torch
    >>> brief({"weight": torch.zeros(3, 4), "bias": (torch.zeros(3), None)})
    '<2 tensors, 60 bytes>'
    >>> brief(torch.zeros(3, 4)), brief(())
    ('<tensor [3, 4]>', '()')
    """
    if isinstance(value, Tensor):
        return f"<tensor {list(value.shape)}>"
    found = tensors(value)
    if not found:
        return repr(value)
    number = "1 tensor" if len(found) == 1 else f"{len(found)} tensors"
    return f"<{number}, {sum(each.numel() * each.element_size() for each in found):,} bytes>"


def tensors(value: Any) -> list[Tensor]:
    """Return the tensors in nested tuples, lists and dicts."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Mapping):
        value = tuple(value.values())
    return [each for part in value for each in tensors(part)] if isinstance(value, (tuple, list)) else []


def line(name: str, fields: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    """Return a value of named fields in one line, without those that are as by default.

    >>> line("Run", {"output": 1, "carry": None}, {"carry": None})
    'Run(output=1)'
    """
    shown = {field: brief(value) for field, value in fields.items()}
    usual = {field: repr(value) for field, value in defaults.items()}
    return f"{name}({', '.join(f'{field}={text}' for field, text in shown.items() if text != usual.get(field))})"
