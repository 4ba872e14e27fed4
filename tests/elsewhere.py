"""A second device on every machine: it tests that tensors and random numbers are where CUDA would want them.

Its tensors say that they are on torch's `meta` device, and hold their numbers on the CPU. As on CUDA, an operation
raises if its tensors are on different devices, scalars and indices of the CPU excepted, and if it draws from a generator
of another device. The arithmetic is the CPU's, so that results must equal the CPU's to the bit.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

DEVICE = torch.device("meta")
ATEN = torch.ops.aten
BETWEEN = (ATEN._to_copy.default, ATEN.copy_.default, ATEN._local_scalar_dense.default)  # what may cross devices
INDEXING = (ATEN.index.Tensor, ATEN.index_put.default, ATEN.index_put_.default, ATEN._index_put_impl_.default)


class Elsewhere(Tensor):
    """A tensor that says it is on `DEVICE`; its numbers are in `held`."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Elsewhere:
        place = {"strides": held.stride(), "storage_offset": held.storage_offset()}
        made = Tensor._make_wrapper_subclass(cls, held.shape, **place, dtype=held.dtype, device=DEVICE)
        made.held = held
        return made

    def __repr__(self) -> str:
        return f"Elsewhere({self.held})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) not in memo:
            made = Elsewhere(self.held.clone()).requires_grad_(self.requires_grad)
            memo[id(self)] = nn.Parameter(made, self.requires_grad) if isinstance(self, nn.Parameter) else made
        return memo[id(self)]

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.data.__set__:
            args[0].held = args[1].held
        with torch._C.DisableTorchFunctionSubclass():  # results on the CPU are plain tensors
            return func(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return carried_out(func, args, kwargs or {})


class Places(TorchDispatchMode):
    """Inside this context `DEVICE` works, and operations that mix devices raise."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return carried_out(func, args, kwargs or {})


def carried_out(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Run an operation on the numbers that its tensors hold; its result is where that of CUDA would be."""
    flat, spec = tree_flatten((args, kwargs))
    tensors = [part for part in flat if isinstance(part, Tensor)]
    mine = [part for part in tensors if isinstance(part, Elsewhere)]
    asked = kwargs.get("device")
    there = bool(mine) if asked is None else torch.device(asked) == DEVICE
    if func is ATEN.copy_.default:
        there = isinstance(args[0], Elsewhere)
    if (
        mine
        and func not in (*BETWEEN, *INDEXING)
        and any(part.ndim for part in tensors if not isinstance(part, Elsewhere))
    ):
        raise RuntimeError(f"{func}: tensors on different devices, {[(part.device, part.shape) for part in tensors]}")
    if there and any(isinstance(part, torch.Generator) for part in flat):
        raise RuntimeError(f"{func}: a generator of the CPU for a tensor on another device")
    args, kwargs = tree_unflatten([grounded(part) for part in flat], spec)
    result = func(*args, **kwargs)
    known = {id(part.held): part for part in mine}  # an operation in place returns the tensor that it was given
    if not there:
        return result

    def placed(part: Any) -> Any:
        return known[id(part)] if id(part) in known else Elsewhere(part) if isinstance(part, Tensor) else part

    return tree_map(placed, result)


def grounded(part: Any) -> Any:
    """Return an argument of an operation as it is on the CPU."""
    if isinstance(part, Elsewhere):
        return part.held
    return torch.device("cpu") if isinstance(part, torch.device) and part == DEVICE else part
