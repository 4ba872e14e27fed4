"""Whether the gradient of a weight is the product of its input and its error, as rules assume that form it so."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rules.contract import Batch, CreditRule
from rules.draws import normal
from rules.forward import run_model
from rules.models.admission import UnfitModel
from rules.seeds import seeded
from rules.spikes.surrogate import differentiating
from rules.synapses import synapses, synaptic_parameters
from rules.untouched import untouched
from rules.weight_gradients import weight_gradients

APART = 1e-2  # of the gradient's norm: far above rounding in float32, far below a factor or a second use


def require_outer_products(rule: CreditRule, model: nn.Module, batch: Batch) -> None:
    """Compare products of inputs and errors with autograd, in one pass there and back that leaves no trace.

    They differ where a module computes more than `W x + b`, as a subclass with a forward of its own, where a hook of
    the user's changes what enters or leaves it, and where its weight is used elsewhere as well. Models that autograd
    does not reach are not checked.

    Raises:
        UnfitModel: naming the first such parameter.
    """
    learned = rule.parameters(model)
    names = {id(p): name for name, p in learned.items()}
    entered: list[Tensor] = []
    calls: list[tuple[nn.Module, Tensor, Tensor]] = []

    def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        entered.append(next(iter((*args, *kwargs.values()))).detach())

    def behind(module: nn.Module, inputs: tuple[Any, ...], z: Tensor) -> Tensor:
        calls.append((module, entered.pop(), z))
        return z.clone()  # what changes it in place changes the copy

    parts = list(synapses(model).values())
    with untouched(model), torch.enable_grad(), differentiating(generator=seeded(0, "outer products")):
        handles = [part.register_forward_pre_hook(before, prepend=True, with_kwargs=True) for part in parts]
        handles += [part.register_forward_hook(behind) for part in parts]
        try:
            output = run_model(model, batch).output
        finally:
            for handle in handles:
                handle.remove()
        used = [call for call in calls if call[2].requires_grad]
        if not (output.requires_grad and (used or learned)):
            return
        cotangent = normal(output.shape, seeded(0, "cotangent"), output)
        zs, weights = [z for _, _, z in used], list(learned.values())
        slopes = torch.autograd.grad((output * cotangent).sum(), [*zs, *weights], allow_unused=True)
    formed: dict[str, Tensor] = {}
    synaptic = synaptic_parameters(model)
    for (module, pre, _), error in zip(used, slopes, strict=False):
        own = dict(module.named_parameters(recurse=False))
        for part, g in weight_gradients(module, pre, error).items() if error is not None else ():
            name = names.get(id(own[part]))
            if name is not None:
                formed[name] = formed[name] + g if name in formed else g
    for name, true in zip(learned, slopes[len(zs) :], strict=True):
        if true is None or not (name in formed or name in synaptic):
            continue
        mine = formed.get(name, torch.zeros(()))  # of a module that is never called: its weight is used elsewhere
        if float((mine.detach() - true).norm()) > APART * float(true.norm()):
            raise UnfitModel(
                f"{type(rule).__name__} forms the gradient of {name} from the input of its module and the error at its "
                f"output, and in {type(model).__name__} autograd finds another one: the module computes more than "
                "W x + b, a hook changes what enters or leaves it, or the weight is used elsewhere too, as in a "
                'circuit. Use a rule that perturbs weights, rules.make("spsa"), or rules.make("bptt"). Trainer(..., '
                "confirm=False) asks no questions"
            )
