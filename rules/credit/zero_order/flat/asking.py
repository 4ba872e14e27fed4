"""Repeated evaluation of the loss of one model on one batch, for the flat zero-order rules, with its cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from rules.contract import Batch, Cost, CreditRule, Objective, Run, own_parameters
from rules.credit.zero_order.layered.stages import tiled
from rules.credit.zero_order.products import Unchanged
from rules.credit.zero_order.relative import scales_of
from rules.credit.zero_order.sharing import generator, require_likeness, seeds, whole
from rules.credit.zero_order.steady import refuse_unsteady
from rules.forward import leaves, map_tensors, run_model
from rules.metering import Meter, beside
from rules.optional import offers, plain, reader_of
from rules.processes import rank
from rules.spikes.surrogate import Surrogate, differentiating

Spike = Callable[[Surrogate, Tensor, bool, "Tensor | None"], Tensor]


class Asking:
    """The evaluations of one step, with their cost.

    In all passes stochastic units draw the same numbers (common random numbers), so that losses differ only by the
    perturbation. If a model has a method `read(signal, generator)`, its output and the outputs of recorded layers are
    read through it, with new noise at every reading. `parameters` are those of the rule and the objective's own, and
    `spikes` says whether the model offers `bits` or has spiked in a pass.

    Raises ValueError for batch normalisation or dropout in training mode, and for processes with different weights or
    batches.
    """

    def __init__(
        self, rule: CreditRule, model: nn.Module, objective: Objective, batch: Batch, rng: torch.Generator
    ) -> None:
        refuse_unsteady(model)
        self.model, self.objective = model, objective
        self.views = objective.views(batch, rng)
        self.noise, readings = seeds(2, rng)
        self.dice = generator(self.noise)  # of the last pass
        self.read = reader_of(plain(model))
        self.readings = generator(readings + rank())
        self.spikes = "bits" in offers(model)
        self.spent = Cost()
        self.outside = Cost()  # of a pass, of operators outside of modules
        self.own = own_parameters(objective)
        if any(isinstance(p, UninitializedParameter) for p in self.own.values()):
            self.loss()  # lazy parameters get their shape from the first features
        self.parameters = rule.parameters(model) | self.own
        require_likeness([*self.parameters.values(), *leaves(self.views.x)])

    def run(self, spike: Spike | None = None) -> Run:
        """Make one pass, and return it as measured."""
        self.dice = generator(self.noise)
        with self.counted(), differentiating(generator=self.dice, spike=spike) as passing:
            run = self.measured(run_model(self.model, self.views, self.objective.needs))
        self.spikes |= passing.used
        return run

    def scales(self, relative: bool) -> dict[str, float]:
        """Return the unit of each parameter's perturbations: its rms (`relative.scales_of`), or else 1."""
        if not relative:
            return dict.fromkeys(self.parameters, 1.0)
        own = self.objective.module()
        return scales_of(self.parameters, [*self.model.modules(), *(() if own is None else own.modules())])

    def stacked(self, copies: int, axis: Callable[[Tensor], int]) -> tuple[Run, Cost]:
        """Make one pass on copies of the batch, one after the other along the `axis` of each input.

        Returns: The run, and its cost, which is not added to that of the step.
        """
        x = map_tensors(lambda leaf: tiled(leaf, copies, axis(leaf)), self.views.x)
        with Meter(self.model) as meter, differentiating(generator=generator(self.noise)):
            run = run_model(self.model, Batch(x), self.objective.needs)
        return run, meter.cost(forwards=copies, backwards=0)

    def drew(self) -> bool:
        """Return whether the last pass drew random numbers."""
        return not torch.equal(self.dice.get_state(), generator(self.noise).get_state())

    def loss(self) -> float:
        """Return the loss of one pass."""
        with torch.no_grad():
            return float(self.judged(self.run()))

    def judged(self, run: Run) -> Tensor:
        """Return the objective of a run, with the work of its own modules and helpers counted."""
        if not beside(self.objective):
            return self.objective(run, self.views)
        with Meter(nn.Identity(), self.objective, functional=False) as meter:
            loss = self.objective(run, self.views)
        self.spent += meter.cost(forwards=0, backwards=int(loss.requires_grad))
        return loss

    def measured(self, run: Run) -> Run:
        """Return a run as read through the model's `read`, if it has one."""
        if self.read is None:
            return run
        traces = tuple(trace._replace(post=self.read(trace.post, self.readings)) for trace in run.traces)
        return run._replace(output=self.read(run.output, self.readings), traces=traces)

    @contextmanager
    def counted(self, copies: int | None = None) -> Iterator[None]:
        """Count what happens in this context as one pass, or as one of each of several copies stacked by vmap.

        Operators outside of modules are counted in single passes, and taken to be the same in each copy.
        """
        with Meter(self.model, functional=copies is None) as meter:
            yield
        once = meter.cost(forwards=1, backwards=0)
        if copies is None:
            self.outside = meter.outside
        else:
            once += self.outside
        self.spent += Cost(**{name: (copies or 1) * number for name, number in vars(once).items()})

    def spare(self, products: Unchanged) -> None:
        """Count the products that were not made again; call this once, behind the last pass."""
        done = self.spent.layer_evaluations_done - math.floor(products.saved())
        self.spent = replace(self.spent, layer_evaluations_done=done)

    def cost(self) -> Cost:
        """Return the cost so far, of all processes."""
        return whole(self.spent)

    def weighing(
        self, draws: int, relative: bool, direction: str = "normal", sizes: tuple[int, int] | None = None
    ) -> Cost:
        """Return the cost of directions of all weights, of adding them up, and, if `relative`, of the weights' scales.

        `sizes` are the numbers that are drawn for a direction, and the multiplications to add it; by default one for
        each weight. A scale takes the square of each weight.
        """
        every = sum(p.numel() for p in self.parameters.values())
        numbers, operations = (draws * size for size in sizes or (every, every))
        drawn = {"gaussian_draws" if direction == "normal" else "random_bits": numbers}
        operations += every * relative
        return Cost(weight_operations=operations, multiplications=operations, **drawn)


class Joined(nn.Module):
    """A model and its objective as one module, whose parameters can be replaced during one call.

    >>> joined = Joined(nn.Linear(1, 1, bias=False), None)
    >>> joined.replacing({"weight": torch.tensor([[3.0]])}, lambda: joined.model(torch.ones(1)))
    tensor([3.])
    """

    def __init__(self, model: nn.Module, objective: nn.Module | None) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(self, call: Callable[[], Any]) -> Any:
        return call()

    def replacing(self, values: dict[str, Tensor], call: Callable[[], Any]) -> Any:
        """Return `call()` with other values for some parameters, given by their names in `Credit.grads`."""
        own = dict(self.named_parameters())
        known = {
            name if name in own and name.startswith("objective.") else f"model.{name}": value
            for name, value in values.items()
        }
        given = {id(own[name]): value for name, value in known.items()}
        places: dict[tuple[int, str], tuple[str, int]] = {}  # one of a module that is used twice
        for name, p in self.named_parameters(remove_duplicate=False):
            owner, _, attribute = name.rpartition(".")
            places.setdefault((id(self.get_submodule(owner)), attribute), (name, id(p)))
        every = {name: given[number] for name, number in places.values() if number in given}
        return torch.func.functional_call(self, every, (call,), tie_weights=False)
