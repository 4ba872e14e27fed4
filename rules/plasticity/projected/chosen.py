"""Which parameters are projected: weight matrices and kernels, without the ends and without what is kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor, nn

from rules.errors import unknown

OWN = "objective."  # how the Trainer names the parameters of a loss
Entry = tuple[str | None, nn.Parameter]


def unnamed(parameters: Iterable[Any]) -> tuple[list[Any], list[Entry]]:
    """Return parameters in the form that torch takes, without their names, and all of them with their names.

    Args:
        parameters: tensors or groups of tensors; each tensor alone, or as (name, tensor).

    >>> p = nn.Parameter(nn.init.zeros_(nn.Linear(2, 3).weight))
    >>> plain, entries = unnamed([("weight", p)])
    >>> plain[0] is p, entries[0][0]
    (True, 'weight')
    """
    plain: list[Any] = []
    entries: list[Entry] = []
    for item in parameters:
        if isinstance(item, dict):
            held = [item["params"]] if isinstance(item["params"], Tensor) else list(item["params"])
            inside, found = unnamed(held)
            plain.append({**item, "params": inside})
            entries += found
        else:
            name, p = item if isinstance(item, tuple) else (None, item)
            plain.append(p)
            entries.append((name, p))
    return plain, entries


def chosen(
    entries: Sequence[Entry], ends: bool, keep: Sequence[str], weights: Mapping[str, nn.Parameter] | None = None
) -> list[nn.Parameter]:
    """Return the parameters to project: those of two dimensions or more, less the ends and what is kept.

    The first and the last are those of the order in which parameters are given, which is that of the model. A single
    matrix is neither. Parameters of the objective stay as they are.

    Args:
        entries: all parameters with their names, None where they have none.
        ends: whether the first and the last matrix are projected too.
        keep: names, or patterns of `fnmatch`, of parameters that stay as they are.
        weights: those that weigh signals, in the order of the model, without constants of cells, with frozen ones, and
            a shared one under each of its names; None for all parameters of two dimensions or more.

    Raises:
        ValueError: if nothing is left to project, for a pattern that matches nothing, and for patterns without names.

    >>> layers = [(f"{n}.weight", nn.Linear(2, 2).weight) for n in range(4)]
    >>> [name for name, p in layers if any(p is q for q in chosen(layers, ends=False, keep=["1.*"]))]
    ['2.weight']
    """
    names = [name for name, _ in entries if name is not None]
    if keep and len(names) < len(entries):
        raise ValueError(
            f"keep={list(keep)} with parameters that have no names: give pairs, `model.named_parameters()`, or train "
            "with rules.Trainer, which hands over the names"
        )
    for pattern in keep:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise unknown("parameter in keep", pattern, names)
    known = None if weights is None else {id(p) for p in weights.values()}
    found = [
        (name, p)
        for name, p in entries
        if p.ndim >= 2 and not (name or "").startswith(OWN) and (known is None or id(p) in known)
    ]
    order = [p for _, p in found] if weights is None else [p for p in weights.values() if p.ndim >= 2]
    if not found:
        raise ValueError("no parameter has two dimensions or more, so that there is nothing to project")
    outer = () if ends or len(order) == 1 or len(found) == 1 else (id(order[0]), id(order[-1]))
    inside = [(name, p) for name, p in found if id(p) not in outer]
    if not inside and len(order) == 2:
        raise ValueError(
            "ends=False leaves nothing to project: the model has two weight matrices, the first and the last; give "
            "ends=True"
        )
    left = [p for name, p in inside if not any(fnmatchcase(name or "", pattern) for pattern in keep)]
    if not left:
        raise ValueError(f"keep={list(keep)} leaves nothing to project: leave some patterns out, or give ends=True")
    return left
