"""Optional clauses of the contract: what a model, an optimizer, a loader or a recipe may say of itself, with defaults.

Nothing here has to be offered. Each clause stands in a protocol with what is assumed where it is missing, and is read
by one function of this module, so that no other module asks an object for an attribute that it may not have.

| who | clause | where it is missing |
| --- | --- | --- |
| model | `offers`, `layers`, `shape`, `keywords`, `read` | see `Model` |
| module | `puts_out_bits`, `run` | see `Part` |
| layer of cells | `synapse`, `cells`, `respond` | the layer is one block; see `CellLayer` |
| optimizer | `reading`, `spent`, `held`, `bounds` | those of an ideal weight; see `Tissue` |
| plasticity | `seeded` | it draws nothing; see `Seeded` |
| loader | `set_epoch`, `iterate` | it is read from its beginning; see `Epochs`, `Resumable` |
| credit rule | `feedback` | it has no feedback weights; see `Feedback` |
| recipe | `space` | it cannot be tuned; see `Searchable` |
| forward hook | `tallies` | it may look at anything; see `tallying` |
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, Protocol, TypeVar, cast, runtime_checkable

import torch
from torch import Tensor, nn

from rules.contract import Cost, Run

Reader = Callable[[Tensor, torch.Generator], Tensor]
Hook = TypeVar("Hook", bound=Callable[..., Any])


class Model(Protocol):
    """What a model may say of itself; a plain `nn.Module` says nothing."""

    offers: frozenset[str]  # words of NEEDS; "gradient" by default, for an nn.Sequential "layers" as well
    layers: Sequence[nn.Module]  # each callable alone on a sequence; the children of an nn.Sequential by default
    shape: tuple[int, ...]  # of one sample at one time; inputs are taken as they are by default
    keywords: frozenset[str]  # that `forward` takes, "carry" and "record"; those of its signature by default

    def read(self, signal: Tensor, generator: torch.Generator) -> Tensor:
        """A signal `[T, B, ...]` as it is measured, with new noise at every call; itself by default."""
        ...


class Part(Protocol):
    """What a module inside a model may say of itself."""

    puts_out_bits: bool  # zeros and ones through rules.Surrogate; False by default

    def run(self, x: Tensor, carry: Any, record: bool) -> Run:
        """The module with its own traces; by default a weighted module and what follows it make one trace."""
        ...


class CellLayer(Protocol):
    """A layer of cells behind a synapse, which a layered rule can cut at the cells' current."""

    synapse: nn.Module
    cells: nn.Module

    def respond(self, cause: Tensor, currents: Tensor, carry: Any, record: bool) -> Run:
        """What the cells make of currents `[T, B, ...]`, which `cause` drove."""
        ...


class Tissue:
    """What an optimizer may do beyond stepping, as devices do; each default is that of an ideal weight.

    Inherit from it beside `torch.optim.Optimizer` and override what applies, or just give an optimizer such methods.
    """

    def reading(self, model: nn.Module, generator: torch.Generator, elapsed: int = 0) -> AbstractContextManager[None]:
        """A block in which forward passes see weights as they are read, after `elapsed` more steps without a pulse."""
        return nullcontext()

    def spent(self) -> Cost:
        """What has been written to devices since the last call."""
        return Cost()

    def held(self, p: nn.Parameter) -> Tensor:
        """What a parameter's devices hold, without the noise of writing."""
        return p.detach()

    def bounds(self, p: nn.Parameter) -> tuple[Tensor, Tensor] | None:
        """Between which tensors `held(p)` stays; None where nothing bounds it."""
        return None


CLAUSES = ("reading", "spent", "held", "bounds")


def tissue(optimizer: torch.optim.Optimizer) -> Tissue:
    """The clauses of an optimizer, with those of an ideal weight where it has none.

    >>> tissue(torch.optim.SGD([nn.Parameter(torch.zeros(1))])).spent().pulses
    0
    """
    if isinstance(optimizer, Tissue):
        return optimizer
    found = Tissue()
    for name in CLAUSES:
        if hasattr(optimizer, name):
            setattr(found, name, getattr(optimizer, name))
    return found


