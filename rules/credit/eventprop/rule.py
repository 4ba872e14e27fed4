"""EventProp as a credit: the gradient by the times of spikes, in the time steps of a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from rules.contract import Batch, Claim, Continues, Credit, CreditRule, Objective, Run, own_parameters
from rules.credit.eventprop.grazing import GRAZING, warn_of_grazing
from rules.credit.eventprop.linear import Linear, step_of
from rules.credit.eventprop.stepped import Found, Given, Steep, currents_adjoint, steep
from rules.credit.eventprop.untimed import untimed
from rules.errors import unknown
from rules.fields import at_least, check_fields
from rules.forward import fold, map_tensors
from rules.metering import Meter
from rules.sites.admission import arranged, require_learned
from rules.sites.plain import require_plain
from rules.sites.site import Site, sites
from rules.spikes.surrogate import differentiating

SILENT = {"none": "they get no gradient", "raise": "their weights grow"}


class Held(NamedTuple):
    """What the backward pass needs of a layer."""

    site: Site
    x: Tensor  # input [T, B, *in]
    currents: Tensor  # [T, B, *out], with the graph of the synapse alone; of a layer that does not fire unused
    output: Tensor  # [T, B, *out]; with the graph of synapse and cells if they do not fire
    cells: Linear | None  # None for a layer that does not fire
    u: Tensor | None  # V before the reset, less the threshold, [T, B, *out]
    start: Any  # the carry before the first step


@dataclass(frozen=True)
class EventProp(CreditRule):
    """Gradients through the times of spikes: no surrogate, and a loss that depends on spikes through their times.

    The exact adjoint of current-based cells is `rules.credit.eventprop.spike_times`, which needs no steps. Here it runs
    in the steps of a model, and goes to that gradient with O(dt). The forward pass keeps spikes, and the slope of V at
    them; layers that do not fire, such as a leaky read-out, are differentiated by autograd, so any loss of their
    voltage can be learned from. A loss that counts the spikes of the output has no derivative by their times, which a
    finding of health says.

    Cells must be linear below the threshold and be set back in the membrane alone: `cuba_lif`, `alpha_lif`, and `lif`,
    whose spikes, without a synapse that filters, act in one step, so that nothing converges between such layers.

    Args:
        silent: what happens to cells that did not fire in a batch: "none", the default, or "raise", by which their
            gradient becomes `-bump` for each weight they receive, beside what else they get.
        bump: size of that gradient, 0.1 by default.
        grazing: slope of V at the threshold, as a share of its fall over tau_mem, below which to warn of a gradient
            that explodes; nothing is clipped.

    Raises:
        ValueError: for another word, or a number below 0; for an objective that wants more than the output.
        UnfitModel: for layers that are not one linear synapse and cells, and for cells that do not fit.

    >>> EventProp(silent="raise").claim
    'none'

    Reference: Wunderlich & Pehle 2021 (doi 10.1038/s41598-021-91786-z); in steps first in Nowotny et al. 2022 (arXiv
    2212.01232, recalled), here by secants and differences of ours. Raising the weights of silent cells: code of the
    authors and of lolemacs/pytorch-eventprop.
    """

    silent: str = "none"
    bump: float = 0.1
    grazing: float = GRAZING

    needs: ClassVar[frozenset[str]] = frozenset({"layers", "cells"})
    claim: ClassVar[Claim] = "none"  # it is the gradient of the network without steps, up to O(dt)
    relies_on: ClassVar[frozenset[str]] = frozenset({"independent"})
    continues: ClassVar[Continues] = "state"
    passes_back: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_fields(self)
        at_least(0, self, "bump", "grazing")
        if self.silent not in SILENT:
            raise unknown("silent", self.silent, SILENT)

    def suits(self, objective: Objective) -> None:
        """Raise ValueError for an objective that looks inside the network."""
        if inside := objective.needs - {"labels"}:
            raise ValueError(
                f"{type(objective).__name__} looks at {', '.join(sorted(inside))}, and EventProp carries back what the "
                'output is worth: use an objective of the output, such as "ce_mean" or "ce_ttfs", or rules.make("bptt")'
            )

    def parameters(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """Return the weights and biases of the synapses, and the recurrent weights."""
        return {name: p for site in sites(model) for name, p in site.parameters().items()}

    def confirm(self, model: nn.Module, batch: Batch) -> None:
        """Raise UnfitModel for a model that is more than its layers, or whose cells do not fit."""
        places = sites(model)
        require_plain(model, places, arranged(model, batch))
        for site in places:
            step_of(site)

    def assign(self, model: nn.Module, objective: Objective, batch: Batch, state: Any, rng: torch.Generator) -> Credit:
        """Return the gradient by the times of spikes, the objective's own included."""
        views = objective.views(batch, rng)
        x, places = arranged(model, views), sites(model)
        require_learned(model, places)
        own = own_parameters(objective)
        with Meter(model, objective) as meter, differentiating(generator=rng), torch.enable_grad():
            held, carry = forward(places, x, views.carry)
            output = held[-1].output
            if held[-1].cells is not None:
                output = output.detach().requires_grad_()
            loss = objective(Run(output, carry), views)
            wanted = [output, *own.values()] if loss.requires_grad else []
            slopes = torch.autograd.grad(loss, wanted, allow_unused=True) if wanted else ()
            found = dict(zip(own, slopes[1:], strict=True)) if slopes else {}
            worth = slopes[0] if slopes and slopes[0] is not None else torch.zeros_like(output)
            grads = {name: g for name, g in found.items() if g is not None}
            info = {"spikes": 0.0, "grazing": 0.0, "silent_cells": 0.0}
            errors = None
            for number in range(len(held) - 1, -1, -1):
                layer = held[number]
                upper = held[number + 1] if errors is not None else None
                errors, by_name = self._through(layer, upper, worth if errors is None else errors, number > 0, info)
                if self.silent == "raise" and layer.cells is not None:
                    self._raise(layer, by_name)
                for name, g in by_name.items():
                    grads[name] = grads[name] + g if name in grads else g
        cost = meter.cost(forwards=1, backwards=1)
        top, carry = held[-1], map_tensors(Tensor.detach, carry)
        ill = () if top.cells is None else tuple(untimed(top.site.name, output, objective, views, loss.detach()))
        return Credit(grads, state, float(loss.detach()), cost, carry, info, findings=ill)

    def _through(
        self, layer: Held, upper: Held | None, worth: Tensor, down: bool, info: dict[str, float]
    ) -> tuple[Tensor | None, dict[str, Tensor]]:
        """Return what the currents of a layer are worth, if a layer below needs it, and the gradients of its weights.

        `worth` is that of the output, or with `upper` that of the currents of the layer above.
        """
        if layer.cells is None:
            errors, by_name = through_smooth(layer, worth if upper is None else carried_down(upper, worth))
            return errors, by_name | synaptic(layer, errors)
        assert layer.u is not None
        own: Any = layer.site.layer.cells
        start = own.unpacked(layer.start[0])[0]
        found: Found | None = None
        if hasattr(own, "event_adjoint"):
            direct = upper if upper is not None and dense(upper) else None
            below = worth if upper is None or direct else carried_down(upper, worth)
            weight: Any = None if direct is None else direct.site.weigh.weight
            above, plain = None if direct is None else direct.currents, layer.currents if dense(layer) else None
            given = Given(layer.u, start, layer.output, below.detach(), weight, above, layer.x, plain, down)
            found = own.event_adjoint(layer.cells, given, self.grazing)
        seen = steep(layer.cells, layer.u, start, layer.output) if found is None or found.flat else None
        if seen is not None:
            rows = seen.slopes.flatten(2).permute(1, 2, 0)
            times = (1 + torch.arange(rows.shape[2], device=rows.device)) * layer.cells.dt
            info["grazing"] += warn_of_grazing(layer.site.name, rows, times.expand_as(rows), self.grazing)
        each = layer.output.flatten(0, 1).sum(0) if found is None else found.fired
        info["spikes"] += float(each.sum())
        info["silent_cells"] += int((each == 0).sum())
        if found is not None:
            return found.errors, summed(layer, found)
        assert seen is not None
        errors, by_name = through_spikes(layer, layer.cells, seen, carried_down(upper, worth) if upper else worth)
        return errors, by_name | synaptic(layer, errors)

    def _raise(self, layer: Held, grads: dict[str, Tensor]) -> None:
        """Let the weights of silent cells grow, those from below alone."""
        weight: Any = layer.site.weigh.weight
        name = layer.site.names[id(weight)]
        if name in grads:
            fired = layer.output.flatten(0, 1).flatten(2).sum((0, 2)) if layer.output.ndim > 3 else None
            fired = layer.output.flatten(0, 1).sum(0) if fired is None else fired
            grads[name] = grads[name] - self.bump * (fired == 0).to(weight).view(-1, *[1] * (weight.ndim - 1))


