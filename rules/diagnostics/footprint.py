"""The memory of a training step: all tensors that its operations create, for as long as they live."""

from __future__ import annotations

import weakref
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter, tree_map

from rules.metering import compiled
from rules.uncompiled import uncompiled


class Footprint(NamedTuple):
    """Bytes of tensors created during credit assignment; weights and the batch are not included.

    `state` is what is stored for credit: tensors alive at the start of the backward pass, and the rule's own state for
    the next step. `peak` is the largest amount alive at once, the credit itself included.
    """

    state: int
    peak: int


class Alive(TorchDispatchMode):
    """A context that counts the bytes of storages made by torch's operators that are still alive.

    Memory that an operator allocates and frees internally is not seen.

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
        self.held = 0  # the largest amount alive at the start of a backward pass
        self._backward = -1
        self._waiting: set[int] = set()  # those of it that are still alive
        self._known: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # `uncompiled` does it, and torch would import the compiler for it

    @uncompiled
    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        pass_ = torch._C._current_graph_task_id()  # -1 outside of backward passes
        if pass_ not in (-1, self._backward):
            self._backward = pass_
            if self.now > self.held:
                self.held, self._waiting = self.now, set(self._known)
        given = {storage._cdata for storage in _storages((args, kwargs))}
        if any(isinstance(leaf, Tensor) and leaf._is_zerotensor() for leaf in tree_iter((args, kwargs))):
            args, kwargs = tree_map(_real, (args, kwargs))  # forward derivatives that are 0 have no memory to read
        returned = operator(*args, **(kwargs or {}))
        for storage in _storages(returned):
            if storage._cdata not in given and storage._cdata not in self._known:
                self._add(storage)
        return returned

    def beside(self, tree: Any) -> int:
        """Return the bytes of the tensors in nested containers that `held` does not include already."""
        sizes = {storage._cdata: storage.nbytes() for storage in _storages(tree)}
        return sum(size for key, size in sizes.items() if key not in self._waiting)

    def _add(self, storage: torch.UntypedStorage) -> None:
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        gone = partial(self._drop, storage._cdata, storage.nbytes())
        self._known[storage._cdata] = weakref.ref(storage, gone)

    def _drop(self, key: int, size: int, reference: Any) -> None:
        del self._known[key]
        self._waiting.discard(key)  # a later storage may have the same address, hence the same key
        self.now -= size


def watching(model: nn.Module) -> AbstractContextManager[Alive | None]:
    """Return a context that counts new tensors; for a compiled model one that does nothing, to avoid graph breaks."""
    return nullcontext() if compiled(model) else Alive()


def footprint(alive: Alive, state: Any) -> Footprint:
    """Return the counts, with the state that a rule keeps for its next step."""
    return Footprint(alive.held + alive.beside(state), alive.peak)


def _real(leaf: Any) -> Any:
    """Return zeros in memory for a tensor that stands for zeros without any."""
    if not (isinstance(leaf, Tensor) and leaf._is_zerotensor()):
        return leaf
    return torch.zeros(leaf.shape, dtype=leaf.dtype, device=leaf.device)


def _storages(tree: Any) -> list[torch.UntypedStorage]:
    """Return the storages of strided tensors; sparse tensors have none, and operators make their parts as well."""
    tensors = (leaf for leaf in tree_iter(tree) if isinstance(leaf, Tensor))
    return [tensor.untyped_storage() for tensor in tensors if tensor.layout is torch.strided]
