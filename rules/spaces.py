"""Search spaces of the named rules: the ranges from which tuning draws their options.

Each range covers the values that the rule was observed to need in small to wide networks; the ends are our choice.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from rules.optional import space_said

End = Literal["low", "high"]
NEAR = 0.1  # share of a range that is near an end
GROWTH = 0.5  # share of a range by which it grows
SMALLEST, LARGEST = sys.float_info.min, sys.float_info.max / 2  # so that a range has a width
PLAIN = (bool, int, float, str, type(None))


@dataclass(frozen=True)
class Range:
    """A range of numbers, which tuning may extend where the best value lies near an end.

    Args:
        low: the smallest value.
        high: the largest value.
        log: draw uniformly in the logarithm, so that each decade is equally likely.
        least: the smallest value that makes sense, beyond which the range never grows; None for no bound.
        most: the largest value that makes sense, likewise.

    Raises:
        ValueError: if low is not below high, or not positive in a logarithmic range, or if an end is out of bounds.

    >>> Range(1e-3, 1e-1, log=True).ends
    (0.001, 0.1)
    """

    low: float
    high: float
    log: bool = False
    least: float | None = None
    most: float | None = None

    def __post_init__(self) -> None:
        if not (self.low < self.high and max(abs(self.low), abs(self.high)) <= LARGEST):
            raise ValueError(
                f"a range from {self.low} to {self.high}: give two finite numbers, the smaller one first, and none "
                f"beyond {LARGEST:.1g}"
            )
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithmic range from {self.low}: give a lower end above 0")
        if (self.least is not None and self.low < self.least) or (self.most is not None and self.high > self.most):
            raise ValueError(
                f"a range from {self.low} to {self.high} in bounds from {self.least} to {self.most}: give ends inside "
                "of the bounds"
            )

    @property
    def ends(self) -> tuple[float, ...]:
        """The smallest and the largest value."""
        return self.low, self.high

    def at(self, share: float) -> float:
        """Return the value at a share of the range, from 0 to 1, in a logarithmic range of its decades.

        >>> round(Range(1e-3, 1e-1, log=True).at(0.5), 6)
        0.01
        """
        if self.log:
            found = math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))
        else:
            found = self.low * (1 - share) + self.high * share
        return min(max(found, self.low), self.high)  # rounding

    def end_near(self, value: float) -> End | None:
        """Return the end of which a value is within a tenth of the range, in a logarithmic range of its decades.

        >>> rates = Range(1e-3, 1e-1, log=True)
        >>> rates.end_near(0.08), rates.end_near(0.05), rates.end_near(1e-3)
        ('high', None, 'low')
        """
        low, high, at = (math.log(number) if self.log else number for number in (self.low, self.high, value))
        margin = NEAR * high - NEAR * low  # a difference of the ends themselves could overflow
        return "low" if at <= low + margin else "high" if at >= high - margin else None

    def beyond(self, end: End, by: float = GROWTH) -> Range:
        """Return the range grown at one end by a share of its width, in a logarithmic range of its decades.

        Args:
            end: "low" or "high".
            by: the share, a half by default.

        Returns: a range that holds this one; this one itself where the end is a bound already.

        >>> Range(1e-3, 1e-1, log=True).beyond("high").ends
        (0.001, 1.0)
        >>> Range(0.0, 0.9, most=0.99).beyond("high").ends
        (0.0, 0.99)
        """
        inner, outer = (self.low, self.high) if end == "high" else (self.high, self.low)
        grown = outer * (outer / inner) ** by if self.log else outer + by * (outer - inner)
        if end == "high":
            most = LARGEST if self.most is None else self.most
            return replace(self, high=max(self.high, min(grown, most)))
        least = (SMALLEST if self.log else -LARGEST) if self.least is None else self.least
        return replace(self, low=min(self.low, max(grown, least)))


@dataclass(frozen=True)
class Options:
    """A choice between a few values: numbers, texts, truth values or None.

    Raises:
        ValueError: for fewer than two values, and for a value that a file of results could not give back, such as a
            tuple.
    """

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        if len(self.values) < 2:
            raise ValueError(f"options {self.values}: give at least two to choose from")
        odd = [value for value in self.values if not isinstance(value, PLAIN)]
        if odd:
            raise ValueError(
                f"options with {odd[0]!r}: give numbers, texts, truth values or None; a recipe can look anything else "
                "up by its name"
            )

    @property
    def ends(self) -> tuple[Any, ...]:
        """All values."""
        return self.values


Space = Mapping[str, Range | Options]

RATE = Range(1e-4, 1.0, log=True)  # of Adam and RMSprop, whose steps are about as large as it
SLOPE = Range(1e-3, 3.0, log=True)  # of SGD on a gradient
NOISY = Range(3e-4, 3.0, log=True)  # of SGD on an estimate whose noise grows with the number of weights
RATES = {"adam": RATE, "sgd": SLOPE, "rmsprop": RATE}
STEP = Range(3e-2, 3.0, log=True)  # in units of the rms of what is perturbed; 0.3 is the default across spikes
PULSE = Range(1e-4, 8e-2, log=True, most=1.0)  # step of a device, in units of its range
# Of a device that writes gradients, pulse after pulse: the finer, the more of them, and the longer an update takes.
WRITING = Range(1e-3, 8e-2, log=True, least=1e-3, most=1.0)
MOMENTUM = Options((0.0, 0.9))
FOLLOWING = ("kolen_pollack",)  # rules whose feedback gets the updates of the weights
MIRROR = Range(1e-3, 1e-1, log=True)  # of feedback that learns from noise, a step
CHANGE = Range(1e-5, 1e-1, log=True)  # of a weight by a pair of spikes
DEPRESSION = Range(0.5, 2.0, log=True)  # an amplitude of the window, relative to that of the other side
ELIGIBLE = Range(10.0, 1e3, log=True)  # ms

SPACES: dict[str, Space] = {
    "bptt": {"lr": RATE},
    "tet": {"lr": RATE, "lam": Range(1e-4, 1e-1, log=True)},
    "tcl": {"lr": RATE, "weight": Range(1e-2, 1.0, log=True)},
    "stcl": {"lr": RATE, "weight": Range(1e-2, 1.0, log=True)},
    "supcon_per_step": {"lr": RATE, "weight": Range(1e-2, 1.0, log=True)},
    "binary_stochastic": {"pulse": PULSE},
    "binary_stochastic_ideal": {"pulse": PULSE},
    "bptt_on_memristor": {"lr": Range(1e-2, 1.0, log=True, most=10.0), "pulse": WRITING},
    "hzo": {"lr": SLOPE, "momentum": MOMENTUM},
    "layerwise_zo": {"lr": SLOPE, "momentum": MOMENTUM},
    "sequential_local": {"lr": SLOPE, "momentum": MOMENTUM},
    "spsa": {"lr": NOISY, "momentum": MOMENTUM, "step": STEP},
    "node_perturbation": {"lr": NOISY, "momentum": MOMENTUM, "sigma": STEP},
    "forward_gradient": {"lr": NOISY, "momentum": MOMENTUM},
    "coordinate_wise": {"lr": NOISY, "momentum": MOMENTUM, "step": STEP},
    "evolution_strategy": {"lr": NOISY, "momentum": MOMENTUM, "sigma": STEP},
    "fa": {"lr": RATE},
    "dfa": {"lr": RATE},
    "sdfa": {"lr": RATE},
    "drtp": {"lr": RATE},
    "usf": {"lr": RATE},
    "brsf": {"lr": RATE},
    "frsf": {"lr": RATE},
    "weight_mirror": {"lr": RATE, "rate": MIRROR},
    "kolen_pollack": {"lr": RATE, "decay": Range(1e-4, 1e-2, log=True)},
    "rtrl": {"lr": RATE},
    "snap1": {"lr": RATE},
    "uoro": {"lr": RATE},
    "eprop": {"lr": RATE},
    "ostl": {"lr": RATE},
    "otpe": {"lr": RATE},
    "ottt": {"lr": RATE},
    "sltt": {"lr": RATE},
    "decolle": {"lr": RATE},
    "three_factor": {"lr": RATE},
    "predictive_coding": {"lr": RATE},
    "equilibrium_propagation": {"lr": RATE, "beta": Range(1e-2, 1.0, log=True)},
    "pepita": {"lr": RATE, "scale": Range(1e-2, 1.0, log=True)},
    "forward_forward": {"lr": RATE, "threshold": Range(1.0, 100.0, log=True)},
    "target_propagation": {"lr": RATE, "rate": Range(1e-2, 1.0, log=True, most=1.0)},
    "stdp": {"lr": CHANGE, "a_minus": DEPRESSION},
    "triplet_stdp": {"lr": CHANGE, "triplet_plus": DEPRESSION},
    "voltage_stdp": {"lr": CHANGE, "a_minus": DEPRESSION},
    "r_stdp": {"lr": CHANGE, "tau_e": ELIGIBLE},
    "escape_noise": {"lr": NOISY, "momentum": MOMENTUM},
    "burst": {"lr": RATE, "beta": Range(0.1, 10.0, log=True)},
    "microcircuit": {"lr": RATE, "nudge": Range(3e-2, 1.0, log=True)},
    "urbanczik_senn": {"lr": SLOPE, "momentum": MOMENTUM},
    "bcpnn": {"tau_p": Range(100.0, 1e5, log=True), "gain": Range(0.1, 10.0, log=True)},
    "eventprop": {"lr": RATE},
    "readout_only": {"lr": RATE},
}


def space_of(name: str, maker: Callable[..., Any]) -> Space:
    """Return the search space of a named rule, or the attribute `space` of a user-defined recipe.

    Raises:
        ValueError: for a rule that has neither, and for a space of anything but `Range` and `Options`.

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
    if not isinstance(found, Mapping):
        raise ValueError(f"rule {name!r} declares space = {found!r}: give a dict of options")
    for option, each in found.items():
        if not isinstance(each, (Range, Options)):
            raise ValueError(
                f"rule {name!r} declares space[{option!r}] = {each!r}: give rules.spaces.Range(low, high) for numbers, "
                "or rules.spaces.Options((one, another))"
            )
    return dict(found)


