"""Spike-timing-dependent plasticity that waits for a reward: pairs make a weight eligible, a reward changes it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from rules.contract import Batch, Claim, Continues, Cost, Credit, CreditRule, Objective
from rules.credit.spike_timing.ailments import ailments
from rules.credit.spike_timing.modulation import BASELINES, ahead, fresh, modulated
from rules.credit.spike_timing.passing import (
    Carried,
    begun,
    bytes_of,
    firing,
    passed,
    stepping,
    terms_of,
    weights_of,
)
from rules.credit.spike_timing.stdp import refuse_teacher
from rules.credit.spike_timing.voltage import Voltage
from rules.credit.spike_timing.window import Term, Window
from rules.diagnostics.as_drawn import as_drawn
from rules.diagnostics.health import Finding
from rules.errors import unknown
from rules.fields import check_fields
from rules.metering import Meter
from rules.sites.admission import arranged
from rules.sites.plain import require_plain
from rules.sites.reward import require_rewards
from rules.sites.site import sites, weighing
from rules.spikes.surrogate import differentiating


@dataclass(frozen=True)
class RewardSTDP(CreditRule):
    """Reward-modulated STDP: `el <- exp(-dt / tau_e) el + stdp`, and each step changes a weight by `m el`.

    `m` is the reward of the step, one number for all weights of a sample: `batch.targets`, or of classes whether the
    output is right, as for `Online(signal="reward")`. The gradient is minus the change, a mean over the batch. The
    objective is not asked; the loss that a step reports is minus the sum of rewards. It trains the weights between
    spiking cells, as `STDP`.

    Args:
        window: what pairs and triplets of spikes, or inputs and membranes, add to the eligibility.
        tau_e: time constant of the eligibility [ms], 500 by default.
        baseline: "none", by default; "mean" subtracts from the reward its running mean over the batches before.
        memory: of "mean", the share that is kept in a step, 0.9 by default.

    Raises:
        ValueError: for an unknown baseline, a time constant that is not positive, or a memory outside [0, 1); when
            used, for a batch without rewards or classes.
        UnfitModel: as `STDP`.

    >>> RewardSTDP(baseline="mean").continues
    'state'

    Reference: MSTDPET of Florian 2007 (doi 10.1162/neco.2007.19.6.1468), who divides what a pair adds by tau_e, and
    Izhikevich 2007 (doi 10.1093/cercor/bhl152); reconstructed.
    """

    window: Window | Voltage = field(default_factory=Window)
    tau_e: float = 500.0
    baseline: Literal["none", "mean"] = "none"
    memory: float = 0.9

    needs: ClassVar[frozenset[str]] = frozenset({"layers", "cells", "labels"})  # or rewards
    claim: ClassVar[Claim] = "none"  # a product of pairs and reward, which follows no gradient in general
    relies_on: ClassVar[frozenset[str]] = frozenset({"independent"})
    asks: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.baseline not in BASELINES:
            raise unknown("baseline", self.baseline, BASELINES)
        check_fields(self)
        require_times(self.tau_e, self.memory)

    @property
    def continues(self) -> Continues:  # type: ignore[override]  # a running mean moves between windows
        return "traces" if self.baseline == "none" else "state"

    def suits(self, objective: Objective) -> None:
        """Raise ValueError for an objective with a teacher, which would teach nothing."""
        refuse_teacher("RewardSTDP learns from rewards", objective)

    def parameters(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """Return the weights of the layers that fire, by name."""
        return {name: p for site in firing(model) for name, p in weights_of(site).items()}

    def init(self, model: nn.Module, rng: torch.Generator) -> Any:
        """Return an empty running mean, or nothing."""
        return fresh(self.baseline)

    def confirm(self, model: nn.Module, batch: Batch) -> None:
        """Raise UnfitModel for a model that is more than its layers."""
        require_plain(model, sites(model), arranged(model, batch))

    def assign(self, model: nn.Module, objective: Objective, batch: Batch, state: Any, rng: torch.Generator) -> Credit:
        """Return minus the sum over steps of reward times eligibility."""
        x, places, known = arranged(model, batch), sites(model), self.parameters(model)
        require_rewards(batch, x)
        now = begun(batch.carry, self)
        grads: dict[str, Tensor] = {}
        traces: list[tuple[Tensor, ...]] = []
        classes = batch.targets is None or not batch.targets.is_floating_point()
        found_ill: list[Finding] = []
        if classes:
            found_ill += as_drawn("RewardSTDP", weighing(places), weighing(firing(model)), judged=True)
        with torch.no_grad(), differentiating(generator=rng), Meter(model) as meter:
            layers = passed(places, x, now.model, batch.lengths, self.window.membranes)
            third = modulated(batch, layers[-1].output, self.baseline, self.memory, state)
            for number, layer in enumerate(layers):
                names = [name for name in weights_of(layer.site) if name in known]
                if not names:
                    traces.append(())
                    continue
                found_ill += ailments("RewardSTDP", layer, batch, self.window)
                held = now.traces[number] if now.traces else ()
                kept, eligible = held[:-1], held[-1] if held else None
                terms, ends = terms_of(self.window, layer, kept)
                leak = math.exp(-stepping(layer.site) / self.tau_e)
                change, end = gated(terms, third.gate, leak, eligible)
                found = layer.site.gradients(-change / x.shape[1])
                for name in names:
                    grads[name] = grads[name] + found[name] if name in grads else found[name]
                traces.append((*ends, end))
                operations = self.window.operations(layer.pre, layer.post) + 2 * len(x) * end.numel()
                meter.add(weight_operations=operations)
        carry = Carried(tuple(layer.carry for layer in layers), tuple(traces), now.of)
        cost = meter.cost(forwards=1, backwards=0) + Cost(trace_bytes=bytes_of(traces))
        return Credit(grads, third.state, third.loss, cost, carry, findings=tuple(found_ill))


def gated(terms: tuple[Term, ...], gate: Tensor, leak: float, eligible: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the sum over steps and samples of gate times eligibility, `[C, K]`, and the eligibility at the end.

    The eligibility of every sample is advanced over all steps at once, and its products with the gate are added from
    the last step backwards: the sums are those of a loop over steps, in another order.

    Args:
        terms: what each step adds to the eligibility.
        gate: `[T, B]`.
        leak: share of the eligibility that is left after a step.
        eligible: of the step before, `[B, C, K]`; None for zeros.
    """
    worth, steps = ahead(gate, leak), len(gate)
    fading = leak ** torch.arange(steps - 1, -1, -1, dtype=gate.dtype, device=gate.device)
    cell, entry = terms[0]
    change, end = cell.new_zeros(cell.shape[2], entry.shape[3]), cell.new_zeros(*cell.shape[1:3], entry.shape[3])
    if eligible is not None:
        change = change + torch.einsum("b,bck->ck", leak * worth[0].to(cell), eligible)
        end = end + leak**steps * eligible
    for cell, entry in terms:
        change = change + torch.einsum("tbcl,tblk->ck", cell * worth[..., None, None].to(cell), entry)
        end = end + torch.einsum("tbcl,tblk->bck", cell * fading[:, None, None, None].to(cell), entry)
    return change, end


def require_times(tau_e: float | None, memory: float) -> None:
    """Raise ValueError for a time constant that is not positive, or a share that is none."""
    if tau_e is not None and not tau_e > 0:
        raise ValueError(f"tau_e={tau_e}: give a time constant above 0, in ms")
    if not 0 <= memory < 1:
        raise ValueError(f"memory={memory}: give the share of the running mean that is kept, from 0 to below 1")
