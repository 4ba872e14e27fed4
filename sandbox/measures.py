"""What models are selected by: accuracy of classes, R2 of values, F1 of several labels. Imports nothing heavy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

MEASURES = {"classes": "accuracy", "values": "r2", "labels": "f1"}  # kind of answer -> what models are selected by
MOST = 10**9  # answers that are counted
ROUNDING = 1e-6  # of a share in float64 times so many answers
NAMES = {"accuracy": "accuracy", "r2": "R2", "f1": "F1"}  # of measures, in words

TEXT = {  # of a result of a text, in words; each may have bounds, as in `perplexity_low` and `perplexity_high`
    "perplexity": "perplexity",
    "bits_per_character": "bits per character",
    "bits_per_byte": "bits per byte",
}


def measured(part: Mapping[str, Any]) -> str:
    """Return the measure by which models are selected, in a result such as that of `Trainer.evaluate`.

    Raises:
        ValueError: if there is none, because the objective does not say what suits it.

    >>> measured({"loss": 0.1, "r2": 0.8, "rmse": 0.3})
    'r2'
    """
    for name in MEASURES.values():
        if name in part:
            return name
    raise ValueError(
        f"the objective reports {', '.join(part) or 'nothing'}, and models are selected by {', '.join(NAMES.values())}:"
        " let its method measure() return rules.measures.Regression() or MultiLabel(), or use objective: {name: mse}"
    )


def score(part: Mapping[str, Any]) -> float:
    """Return the measure by which models are selected, as a share: 1 is best.

    >>> score({"loss": 0.1, "r2": 0.8, "rmse": 0.3})
    0.8
    """
    return float(part[measured(part)])


def answers(parts: Sequence[Mapping[str, Any]]) -> int | None:
    """Return how many answers the accuracies of several results are shares of; None where they are not known to be.

    Accuracies of earlier versions come without `samples`; R2 and F1 are no shares of answers, and where there is an
    answer at each step, there are more answers than samples.

    >>> answers([{"accuracy": 0.75, "samples": 4.0}, {"accuracy": 0.5, "samples": 4.0}])
    4
    """
    size: Any = parts[0].get("samples")
    if type(size) not in (int, float) or not 0 < size <= MOST or any(part.get("samples") != size for part in parts):
        return None
    if any(measured(part) != "accuracy" for part in parts):
        return None
    counts = [score(part) * size for part in parts]
    whole = all(math.isfinite(count) and abs(count - round(count)) < ROUNDING for count in counts)
    return int(size) if whole else None


def of_text(part: Mapping[str, Any]) -> dict[str, float]:
    """Return perplexity and bits of a result; empty for a task without text.

    >>> of_text({"accuracy": 0.5, "loss": 0.7, "perplexity": 2.0, "perplexity_low": 1.8, "bits_per_byte": 1.0})
    {'perplexity': 2.0, 'bits_per_byte': 1.0}
    """
    return {name: number_of(part[name]) for name in TEXT if name in part}


def said_of_text(part: Mapping[str, Any]) -> dict[str, str]:
    """Return perplexity and bits of a result as text, with their intervals if it has them.

    >>> said_of_text({"perplexity": 2.0, "perplexity_low": 1.8, "perplexity_high": 2.25, "bits_per_byte": 1.0})
    {'perplexity': '2.00 [1.80, 2.25]', 'bits per byte': '1.00'}
    """
    found = {}
    for name, value in of_text(part).items():
        ends = [number_of(part[key]) for key in (f"{name}_low", f"{name}_high") if key in part]
        found[TEXT[name]] = f"{value:.2f}" + (f" [{ends[0]:.2f}, {ends[1]:.2f}]" if len(ends) == 2 else "")
    return found


def number_of(value: Any) -> float:
    """Return a number of a result; NaN for null."""
    return math.nan if value is None else float(value)
