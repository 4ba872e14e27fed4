"""Figures of accuracy at fewer time steps, and of the measures derived from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sandbox.comparisons.settings import blocks, searches_of
from sandbox.comparisons.verdicts import named, on_side, standing, undecided
from sandbox.measures import NAMES
from sandbox.report.figures import Curve, Curves, Dots, Figure
from sandbox.report.measures import Measure, intervals, measured, value, values
from sandbox.runs.finished import FinishedRun, by_rule
from sandbox.statistics import verdicts


def of_comparison(task: str, runs: Sequence[FinishedRun], baseline: str) -> list[Figure]:
    """Build the figures of accuracy against steps and of each measure; none where no fewer steps were tested."""
    measures = measured(runs)
    if not measures:
        return []
    each = [_by_rule(runs, measure, measure_message(task, runs, measure, baseline)) for measure in measures]
    return [_against_steps(runs, steps_message(task, runs, baseline)), *each]


def of_run(task: str, run: FinishedRun) -> list[Figure]:
    """Build the figure of accuracy against steps; none where the run was not tested at fewer steps."""
    if not measured([run]):
        return []
    (few, first), (many, last) = list(run.test_at.items())[:: len(run.test_at) - 1]
    found = f"{run.rule} has {first:.1f} % with {few} of {many} time steps, {last:.1f} % with all"
    return [_against_steps([run], f"{task}: {found} (seed {run.seed})")]


def steps_message(task: str, runs: Sequence[FinishedRun], baseline: str) -> str:
    """State which rules are above the baseline at the fewest steps, by the tests that the table uses."""
    steps = list(runs[0].test_at)
    found = _verdicts(runs, baseline, lambda run: run.test_at[steps[0]])
    return f"{task}: with {steps[0]} of {steps[-1]} time steps, {standing(found, baseline)}"


def measure_message(task: str, runs: Sequence[FinishedRun], measure: Measure, baseline: str) -> str:
    """State which rules are above and which below the baseline in a measure, by the tests that the table uses."""
    found = _verdicts(runs, baseline, lambda run: value(run, measure))
    if not found:
        return f"{task}: {measure.noun} of {baseline} alone"
    if undecided(found):
        return f"{task}: too few seeds for verdicts on {measure.noun}"
    above, below = (on_side(found, side) for side in ("above", "below"))
    if not above and not below:
        return f"{task}: no rule is distinguishable from {baseline} by its {measure.noun}"
    sides = [f"{side} for {named(rules, found)}" for side, rules in (("higher", above), ("lower", below)) if rules]
    return f"{task}: compared with {baseline}, {measure.noun} is {' and '.join(sides)}"


def _verdicts(runs: Sequence[FinishedRun], baseline: str, number: Callable[[FinishedRun], float]) -> dict[str, str]:
    """Return the verdict of each rule against the baseline, paired by seed."""
    found = {rule: {run.seed: number(run) for run in mine} for rule, mine in by_rule(runs).items()}
    reference = found.pop(baseline)
    others = {rule: [mine[seed] for seed in reference] for rule, mine in found.items()}
    of = blocks([searches_of(mine) for mine in by_rule(runs).values()])
    return {rule: each.words for rule, each in verdicts(list(reference.values()), others, baseline, of).items()}


def _against_steps(runs: Sequence[FinishedRun], title: str) -> Figure:
    curves = {
        rule: Curve(list(mine[0].test_at), [list(run.test_at.values()) for run in mine])
        for rule, mine in by_rule(runs).items()
    }
    rows = [
        {"rule": run.rule, "seed": run.seed, "steps": steps, f"test_{run.measure}_percent": height}
        for run in runs
        for steps, height in run.test_at.items()
    ]
    content = Curves("time steps used", f"test {NAMES[runs[0].measure]} [%]", curves, whole=True)
    return Figure("latency", title, _steps_alt(runs), rows, content)


def _by_rule(runs: Sequence[FinishedRun], measure: Measure, title: str) -> Figure:
    found = intervals(runs, measure)
    rows = [
        {"rule": run.rule, "seed": run.seed, measure.name: value(run, measure), **found[run.rule]._asdict()}
        for run in runs
    ]
    listed = "; ".join(f"{rule}: {middle}" for rule, middle in found.items())
    alt = f"{measure.label[0].upper()}{measure.label[1:]}, mean and 95 % interval. {listed}."
    note = "bar: 95 % interval of the mean; faint: every seed" if len(runs) > len(found) else ""
    return Figure(measure.name, title, alt, rows, Dots(measure.label, found, values(runs, measure), note))


def _steps_alt(runs: Sequence[FinishedRun]) -> str:
    """Describe where the curves begin and end."""
    ends = []
    for rule, mine in by_rule(runs).items():
        steps = list(mine[0].test_at)
        few, many = (sum(run.test_at[step] for run in mine) / len(mine) for step in (steps[0], steps[-1]))
        ends.append(f"{rule} goes from {few:.2f} with {steps[0]} to {many:.2f} with {steps[-1]}")
    return f"Test {NAMES[runs[0].measure]} in percent against time steps used. {'; '.join(ends)}."
