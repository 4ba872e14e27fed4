"""The loss of a frozen model as a function of single weights."""

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

TOGETHER = 64  # weights whose losses are evaluated in one batch
OWN_DRAWS = 1 << 20  # offset that keeps these draws apart from those of rules
Given = ParamSpec("Given")
Found = TypeVar("Found")


class Losses:
    """The loss of a frozen model in float64 for other values of single weights."""

    def __init__(self, frozen: Frozen) -> None:
        self.frozen = replace(frozen, model=copy.deepcopy(frozen.model).double())
        self.batch: Batch = map_tensors(lambda t: t.double() if t.is_floating_point() else t, frozen.batch)
        self.joined = Joined(self.frozen.model, None)
        self.together = True

    def __call__(self, name: str, places: Tensor, values: Tensor, number: int) -> tuple[Tensor, bool]:
        """Return the losses `[n]` with one weight of a layer replaced at a time, and whether the model is stochastic.

        All n copies share draw `number`. They run at once with vmap; after its first failure, one after the other.

        Args:
            name: of the layer.
            places: index of the replaced weight in the flattened layer, `[n]`.
            values: its value, `[n]`.
            number: of the draw.
        """
        weight = self.frozen.layers[name].detach()
        stacked = weight.flatten().repeat(len(values), 1)  # [n, weights]
        stacked[torch.arange(len(values)), places] = values
        if self.together:
            try:
                with self.frozen.draw(number) as draw, torch.no_grad():
                    losses: Tensor = torch.func.vmap(self._ask(name, weight, draw.rng), randomness="same")(stacked)
                return losses, draw.used
            except Exception:  # vmap cannot run it; errors of the model itself are raised by the loop below
                self.together = False
        found = []
        for row in stacked:
            with self.frozen.draw(number) as draw, torch.no_grad():
                found.append(self._ask(name, weight, draw.rng)(row))
        return torch.stack(found), draw.used

    def _ask(self, name: str, weight: Tensor, rng: torch.Generator) -> Callable[[Tensor], Tensor]:
        objective = self.frozen.objective
        views = objective.views(self.batch, rng)

        def loss() -> Tensor:
            with differentiating(generator=rng):
                return objective(run_model(self.frozen.model, views, objective.needs), views)

        return lambda row: self.joined.replacing({name: row.view(weight.shape)}, loss)

    def slopes(self, name: str, centre: Tensor, step: float, number: int) -> tuple[Tensor, bool]:
        """Return `L(centre + step) - L(centre - step)` for every weight of a layer, one at a time."""
        middle, rows, stochastic = centre.flatten(), [], False
        for places in torch.split(torch.arange(len(middle)), TOGETHER):
            both = torch.cat([middle[places] + step, middle[places] - step])
            found, drew = self(name, places.repeat(2), both, number)
            ahead, behind = found.chunk(2)
            rows.append(ahead - behind)
            stochastic |= drew
        return torch.cat(rows).view(centre.shape), stochastic


def rms(weight: Tensor) -> float:
    """Return the root mean square of a layer's weights; 1 where all are 0."""
    return float(weight.detach().square().mean().sqrt()) or 1.0


def running(call: Callable[Given, Found], *given: Given.args, **named: Given.kwargs) -> Found:
    """Return the result of a call; turn whatever it raises into a CannotRun."""
    try:
        return call(*given, **named)
    except Exception as error:  # a user-defined model may raise anything
        raise CannotRun(f"{type(error).__name__}: {error}") from error


def positive(**settings: float) -> None:
    """Raise ValueError for a setting that is not above 0."""
    for name, value in settings.items():
        if not value > 0:
            raise ValueError(f"{name}={value}: give a number above 0")


def refuse_large(label: str, weights: int, largest: int) -> None:
    """Raise ValueError for a model with too many weights to vary one by one."""
    if weights > largest:
        raise ValueError(
            f"{label} evaluates the loss twice for every weight, and this model has {weights} in its "
            f"weight matrices, more than largest={largest}: use the reference bptt, a smaller network, "
            f"or raise largest"
        )
