"""Spike-timing-dependent plasticity as a credit: the change of each weight by pairs and triplets of spikes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from rules.contract import Batch, Claim, Continues, Cost, Credit, CreditRule, Objective
from rules.credit.spike_timing.ailments import ailments
from rules.credit.spike_timing.at_once import Bounds, changing, with_bias
from rules.credit.spike_timing.homeostasis import Homeostasis, thresholds
from rules.credit.spike_timing.passing import (
    Carried,
    Passed,
    begun,
    bytes_of,
    fires,
    firing,
    passed,
    terms_of,
    weights_of,
)
from rules.credit.spike_timing.voltage import Voltage
from rules.credit.spike_timing.window import Window, change
from rules.diagnostics.health import Finding
from rules.errors import unknown
from rules.fields import check_fields
from rules.metering import Meter
from rules.sites.admission import arranged
from rules.sites.plain import require_plain
from rules.sites.site import Site, sites
from rules.spikes.surrogate import differentiating

ACTS = ("after", "at_once")


@dataclass(frozen=True)
class STDP(CreditRule):
    """Plasticity from the times of spikes alone: the gradient is minus the change, a mean over the batch.

    SGD with a rate of 1 makes the change itself, and memristive devices take it as any gradient. There is no loss, so
    the objective is not asked, labels are not needed, and the loss that a step reports is 0. It trains the weights
    between spiking cells, the recurrent ones too. Biases, and layers whose cells do not fire such as a leaky read-out,
    stay as they are; `rules.Partition` gives them another credit.

    With acts="at_once" a weight that has changed weighs the next step, as in Brian2, and within a step first inputs
    change weights, then cells. The amplitudes of the window are then those of the change itself, SGD with a rate of 1
    makes it, and each sample of a batch begins with the same weights. Layers that learn are dense.

    Args:
        window: what pairs and triplets of spikes change, or inputs and membranes.
        homeostasis: of the thresholds that cells learn; None, by default, for none.
        acts: when a changed weight acts: "after" the batch, or the window of `every` steps, by default; or "at_once".
        low: lower bound of weights that act at once; None, by default, for none.
        high: upper bound, likewise.

    Raises:
        ValueError: for an unknown word, bounds of weights that act afterwards, which are a matter of the plasticity, or
            that leave nothing between them, and for membranes with weights that act at once.
        UnfitModel: for a model without spiking cells, or whose layers are not made of one linear synapse and cells; for
            homeostasis where no cells learn thresholds.

    >>> STDP(Window(tau_plus=10.0)).claim
    'none'

    Reference: see `Window`.
    """

    window: Window | Voltage = field(default_factory=Window)
    homeostasis: Homeostasis | None = None
    acts: Literal["after", "at_once"] = "after"
    low: float | None = None
    high: float | None = None

    needs: ClassVar[frozenset[str]] = frozenset({"layers", "cells"})
    claim: ClassVar[Claim] = "none"  # it has no loss, and so no gradient
    relies_on: ClassVar[frozenset[str]] = frozenset({"independent"})
    asks: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.acts not in ACTS:
            raise unknown("acts", self.acts, ACTS)
        check_fields(self)
        if self.acts == "after" and (self.low, self.high) != (None, None):
            raise ValueError(
                f"low={self.low}, high={self.high} with acts='after': what bounds a weight after the sequence is its "
                'plasticity, such as rules.plasticity.Normalised(high=1.0) or a memristor; or use acts="at_once"'
            )
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ValueError(f"low={self.low}, high={self.high}: give a lower bound below the upper one")
        if self.acts == "at_once" and self.window.membranes:
            raise ValueError("weights that act at once change by spikes: give a Window, or use acts='after'")

    @property
    def continues(self) -> Continues:  # type: ignore[override]  # windows add up where weights stand still
        return "traces" if self.acts == "after" else "state"

    def suits(self, objective: Objective) -> None:
        """Raise ValueError for an objective with a teacher, which would teach nothing."""
        refuse_teacher("STDP learns from spikes", objective)

    def parameters(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """Return the weights of the layers that fire, and with homeostasis their thresholds, by name."""
        places = firing(model)
        found = {name: p for site in places for name, p in weights_of(site).items()}
        return found if self.homeostasis is None else found | dict(thresholds(places).values())

    def confirm(self, model: nn.Module, batch: Batch) -> None:
        """Raise UnfitModel for a model that is more than its layers."""
        require_plain(model, sites(model), arranged(model, batch))

    def assign(self, model: nn.Module, objective: Objective, batch: Batch, state: Any, rng: torch.Generator) -> Credit:
        """Return minus the change by the spikes of a batch."""
        x, places = arranged(model, batch), sites(model)
        now = begun(batch.carry, self)
        risen = {} if self.homeostasis is None else thresholds(firing(model))
        known = self.parameters(model)
        grads: dict[str, Tensor] = {}
        traces: list[tuple[Tensor, ...]] = []
        ill: list[Finding] = []
        with torch.no_grad(), differentiating(generator=rng), Meter(model) as meter:
            layers = self._run(places, x, now, batch.lengths)
            for layer, change, ends in layers:
                names = [name for name in weights_of(layer.site) if name in known]
                traces.append(ends)
                if layer.site.name in risen and self.homeostasis is not None:
                    name, threshold = risen[layer.site.name]
                    grads[name] = grads.get(name, 0.0) + self.homeostasis.gradient(layer, threshold, batch.lengths)
                if not names or change is None:
                    continue
                ill += ailments("STDP", layer, batch, self.window)
                found = layer.site.gradients(-change)
                for name in names:
                    grads[name] = grads[name] + found[name] if name in grads else found[name]
                meter.add(weight_operations=self.window.operations(layer.pre, layer.post))
        carry = Carried(tuple(layer.carry for layer, _, _ in layers), tuple(traces), now.of)
        cost = meter.cost(forwards=1, backwards=0) + Cost(trace_bytes=bytes_of(traces))
        return Credit(grads, state, 0.0, cost, carry, findings=tuple(ill))

    def _run(
        self, places: Sequence[Site], x: Tensor, now: Carried, lengths: Tensor | None
    ) -> list[tuple[Passed, Tensor | None, tuple[Tensor, ...]]]:
        """Return each layer with the mean change `[C, K]` of its weights, None without any, and its traces."""
        found: list[tuple[Passed, Tensor | None, tuple[Tensor, ...]]] = []
        if isinstance(self.window, Window) and self.acts == "at_once":
            bounds = Bounds(self.low, self.high)
            for each in changing(places, x, now.model, lengths, self.window, bounds, now.traces):
                if isinstance(each, Passed):
                    found.append((each, None, ()))
                else:
                    found.append((each.passed, with_bias(each.passed.site, each.change), each.traces))
            return found
        for number, layer in enumerate(passed(places, x, now.model, lengths, self.window.membranes)):
            if not weights_of(layer.site) or not fires(layer.site):
                found.append((layer, None, ()))
                continue
            terms, ends = terms_of(self.window, layer, now.traces[number] if now.traces else ())
            found.append((layer, change(terms) / x.shape[1], ends))
        return found


def refuse_teacher(who: str, objective: Objective) -> None:
    """Raise ValueError for an objective with a teacher, which a rule without a loss never asks."""
    if objective.helpers():
        raise ValueError(
            f"{who} and never asks its objective, so that the teacher of {type(objective).__name__} would teach "
            'nothing: use a rule that lowers a loss, such as rules.make("eprop") or rules.make("bptt")'
        )
