"""Products outside of synapses whose errors go back through a trainable weight, where no feedback can replace it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from rules.contract import Batch
from rules.credit.feedback.hooks import Back, Replaced
from rules.credit.feedback.output import Sent
from rules.credit.feedback.sites import INSIDE
from rules.forward import leaves, map_tensors
from rules.models.admission import UnfitModel
from rules.models.readout import watched
from rules.optional import plain
from rules.synapses import Constants, synapses

FACTORS = {  # of autograd's nodes that sum products over units: which of their inputs are multiplied
    "Mm": (0, 1),
    "Bmm": (0, 1),
    "Mv": (0, 1),
    "Dot": (0, 1),
    "Linear": (0, 1),
    "Convolution": (0, 1),
    "Trilinear": (0, 1, 2),
    "Addmm": (1, 2),
    "Addbmm": (1, 2),
    "Baddbmm": (1, 2),
    "Addmv": (1, 2),
}
TABLES = ("Embedding", "EmbeddingBag")


class Origin(NamedTuple):
    """Where a tensor comes from."""

    data: bool  # the input has to do with it
    learned: frozenset[int]  # identities of trainable parameters that have


def require_inside(model: nn.Module, batch: Batch, inner: bool) -> None:
    """Raise UnfitModel if an error goes back through a trainable weight that is used outside of a synapse's call.

    The graph of a pass is searched for products of a signal that wants an error with a tensor that is made of
    parameters alone. A gain, one number for each entry of a signal, does not count as one, and neither do the constants
    of cells (`rules.synapses.Constants`).

    Args:
        model: the model.
        batch: an input.
        inner: whether weights inside of recurrent cells of torch and of attention may carry errors.
    """
    inside = [part for part in plain(model).modules() if isinstance(part, INSIDE)] if inner else []
    kept = {id(p) for part in inside for p in part.parameters()}
    kept |= {id(p) for part in plain(model).modules() if isinstance(part, Constants) for p in part.parameters()}
    names = {id(p): name for name, p in plain(model).named_parameters()}
    for found in used_outside(plain(model), batch):
        if found - kept:
            name = min(names[number] for number in found - kept)
            raise UnfitModel(
                f"{name!r} of {type(plain(model)).__name__} multiplies signals outside of an nn.Linear or a "
                "convolution of torch, and errors would go back through it as it is: make it the weight of an "
                "nn.Linear, which is called, or use rules.make('bptt')"
            )


def used_outside(model: nn.Module, batch: Batch) -> Iterator[frozenset[int]]:
    """Yield the parameters that each such weight is made of, by identity."""
    x = map_tensors(lambda leaf: leaf.detach().requires_grad_(leaf.is_floating_point()), batch.x)
    given = {id(leaf) for leaf in leaves(x)}
    known = synapses(model)
    backs = {name: Back(module, cast(Tensor, module.weight).detach()) for name, module in known.items()}
    with Replaced(backs, Sent("fa"), known):  # so that the graph goes past the weights of synapses
        copied = batch._replace(x=map_tensors(Tensor.clone, x))  # which a model may change in place
        output = watched(model, copied, lambda module, inputs, made: None)
    origins: dict[Any, Origin] = {}
    for node in upwards(output.grad_fn):
        before = [origins[each] if each is not None else None for each, _ in node.next_functions]
        kind = node.name().removesuffix("0").removesuffix("Backward")
        factors = [before[each] for each in FACTORS.get(kind, (0, 1) if spreads(node, kind) else ())]
        signals = [each for each in factors if each and each.data and each.learned]
        yield from (each.learned for each in factors if each and not each.data and signals)
        leaf = getattr(node, "variable", None)
        held = [each for each in before if each]
        own = frozenset({id(leaf)}) if isinstance(leaf, nn.Parameter) else frozenset[int]()
        fresh = id(leaf) in given or kind in TABLES or (kind in FACTORS and None in factors)
        origins[node] = Origin(fresh or any(each.data for each in held), own.union(*(each.learned for each in held)))


def spreads(node: Any, kind: str) -> bool:
    """Return whether this is a product of two tensors of which each is repeated along an axis of the other."""
    if kind != "Mul" or any(each is None for each, _ in node.next_functions):
        return False
    a, b = node._saved_self.shape, node._saved_other.shape
    whole = torch.broadcast_shapes(a, b)
    return bool(whole.numel() > max(a.numel(), b.numel()))


def upwards(end: Any) -> Iterator[Any]:
    """Yield the nodes of a graph, each behind all those that it is made from."""
    seen, waiting = set(), [(end, False)]
    while waiting:
        node, ready = waiting.pop()
        if ready:
            yield node
        elif node is not None and node not in seen:
            seen.add(node)
            waiting.append((node, True))
            waiting += [(each, False) for each, _ in node.next_functions]
