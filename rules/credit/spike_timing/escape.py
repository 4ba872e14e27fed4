"""Reward times the score of random spikes: an estimate of the gradient of the expected reward, by local traces."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from rules.contract import Batch, Claim, Continues, Cost, Credit, CreditRule, Local, Objective, Run
from rules.credit.spike_timing.modulated import require_times
from rules.credit.spike_timing.modulation import BASELINES, fresh, modulated
from rules.credit.spike_timing.passing import Carried, begun, bytes_of, firing, silence, stepping
from rules.credit.spike_timing.scores import require_open, scored
from rules.credit.spike_timing.stdp import refuse_teacher
from rules.diagnostics.as_drawn import as_drawn
from rules.errors import unknown
from rules.fields import check_fields
from rules.forward import fold, map_tensors
from rules.local import differentiated
from rules.metering import Meter
from rules.models.admission import UnfitModel
from rules.sites.admission import arranged
from rules.sites.plain import require_plain
from rules.sites.reward import require_rewards
from rules.sites.site import Site, placed, sites, weighing
from rules.spikes.surrogate import Surrogate, differentiating
from rules.steps import counted


class Scored(NamedTuple):
    """A layer in some consecutive steps, whose `shown` are derivatives of the log-probability of its spikes."""

    site: Site
    pre: Tensor  # what entered each weight, [T, B, L, K]
    local: list[Local]  # of each step
    output: Tensor  # [T, B, *out]
    carry: Any


@dataclass(frozen=True)
class EscapeNoise(CreditRule):
    """REINFORCE for cells that fire at random: each step changes a weight by `m el`, el the score of its spikes so far.

        el[t] = exp(-dt / tau_e) el[t-1] + sum over the cell's places of (z - p) p' / (p (1 - p)) dv[t]/dw

    A cell fires with probability `p = P(u)`, P the escape function, u the distance to threshold as its surrogate sees
    it; p' is the surrogate itself. `dv/dw` is the trace of the weight with the spikes as they fell, through leak, reset
    and adaptation. Without a limit to its memory, the mean over spikes is the gradient of the expected sum of rewards,
    with any number of layers and recurrent weights. A read-out that does not fire stays as it is.

    `m` is the reward, as in `RewardSTDP`. Cells with logistic noise of their own, such as `StochasticBinary`, keep it;
    all others get the noise of `surrogate` while they learn, and in evaluation in the mode "drawn", the default.

    Args:
        surrogate: its primitive is the escape function: "sigmoid" by default.
        tau_e: time constant of the eligibility [ms]; None, by default, for one that keeps all.
        baseline: "none", by default; "mean" subtracts the running mean of the reward, which leaves the mean.
        memory: of "mean", the share that is kept in a step, 0.9 by default.

    Raises:
        ValueError: for an unknown baseline, a number out of range, and a surrogate whose primitive does not rise from 0
            to 1.
        UnfitModel: for cells that draw in another way, such as `EscapeLIF`, which adds its noise to the threshold.

    >>> EscapeNoise().surrogate
    Surrogate('sigmoid')

    Reference: Williams 1992 (doi 10.1007/BF00992696), for the score; Pfister, Toyoizumi, Barber & Gerstner 2006 (doi
    10.1162/neco.2006.18.6.1318), for spikes with escape noise; reconstructed.
    """

    surrogate: Surrogate | str = "sigmoid"
    tau_e: float | None = None
    baseline: Literal["none", "mean"] = "none"
    memory: float = 0.9

    needs: ClassVar[frozenset[str]] = frozenset({"layers", "cells", "labels"})  # or rewards
    inferences: ClassVar[tuple[str, ...]] = ("drawn", "plain")
    relies_on: ClassVar[frozenset[str]] = frozenset({"independent"})
    asks: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.baseline not in BASELINES:
            raise unknown("baseline", self.baseline, BASELINES)
        check_fields(self)
        require_times(self.tau_e, self.memory)
        if isinstance(self.surrogate, str):  # a name, as in a configuration file
            object.__setattr__(self, "surrogate", Surrogate(self.surrogate))
        require_open(self.surrogate)  # type: ignore[arg-type]

    @property
    def claim(self) -> Claim:  # type: ignore[override]  # of the gradient of minus the expected sum of rewards
        return "unbiased" if self.tau_e is None else "none"

    @property
    def continues(self) -> Continues:  # type: ignore[override]  # a running mean moves between windows
        return "traces" if self.baseline == "none" and self.tau_e is None else "state"

    def suits(self, objective: Objective) -> None:
        """Raise ValueError for an objective with a teacher, which would teach nothing."""
        refuse_teacher("EscapeNoise learns from rewards", objective)

    def parameters(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """Return the weights and biases of the layers that fire, by name."""
        return {name: p for site in firing(model) for name, p in site.parameters().items()}

    def init(self, model: nn.Module, rng: torch.Generator) -> Any:
        """Return an empty running mean, or nothing."""
        return fresh(self.baseline)

    def confirm(self, model: nn.Module, batch: Batch) -> None:
        """Raise UnfitModel for a model that is more than its layers, and for cells whose threshold is random."""
        require_plain(model, sites(model), arranged(model, batch))
        for site in firing(model):
            require_given_noise(site)

    def infer(self, run: Callable[[Batch], Run], batch: Batch, mode: str, rng: torch.Generator) -> Run:
        """Run the model with the noise of learning, or without."""
        if mode == "plain":
            return run(batch)
        with self._drawing(rng):
            return run(batch)

    def assign(self, model: nn.Module, objective: Objective, batch: Batch, state: Any, rng: torch.Generator) -> Credit:
        """Return minus the sum over steps of reward times score."""
        x, places, known = arranged(model, batch), sites(model), self.parameters(model)
        require_rewards(batch, x)
        now = begun(batch.carry, self)
        grads: dict[str, Tensor] = {}
        traces: list[tuple[Tensor, ...]] = []
        with torch.no_grad(), self._drawing(rng), Meter(model) as meter:
            layers = drawn(places, x, now.model, batch.lengths)
            third = modulated(batch, layers[-1].output, self.baseline, self.memory, state)
            for number, layer in enumerate(layers):
                names = [name for name in layer.site.parameters() if name in known]
                if not names:
                    traces.append(())
                    continue
                leak = 1.0 if self.tau_e is None else math.exp(-stepping(layer.site) / self.tau_e)
                kept = now.traces[number] if now.traces else blank(layer)
                change, ends = eligible(layer, third.gate.to(x), leak, kept)
                found = layer.site.gradients(-change / x.shape[1])
                for name in names:
                    grads[name] = grads[name] + found[name] if name in grads else found[name]
                traces.append(ends)
                past, held = ends
                entries = past[0].numel() * (len(past) + 1) ** 2 + 2 * held.numel()
                meter.add(weight_operations=len(x) * entries, random_bits=layer.output.numel())
        carry = Carried(tuple(layer.carry for layer in layers), tuple(traces), now.of)
        cost = meter.cost(forwards=1, backwards=0) + Cost(trace_bytes=bytes_of(traces))
        classes = batch.targets is None or not batch.targets.is_floating_point()
        learning = weighing(firing(model))
        ill = tuple(as_drawn("EscapeNoise", weighing(places), learning, judged=True)) if classes else ()
        return Credit(grads, third.state, third.loss, cost, carry, findings=ill)

    def _drawing(self, rng: torch.Generator) -> AbstractContextManager[Any]:
        return differentiating(spike=scored(self.surrogate, rng), generator=rng)  # type: ignore[arg-type]


def require_given_noise(site: Site) -> None:
    """Raise UnfitModel for cells that count spikes, or whose distance to threshold is drawn and says no probability."""
    distances: list[Tensor] = []

    def look(own: Surrogate, u: Tensor, strict: bool, noise: Tensor | None) -> Tensor:
        distances.append(u)
        return torch.zeros_like(u)

    for seed in (0, 1):
        rng = torch.Generator().manual_seed(seed)
        with torch.no_grad(), differentiating(spike=look, generator=rng):
            nothing = silence(site)
            site.layer.cells.advance(nothing, site.rest(nothing)[0])  # type: ignore[operator]
    kind = type(getattr(site.layer.cells, "neuron", site.layer.cells)).__name__
    remedy = (
        "use cells without noise, such as sandbox.LIF(), which get that of this rule, or "
        "sandbox.neurons.StochasticBinary()"
    )
    if len(distances) != 2:
        raise UnfitModel(f"{site.name} is made of {kind}, which does not fire once by a surrogate in a step: {remedy}")
    if not torch.equal(*distances):
        raise UnfitModel(
            f"{site.name} is made of {kind}, whose threshold is drawn, which says no probability of a spike: {remedy}"
        )


def drawn(places: list[Site], x: Tensor, carry: Any, lengths: Tensor | None) -> list[Scored]:
    """Run layer after layer on an input `[T, B, *in]`, step by step: a spike and its score are of one draw."""
    found: list[Scored] = []
    for number, site in enumerate(places):
        currents = fold(site.layer.synapse, x)
        state, shown = site.rest(currents[0]) if carry is None else carry[number]
        heard, outputs, local = [shown], [], []
        for current in currents.unbind(0):
            if site.recurrent is not None:
                current = current + site.recurrent(shown)
            output, state, slopes = stepped(site, current, state)
            shown = None if shown is None else output
            outputs.append(output)
            local.append(slopes)
            heard.append(shown)
        output = torch.stack(outputs)
        pre = site.columns(x, *([] if site.recurrent is None else [torch.stack(heard[:-1])]))  # type: ignore[arg-type]
        if lengths is not None:
            pre = pre * counted(output, lengths)[..., None, None]
        found.append(Scored(site, pre, local, output, (state, shown)))
        x = output
    return found


def stepped(site: Site, current: Tensor, state: Any) -> tuple[Tensor, Any, Local]:
    """Take a step of the cells: the output, the state, and the derivatives, of one and the same draw."""
    cells: Any = site.layer.cells
    seen: list[Any] = []

    def step(current: Tensor, values: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        output, after = cells.advance(current, cells.packed(state, values))
        seen.append((output.detach(), map_tensors(torch.detach, after)))
        return output, cells.unpacked(after)

    local = differentiated(step, current, cells.unpacked(state))
    ((output, after),) = seen
    return output, after, local


def blank(layer: Scored) -> tuple[Tensor, Tensor]:
    """Return the traces before the first step: of the states `[k, B, C, L, K]`, and the eligibility `[B, C, K]`."""
    cells = placed(layer.output)[0]  # [B, C, L]
    width = layer.pre.shape[3]
    variables = len(layer.local[0].driven)
    return cells.new_zeros(variables, *cells.shape, width), cells.new_zeros(*cells.shape[:2], width)


def eligible(
    layer: Scored, gate: Tensor, leak: float, kept: tuple[Tensor, ...]
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Return the sum over steps and samples of gate times eligibility, `[C, K]`, and the traces at the end.

    past[t] = kept past[t-1] + driven pre[t];  el[t] = leak el[t-1] + score . (past[t-1], pre[t])
    """
    past, held = kept
    cells = placed(layer.output).shape[1:]
    total = held.new_zeros(held.shape[1:])
    for pre, local, worth in zip(layer.pre, layer.local, gate, strict=True):
        keeps, driven, score = (
            part.reshape(*part.shape[: part.ndim + 1 - layer.output.ndim], *cells) for part in local
        )
        held = leak * held + torch.einsum("kbcl,kbclm->bcm", score[:-1], past)
        held = held + torch.einsum("bcl,blm->bcm", score[-1], pre)
        past = torch.einsum("jkbcl,kbclm->jbclm", keeps, past) + driven[..., None] * pre[None, :, None]
        total = total + torch.einsum("b,bcm->cm", worth, held)
    return total, (past, held)
