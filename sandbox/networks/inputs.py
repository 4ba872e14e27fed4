"""Several inputs of a model, such as two views of a recording, as one tensor of their features."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sandbox.networks.network import admitted

Shape = tuple[int, ...]


def several(shape: Sequence[Any]) -> bool:
    """Return whether a shape is that of several inputs, `((64, 128), (5, 32, 32))`."""
    return any(isinstance(each, Sequence) for each in shape)


def features(shape: Sequence[Any]) -> Shape:
    """Return the shape of a sample as one tensor: of several inputs the number of all their features.

    >>> features((3, 32, 32)), features(((64, 128), (5, 32, 32)))
    ((3, 32, 32), (13312,))
    """
    return (sum(map(math.prod, shape)),) if several(shape) else tuple(shape)


def joined(x: Any, shapes: Sequence[Shape]) -> Tensor:
    """Return several inputs `[T, B, *shape]` as `[T, B, features]`, one behind the other; such a tensor stays as it is.

    Inputs that are constant in time, with a stride of 0, stay so.

    Raises:
        TypeError: for an input that is not floating point, and for what is neither a tensor nor a tuple of them.
        ValueError: for another number of inputs, another shape of one, and inputs of different steps or samples.

    >>> joined((torch.zeros(4, 2, 3, 5), torch.zeros(4, 2, 6)), ((3, 5), (6,))).shape
    torch.Size([4, 2, 21])
    """
    if isinstance(x, Tensor):
        return admitted(x, features(shapes))
    wanted = " and ".join(f"[T, B, {', '.join(map(str, shape))}]" for shape in shapes)
    if not isinstance(x, (tuple, list)):
        raise TypeError(f"input is a {type(x).__name__}; this model wants a tuple of {wanted}")
    found = " and ".join(str(tuple(each.shape)) for each in x)
    if [tuple(each.shape[2:]) for each in x] != [tuple(shape) for shape in shapes]:
        raise ValueError(f"inputs have shapes {found}; this model wants {wanted}, time first")
    if len({each.shape[:2] for each in x}) > 1:
        raise ValueError(f"inputs have shapes {found}: give all as many steps and samples")
    steps = len(x[0])
    constant = steps > 1 and all(each.stride(0) == 0 for each in x)
    rows = [admitted(each, tuple(shape)).flatten(2) for each, shape in zip(x, shapes, strict=True)]
    if constant:
        return torch.cat([row[:1] for row in rows], -1).expand(steps, -1, -1)
    return torch.cat(rows, -1)
