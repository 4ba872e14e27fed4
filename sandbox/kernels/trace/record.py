"""A recording of the torch operations in one step, made while it runs."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from sandbox.kernels.unsupported import Unsupported

Answer = TypeVar("Answer")
CREATED = (
    "zeros_like",
    "ones_like",
    "full_like",
    "new_zeros",
    "new_ones",
    "new_full",
)  # depend only on an argument's shape

ONE_BY_ONE = "take each by current[..., i], or all by current.unbind(-1)"
DRAW = "use sandbox.neurons.dice.uniform(state.key, current) with a key in the state"


class Ref(NamedTuple):
    """A value of the tape, by its place."""

    place: int


class Row(NamedTuple):
    """An operation, its arguments, with a `Ref` for each tensor that varies, and the place of its result."""

    function: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    out: int


class Tape(TorchDispatchMode):
    """Records all operations on named tensors; whatever does not depend on them is a plain number.

    `origins[place]` are the names on which a value depends, `values[place]` is the value itself. Tensors are identified
    by their `id`, which Python reuses after a tensor is freed; so `values` and `kept` keep them all alive.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.rows: list[Row] = []
        self.values: list[Tensor] = []
        self.origins: list[frozenset[str]] = []
        self.places: dict[int, int] = {}
        self.kept: list[Tensor] = []  # tensors that are another name of a value
        self.stacked: tuple[Tensor, list[Ref]] | None = None
        self.paused = False

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # torch.compile never sees the thread that records, and importing it takes a second

    def name(self, tensor: Tensor, origin: str) -> Ref:
        """Name a tensor as one that varies."""
        return self._hold(tensor, frozenset({origin}))

    def stack(self, parts: Sequence[Tensor]) -> Tensor:
        """Return named tensors as one, in a last axis, from which a step takes each by its index or by `unbind`."""
        self.stacked = torch.stack(list(parts), -1), [self.ref(part) for part in parts]
        self.name(self.stacked[0], "step")
        return self.stacked[0]

    def ref(self, tensor: Any) -> Any:
        """Return the place of a tensor that varies; any other object unchanged."""
        if isinstance(tensor, Tensor) and id(tensor) in self.places:
            return Ref(self.places[id(tensor)])
        return tensor

    def mark(self, function: str, value: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Record `value` as the result of an operation that torch does not have: it belongs to the step."""
        refs = tuple(self.ref(arg) for arg in args)
        origins = frozenset({"step"}).union(*(self.origins[ref.place] for ref in refs if isinstance(ref, Ref)))
        self.rows.append(Row(function, refs, kwargs, self._hold(value, origins).place))
        return value

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded in func.tags:
            raise Unsupported(f"the step draws random numbers by aten.{func.overloadpacket.__name__}; {DRAW}")
        out = func(*args, **kwargs)
        if self.paused:
            return out
        if self.stacked is not None and any(leaf is self.stacked[0] for leaf in tree_leaves((args, kwargs))):
            self._take(func, args, out)
            return out
        refs, named = tree_map(self.ref, (tuple(args), dict(kwargs)))
        found = [self.origins[leaf.place] for leaf in _refs((refs, named))]
        if not found or func.overloadpacket.__name__ in CREATED:
            return out
        name = func.overloadpacket.__name__
        if not isinstance(out, Tensor):
            if name == "_local_scalar_dense":
                raise Unsupported("the step takes a number out of a tensor (if, float(), bool() or item())")
            raise Unsupported(f"aten.{name}")
        if func._schema.is_mutable:
            raise Unsupported(f"aten.{name} changes a tensor in place")
        if not torch.is_grad_enabled():
            raise Unsupported("the step switches gradients off (torch.no_grad); use detach()")
        if id(out) not in self.places:
            self.rows.append(Row(func, refs, named, self._hold(out, frozenset[str]().union(*found)).place))
        return out

    def _take(self, function: Any, args: tuple[Any, ...], out: Any) -> None:
        """Give the tensors that a step takes from the stacked inputs the names of these."""
        assert self.stacked is not None
        stacked, parts = self.stacked
        name, axis = function.overloadpacket.__name__, args[1] if len(args) > 1 else 0
        if name not in ("unbind", "select", "alias") or (name != "alias" and axis not in (-1, stacked.ndim - 1)):
            raise Unsupported(f"the step reads its inputs together by aten.{name}; {ONE_BY_ONE}")
        if name == "alias":
            self.stacked = out, parts
            return
        taken = zip(out, parts, strict=True) if name == "unbind" else [(out, parts[args[2]])]
        for tensor, ref in taken:
            self.places[id(tensor)] = ref.place
            self.kept.append(tensor)

    def _hold(self, tensor: Tensor, origins: frozenset[str]) -> Ref:
        self.places[id(tensor)] = len(self.values)
        self.values.append(tensor)
        self.origins.append(origins)
        return Ref(len(self.values) - 1)


def _refs(tree: Any) -> list[Ref]:
    return [leaf for leaf in tree_leaves(tree, is_leaf=lambda x: isinstance(x, Ref)) if isinstance(leaf, Ref)]


def refs(row: Row) -> list[Ref]:
    """Return the values that a row reads."""
    return _refs((row.args, row.kwargs))


def map_refs(f: Callable[[Ref], Any], tree: Any) -> Any:
    """Replace each `Ref` in a tree by `f(ref)`."""
    return tree_map(lambda x: f(x) if isinstance(x, Ref) else x, tree, is_leaf=lambda x: isinstance(x, Ref))


def alone(work: Callable[[], Answer]) -> Answer:
    """Run `work` on its own thread, without the dispatch modes, transforms or gradient mode of the caller."""
    answers: list[Answer] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            answers.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(run,), name="kernel-trace")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return answers[0]
