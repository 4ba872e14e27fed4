"""The learning rule of an experiment: a name with options, and what tuning found for it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from rules.contract import Objective, SeesAhead
from rules.fields import check_fields
from rules.objectives import OBJECTIVES, Sum
from rules.options import built
from rules.recipes import RULES, LearningRule
from sandbox.config.losses import OPTIONS, Answers, completed
from sandbox.config.names import BETWEEN, of_a_row, require_label
from sandbox.config.rates import rated
from sandbox.config.registry import Choice, find
from sandbox.networks.zoneout import ZoneOut

LINEAR = ("linear classifier", "linear regression")  # rows that tables have of their own

FIRST_SEED = 1000  # of tuning; comparisons of what it found use smaller ones


@dataclass(frozen=True)
class Search:
    """One search of tuning for the options of a rule on a task, and where it looked.

    Args:
        options: those that it found.
        within: of each option that was searched, the least and the largest value, or all values of a choice.
        at_end: options whose range ended near what was found, in spite of being extended.
        trials: number of trials.
        number: which of the searches of this rule, from 0.
        setting: `Experiment.setting` where it searched; None where that is not known.

    Raises:
        ValueError: for an option that was found and not searched, or the other way round, and for a value that was not
            found where it was searched.
    """

    options: dict[str, Any] = field(default_factory=dict)
    within: dict[str, list[Any]] = field(default_factory=dict)
    at_end: list[str] = field(default_factory=list)
    trials: int = 1
    number: int = 0
    setting: str | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        odd = sorted({*self.options} ^ {*self.within} | {*self.at_end} - {*self.options})
        if odd:
            raise ValueError(f"within={sorted(self.within)}: a search has the same options in all parts, unlike {odd}")
        if self.trials < 1 or self.number < 0:
            raise ValueError(f"trials={self.trials}, number={self.number}: give at least 1 trial, and count from 0")
        for name, value in self.options.items():
            if value is not None and not _inside(value, self.within[name]):
                raise ValueError(
                    f"{name}={value!r} in within={self.within[name]}: give two numbers around it, or two values or "
                    "more of which it is one"
                )


@dataclass(frozen=True)
class RuleConfig:
    """A named rule with options; any of its three parts can be replaced.

    Args:
        name: a name of `sandbox list rules`, package.module:Name or path/to/file.py:Name.
        options: options of the rule, such as {lr: 0.01}.
        objective: replaces the loss.
        credit: replaces the gradient estimator.
        plasticity: replaces the optimizer; its learning rate is its own option `lr`, or that of `options`; without
            both, a projected one has the rate that the rule has with that optimizer.
        regularisers: penalties that are added to the loss; `azo` regularises the pass forward of attention instead.
        epochs: in a comparison, in place of the experiment's, so that rules can be compared at equal cost.
        readout: in a comparison, in place of the network's, for a rule that needs another one, such as one of bits.
        variant: in a comparison, which of several forms of one row this is, such as the name of its optimizer; the row
            shows the form whose validation is best, and all of them below.
        searched: in a comparison, what each search found: the n-th seed learns with the options of search n modulo
            their number.
        search: in a run, the search in which its options were found; None where they were given.
        label: what the rule is called in tables and folders; its name, or that of its other credit, by default.

    Raises:
        ValueError: for a label that cannot be part of a file name or is the name of another rule, and for searches of
            different options or of one number.

    >>> sorted(RuleConfig("bptt", regularisers=[Choice("rate_l1", {"weight": 0.1})]).make().needs)
    ['gradient', 'labels', 'layers']
    """

    name: str = "bptt"
    options: dict[str, Any] = field(default_factory=dict)
    objective: Choice | None = None
    credit: Choice | None = None
    plasticity: Choice | None = None
    regularisers: list[Choice] = field(default_factory=list)
    epochs: int | None = None
    readout: Choice | None = None
    variant: str | None = None
    searched: list[Search] = field(default_factory=list)
    search: Search | None = None
    label: str | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if self.epochs is not None and self.epochs < 1:
            raise ValueError(f"epochs={self.epochs}: give a whole number, at least 1, or leave it out")
        for name in ("label", "variant"):
            if (given := getattr(self, name)) is not None:
                require_label(name, given)
                if parts := [part for part in BETWEEN if part in given]:
                    raise ValueError(
                        f"{name}={given!r} holds {parts[0]!r}, which stands between rules in tables: take "
                        f"{of_a_row(given)!r}"
                    )
        if self.label in LINEAR or (self.label in RULES and self.label != self.name):
            raise ValueError(f"label={self.label!r} is the name of another row or rule: give one of its own")
        kinds = {tuple(sorted(each.options)) for each in self.searched}
        if len(kinds) > 1:
            raise ValueError(f"searched: every search has the same options, and these have {sorted(kinds)}")
        numbers = [each.number for each in self.searched]
        if len(set(numbers)) < len(numbers):
            raise ValueError(f"searched: each search has a number of its own, and these have {numbers}")
        if self.searched and self.search is not None:
            raise ValueError("searched and search: the first is for a comparison, the second for its runs")

    @property
    def title(self) -> str:
        """What the rule is called: its label, or its name; with another credit in place of its own, that one's name.

        >>> RuleConfig(credit=Choice("own.py:Mine")).title
        'Mine'
        """
        if self.label or self.credit is None:
            return self.label or self.name
        return self.credit.name.rpartition(":")[2]

    @property
    def row(self) -> str:
        """The row that shows it: its title, without the variant at the end.

        >>> RuleConfig("hzo", label="hzo adam", variant="adam").row
        'hzo'
        """
        return self.title if self.variant is None else self.title.removesuffix(f" {self.variant}")

    def having(self, options: Mapping[str, Any]) -> RuleConfig:
        """Return the rule with other options.

        Options of the plasticity go to the plasticity that replaces the recipe's own, where there is one.
        """
        given, rule = dict(options), self
        if rule.plasticity is not None:
            theirs: dict[str, Any] = {name: given.pop(name) for name in ("lr", "momentum", "pulse") if name in given}
            valid = find("plasticity", rule.plasticity.name)
            taken = {name: value for name, value in theirs.items() if name in inspect.signature(valid).parameters}
            rule = replace(rule, plasticity=replace(rule.plasticity, options={**rule.plasticity.options, **taken}))
        return replace(rule, options={**rule.options, **given})

    def of_seed(self, n: int) -> RuleConfig:
        """Return the rule of the n-th seed of a comparison, from 0: with the options of its search, if it was searched.

        >>> found = [Search({"lr": lr}, {"lr": [0.001, 1.0]}, number=k) for k, lr in enumerate([0.1, 0.2])]
        >>> RuleConfig("bptt", searched=found).of_seed(3).options
        {'lr': 0.2}
        """
        if not self.searched:
            return self
        search = self.searched[n % len(self.searched)]
        return replace(self.having(search.options), searched=[], search=search)

    @property
    def unsearched(self) -> RuleConfig:
        """The rule without what its search found: the same for all runs of a rule that were searched alike.

        >>> found = [Search({"lr": lr}, {"lr": [0.001, 1.0]}, number=k) for k, lr in enumerate([0.1, 0.2])]
        >>> rule = RuleConfig("bptt", {"window": 3}, searched=found)
        >>> rule.of_seed(0).unsearched == rule.of_seed(1).unsearched
        True
        """
        if self.search is None:
            return self
        search, part = self.search, self.plasticity
        if part is not None:
            part = replace(part, options=_without(part.options, search.options))
        blank = Search(dict.fromkeys(search.options), {name: [] for name in search.options}, trials=search.trials)
        return replace(self, options=_without(self.options, search.options), plasticity=part, search=blank)

    def make(self, answers: Answers | None = None, teacher: nn.Module | None = None) -> LearningRule:
        """Build the rule; where nobody named a loss, it suits the answers if these are given.

        Args:
            answers: kind of the answers, and whether there is one for each step; None keeps the loss of the recipe.
            teacher: of the objective that the configuration names; None for none.

        Raises:
            SeesAhead: for a loss of the whole sequence in a rule that learns inside of it.
            ValueError: for a teacher that no named objective takes.
        """
        try:
            return self._made(answers, teacher)
        except SeesAhead as error:
            raise SeesAhead(f"{error}\n{OPTIONS}") from error

    def require_teachable(self) -> Choice:
        """Return the objective of the configuration; raise ValueError for one that takes no teacher, or for none."""
        chosen = self.objective or self._own_objective()
        if chosen is None or "teacher" not in inspect.signature(find("objective", chosen.name)).parameters:
            able = [name for name, kind in OBJECTIVES.items() if "teacher" in inspect.signature(kind).parameters]
            named = "names no objective" if chosen is None else f"has the objective {chosen.name!r}, which takes none"
            raise ValueError(
                f"parent.how: the parent is to teach, and rule {self.title!r} {named}: give one with a teacher, such "
                f"as --rule.objective kdcl ({', '.join(able)}), or begin with its weights alone, --parent.how weights"
            )
        return chosen

    def _own_objective(self) -> Choice | None:
        """Return the objective among the options of the rule; None without one."""
        named = self.options.get("objective")
        if isinstance(named, str):
            return Choice(named)
        return Choice(**named) if isinstance(named, Mapping) else None

    def _made(self, answers: Answers | None, teacher: nn.Module | None = None) -> LearningRule:
        recipe, options = find("rule", self.name), dict(self.options)
        taught = None if teacher is None else self.require_teachable().make("objective", teacher=teacher)
        if taught is not None and self.objective is None:
            options["objective"] = taught
        every = options.pop("every", None) if recipe in RULES.values() else None
        rule = built("rule", self.name, recipe, options)
        if not isinstance(rule, LearningRule):
            raise ValueError(
                f"rule {self.name!r} is a {type(rule).__name__}; name a function that returns a rules.LearningRule, "
                "made of an objective, a credit and a plasticity"
            )
        parts = {kind: getattr(self, kind) for kind in ("objective", "credit", "plasticity")}
        given = {kind: choice.make(kind) for kind, choice in parts.items() if choice is not None}
        if taught is not None and self.objective is not None:
            given["objective"] = taught
        if self.plasticity is not None:
            given["plasticity"] = rated(given["plasticity"], self.plasticity.options, rule, recipe, options)
        named = self.objective is not None or "objective" in self.options
        rule = completed(rule, given, every, None if named else answers, recipe)
        penalties = tuple(each for each in self._regularisers() if isinstance(each, Objective))
        return replace(rule, objective=Sum((rule.objective, *penalties))) if penalties else rule

    def zoneouts(self) -> tuple[ZoneOut, ...]:
        """Return the regularisers that change the pass forward of a model, and not the loss."""
        return tuple(each for each in self._regularisers() if isinstance(each, ZoneOut))

    def _regularisers(self) -> list[Any]:
        return [choice.make("regulariser") for choice in self.regularisers]


def _inside(value: Any, within: Sequence[Any]) -> bool:
    """Return whether a value is one of a choice, or between the ends of a range."""
    numbers = len(within) == 2 and all(type(each) in (int, float) for each in (value, *within))
    return (value in within and len(within) > 1) or (numbers and within[0] < value < within[1])


def _without(options: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in others}
