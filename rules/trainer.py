"""The only training loop: it holds everything that changes while learning, and changes it in one place."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rules.contract import Batch, Cost, Credit, MissingNeed, Run, own_parameters
from rules.diagnostics.footprint import Footprint, footprint, watching
from rules.diagnostics.health import Finding, HealthWarning
from rules.diagnostics.latency import Latency
from rules.diagnostics.monitor import Health, Monitor
from rules.diagnostics.nonfinite import check_credit, check_input
from rules.diagnostics.work import Work, work
from rules.errors import unknown
from rules.forward import as_batch, run_model
from rules.optional import Epochs, Resumable, Seeded, offers, tissue
from rules.processes import Traffic
from rules.recipes import LearningRule, make
from rules.state import from_plain, to_plain


class StepInfo(NamedTuple):
    """What one step did."""

    step: int  # steps taken so far, this one included
    epoch: int  # whole epochs before it
    loss: float
    cost: Cost
    carry: Any = None
    info: dict[str, float] = {}  # noqa: RUF012 -- never written to
    health: tuple[Finding, ...] = ()  # what a look at its health found, and the last one had not
    work: tuple[Work, ...] = ()  # of a look: what each layer did for a sample in a forward pass
    footprint: Footprint | None = None  # of the first step: bytes held


class Trainer:
    """A model, a rule, and everything that changes while learning.

    The model is any `nn.Module` that returns `[T, B, classes]`, `[B, classes]` or `rules.Run`. Each step asks the
    rule's credit what should change, checks that it is finite, and lets the rule's plasticity change it. An objective
    with parameters of its own is copied, and the copy, `trainer.rule.objective`, learns with the model.

    Every so many steps it looks at the health of the model (`rules.Health`), warns of what is new, and counts how much
    of the work is done on zeros (`rules.diagnostics.work`); of the first step it measures the memory
    (`rules.diagnostics.footprint`).

    Raises MissingNeed where the rule needs what the model does not offer, ValueError for an unknown rule name, and
    rules.NonFinite, before anything is changed, for a NaN or an infinity in input, loss or gradient.

    >>> net = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> x = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    >>> loader = [(x, (x[:, 0] > 0).long())]
    >>> trainer = Trainer(net, "bptt", seed=0)
    >>> losses = [info.loss for info in trainer.fit(loader, epochs=50)]
    >>> losses[-1] < losses[0]
    True
    """

    def __init__(
        self, model: nn.Module, rule: LearningRule | str, *, seed: int = 0, health: Health | None = None
    ) -> None:
        self.model = model
        self.rule = make(rule) if isinstance(rule, str) else rule
        self._require(offers(model) | {"labels"})  # labels are the batch's to offer
        if self.rule.objective.module() is not None:
            self.rule = replace(self.rule, objective=copy.deepcopy(self.rule.objective))
        learned = self.rule.credit.parameters(model)
        if not learned:
            raise ValueError(f"{type(model).__name__} has no trainable parameter: is everything frozen?")
        self.parameters = learned | own_parameters(self.rule.objective)
        plasticity = self.rule.plasticity
        if isinstance(plasticity, Seeded):  # devices are as random as everything else
            plasticity = plasticity.seeded(seed)
        self.optimizer = plasticity(self.parameters.values())
        self.tissue = tissue(self.optimizer)
        self.state = self._first = self.rule.credit.init(model)  # rules replace their state and never change it
        self.rng = torch.Generator().manual_seed(seed)
        self.monitor = Monitor(health or Health())
        self.steps = 0  # taken in all
        self.epoch = 0  # whole epochs done
        self.position = 0  # batches done of the current epoch

    def step(self, batch: Batch | tuple[Tensor, Tensor]) -> StepInfo:
        """Learn from one batch."""
        admitted, due = self._admit(batch), self.monitor.due(self.steps)
        with Traffic() as traffic, nullcontext() if self.steps else watching(self.model) as alive:
            credit = self._assign(admitted)
        check_credit(self.model, admitted, credit, self.steps + 1)
        health = self._look(admitted, credit) if due else ()
        worked = tuple(work(self.model, admitted)) if due else ()
        held = None if alive is None else footprint(alive, credit.state)
        for name, parameter in self.parameters.items():
            parameter.grad = credit.grads.get(name)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        cost = credit.cost + self.tissue.spent() + Cost(bytes_communicated=traffic.bytes)
        self.rule.objective.advance()
        self.state = credit.state
        self.steps += 1
        return StepInfo(self.steps, self.epoch, credit.loss, cost, credit.carry, credit.info, health, worked, held)

    def fit(self, loader: Iterable[Any], epochs: int = 1) -> Iterator[StepInfo]:
        """Learn for `epochs` epochs, yielding after every step; an interrupted epoch is finished first and counts.

        A loader with `set_epoch(epoch)` is told the epoch; one with `iterate(start)` is asked to begin in the middle
        when resuming, any other is read from its beginning and skipped.
        """
        self.model.train()
        for _ in range(epochs):
            if isinstance(loader, Epochs):
                loader.set_epoch(self.epoch)
            before = self.position
            for item in rest_of(loader, before):
                info = self.step(item)
                self.position += 1
                yield info
            if self.position == 0:
                raise ValueError(
                    f"the loader gave no batch in epoch {self.epoch + 1}: it is empty, or a generator that was read "
                    "once already; hand over a list or a DataLoader"
                )
            self.epoch, self.position = self.epoch + 1, 0

    def evaluate(
        self, loader: Iterable[Any], steps: Iterable[int] = (), inference: str | None = None
    ) -> dict[str, float]:
        """Accuracy and mean loss over a loader, without learning and without touching this trainer's dice.

        With `steps`, numbers of time steps such as `range(1, T + 1)`, also what the first so many steps are worth:
        the entries that `rules.diagnostics.latency.Latency` describes. `inference` is one of the credit's `inferences`,
        the first of them if None; ValueError for any other.
        """
        objective, credit, dice = self.rule.objective, self.rule.credit, torch.Generator().manual_seed(0)
        mode = credit.inferences[0] if inference is None else inference
        if mode not in credit.inferences:
            raise unknown(f"inference of {type(credit).__name__}", mode, credit.inferences)

        def ask(batch: Batch, record: bool) -> Run:
            return credit.infer(lambda shown: run_model(self.model, shown, record), batch, mode, dice)

        latency = Latency(steps)
        record = "layers" in objective.needs
        look = bool(latency.steps) and "layers" in offers(self.model)
        hits = total = 0
        loss = 0.0
        training = self.model.training
        self.model.eval()
        try:
            with torch.no_grad(), self.reading(dice):
                for item in loader:
                    batch = self._admit(item)
                    if batch.y is None:
                        raise ValueError("evaluate needs labels: let the loader yield (x, y)")
                    views = objective.views(batch, dice)
                    run = ask(views, record or (look and views is batch))
                    plain = run if views is batch else ask(batch, look)
                    loss += float(objective(run, views)) * len(batch.y)
                    latency.add(plain, batch.y, objective.scores)
                    hits += int((objective.scores(plain).argmax(-1) == batch.y).sum())
                    total += len(batch.y)
        finally:
            self.model.train(training)
        if total == 0:
            raise ValueError("the loader gave no sample to evaluate")
        return {"accuracy": hits / total, "loss": loss / total, "samples": float(total), **latency.report()}

    def state_dict(self) -> dict[str, Any]:
        """A copy of everything that a bit-exact continuation needs, torch's global generator included.

        It is plain data, which `torch.load(..., weights_only=True)` reads. Raises TypeError, with the place and the
        class, where a model, an optimizer or a rule keeps anything else.
        """
        module = self.rule.objective.module()
        return copy.deepcopy(
            {
                "model": to_plain(self.model.state_dict(), "the model's state"),
                "objective": to_plain(module.state_dict() if module is not None else None, "the objective's state"),
                "optimizer": to_plain(self.optimizer.state_dict(), "the optimizer's state"),
                "rule": to_plain(self.state, "the rule's state", self._first),
                "rng": self.rng.get_state(),
                "torch_rng": torch.get_rng_state(),
                "position": (self.steps, self.epoch, self.position),
                "health": self.monitor.state_dict(),
            }
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        state = copy.deepcopy(state)
        self.model.load_state_dict(state["model"])
        module = self.rule.objective.module()
        if module is not None:
            module.load_state_dict(state["objective"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.state = from_plain(state["rule"], self._first)
        self.rng.set_state(state["rng"])
        torch.set_rng_state(state["torch_rng"])
        self.steps, self.epoch, self.position = state["position"]
        if "health" in state:  # which older states have not
            self.monitor.load_state_dict(state["health"])

    def reading(self, dice: torch.Generator) -> AbstractContextManager[Any]:
        """Weights as a forward pass sees them: devices that are noisy to read are so inside of it."""
        return self.tissue.reading(self.model, dice)

    def _require(self, offered: frozenset[str]) -> None:
        missing = self.rule.needs - offered
        if missing:
            rule = f"the rule ({type(self.rule.objective).__name__} x {type(self.rule.credit).__name__})"
            raise MissingNeed(rule, type(self.model).__name__, missing, offered)

    def _admit(self, item: Any) -> Batch:
        """A loader's item as a finite batch on the model's device."""
        batch = as_batch(item)
        if batch.y is None:
            self._require(offers(self.model))
        device = next(iter(self.parameters.values())).device
        if batch.x.device != device:
            batch = batch._replace(x=batch.x.to(device), y=None if batch.y is None else batch.y.to(device))
        check_input(batch, self.steps + 1)
        return batch

    def _assign(self, batch: Batch) -> Credit:
        with self.reading(self.rng):
            return self.rule.credit.assign(self.model, self.rule.objective, batch, self.state, self.rng)

    def _look(self, batch: Batch, credit: Credit) -> tuple[Finding, ...]:
        findings = self.monitor.look(self.model, batch, self.parameters, credit, self.optimizer)
        for finding in findings:
            warnings.warn(f"step {self.steps + 1}: {finding}", HealthWarning, stacklevel=3)
        return findings


def rest_of(loader: Iterable[Any], start: int) -> Iterator[Any]:
    """What a loader gives from batch `start` on: asked to begin there where it can, read and skipped where not."""
    if start and isinstance(loader, Resumable):
        return loader.iterate(start)
    return islice(loader, start, None)
