"""Spatial credit: backpropagation within each step alone, in memory that does not grow with the sequence. SLTT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from rules.contract import Batch, Claim, Continues, Credit, CreditRule, MissingNeed, Objective, own_parameters
from rules.credit.online.online import Online
from rules.fields import check_fields
from rules.forward import map_tensors, pieces, run_model
from rules.metering import Meter
from rules.models.admission import UnfitModel, warn_unused
from rules.models.continuing import require_carry
from rules.optional import lacks, offers
from rules.sites.admission import require_learned
from rules.sites.site import sites
from rules.spikes.surrogate import Surrogate, differentiating


@dataclass(frozen=True)
class Spatial(CreditRule):
    """Spatial learning through time: the gradient of each step's loss, where the state counts as given.

    With `l[t]` the share of step t in the loss, and `c[t-1]` the carry of the model,

        dLoss/dW = sum_t d l[t](W, c[t-1]) / dW,    c[t-1] detached.

    It is the gradient of `BPTT(window=1)`, which stores all steps. Here the graph of a step is freed before the next
    one. A chain of layers whose parameters are all weights of synapses (`rules.optional.CellLayer`) is handed to
    `Online("step")`, which has the same gradient from kernels. Any other model that continues from a carry runs step by
    step: blocks with branches, attention, constants of cells that are learned.

    There, a normalisation in training mode sees one step of the batch at a time: it has the statistics of each step,
    and not those of all steps together as in a pass over the whole sequence, and its running statistics are updated
    T times.

    Args:
        surrogate: replaces every neuron's own; None keeps those.

    Raises:
        MissingNeed: for a model without a carry, and if the loss does not depend on any parameter through autograd.

    >>> Spatial().claim, sorted(Spatial().detaches)
    ('exact', ['past', 'recurrent_spikes', 'reset'])

    Reference: Meng et al. 2023 (arXiv 2302.14311), recalled; without its sampling of steps.
    """

    surrogate: Surrogate | str | None = None

    needs: ClassVar[frozenset[str]] = frozenset({"gradient", "carry"})
    claim: ClassVar[Claim] = "exact"
    continues: ClassVar[Continues] = "traces"
    timing: ClassVar[Literal["sequence", "step"]] = "step"
    passes_back: ClassVar[bool] = True
    detaches: ClassVar[frozenset[str]] = frozenset({"past", "recurrent_spikes", "reset"})

    def __post_init__(self) -> None:
        check_fields(self)
        if isinstance(self.surrogate, str):  # a name, as in a configuration file
            object.__setattr__(self, "surrogate", Surrogate(self.surrogate))

    @property
    def online(self) -> Online:
        """The same rule for layers of cells."""
        return Online("step", surrogate=self.surrogate)

    def confirm(self, model: nn.Module, batch: Batch) -> None:
        """Raise UnfitModel for a model that does not go on from its carry, or layers that are more than they show."""
        if layered(model):
            self.online.confirm(model, batch)
        else:
            require_carry(model, batch, "credit of each step alone")

    def assign(self, model: nn.Module, objective: Objective, batch: Batch, state: Any, rng: torch.Generator) -> Credit:
        """Return the sum over steps of the gradients within them, the objective's own included."""
        if "carry" not in offers(model):
            raise MissingNeed(str(self), type(model).__name__, {"carry"}, offers(model), lacks(model))
        if layered(model):
            return self.online.assign(model, objective, batch, state, rng)
        learned = self.parameters(model)
        parameters = learned | own_parameters(objective)
        views = objective.views(batch, rng)
        share, carry, total = objective.shares(views), views.carry, 0.0
        grads: dict[str, Tensor] = {}
        surrogate = self.surrogate if isinstance(self.surrogate, Surrogate) else None
        with Meter(model, objective) as meter, differentiating(surrogate, True, generator=rng) as context:
            for step in pieces(views, 1):
                run = run_model(model, step._replace(carry=carry), objective.needs)
                loss, carry = share(run, step), map_tensors(Tensor.detach, run.carry)
                wanted = list(parameters.values()) if loss.requires_grad else []
                slopes = torch.autograd.grad(loss, wanted, allow_unused=True) if wanted else ()
                for name, g in zip(parameters, slopes, strict=False):
                    if g is not None:
                        grads[name] = grads[name] + g if name in grads else g
                total += float(loss.detach())
        if grads.keys().isdisjoint(learned):
            raise MissingNeed(str(self), type(model).__name__, {"gradient"}, offers(model) - {"gradient"})
        if surrogate is not None and not context.used:
            warn_unused(model, surrogate)
        return Credit(grads, state, total, meter.cost(forwards=1, backwards=1), carry)


def layered(model: nn.Module) -> bool:
    """Return whether a model is a chain of cells behind synapses whose weights are all that it learns."""
    if not {"layers", "cells"} <= offers(model):
        return False
    try:
        require_learned(model, sites(model))
    except UnfitModel:
        return False
    return True
