"""When and how an experiment looks at its rule through the microscope."""

from __future__ import annotations

from dataclasses import dataclass, field

from rules.fields import check_fields
from sandbox.config.registry import Choice
from sandbox.microscope import Microscope


@dataclass(frozen=True)
class MicroscopeConfig:
    """A look at the rule's credit beside reference gradients, every so many steps.

    Args:
        every: steps from one look to the next.
        references: names of `sandbox list references`, or names with options.
        draws: how often the credit of a stochastic rule is drawn at each look.
        seed: seed of those draws.

    >>> MicroscopeConfig(every=50, references=["bptt", Choice("bptt", {"window": 5})]).make().every
    50
    """

    every: int = 100
    references: list[Choice | str] = field(default_factory=lambda: ["bptt"])
    draws: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        check_fields(self)
        # A user-defined reference is imported when it is used, not when a configuration is read, which others may have
        # written; until then a known one stands in for it.
        mine = [choice for choice in self.choices() if ":" not in choice.name]
        asked = mine if mine or not self.references else [Choice("bptt")]
        Microscope(self.every, tuple(choice.make("reference") for choice in asked), self.draws, self.seed)

    def choices(self) -> list[Choice]:
        """Return the references with their options."""
        return [Choice(name) if isinstance(name, str) else name for name in self.references]

    def make(self) -> Microscope:
        """Build the microscope; raises ValueError for what it would refuse."""
        made = tuple(choice.make("reference") for choice in self.choices())
        return Microscope(self.every, made, self.draws, self.seed)
