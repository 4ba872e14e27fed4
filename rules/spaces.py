"""Where each named rule is worth searching: the ranges that equal tuning draws its options from.

Each spans what the rule has been seen to need from small to wide networks; ends are ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rules.optional import space_said


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, of which each decade is as likely where `log`.

    Raises ValueError for ends that do not rise, or a logarithm of what is not positive.

    >>> Range(1e-3, 1e-1, log=True).ends
    (0.001, 0.1)
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"a range from {self.low} to {self.high}: give two finite numbers that rise")
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithmic range from {self.low}: give a lower end above 0")

    @property
    def ends(self) -> tuple[float, ...]:
        """The smallest and the largest."""
        return self.low, self.high


@dataclass(frozen=True)
class Options:
    """One of a few values. Raises ValueError for fewer than two."""

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        if len(self.values) < 2:
            raise ValueError(f"options {self.values}: give at least two to choose from")

    @property
    def ends(self) -> tuple[Any, ...]:
        """All of them."""
        return self.values


Space = Mapping[str, Range | Options]

RATE = Range(1e-3, 3e-1, log=True)  # of Adam
SLOPE = Range(1e-3, 3e-1, log=True)  # of SGD on a measured gradient
NOISY = Range(3e-4, 1e-1, log=True)  # of SGD on an estimate whose noise grows with the number of weights
PULSE = Range(1e-4, 8e-2, log=True)  # a step of a device, in units of its range
MOMENTUM = Options((0.0, 0.9))

SPACES: dict[str, Space] = {
    "bptt": {"lr": RATE},
    "tet": {"lr": RATE, "lam": Range(1e-4, 1e-1, log=True)},
    "tcl": {"lr": RATE, "weight": Range(1e-2, 1.0, log=True)},
    "stcl": {"lr": RATE, "weight": Range(1e-2, 1.0, log=True)},
    "supcon_per_step": {"lr": RATE, "weight": Range(1e-2, 1.0, log=True)},
    "binary_stochastic": {"pulse": PULSE},
    "binary_stochastic_ideal": {"pulse": PULSE},
    "bptt_on_memristor": {"lr": Range(1e-2, 1.0, log=True), "pulse": PULSE},
    "hzo": {"lr": SLOPE, "momentum": MOMENTUM},
    "layerwise_zo": {"lr": SLOPE, "momentum": MOMENTUM},
    "sequential_local": {"lr": SLOPE, "momentum": MOMENTUM},
    "spsa": {"lr": NOISY, "momentum": MOMENTUM},
    "node_perturbation": {"lr": NOISY, "momentum": MOMENTUM},
    "forward_gradient": {"lr": NOISY, "momentum": MOMENTUM},
    "coordinate_wise": {"lr": NOISY, "momentum": MOMENTUM},
    "evolution_strategy": {"lr": NOISY, "momentum": MOMENTUM},
    "readout_only": {"lr": RATE},
}


def space_of(name: str, maker: Callable[..., Any]) -> Space:
    """The space of a named rule, or what a stranger's recipe says with an attribute `space`.

    Raises ValueError for a rule that says neither.

    >>> from rules.recipes import RULES
    >>> sorted(space_of("hzo", RULES["hzo"]))
    ['lr', 'momentum']
    """
    found = SPACES.get(name) or space_said(maker)
    if not found:
        raise ValueError(
            f"rule {name!r} declares no search space: give its recipe an attribute, "
            "`recipe.space = {'lr': rules.spaces.Range(1e-3, 1e-1, log=True)}`"
        )
    return dict(found)