@runtime_checkable
class Seeded(Protocol):
    """A plasticity that draws random numbers; it is then as random as everything else of a Trainer."""

    def seeded(self, seed: int) -> Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]:
        """The same plasticity with this seed, where it has none of its own."""
        ...


@runtime_checkable
class Epochs(Protocol):
    """A loader that is told which epoch begins; any other is the same in every epoch, or shuffles by itself."""

    def set_epoch(self, epoch: int) -> None:
        """`epoch` counts from 0."""
        ...


@runtime_checkable
class Resumable(Protocol):
    """A loader that can begin in the middle of an epoch; any other is read from its beginning and skipped."""

    def iterate(self, start: int) -> Iterator[Any]:
        """The batches from number `start` on."""
        ...


@runtime_checkable
class Feedback(Protocol):
    """A credit rule with feedback weights of its own."""

    def feedback(self, state: Any) -> Mapping[str, Tensor]:
        """The feedback matrix beside each weight, by the weight's name."""
        ...


@runtime_checkable
class Searchable(Protocol):
    """A recipe that says in which space its options are tuned."""

    space: ClassVar[Mapping[str, Any]]


def offers(model: nn.Module) -> frozenset[str]:
    """What a model says it offers.

    A plain module offers `gradient`, an `nn.Sequential` also `layers`, and `bits` where a part says `puts_out_bits`.
    """
    said = getattr(model, "offers", None)
    if said is not None:
        return frozenset(said)
    if not isinstance(model, nn.Sequential):
        return frozenset({"gradient"})
    return frozenset({"gradient", "layers", "bits"} if puts_out_bits(model) else {"gradient", "layers"})


def layers_of(model: nn.Module) -> list[nn.Module] | None:
    """The layers of a model: its `layers`, or the children of an `nn.Sequential`; None where it has neither."""
    if isinstance(model, nn.Sequential):
        return list(model._modules.values())  # holds no None; children() names a module once
    said = getattr(model, "layers", None)
    return None if said is None else list(said)


def shape_of(model: nn.Module) -> tuple[int, ...] | None:
    """The shape of one sample at one time, where the model says it."""
    said: tuple[int, ...] | None = None if isinstance(model, nn.Sequential) else getattr(model, "shape", None)
    return said


def keywords_of(model: nn.Module) -> frozenset[str] | None:
    """What a model says that its `forward` takes; None where its signature tells."""
    said: frozenset[str] | None = getattr(model, "keywords", None)
    return said


def reader_of(model: nn.Module) -> Reader | None:
    """How the signals of a model are measured; None where they are what they are."""
    said: Reader | None = getattr(model, "read", None)
    return said


def recorder_of(part: nn.Module) -> Callable[[Tensor, Any, bool], Run] | None:
    """How a part runs with traces of its own; None where it has none."""
    said: Callable[[Tensor, Any, bool], Run] | None = getattr(part, "run", None)
    return said


def puts_out_bits(model: nn.Module) -> bool:
    """Whether a part of a model says that it puts out zeros and ones."""
    return any(getattr(module, "puts_out_bits", False) for module in model.modules())


def cells_of(layer: nn.Module) -> CellLayer | None:
    """The layer as synapse and cells; None where it is not made of them."""
    whole = all(hasattr(layer, name) for name in ("synapse", "cells", "respond"))
    return cast(CellLayer, layer) if whole else None


def space_said(recipe: Any) -> Mapping[str, Any] | None:
    """The search space that a recipe declares; None where it declares none."""
    return recipe.space if isinstance(recipe, Searchable) else None


def tallying(hook: Hook) -> Hook:
    """Mark a forward hook that reads no more of an output than its size and `requires_grad`.

    A kernel may then call it once for a whole sequence. A hook without the mark may look at anything, so the module it
    looks at runs step by step.
    """
    hook.tallies = True  # type: ignore[attr-defined]
    return hook


def tallies(hook: Any) -> bool:
    """Whether a hook is marked by `tallying`."""
    return bool(getattr(hook, "tallies", False))
