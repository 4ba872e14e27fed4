"""One model, one batch, one objective: asked for the loss again and again, by a flat zero-order rule, and counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from rules.contract import Batch, Cost, CreditRule, Objective, Run, own_parameters
from rules.credit.zero_order.sharing import dice, require_likeness, seeds, whole
from rules.credit.zero_order.steady import refuse_unsteady
from rules.forward import plain, run_model
from rules.metering import Meter
from rules.optional import reader_of
from rules.processes import rank
from rules.spikes.surrogate import Surrogate, differentiating

Spike = Callable[[Surrogate, Tensor, bool, "Tensor | None"], Tensor]


class Asking:
    """What is asked in one step, with the bill.

    All passes share the dice of stochastic units (common random numbers), so that losses differ by what was perturbed.
    A model with a method `read(signal, generator)` is read through it, its output and what a recorded layer put out,
    with new noise at every reading. `parameters` are those that the rule speaks for, and the objective's own.

    Raises ValueError for batch normalisation or dropout in training mode, and for processes that were given different
    weights or batches.
    """

    def __init__(
        self, rule: CreditRule, model: nn.Module, objective: Objective, batch: Batch, rng: torch.Generator
    ) -> None:
        refuse_unsteady(model)
        self.model, self.objective = model, objective
        self.views = objective.views(batch, rng)
        self.noise, readings = seeds(2, rng)
        self.read = reader_of(plain(model))
        self.readings = dice(readings + rank())
        self.bill = Cost()
        self.own = own_parameters(objective)
        if any(isinstance(p, UninitializedParameter) for p in self.own.values()):
            self.loss()  # the first features tell their shape
        self.parameters = rule.parameters(model) | self.own
        require_likeness([*self.parameters.values(), self.views.x])

    def run(self, spike: Spike | None = None) -> Run:
        """One pass, read as the model is read."""
        with self.counted(), differentiating(generator=dice(self.noise), spike=spike):
            return self.measured(run_model(self.model, self.views, "layers" in self.objective.needs))

    def loss(self) -> float:
        """The loss of one pass."""
        with torch.no_grad():
            return float(self.objective(self.run(), self.views))

    def measured(self, run: Run) -> Run:
        """A run as the model's instruments show it."""
        if self.read is None:
            return run
        traces = tuple(trace._replace(post=self.read(trace.post, self.readings)) for trace in run.traces)
        return run._replace(output=self.read(run.output, self.readings), traces=traces)

    @contextmanager
    def counted(self, copies: int = 1) -> Iterator[None]:
        """What happens inside is one pass, made by each of so many copies of the model."""
        with Meter(self.model) as meter:
            yield
        once = vars(meter.cost(forwards=1, backwards=0))
        self.bill += Cost(**{name: copies * number for name, number in once.items()})

    def cost(self) -> Cost:
        """The bill so far, of all processes."""
        return whole(self.bill)


class Joined(nn.Module):
    """A model and its objective as one module, whose parameters can be replaced for the length of one call.

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
        """What `call()` returns while the parameters of these names, as credit knows them, have other values."""
        own = dict(self.named_parameters())
        known = {
            name if name in own and name.startswith("objective.") else f"model.{name}": value
            for name, value in values.items()
        }
        return torch.func.functional_call(self, known, (call,))
