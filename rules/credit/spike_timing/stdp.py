"""Spike-timing-dependent plasticity as a credit: the change of each weight by pairs and triplets of spikes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rules.contract import Batch, Claim, Continues, Cost, Credit, CreditRule, Objective
from rules.credit.spike_timing.window import Window, change
from rules.metering import Meter
from rules.sites.admission import arranged
from rules.sites.passing import (
    Carried,
    begun,
    bytes_of,
    firing,
    passed,
    stepping,
    warn_of_silence,
    weights_of,
)
from rules.sites.plain import require_plain
from rules.sites.site import sites
from rules.spikes.surrogate import differentiating


@dataclass(frozen=True)
class STDP(CreditRule):
    """Plasticity from the times of spikes alone: the gradient is minus the change, a mean over the batch.

    SGD with a rate of 1 makes the change itself, and memristive devices take it as any gradient. There is no loss, so
    the objective is not asked, labels are not needed, and the loss that a step reports is 0. It trains the weights
    between spiking cells, the recurrent ones too. Biases, and layers whose cells do not fire such as a leaky read-out,
    stay as they are; `rules.Partition` gives them another credit.

    Args:
        window: what pairs and triplets of spikes change.

    Raises:
        UnfitModel: for a model without spiking cells, or whose layers are not made of one linear synapse and cells.

    >>> STDP(Window(tau_plus=10.0)).claim
    'none'

    Reference: see `Window`.
    """

    window: Window = field(default_factory=Window)

    needs: ClassVar[frozenset[str]] = frozenset({"layers", "cells"})
    claim: ClassVar[Claim] = "none"  # there is no loss whose gradient it could be
    relies_on: ClassVar[frozenset[str]] = frozenset({"independent"})
    continues: ClassVar[Continues] = "traces"
    asks: ClassVar[bool] = False

    def suits(self, objective: Objective) -> None:
        """Raise ValueError for an objective with a teacher, which would teach nothing."""
        refuse_teacher("STDP learns from spikes", objective)

    def parameters(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """Return the weights of the layers that fire, by name."""
        return {name: p for site in firing(model) for name, p in weights_of(site).items()}

    def confirm(self, model: nn.Module, batch: Batch) -> None:
        """Raise UnfitModel for a model that is more than its layers."""
        require_plain(model, sites(model), arranged(model, batch))

    def assign(self, model: nn.Module, objective: Objective, batch: Batch, state: Any, rng: torch.Generator) -> Credit:
        """Return minus the change by the spikes of a batch."""
        x, places, known = arranged(model, batch), sites(model), self.parameters(model)
        now = begun(batch.carry, self)
        grads: dict[str, Tensor] = {}
        traces: list[tuple[Tensor, ...]] = []
        with torch.no_grad(), differentiating(generator=rng), Meter(model) as meter:
            layers = passed(places, x, now.model, batch.lengths)
            for number, layer in enumerate(layers):
                names = [name for name in weights_of(layer.site) if name in known]
                if not names:
                    traces.append(())
                    continue
                warn_of_silence("STDP", layer, batch, self.window.tau_plus)
                kept = now.traces[number] if now.traces else ()
                terms, ends = self.window.terms(layer.pre, layer.post, stepping(layer.site), kept)
                found = layer.site.gradients(-change(terms) / x.shape[1])
                for name in names:
                    grads[name] = grads[name] + found[name] if name in grads else found[name]
                traces.append(ends)
                meter.add(weight_operations=self.window.operations(layer.pre, layer.post))
        carry = Carried(tuple(layer.carry for layer in layers), tuple(traces), now.of)
        cost = meter.cost(forwards=1, backwards=0) + Cost(trace_bytes=bytes_of(traces))
        return Credit(grads, state, 0.0, cost, carry)


def refuse_teacher(who: str, objective: Objective) -> None:
    """Raise ValueError for an objective with a teacher, which a rule without a loss never asks."""
    if objective.helpers():
        raise ValueError(
            f"{who} and never asks its objective, so that the teacher of {type(objective).__name__} would teach "
            'nothing: use a rule that lowers a loss, such as rules.make("eprop") or rules.make("bptt")'
        )
