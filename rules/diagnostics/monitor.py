"""The health of a model in training: checked every so many steps, each problem reported once while it lasts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
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
from rules.diagnostics.normalised import without_effect
from rules.diagnostics.work import Work, work
from rules.errors import unknown
from rules.fields import check_fields
from rules.optional import method_of, tissue

KINDS = {
    "silent": "hardly any unit of a layer fires",
    "saturated": "almost every unit of a layer fires in every step",
    "without credit": "a parameter got a gradient of 0",
    "vanishing": "the gradient of a parameter is tiny compared with the largest",
    "exploding": "a gradient or a weight is many times as large as at the first check",
    "never updated": "a parameter is the same as at the first check",
    "at its bounds": "most devices of a parameter, or a learned constant of cells, can go no further",
    "without pairs": "spikes of one side are missing, which plasticity of pairs needs",
    "monopolised": "one cell of a layer answers most in nearly all samples",
    "as drawn": "answers hang on weights that the rule does not train",
    "without times": "a loss counts the spikes of the output, and the rule learns by their times",
    "self-sustained": "layers that act both ways keep each other active, whatever comes in",
    "not checked": "the model or a part of it cannot be looked at",
}


@dataclass(frozen=True)
class Health:
    """When to check the health of a model, the thresholds of problems, and the kinds of problem that stop a run.

    A check costs two additional forward passes and changes no bit of what is learned. What it cannot look at, it names
    in a finding of the kind "not checked". A NaN or an infinity always stops a run, by `rules.NonFinite`. Raises
    ValueError for an impossible threshold, and for a name in `stop` that is not a key of `KINDS`.

    >>> Health(stop=("silent",)).every
    100
    """

    every: int = 100  # steps between checks, the first one at the first step; 0 for no check at all
    silent: float = SILENT  # firing probability per step below which a layer carries no signal
    saturated: float = SATURATED  # firing probability per step above which a layer carries no signal
    vanishing: float = VANISHING  # root-mean-square gradient, relative to the largest of the model
    exploding: float = 1e3  # root-mean-square gradient or weight, relative to that of the first check
    bounded: float = 0.5  # share of devices at a bound
    stop: tuple[str, ...] = ()  # kinds of problem that raise Unhealthy

    def __post_init__(self) -> None:
        check_fields(self)
        if self.every < 0:
            raise ValueError(f"every={self.every}: give the steps between two checks, or 0 for none")
        for name in ("silent", "saturated", "vanishing", "bounded"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)}: give a share between 0 and 1")
        if not self.exploding > 1:
            raise ValueError(f"exploding={self.exploding}: give a factor above 1")
        for kind in self.stop:
            if kind not in KINDS:
                raise unknown("kind of problem", kind, KINDS)


class Unhealthy(ArithmeticError):
    """Raised for a problem of a kind in `Health.stop`; nothing has been changed."""


@dataclass
class Monitor:
    """The state between checks: a few numbers for each parameter."""

    settings: Health
    first: dict[str, tuple[float, float]] = field(default_factory=dict)  # rms of gradient and weight
    prints: dict[str, tuple[float, float]] = field(default_factory=dict)  # fingerprints of the weights
    present: set[tuple[str, str]] = field(default_factory=set)  # kinds and places that were reported

    def due(self, steps: int) -> bool:
        """Return whether the next step is to be checked, after `steps` steps."""
        return self.settings.every > 0 and steps % self.settings.every == 0

    def look(
        self,
        model: nn.Module,
        batch: Batch,
        parameters: dict[str, nn.Parameter],
        credit: Credit,
        optimizer: Any,
        asks: bool = True,
    ) -> tuple[tuple[Finding, ...], tuple[Work, ...]]:
        """Return the problems that are new since the last check, and the operations of each layer.

        A rule that asks no objective may want few spikes, and says itself in its credit when there are too few.

        Raises Unhealthy for kinds in `stop`.
        """
        worked, uncounted = _work(model, batch)
        idle = without_effect(model)
        felt = {name: p for name, p in parameters.items() if name not in idle}
        found = [
            *uncounted,
            *(each for each in self._firing(model, batch) if asks or each.kind != "silent"),
            *(
                check_credit(felt, credit, self.settings.vanishing)
                if self._asked(credit, asks) and not credit.findings
                else ()
            ),
            *self._growth(parameters, credit),
            *self._rest(parameters, credit),
            *bounded(parameters, optimizer, self.settings.bounded),
            *limited(model, parameters),
            *credit.findings,
        ]
        new = tuple(each for each in found if (each.kind, each.where) not in self.present)
        self.present = {(each.kind, each.where) for each in found}
        for each in new:
            if each.kind in self.settings.stop:
                raise Unhealthy(str(each))
        return new, worked

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain data: dicts of pairs of numbers, and the reported pairs of kind and place."""
        return {"first": dict(self.first), "prints": dict(self.prints), "present": sorted(self.present)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state."""
        self.first, self.prints = dict(state["first"]), dict(state["prints"])
        self.present = {(kind, where) for kind, where in state["present"]}

    def _firing(self, model: nn.Module, batch: Batch) -> list[Finding]:
        try:
            rates = firing_rates(model, batch, learning=True)
        except Exception as error:  # nothing that only looks may stop a run
            return [unchecked(type(model).__name__, f"in a look it raised {type(error).__name__}: {error}")]
        return list(check_firing(rates, self.settings.silent, self.settings.saturated))

    def _asked(self, credit: Credit, asks: bool) -> bool:
        """Return whether to check the credit; not of zeros in later batches, nor where no reward has come yet."""
        some = any(bool(g.any()) for g in credit.grads.values())
        return some or (not self.first and (asks or credit.loss != 0))

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
                        f"its {what} is {size / start:.3g} times that of the first check",
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
                    "it is the same as at the first check, although the rule updates it",
                    "raise the learning rate, or give a device finer steps: updates may be rounded to zero",
                )


def _work(model: nn.Module, batch: Batch) -> tuple[tuple[Work, ...], tuple[Finding, ...]]:
    """Return the operations of each layer, and what could not be counted."""
    try:
        found = work(model, batch)
    except Exception:  # the check of firing rates, which runs the same pass, says why
        return (), ()
    return tuple(found), tuple(unchecked(each.layer, each.note) for each in found if each.note)


def unchecked(where: str, why: str) -> Finding:
    """Return the finding that something could not be looked at."""
    return Finding("not checked", where, 0.0, why, "its health and its work stay unknown; learning goes on")


def fingerprint(parameter: Tensor) -> tuple[float, float]:
    """Return two sums that change whenever a parameter is updated."""
    values = parameter.detach().double()
    return float(values.sum()), float(values.square().sum())


def bounded(parameters: dict[str, nn.Parameter], optimizer: Any, share: float) -> Iterator[Finding]:
    """Yield parameters with many devices at a bound; those of two levels, always at a bound, are left out."""
    if method_of(optimizer, "held") is None or method_of(optimizer, "bounds") is None:
        return  # one without the other may be an accident of names
    devices = tissue(optimizer)
    for name, parameter in parameters.items():
        limits = devices.bounds(parameter) if optimizer.state.get(parameter) else None
        if limits is None:
            continue
        low, high = limits
        held, near = devices.held(parameter), 1e-6 * (high - low)
        below = torch.zeros_like(held, dtype=torch.bool) if getattr(optimizer, "sparse", False) else held <= low + near
        between = ~below & (held < high - near)
        stuck = 1 - float(between.double().mean())
        if stuck > share and bool(between.any()):
            yield Finding(
                "at its bounds",
                name,
                stuck,
                f"{stuck:.0%} of its devices are at a bound",
                "lower the learning rate or the scale of the weights, or use a device or a store of a wider range",
            )


def limited(model: nn.Module, parameters: dict[str, nn.Parameter]) -> Iterator[Finding]:
    """Yield learned constants of cells at an end of the range in which they act; see `rules.optional.Limited`."""
    names = {id(p): name for name, p in parameters.items()}
    for module in model.modules():
        said = method_of(module, "at_limits")
        for own, what in said().items() if said is not None else ():
            p = module.get_parameter(own)
            if id(p) in names:
                yield Finding(
                    "at its bounds",
                    names[id(p)],
                    rms(p),
                    what,
                    "begin again with a lower learning rate, or with a number that is not learned",
                )
