"""A dendrite learns to predict its soma, which a teacher nudges."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rules.contract import Batch, Claim, Continues, Cost, Credit, CreditRule, Objective, Run
from rules.diagnostics.as_drawn import as_drawn
from rules.draws import uniform
from rules.fields import check_fields
from rules.forward import fold
from rules.local import differentiated
from rules.metering import Meter
from rules.models.admission import UnfitModel
from rules.objectives.labels import IGNORED, labels_by_step
from rules.sites.admission import arranged
from rules.sites.carried import Carried, begun, bytes_of
from rules.sites.plain import require_plain
from rules.sites.site import Site, placed, sites, weighing
from rules.spikes.surrogate import differentiating
from rules.steps import counted


@dataclass(frozen=True)
class UrbanczikSenn(CreditRule):
    """Dendritic prediction of somatic spiking, in the last layer of a network, made of two-compartment cells.

        dw_i = beta a sum over steps of (phi(U) - phi(V*)) PSP_i,    phi(u) = sigmoid(beta (u - v_threshold))
        V*   = g_D / (g_D + g_L) V_dend,  a = dV*/dV_dend,           PSP_i = dV_dend / dw_i, the soma as it is

    U is the potential of the soma, and V* that to which the dendrite alone would bring it. In each step the teacher
    draws the soma a share `nudge` of the way to the potential at which it would fire at the rate taught. That rate is
    `batch.targets`, numbers between 0 and 1 for each step, sample and cell; or, of classes, `high` for the cell of the
    class and `low` for all others. Where a class is -100 nothing is taught or learned. Under a constant teacher the
    weights rest where the predicted rate is the somatic one. With `spikes`, a spike drawn with probability phi(U)
    stands in place of phi(U), and the mean over spikes is the same.

    The credit is minus dw, a mean over samples. It is the gradient of the cross-entropy between somatic and predicted
    rates, with the somatic potentials as they are; this sum over steps is the loss that a step reports. The objective
    is not asked. Other layers stay as they are; `rules.Partition` gives them another credit. Evaluation runs the
    network without a teacher, and its output is phi(U): a soma without reset is above its threshold or not, and the
    spikes of the model's own forward pass say less.

    Args:
        beta: steepness of phi [1/mV], 4 by default.
        nudge: share of the way to the potential taught, in a step, 0.5 by default.
        high: rate taught to the cell of the class, 0.9 by default.
        low: rate taught to all others, 0.1 by default.
        spikes: whether the soma tells its rate by random spikes, False by default.

    Raises:
        ValueError: for a number out of range; when used, for rates that are not between 0 and 1 or of another shape.
        UnfitModel: where the soma of the last layer is reset, or its cells hear each other.

    >>> UrbanczikSenn(spikes=True).claim
    'none'

    Reference: Urbanczik & Senn 2014 (doi 10.1016/j.neuron.2013.11.030), reconstructed; the teacher that acts between
    steps, and phi as a probability of each step, are ours.
    """

    beta: float = 4.0
    nudge: float = 0.5
    high: float = 0.9
    low: float = 0.1
    spikes: bool = False

    needs: ClassVar[frozenset[str]] = frozenset({"layers", "cells", "dendrites", "labels"})  # or rates
    claim: ClassVar[Claim] = "none"  # of the loss of an objective, which it does not ask
    relies_on: ClassVar[frozenset[str]] = frozenset({"independent"})
    asks: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.beta > 0:
            raise ValueError(f"beta={self.beta}: give a steepness above 0, in 1/mV")
        if not 0 < self.nudge <= 1:
            raise ValueError(f"nudge={self.nudge}: give a share of each step, above 0 and at most 1")
        if not 0 < self.low < self.high < 1:
            raise ValueError(f"low={self.low} and high={self.high}: give two rates between 0 and 1, the lower first")

    @property
    def continues(self) -> Continues:  # type: ignore[override]  # drawn spikes are others in windows
        return "state" if self.spikes else "traces"

    def suits(self, objective: Objective) -> None:
        """Raise ValueError for an objective with a teacher, which would teach nothing."""
        if objective.helpers():
            raise ValueError(
                f"UrbanczikSenn learns from rates and never asks its objective, so that the teacher of "
                f'{type(objective).__name__} would teach nothing: use a rule that lowers a loss, rules.make("bptt")'
            )

    def parameters(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """Return the weights and biases of the last layer, by name."""
        return last(model).parameters()

    def confirm(self, model: nn.Module, batch: Batch) -> None:
        """Raise UnfitModel for a model that is more than its layers, or whose last layer has no free soma."""
        require_plain(model, sites(model), arranged(model, batch))
        last(model)

    def runs(self, model: nn.Module) -> Callable[[Batch], Run]:
        """Return the function that runs the network without a teacher; its output are the rates of the somata."""

        def freely(batch: Batch) -> Run:
            x, top = arranged(model, batch), last(model)
            cells: Any = top.layer.cells
            with torch.no_grad():
                x, ends = self.below(model, x, batch.carry)
                carry, rates = (batch.carry[-1] if batch.carry else None), []
                for current in fold(top.layer.synapse, x):
                    state, shown = top.rest(current) if carry is None else carry
                    _, after = cells.advance(current, state)
                    carry = after, shown
                    rates.append(torch.sigmoid(self.beta * (after.v - cells.neuron.v_threshold)))
            return Run(torch.stack(rates), carry=(*ends, carry))

        return freely

    def below(self, model: nn.Module, x: Tensor, carry: Any) -> tuple[Tensor, list[Any]]:
        """Return the output of the layers below the last, and their states."""
        ends = []
        for number, site in enumerate(sites(model)[:-1]):
            start: Any = None if carry is None else carry[number]
            run = site.layer.respond(x, fold(site.layer.synapse, x), start, False)
            ends.append(run.carry)
            x = run.output
        return x, ends

    def assign(self, model: nn.Module, objective: Objective, batch: Batch, state: Any, rng: torch.Generator) -> Credit:
        """Return minus the change by the steps of a batch."""
        x, top = arranged(model, batch), last(model)
        now = begun(batch.carry, self)
        with torch.no_grad(), differentiating(generator=rng), Meter(model) as meter:
            x, ends = self.below(model, x, now.model)
            currents = fold(top.layer.synapse, x)
            wanted, known = self.taught(batch, currents)
            carry: Any = top.rest(currents[0]) if now.model is None else now.model[-1]
            change, loss, carry, psp = self.followed(top, x, currents, wanted, known, carry, now.traces, rng)
            grads = top.gradients(-change / currents.shape[1])
            drawn = wanted.numel() if self.spikes else 0
            meter.add(weight_operations=3 * len(x) * psp.numel(), random_bits=drawn)
        held = Carried((*ends, carry), ((psp,),), now.of)
        cost = meter.cost(forwards=1, backwards=0) + Cost(trace_bytes=bytes_of(held.traces))
        ill = tuple(as_drawn("UrbanczikSenn", weighing(sites(model)), [top.name], judged=False))
        return Credit(grads, state, loss, cost, held, findings=ill)

    def followed(
        self,
        top: Site,
        x: Tensor,
        currents: Tensor,
        wanted: Tensor,
        known: Tensor,
        carry: Any,
        traces: tuple[tuple[Tensor, ...], ...],
        rng: torch.Generator,
    ) -> tuple[Tensor, float, Any, Tensor]:
        """Return the change of the weights `[C, K]`, the loss, the carry and the PSPs `[B, C, L, K]` at the end."""
        cells: Any = top.layer.cells
        neuron, (state, shown), pre = cells.neuron, carry, top.columns(x)
        shape = placed(currents)[0].shape  # [B, C, L]
        psp = traces[0][0] if traces else pre.new_zeros(*shape, pre.shape[3])
        change, loss = pre.new_zeros(shape[1], pre.shape[3]), 0.0
        for current, entered, rate, counts in zip(currents, pre, wanted, known, strict=True):
            state = state._replace(v_dend=state.v_dend.clone())  # at rest both potentials may be one tensor
            values = cells.unpacked(state)
            place = next(number for number, part in enumerate(values) if part is state.v_dend)
            local = differentiated(stepping(cells, state), current, values)
            _, after = cells.advance(current, state)
            kept, driven = (part.reshape(shape)[..., None] for part in (local.kept[place, place], local.driven[place]))
            psp = kept * psp + driven * entered[:, None]
            target = neuron.v_threshold + torch.logit(rate) / self.beta
            v = torch.where(counts, after.v + self.nudge * (target - after.v), after.v)
            state = after._replace(v=v)
            zero = torch.zeros_like(after.v_dend)
            steep = self.beta * (neuron.predicted(zero + 1) - neuron.predicted(zero))
            drive = self.beta * (neuron.predicted(after.v_dend) - neuron.v_threshold)
            somatic = torch.sigmoid(self.beta * (v - neuron.v_threshold))
            if self.spikes:
                somatic = (uniform(v.shape, rng, v) < somatic).to(v.dtype)
            missed = torch.where(counts, somatic - torch.sigmoid(drive), 0.0)
            change = change + torch.einsum("bcl,bclk->ck", (steep * missed).reshape(shape), psp)
            entropy = nn.functional.softplus(drive) - somatic * drive  # of a rate of sigmoid(drive)
            loss += float(torch.where(counts, entropy, 0.0).sum()) / len(v)
        return change, loss, (state, shown), psp

    def taught(self, batch: Batch, currents: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rates taught, `[T, B, *out]`, and where there are any."""
        if batch.targets is not None and batch.targets.is_floating_point():
            require_rates(batch.targets, currents)
            wanted, known = batch.targets.to(currents), torch.ones_like(currents, dtype=torch.bool)
        else:
            classes = labels_by_step(Run(currents), batch, IGNORED, some=False)
            known = (classes != IGNORED)[..., None].expand(currents.shape)
            hot = nn.functional.one_hot(classes.clamp(min=0), currents.shape[2]).to(currents)
            wanted = self.low + (self.high - self.low) * hot
        if batch.lengths is not None:
            known = known & counted(currents, batch.lengths).reshape(*currents.shape[:2], *[1] * (currents.ndim - 2))
        return wanted, known


