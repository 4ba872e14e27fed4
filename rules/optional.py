"""Optional parts of the contract: attributes that a model, optimizer, loader or recipe may have, and their defaults.

None of them is required. Each is declared in a protocol together with its default, and is read by one function of this
module, so that no other module needs `getattr` for an attribute that may be missing.

| object | attribute | if it is missing |
| --- | --- | --- |
| model | `offers`, `lacks`, `layers`, `find_layers`, `shape`, `keywords`, `read`, `context` | see `Model` |
| module | `puts_out_bits`, `spike_unit`, `turned_inside`, `only_weighs`, `run`, `pairs`, `repeats` | see `Part` |
| module | `begin_epoch` | it does not change with the progress of training; see `Part` |
| stage | `folded` | it is called on the whole sequence; see `FoldedStage` |
| layer of cells | `synapse`, `cells`, `respond` | the layer is one block; see `CellLayer` |
| its `cells` | `recurrent`, `rest`, `advance`, `unpacked`, `packed` | online rules refuse it; see `Cells` |
| its `cells` | `dt` | a step is 1 ms; see `Cells` |
| optimizer | `reading`, `spent`, `held`, `bounds`, `shown`, `settle` | those of ideal weights; see `Tissue` |
| plasticity | `seeded` | it draws no random numbers; see `Seeded` |
| plasticity | `informed` | it is called with parameters alone; see `Informed` |
| plasticity | `over` | it does not depend on the length of the training; see `Spanning` |
| part of an objective | `reseed` | it draws no random numbers of its own; see `Reseeded` |
| loader | `set_epoch`, `iterate` | it is read from the beginning; see `Epochs`, `Resumable` |
| measure | `see` | it is given answers alone; see `Seeing` |
| credit rule | `feedback` | it has no feedback weights; see `Feedback` |
| recipe | `space` | it cannot be tuned; see `Searchable` |
| forward hook | `tallies` | it may use the whole output; see `tallying` |
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any, ClassVar, Protocol, TypeVar, cast

import torch
from torch import Tensor, nn

from rules.chains import unchained
from rules.contract import NEEDS, Batch, Cost, Run

Reader = Callable[[Tensor, torch.Generator], Tensor]
Hook = TypeVar("Hook", bound=Callable[..., Any])


class Model(Protocol):
    """Optional attributes of a model; a plain `nn.Module` has none of them."""

    offers: frozenset[str]  # keys of NEEDS; see the function `offers` for the defaults
    lacks: dict[str, str]  # keys of NEEDS that are not offered because of a part, and why; empty by default
    layers: Sequence[nn.Module]  # each callable alone on a sequence; the children of an nn.Sequential by default
    shape: tuple[int, ...]  # of one sample at one step; by default inputs are used as they are
    context: int | None  # the most steps of a sequence, a carried one included; None by default: any number
    keywords: frozenset[str]  # of "carry", "lengths" and "record", those that `forward` accepts; by default read off it

    def find_layers(self, x: Any) -> None:
        """Make `layers` ready, from one input; nothing by default."""
        ...

    def read(self, signal: Tensor, generator: torch.Generator) -> Tensor:
        """Return a signal `[T, B, ...]` as it is measured, with new noise at every call; unchanged by default."""
        ...


class FoldedStage(Protocol):
    """A stage that applies a module without memory at every step of `[T, B, ...]`."""

    folded: nn.Module


class Part(Protocol):
    """Optional attributes of a module inside a model."""

    puts_out_bits: bool  # zeros and ones through rules.Surrogate; False by default
    spike_unit: float | None  # output of a single spike of cells that count; None by default, for any other part
    turned_inside: bool  # weights inside see the batch first, [B, T, ...]; False by default
    only_weighs: ClassVar[bool]  # in the class with `forward`: that is W x + b, no more; True for torch's own synapses
    repeats: Hashable  # all that its products depend on beside the shapes of its input; None by default: anything

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """Change what depends on the progress of training, before epoch number `epoch`, from 0; nothing by default."""
        ...

    def pairs(self, inputs: tuple[Any, ...], output: Any) -> int:
        """Return the multiply-accumulates of a call; by default those of `nn.Linear`, convolutions and `nn.RNN`."""
        ...

    def run(self, x: Tensor, carry: Any, record: bool) -> Run:
        """Run the module with traces of its own; by default a weighted module and what follows it make one trace."""
        ...


class CellLayer(Protocol):
    """A layer of cells behind a synapse, which a layered rule can cut at the cells' current."""

    synapse: nn.Module
    cells: nn.Module

    def respond(self, cause: Tensor, currents: Tensor, carry: Any, record: bool) -> Run:
        """Run the cells on currents `[T, B, ...]`, which were caused by the input `cause`."""
        ...