def forward(places: list[Site], x: Tensor, carry: Any) -> tuple[list[Held], Any]:
    """Run layer after layer on `[T, B, *in]`; graphs end where spikes begin."""
    held: list[Held] = []
    ends = []
    for number, site in enumerate(places):
        x = x.detach()
        if number:
            x = x.requires_grad_()
        currents = fold(site.layer.synapse, x)
        if not currents.requires_grad:  # nothing of it is trained
            currents.requires_grad_()
        start: Any = site.rest(currents[0].detach()) if carry is None else carry[number]
        cells = step_of(site)
        if cells is not None:
            with torch.no_grad():
                run = site.layer.respond(x, currents.detach(), start, True)
            held.append(Held(site, x, currents, run.output, cells, run.traces[0].u, start))
        else:
            run = site.layer.respond(x, currents, start, False)
            held.append(Held(site, x, currents, run.output, None, None, start))
        x = run.output
        ends.append(run.carry)
    return held, tuple(ends)


def dense(layer: Held) -> bool:
    """Return whether the currents of a layer are a matrix times its input, and no more."""
    weigh = layer.site.weigh
    plain = isinstance(weigh, nn.Linear) and all(p is weigh.weight or p is weigh.bias for p in weigh.parameters())
    return plain and not layer.site.before and not layer.site.behind


