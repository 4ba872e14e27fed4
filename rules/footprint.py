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
        self._known: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        pass_ = torch._C._current_graph_task_id()  # -1 outside of backward passes
        if pass_ not in (-1, self._backward):
            self._backward, self.held = pass_, max(self.held, self.now)
        given = {storage._cdata for storage in _storages((args, kwargs))}
        returned = operator(*args, **(kwargs or {}))
        for storage in _storages(returned):
            if storage._cdata not in given and storage._cdata not in self._known:
                self._add(storage)
        return returned

    def _add(self, storage: torch.UntypedStorage) -> None:
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        gone = partial(self._drop, storage._cdata, storage.nbytes())
        self._known[storage._cdata] = weakref.ref(storage, gone)

    def _drop(self, key: int, size: int, reference: Any) -> None:
        del self._known[key]
        self.now -= size


def watching(model: nn.Module) -> AbstractContextManager[Alive | None]:
    """Counts what is made inside its `with` block; nothing where a compiled part would be broken up by that."""
    compiled = any(hasattr(module, "_orig_mod") for module in model.modules())
    return nullcontext() if compiled else Alive()


def footprint(alive: Alive, state: Any) -> Footprint:
    """What was counted, with what a rule hands itself on."""
    return Footprint(alive.held + sum(storage.nbytes() for storage in _storages(state)), alive.peak)


def _storages(tree: Any) -> list[torch.UntypedStorage]:
    return [leaf.untyped_storage() for leaf in tree_iter(tree) if isinstance(leaf, Tensor)]
