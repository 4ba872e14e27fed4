"""Online credit: forward traces times learning signals, in one pass through time, without storing it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from rules.contract import Batch, Claim, Continues, Cost, Credit, CreditRule, Objective, own_parameters
from rules.credit.online.influence import Influence, RankOne
from rules.credit.online.legal import WHOLE, require_legal
from rules.credit.online.walk import Walk, bytes_of
from rules.draws import scale
from rules.fields import at_least, check_fields
from rules.following import followed
from rules.local import couples
from rules.metering import Meter
from rules.models.admission import UnfitModel
from rules.sites.admission import arranged, require_learned
from rules.sites.plain import probe, require_plain
from rules.sites.site import Site, sites
from rules.spikes.surrogate import Surrogate, differentiating


@dataclass(frozen=True)
class Online(CreditRule):
    """Credit through time from what is known at each step: `dLoss/dW = sum_t S[t] e[t]`.

    The trace `e` says how much of the past a weight remembers, the signal `S` who tells a layer what its output is
    worth. Memory does not grow with the number of steps.

    | trace | remembers | of |
    | --- | --- | --- |
    | "influence" | how all states depend on every weight: all there is | RTRL |
    | "rank_one" | the same as one outer product of random signs, right on average | UORO |
    | "synapse" | the past of each weight's own cell, all its state variables | e-prop, OSTL, SnAp-1, OTPE |
    | "presynaptic" | the input, filtered by a leak that all cells share | OTTT, DECOLLE |
    | "step" | nothing | SLTT, `BPTT(window=1)` |

    | signal | comes from |
    | --- | --- |
    | "symmetric" | the loss of this step, through the weights themselves |
    | "random" | the error at the output, through fixed random weights to every layer |
    | "adaptive" | the same, but those to the last hidden layer get the updates that the read-out gets |
    | "local" | a loss of each layer's own, at a fixed random read-out |
    | "reward" | `batch.targets`, one number a step for all cells; for classes, whether the output is right |

    Args:
        trace: how much of the past is remembered, "synapse" by default.
        signal: who tells a layer, "symmetric" by default.
        filter: a low-pass of the traces: "readout" with the leak of the read-out, as in e-prop; "next" with that of
            the layer above, whose surrogate is then averaged over time, as in OTPE; None for none, the default.
        depth: how a symmetric signal reaches the layers: "spatial" by backpropagation within the step; "last" not
            below the last hidden layer, whose weights and those of the read-out are all that learn.
        surrogate: replaces every neuron's own; None keeps those.
        detach_reset: whether traces skip the reset, True by default; they always follow adaptation.
        own_recurrence: whether a trace follows a cell's recurrent weight to itself, False by default.
        rate: weight of a penalty on firing rates f, `rate / 2 sum_cells (f - target_rate)^2`, 0 by default. f is the
            mean over the steps that count, of all samples, also where processes share them. A window has a penalty on
            its own rates, weighted by its share of the steps of the sequence.
        decay: of "adaptive", the share of the feedback weights that is lost in an update, 1e-3 by default; the read-out
            must lose as much, as `rules.make("eprop", signal="adaptive")` sets it.
        target_rate: spikes of a cell per step, 0.01 by default: 10 Hz in steps of 1 ms.

    Raises:
        ValueError: for a combination that means nothing; says which does.
        UnfitModel: for a model whose layers are not made of one linear synapse and cells that do not see each other.

    >>> Online().claim, Online(signal="random").claim
    ('exact', 'none')

    Reference: the axes are those of Marschall, Cho & Savin 2020 (recalled) and of braintrace (code read); the sources
    of the members stand with the traces.
    """

    trace: str = "synapse"
    signal: str = "symmetric"
    filter: str | None = None
    depth: str = "spatial"
    surrogate: Surrogate | str | None = None
    detach_reset: bool = True
    own_recurrence: bool = False
    rate: float = 0.0
    target_rate: float = 0.01
    decay: float = 1e-3

    needs: ClassVar[frozenset[str]] = frozenset({"layers", "cells"})
    relies_on: ClassVar[frozenset[str]] = frozenset({"independent"})

    def __post_init__(self) -> None:
        check_fields(self)
        at_least(0, self, "rate")
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay={self.decay}: give a share for each update, from 0 to below 1")
        if not 0 <= self.target_rate <= 1:
            raise ValueError(
                f"target_rate={self.target_rate}: give spikes of a cell per step, from 0 to 1; 10 Hz in steps of 1 ms "
                "is target_rate=0.01"
            )
        if isinstance(self.surrogate, str):  # a name, as in a configuration file
            object.__setattr__(self, "surrogate", Surrogate(self.surrogate))
        require_legal(self)

    @property
    def claim(self) -> Claim:  # type: ignore[override]
        if self.signal != "symmetric" or self.filter or self.depth != "spatial" or self.rate:
            return "none"
        return {"influence": "exact", "synapse": "exact", "step": "exact", "rank_one": "unbiased"}.get(  # type: ignore[return-value]
            self.trace if not self.own_recurrence else "", "none"
        )

    @property
    def detaches(self) -> frozenset[str]:  # type: ignore[override]
        reset = {"reset"} if self.detach_reset else set()
        if self.trace in WHOLE:
            return frozenset(reset)
        past = {"past"} if self.trace == "step" else {"upper_membrane"}
        return frozenset(reset | past | {"recurrent_spikes"})

    @property
    def timing(self) -> Literal["sequence", "step"]:  # type: ignore[override]  # a reward needs no loss
        return "sequence" if self.signal == "reward" else "step"

    @property
    def passes_back(self) -> bool:  # type: ignore[override]
        return self.signal == "symmetric" and self.trace not in WHOLE

    @property
    def continues(self) -> Continues:  # type: ignore[override]  # the penalty compares rates of a whole call
        return "state" if self.rate else "traces"

    def suits(self, objective: Objective) -> None:
        """Raise ValueError for an objective with a teacher, if this rule learns from rewards and asks no loss."""
        if self.signal == "reward" and objective.helpers():
            raise ValueError(
                f'signal="reward" learns from rewards and never asks its objective, so that the teacher of '
                f"{type(objective).__name__} would teach nothing: use a rule that lowers a loss, such as "
                'rules.make("eprop") or rules.make("bptt")'
            )

    def parameters(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """Return the weights and biases of the synapses, and the recurrent weights."""
        found: dict[str, nn.Parameter] = {}
        places = sites(model)
        for site in places[-2:] if self.depth == "last" else places:
            found |= site.parameters()
        return found

    def init(self, model: nn.Module, rng: torch.Generator) -> Any:
        """Return the seed of fixed random weights and their scale, that of the read-out; the first step shapes them."""
        if self.signal not in ("random", "adaptive", "local"):
            return {}
        weight = read_out(sites(model))
        seed = torch.randint(2**62, (), generator=rng)
        return {"seed": seed, "scale": torch.tensor(scale(weight), dtype=torch.float64)}

    def confirm(self, model: nn.Module, batch: Batch) -> None:
        """Raise UnfitModel for a model that is more than its layers, and where cells see each other."""
        places, rows = sites(model), arranged(model, batch)
        require_plain(model, places, rows)
        with torch.no_grad(), self._differentiating(torch.Generator().manual_seed(0)):
            x = probe(rows)[-1]
            for site in places:
                currents = site.layer.synapse(x)
                state, _ = site.rest(currents)
                cells: Any = site.layer.cells

                def one(current: Tensor, values: Any, cells: Any = cells, state: Any = state) -> Any:
                    output, after = cells.advance(current, cells.packed(state, values))
                    return output, cells.unpacked(after)

                if couples(one, currents, cells.unpacked(state)):
                    raise UnfitModel(
                        f"the cells of {site.name} see each other within a step, and a trace belongs to one cell: let "
                        "them act through recurrent weights, hidden=('100r',), or use rules.make('bptt')"
                    )
                x, _ = cells.advance(currents, state)

    def assign(self, model: nn.Module, objective: Objective, batch: Batch, state: Any, rng: torch.Generator) -> Credit:
        """Return the sum over steps of signals times traces, the objective's own gradient included."""
        views = objective.views(batch, rng)
        x, places = arranged(model, views), sites(model)
        require_learned(model, places)
        with torch.no_grad(), self._differentiating(rng):
            kind = {"influence": Influence, "rank_one": RankOne}.get(self.trace, Walk)
            walk = kind(self, places, x, objective, views, self._followed(places, state), rng)
            with Meter(model, objective) as meter:
                carry = walk.run(views.carry)
                grads = walk.gradients()
        meter.add(**walk.work)
        known = self.parameters(model) | own_parameters(objective)
        cost = meter.cost(forwards=1, backwards=1) + Cost(trace_bytes=bytes_of(carry.traces))
        return Credit(
            grads={name: g for name, g in grads.items() if name in known},
            state=walk.feedback,
            loss=float(walk.loss),
            cost=cost,
            carry=carry,
        )

    def _followed(self, places: list[Site], state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the state of this step: adaptive feedback after the update that the read-out has had."""
        if self.signal != "adaptive":
            return dict(state)
        name, now = places[-2].name if len(places) > 1 else "", read_out(places)
        moved = {}
        if name in state and state[name].numel() != now.numel():
            raise UnfitModel(
                f'signal="adaptive" follows a read-out with a weight for each cell below, and {places[-1].name} has '
                'other weights, as behind nn.AvgPool2d: let nn.Flatten alone stand before them, or use signal="random"'
            )
        if name in state:
            old = state["read-out"].reshape(state[name].shape)
            moved[name] = followed(state[name], now.reshape(old.shape), old, self.decay)
        return {**state, **moved, "read-out": now.clone()}

    def feedback(self, state: Any) -> dict[str, Tensor]:
        """Return the fixed random weights of each layer."""
        return {name: value for name, value in state.items() if name not in ("seed", "scale", "read-out")}

    def _differentiating(self, rng: torch.Generator) -> Any:
        surrogate = self.surrogate if isinstance(self.surrogate, Surrogate) else None
        cut = self.trace == "presynaptic"  # adaptation is not a filter of the input
        return differentiating(surrogate, self.detach_reset, generator=rng, detach_adaptation=cut)


def read_out(places: list[Site]) -> Tensor:
    """Return the weight of the read-out, detached."""
    weight = places[-1].weigh.weight
    assert isinstance(weight, Tensor)
    return weight.detach()
