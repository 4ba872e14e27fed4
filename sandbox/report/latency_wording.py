"""What may be said about fewer time steps: by the intervals of paired differences, as for accuracy."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sandbox.report.measures import Measure, intervals, value
from sandbox.report.wording import few_seeds, named, standing
from sandbox.runs.finished import FinishedRun, by_rule
from sandbox.statistics import Interval, interval


def steps_message(task: str, runs: Sequence[FinishedRun], baseline: str) -> str:
    """Which rules stand above the baseline from the fewest steps, seed by seed."""
    steps = list(runs[0].accuracy_at)
    over = _paired(runs, baseline, lambda run: run.accuracy_at[steps[0]])
    return f"{task}: with {steps[0]} of {steps[-1]} time steps, {standing(over, baseline)}"


def measure_message(task: str, runs: Sequence[FinishedRun], measure: Measure, baseline: str) -> str:
    """On which side of the baseline the rules stand in a measure, seed by seed."""
    over = _paired(runs, baseline, lambda run: value(run, measure))
    above = [rule for rule, (_, low, _) in over.items() if low > 0]
    below = [rule for rule, (_, _, high) in over.items() if high < 0]
    if not over:
        return f"{task}: {measure.noun} of {baseline} alone"
    if few_seeds(over):
        return f"{task}: fewer than 3 seeds rank no rules by {measure.noun}"
    if not above and not below:
        return f"{task}: no rule can be told from {baseline} by its {measure.noun}"
    sides = [f"{side} for {named(found, over)}" for side, found in (("higher", above), ("lower", below)) if found]
    return f"{task}: {measure.noun}, beside {baseline}, is {' and '.join(sides)}"


def run_steps_message(task: str, run: FinishedRun) -> str:
    """What the run answers from the fewest and from the most steps."""
    (few, first), (many, last) = list(run.accuracy_at.items())[:: len(run.accuracy_at) - 1]
    return (
        f"{task}: {run.rule} has {first:.1f} % with {few} of {many} time steps, {last:.1f} % with all (seed {run.seed})"
    )


def steps_alt(runs: Sequence[FinishedRun]) -> str:
    """Where the curves begin and end, for those who do not see them."""
    told = []
    for rule, mine in by_rule(runs).items():
        steps = list(mine[0].accuracy_at)
        few, many = (sum(run.accuracy_at[step] for run in mine) / len(mine) for step in (steps[0], steps[-1]))
        told.append(f"{rule} goes from {few:.2f} with {steps[0]} to {many:.2f} with {steps[-1]}")
    return f"Test accuracy in percent against time steps used. {'; '.join(told)}."


def measure_alt(runs: Sequence[FinishedRun], measure: Measure) -> str:
    """The means and their intervals, for those who do not see them."""
    told = "; ".join(f"{rule}: {interval}" for rule, interval in intervals(runs, measure).items())
    return f"{measure.label[0].upper()}{measure.label[1:]}, mean and 95 % interval. {told}."


def _paired(runs: Sequence[FinishedRun], baseline: str, number: Callable[[FinishedRun], float]) -> dict[str, Interval]:
    """Differences to the baseline of the same seed, with their intervals, rule by rule."""
    rules = by_rule(runs)
    reference = {run.seed: number(run) for run in rules[baseline]}
    return {
        rule: interval([number(run) - reference[run.seed] for run in mine])
        for rule, mine in rules.items()
        if rule != baseline
    }
