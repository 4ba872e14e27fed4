"""The arithmetic of attention: which operators run between synapses and neurons, and what they would need of a chip."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from rules.contract import Batch
from rules.forward import looking, run_model
from rules.optional import method_of, plain, recorder_of
from rules.synapses import Product, is_synapse
from sandbox.inspection.alphabet import alphabet_of

EXPONENTIALS = frozenset(
    [
        "exp",
        "exp2",
        "expm1",
        "log",
        "log2",
        "log1p",
        "_softmax",
        "_log_softmax",
        "sigmoid",
        "tanh",
        "erf",
        "gelu",
        "silu",
    ]
)
DIVISIONS = frozenset(["div", "reciprocal", "sqrt", "rsqrt", "mean", "var", "native_layer_norm", "native_group_norm"])
SCALINGS = frozenset(["mul"])
MATRICES = frozenset(["mm", "bmm", "addmm", "baddbmm"])
WHOLE = dict.fromkeys(["silent", "binary", "ternary", "integer"], "whole")  # multiples of a unit


@dataclass(frozen=True)
class Arithmetic:
    """What one attention module computes outside of its synapses and neurons, by kind, as names of torch's operators.

    A product is a multiplication unless one factor is made of bits, or is a power of two, or all are whole multiples of
    a unit. Additions, comparisons, and operators that move numbers need no mention.

    Args:
        module: name of the module.
        exponentials: exponentials and what needs them, such as softmax.
        divisions: divisions and what needs them, such as a normalisation.
        multiplications: products and scalings of numbers.
    """

    module: str
    exponentials: tuple[str, ...] = ()
    divisions: tuple[str, ...] = ()
    multiplications: tuple[str, ...] = ()

    @property
    def found(self) -> dict[str, tuple[str, ...]]:
        """The kinds that were found."""
        kinds = ("exponentials", "divisions", "multiplications")
        return {kind: getattr(self, kind) for kind in kinds if getattr(self, kind)}

    def __str__(self) -> str:
        if not self.found:
            return f"{self.module}: bits and whole numbers; no exponential, no division, no multiplication of numbers"
        return f"{self.module}: " + "; ".join(f"{kind} ({', '.join(names)})" for kind, names in self.found.items())


def arithmetic(model: nn.Module, batch: Batch) -> list[Arithmetic]:
    """Return what every attention module of a model computes, from one pass in evaluation mode.

    An attention module is one that holds a `rules.Product` of its own. What runs inside of neurons and of synapses is
    left out: the leak of a membrane, and weights. So is a batch normalisation, which in evaluation is a part of the
    weights before it. A normalisation of each token is not.

    Args:
        model: any module.
        batch: input of the pass.

    >>> import torch
    >>> class Attention(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.product = Product()
    ...
    ...     def forward(self, x):
    ...         return self.product(torch.softmax(x, -1), x.mT)
    >>> [str(each) for each in arithmetic(nn.Sequential(Attention()), Batch(torch.rand(2, 3, 4)))]
    ['0: exponentials (_softmax); multiplications (bmm)']
    """
    inner = plain(model)
    owners = {module: name for name, module in inner.named_modules() if _attends(module)}
    watch = _Operators(owners)
    with torch.no_grad(), looking(inner, {}), _entered(inner, watch), watch:
        run_model(model, batch)
    return [Arithmetic(name, *(tuple(sorted(kind)) for kind in watch.seen[name])) for name in watch.seen]


def _attends(module: nn.Module) -> bool:
    return any(isinstance(child, Product) for child in module.children())


def _apart(module: nn.Module) -> bool:
    """Return whether a module is neurons, or a synapse."""
    return is_synapse(module) or (method_of(module, "advance") is not None and method_of(module, "rest") is not None)


class _Operators(TorchDispatchMode):
    """Sorts operators by the attention module around them."""

    def __init__(self, owners: dict[nn.Module, str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.owners = owners
        self.around: list[nn.Module] = []  # modules that are being called, outermost first
        self.seen: dict[str, tuple[set[str], set[str], set[str]]] = {}

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = operator(*args, **(kwargs or {}))
        owner = next((self.owners[module] for module in reversed(self.around) if module in self.owners), None)
        if owner is not None and not any(map(_apart, self.around)):
            self.sort(owner, str(operator.overloadpacket).removeprefix("aten."), args)
        return out

    def sort(self, owner: str, name: str, args: Sequence[Any]) -> None:
        """Note an operator."""
        exponentials, divisions, multiplications = self.seen.setdefault(owner, (set(), set(), set()))
        plain_name = name.rstrip("_") if not name.startswith("_") else name
        if plain_name in EXPONENTIALS:
            exponentials.add(plain_name)
        elif plain_name in DIVISIONS:
            divisions.add(plain_name)
        elif (plain_name in SCALINGS or plain_name in MATRICES) and _multiplies(args):
            multiplications.add(plain_name)


def _multiplies(factors: Sequence[Any]) -> bool:
    """Return whether a product is more than sums, masks and shifts.

    It is not where a factor is made of bits or a power of two, and where all are whole multiples of a unit.
    """
    kinds = [_kind(factor) for factor in factors if isinstance(factor, (Tensor, int, float))]
    return "bits" not in kinds and "real" in kinds


def _kind(factor: Tensor | float) -> str:
    if not isinstance(factor, Tensor):
        return "bits" if factor == 0 or math.frexp(abs(factor))[0] == 0.5 else "real"
    if factor.dtype == torch.bool:
        return "bits"
    alphabet = alphabet_of(factor)
    return "bits" if alphabet.spikes else WHOLE.get(alphabet.kind, "real")


@contextmanager
def _entered(model: nn.Module, watch: _Operators) -> Iterator[None]:
    """Tell the watch which modules are being called or run, in this context."""
    handles = []
    parts = [module for module in model.modules() if recorder_of(module) is not None]
    for module in model.modules():
        handles.append(module.register_forward_pre_hook(lambda module, args: watch.around.append(module)))
        handles.append(module.register_forward_hook(lambda *args: watch.around.pop() and None, always_call=True))
    for part in parts:  # of a stack, which calls `run` in place of `forward`
        vars(part)["run"] = _noting(part, watch)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for part in parts:
            vars(part).pop("run")


def _noting(part: nn.Module, watch: _Operators) -> Callable[..., Any]:
    """Return the method `run` of a part, which tells the watch."""
    run = recorder_of(part)
    assert run is not None

    def noted(*args: Any, **kwargs: Any) -> Any:
        watch.around.append(part)
        try:
            return run(*args, **kwargs)
        finally:
            watch.around.pop()

    return noted
