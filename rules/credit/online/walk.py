"""One pass through time: layers step by step, and what each step adds to the gradient."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rules.contract import Batch, Local, Objective, Run, own_parameters
from rules.credit.online.sites import Site, placed
from rules.credit.online.traces import TRACES, Linear
from rules.forward import leaves, steps_from
from rules.models.admission import UnfitModel
from rules.seeds import seeded


class Kept(NamedTuple):
    """What one layer remembers between two steps, each with the samples in its first axis; None where nothing is."""

    value: Tensor  # the trace
    low: Tensor | None = None  # the trace behind the filter
    mean: Tensor | None = None  # the averaged surrogate, and the weight of the past in it
    weight: Tensor | None = None


class Carried(NamedTuple):
    """The carry of an online rule: the model's, and the traces of its layers. It belongs to the samples of a batch."""

    model: Any
    traces: tuple[Any, ...]


class Moment(NamedTuple):
    """A layer in one step."""

    site: Site
    x: Tensor  # its input
    currents: Tensor  # of its synapse alone, with a graph to `x` where errors go down
    columns: Tensor  # what entered each weight, [B, L, K]
    local: Local  # derivatives, [..., B, *out]
    output: Tensor
    carry: Any

    @property
    def places(self) -> Local:
        """The derivatives with cells as `[..., B, C, L]`."""
        shape = placed(self.output).shape
        return Local(*(part.reshape(*part.shape[: part.ndim - self.output.ndim], *shape) for part in self.local))