class Cells(Protocol):
    """The cells of a layer, as an online rule sees them: one step at a time, each cell for itself.

    Further methods make it faster, and are not required: `advance_all(currents, states)` is `advance` for cells
    of many steps and samples at once, `[M, *out]`; `linearised(currents, carry)` runs a sequence `[T, B, *out]` and
    returns output, carry and the derivatives of every step, a `Local` of `[..., T, B, *out]`, or None;
    `event_adjoint(step, given, limit)` does what `rules.credit.eventprop.stepped` says for cells that do not hear each
    other, with its `Given` and `Found`, or returns None; `plastic(frame, window, bounds)` runs a layer whose
    weights change in every step, as `rules.credit.spike_timing.at_once.stepped` does, or returns None.
    """

    recurrent: nn.Linear | None  # from the cells to themselves; None for none
    dt: float  # time step [ms], for rules with time constants of their own; 1 by default
    threshold: nn.Parameter | None  # grows with the thresholds, with an entry for each cell; None, by default: fixed

    def rest(self, currents: Tensor) -> tuple[Any, Tensor | None]:
        """Return the carry before the first step of `[T, B, *out]`: the state, and with `recurrent` the last output."""
        ...

    def advance(self, current: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Take one step: return the output and the next state for a current `[B, *out]`, recurrent input included."""
        ...

    def unpacked(self, state: Any) -> tuple[Tensor, ...]:
        """Return the variables of a state that a derivative passes through, `[B, *out]` each."""
        ...

    def packed(self, state: Any, values: tuple[Tensor, ...]) -> Any:
        """Return a state with other values of these variables."""
        ...


class Dendritic(Protocol):
    """The constants of cells with a soma and a dendrite, whose state has fields `v` and `v_dend` [mV]."""

    v_threshold: float  # of the soma [mV]

    def predicted(self, v_dend: Tensor) -> Tensor:
        """Return the potential to which a dendrite alone brings the soma [mV], affine in that of the dendrite."""
        ...


class Tissue:
    """Optional methods of an optimizer whose weights are held in devices; each default is that of an ideal weight.

    Inherit from this class and from `torch.optim.Optimizer` and override what applies, or define methods of these
    names on the optimizer.
    """

    sparse: ClassVar[bool] = False  # whether weights at the lower bound are what the plasticity is for

    def reading(self, model: nn.Module, generator: torch.Generator, elapsed: int = 0) -> AbstractContextManager[None]:
        """Return a context in which forward passes see weights as read, `elapsed` steps without a pulse later."""
        return nullcontext()

    def spent(self) -> Cost:
        """Return the cost of writing to devices since the last call."""
        return Cost()

    def held(self, p: nn.Parameter) -> Tensor:
        """Return what a parameter's devices hold, without write noise."""
        return p.detach()

    def bounds(self, p: nn.Parameter) -> tuple[Tensor, Tensor] | None:
        """Return the lower and the upper bound of `held(p)`; None for an unbounded parameter."""
        return None

    def shown(self, p: nn.Parameter) -> Tensor:
        """Return what a parameter shows of what is held; where that is computed, it is computed anew."""
        return p.detach()

    def settle(self) -> None:
        """Take over what was loaded into the parameters before the first update."""


CLAUSES = ("reading", "spent", "held", "bounds", "shown", "settle")


def tissue(optimizer: torch.optim.Optimizer) -> Tissue:
    """Return the optional methods of an optimizer, with the defaults of an ideal weight for missing ones.

    >>> tissue(torch.optim.SGD([nn.Parameter(torch.zeros(1))])).spent().pulses
    0
    """
    if isinstance(optimizer, Tissue):
        return optimizer
    found = Tissue()
    for name in CLAUSES:
        if (method := method_of(optimizer, name)) is not None:
            setattr(found, name, method)
    return found


def method_of(subject: Any, name: str) -> Callable[..., Any] | None:
    """Return a method that an object may have, its own or one that it passes on; None where it has none.

    A protocol that is checked at run time would not do: since Python 3.12 it overlooks what `__getattr__` passes on,
    as wrappers of loaders do.
    """
    found = getattr(subject, name, None)
    return found if callable(found) else None


class Limited(Protocol):
    """A module whose learned constants act within a range only."""

    def at_limits(self) -> Mapping[str, str]:
        """Return, by name of a parameter of this module, what lies at an end of its range, in words; most often none.

        For example `{"raw.alpha": "alpha is 140, clipped to -128..128"}`.
        """
        ...


class Seeded(Protocol):
    """A plasticity that draws random numbers, from a seed that the Trainer provides."""

    def seeded(self, seed: int) -> Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]:
        """Return the same plasticity with this seed, unless it already has one."""
        ...


