"""What may be said about a comparison: verdicts that follow from the intervals, and numbers people can read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from sandbox.comparisons.comparison import as_interval
from sandbox.report.figures import Price
from sandbox.runs.finished import FinishedRun
from sandbox.statistics import Interval

SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def count(number: float | None) -> str:
    """A large count.

    >>> count(12500), count(3.21e9)
    ('12,500', '3.21 × 10⁹')
    """
    if number is None or not math.isfinite(number):
        return "–"
    if abs(number) < 1e6:
        return f"{number:,.0f}"
    mantissa, exponent = f"{number:.2e}".split("e")
    return f"{mantissa} × 10{str(int(exponent)).translate(SUPERSCRIPT)}"


def hundredths(number: float | None) -> str:
    """A percentage or a number like it; a dash where there is none.

    >>> hundredths(93.456), hundredths(None)
    ('93.46', '–')
    """
    return "–" if number is None or not math.isfinite(number) else f"{number:.2f}"


def verdict(over_baseline: Sequence[float | None], baseline: str) -> str:
    """What a paired difference `(mean, low, high)` allows to say.

    >>> verdict([1.0, -0.5, 2.0], "readout_only")
    'not distinguishable from readout_only at these seeds'
    >>> verdict([1.0, 0.5, 2.0], "readout_only")
    'above readout_only'
    """
    _, low, high = over_baseline
    if low is None or high is None:
        return "fewer than 3 seeds have no interval: nothing can be said"
    if low <= 0 <= high:
        return f"not distinguishable from {baseline} at these seeds"
    return f"above {baseline}" if low > 0 else f"below {baseline}"


def comparison_title(table: dict[str, Any]) -> str:
    """Task, rules and seeds."""
    rules = ", ".join(row["rule"] for row in table["rows"])
    return f"{table['task']}: {rules} · {_seeds(table['rows'][0]['seeds'])}"


def curves_message(table: dict[str, Any]) -> str:
    """Which rules end above the baseline, by the intervals of the table."""
    over = {row["rule"]: as_interval(row["over_baseline"]) for row in table["rows"] if row["over_baseline"] is not None}
    return f"{table['task']}: {standing(over, table['baseline'])}"


def standing(over: dict[str, Interval], baseline: str) -> str:
    """Which rules stand above the baseline, by the intervals of their paired differences."""
    if not over:
        return f"{baseline} alone"
    if few_seeds(over):
        return "fewer than 3 seeds rank no rules"
    above = [rule for rule, (_, low, _) in over.items() if low > 0]
    if not above:
        return f"no rule stands above {baseline}"
    return f"{named(above, over)} {'stands' if len(above) == 1 else 'stand'} above {baseline}"


def named(found: list[str], over: dict[str, Interval]) -> str:
    """One rule by its name, more by their number."""
    return found[0] if len(found) == 1 else f"{len(found)} of {len(over)} rules"


def few_seeds(over: dict[str, Interval]) -> bool:
    """Whether there is nothing to tell rules apart by."""
    return any(math.isnan(low) for _, low, _ in over.values())


def height(row: dict[str, Any]) -> float:
    """A rule's mean accuracy, to rank it by; last where it is not a number."""
    mean = as_interval(row["accuracy"]).mean
    return -math.inf if math.isnan(mean) else mean


def ranking_message(table: dict[str, Any]) -> str:
    """Who comes first by the mean; what that is worth, the pairs say."""
    first, *rest = sorted(table["rows"], key=height, reverse=True)
    if not rest:
        return f"{table['task']}: {first['rule']} alone"
    return f"{table['task']}: {first['rule']} has the highest mean, {rest[0]['rule']} comes next"


def ranking_alt(table: dict[str, Any]) -> str:
    """The order, for those who do not see it."""
    told = "; ".join(
        f"{row['rule']} {as_interval(row['accuracy'])}" for row in sorted(table["rows"], key=height, reverse=True)
    )
    return f"Test accuracy in percent, the highest mean first. {told}."


def cost_message(table: dict[str, Any], price: Price) -> str:
    """What the highest mean accuracy costs beside the baseline."""
    task, baseline = table["task"], table["baseline"]
    best = max(table["rows"], key=height)
    reference = next(row for row in table["rows"] if row["rule"] == baseline)
    if best is reference:
        return f"{task}: no rule has a higher mean than {baseline}, at any cost"
    word = price.word.split()[-1]
    ours, theirs = (row["cost"][price.key] for row in (best, reference))
    if not all(cost is not None and math.isfinite(cost) for cost in (ours, theirs)):
        return f"{task}: {best['rule']} has the highest mean; not every {word} is a number"
    if ours == theirs:
        return f"{task}: {best['rule']} has the highest mean, at {baseline}'s {word}"
    times = f"{ours / theirs:.3g} ×" if theirs else "more than"
    return f"{task}: {best['rule']} has the highest mean, at {times} {baseline}'s {word}"


def curves_alt(runs: Sequence[FinishedRun], linear: float | None = None) -> str:
    """Where the curves end, for those who do not see them."""
    ends: dict[str, list[float]] = {}
    for run in runs:
        ends.setdefault(run.rule, []).append(run.accuracies[-1])
    told = "; ".join(f"{rule} ends at {sum(last) / len(last):.2f}" for rule, last in ends.items())
    line = "" if linear is None else f" Dotted line: a linear classifier at {linear:.2f}."
    return f"Validation accuracy in percent against epoch. {told}.{line}"


def cost_alt(table: dict[str, Any], price: Price) -> str:
    """The points of the figure, for those who do not see them."""
    told = "; ".join(
        f"{row['rule']}: {hundredths(row['accuracy'][0])} at {count(row['cost'][price.key])}" for row in table["rows"]
    )
    return f"Test accuracy in percent against {price.word}. {told}."


def run_title(task: str, run: FinishedRun) -> str:
    """Task, rule and seed."""
    return f"{task}: {run.rule} · seed {run.seed}"


def run_message(task: str, run: FinishedRun) -> str:
    """How far the run came."""
    first, last = run.accuracies[0], run.accuracies[-1]
    return f"{task}: {run.rule} goes from {first:.1f} % to {last:.1f} % on the validation set (seed {run.seed})"


def _seeds(number: int) -> str:
    return "one seed" if number == 1 else f"{number} paired seeds"
