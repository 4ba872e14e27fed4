"""Brian2's synaptic equations as a credit rule."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rules.contract import Batch, Claim, Continues, Cost, Credit, CreditRule, Objective
from rules.credit.spike_timing.ailments import unpaired
from rules.credit.spike_timing.passing import (
    Carried,
    Passed,
    begun,
    bytes_of,
    firing,
    passed,
    stepping,
    weights_of,
)
from rules.credit.spike_timing.stdp import refuse_teacher
from rules.diagnostics.health import Finding
from rules.metering import Meter
from rules.sites.admission import arranged
from rules.sites.plain import matrix, require_plain
from rules.sites.site import Site, sites
from rules.spikes.surrogate import differentiating
from rules.steps import counted
from sandbox.reference.synapses.prepare import Prepared, Settings, prepared, program_of
from sandbox.reference.synapses.program import State, started, stepped


@dataclass(frozen=True)
class CompiledSynapses(CreditRule):
    """Plasticity by the equations of a Brian2 synapse: the gradient is minus the change of the weight.

    Made by `from_brian2_synapses`, which says what is compiled. Each sample of a batch, and each place of a
    convolution, begins at the weights of the model and runs the equations over its spikes; the gradient is minus the
    change from beginning to end, a sum over places and a mean over samples, so that SGD with a rate of 1 makes the
    change itself for one sample. The weights of the model stand still within the batch, or within each window of a
    rule with `every`, so that the cells do not hear what has changed. In Brian2 a change acts on the cells from the
    next step on: so it is with `every=1` and one sample.

    An input that is not 0 is a spike. Biases, and layers whose cells do not fire, stay as they are. There is no loss.

    Args:
        model: equations.
        on_pre: names and texts of the pathways that a spike of an input runs.
        on_post: of those that a spike of a cell runs.
        method: Brian2's name of the scheme for clock-driven equations; None for Brian2's choice.
        namespace: constants, as text such as "20.0 * ms".
        weight: the variable that is the weight, in house units.
        order: of pathways in a step, by name.
        initial: of other variables, in house units.

    Raises:
        ValueError: as `from_brian2_synapses`.
        UnfitModel: for a model without spiking cells, or whose layers are not made of one linear synapse and cells.

    >>> rule = CompiledSynapses("w : 1", on_pre=(("pre", "v_post += w; w *= 0.5"),))
    >>> rule.additive, rule.continues
    (False, 'state')
    """

    model: str
    on_pre: tuple[tuple[str, str], ...] = ()
    on_post: tuple[tuple[str, str], ...] = ()
    method: str | None = None
    namespace: tuple[tuple[str, str], ...] = ()
    weight: str = "w"
    order: tuple[tuple[str, int], ...] = ()
    initial: tuple[tuple[str, float], ...] = ()

    needs: ClassVar[frozenset[str]] = frozenset({"layers", "cells"})
    claim: ClassVar[Claim] = "none"  # it has no loss, and so no gradient
    relies_on: ClassVar[frozenset[str]] = frozenset({"independent"})
    asks: ClassVar[bool] = False

    def __post_init__(self) -> None:
        self.prepared  # noqa: B018  # refuses what cannot be compiled

    @property
    def settings(self) -> Settings:
        """All fields, as what the compiler remembers a model by."""
        return Settings(
            self.model, self.on_pre, self.on_post, self.method, self.namespace, self.weight, self.order, self.initial
        )

    @property
    def prepared(self) -> Prepared:
        """The model, checked."""
        return prepared(self.settings)

    @property
    def additive(self) -> bool:
        """Whether the change does not depend on the weight."""
        return self.prepared.text.additive(self.weight)

    @property
    def continues(self) -> Continues:  # type: ignore[override]  # a window begins at the weights of the model
        return "traces" if self.additive else "state"

    def suits(self, objective: Objective) -> None:
        """Raise ValueError for an objective with a teacher, which would teach nothing."""
        refuse_teacher("CompiledSynapses learns from spikes", objective)

    def parameters(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """Return the weights of the layers that fire, by name."""
        return {name: p for site in firing(model) for name, p in weights_of(site).items()}

    def confirm(self, model: nn.Module, batch: Batch) -> None:
        """Raise UnfitModel for a model that is more than its layers."""
        require_plain(model, sites(model), arranged(model, batch))

    def run(
        self,
        weight: Tensor,
        pre: Tensor,
        post: Tensor,
        dt: float,
        state: State | None = None,
        alive: Tensor | None = None,
    ) -> Iterator[tuple[State, int]]:
        """Yield the variables after each step, by name, and the number of operations of the step.

        Args:
            weight: at the beginning, `[C, K]`.
            pre: inputs, `[T, B, L, K]`: L places that share the weights; 0 for no spike.
            post: spikes of the cells, `[T, B, C, L]`.
            dt: time step [ms].
            state: the other variables after the step before; None at the beginning of a sequence.
            alive: which steps of a sample count, `[T, B]`; None for all.

        Each variable broadcasts to `[B, C, L, K]`: one that only spikes of inputs change is `[B, 1, L, K]`.
        """
        program = program_of(self.settings, float(dt))
        now = started(program, self.weight, weight[None, :, None]) | (state or {})
        for number, (x, y) in enumerate(zip(pre.unbind(0), post.unbind(0), strict=True)):
            first = state is None and number == 0
            after, spent = stepped(program, now, x[:, None] != 0, y[..., None] != 0, first)
            if alive is not None:
                lives = alive[number, :, None, None, None]
                after = {name: torch.where(lives, value, now[name]) for name, value in after.items()}
            now = after
            yield now, spent

    def assign(self, model: nn.Module, objective: Objective, batch: Batch, state: Any, rng: torch.Generator) -> Credit:
        """Return minus the change by the spikes of a batch."""
        x, places, known = arranged(model, batch), sites(model), self.parameters(model)
        now = begun(batch.carry, self)
        grads: dict[str, Tensor] = {}
        traces: list[tuple[Tensor, ...]] = []
        ill: list[Finding] = []
        with torch.no_grad(), differentiating(generator=rng), Meter(model) as meter:
            layers = passed(places, x, now.model, batch.lengths)
            for number, layer in enumerate(layers):
                names = [name for name in weights_of(layer.site) if name in known]
                if not names:
                    traces.append(())
                    continue
                long = len(layer.post) * stepping(layer.site) >= self.prepared.fastest
                if self.on_pre and self.on_post and batch.carry is None and long:
                    ill += unpaired("CompiledSynapses", layer)
                change, ends, spent = self._changed(layer, batch.lengths, now.traces[number] if now.traces else None)
                found = layer.site.gradients(-change / x.shape[1])
                for name in names:
                    grads[name] = grads[name] + found[name] if name in grads else found[name]
                traces.append(ends)
                meter.add(weight_operations=spent)
        carry = Carried(tuple(layer.carry for layer in layers), tuple(traces), now.of)
        cost = meter.cost(forwards=1, backwards=0) + Cost(trace_bytes=bytes_of(traces))
        return Credit(grads, state, 0.0, cost, carry, findings=tuple(ill))

    def _changed(
        self, layer: Passed, lengths: Tensor | None, kept: tuple[Tensor, ...] | None
    ) -> tuple[Tensor, tuple[Tensor, ...], int]:
        """Return the change of all weights `[C, K]`, summed over samples; the other variables; and the operations."""
        learned = _learned(layer.site).to(layer.pre.device)
        start, pre = matrix(layer.site)[:, learned], layer.pre[..., learned]
        names = [name for name in self.prepared.text.variables if name != self.weight]
        full = (pre.shape[1], start.shape[0], pre.shape[2], start.shape[1])
        before = None if kept is None else dict(zip(names, _fitting(kept, full, len(names)), strict=True))
        alive = None if lengths is None else counted(layer.post, lengths)
        spent, now = 0, {self.weight: start[None, :, None]}
        for after, operations in self.run(start, pre, layer.post, stepping(layer.site), before, alive):
            now, spent = after, spent + operations
        change = start.new_zeros(start.shape[0], layer.pre.shape[3])
        change[:, learned] = (now[self.weight] - start[None, :, None]).expand(full).sum((0, 2))
        return change, tuple(now[name] for name in names), spent


def _fitting(kept: tuple[Tensor, ...], full: tuple[int, ...], count: int) -> tuple[Tensor, ...]:
    """Return the variables of a carry; raise ValueError if they are not those of these samples and cells."""
    fits = all(size in (1, whole) for each in kept for size, whole in zip(each.shape, full, strict=True))
    if len(kept) != count or not fits:
        raise ValueError(
            f"the carry has variables of shapes {[tuple(each.shape) for each in kept]}, and this batch has synapses "
            f"{full}: continue a sequence with the rule and the samples that began it, or begin anew with carry=None"
        )
    return kept


def _learned(site: Site) -> Tensor:
    """Return the columns of a layer that are weights, without the bias, to which no spike belongs."""
    columns = torch.arange(site.width())
    recurrent = 0 if site.recurrent is None else site.recurrent.weight.shape[1]
    own = site.width() - recurrent - site.ones
    return columns[(columns < own) | (columns >= own + site.ones)]
