"""Coordinate-wise differences: each weight perturbed by itself, all weights or a few, many copies at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from rules.contract import Batch, Continues, Cost, Credit, CreditRule, Objective, OverProcesses
from rules.credit.zero_order.draws import WORKING_SET
from rules.credit.zero_order.flat.asking import Asking
from rules.credit.zero_order.flat.chunks import divided
from rules.credit.zero_order.flat.copies import Copies, Widest
from rules.credit.zero_order.flat.moving import require_size, require_visible
from rules.credit.zero_order.flat.one_unit import OneUnit
from rules.credit.zero_order.relative import exact_step
from rules.credit.zero_order.sharing import generator, seeds, shared
from rules.errors import unknown
from rules.fields import at_least, check_fields
from rules.steps import whole

CHOICES = {"diff": ("central", "forward"), "subset": ("redrawn", "fixed")}


@dataclass(frozen=True)
class CoordinateWise(CreditRule):
    """Coordinate-wise gradient estimation.

        g_i = [l(theta + mu e_i) - l(theta - mu e_i)] / (2 mu),    or, forward,    [l(theta + mu e_i) - l(theta)] / mu

    with mu = s times the rms of the weight's parameter (`rules.credit.zero_order.relative`), or, not `relative`, s
    itself, for `k = d - floor(sparsity d)` of the d weights, drawn uniformly from all parameters. Takes 2 k + 1 forward
    passes, or k + 1, each counted as a whole pass, and returns loss and carry of the unperturbed one. Models,
    objectives and processes are as in `SPSA`. In a chain of layers only the unit that a weight changes is run, and what
    follows it where it puts out something else (`rules.credit.zero_order.flat.one_unit`): the same gradient up to
    rounding, and of the counts of its cost only `layer_evaluations_done` is another.

    Claims `exact` for central differences of all weights with a step of at most 1e-4 (the default without spikes, in
    float64), `unbiased` for the same with a redrawn subset, otherwise `descent`.

    Args:
        step: s; by default the precision's `u^(1/3)`, or forward `u^(1/2)`, and 0.3 in a spiking model.
        relative: whether s is in units of each parameter's rms; False for those of the weights.
        diff: "central" or "forward" differences.
        sparsity: share of weights left out, from 0 to below 1.
        subset: "redrawn" at every step and scaled by d / k, so that its mean over draws is the whole gradient; or
            "fixed", drawn once and not scaled: those weights learn by their exact slopes, the others stay unchanged.
        seed: of the fixed subset.
        together: run as many perturbed copies at once as fit into `memory`, by `torch.func.vmap`; False runs one after
            the other, for models that vmap cannot run, with the same result up to rounding. Models with
            noise in reading always run one by one.
        memory: bytes for the perturbed copies.

    Raises:
        ValueError: for an impossible setting, a step that vanishes beside a weight, none in units of the weights, a
            memory below one copy, and batch normalisation or dropout in training mode.
        RuntimeError: if vmap cannot run the model.
        NonFinite: for a NaN in a probe.

    >>> from rules.check.toy import Quadratic, batch, smooth
    >>> rule, rng = CoordinateWise(sparsity=0.9), torch.Generator().manual_seed(0)
    >>> rule.assign(smooth(frozenset()), Quadratic(), batch(), (), rng).cost.forwards  # 4 of 32 weights
    9

    Reference: Chen et al. 2024 (DeepZero, arXiv 2310.02025), recalled, which takes forward differences of a subset
    found by pruning at initialisation; random subsets, their scale and all defaults are ours.
    """

    step: float | None = None
    diff: Literal["central", "forward"] = "central"
    sparsity: float = 0.0
    subset: Literal["redrawn", "fixed"] = "redrawn"
    seed: int = 0
    together: bool = True
    memory: float = 2.0**30
    relative: bool = True

    needs: ClassVar[frozenset[str]] = frozenset()
    continues: ClassVar[Continues] = "state"
    relies_on: ClassVar[frozenset[str]] = frozenset({"stateless", "input", "deterministic"})
    over_processes: ClassVar[OverProcesses] = "draws"

    def __post_init__(self) -> None:
        check_fields(self)
        at_least(0, self, "seed")
        at_least(1, self, "memory")
        for name, valid in CHOICES.items():
            if getattr(self, name) not in valid:
                raise unknown(name, getattr(self, name), valid)
        if not 0 <= self.sparsity < 1:
            raise ValueError(f"sparsity={self.sparsity}: give the share of weights that is left out, from 0 to below 1")
        require_size("step", self.step, self.relative)

    @property
    def claim(self) -> Literal["exact", "unbiased", "descent"]:  # type: ignore[override]  # a large step has a bias
        fine = self.diff == "central" and (self.step is None or self.step <= 1e-4)
        if not fine or (self.sparsity > 0 and self.subset == "fixed"):
            return "descent"
        return "unbiased" if self.sparsity > 0 else "exact"

    def steps(self, asking: Asking) -> dict[str, float]:
        """Return the step of each parameter, in units of the weights."""
        found = {}
        for name, scale in asking.scales(self.relative).items():
            p = asking.parameters[name]
            step = exact_step(p.dtype, self.diff, asking.spikes) if self.step is None else self.step
            require_visible("step", step, {name: p}, {name: scale})
            found[name] = step * scale
        return found

    def assign(self, model: nn.Module, objective: Objective, batch: Batch, state: Any, rng: torch.Generator) -> Credit:
        """Return the slope for every chosen weight, from losses only."""
        asking = Asking(self, model, objective, batch, rng)
        number = sum(p.numel() for p in asking.parameters.values())
        kept = number - whole(self.sparsity * number)
        chosen = self.chosen(number, kept, rng)
        before = asking.spent
        with torch.no_grad(), Widest(model) as widest:
            clean = asking.run()
            centre = float(objective(clean, asking.views))

        def size(p: Tensor) -> int:
            return self.fitting(p, widest.numbers)

        one = OneUnit.of(asking, clean, centre, less(asking.spent, before)) if self.together else None
        base = None if self.diff == "central" else centre
        copies = Copies(asking, self.steps(asking), base, self.together, size, one)
        chunks = list(divided(chosen, asking.parameters, size))
        if one is not None:
            chunks = list(one.divided(chunks, self.memory))
        width = max(len(chunk.places) for chunk in chunks)
        found = shared(len(chunks), width, lambda mine: padded(copies.slopes([chunks[c] for c in mine]), width), "step")
        scale = number / kept if self.subset == "redrawn" else 1.0
        grads = {name: torch.zeros_like(p) for name, p in asking.parameters.items()}
        for chunk, slopes in zip(chunks, found, strict=True):
            at = torch.unravel_index(chunk.places, grads[chunk.name].shape)
            grads[chunk.name][at] = (scale * slopes[: len(chunk.places)]).to(grads[chunk.name])
        if one is not None:
            one.settle()
        operations = kept + number * self.relative  # of slopes, and of the scales of all parameters
        cost = asking.cost() + Cost(weight_operations=operations, multiplications=operations)
        return Credit(grads, state, centre, cost, clean.carry, {"probes": float(kept)})

    def chosen(self, number: int, kept: int, rng: torch.Generator) -> Tensor:
        """Return the numbers of the chosen weights, in order."""
        (drawn,) = seeds(1, rng)
        order = torch.randperm(number, generator=generator(drawn if self.subset == "redrawn" else self.seed))
        return order[:kept].sort().values

    def fitting(self, p: Tensor, widest: int) -> int:
        """Return how many perturbed copies of a parameter fit into memory, each with the widest signals twice."""
        one = p.element_size() * (2 * p.numel() + 2 * widest)
        if self.memory < one:
            raise ValueError(
                f"memory={self.memory:g} bytes hold no copy: one takes about {one:,} bytes; raise memory "
                "or make the batch smaller"
            )
        bound = min(self.memory, WORKING_SET) if p.device.type == "cpu" else self.memory
        return max(1, int(bound // one))


def less(cost: Cost, before: Cost) -> Cost:
    """Return what a cost has more than another."""
    return Cost(**{name: count - getattr(before, name) for name, count in vars(cost).items()})


def padded(rows: Tensor, width: int) -> Tensor:
    """Return rows with zeros appended up to a width."""
    return nn.functional.pad(rows, (0, width - rows.shape[1]))
