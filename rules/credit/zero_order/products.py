"""Products that need not be computed as a layer would: which calls are known to be `W x + b`, and which were made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from rules.metering import compiled
from rules.optional import declares_product, tallies
from rules.synapses import is_synapse


def only_weighs(module: nn.Module) -> bool:
    """Return whether a call of a synapse is known to be `W x + b` and nothing else.

    True for torch's own classes, for subclasses that leave `forward` alone, and for classes that declare it
    (`only_weighs` in `rules.optional.Part`); False where a parametrisation, a compiler or an attribute of the instance
    comes between.

    >>> class Own(nn.Linear):
    ...     def forward(self, x):
    ...         return super().forward(x) ** 2
    >>> only_weighs(nn.Linear(1, 1)), only_weighs(Own(1, 1))
    (True, False)
    """
    if not is_synapse(module) or module._modules or "forward" in vars(module) or compiled(module):
        return False
    held = module._parameters
    if held.get("weight") is None or "bias" not in held:
        return False
    return all(declares_product(owner(type(module), name)) for name in ("forward", "_conv_forward"))


def owner(kind: type, name: str) -> type | None:
    """Return the class from which another one has an attribute; None if it has none."""
    return next((base for base in kind.__mro__ if name in vars(base)), None)


def unhooked(module: nn.Module) -> bool:
    """Return whether no hook of a module can change what enters or leaves it: those that count cannot."""
    return all(map(tallies, (*module._forward_hooks.values(), *module._forward_pre_hooks.values())))


class Product(NamedTuple):
    """A call of a synapse, with the versions of its tensors."""

    module: nn.Module
    pre: Tensor
    version: int
    z: Tensor  # a copy, which nobody else holds
    given: bool  # whether the input is memory of the batch

    def holds_for(self, x: Tensor) -> bool:
        """Return whether an input has the same numbers as then.

        The batch stays as it is in a pass, so a view of the same part of it has them; other inputs are compared.
        """
        pre = self.pre
        if pre._version != self.version or x.shape != pre.shape or x.dtype != pre.dtype or x.device != pre.device:
            return False
        if x.data_ptr() == pre.data_ptr():
            return self.given and x.stride() == pre.stride() and not x.is_neg()
        return torch.equal(x, pre)


class Unchanged:
    """The products of one pass, for later passes in which the inputs of some are the same.

    Only calls that are known to be `W x + b` are looked at. A call whose input has changed once is not compared again.

    Args:
        model: whose calls are kept.
        inputs: the tensors of the batch, which no pass changes.
        modules: those of its modules that are looked at; all by default.
        complete: returns what a call would give, from the module, its input and the product; by default the product.

    >>> model, x = nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.0), nn.Linear(3, 1)), torch.ones(1, 2)
    >>> products = Unchanged(model, [x])
    >>> with products.noting():
    ...     first = model(x)
    >>> model[1].p = 1.0
    >>> with products.recalling():  # the second layer has another input
    ...     second = model(x)
    >>> float(products.saved())
    1.0
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: list[Tensor],
        modules: Iterable[nn.Module] | None = None,
        complete: Callable[[nn.Module, Tensor, Tensor], Tensor] = lambda module, x, z: z,
    ) -> None:
        among = model.modules() if modules is None else modules
        self.modules = [] if compiled(model) else [module for module in among if only_weighs(module)]
        self.complete = complete
        self.noted = False
        self.memory = {leaf.untyped_storage().data_ptr() for leaf in inputs}
        self.known: dict[int, Product] = {}
        self.rows = dict.fromkeys(self.modules, 0)  # numbers that left each module in the noted pass
        self.spared = dict.fromkeys(self.modules, 0)  # and those of calls that were not made

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Keep the products of a pass."""
        calls = iter(range(2**62))

        def note(module: nn.Module, forward: Callable[..., Any], *inputs: Any, **named: Any) -> Any:
            number, z = next(calls), forward(*inputs, **named)
            if len(inputs) == 1 and not named and constant(inputs[0]) and plain(z):
                (x,) = inputs
                given = x.untyped_storage().data_ptr() in self.memory
                kept = forward_ad.unpack_dual(z).primal.clone()
                self.known[number] = Product(module, x, x._version, kept, given)
                self.rows[module] += z.numel()
            return z

        with self._answered(note):
            yield

    @contextmanager
    def recalling(self) -> Iterator[None]:
        """Give the products of the noted pass in place of calls with the same input."""
        calls = iter(range(2**62))

        def recall(module: nn.Module, forward: Callable[..., Any], *inputs: Any, **named: Any) -> Any:
            number = next(calls)
            known = self.known.get(number)
            if known is not None:
                fits = known.module is module and len(inputs) == 1 and not named and constant(inputs[0])
                if fits and known.holds_for(inputs[0]):
                    self.spared[module] += known.z.numel()
                    return self.complete(module, inputs[0], known.z.clone())
                del self.known[number]
            return forward(*inputs, **named)

        with self._answered(recall):
            yield

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Note the products of the first pass, and give them in the later ones."""
        with self.recalling() if self.noted else self.noting():
            yield
        self.noted = True

    def saved(self) -> Fraction:
        """Return how many layer evaluations were saved; a part of a layer's calls is a part of an evaluation."""
        parts = (Fraction(self.spared[module], rows) for module, rows in self.rows.items() if rows)
        return sum(parts, Fraction(0))

    @contextmanager
    def _answered(self, answer: Callable[..., Any]) -> Iterator[None]:
        """Let calls of the modules be answered by `answer(module, forward, *inputs)`; their hooks run as ever."""
        try:
            for module in self.modules:
                module.forward = partial(answer, module, module.forward)
            yield
        finally:
            for module in self.modules:
                vars(module).pop("forward", None)


def plain(value: Any) -> bool:
    """Return whether this is an ordinary tensor in memory, whose changes torch counts."""
    return type(value) is Tensor and value.layout is torch.strided and not value.is_inference()


def constant(value: Any) -> bool:
    """Return whether this is such a tensor without a direction of forward mode."""
    return plain(value) and forward_ad.unpack_dual(value).tangent is None
