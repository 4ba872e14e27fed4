"""What a step of learning holds in memory: everything its operations put out, for as long as it lives."""

from __future__ import annotations

import weakref
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


class Footprint(NamedTuple):
    """Bytes of tensors that were made while credit was assigned; weights and the batch were there before.

    `state` were alive when errors set out on their way back, or are handed to the next step as the rule's own state:
    what is held for credit. `peak` is the most that was alive at once, credit itself included.
    """

    state: int
    peak: int


class Alive(TorchDispatchMode):
    """Counts, inside its `with` block, the bytes of storages made by torch's operators that are still alive.

    Memory that an operator takes and gives back within itself is not seen.

    >>> with Alive() as alive:
    ...     x = torch.zeros(100, dtype=torch.float64)
    ...     y = x.view(10, 10)
    ...     del x, y
    >>> alive.peak, alive.now
    (800, 0)
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        self.peak = 0
        self.held = 0  # the most that was alive when a backward pass began
        self._backward = -1
        self._waiting: set[int] = set()  # what lives of that
        self._known: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        pass_ = torch._C._current_graph_task_id()  # -1 outside of backward passes
        if pass_ not in (-1, self._backward):
            self._backward = pass_
            if self.now > self.held:
                self.held, self._waiting = self.now, set(self._known)
        given = {storage._cdata for storage in _storages((args, kwargs))}
        returned = operator(*args, **(kwargs or {}))
        for storage in _storages(returned):
            if storage._cdata not in given and storage._cdata not in self._known:
                self._add(storage)
        return returned

    def beside(self, tree: Any) -> int:
        """Bytes of the tensors in nested containers that were not among what was held."""
        sizes = {storage._cdata: storage.nbytes() for storage in _storages(tree)}
        return sum(size for key, size in sizes.items() if key not in self._waiting)

    def _add(self, storage: torch.UntypedStorage) -> None:
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        gone = partial(self._drop, storage._cdata, storage.nbytes())
        self._known[storage._cdata] = weakref.ref(storage, gone)

    def _drop(self, key: int, size: int, reference: Any) -> None:
        del self._known[key]
        self._waiting.discard(key)  # the next storage may get its place
        self.now -= size


def watching(model: nn.Module) -> AbstractContextManager[Alive | None]:
    """Counts what is made inside its `with` block; nothing where a compiled part would be broken up by that."""
    marks = ("_orig_mod", "_compiled_call_impl")
    compiled = any(getattr(module, mark, None) is not None for module in model.modules() for mark in marks)
    return nullcontext() if compiled else Alive()


def footprint(alive: Alive, state: Any) -> Footprint:
    """What was counted, with what a rule hands itself on."""
    return Footprint(alive.held + alive.beside(state), alive.peak)


def _storages(tree: Any) -> list[torch.UntypedStorage]:
    """Those of strided tensors; sparse ones have none of their own, and their parts are made by operators too."""
    tensors = (leaf for leaf in tree_iter(tree) if isinstance(leaf, Tensor))
    return [tensor.untyped_storage() for tensor in tensors if tensor.layout is torch.strided]
