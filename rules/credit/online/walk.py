"""One pass through time: layer by layer over a few steps at a time, and what these steps add to the gradient.

A step's credit depends on that step and on traces of earlier ones. That several steps are computed together, and their
sums in another order, changes nothing but rounding and the time it takes.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rules.contract import Batch, Local, Objective, Run, own_parameters
from rules.credit.online.constants import constants_of, pole
from rules.credit.online.traces import TRACES, Kept, Linear, Stretch, alike
from rules.forward import fold, leaves, map_tensors, steps_from
from rules.processes import divided, summed
from rules.seeds import seeded
from rules.sites.plain import probe
from rules.sites.reward import require_rewards, rewards
from rules.sites.site import Site, placed
from rules.steps import counted

STEPS = 50  # at most at a time


class Carried(NamedTuple):
    """The carry of an online rule: the model's, and the traces of its layers. It belongs to the samples of a batch."""

    model: Any
    traces: tuple[Any, ...] = ()
    of: tuple[Any, ...] = ()  # trace and filter of the rule


class Moment(NamedTuple):
    """A layer in some consecutive steps."""

    site: Site
    x: Tensor  # its input [T, B, *in]
    currents: Tensor | None  # of its synapse alone, with a graph to `x`; None where no error goes down
    last: Tensor | None  # what its cells put out before the first step [B, N], if they hear each other
    local: Local  # derivatives, [..., T, B, *out]
    output: Tensor  # [T, B, *out]
    carry: Any

    @property
    def columns(self) -> Tensor:
        """What entered each weight, `[T, B, L, K]`; computed at each access."""
        heard = [] if self.last is None else [self.last[None]]
        if heard and len(self.x) > 1:
            heard.append(self.output[:-1])
        return self.site.columns(self.x, *heard)

    @property
    def places(self) -> Local:
        """The derivatives with cells as `[..., T, B, C, L]`."""
        shape = placed(self.output).shape
        return Local(*(part.reshape(*part.shape[: part.ndim - self.output.ndim], *shape) for part in self.local))