class Walk:
    """The pass of a rule over the steps of a batch; adds up gradients, the loss and the work."""

    def __init__(
        self,
        rule: Any,
        sites: list[Site],
        x: Tensor,
        objective: Objective,
        batch: Batch,
        feedback: dict[str, Tensor],
        rng: torch.Generator,
    ) -> None:
        self.rule, self.sites, self.x, self.batch, self.rng = rule, sites, x, batch, rng
        self.feedback = feedback
        self.share = None if rule.signal == "reward" else objective.shares(batch)
        self.own = own_parameters(objective)
        self.loss = x.new_zeros(())
        self.work: Counter[str] = Counter()
        self.sums = [x.new_zeros(()) for _ in sites]
        self.others = {name: torch.zeros_like(p) for name, p in self.own.items()}
        self.moved = [x.new_zeros(()) for _ in sites]  # sums of e, for the penalty on rates
        self.fired = [x.new_zeros(()) for _ in sites]
        self.first = len(sites) - 2 if rule.depth == "last" else 0
        self.trace = TRACES.get(rule.trace)
        self.constants: list[Linear | None] = []

    def start(self) -> Carried:
        """Return the carry before the first step."""
        carries = []
        x = self.x[0]
        for site in self.sites:
            carries.append(site.rest(currents := site.layer.synapse(x)))
            x = torch.zeros_like(currents)
        return Carried(tuple(carries), ())

    def step(self, t: int, carry: Carried) -> Carried:
        """Take one step and add what it is worth."""
        moments, x = [], self.x[t]
        for site, before in zip(self.sites, carry.model, strict=True):
            moments.append(self.moment(site, x, before))
            x = moments[-1].output
        traces = self.learn(t, moments, carry.traces)
        return Carried(tuple(moment.carry for moment in moments), traces)

    def moment(self, site: Site, x: Tensor, before: Any) -> Moment:
        """Run a layer for one step."""
        state, heard = before
        with torch.enable_grad():
            leaf = x.detach().requires_grad_(self.down and site is not self.sites[self.first])
            currents = site.layer.synapse(leaf)
        total = currents.detach()
        if site.recurrent is not None:
            total = total + site.recurrent(heard)
        output, after, local = site.step(total, state)
        columns = site.columns(x, heard if site.recurrent is not None else None)
        if self.rule.own_recurrence and site.recurrent is not None:
            local = self.own_weight(site, local)
        return Moment(site, leaf, currents, columns, local, output, (after, None if heard is None else output))

    @property
    def down(self) -> bool:
        """Whether errors go down through the weights."""
        return bool(self.rule.signal == "symmetric")

    def own_weight(self, site: Site, local: Local) -> Local:
        """Return derivatives that include a cell's recurrent weight to itself, its last output a further variable."""
        assert site.recurrent is not None
        back = site.recurrent.weight.diagonal()
        driven = torch.cat([local.driven, local.shown[-1:]])
        by_output = driven * back
        kept = torch.cat([torch.cat([local.kept, local.shown[:-1][None]]), by_output[:, None]], 1)
        return Local(kept, driven, torch.cat([local.shown[:-1], by_output[-1:], local.shown[-1:]]))

    def lost(self, t: int, output: Tensor, others: bool = True) -> Tensor:
        """Add the loss of a step; return its gradient at an output `[B, classes]`."""
        assert self.share is not None
        with torch.enable_grad():
            shown = output.detach().requires_grad_()
            loss = self.share(Run(shown[None]), steps_from(self.batch, t, 1))
            wanted = [shown, *(self.own.values() if others else ())]
            if not loss.requires_grad:
                return torch.zeros_like(output)
            found = torch.autograd.grad(loss, wanted, allow_unused=True)
        if others:
            self.loss += loss.detach()
            for name, g in zip(self.own, found[1:], strict=True):
                self.others[name] += 0 if g is None else g
        return torch.zeros_like(output) if found[0] is None else found[0]

    def learn(self, t: int, moments: list[Moment], traces: tuple[Any, ...]) -> tuple[Any, ...]:
        """Advance the traces of a step, and add traces times signals."""
        assert self.trace is not None
        signals = self.signals(t, moments)
        ends: list[Any] = []
        sent = signals[-1]
        for number in reversed(range(len(moments))):
            moment, kept = moments[number], traces[number] if traces else None
            if number < self.first:
                ends.append(kept)
                continue
            kept, e, local = self.advanced(number, moment, kept)
            signal = signals[number] if signals[number] is not None else sent
            if number == len(moments) - 1 or self.down:
                sent = self.sent(moment, kept, signal) if number > self.first and self.down else signal
            self.sums[number] = self.sums[number] + self.trace.credited(e, placed(signal), local)
            self.work["weight_operations"] += self.trace.operations(moment.columns, placed(moment.output), len(moment.local.driven))
            ends.append(kept)
        return tuple(reversed(ends))

    def signals(self, t: int, moments: list[Moment]) -> list[Tensor]:
        """Return the learning signal at the output of each layer; None where errors will come down."""
        top = moments[-1].output
        if self.rule.signal == "reward":
            return [self.rewarded(t, moment.output) for moment in moments]
        g = self.lost(t, top)
        if self.rule.signal == "symmetric":
            return [*([None] * (len(moments) - 1)), g]  # type: ignore[list-item]
        if self.rule.signal == "local":
            return [*(self.read(t, moment, g.shape[1]) for moment in moments[:-1]), g]
        error = g * moments[-1].local.shown[-1]
        return [*(self.fed_back(moment, error) for moment in moments[:-1]), g]

    def sent(self, moment: Moment, kept: Kept, signal: Tensor) -> Tensor:
        """Return the error that goes down through a layer's weights."""
        slope = moment.local.shown[-1] if kept.mean is None else kept.mean
        (down,) = torch.autograd.grad(moment.currents, moment.x, signal * slope)
        return down

    def fed_back(self, moment: Moment, error: Tensor) -> Tensor:
        """Return what the error at the output says to the cells of a layer, through fixed random weights."""
        weights = self.fixed(moment, error.shape[1])
        self.work["error_operations"] += error.shape[0] * weights.numel()
        return torch.tensordot(error, weights, 1)

    def read(self, t: int, moment: Moment, classes: int) -> Tensor:
        """Return the gradient of the loss at a fixed random read-out of this layer."""
        weights = self.fixed(moment, classes)
        output = moment.output
        self.work["synaptic_operations"] += output.shape[0] * weights.numel()
        self.work["error_operations"] += output.shape[0] * weights.numel()
        g = self.lost(t, output.flatten(1) @ weights.flatten(1).T, others=False)
        return torch.tensordot(g, weights, 1)

    def fixed(self, moment: Moment, classes: int) -> Tensor:
        """Return the fixed random weights `[classes, *cells]` of a layer, as large as those of the read-out were."""
        name, shape = moment.site.name, (classes, *moment.output.shape[1:])
        if name not in self.feedback:
            drawn = torch.randn(shape, generator=seeded(int(self.feedback["seed"]), name), dtype=torch.float64)
            self.feedback[name] = (drawn * self.feedback["scale"]).to(moment.output)
        weights = self.feedback[name]
        if weights.shape != shape:
            raise ValueError(
                f"the feedback weights of {name} have shape {tuple(weights.shape)}, and its cells and the output now ask "
                f"for {shape}: the model was changed after training began; make a new one, trainer = rules.Trainer(model, "
                "rule)"
            )
        return weights

    def rewarded(self, t: int, output: Tensor) -> Tensor:
        """Return minus the reward of each sample, for every cell; the loss is minus the sum of rewards over time."""
        targets = self.batch.targets
        if targets is None or targets.ndim != 2 or not targets.is_floating_point():
            seen = "none" if targets is None else f"{targets.dtype} {tuple(targets.shape)}"
            raise ValueError(
                f'signal="reward" reads one number for each step and sample from targets, [T, B]; this batch has {seen}: '
                "let the loader yield rules.Batch(x, y, targets=reward)"
            )
        share = -targets[t] / len(targets[t])
        if output is not None:
            self.loss += share.sum() / len(self.sites)
        return share.reshape(-1, *[1] * (output.ndim - 1)).expand_as(output)

    def advanced(self, number: int, moment: Moment, kept: Kept | None) -> tuple[Kept, Tensor, Local]:
        """Return a layer's memory after a step, `e` as it is credited, and the derivatives to credit it with."""
        assert self.trace is not None
        local, cells = moment.places, placed(moment.output)
        constants = self.constants_at(number, moment)
        if kept is None:
            kept = Kept(self.trace.start(moment.columns, cells, len(local.driven)))
        value, e = self.trace.advance(kept.value, moment.columns, local, constants)
        kept = kept._replace(value=value)
        low = self.rule.filter
        if low == "next":
            kept, local = self.averaged(number, moment, kept, local)
        if number == len(self.sites) - 1 or low is None:
            self.noted(number, moment, e)
            return kept, e, local
        if self.rule.trace == "presynaptic":
            assert constants is not None
            e = torch.einsum("i,bilk->blk", torch.cat([constants.kept[-1], constants.driven[-1:]]), e)[:, None]
        leak = self.leak(len(self.sites) - 1 if low == "readout" else number + 1)
        self.noted(number, moment, e)
        e = e if kept.low is None else kept.low * leak + e
        self.work["weight_operations"] += e.numel()
        return kept._replace(low=e), e, local

    def averaged(self, number: int, moment: Moment, kept: Kept, local: Local) -> tuple[Kept, Local]:
        """Return a layer's memory with its surrogate averaged over the memory of the layer above."""
        slope = moment.local.shown[-1]
        if number == len(self.sites) - 1:
            return kept, local
        leak = self.leak(number + 1)
        old = slope.new_zeros(len(slope)) if kept.weight is None else kept.weight
        weight = leak * old + 1
        share = (1 - 1 / weight).reshape(-1, *[1] * (slope.ndim - 1))
        mean = slope if kept.mean is None else share * kept.mean + (1 - share) * slope
        kept = kept._replace(mean=mean, weight=weight)
        if self.rule.trace != "presynaptic":
            return kept, local
        assert (constants := self.constants_at(number, moment)) is not None
        return kept, local._replace(shown=placed(mean)[None] / constants.driven[-1])

    def leak(self, number: int) -> Tensor:
        """Return how much of its membrane a layer keeps in a step."""
        constants = self.constants_at(number, None)
        assert constants is not None
        return constants.kept.diagonal()[constants.driven.abs().argmax()]

    def constants_at(self, number: int, moment: Moment | None) -> Linear | None:
        """Return the constants of a layer's cells; found once a pass."""
        if not self.constants:
            x = self.x[0]
            needed = self.rule.trace == "presynaptic"
            top, low = len(self.sites) - 1, self.rule.filter
            for place, site in enumerate(self.sites):
                currents = site.layer.synapse(x)
                leaks = (low == "readout" and place == top) or (low == "next" and place > 0)
                self.constants.append(constants_of(site, currents, needed or leaks))
                x = torch.zeros_like(currents)
        return self.constants[number]

    def noted(self, number: int, moment: Moment, e: Tensor) -> None:
        """Add up traces and spikes for the penalty on rates."""
        if self.rule.rate and number < len(self.sites) - 1:
            self.moved[number] = self.moved[number] + e.sum(0)
            self.fired[number] = self.fired[number] + placed(moment.output).sum(0)

    def gradients(self) -> dict[str, Tensor]:
        """Return what has been added up, by the names of parameters."""
        found = dict(self.others)
        rows = self.x.shape[0] * self.x.shape[1]
        for number, site in enumerate(self.sites[self.first :], self.first):
            total = self.sums[number]
            if self.rule.rate and number < len(self.sites) - 1:
                away = self.fired[number] / rows - self.rule.target_rate
                total = total + self.rule.rate * torch.einsum("cl,clk->ck", away, self.moved[number] / rows)
                self.loss += self.rule.rate * away.square().sum() / 2
            found |= site.gradients(total)
        return found


