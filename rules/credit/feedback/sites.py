"""The synapses of a model that carry errors back, found by a pass: their inputs, and which of them are recurrent."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from rules.contract import Batch
from rules.credit.feedback.products import carried, unit_axes
from rules.draws import normal
from rules.models.admission import UnfitModel
from rules.models.readout import connected, watched
from rules.optional import plain
from rules.seeds import seeded
from rules.synapses import Patterned, is_synapse

INSIDE = (nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)  # which carry errors back through weights of their own
APART = 1e-2  # of the error's norm: far above rounding in half precision, far below a mask or a factor
FROM_OUTPUT = "rules.make('fa') carries errors back through the synapses in between instead"


class Site(NamedTuple):
    """A synapse whose input wants an error."""

    name: str
    features: tuple[int, ...]  # of its input, for one sample at one step in direct feedback, for one use otherwise
    recurrent: bool  # its output reaches its input at a later call


class Sites(NamedTuple):
    """All of them, and the size of the network's output."""

    classes: int
    sites: tuple[Site, ...]


class Call(NamedTuple):
    """One call of a module in the pass."""

    name: str
    module: nn.Module
    x: Any
    made: Any


def calls_of(model: nn.Module, batch: Batch) -> tuple[Tensor, list[Call]]:
    """Return the output of a pass that leaves no trace, and the calls of every part in their order."""
    names = {id(module): name for name, module in model.named_modules()}
    found: list[Call] = []

    def note(module: nn.Module, inputs: tuple[Any, ...], made: Any) -> None:
        if is_synapse(module) or isinstance(module, INSIDE):
            found.append(Call(names[id(module)], module, inputs[0] if inputs else None, made))

    return watched(plain(model), batch, note), found


def find(model: nn.Module, batch: Batch, direct: bool) -> Sites:
    """Return the synapses whose inputs want an error, in the order of the calls.

    Raises:
        ValueError: in direct feedback, for a synapse that does not see a row for each step and sample.

    >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> find(net, Batch(torch.rand(5, 2)), direct=False)
    Sites(classes=2, sites=(Site(name='2', features=(3,), recurrent=False),))
    """
    output, calls = calls_of(model, batch)
    steps, samples, classes = output.shape
    sites = []
    for name, uses in by_name(calls):
        module, wanting = uses[0].module, [use.x for use in uses if use.x.requires_grad]
        if not wanting:
            continue
        earlier = [use.made for use in uses[:-1] if use.made.requires_grad]
        recurrent = connected(wanting[-1], earlier[:1])
        features = tuple(wanting[0].shape[wanting[0].ndim - unit_axes(module) :])
        if direct and not recurrent:
            features = sample_features(name, wanting, steps, samples)
        sites.append(Site(name, features, recurrent))
    return Sites(classes, tuple(sites))


def by_name(calls: list[Call]) -> Iterator[tuple[str, list[Call]]]:
    """Yield the calls of each synapse together."""
    for name in dict.fromkeys(call.name for call in calls if is_synapse(call.module)):
        yield name, [call for call in calls if call.name == name]


def sample_features(name: str, inputs: list[Tensor], steps: int, samples: int) -> tuple[int, ...]:
    """Return the axes of one sample at one step, where the calls together have one row for each of them."""
    for lead in (2, 1):
        rows = sum(prod(x.shape[:lead]) for x in inputs)
        timed = lead == 1 or inputs[0].shape[1] == samples
        if rows == steps * samples and inputs[0].ndim > lead and timed:
            return tuple(inputs[0].shape[lead:])
    raise ValueError(
        f"{name!r} sees {len(inputs)} inputs of shape {tuple(inputs[0].shape)} in a pass of {steps} steps and "
        f"{samples} samples: direct feedback needs one row for each step of each sample, time first; {FROM_OUTPUT}"
    )


def require_replaceable(model: nn.Module, batch: Batch, inner: bool) -> None:
    """Raise UnfitModel if errors go back through weights that no feedback can replace.

    Those are weights inside of recurrent cells of torch and of attention, unless they are to be kept (`inner`), and of
    synapses that compute something else than their kind does, such as masked ones.
    """
    _, calls = calls_of(model, batch)
    for call in calls:
        if isinstance(call.module, INSIDE) and not inner:
            raise UnfitModel(
                f"{call.name!r} of {type(plain(model)).__name__} is of class {type(call.module).__name__}, which "
                "carries errors back through its own weights: keep those as they are by recurrent='exact', or build it "
                "from nn.Linear"
            )
    for name, (call, *_) in by_name([call for call in calls if is_synapse(call.module)]):
        if not (isinstance(call.x, Tensor) and call.x.requires_grad and call.made.requires_grad):
            continue
        if isinstance(call.module, Patterned):
            raise UnfitModel(
                f"{name!r} of {type(plain(model)).__name__} is of class {type(call.module).__name__}, with weights for "
                "some pairs of cells only, and feedback replaces whole matrices: use nn.Linear there, or "
                "rules.make('bptt')"
            )
        error = normal(call.made.shape, seeded(0, "replaceable"), call.made)
        exact = torch.autograd.grad(call.made, call.x, error, retain_graph=True, allow_unused=True)[0]
        mine = carried(call.module, cast(Tensor, call.module.weight).detach(), call.x.detach(), error)
        if exact is None or float((mine - exact).norm()) > APART * float(exact.norm()):
            raise UnfitModel(
                f"{name!r} of {type(plain(model)).__name__} is of class {type(call.module).__name__}, whose errors go "
                "back otherwise than through its weight alone, as through a mask or a hook: use nn.Linear or a "
                "convolution of torch there"
            )
