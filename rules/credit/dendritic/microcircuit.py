"""Dendritic errors: apical dendrites compare the layer above with what interneurons predict of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from rules.contract import Batch, Claim, Credit, CreditRule, Objective, OverProcesses
from rules.credit.dendritic.top_down import TOP_DOWN, TopDown, drawn, matrices, names_of, require_fitting
from rules.draws import normal, scale
from rules.errors import unknown
from rules.fields import check_fields
from rules.metering import Meter
from rules.models.chain import Chain, chain_of, judge, links_of, products, refuse_inside
from rules.settling import Moved, norm, settle

STARTS = ("self_predicting", "random")
BASELINES = ("free", "none")


class Lateral(NamedTuple):
    """The state of `Microcircuit`: weights by the name of the weight that leads up to the layer above, of its shape."""

    down: dict[str, Tensor]  # W_pp, from the layer above to apical dendrites; none if they are the transposed weights
    ahead: dict[str, Tensor]  # W_ip, from the cells of a layer to its interneurons
    offsets: dict[str, Tensor]  # c, of the interneurons
    back: dict[str, Tensor]  # W_pi, from interneurons to apical dendrites


class Wired(NamedTuple):
    """A chain with interneurons: the weights of each hidden layer, first to last."""

    chain: Chain
    down: list[Tensor]
    ahead: list[Tensor]
    offsets: list[Tensor]
    back: list[Tensor]


class Rest(NamedTuple):
    """Potentials and rates of each layer, `[rows, units]`, first to last."""

    basal: list[Tensor]
    u: list[Tensor]  # of the soma
    r: list[Tensor]  # f(u)


@dataclass(frozen=True)
class Microcircuit(CreditRule):
    """The dendritic microcircuit of a chain of dense layers, whose cells have basal and apical dendrites.

        basal_l  = W_l r_{l-1} + b_l,                r_l = f_l(u_l)
        inter_l  = f_{l+1}(W_ip r_l + c),            apical_l = W_pp r_{l+1} + W_pi inter_l
        u_l      = basal_l + apical_l,  l < L,       u_L = basal_L - nudge n dloss/dr_L
        dW_l     = (f_l(u_l) - f_l(basal_l)) r_{l-1}^T / (nudge n), and the credit is -dW_l

    Each hidden layer has an interneuron for every cell of the layer above. In the self-predicting state,
    W_ip = W_{l+1}, c = b_{l+1} and W_pi = -W_pp, apical potentials are 0 without a nudge, and the network at rest is
    the forward pass of the model. With a nudge, `apical_l = W_pp (r_{l+1} - f_{l+1}(basal_{l+1}))` up to its square:
    the credit is that of backpropagation with W_pp in place of W^T, with an error that grows as `nudge`.

    W_ip, c and W_pi learn in each batch, after the credit, from the state of rest without a nudge, towards the
    self-predicting state:

        dW_ip = (r_{l+1} - inter_l) r_l^T,    dW_pi = -apical_l inter_l^T

    averaged over rows, with steps of `rate / (1 + mean |r|^2)`, r what a weight receives, so that they are stable for
    rates of any size where f' <= 1. They lag behind the weights that they predict, so that some apical potential is
    left without a nudge. The baseline "free" subtracts what it does; otherwise it enters the credit, divided by
    `nudge`, and can outweigh the errors. Conductances of the paper are not there: W_pp and W take up the attenuation
    between compartments, and each layer passes errors on whole. n is the number of rows (samples times steps), so that
    a sample settles alike in any batch; each step of a sequence is a sample of its own. Evaluation runs the model's own
    forward pass. Processes of a team each take the whole batch, so that their lateral weights stay alike.

    Args:
        nudge: strength of the teacher, 0.3 by default.
        rate: of the lateral weights, 0.5 by default.
        baseline: "free", by default, subtracts f(u) - f(basal) at rest without a nudge; "none" does not, as the paper.
        start: "self_predicting", by default, or "random" for lateral weights that have to learn it first.
        top_down: W_pp; "random", drawn once of the scale of the initial weights, by default; "transposed" takes the
            transposed weights, for comparison with backpropagation.
        steps: the most sweeps over the layers, with a nudge and without, 1000 by default.
        tolerance: the network rests where a sweep changes it by less than this share of its norm, 1e-6 by default.

    Raises:
        ValueError: for an unknown word, a number out of range, an objective of hidden layers, a model without a chain
            of dense layers, and lateral weights that no longer fit the model.
        NotSettled: where the network does not rest in that number of sweeps; the message has the residual.

    >>> from rules.objectives import OBJECTIVES
    >>> net = nn.Sequential(nn.Linear(2, 3), nn.Sigmoid(), nn.Linear(3, 2))
    >>> rule, batch = Microcircuit(), Batch(torch.rand(5, 2), torch.arange(5) % 2)
    >>> state = rule.init(net, torch.Generator().manual_seed(0))
    >>> sorted(rule.assign(net, OBJECTIVES["ce_mean"](), batch, state, torch.Generator()).grads)
    ['0.bias', '0.weight', '2.bias', '2.weight']

    Reference: Sacramento, Costa, Bengio & Senn 2018 (arXiv 1810.11393), reconstructed; potentials without conductances,
    lateral weights that learn without a nudge, their step, the baseline, and objectives other than the squared
    error are ours.
    """

    nudge: float = 0.3
    rate: float = 0.5
    baseline: Literal["free", "none"] = "free"
    start: Literal["self_predicting", "random"] = "self_predicting"
    top_down: TopDown = "random"
    steps: int = 1000
    tolerance: float = 1e-6

    needs: ClassVar[frozenset[str]] = frozenset({"layers", "chain"})
    relies_on: ClassVar[frozenset[str]] = frozenset({"stateless", "deterministic"})
    over_processes: ClassVar[OverProcesses] = "draws"  # lateral weights learn from one batch, the same in every process

    def __post_init__(self) -> None:
        check_fields(self)
        for name, valid in (("baseline", BASELINES), ("start", STARTS), ("top_down", TOP_DOWN)):
            if getattr(self, name) not in valid:
                raise unknown(name, getattr(self, name), valid)
        for name in ("nudge", "tolerance"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)}: give a number above 0")
        if not 0 <= self.rate <= 1:
            raise ValueError(f"rate={self.rate}: give a number from 0 to 1")
        if self.steps < 1:
            raise ValueError(f"steps={self.steps}: give a number of sweeps, at least 1")

    @property
    def claim(self) -> Claim:  # type: ignore[override]  # through random matrices the first step may point anywhere
        return "descent" if (self.start, self.top_down) == ("self_predicting", "transposed") else "none"

    def suits(self, objective: Objective) -> None:
        """Raise ValueError for an objective of hidden layers."""
        refuse_inside("Microcircuit", objective)

    def init(self, model: nn.Module, rng: torch.Generator) -> Lateral:
        """Draw what leads down, and make or draw the lateral weights."""
        chain = links_of(model, "Microcircuit")
        down = drawn(model, "Microcircuit", self.top_down, rng)
        named = dict(zip(names_of(model, chain), chain.links[1:], strict=True))
        ahead, offsets, back = {}, {}, {}
        for name, link in named.items():
            w = link.weight
            bias = link.linear.bias
            offsets[name] = w.new_zeros(len(w)) if bias is None else bias.detach().clone()
            if self.start == "self_predicting":
                ahead[name], back[name] = w.clone(), -down.get(name, w)
            else:
                ahead[name], back[name] = (normal(w.shape, rng, w) * scale(w) for _ in range(2))
                offsets[name] = torch.zeros_like(offsets[name])
        return Lateral(down, ahead, offsets, back)

    def feedback(self, state: Lateral) -> dict[str, Tensor]:
        """Return W_pp by the names of the weights."""
        return state.down

    def assign(
        self, model: nn.Module, objective: Objective, batch: Batch, state: Lateral, rng: torch.Generator
    ) -> Credit:
        """Return the credit of one batch, from a state of rest without and one with a nudge."""
        seen = objective.views(batch, rng)
        with torch.no_grad(), Meter(model, objective) as meter:
            chain, x, lead = chain_of(model, "Microcircuit", seen)
            wired = self.wired(model, chain, state)
            free, first = self.rest(wired, x, self.forward(chain, x), meter=meter)
            judged = judge(objective, free.r[-1], lead, seen)
            teach = lambda out: -self.nudge * len(x) * judge(objective, out, lead, seen).error  # noqa: E731
            rest, second = self.rest(wired, x, free, teach, meter)
            moved = missed(chain, rest)
            if self.baseline == "free":
                moved = [each - usual for each, usual in zip(moved, missed(chain, free), strict=True)]
            moved = [-each / (self.nudge * len(x)) for each in moved]
            grads = products(model, list(zip(chain.links, moved, [x, *rest.r[:-1]], strict=True)), meter)
            after = self.learned(state, wired, free, meter)
            meter.add(layer_evaluations=(first + second) * (len(chain.links) - 1))
        info = {"sweeps": float(first + second), "apical_at_rest": norm(self.apical(wired, free)) / len(x) ** 0.5}
        return Credit({**grads, **judged.own}, after, judged.loss, meter.cost(1, 0), info=info)

    def wired(self, model: nn.Module, chain: Chain, state: Lateral) -> Wired:
        """Return a chain with its lateral weights; raise ValueError for those that no longer fit."""
        down = matrices(model, "Microcircuit", chain, state.down, self.top_down)
        names, weights = names_of(model, chain), [link.weight for link in chain.links[1:]]
        for held in (state.ahead, state.back):
            require_fitting("Microcircuit", {name: held.get(name) for name in names}, weights)
        lateral = [[held[name].to(down[0]) for name in names] for held in state[1:]]
        return Wired(chain, down, *lateral)

    def forward(self, chain: Chain, x: Tensor) -> Rest:
        """Return the forward pass, potentials and rates."""
        found = Rest([], [], [])
        for link in chain.links:
            drive = link.linear(found.r[-1] if found.r else x)
            found.basal.append(drive)
            found.u.append(drive)
            found.r.append(link.fire(drive))
        return found

    def inter(self, wired: Wired, r: Tensor, number: int) -> Tensor:
        """Return the rates of the interneurons of layer `number`, from 0, for those of its cells `[rows, units]`."""
        return wired.chain.links[number + 1].fire(r @ wired.ahead[number].T + wired.offsets[number])

    def apical(self, wired: Wired, at: Rest) -> list[Tensor]:
        """Return the apical potentials of the hidden layers, `[rows, units]` each."""
        return [
            above @ down + self.inter(wired, own, number) @ back
            for number, (own, above, down, back) in enumerate(
                zip(at.r, at.r[1:], wired.down, wired.back, strict=False),
            )
        ]

    def rest(
        self,
        wired: Wired,
        x: Tensor,
        start: Rest,
        teach: Callable[[Tensor], Tensor] = torch.zeros_like,
        meter: Meter | None = None,
    ) -> tuple[Rest, int]:
        """Return the network at rest, and the number of sweeps.

        Args:
            wired: the links and the lateral weights.
            x: what enters the first, `[rows, in]`.
            start: the state to begin with.
            teach: returns what is added to the potential of the last layer, for its rates.
            meter: counts the products of lateral weights; None for no count.
        """
        links = wired.chain.links

        def sweep(now: Rest) -> Moved:
            added = [*self.apical(wired, now), teach(now.r[-1])]
            after = Rest([now.basal[0]], [], [])
            for number, (link, more) in enumerate(zip(links, added, strict=True)):
                if number:
                    after.basal.append(link.linear(after.r[-1]))
                after.u.append(after.basal[-1] + more)
                after.r.append(link.fire(after.u[-1]))
            if meter is not None:
                counted = 3 * len(x) * sum(down.numel() for down in wired.down)
                meter.add(synaptic_operations=counted, multiplications=counted)
            size = norm(after.u)
            return Moved(after, norm([a - b for a, b in zip(after.u, now.u, strict=True)]), size, size)

        remedy = (
            "give smaller weights (gain, an option of the model perceptron), start='self_predicting', a smaller nudge, "
            "or more steps"
        )
        return settle(sweep, start, self.steps, self.tolerance, x.dtype, remedy)

    def learned(self, state: Lateral, wired: Wired, free: Rest, meter: Meter) -> Lateral:
        """Return the lateral weights after a step towards the self-predicting state."""
        if not self.rate:
            return state
        ahead, offsets, back = dict(state.ahead), dict(state.offsets), dict(state.back)
        for number, (name, apical) in enumerate(zip(ahead, self.apical(wired, free), strict=True)):
            own, inter = free.r[number], self.inter(wired, free.r[number], number)
            left = (free.r[number + 1] - inter) / len(own)
            step = self.rate / (1 + own.square().sum(1).mean())
            ahead[name] = wired.ahead[number] + step * left.T @ own
            offsets[name] = wired.offsets[number] + step * left.sum(0)
            step = self.rate / (1 + inter.square().sum(1).mean())
            back[name] = wired.back[number] - step * inter.T @ apical / len(own)
            meter.add(weight_operations=2 * len(own) * ahead[name].numel())
        return Lateral(state.down, ahead, offsets, back)


def missed(chain: Chain, at: Rest) -> list[Tensor]:
    """Return the rates of each layer, less those that its basal dendrites predict, `[rows, units]`."""
    return [r - link.fire(basal) for link, basal, r in zip(chain.links, at.basal, at.r, strict=True)]
