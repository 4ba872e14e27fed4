"""Forward-forward: every layer learns for itself to tell right labels from wrong ones, by its goodness."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from rules.contract import Batch, Claim, Credit, CreditRule, Objective, Run
from rules.errors import unknown
from rules.fields import check_fields
from rules.metering import Meter
from rules.models.chain import Chain, Link, as_run, chain_of, judge, products, refuse_inside
from rules.objectives.labels import labels

REDUCED = ("mean", "sum")


@dataclass(frozen=True)
class ForwardForward(CreditRule):
    """Forward-forward in a chain of dense layers; no error passes from one layer to another.

        h_l = f(W_l z_{l-1} + b_l),   z_l = h_l / |h_l|,   z_0 the input with a label written in
        G_l = mean or sum of h_l^2 over units,   for the right label and for a wrong one that is drawn
        credit of W_l = d loss(G_l) / dW_l,   z_{l-1} held

    The label replaces the first `classes` features of a sample: 1 for its class, 0 for the others. What those features
    held is lost, so give samples an empty margin. All layers learn alike, the last included, whose width is the
    number of classes unless that is given. An evaluation makes one pass for each class, and its output is the mean
    goodness of all layers but the first, of the only one in a chain of one: the largest is the answer. The
    model's own forward pass means nothing to this rule.

    Args:
        goodness: "mean" or "sum" over units, "sum" by default.
        classes: number of labels; None for the width of the last layer.

    Raises:
        ValueError: for another goodness, fewer than two classes, fewer features than classes, an objective of hidden
            layers, and a model without a chain of dense layers.

    >>> net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3), nn.ReLU())
    >>> ForwardForward().runs(net)(Batch(torch.rand(5, 6), torch.arange(5) % 3)).output.shape
    torch.Size([1, 5, 3])

    The threshold of goodness, that of the objective, matters a great deal: units must be able to pass it, so bounded
    ones such as nn.Tanh reach a sum of no more than their number, and a mean of 1.

    Reference: Hinton 2022, The forward-forward algorithm (arXiv 2212.13345), reconstructed.
    """

    goodness: Literal["mean", "sum"] = "sum"
    classes: int | None = None

    needs: ClassVar[frozenset[str]] = frozenset({"layers", "chain", "labels"})
    claim: ClassVar[Claim] = "none"
    relies_on: ClassVar[frozenset[str]] = frozenset({"stateless", "deterministic"})

    def __post_init__(self) -> None:
        check_fields(self)
        if self.goodness not in REDUCED:
            raise unknown("goodness", self.goodness, REDUCED)
        if self.classes is not None and self.classes < 2:
            raise ValueError(f"classes={self.classes}: give at least 2, the right label and a wrong one")

    def suits(self, objective: Objective) -> None:
        """Raise ValueError for an objective of hidden layers."""
        refuse_inside("ForwardForward", objective)

    def runs(self, model: nn.Module) -> Callable[[Batch], Run]:
        """Return the function that gives the goodness of each label, `[T, B, classes]`, by a pass for each."""

        def tried(batch: Batch) -> Run:
            chain, x, lead = chain_of(model, "ForwardForward", batch)
            found = []
            with torch.no_grad():
                for label in range(self._count(chain, x)):
                    shown = self._written(chain, x, torch.full((len(x),), label, device=x.device))
                    each = [self._good(link.fire(drive)) for link, _, drive in driven(chain, shown)]
                    found.append(torch.stack(each[1:] or each).mean(0))
            return as_run(torch.stack(found, 1), lead)

        return tried

    def assign(self, model: nn.Module, objective: Objective, batch: Batch, state: Any, rng: torch.Generator) -> Credit:
        """Return the credit of one batch, from a pass with the right labels and a pass with wrong ones."""
        seen = objective.views(batch, rng)
        with torch.no_grad(), Meter(model, objective) as meter:
            chain, x, lead = chain_of(model, "ForwardForward", seen)
            count = self._count(chain, x)
            y = labels(Run(x.new_zeros(1, lead[-1], count)), seen)
            shift = torch.randint(1, count, y.shape, generator=rng, device=rng.device).to(y.device)
            pair = [self._written(chain, x, each.expand(lead).flatten()) for each in (y, (y + shift) % count)]
            told = seen._replace(y=torch.zeros_like(y), targets=None)  # the first of the two is right
            losses, links, own = [], [], dict[str, Tensor]()
            for link, z, drive in driven(chain, torch.cat(pair)):
                h, slope = link.sloped(drive)
                judged = judge(objective, torch.stack(self._good(h).chunk(2), 1), lead, told)
                share = 2.0 if self.goodness == "sum" else 2.0 / h.shape[1]
                links.append((link, judged.error.T.reshape(-1, 1) * share * h * slope, z))
                losses.append(judged.loss)
                own = {name: own.get(name, 0.0) + head for name, head in judged.own.items()}
            grads = products(model, links, meter)
        return Credit({**grads, **own}, state, sum(losses) / len(losses), meter.cost(forwards=2, backwards=0))

    def _good(self, h: Tensor) -> Tensor:
        """Return the goodness of each row."""
        return h.square().sum(1) if self.goodness == "sum" else h.square().mean(1)

    def _count(self, chain: Chain, x: Tensor) -> int:
        """Return the number of classes; raise ValueError if they do not fit into the input."""
        count = chain.links[-1].linear.out_features if self.classes is None else self.classes
        if count < 2 or count > x.shape[1]:
            said = "the width of the last layer" if self.classes is None else "as given"
            raise ValueError(
                f"ForwardForward writes one of {count} labels ({said}) into the first features, and a sample has "
                f"{x.shape[1]}: give classes=, at least 2, and samples with as many features to spare"
            )
        return count

    def _written(self, chain: Chain, x: Tensor, y: Tensor) -> Tensor:
        """Return rows with the labels `[rows]` in their first features."""
        count = self._count(chain, x)
        return torch.cat([nn.functional.one_hot(y, count).to(x), x[:, count:]], 1)


def driven(chain: Chain, x: Tensor) -> Iterator[tuple[Link, Tensor, Tensor]]:
    """Yield every link with the rows that enter it, and its drive: below, the output of a link is at unit length."""
    for link in chain.links:
        drive = link.linear(x)
        yield link, x, drive
        x = unit(link.fire(drive))


def unit(h: Tensor) -> Tensor:
    """Return rows at unit length; rows of zeros stay as they are.

    >>> unit(torch.tensor([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    length = h.norm(dim=1, keepdim=True)
    scaled: Tensor = h / length.masked_fill(length == 0, 1.0)
    return scaled
