"""Burst-dependent plasticity, of rates or random spikes: what arrives at apical dendrites turns events into bursts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from rules.contract import Batch, Claim, Credit, CreditRule, Objective, OverProcesses
from rules.credit.dendritic.top_down import TOP_DOWN, TopDown, drawn, matrices, names_of
from rules.draws import uniform
from rules.errors import unknown
from rules.fields import check_fields
from rules.metering import Meter
from rules.models.chain import chain_of, judge, links_of, products, refuse_inside

APICAL = ("slope", "plain")


class Bursting(NamedTuple):
    """The state of `Burst`, by the name of the weight that leads up to the layer above."""

    down: dict[str, Tensor]  # B; none if they are the transposed weights
    usual: dict[str, Tensor]  # moving average of the probability of a burst, `[units]` below it; none for rates


class Spikes(NamedTuple):
    """Random events of the cells of a layer, `[steps, rows, units]` of 0 and 1."""

    events: Tensor
    bursts: Tensor  # those events that are bursts


@dataclass(frozen=True)
class Burst(CreditRule):
    """Burst-dependent plasticity in a chain of dense layers, whose outputs are the rates of events.

        p(u)  = sigmoid(beta u + logit(free)),     b_l - b_free_l = e_l (p(u_l) - free)
        d_l   = (b_l - b_free_l) / p'(0),          p'(0) = beta free (1 - free)
        u_l   = (f'_l / e_l) B_l d_{l+1}  (apical="slope"),    u_l = B_l d_{l+1}  (apical="plain")
        dW_l  = d_l e_{l-1}^T / n, averaged over rows, and the credit is -dW_l, what a minimiser subtracts

    An event is a single spike or a burst; `b` is the rate of bursts, `p` the probability that an event is one, `free`
    that without a teacher. B_l carries the difference of burst rates in layer l + 1 down to the apical dendrites of
    layer l. A unit whose output is negative, as behind nn.Tanh, counts as one with events at the size of its output.

    The teacher sets the burst rates of the last layer, `d_L = -n f'_L dloss/de_L`, n the number of rows (samples times
    steps), so that a sample is taught alike in any batch. The last layer has its exact gradient. For small signals
    `d_l = f'_l B_l d_{l+1}`, which is feedback alignment; large ones saturate, since no cell has more bursts than
    events. Without a teacher nothing changes. Each step of a sequence is a sample of its own.

    With `steps`, cells of hidden layers fire at random for so many time steps: an event E with probability |e_l|, that
    is a burst S with probability p(u_l). A weight sees these spikes,

        dW_l = sum over steps of (S_l - pbar_l E_l) E_{l-1}^T / (p'(0) steps n)

    and the mean over spikes is the change by rates, where `pbar` is `free`. With `average` it is a moving average of
    each cell's own, moved by every event, whose mean without a teacher is `free` too; with one it takes away what
    samples are taught in common. Rates up and burst rates down are means, as those of large populations. The input is
    taken as it is, and the last layer, which need not fire, has its error. The noise of a step,
    `sqrt(e free (1 - free)) / p'(0)` without a teacher, falls with `beta`, and its mean with `steps`.

    Args:
        beta: steepness of the probability of a burst, 1 by default; smaller ones saturate later.
        free: probability of a burst without a teacher, 0.5 by default.
        apical: "slope", where the dendrite is as sensitive as its soma is to input, by default, or "plain".
        top_down: "random", matrices B drawn once, of the scale of the initial weights, by default; "transposed" takes
            the transposed weights, for comparison with backpropagation.
        steps: time steps of random spikes for each sample; 0, by default, for rates.
        average: share by which an event moves the moving average, 0 by default.

    Raises:
        ValueError: for an unknown word, a number out of range, an objective of hidden layers, a model without a chain
            of dense layers, matrices that no longer fit the model, and, with steps, outputs of hidden layers beyond 1.

    >>> from rules.objectives import OBJECTIVES
    >>> net = nn.Sequential(nn.Linear(2, 3), nn.Sigmoid(), nn.Linear(3, 2))
    >>> rule, batch = Burst(), Batch(torch.rand(5, 2), torch.arange(5) % 2)
    >>> state = rule.init(net, torch.Generator().manual_seed(0))
    >>> sorted(rule.assign(net, OBJECTIVES["ce_mean"](), batch, state, torch.Generator()).grads)
    ['0.bias', '0.weight', '2.bias', '2.weight']

    Reference: Payeur, Guerguiev, Zenke, Richards & Naud 2021 (doi 10.1038/s41593-021-00857-x), reconstructed; the
    teacher of the last layer, the division by p'(0), negative outputs and the order of the average are ours.
    """

    beta: float = 1.0
    free: float = 0.5
    apical: Literal["slope", "plain"] = "slope"
    top_down: TopDown = "random"
    steps: int = 0
    average: float = 0.0

    needs: ClassVar[frozenset[str]] = frozenset({"layers", "chain"})
    relies_on: ClassVar[frozenset[str]] = frozenset({"stateless", "deterministic"})

    def __post_init__(self) -> None:
        check_fields(self)
        for name, valid in (("apical", APICAL), ("top_down", TOP_DOWN)):
            if getattr(self, name) not in valid:
                raise unknown(name, getattr(self, name), valid)
        if not self.beta > 0:
            raise ValueError(f"beta={self.beta}: give a number above 0")
        if not 0 < self.free < 1:
            raise ValueError(f"free={self.free}: give a probability between 0 and 1, neither of them")
        if self.steps < 0:
            raise ValueError(f"steps={self.steps}: give a number of time steps, or 0 for rates")
        if not 0 <= self.average <= 1 or (self.average and not self.steps):
            raise ValueError(
                f"average={self.average}, steps={self.steps}: give a share from 0 to 1, above 0 with steps"
            )

    @property
    def over_processes(self) -> OverProcesses:  # type: ignore[override]  # the same spikes in every process
        return "draws" if self.steps else "mean"

    @property
    def claim(self) -> Claim:  # type: ignore[override]  # through random matrices the first step may point anywhere
        return "descent" if (self.apical, self.top_down, self.steps) == ("slope", "transposed", 0) else "none"

    def suits(self, objective: Objective) -> None:
        """Raise ValueError for an objective of hidden layers."""
        refuse_inside("Burst", objective)

    def init(self, model: nn.Module, rng: torch.Generator) -> Bursting:
        """Draw the matrices B, shaped as the weights that lead up; averages begin at `free`."""
        down = drawn(model, "Burst", self.top_down, rng)
        chain = links_of(model, "Burst")
        pairs = zip(names_of(model, chain), chain.links[1:], strict=True)
        usual = {name: torch.full_like(link.weight[0], self.free) for name, link in pairs} if self.steps else {}
        return Bursting(down, usual)

    def feedback(self, state: Bursting) -> dict[str, Tensor]:
        """Return the matrices B by the names of the weights."""
        return state.down

    def assign(
        self, model: nn.Module, objective: Objective, batch: Batch, state: Bursting, rng: torch.Generator
    ) -> Credit:
        """Return the credit of one batch: a forward pass of events, and a pass of bursts down."""
        seen = objective.views(batch, rng)
        with torch.no_grad(), Meter(model, objective) as meter:
            chain, x, lead = chain_of(model, "Burst", seen)
            down = matrices(model, "Burst", chain, state.down, self.top_down)
            events, slopes = [x], list[Tensor]()
            for link in chain.links:
                out, slope = link.sloped(link.linear(events[-1]))
                events, slopes = [*events, out], [*slopes, slope]
            judged = judge(objective, events[-1], lead, seen)
            told = [-len(x) * judged.error * slopes[-1]]  # d, from the last layer down
            for number in reversed(range(len(down))):
                arriving = told[0] @ down[number]
                meter.add(error_operations=len(x) * down[number].numel())
                told = [self.bursts(events[number + 1], slopes[number], arriving), *told]
            after = state
            if self.steps:
                told, events, after = self.spiking(names_of(model, chain), state, events, told, rng)
                meter.add(random_bits=2 * self.steps * sum(e.numel() // self.steps for e in events[1:-1]))
            pairs = list(zip(chain.links, [-each / len(each) for each in told], events[:-1], strict=True))
            grads = products(model, pairs, meter)
        return Credit({**grads, **judged.own}, after, judged.loss, meter.cost(forwards=1, backwards=0))

    def bursts(self, events: Tensor, slope: Tensor, arriving: Tensor) -> Tensor:
        """Return `d`, the difference of burst rates over p'(0) that a signal at the dendrites causes, `[rows, units]`.

        Args:
            events: outputs of the layer, `[rows, units]`.
            slope: of its activation, likewise.
            arriving: `B d` of the layer above, likewise.

        >>> one = torch.ones(1)
        >>> round(float(Burst(beta=1e-3).bursts(0.5 * one, 0.2 * one, one)), 4)
        0.2
        """
        rate = events.abs()
        # a cell without events has no bursts either
        u = arriving if self.apical == "plain" else torch.where(rate > 0, slope * arriving / rate, 0.0)
        return rate * risen(self.beta * u, self.free) / self.beta

    def spiking(
        self, names: list[str], state: Bursting, events: list[Tensor], told: list[Tensor], rng: torch.Generator
    ) -> tuple[list[Tensor], list[Tensor], Bursting]:
        """Return `d` and events as random spikes, `[steps * rows, units]` of each layer, and the averages after them.

        Args:
            names: of the weights that lead up from hidden layers.
            state: with the averages before.
            events: rates of the input and each layer, `[rows, units]`.
            told: `d` of each layer, likewise.
            rng: draws the spikes.
        """
        usual, steep = dict(state.usual), self.beta * self.free * (1 - self.free)
        seen, sent = [], [events[0].repeat(self.steps, 1)]
        for number, name in enumerate(names):
            e, before = events[number + 1], usual[name].to(events[number + 1])
            spikes = self.fired(e, told[number], number, rng)
            seen.append(((spikes.bursts - before * spikes.events) / steep).flatten(0, 1))
            sent.append((spikes.events * e.sign()).flatten(0, 1))
            count = spikes.events.sum((0, 1))
            share = spikes.bursts.sum((0, 1)) / count.clamp(min=1)
            usual[name] = share + (1 - self.average) ** count * (before - share)
        return [*seen, told[-1].repeat(self.steps, 1)], [*sent, events[-1]], Bursting(state.down, usual)

    def fired(self, events: Tensor, told: Tensor, number: int, rng: torch.Generator) -> Spikes:
        """Draw the spikes of a layer with such rates and `d`.

        Raises:
            ValueError: for a rate above 1.
        """
        rate = events.abs()
        if bool((rate > 1).any()):
            raise ValueError(
                f"outputs of hidden layer {number} reach {float(rate.max()):g}, and with steps={self.steps} they are "
                "probabilities of events: use nn.Sigmoid() or nn.Tanh() in hidden layers, or steps=0"
            )
        p = self.free * (1 + (1 - self.free) * self.beta * torch.where(rate > 0, told / rate, 0.0))
        shape = (self.steps, *rate.shape)
        fired = uniform(shape, rng, rate) < rate
        burst = fired & (uniform(shape, rng, rate) < p)
        return Spikes(fired.to(rate), burst.to(rate))


def risen(x: Tensor, free: float) -> Tensor:
    """Return `(sigmoid(x + logit(free)) - free) / (free (1 - free))`, without cancellation where x is small.

    >>> [round(float(each), 3) for each in risen(torch.tensor([1e-3, 9e9, -9e9]), 0.25)]
    [0.001, 4.0, -1.333]
    """
    lost = torch.expm1(-x.abs())
    return torch.where(x > 0, -lost / (1 + (1 - free) * lost), lost / (1 + free * lost))