class Walk:
    """The pass of a rule over the steps of a batch; adds up gradients, the loss and the work."""

    steps: int = STEPS

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
        if rule.signal == "reward":
            require_rewards(batch, x)
        self.share = None if rule.signal == "reward" else objective.shares(batch)
        self.own = own_parameters(objective)
        self.loss = x.new_zeros(())
        self.work: Counter[str] = Counter()
        self.sums = [x.new_zeros(()) for _ in sites]
        self.others = {name: torch.zeros_like(p) for name, p in self.own.items()}
        self.moved = [x.new_zeros(()) for _ in sites]  # sums of e, for the penalty on rates
        self.fired = [x.new_zeros(()) for _ in sites]
        self.extent = objective.extent(batch)
        self.first = max(0, len(sites) - 2) if rule.depth == "last" else 0
        self.trace = TRACES.get(rule.trace)
        self.constants = self.found_constants()

    @property
    def top(self) -> int:
        """The number of the read-out."""
        return len(self.sites) - 1

    def run(self, carry: Any) -> Carried:
        """Take all steps from a carry: None, that of a model, or that of an online rule."""
        own = (self.rule.trace, self.rule.filter, self.rule.own_recurrence)
        now = carry if isinstance(carry, Carried) else Carried(carry, of=own)
        if now.of != own:
            raise ValueError(
                f"the carry has traces of Online(trace={now.of[0]!r}, filter={now.of[1]!r}), and this rule is "
                f"Online(trace={own[0]!r}, filter={own[1]!r}): continue a sequence with the rule that began it, or "
                "begin anew with carry=None"
            )
        now = now._replace(traces=tuple(unshared(each) for each in now.traces))
        start = 0
        for length in lengths(len(self.x), self.steps):
            now = self.advance(start, length, now)
            start += length
        return now

    def advance(self, start: int, length: int, carry: Carried) -> Carried:
        """Take some steps and add what they are worth."""
        moments, x = [], self.x[start : start + length]
        for number, site in enumerate(self.sites):
            moments.append(self.moment(site, x, None if carry.model is None else carry.model[number]))
            x = moments[-1].output
        traces = self.learn(start, moments, carry.traces)
        return Carried(tuple(moment.carry for moment in moments), traces, carry.of)

    def moment(self, site: Site, x: Tensor, carry: Any) -> Moment:
        """Run a layer."""
        below = self.down and site is not self.sites[self.first]
        with torch.enable_grad():
            leaf = x.detach().requires_grad_(below)
            currents = fold(site.layer.synapse, leaf)
        carry = carry or site.rest(currents[0].detach())
        output, after, local = site.run(currents.detach(), carry)
        if self.rule.own_recurrence and site.recurrent is not None:
            local = own_weight(site.recurrent.weight.diagonal(), local)
        last = None if site.recurrent is None else carry[1]
        return Moment(site, leaf, currents if below else None, last, local, output, after)

    @property
    def down(self) -> bool:
        """Whether errors go down through the weights."""
        return bool(self.rule.signal == "symmetric")

    def lost(self, start: int, output: Tensor, others: bool = True) -> Tensor:
        """Add the loss of some steps; return its gradient at an output `[T, B, classes]`."""
        assert self.share is not None
        with torch.enable_grad():
            shown = output.detach().requires_grad_()
            loss = self.share(Run(shown), steps_from(self.batch, start, len(output)))
            wanted = [shown, *(self.own.values() if others else ())]
            found = torch.autograd.grad(loss, wanted, allow_unused=True) if loss.requires_grad else [None] * len(wanted)
        if others:
            self.loss += loss.detach()
            for name, g in zip(self.own, found[1:], strict=True):
                self.others[name] += 0 if g is None else g
        return torch.zeros_like(output) if found[0] is None else found[0]

    def learn(self, start: int, moments: list[Moment], traces: tuple[Any, ...]) -> tuple[Any, ...]:
        """Advance the traces, and add traces times signals."""
        assert self.trace is not None
        signals, ends = self.signals(start, moments), []
        for number in range(self.top, self.first - 1, -1):
            moment, kept = moments[number], traces[number] if traces else Kept()
            kept, mean = self.averaged(number, moment, kept)
            if self.down and number > self.first:
                slope = moment.local.shown[-1] if mean is None else mean.reshape(moment.output.shape)
                signals[number - 1] = passed_down(moment, signals[number] * slope)
            penalised = bool(self.rule.rate) and number < self.top
            local, output = moment.places, placed(moment.output)
            if penalised and self.batch.lengths is not None:  # a step that does not count moves no rate
                counts = counted(output, self.batch.lengths - start)[..., None, None]
                local, output = local._replace(shown=local.shown * counts), output * counts
            stretch = Stretch(
                moment.columns,
                local,
                placed(signals[number]),
                self.leak(number),
                self.constants[number],
                alike(local) if self.rule.trace == "synapse" else None,
                mean,
                start + len(signals[number]) == len(self.x),
            )
            kept, grad, e = self.trace.credited(kept, stretch, penalised)
            if e is not None:
                self.moved[number] = self.moved[number] + e
                self.fired[number] = self.fired[number] + output.sum((0, 1))
            self.sums[number] = self.sums[number] + grad
            self.work["weight_operations"] += self.trace.operations(stretch)
            ends.append(kept)
        return tuple([Kept()] * self.first + ends[::-1])

    def signals(self, start: int, moments: list[Moment]) -> list[Tensor]:
        """Return the learning signal at the output of each layer; zeros where errors are to come down."""
        if self.rule.signal == "reward":
            return self.rewarded(start, moments)
        g, hidden = self.lost(start, moments[-1].output), moments[:-1]
        if self.down:
            return [*(torch.zeros(()) for _ in hidden), g]
        if self.rule.signal == "local":
            return [*(self.read(start, moment, g.shape[2]) for moment in hidden), g]
        return [*(self.fed_back(moment, g * moments[-1].local.shown[-1]) for moment in hidden), g]

    def fed_back(self, moment: Moment, error: Tensor) -> Tensor:
        """Return what the error at the output says to the cells of a layer, through fixed random weights."""
        weights = self.fixed(moment, error.shape[2])
        self.work["error_operations"] += error[..., 0].numel() * weights.numel()
        found: Tensor = torch.tensordot(error, weights, 1)
        return found

    def read(self, start: int, moment: Moment, classes: int) -> Tensor:
        """Return the gradient of the loss at a fixed random read-out of this layer."""
        weights, output = self.fixed(moment, classes), moment.output.flatten(2)
        self.work["synaptic_operations"] += output[..., 0].numel() * weights.numel()
        self.work["error_operations"] += output[..., 0].numel() * weights.numel()
        g = self.lost(start, output @ weights.flatten(1).T, others=False)
        found: Tensor = torch.tensordot(g, weights, 1)
        return found

    def fixed(self, moment: Moment, classes: int) -> Tensor:
        """Return the fixed random weights `[classes, *cells]` of a layer, as large as those of the read-out were."""
        name, shape = moment.site.name, (classes, *moment.output.shape[2:])
        if name not in self.feedback:
            drawn = torch.randn(shape, generator=seeded(int(self.feedback["seed"]), name), dtype=torch.float64)
            self.feedback[name] = (drawn * self.feedback["scale"]).to(moment.output)
        weights = self.feedback[name]
        if weights.shape != shape:
            raise ValueError(
                f"the feedback weights of {name} have shape {tuple(weights.shape)}, and its cells and the output now "
                f"ask for {shape}: the model was changed after training began; make a new one, trainer = "
                "rules.Trainer(model, rule)"
            )
        return weights

    def rewarded(self, start: int, moments: list[Moment]) -> list[Tensor]:
        """Return minus the reward of each step and sample, for every cell; the loss is minus the sum over time."""
        output = moments[-1].output
        reward = rewards(steps_from(self.batch, start, len(output)), output)
        share = -reward / reward.shape[1]
        self.loss += share.sum()
        outputs = [moment.output for moment in moments]
        return [share.reshape(*share.shape, *[1] * (output.ndim - 2)).expand_as(output) for output in outputs]

    def averaged(self, number: int, moment: Moment, kept: Kept) -> tuple[Kept, Tensor | None]:
        """Return a layer's surrogate averaged over the memory of the layer above, `[T, B, C, L]`; None without."""
        if self.rule.filter != "next" or number == self.top:
            return kept, None
        leak, mean, weight = self.leak(number), kept.mean, kept.weight
        assert leak is not None
        slopes, rows = placed(moment.local.shown[-1]), []
        for slope in slopes:
            weight = slope.new_ones(len(slope)) if weight is None else leak * weight + 1
            share = (1 - 1 / weight).reshape(-1, 1, 1)
            mean = slope if mean is None else share * mean + (1 - share) * slope
            rows.append(mean)
        return kept._replace(mean=mean, weight=weight), torch.stack(rows)

    def leak(self, number: int) -> Tensor | None:
        """Return how much the filter behind a layer's traces keeps in a step; None for no filter."""
        if self.rule.filter is None or number == self.top:
            return None
        above = self.top if self.rule.filter == "readout" else number + 1
        constants = self.constants[above]
        assert constants is not None
        return pole(constants, self.sites[above].name)

    def found_constants(self) -> list[Linear | None]:
        """Return the constants of the layers whose cells must leak at one rate."""
        low, linear = self.rule.filter, self.rule.trace == "presynaptic"
        wanted = [
            linear or (low == "readout" and number == self.top) or (low == "next" and number > 0)
            for number in range(len(self.sites))
        ]
        if not any(wanted):
            return [None] * len(self.sites)
        found, x = [], probe(self.x)
        for site, needed in zip(self.sites, wanted, strict=True):
            currents = fold(site.layer.synapse, x)
            found.append(constants_of(site, currents) if needed else None)
            x = currents.sign().relu()  # as if all that are driven fired
        return found

    def gradients(self) -> dict[str, Tensor]:
        """Return what has been added up, by the names of parameters."""
        found = dict(self.others)
        for number, site in enumerate(self.sites[self.first :], self.first):
            penalised = bool(self.rule.rate) and number < self.top
            total = self.sums[number] + self.penalty(number) if penalised else self.sums[number]
            added(found, site.gradients(total))
        return found

    def penalty(self, number: int) -> Tensor:
        """Add the penalty on the rates of a layer to the loss; return its gradient."""
        ends, (steps, samples) = self.batch.lengths, self.x.shape[:2]
        rows = self.x.new_tensor(steps * samples) if ends is None else ends.clamp(0, steps).sum().to(self.x)
        fired, whole = self.fired[number], 1.0
        if (division := divided()) is not None:  # the rates are those of the whole batch, this gradient of a share
            *parts, rows = summed(torch.cat([fired.flatten(), rows[None]]))
            fired, whole = torch.stack(parts).reshape(fired.shape), division.total / division.held
        rows = rows.clamp(min=1)
        weight, away = self.rule.rate * self.extent, fired / rows - self.rule.target_rate
        self.loss += weight * away.square().sum() / 2
        return torch.einsum("cl,clk->ck", weight * whole * away, self.moved[number] / rows)


