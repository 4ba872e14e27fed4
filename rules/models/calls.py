"""The calls of modules in a pass: which module was called inside which, on what, and what it returned."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter
from torch.utils._python_dispatch import _disable_current_modes


class Seen(NamedTuple):
    """A tensor as it was at a moment: a later change in place gives it another version."""

    tensor: Tensor
    version: int


@dataclass(eq=False)
class Call:
    """One call of a module."""

    module: nn.Module
    taken: list[Seen]  # the tensors among its arguments
    given: list[Seen] = field(default_factory=list)  # the tensors among what it returned
    inner: list[Call] = field(default_factory=list)  # the calls made by its forward, in order
    alone: bool = True  # whether it returned one tensor, and nothing else
    more: bool = False  # whether it was given anything behind its input


def seen(tree: Any) -> list[Seen]:
    """Return the tensors of a tuple, list or dict, one level deep."""
    if isinstance(tree, Tensor):
        return [Seen(tree, tree._version)]
    parts: Iterable[Any] = (
        tree.values() if isinstance(tree, Mapping) else tree if isinstance(tree, (tuple, list)) else ()
    )
    return [Seen(part, part._version) for part in parts if isinstance(part, Tensor)]


@contextmanager
def listened(modules: Iterable[nn.Module]) -> Iterator[list[Call]]:
    """Yield a list that receives the outermost calls of these modules in this context, the others inside of them."""
    outermost: list[Call] = []
    stack: list[Call] = []

    def begin(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = [*args, *kwargs.values()]
        call = Call(module, seen(given), more=any(value is not None for value in given[1:]))
        (stack[-1].inner if stack else outermost).append(call)
        stack.append(call)

    def end(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], returned: Any) -> None:
        call = stack.pop()
        call.given, call.alone = seen(returned), isinstance(returned, Tensor)

    handles = []
    for module in dict.fromkeys(modules):
        handles.append(module.register_forward_pre_hook(begin, with_kwargs=True))
        handles.append(module.register_forward_hook(end, with_kwargs=True))
    try:
        yield outermost
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def unhooked(model: nn.Module) -> Iterator[None]:
    """Take the hooks off a model in this context, so that nothing that counts or perturbs sees its passes.

    Modes that watch torch's operators are off, too. Modules whose parameters have no shape yet keep their hooks, which
    give them one.
    """
    kept: list[tuple[nn.Module, Any, Any]] = []
    for module in model.modules():
        held = [*module._parameters.values(), *module._buffers.values()]
        if not any(isinstance(each, (UninitializedParameter, UninitializedBuffer)) for each in held):
            kept.append((module, module._forward_hooks, module._forward_pre_hooks))
            module._forward_hooks, module._forward_pre_hooks = OrderedDict(), OrderedDict()
    try:
        with _disable_current_modes():
            yield
    finally:
        for module, hooks, before in kept:
            module._forward_hooks, module._forward_pre_hooks = hooks, before


def every(calls: Iterable[Call]) -> Iterator[Call]:
    """Yield calls and those inside of them, in the order in which they began."""
    for call in calls:
        yield call
        yield from every(call.inner)
