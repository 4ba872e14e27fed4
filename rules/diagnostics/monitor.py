"""The health of a model while it learns: looked at every so many steps, told once for as long as it lasts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from rules.contract import Batch, Credit
from rules.diagnostics.health import (
    SATURATED,
    SILENT,
    VANISHING,
    Finding,
    check_credit,
    check_firing,
    firing_rates,
    rms,
)
from rules.errors import unknown
from rules.optional import tissue

KINDS = {
    "silent": "hardly a unit of a layer fires",
    "saturated": "almost every unit of a layer fires in every step",
    "without credit": "the loss does not depend on a parameter",
    "vanishing": "the gradient of a parameter is next to nothing beside the largest",
    "exploding": "a gradient or a weight is many times what it was at the first look",
    "never updated": "a parameter is what it was at the first look",
    "at its bounds": "most devices of a parameter can go no further",
}


@dataclass(frozen=True)
class Health:
    """When health is looked at, from where on something is ill, and what a run is to stop for.

    A look costs one forward pass more and no draw of the run's dice: what is learned does not depend on it. A NaN or an
    infinity needs no look; it stops every run, by `rules.NonFinite`. Raises ValueError for an impossible threshold, and
    for a word of `stop` that is no kind.

    >>> Health(stop=("silent",)).every
    100
    """

    every: int = 100  # steps from one look to the next; the first step always is one, with 0 it alone
    silent: float = SILENT  # firing probability per step below which a layer carries no signal
    saturated: float = SATURATED  # and above which it carries none either
    vanishing: float = VANISHING  # root-mean-square gradient, relative to the largest of the model
    exploding: float = 1e3  # root-mean-square gradient or weight, relative to that of the first look
    bounded: float = 0.5  # share of devices at a bound
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.every < 0:
            raise ValueError(f"every={self.every}: give the steps between two looks, or 0 for the first step alone")
        for name in ("silent", "saturated", "vanishing", "bounded"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)}: give a share between 0 and 1")
        if not self.exploding > 1:
            raise ValueError(f"exploding={self.exploding}: give a factor above 1")
        for kind in self.stop:
            if kind not in KINDS:
                raise unknown("kind of illness", kind, KINDS)


class Unhealthy(ArithmeticError):
    """Something was found that the run was told to stop for; nothing has been changed."""


@dataclass
class Monitor:
    """What is remembered from one look to the next, which is little: some numbers for each parameter."""

    settings: Health
    first: dict[str, tuple[float, float]] = field(default_factory=dict)  # rms of gradient and weight
    prints: dict[str, tuple[float, float]] = field(default_factory=dict)  # fingerprints of the weights
    present: set[tuple[str, str]] = field(default_factory=set)  # kinds and places that have been told

    def due(self, steps: int) -> bool:
        """Whether the step after so many is one to look at."""
        return steps == 0 or (self.settings.every > 0 and steps % self.settings.every == 0)

    def look(
        self, model: nn.Module, batch: Batch, parameters: dict[str, nn.Parameter], credit: Credit, optimizer: Any
    ) -> tuple[Finding, ...]:
        """What is new since the last look; raises Unhealthy for what the run is to stop for."""
        found = [
            *check_firing(firing_rates(model, batch), self.settings.silent, self.settings.saturated),
            *(check_credit(parameters, credit, self.settings.vanishing) if self._asked(credit) else ()),
            *self._growth(parameters, credit),
            *self._rest(parameters, credit),
            *bounded(parameters, optimizer, self.settings.bounded),
        ]
        new = tuple(each for each in found if (each.kind, each.where) not in self.present)
        self.present = {(each.kind, each.where) for each in found}
        for each in new:
            if each.kind in self.settings.stop:
                raise Unhealthy(str(each))
        return new

    def state_dict(self) -> dict[str, Any]:
        """Plain data: dicts of pairs of numbers, and the pairs of words that have been told."""
        return {"first": self.first, "prints": self.prints, "present": sorted(self.present)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self.first, self.prints = state["first"], state["prints"]
        self.present = {(kind, where) for kind, where in state["present"]}

    def _asked(self, credit: Credit) -> bool:
        """Whether the batch asked for any change; one without an error may not, but for the first that is told."""
        return not self.first or any(bool(g.any()) for g in credit.grads.values())

    def _growth(self, parameters: dict[str, nn.Parameter], credit: Credit) -> Iterator[Finding]:
        for name, parameter in parameters.items():
            now = rms(credit.grads[name]) if name in credit.grads else 0.0, rms(parameter)
            before = self.first.setdefault(name, now)
            for what, size, start in zip(("gradient", "weight"), now, before, strict=True):
                if start and size > self.settings.exploding * start:
                    yield Finding(
                        "exploding",
                        name,
                        size,
                        f"its {what} is {size / start:.3g} times that of the first look",
                        "lower the learning rate, cut the gradient in time (window=...), or use a narrower surrogate",
                    )
                    break

    def _rest(self, parameters: dict[str, nn.Parameter], credit: Credit) -> Iterator[Finding]:
        for name, parameter in parameters.items():
            now = fingerprint(parameter)
            if name not in self.prints:
                self.prints[name] = now
            elif self.prints[name] == now and name in credit.grads:
                yield Finding(
                    "never updated",
                    name,
                    0.0,
                    "it is what it was at the first look, though the rule speaks of it",
                    "raise the learning rate, or give a device finer steps: what is asked for may round to nothing",
                )


def fingerprint(parameter: Tensor) -> tuple[float, float]:
    """Two sums that no step of learning leaves alone."""
    values = parameter.detach().double()
    return float(values.sum()), float(values.square().sum())


def bounded(parameters: dict[str, nn.Parameter], optimizer: Any, share: float) -> Iterator[Finding]:
    """Parameters whose devices are at a bound, of those that have more than two levels."""
    devices = tissue(optimizer)
    for name, parameter in parameters.items():
        limits = devices.bounds(parameter) if optimizer.state.get(parameter) else None
        if limits is None:
            continue
        low, high = limits
        held, near = devices.held(parameter), 1e-6 * (high - low)
        between = (held > low + near) & (held < high - near)
        stuck = 1 - float(between.double().mean())
        if stuck > share and bool(between.any()):
            yield Finding(
                "at its bounds",
                name,
                stuck,
                f"{stuck:.0%} of its devices are at a bound",
                "lower the learning rate or the scale of the weights, or use a device or a store of a wider range",
            )