class Informed(Protocol):
    """A plasticity that treats parameters by their names, or follows the planned schedule of the learning rate."""

    def informed(
        self,
        parameters: Iterable[tuple[str, nn.Parameter]],
        factor: Callable[[int], float] | None,
        weights: Mapping[str, nn.Parameter],
    ) -> torch.optim.Optimizer:
        """Return the optimizer.

        Args:
            parameters: all that learn, with their names.
            factor: gives the factor of the learning rate at each update; None for a constant.
            weights: those of the model that weigh signals, in its order, frozen ones too and a shared one under each of
                its names (`rules.synapses.weights_in_order`).
        """
        ...


class Spanning(Protocol):
    """A plasticity that depends on how many updates the training has."""

    def over(self, updates: int) -> Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]:
        """Return the same plasticity for so many updates, if that was left open."""
        ...


class Reseeded(Protocol):
    """A module inside an objective that draws random numbers, from a seed that the Trainer provides."""

    def reseed(self, seed: int) -> None:
        """Use this seed, unless one was given."""
        ...


class Seeing(Protocol):
    """A measure that looks at whole runs, in which it can tell samples and steps apart."""

    def see(self, run: Run, batch: Batch) -> None:
        """Add the run of a batch; called after `add`, which gets the answers."""
        ...


class Epochs(Protocol):
    """A loader that depends on the epoch; any other is the same in every epoch, or shuffles by itself."""

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch, counted from 0."""
        ...


class Resumable(Protocol):
    """A loader that can start in the middle of an epoch; of any other the first batches are read and dropped."""

    def iterate(self, start: int) -> Iterator[Any]:
        """Yield the batches from number `start` on, counted from 0."""
        ...


class Feedback(Protocol):
    """A credit rule with feedback weights of its own."""

    def feedback(self, state: Any) -> Mapping[str, Tensor]:
        """Return the feedback matrix of each weight, by the weight's name."""
        ...


class Searchable(Protocol):
    """A recipe with a search space for its options."""

    space: ClassVar[Mapping[str, Any]]


