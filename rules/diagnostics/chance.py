"""The finding that a trained network answers no better than by guessing, from its answers to samples of a test."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rules.contract import CreditRule, Objective
from rules.diagnostics.health import Finding
from rules.measures import Accuracy

FEWEST = 100  # steps, below which a run is too short to tell
SURE = 2.33  # standard errors: 1 % of a normal distribution lies above
LITTLE = 0.1  # of what there is to learn above guessing


def at_chance(counted: Accuracy, credit: CreditRule, objective: Objective, steps: int) -> Iterator[Finding]:
    """Yield the finding that answers are at chance after so many steps.

        g = share of the most frequent class,    e = g + (1 - g) / 10,    n answers
        right < n g + 2.33 sqrt(n g (1 - g))   and   right < n e - 2.33 sqrt(n e (1 - e))

    g is the accuracy of the best constant answer. The first line says that more right answers would come by such
    guessing in more than 1 % of tests; the second that a network which has learned a tenth of what there is above
    guessing would give so few in less than 1 %, so that a small test never tells. Counts are binomial: answers are
    those of independent samples.

    Args:
        counted: of a test.
        credit: by which it learned; the remedy is for its kind.
        objective: which read its answers.
        steps: of training; under 100 nothing is said.

    >>> import torch
    >>> from rules.recipes import make
    >>> counted = Accuracy()
    >>> counted.add(torch.zeros(400, 10), torch.arange(400) % 10)  # class 0 throughout
    >>> rule = make("stdp")
    >>> [each.kind for each in at_chance(counted, rule.credit, rule.objective, steps=240)]
    ['at chance']
    >>> list(at_chance(counted, rule.credit, rule.objective, steps=99))
    []
    """
    if steps < FEWEST or not counted.rows:
        return
    n, guess = counted.rows, counted.guess
    little = guess + LITTLE * (1 - guess)
    above = counted.hits >= n * guess + SURE * math.sqrt(n * guess * (1 - guess))
    untold = counted.hits >= n * little - SURE * math.sqrt(n * little * (1 - little))
    if above or untold:
        return
    share = counted.hits / n
    yield Finding(
        "at chance",
        "the network",
        share,
        f"{share:.1%} of {n} answers are right after {steps} steps, and {guess:.1%} would be by one answer to all",
        remedy(credit, objective),
    )


def remedy(credit: CreditRule, objective: Objective) -> str:
    """Return what helps a rule of this kind: with labels, without them, or without a read-out of what it learned."""
    name = type(credit).__name__
    if credit.asks or "labels" in credit.needs:
        return (
            "mend what other findings say; then train longer, or at another learning rate, and compare with "
            'rules.make("bptt"), --rule bptt, on the same network, which tells whether the rule or the network is at '
            "fault"
        )
    if objective.teaches:
        return (
            f'{name} sees no labels, so that no output knows its class: read them by objective="assignment" or '
            '"probe", on the command line --rule.options.objective assignment, or take a rule with a teacher, such as '
            'rules.make("bcpnn"), --rule bcpnn'
        )
    return (
        f"{name} sees no labels, and nothing makes cells differ: let them compete, in the model diehl_cook, "
        "--network.model diehl_cook, with homeostasis=... and normalise=True, --rule.options '{homeostasis: 2.0, "
        'normalise: true}\'; or take a rule with a teacher, such as rules.make("bcpnn"), --rule bcpnn'
    )
