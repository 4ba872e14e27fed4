"""What models are selected by: accuracy of classes, R2 of values, F1 of several labels. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MEASURES = {"classes": "accuracy", "values": "r2", "labels": "f1"}  # kind of answer -> what models are selected by
NAMES = {"accuracy": "accuracy", "r2": "R2", "f1": "F1"}  # of measures, in words


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