def plain(model: nn.Module) -> nn.Module:
    """Return the module inside wrappers of `torch.compile` and of data parallelism; any other module itself."""
    inner: nn.Module = getattr(model, "_orig_mod", model)
    if isinstance(inner, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        return plain(inner.module)
    return inner


def declared(model: nn.Module) -> frozenset[str] | None:
    """Return what a model says that it offers; None if its `offers` is missing, or means something else."""
    said = getattr(model, "offers", None)
    names = isinstance(said, (set, frozenset, tuple, list)) and all(isinstance(name, str) for name in said)
    return frozenset(said) if names and NEEDS.keys() >= set(said) else None  # type: ignore[arg-type]


def takes_arguments(method: Any, *names: str) -> bool:
    """Return whether these are the first arguments of a method, by name; another method of its name has others."""
    try:
        return [*inspect.signature(method).parameters][: len(names)] == [*names]
    except (TypeError, ValueError):  # not callable, or written in C
        return False


def offers(model: nn.Module) -> frozenset[str]:
    """Return the keys of NEEDS that a model offers.

    By default a module offers `gradient` and `features`, `carry` if its forward takes one, an `nn.Sequential` also
    `layers`, `chain` if they are one, and `bits` if a part has `puts_out_bits`. Whoever offers `layers` offers
    `features`.

    >>> sorted(offers(torch.nn.DataParallel(nn.Sequential(nn.Linear(1, 1)))))
    ['chain', 'features', 'gradient', 'layers']
    """
    model = plain(model)
    said = declared(model)
    if said is not None:
        return said | {"features"} if "layers" in said else said
    if not isinstance(model, nn.Sequential):
        return frozenset({"gradient", "features"} | ({"carry"} if takes(model, "carry") else set()))
    plainly = type(model).forward is nn.Sequential.forward and not unchained(layers_of(model))
    layered = frozenset({"gradient", "features", "layers"} | ({"chain"} if plainly else set()))
    return layered | {"bits"} if puts_out_bits(model) else layered


def reasons(model: nn.Module, missing: Iterable[str]) -> dict[str, str]:
    """Return why a model does not offer what is missing, by key of NEEDS: what it says, and what breaks a chain."""
    broken = unchained(layers_of(plain(model))) if "chain" in missing else ""
    return ({"chain": broken} if broken else {}) | lacks(model)


def lacks(model: nn.Module) -> dict[str, str]:
    """Return why a model does not offer what some rules need, by key of NEEDS; empty by default.

    >>> lacks(nn.Linear(1, 1))
    {}
    """
    said = getattr(plain(model), "lacks", None)
    return {str(need): str(why) for need, why in said.items()} if isinstance(said, Mapping) else {}


def begin_epoch(model: nn.Module, epoch: int, epochs: int) -> None:
    """Tell all parts of a model that epoch number `epoch` of `epochs` begins, if they want to know."""
    for part in model.modules():
        method = method_of(part, "begin_epoch")
        if method is not None and takes_arguments(method, "epoch", "epochs"):
            method(epoch, epochs)


def layers_of(model: nn.Module) -> list[nn.Module] | None:
    """Return the layers of a model: its `layers`, or the children of an `nn.Sequential`; None if it has neither."""
    if isinstance(model, nn.Sequential):
        return list(model._modules.values())  # not children(), which skips the second use of a module
    said = getattr(model, "layers", None)
    return None if said is None else list(said)


def find_layers(model: nn.Module, x: Any) -> None:
    """Let a model that finds its layers in a pass do so, on the input `x`."""
    method = method_of(plain(model), "find_layers")
    if method is not None and takes_arguments(method, "x"):
        method(x)


def shape_of(model: nn.Module) -> tuple[int, ...] | None:
    """Return the shape of one sample at one step; None if the model does not declare it."""
    said = None if isinstance(model, nn.Sequential) else getattr(model, "shape", None)
    sizes = isinstance(said, (tuple, list)) and all(isinstance(size, int) for size in said)
    return tuple(said) if sizes else None  # type: ignore[arg-type]


def context_of(model: nn.Module) -> int | None:
    """Return the most steps that a model takes; None for any number.

    >>> context_of(nn.GRU(2, 2))
    """
    found: int | None = getattr(plain(model), "context", None)
    return found if isinstance(found, int) else None


def keywords_of(model: nn.Module) -> frozenset[str] | None:
    """Return the keywords that a model declares for its `forward`; None to use its signature instead."""
    said = getattr(model, "keywords", None)
    return said if isinstance(said, frozenset) and said <= {"carry", "lengths", "record"} else None


@lru_cache(maxsize=256)
def _keywords(forward: Any) -> frozenset[str]:
    parameters = inspect.signature(forward).parameters.values()
    usual = (None, False, inspect.Parameter.empty)
    return frozenset(p.name for p in parameters if any(p.default is default for default in usual))


def takes(model: nn.Module, keyword: str) -> bool:
    """Return whether `model(x, keyword=...)` is accepted; a wrapper may declare this by `keywords`.

    An argument of that name whose default is a number or a string means something else.
    """
    inner = plain(model)
    said = keywords_of(inner)
    return keyword in (_keywords(type(inner).forward) if said is None else said)


def reader_of(model: nn.Module) -> Reader | None:
    """Return the function that measures a model's signals; None if they are measured without noise."""
    said: Reader | None = getattr(model, "read", None)
    return said if takes_arguments(said, "signal", "generator") else None


def recorder_of(part: nn.Module) -> Callable[[Tensor, Any, bool], Run] | None:
    """Return the function that runs a part with traces of its own; None if there is none."""
    said: Callable[[Tensor, Any, bool], Run] | None = getattr(part, "run", None)
    return said if takes_arguments(said, "x", "carry", "record") else None


def folded_of(stage: nn.Module) -> nn.Module | None:
    """Return the module that a stage applies at every step; None for any other stage."""
    said = getattr(stage, "folded", None)
    return said if isinstance(said, nn.Module) and [*stage.children()] == [said] else None


def turned_inside(module: nn.Module) -> bool:
    """Return whether a module declares that it exchanges time and batch, so that weights inside see `[B, T, ...]`."""
    return getattr(module, "turned_inside", False) is True


def declares_product(kind: type | None) -> bool:
    """Return whether a class whose method is used leaves a call at `W x + b`: torch's own do, others may declare it."""
    return kind is None or kind.__module__.startswith("torch.nn.modules.") or vars(kind).get("only_weighs") is True


def unit_of(part: nn.Module) -> float | None:
    """Return the output of a single spike of a part whose cells count; None for any other.

    >>> unit_of(nn.Linear(1, 1)) is None
    True
    """
    said = getattr(part, "spike_unit", None)
    return float(said) if isinstance(said, float) else None


def puts_out_bits(model: nn.Module) -> bool:
    """Return whether a part of the model declares that its outputs are zeros and ones."""
    return any(getattr(module, "puts_out_bits", False) for module in model.modules())


def cells_of(layer: nn.Module) -> CellLayer | None:
    """Return the layer as synapse and cells; None if it is not made of them."""
    whole = all(hasattr(layer, name) for name in ("synapse", "cells", "respond"))
    return cast(CellLayer, layer) if whole else None


def time_step(cells: Any) -> float:
    """Return the time step of cells [ms]; 1 if they do not say it."""
    return float(getattr(cells, "dt", 1.0))


def threshold_of(cells: Any) -> nn.Parameter | None:
    """Return the parameter through which each cell learns its threshold; None if there is none, or one for all."""
    found = getattr(cells, "threshold", None)
    return found if isinstance(found, nn.Parameter) and found.numel() > 1 else None


def space_said(recipe: Any) -> Mapping[str, Any] | None:
    """Return the search space that a recipe declares; None if there is none."""
    said: Mapping[str, Any] | None = getattr(recipe, "space", None)
    return said


def repeats(module: nn.Module) -> Hashable:
    """Return what the products of a module depend on beside the shapes of its input; None for anything."""
    found: Hashable = getattr(module, "repeats", None)
    return found


def tallying(hook: Hook) -> Hook:
    """Mark a hook before or behind a forward call that uses only the size and `requires_grad` of what it gets.

    A kernel may then call it once for a whole sequence. A hook without the mark may use the values too, so its module
    runs step by step.
    """
    hook.tallies = True  # type: ignore[attr-defined]
    return hook


def tallies(hook: Any) -> bool:
    """Return whether a hook is marked by `tallying`."""
    return bool(getattr(hook, "tallies", False))


def of_model(carry: Any) -> Any:
    """Return the model's part of a carry, which a rule may have put traces beside, or several rules theirs.

    >>> from collections import namedtuple
    >>> of_model(namedtuple("Carried", "model traces")("state", ())), of_model("state")
    ('state', 'state')
    """
    parts = getattr(carry, "parts", None)
    if isinstance(carry, tuple) and isinstance(parts, tuple) and parts:
        return of_model(parts[0])
    return carry.model if isinstance(carry, tuple) and hasattr(carry, "traces") and hasattr(carry, "model") else carry
