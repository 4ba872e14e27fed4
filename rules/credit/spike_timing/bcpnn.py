"""Bayesian confidence propagation: weights are the logarithm of how much more often two cells fire together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rules.contract import Batch, Claim, Continues, Cost, Credit, CreditRule, Objective, Run
from rules.credit.spike_timing.modulation import ahead
from rules.credit.spike_timing.passing import Carried, Passed, begun, bytes_of, firing, inputs, passed, stepping
from rules.credit.spike_timing.stdp import refuse_teacher
from rules.credit.spike_timing.window import filtered
from rules.diagnostics.as_drawn import as_drawn
from rules.fields import at_least, check_fields
from rules.metering import Meter
from rules.models.admission import UnfitModel
from rules.objectives.labels import IGNORED, labels_by_step
from rules.processes import divided, summed
from rules.sites.admission import arranged
from rules.sites.plain import require_plain
from rules.sites.site import Site, sites, weighing
from rules.spikes.surrogate import differentiating
from rules.steps import counted


class Chances(NamedTuple):
    """Estimated probabilities at the weights of a layer: of its inputs, of its cells, and of both together."""

    entry: Tensor  # [K]
    cell: Tensor  # [C]
    both: Tensor  # [C, K]


class Seen(NamedTuple):
    """Activity of a layer in some consecutive steps, 1 for certain."""

    entry: Tensor  # [T, B, L, K]
    cell: Tensor  # [T, B, C, L]
    counts: Tensor  # [T, B], 1 where a step of a sample counts, 0 elsewhere


@dataclass(frozen=True)
class BCPNN(CreditRule):
    """Bayesian confidence propagation neural network: weights and biases follow probabilities of activity.

        z <- z + (1 - exp(-dt / tau_z)) (s / (f_max dt) - z)              of every input and cell
        e <- e + (1 - exp(-dt / tau_e)) (z - e),   e_ij likewise from z_i z_j
        p <- p + k (1 - exp(-dt / tau_p)) (e - p),   p_ij likewise
        w_ij = gain log(p_ij / (p_i p_j)),   b_j = gain log p_j

    The gradient is the weight less this one, so that SGD with a rate of 1 sets it. The p are a mean over samples and
    belong to the model; z and e belong to the samples. Probabilities begin at `floor`, as if all were independent, and
    no z is below it. There is no loss, so the objective is not asked.

    Args:
        taught: the last layer alone learns, and its cells are what the labels say: 1 for the class of the sample, or
            of the step, and 0 for the others; True by default. False: all layers that fire learn from their spikes.
        tau_z: time constant of z [ms], 10 by default; 0 for none.
        tau_e: time constant of e [ms], 0 by default: none.
        tau_p: time constant of p [ms], 1000 by default, counted over the steps of all samples that are seen at once.
        k: what is learned from the present, 1 by default; 0 for nothing.
        f_max: rate that stands for a probability of 1 [Hz]; None, by default, for a spike in every step.
        floor: the least probability, 0.01 by default.
        gain: of weights and biases, in the unit of the model, 1 by default.

    Raises:
        ValueError: for numbers out of range; when used, for a batch without classes where it is taught.
        UnfitModel: for a model without spiking cells, or whose layers are not made of one linear synapse and cells; for
            weights between cells of the last layer that would be taught.

    >>> BCPNN().claim
    'none'

    Reference: Tully, Hennig & Lansner 2014 (doi 10.3389/fnsyn.2014.00008), reconstructed; Lansner & Ekeberg 1989 (doi
    10.1142/S0129065789000032) for the rule, recalled.
    """

    taught: bool = True
    tau_z: float = 10.0
    tau_e: float = 0.0
    tau_p: float = 1000.0
    k: float = 1.0
    f_max: float | None = None
    floor: float = 0.01
    gain: float = 1.0

    claim: ClassVar[Claim] = "none"  # it has no loss, and so no gradient
    relies_on: ClassVar[frozenset[str]] = frozenset({"independent"})
    continues: ClassVar[Continues] = "state"
    asks: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_fields(self)
        at_least(0, self, "tau_z", "tau_e", "k")
        if not self.tau_p > 0:
            raise ValueError(f"tau_p={self.tau_p}: give a time constant above 0, in ms")
        if self.k > 1:
            raise ValueError(f"k={self.k}: give 0 to 1, what is learned from the present")
        if self.f_max is not None and not self.f_max > 0:
            raise ValueError(f"f_max={self.f_max}: give a rate above 0, in Hz, or None")
        if not 0 < self.floor < 1:
            raise ValueError(f"floor={self.floor}: give the least probability, above 0 and below 1")
        if not self.gain > 0:
            raise ValueError(f"gain={self.gain}: give a number above 0")

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        return frozenset({"layers", "cells", "labels"} if self.taught else {"layers", "cells"})

    def suits(self, objective: Objective) -> None:
        """Raise ValueError for an objective with a teacher, which would teach nothing."""
        refuse_teacher("BCPNN learns from activity", objective)

    def learning(self, model: nn.Module) -> list[Site]:
        """Return the layers that learn."""
        if not self.taught:
            return firing(model)
        last = sites(model)[-1]
        if last.recurrent is not None:
            raise UnfitModel(
                f"the cells of {last.name}, the last layer, hear each other, and would hear what they answer in place "
                "of what they are taught: end the model with a layer without recurrent weights, or use taught=False"
            )
        return [last]

    def parameters(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """Return the weights and biases of the layers that learn, by name."""
        return {name: p for site in self.learning(model) for name, p in site.parameters().items()}

    def init(self, model: nn.Module, rng: torch.Generator) -> dict[str, Chances]:
        """Return probabilities of independent activity."""
        found = {}
        for site in self.learning(model):
            weight: Any = site.weigh.weight
            cells, width = weight.shape[0], site.width()
            ones = weight.detach().new_ones
            both = self.floor**2 * ones(cells, width)
            found[site.name] = Chances(self.floor * ones(width), self.floor * ones(cells), both)
        return found

    def confirm(self, model: nn.Module, batch: Batch) -> None:
        """Raise UnfitModel for a model that is more than its layers."""
        require_plain(model, sites(model), arranged(model, batch))

    def assign(
        self, model: nn.Module, objective: Objective, batch: Batch, state: dict[str, Chances], rng: torch.Generator
    ) -> Credit:
        """Return the weights less those that the probabilities after this batch ask for."""
        x, places, known = arranged(model, batch), sites(model), self.parameters(model)
        learn = {site.name for site in self.learning(model)}
        now = begun(batch.carry, self)
        grads: dict[str, Tensor] = {}
        traces: list[tuple[Tensor, ...]] = []
        after = dict(state)
        with torch.no_grad(), differentiating(generator=rng), Meter(model) as meter:
            layers = passed(places, x, now.model, batch.lengths)
            for number, layer in enumerate(layers):
                name = layer.site.name
                if name not in learn:
                    traces.append(())
                    continue
                seen = self.seen(layer, batch)
                kept = now.traces[number] if now.traces else self.blank(seen)
                after[name], ends = self.chances(seen, state[name], kept, stepping(layer.site))
                wanted = layer.site.gradients(self.weights(after[name], layer.site))
                grads |= {key: known[key].detach() - value for key, value in wanted.items()}
                traces.append(ends)
                meter.add(weight_operations=2 * (seen.entry.numel() + seen.cell.numel()))
                meter.add(weight_operations=(2 if self.tau_e else 1) * seen.entry.numel() * seen.cell.shape[2])
        carry = Carried(tuple(layer.carry for layer in layers), tuple(traces), now.of)
        cost = meter.cost(forwards=1, backwards=0) + Cost(trace_bytes=bytes_of((traces, tuple(after.values()))))
        learning = weighing(self.learning(model))
        ill = tuple(as_drawn("BCPNN", weighing(sites(model)), learning, judged=False)) if self.taught else ()
        return Credit(grads, after, 0.0, cost, carry, findings=ill)

    def seen(self, layer: Passed, batch: Batch) -> Seen:
        """Return the activity that a layer learns from, without the input of biases, and where it counts."""
        scale = 1.0 if self.f_max is None else 1000 / (self.f_max * stepping(layer.site))
        entry, cell = layer.pre * scale, layer.post * scale
        counts = torch.ones_like(layer.pre[:, :, 0, 0])
        if batch.lengths is not None:
            counts = counts * counted(layer.output, batch.lengths)
        if self.taught:
            y = labels_by_step(Run(layer.output), batch, IGNORED, some=False)
            counts = counts * (y != IGNORED)
            told = F.one_hot(y.clamp(min=0), cell.shape[2]) * (y != IGNORED)[..., None]
            cell = told.to(entry)[..., None].expand_as(cell)
        low = self.floor
        return Seen(low + (1 - low) * entry, low + (1 - low) * cell, counts)

    def blank(self, seen: Seen) -> tuple[Tensor, ...]:
        """Return the traces before the first step: of z, and of e if it has a time constant."""
        entry, cell = (torch.full_like(each[0], self.floor) for each in (seen.entry, seen.cell))
        if not self.tau_e:
            return entry, cell
        both = torch.einsum("bcl,blk->bck", cell, entry) / cell.shape[2]
        return entry, cell, entry.mean(1), cell.mean(2), both

    def chances(
        self, seen: Seen, before: Chances, kept: tuple[Tensor, ...], dt: float
    ) -> tuple[Chances, tuple[Tensor, ...]]:
        """Return the probabilities after some steps, and the traces of each sample.

        The low-pass filters are sums over steps with weights of their own, so that no step is taken alone.
        """
        fade_z, fade_e = (math.exp(-dt / tau) if tau else 0.0 for tau in (self.tau_z, self.tau_e))
        counts, rate = seen.counts, self.k * -math.expm1(-dt / self.tau_p)
        entry, entry_end = filtered((1 - fade_z) * seen.entry, fade_z, kept[0], nearest=False, after=True)
        cell, cell_end = filtered((1 - fade_z) * seen.cell, fade_z, kept[1], nearest=False, after=True)
        samples = counts.sum(1) if divided() is None else summed(counts.sum(1))
        learns = rate * (samples > 0).to(counts)  # [T]
        left = torch.cat([(1 - learns).flip(0).cumprod(0).flip(0)[1:], learns.new_ones(1)])  # of a step, at the end
        share = (learns * left / samples.clamp(min=1))[:, None] * counts  # [T, B]
        later = ahead(share, fade_e)
        worth, places = (1 - fade_e) * later, cell.shape[3]
        parts = [
            torch.einsum("tb,tblk->k", worth, entry) / places,
            torch.einsum("tb,tbcl->c", worth, cell) / places,
            torch.einsum("tbcl,tblk->ck", cell * worth[..., None, None], entry) / places,
        ]
        ends: tuple[Tensor, ...] = (entry_end, cell_end)
        if self.tau_e:
            steps = len(entry)
            fading = (1 - fade_e) * fade_e ** torch.arange(steps - 1, -1, -1).to(entry)
            parts = [
                part + torch.einsum("b,b...->...", fade_e * later[0], e)
                for part, e in zip(parts, kept[2:], strict=True)
            ]
            held = (
                torch.einsum("t,tblk->bk", fading, entry) / places,
                torch.einsum("t,tbcl->bc", fading, cell) / places,
                torch.einsum("tbcl,tblk->bck", cell * fading[:, None, None, None], entry) / places,
            )
            ends += tuple(new + fade_e**steps * old for new, old in zip(held, kept[2:], strict=True))
        if divided() is not None:
            parts = [summed(part) for part in parts]
        lasting = (1 - learns).prod()
        return Chances(*(lasting * old + new for old, new in zip(before, parts, strict=True))), ends

    def weights(self, chances: Chances, site: Site) -> Tensor:
        """Return `gain log(p_ij / (p_i p_j))`, `[C, K]`, and `gain log p_j` in the column of a bias."""
        found = evidence(chances)
        if site.ones:
            found[:, inputs(site)] = chances.cell.log()
        return self.gain * found


def evidence(chances: Chances) -> Tensor:
    """Return `log(p_ij / (p_i p_j))`, `[C, K]`.

    >>> half = torch.full((1,), 0.5)
    >>> evidence(Chances(half, half, torch.full((1, 1), 0.5)))  # identical: - log p
    tensor([[0.6931]])
    """
    return chances.both.log() - chances.entry.log() - chances.cell.log()[:, None]