def space_with(name: str, maker: Callable[..., Any], options: Mapping[str, Any]) -> Space:
    """Return the search space of a rule whose options fix its optimizer; without `optimizer`, that of `space_of`.

    The rate is that of the optimizer, `RATES`, or `NOISY` for SGD where a rule's own space has it. Momentum is searched
    with SGD alone, and neither where it is given beside the optimizer, nor where feedback follows the weights, which
    keeps only updates without it.

    Raises:
        ValueError: for a rule without a space.

    >>> from rules.recipes import RULES
    >>> sorted(space_with("hzo", RULES["hzo"], {"optimizer": "adam"}))
    ['lr']
    >>> space_with("bptt", RULES["bptt"], {"optimizer": "sgd"}) == {"lr": SLOPE, "momentum": MOMENTUM}
    True
    >>> sorted(space_with("hzo", RULES["hzo"], {"optimizer": "sgd", "momentum": 0.9}))
    ['lr']
    """
    found = dict(space_of(name, maker))
    optimizer = options.get("optimizer")
    if optimizer not in RATES or "lr" not in found:
        return found
    own = found.pop("momentum", None) is None  # whether it is a rule that has another optimizer by default
    found["lr"] = found["lr"] if optimizer == "sgd" and not own else RATES[optimizer]
    if optimizer == "sgd" and name not in FOLLOWING and "momentum" not in options:
        found["momentum"] = MOMENTUM
    return found
