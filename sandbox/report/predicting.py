"""How well the next token of a text was predicted: perplexity and bits, of a run and of the rules of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sandbox.comparisons.settings import blocks, searches_of
from sandbox.measures import TEXT, of_text, said_of_text
from sandbox.runs.finished import FinishedRun, by_rule
from sandbox.statistics import block_means, interval

OF_A_RUN = (
    "In brackets: a 95 % interval over the test text, by a bootstrap of at most 100 pieces of consecutive blocks. "
    "It does not contain what another seed would do."
)
OF_SEEDS = "Means over the {over} with 95 % intervals, on one test text."


class Prediction(NamedTuple):
    """A table of perplexity and bits: a row for each rule."""

    heads: tuple[str, ...]
    rows: dict[str, list[str]]
    meaning: str


def of_run(run: FinishedRun) -> Prediction | None:
    """Return the table of a run, with intervals over the test text; None for a task without text."""
    found = said_of_text(run.result["test"])
    return Prediction(tuple(found), {run.rule: list(found.values())}, OF_A_RUN) if found else None


def of_comparison(runs: Sequence[FinishedRun], over: str) -> Prediction | None:
    """Return the table of a comparison, with intervals over seeds; None unless all runs are of a text.

    Args:
        runs: of the rules.
        over: what intervals are over, seeds or searches.
    """
    names = [name for name in TEXT if all(name in run.result["test"] for run in runs)]
    if not runs or not names:
        return None
    of = blocks([searches_of(mine) for mine in by_rule(runs).values()])
    rows = {
        rule: [str(interval(block_means([of_text(run.result["test"])[name] for run in mine], of))) for name in names]
        for rule, mine in by_rule(runs).items()
    }
    return Prediction(tuple(TEXT[name] for name in names), rows, OF_SEEDS.format(over=over))