def opened(carry: Any, walk: Walk) -> Carried:
    """Return the carry of a batch as that of an online rule; one that a model returned begins without traces."""
    if carry is None:
        return walk.start()
    return carry if isinstance(carry, Carried) else Carried(carry, ())


def constants_of(site: Site, currents: Tensor, needed: bool) -> Linear | None:
    """Return the constants of cells that integrate linearly; None for others, if none are needed.

    Derivatives are compared in two steps from rest: between cells, and for no current and the given currents. Cells that
    fired are left out, whose reset is not part of the leak.

    Raises:
        UnfitModel: if they are needed, and cells integrate in another way.
    """
    state, _ = site.rest(currents)
    output, _, local = site.step(torch.zeros_like(currents), state)
    first = Linear(local.kept.flatten(2)[..., 0], local.driven.flatten(1)[:, 0])
    for current in (torch.zeros_like(currents), currents, currents):
        output, state, local = site.step(current, state)
        quiet = (output == 0).flatten()
        quiet = quiet if bool(quiet.any()) else torch.ones_like(quiet)
        kept, driven = local.kept.flatten(2)[..., quiet], local.driven.flatten(1)[:, quiet]
        close = torch.allclose(kept, first.kept[..., None], rtol=1e-4, atol=1e-6)  # to the round-off of float32
        if not (close and torch.allclose(driven, first.driven[:, None], rtol=1e-4, atol=1e-6)):
            if not needed:
                return None
            raise UnfitModel(
                f"the cells of {site.name} do not leak at one constant rate, so that no filter of their input is their "
                'past: use rules.make("ostl") or rules.make("eprop", filter=None), whose traces follow any cell'
            )
    return first


def bytes_of(traces: Any) -> int:
    """Return the bytes of traces."""
    return sum(part.numel() * part.element_size() for part in leaves(traces))
