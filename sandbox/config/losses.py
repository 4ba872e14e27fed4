"""The loss that suits the answers of a task, where a configuration names none."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from rules.contract import Objective
from rules.credit.online import Online
from rules.credit.spike_timing import EscapeNoise, RewardSTDP
from rules.objectives import OBJECTIVES
from rules.objectives.readout import TET, MeanCrossEntropy
from rules.recipes import LearningRule
from sandbox.tasks.base import Dataset

Answers: TypeAlias = tuple[str, bool]  # their kind, and whether there is one for each step

BY_STEP: Answers = ("classes", True)
USUAL: dict[Answers, str | None] = {  # -> the loss, None for the rule's own
    ("classes", False): None,
    ("classes", True): "ce_rate",
    ("values", False): "mse",
    ("values", True): "mse",
    ("labels", False): "bce",
    ("labels", True): "bce",
}
OPTIONS = (  # how a configuration gives what a message of `SeesAhead` asks for
    "as options of a rule in a configuration: {objective: tet} for classes, "
    "{objective: {name: mse, options: {at: step}}} for numbers; on the command line --rule.options.objective tet, or "
    "--rule.options.objective '{name: mse, options: {at: step}}'"
)


def answers_of(data: Dataset) -> Answers:
    """Return the kind of answers of a data set."""
    return data.target, data.train.by_step


def completed(
    rule: LearningRule,
    parts: Mapping[str, Any],
    every: int | None,
    answers: Answers | None,
    recipe: Callable[..., Any],
) -> LearningRule:
    """Return a rule with some of its parts replaced, and a loss that suits the answers.

    Args:
        rule: as its recipe made it, with one update for each sequence.
        parts: those that a configuration replaces, by name.
        every: steps between two updates; None keeps the rule's.
        answers: that the loss must suit; None keeps it.
        recipe: that made the rule. If it lets users choose the loss, and they did not, its loss is only a default.

    Raises:
        ValueError: for a loss of the whole sequence in a rule that learns inside of it.
    """
    changed = {**parts, **({} if every is None else {"every": every})}
    credit, steps = changed.get("credit", rule.credit), changed.get("every", rule.every)
    defaults = (MeanCrossEntropy(), *([TET()] if "objective" in inspect.signature(recipe).parameters else []))
    if answers is not None and rule.objective in defaults:
        inside = credit.timing == "step" or steps is not None
        changed["objective"] = suited(rule.objective, answers, inside)
    return replace(rule, **changed)


def suited(own: Objective, answers: Answers, inside: bool) -> Objective:
    """Return the loss for answers of a kind; the rule's own where that suits them.

    Args:
        own: the loss of the rule.
        answers: a key of `USUAL`.
        inside: whether the rule learns inside of a sequence, for which the loss must be one of each step.

    >>> suited(MeanCrossEntropy(), ("values", False), True)
    MeanSquaredError(at='step')
    """
    usual = USUAL[answers]
    if usual is None or (answers == BY_STEP and own.timing == "step"):
        return own
    numbers = answers[0] != "classes"
    return OBJECTIVES[usual](at="step") if inside and numbers else OBJECTIVES[usual]()  # type: ignore[call-arg]


def require_rewards(rule: LearningRule, data: Dataset, task: str) -> None:
    """Raise ValueError for a rule that learns from rewards, on answers that are neither rewards nor classes."""
    rewarded = isinstance(rule.credit, (RewardSTDP, EscapeNoise))
    rewarded = rewarded or (isinstance(rule.credit, Online) and rule.credit.signal == "reward")
    if not rewarded or data.target == "classes":
        return
    _, y = data.example
    if data.target == "values" and data.train.by_step and y.ndim == 2:
        return  # one number for each step and sample
    seen = "n, T, " if data.train.by_step else "n, "
    raise ValueError(
        f"a rule of rewards, such as three_factor or r_stdp, learns from one reward for each step and sample, [n, T], "
        f"or from classes, and the answers of task {task!r} are {data.target} [{seen}{data.outputs}]: take another "
        "rule, --rule eprop, or a task with classes (`sandbox list tasks`); rewards of your own are "
        "sandbox.Task.from_arrays(x, reward, sequence=True, by_step=True)"
    )