def stepping(cells: Any, state: Any) -> Any:
    """Return a step of cells as a function of their current and the variables of their state."""

    def step(current: Tensor, values: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        output, after = cells.advance(current, cells.packed(state, values))
        return output, cells.unpacked(after)

    return step


def require_rates(rates: Tensor, currents: Tensor) -> None:
    """Raise ValueError for rates of other steps, samples or cells than currents `[T, B, *out]`, or out of range."""
    if rates.shape != currents.shape:
        raise ValueError(
            f"the rates in targets have shape {tuple(rates.shape)}, and the last layer has {tuple(currents.shape)} "
            "steps, samples and cells: give one rate for each, rules.Batch(x, targets=rates)"
        )
    if not bool(((rates > 0) & (rates < 1)).all()):
        raise ValueError(
            f"the rates in targets lie between {float(rates.min()):g} and {float(rates.max()):g}: give probabilities "
            "of a spike in a step, above 0 and below 1, such as targets.clamp(0.05, 0.95)"
        )


def last(model: nn.Module) -> Site:
    """Return the last layer.

    Raises:
        UnfitModel: where its soma is reset or refractory, it has no dendrite, or its cells hear each other.
    """
    top = sites(model)[-1]
    neuron: Any = top.layer.cells.neuron
    if not hasattr(neuron, "predicted"):
        raise UnfitModel(
            f"{top.name} is made of {type(neuron).__name__}, which has no dendrite: build the model with "
            "sandbox.build(..., readout=sandbox.neurons.TwoCompartment(reset='none'))"
        )
    if getattr(neuron, "reset", "none") != "none":
        raise UnfitModel(
            f"the soma of {top.name} is reset, reset={neuron.reset!r}, and then its potential tells no rate: use "
            f"{type(neuron).__name__}(reset='none')"
        )
    if getattr(neuron, "t_refractory", 0.0):
        raise UnfitModel(
            f"the soma of {top.name} is refractory, t_refractory={neuron.t_refractory:g}, and is not free to tell a "
            f"rate then: use {type(neuron).__name__}(reset='none', t_refractory=0.0)"
        )
    if top.recurrent is not None:
        raise UnfitModel(
            f"the cells of {top.name} hear each other, and its dendrites predict from the layer below alone: leave the "
            "last layer without recurrent weights"
        )
    return top