def carried_down(layer: Held, errors: Tensor) -> Tensor:
    """Return what the input of a layer is worth, given its currents."""
    (found,) = torch.autograd.grad(layer.currents, layer.x, errors, retain_graph=True)
    return found


def through_smooth(layer: Held, worth: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Return what the currents of a layer that does not fire are worth, and gradients of its recurrent weights."""
    recurrent = layer.site.recurrent
    named = {} if recurrent is None else {layer.site.names[id(p)]: p for p in recurrent.parameters()}
    named = {name: p for name, p in named.items() if p.requires_grad}
    errors, *slopes = torch.autograd.grad(layer.output, [layer.currents, *named.values()], worth, retain_graph=True)
    return errors, dict(zip(named, slopes, strict=True))


def through_spikes(layer: Held, cells: Linear, seen: Steep, worth: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Return what the currents of a layer that fires are worth, and gradients of its recurrent weights."""
    recurrent = layer.site.recurrent
    weight = None if recurrent is None else recurrent.weight.detach()
    errors = currents_adjoint(cells, seen, worth.detach(), weight)
    if recurrent is None:
        return errors, {}
    heard = torch.cat([layer.start[1][None], layer.output[:-1]])
    found = {recurrent.weight: torch.einsum("tbn,tbm->nm", errors, heard)}
    if isinstance(recurrent.bias, nn.Parameter):
        found[recurrent.bias] = errors.sum((0, 1))
    return errors, {layer.site.names[id(p)]: g for p, g in found.items() if p.requires_grad}


def summed(layer: Held, found: Found) -> dict[str, Tensor]:
    """Return the gradients of the weights and biases of a synapse, those that were found on the way."""
    if found.weight is None:
        assert found.errors is not None
        return synaptic(layer, found.errors)
    weigh: Any = layer.site.weigh
    pairs = ((weigh.weight, found.weight), (weigh.bias, found.bias))
    return {layer.site.names[id(p)]: g for p, g in pairs if p is not None and p.requires_grad}


def synaptic(layer: Held, errors: Tensor) -> dict[str, Tensor]:
    """Return the gradients of the weights and biases of a synapse."""
    named = {layer.site.names[id(p)]: p for p in layer.site.weigh.parameters() if p.requires_grad}
    if dense(layer):  # autograd would carry the errors down as well
        weigh: Any = layer.site.weigh
        above, x = (part.detach().flatten(0, 1) for part in (errors, layer.x))
        found = {id(weigh.weight): above.T @ x} | ({} if weigh.bias is None else {id(weigh.bias): above.sum(0)})
        return {name: found[id(p)] for name, p in named.items()}
    slopes = torch.autograd.grad(layer.currents, list(named.values()), errors, retain_graph=True) if named else ()
    return dict(zip(named, slopes, strict=True))
