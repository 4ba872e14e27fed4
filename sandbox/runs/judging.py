"""Evaluations of a run: what the task is judged by, and of text perplexity and bits, with intervals on the test."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rules import Finding, Trainer
from rules.diagnostics.chance import at_chance
from rules.measures import Accuracy, Measure
from rules.perplexity import Perplexity
from sandbox.machine import files
from sandbox.measures import measured, score
from sandbox.statistics import FEWEST, bootstrap
from sandbox.tasks.loader import Loader
from sandbox.tasks.text.tokenizers import Tokenizer

PIECES = 100  # of a text, at most, that are drawn again


def judged(
    trainer: Trainer,
    loader: Loader,
    tokenizer: Tokenizer | None,
    steps: Iterable[int] = (),
    bounded: bool = False,
    measure: Measure | None = None,
) -> dict[str, float]:
    """Return what `Trainer.evaluate` does; of a text also `perplexity` and the bits for each character or byte.

    Args:
        trainer: of the model.
        loader: of a split, in its order.
        tokenizer: of the text; None for a task without text.
        steps: as in `Trainer.evaluate`.
        bounded: whether to add the bounds of their intervals, `perplexity_low` and so on; see `bounds`.
        measure: of the answers, in place of the objective's; not of a text.
    """
    if tokenizer is None:
        return trainer.evaluate(loader, steps, measure=measure)
    of_text = Perplexity(tokenizer.unit)
    found = trainer.evaluate(loader, steps, measure=of_text)
    return {**found, **bounds(of_text)} if bounded else found


def look_once(
    trainer: Trainer, test: Loader, steps: range, ledger: Path, tokenizer: Tokenizer | None, taken: int
) -> tuple[dict[str, float], list[Finding]]:
    """Evaluate on the test set; return the measures, and the finding that they are at chance, if they are.

    The evaluation is counted in the file before it starts, so that one that is killed counts, too. A rule with several
    inference modes is evaluated in all of them; measures without the name of a mode are those of the first. Whether
    answers are at chance is asked where there is one class for each sample, and where health is checked at all; `taken`
    are the steps of training, also where the weights of an earlier epoch were kept.
    """
    before = files.read_json(ledger)["evaluations"] if ledger.exists() else 0
    files.write_json(ledger, {"evaluations": before + 1})
    credit, objective = trainer.rule.credit, trainer.rule.objective
    measure = objective.measure()
    found = judged(trainer, test, tokenizer, steps, bounded=True, measure=measure)
    for mode in credit.inferences[1:]:
        again = trainer.evaluate(test, inference=mode)
        found[f"{measured(again)}_{mode}"] = score(again)
    if not isinstance(measure, Accuracy) or trainer.monitor.settings.every == 0 or test.split.by_step:
        return found, []
    return found, list(at_chance(measure, credit, objective, taken))


def bounds(measure: Perplexity) -> dict[str, float]:
    """Return the bounds of the 95 % intervals of perplexity and bits over a text; none for fewer than three pieces.

    Neighbouring blocks of a text are alike, so that blocks are no independent samples of it. The text is therefore cut
    into at most 100 pieces of consecutive blocks, each with as many as the others to one, and pieces are drawn again
    (`sandbox.statistics.bootstrap`). The statistic is the sum of the nats of the pieces by the number of their targets,
    so that a last block that is not full counts for what it holds. The interval is about the text that the model was
    tested on; it does not contain what another seed of training would do.

    >>> even = Perplexity()
    >>> even.nats, even.counts = [1.0, 2.0, 3.0, 2.0], [2, 2, 2, 2]
    >>> {name: round(bound, 2) for name, bound in bounds(even).items() if "bits" in name}
    {'bits_per_token_low': 0.72, 'bits_per_token_high': 2.16}
    """
    nats, counts = (np.array(part) for part in pieces(measure.nats, measure.counts))

    def bits(places: Any, axis: int | None = None) -> Any:
        rows = np.asarray(places, dtype=np.int64)
        return nats[rows].sum(axis) / counts[rows].sum(axis) / math.log(2)

    if len(nats) < FEWEST:
        return {}
    name, each = f"bits_per_{measure.unit}", nats / counts / math.log(2)
    if np.ptp(each) == 0 or not np.isfinite(each).all():  # nothing to draw again, or no number
        ends = {"low": float(each.min()), "high": float(each.max())}
    else:
        found = bootstrap(np.arange(len(nats)).tolist(), statistic=bits)
        ends = {"low": found.low, "high": found.high}
    return {
        **{f"{name}_{end}": value for end, value in ends.items()},
        **{f"perplexity_{end}": 2**value if value < 1000 else math.inf for end, value in ends.items()},
    }


def pieces(nats: Sequence[float], counts: Sequence[int], most: int = PIECES) -> tuple[list[float], list[int]]:
    """Return the sums of consecutive blocks in at most so many pieces of a text; blocks without a target are left out.

    >>> pieces([1.0, 2.0, 3.0, 4.0, 5.0], [1, 1, 1, 1, 0], most=2)
    ([3.0, 7.0], [2, 2])
    """
    kept = [place for place, count in enumerate(counts) if count]
    parts = [part for part in np.array_split(np.array(kept, dtype=np.int64), most) if len(part)]
    of_nats, of_counts = np.array(nats), np.array(counts)
    return [float(of_nats[part].sum()) for part in parts], [int(of_counts[part].sum()) for part in parts]
