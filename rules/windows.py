"""A sequence in windows, between which the weights move."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor, nn

from rules.contract import Batch, Cost, Credit, CreditRule, Objective, Run, steps_of
from rules.forward import leaves, pieces, run_model, samples, shapes
from rules.metering import Meter
from rules.objectives.around import Around
from rules.recipes import LearningRule
from rules.team import Team


@dataclass(frozen=True)
class Share(Around):
    """The share that a window has in the loss of a whole sequence; everything else is the objective's."""

    inner: Objective
    whole: Batch

    def shares(self, batch: Batch) -> Callable[[Run, Batch], Tensor]:
        """Return the shares in the loss of the whole sequence, whatever part of it the batch is."""
        return self.inner.shares(self.whole)

    def extent(self, batch: Batch) -> float:
        """Return the number of steps in the window that count, by that in the whole sequence."""
        return counted_steps(batch) / counted_steps(self.whole)

    def __call__(self, run: Run, batch: Batch) -> Tensor:
        return self.inner.shares(self.whole)(run, batch)


def counted_steps(batch: Batch) -> float:
    """Return how many steps of a sample count, on average.

    >>> counted_steps(Batch(torch.zeros(5, 3, 1), lengths=torch.tensor([4, 7, -1])))
    3.0
    """
    steps = steps_of(batch.x)
    return steps if batch.lengths is None else float(batch.lengths.clamp(0, steps).double().mean())


def windows(rule: LearningRule, batch: Batch) -> Iterator[tuple[Objective, Batch]]:
    """Yield the windows of a batch, each with the objective that gives its share of the loss; one if `every` is None.

    The first has the carry of the batch; the others get that of the window before.

    Raises:
        ValueError: for an input of one step on its own, `[B, ...]`, which has no time to be cut.
    """
    if rule.every is None:
        yield rule.objective, batch
        return
    require_time(rule.every, batch)
    share = Share(rule.objective, batch._replace(carry=None))
    for number, piece in enumerate(pieces(batch, rule.every)):
        yield share, piece if number else piece._replace(carry=batch.carry)


def require_time(every: int, batch: Batch) -> None:
    """Raise ValueError for an input without an axis of time, or for targets of another number of steps."""
    for leaf in leaves(batch.x):
        if leaf.ndim < 2 or leaf.shape[1] != samples(batch):
            raise ValueError(
                f"every={every} cuts sequences [T, B, ...] along time, and this input has shape {shapes(batch.x)} for "
                f"{samples(batch)} samples: give it time, as sandbox.tasks.encode does, or leave every None"
            )
        if batch.targets is not None and len(batch.targets) != len(leaf):
            raise ValueError(
                f"every={every} cuts targets along time with the input, and there are {len(batch.targets)} steps of "
                f"targets and {len(leaf)} of the input: give one for each, as in rules.Batch(x, targets=targets[:"
                f"{len(leaf)}])"
            )


def require_alone(rule: LearningRule, accumulate: int, team: Team) -> None:
    """Raise ValueError for updates inside a sequence together with what makes one update of many steps."""
    if rule.every is None or (accumulate == 1 and team.size == 1):
        return
    if accumulate > 1:
        raise ValueError(
            f"every={rule.every} updates the weights inside a sequence, and accumulate={accumulate} after several: "
            "leave one of them out"
        )
    raise ValueError(
        f"every={rule.every} updates the weights inside a sequence, which a team of processes cannot do: leave every "
        "None, or let one process learn"
    )


def continued(rule: CreditRule, model: nn.Module, batch: Batch, credit: Credit) -> Credit:
    """Return a credit with the carry from which the sequence continues; of a rule that has none, by a pass of its own.

    >>> from rules.check import toy
    >>> from rules.credit.zero_order import SPSA
    >>> continued(SPSA(), toy.recurrent(), toy.batch(), Credit({}, (), 0.0, Cost())).cost.forwards
    1
    """
    if rule.continues != "pass" or credit.carry is not None:
        return credit
    with torch.no_grad(), Meter(model) as meter:
        carry = run_model(model, batch).carry
    return credit._replace(carry=carry, cost=credit.cost + meter.cost(forwards=1, backwards=0))


def joined(credits: Sequence[Credit]) -> Credit:
    """Return the credits of consecutive windows as one: losses and costs added, the rest as the last window left it."""
    if len(credits) == 1:
        return credits[0]
    *_, last = credits
    loss = sum(credit.loss for credit in credits)
    cost = reduce(Cost.__add__, (credit.cost for credit in credits))
    findings = tuple(dict.fromkeys(each for credit in credits for each in credit.findings))
    return last._replace(loss=loss, cost=cost, findings=findings)
