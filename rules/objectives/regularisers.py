"""Regularisers: penalties on the activity of the recorded layers, as means over the batch, to be added to a loss.

They use every trace except the last, which is the read-out; if there is only one trace, they use that one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from rules.contract import Batch, Objective, Run, Trace
from rules.fields import at_least, check_fields
from rules.measures import Measure
from rules.steps import total, wide

LAYERS = frozenset({"layers"})


def hidden(run: Run) -> tuple[Trace, ...]:
    """Return the traces that regularisers use; raise ValueError if none was recorded."""
    if not run.traces:
        raise ValueError("a regulariser needs run.traces: use a model that offers layers and records its traces")
    return run.traces[:-1] or run.traces


def counts(trace: Trace) -> Tensor:
    """Return the number of spikes of each neuron over the sequence, `[B, neurons]`."""
    return total(trace.post).flatten(1)


@dataclass(frozen=True)
class RateL1(Objective):
    """`weight * sum over layers of mean_t,b,i (spikes)`, the firing probability per step.

    The mean over the batch, and over steps and neurons, is ours; snnTorch sums.

    >>> spikes = torch.ones(4, 2, 6)
    >>> run = Run(torch.zeros(4, 2, 3), traces=(Trace("weight", spikes, spikes, spikes),))
    >>> round(float(RateL1(weight=0.1)(run, Batch(spikes))), 4)
    0.1

    Reference: snnTorch (code).
    """

    weight: float = 1e-3

    needs: ClassVar[frozenset[str]] = LAYERS

    def __post_init__(self) -> None:
        check_fields(self)
        at_least(0, self, "weight")

    def __call__(self, run: Run, batch: Batch) -> Tensor:
        return self.weight * torch.stack([wide(trace.post).mean() for trace in hidden(run)]).sum()


@dataclass(frozen=True)
class RatePenalty(Objective):
    """`l1 * mean_b sum_i c_bi + l2 * mean_i (mean_b c_bi)^2` with c the spike count.

    Reference: SpyTorch's pair (code), which sums over the batch where this takes the mean.
    """

    l1: float = 1e-5
    l2: float = 1e-5

    needs: ClassVar[frozenset[str]] = LAYERS

    def __post_init__(self) -> None:
        check_fields(self)
        at_least(0, self, "l1", "l2")

    def __call__(self, run: Run, batch: Batch) -> Tensor:
        found = [counts(trace) for trace in hidden(run)]
        return torch.stack([self.l1 * c.sum(1).mean() + self.l2 * c.mean(0).square().mean() for c in found]).sum()


@dataclass(frozen=True)
class RateBand(Objective):
    """`w_u relu(rho - upper)^power + w_l mean_i relu(lower - rho_i)^2`; rho_i: a neuron's mean count, rho: their mean.

    The upper bound applies to the population, the lower one to every neuron, so that none stays silent.

    Args:
        lower: spikes per sequence below which a neuron is penalised.
        upper: spikes per sequence above which the population is penalised.
        weight_lower: w_l.
        weight_upper: w_u.
        power: exponent of the upper term, 1 or 2.

    Reference: in the style of Zenke & Vogels 2021 (doi 10.1162/neco_a_01367), recalled.
    """

    lower: float = 0.01
    upper: float = 10.0
    weight_lower: float = 1.0
    weight_upper: float = 0.06
    power: int = 1

    needs: ClassVar[frozenset[str]] = LAYERS

    def __post_init__(self) -> None:
        check_fields(self)
        at_least(0, self, "lower", "upper", "weight_lower", "weight_upper")
        if self.power not in (1, 2) or self.lower > self.upper:
            raise ValueError(
                f"lower={self.lower}, upper={self.upper}, power={self.power}: give lower <= upper, power 1 or 2"
            )

    def __call__(self, run: Run, batch: Batch) -> Tensor:
        terms = []
        for trace in hidden(run):
            rho = counts(trace).mean(0)  # [neurons]
            over = (rho.mean() - self.upper).relu() ** self.power
            under = (self.lower - rho).relu().square().mean()
            terms.append(self.weight_upper * over + self.weight_lower * under)
        return torch.stack(terms).sum()


@dataclass(frozen=True)
class MembranePenalty(Objective):
    """`weight * sum over layers of mean (u - centre)^2`, u the membrane minus threshold [mV]."""

    weight: float = 1e-3
    centre: float = -0.5

    needs: ClassVar[frozenset[str]] = LAYERS

    def __post_init__(self) -> None:
        check_fields(self)
        at_least(0, self, "weight")

    def __call__(self, run: Run, batch: Batch) -> Tensor:
        return self.weight * torch.stack([(wide(trace.u) - self.centre).square().mean() for trace in hidden(run)]).sum()


@dataclass(frozen=True)
class Sum(Objective):
    """The sum of several objectives; views, scores, measures and what counts are those of the first.

    >>> from rules.objectives.readout import MeanCrossEntropy
    >>> sorted(Sum((MeanCrossEntropy(), RateL1(1e-2))).needs)
    ['labels', 'layers']
    """

    terms: tuple[Objective, ...]

    def __post_init__(self) -> None:
        if not self.terms:
            raise ValueError("terms=(): give at least one objective")

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]  # those of its terms
        return frozenset().union(*(term.needs for term in self.terms))

    @property
    def timing(self) -> Literal["sequence", "step"]:  # type: ignore[override]  # that of all terms
        return "step" if all(term.timing == "step" for term in self.terms) else "sequence"

    def shares(self, batch: Batch) -> Callable[[Run, Batch], Tensor]:
        parts = [term.shares(batch) for term in self.terms]
        return lambda run, part: torch.stack([each(run, part) for each in parts]).sum()

    def amount(self, batch: Batch) -> float:
        return self.terms[0].amount(batch)

    def views(self, batch: Batch, rng: torch.Generator) -> Batch:
        return self.terms[0].views(batch, rng)

    def examined(self, batch: Batch, rng: torch.Generator) -> Batch:
        return self.terms[0].examined(batch, rng)

    def scores(self, run: Run, lengths: Tensor | None = None) -> Tensor:
        return self.terms[0].scores(run) if lengths is None else self.terms[0].scores(run, lengths)

    def answers(self, run: Run, batch: Batch) -> tuple[Tensor, Tensor]:
        return self.terms[0].answers(run, batch)

    def measure(self) -> Measure:
        return self.terms[0].measure()

    def reported(self, run: Run, batch: Batch) -> Tensor:
        return torch.stack([term.reported(run, batch) for term in self.terms]).sum()

    def module(self) -> nn.Module | None:
        owned = [module for module in (term.module() for term in self.terms) if module is not None]
        return nn.ModuleList(owned) if owned else None

    def advance(self) -> None:
        for term in self.terms:
            term.advance()

    def remark(self) -> str | None:
        return "; ".join(found for term in self.terms if (found := term.remark()) is not None) or None

    def __call__(self, run: Run, batch: Batch) -> Tensor:
        return torch.stack([term(run, batch) for term in self.terms]).sum()