def added(total: dict[str, Tensor], more: dict[str, Tensor]) -> None:
    """Add gradients by name; layers may share weights."""
    for name, g in more.items():
        total[name] = total[name] + g if name in total else g


def passed_down(moment: Moment, error: Tensor, again: bool = False) -> Tensor:
    """Return what an error of the currents is at the input of a layer; the graph is kept to be used `again`."""
    assert moment.currents is not None
    (found,) = torch.autograd.grad(moment.currents, moment.x, error, retain_graph=again)
    return found


def own_weight(back: Tensor, local: Local) -> Local:
    """Return derivatives that include a cell's recurrent weight to itself, its last output a further variable."""
    driven = torch.cat([local.driven, local.shown[-1:]])
    by_output = driven * back
    kept = torch.cat([torch.cat([local.kept, local.shown[:-1][None]]), by_output[:, None]], 1)
    return Local(kept, driven, torch.cat([local.shown[:-1], by_output[-1:], local.shown[-1:]]))


def lengths(steps: int, most: int) -> list[int]:
    """Return the lengths of equal stretches of at most so many steps.

    >>> lengths(100, 32)
    [25, 25, 25, 25]
    """
    number = -(-steps // most)
    return [steps * (i + 1) // number - steps * i // number for i in range(number)]


def bytes_of(traces: Any) -> int:
    """Return the bytes of traces that the next step of a sequence needs."""
    parts = [each.bytes if isinstance(each, Kept) else sum(leaf.nbytes for leaf in leaves(each)) for each in traces]
    return sum(parts)


def unshared(trace: Any) -> Any:
    """Return a trace that may be overwritten."""
    return trace.unshared() if isinstance(trace, Kept) else map_tensors(torch.clone, trace)
