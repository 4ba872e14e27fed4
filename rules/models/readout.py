"""The read-out of a model, found by a pass: the last weighted module whose output reaches the output."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from rules.contract import Batch
from rules.forward import map_tensors, run_model, traced
from rules.optional import cells_of, layers_of, offers, plain
from rules.seeds import derived, seeded
from rules.spikes.surrogate import differentiating
from rules.synapses import weighted, weights_in, weights_of
from rules.untouched import untouched

WAY_OUT = "name it: dataclasses.replace(rule, credit=rules.Restricted(rules.BPTT(), only=('head.*',)))"


class NotFound(ValueError):
    """Raised if the read-out of a model is not one module, or cannot be known without a pass."""


def evident(model: nn.Module) -> tuple[str, ...]:
    """Return the names of the read-out's parameters in a model that offers its layers: those of the last weight.

    Raises:
        NotFound: for any other model, and if the last layer is a block of several weights.

    >>> evident(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)))
    ('2.weight', '2.bias')
    """
    whole, model = model, plain(model)
    layers = layers_of(model) if "layers" in offers(model) else None
    for layer in reversed(layers or []):
        if not any(matrices(part) for part in layer.modules()):
            continue
        cells = cells_of(layer)
        inner = list(weighted(layer if cells is None else cells.synapse).values())
        if len(inner) == 1 and (cells is not None or inner[0] is layer):
            return names(whole, inner)
        break
    raise NotFound(
        f"the read-out of {type(model).__name__} is found by a pass on a batch: train with rules.Trainer, which makes "
        f"one, or {WAY_OUT}"
    )


def find(model: nn.Module, batch: Batch) -> tuple[str, ...]:
    """Return the names of the read-out's parameters, from two passes that leave no trace.

    The read-out is the last module with a weight, in the order of the calls, whose output reaches the model's output.
    What it shows must come from it alone: no other weight may reach the output past it, and its own must not be used
    before it.

    Raises:
        NotFound: for a model of which this is not true; the message says what was seen.

    >>> class HeadFirst(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.head, self.body = nn.Linear(3, 2), nn.Linear(4, 3)
    ...     def forward(self, x):
    ...         return self.head(torch.relu(self.body(x)))
    >>> find(HeadFirst(), Batch(torch.rand(5, 4)))
    ('head.weight', 'head.bias')
    """
    whole, model = model, plain(model)
    calls: list[tuple[nn.Module, Any, Any]] = []
    output = watched(model, batch, lambda module, inputs, made: calls.append((module, inputs, made)))
    seen = {id(module) for module, _, _ in calls}
    owners = {id(module): [module] for module, _, _ in calls if matrices(module)}
    for silent in uncalled(model, seen):  # a weight that its parent uses itself, as attention does
        owners.setdefault(id(silent[0]), [silent[0]]).append(silent[1])
    apart = {number for number in owners if not any(id(part) in owners for part in inner(calls, number))}
    shown = (call for call in reversed(calls) if id(call[0]) in apart and connected(output, tensors(call[2])))
    module, given, _ = next(shown, (None, None, None))
    if module is None:
        raise NotFound(
            f"no weighted module of {type(model).__name__} reaches its output by autograd, so that its read-out is "
            f"unknown; {WAY_OUT}"
        )
    found = names(whole, owners[id(module)])
    weights = [p for part in owners[id(module)] for p in matrices(part)]
    if connected_any(tensors(given), weights):
        raise NotFound(
            f"{found[0]} of {type(model).__name__} is the last weight before the output, and is used before that "
            f"as well, as a tied weight is. Untie it (models of text take tied=False), or {WAY_OUT}"
        )
    cut = watched(model, batch, lambda part, _, made: map_tensors(Tensor.detach, made) if part is module else None)
    own = {id(p) for p in weights}
    others = {name: p for name, p in weights_in(model).items() if id(p) not in own}
    past = [name for name, p in others.items() if connected_any([cut], [p])]
    if past:
        latest = [name for called, _, _ in reversed(calls) for name in names(model, [called]) if name in past]
        raise NotFound(
            f"the read-out of {type(model).__name__} is not one module: {[*latest, *past][0]} reaches the output past "
            f"the last weight, {found[0]}; {WAY_OUT}"
        )
    return found


def require_read_out(model: nn.Module, batch: Batch) -> None:
    """Confirm, by three passes that leave no trace, that recorded features are the input of the read-out.

    A model that records its own traces is not asked. Frozen weights count as well.

    Raises:
        NotFound: if the weight that is used last is not the read-out, or the model has no single one.
    """
    model = plain(model)
    if traced(model, batch.x) or "features" not in offers(model):
        return
    with untouched(model), differentiating(generator=seeded(0, "readout")):
        model.eval()
        weight = run_model(model, batch, frozenset({"features"})).traces[-1].weight
    with thawed(model):
        found = find(model, batch)
    if weight not in found:
        raise NotFound(
            f"{weight} of {type(model).__name__} is the weight that is used last, and its read-out is {found[0]}: the "
            "features of a contrast are what enters the read-out. Use the read-out last, or let forward(x, carry, "
            "record) return rules.Run(output, carry, traces), the read-out's trace last"
        )


@contextmanager
def thawed(model: nn.Module) -> Iterator[None]:
    """Let every parameter of floating-point numbers have a gradient in this context."""
    frozen = [p for p in model.parameters() if not p.requires_grad and p.is_floating_point()]
    for p in frozen:
        p.requires_grad_(True)
    try:
        yield
    finally:
        for p in frozen:
            p.requires_grad_(False)


def inner(calls: list[tuple[nn.Module, Any, Any]], number: int) -> Iterable[nn.Module]:
    """Return the modules inside the called module of this identity."""
    module = next(called for called, _, _ in calls if id(called) == number)
    return (part for part in module.modules() if part is not module)


def watched(model: nn.Module, batch: Batch, hook: Any) -> Tensor:
    """Return the output of a pass in evaluation mode, with gradient, and with a hook on every module."""
    modules = dict.fromkeys(model.modules())
    own = derived(0, "readout", "globals")
    with untouched(model, seed=own), torch.enable_grad(), differentiating(generator=seeded(0, "readout")):
        model.eval()
        handles = [module.register_forward_hook(hook) for module in modules]
        try:
            return run_model(model, batch).output
        finally:
            for handle in handles:
                handle.remove()


def uncalled(model: nn.Module, seen: set[int]) -> Iterable[tuple[nn.Module, nn.Module]]:
    """Yield modules with weights that were not called, each behind the nearest module around it that was."""
    for name, module in model.named_modules():
        if id(module) in seen or not matrices(module):
            continue
        around = name
        while around:
            around = around.rpartition(".")[0]
            if id(parent := model.get_submodule(around)) in seen:
                yield parent, module
                break


def matrices(module: nn.Module) -> list[nn.Parameter]:
    """Return the trainable weights of a module's own."""
    return [p for p in weights_of(module) if p.requires_grad]


def names(model: nn.Module, parts: Iterable[nn.Module]) -> tuple[str, ...]:
    """Return the names of the trainable parameters that these modules own themselves."""
    own = {id(p) for part in parts for p in part.parameters(recurse=False)}
    return tuple(name for name, p in model.named_parameters() if id(p) in own and p.requires_grad)


def tensors(tree: Any) -> list[Tensor]:
    """Return the tensors with a gradient in what a module took or returned."""
    found: list[Tensor] = []
    map_tensors(lambda leaf: found.append(leaf) or leaf, tree)  # type: ignore[func-returns-value]
    return [leaf for leaf in found if leaf.requires_grad]


def connected(output: Tensor, sources: list[Tensor]) -> bool:
    """Return whether autograd reaches any of these tensors from the output."""
    if not (output.requires_grad and sources):
        return False
    return any(g is not None for g in torch.autograd.grad(output.sum(), sources, retain_graph=True, allow_unused=True))


def connected_any(outputs: list[Tensor], sources: list[Any]) -> bool:
    """Return whether autograd reaches any source from any output."""
    return any(connected(output, sources) for output in outputs)
