"""The loss of a frozen model, asked for again and again while single weights have other values."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

from rules.contract import Batch
from rules.credit.zero_order.flat.asking import Joined
from rules.forward import map_tensors, run_model
from rules.spikes.surrogate import differentiating
from sandbox.microscope.frozen import Frozen
from sandbox.microscope.reference import CannotRun

TOGETHER = 64  # weights whose losses are asked for at once
OWN_DICE = 1 << 20  # numbers of draws that no rule's draw has
Given = ParamSpec("Given")
Found = TypeVar("Found")


class Losses:
    """The losses of a frozen model in float64 while single weights have other values."""

    def __init__(self, frozen: Frozen) -> None:
        self.frozen = replace(frozen, model=copy.deepcopy(frozen.model).double())
        self.batch: Batch = map_tensors(lambda t: t.double() if t.is_floating_point() else t, frozen.batch)
        self.joined = Joined(self.frozen.model, None)
        self.together = True

    def __call__(self, name: str, places: Tensor, values: Tensor, number: int) -> tuple[Tensor, bool]:
        """The loss `[n]` for each value in its place of a layer, with the dice of `number`; whether these were thrown.

        All copies at once where torch can; one after the other from the first time on that it cannot.
        """
        weight = self.frozen.layers[name].detach()
        stacked = weight.flatten().repeat(len(values), 1)  # [n, weights]
        stacked[torch.arange(len(values)), places] = values
        if self.together:
            try:
                with self.frozen.dice(number) as thrown, torch.no_grad():
                    losses: Tensor = torch.func.vmap(self._ask(name, weight, thrown.rng), randomness="same")(stacked)
                return losses, thrown.any
            except Exception:  # whatever vmap cannot do; what is wrong with the model itself is raised below
                self.together = False
        found = []
        for row in stacked:
            with self.frozen.dice(number) as thrown, torch.no_grad():
                found.append(self._ask(name, weight, thrown.rng)(row))
        return torch.stack(found), thrown.any

    def _ask(self, name: str, weight: Tensor, rng: torch.Generator) -> Callable[[Tensor], Tensor]:
        objective = self.frozen.objective
        views = objective.views(self.batch, rng)

        def loss() -> Tensor:
            with differentiating(generator=rng):
                return objective(run_model(self.frozen.model, views, "layers" in objective.needs), views)

        return lambda row: self.joined.replacing({name: row.view(weight.shape)}, loss)

    def slopes(self, name: str, centre: Tensor, step: float, number: int) -> tuple[Tensor, bool]:
        """`L(centre + step) - L(centre - step)` for every weight of a layer, one at a time."""
        middle, rows, random = centre.flatten(), [], False
        for places in torch.split(torch.arange(len(middle)), TOGETHER):
            both = torch.cat([middle[places] + step, middle[places] - step])
            found, thrown = self(name, places.repeat(2), both, number)
            ahead, behind = found.chunk(2)
            rows.append(ahead - behind)
            random |= thrown
        return torch.cat(rows).view(centre.shape), random


def rms(weight: Tensor) -> float:
    """Root mean square of a layer's weights; 1 where all are 0."""
    return float(weight.detach().square().mean().sqrt()) or 1.0


def running(call: Callable[Given, Found], *given: Given.args, **named: Given.kwargs) -> Found:
    """What a call returns; whatever it raises is a CannotRun."""
    try:
        return call(*given, **named)
    except Exception as error:  # a stranger's model may raise anything
        raise CannotRun(f"{type(error).__name__}: {error}") from error


def positive(**settings: float) -> None:
    """Raises ValueError for a setting that is not above 0."""
    for name, value in settings.items():
        if not value > 0:
            raise ValueError(f"{name}={value}: give a number above 0")


def refuse_large(label: str, weights: int, largest: int) -> None:
    """Raises ValueError for a model that has too many weights to ask one by one."""
    if weights > largest:
        raise ValueError(
            f"{label} asks for the loss twice for every weight, and this model has {weights} in its "
            f"weight matrices, more than largest={largest}: look at it with the reference bptt, at a "
            f"smaller network with this one, or raise largest"
        )
