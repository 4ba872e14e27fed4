"""The training loop: it holds everything that changes during training, and changes it in one place."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import nn

from rules.batches import as_batch, fitted
from rules.contract import Batch, Cost, Credit, MissingNeed, Run, own_parameters
from rules.diagnostics.footprint import Footprint, footprint, watching
from rules.diagnostics.health import Finding, HealthWarning
from rules.diagnostics.latency import Latency
from rules.diagnostics.monitor import Health, Monitor
from rules.diagnostics.nonfinite import check_credit, check_input
from rules.diagnostics.work import Work, work
from rules.errors import unknown
from rules.forward import run_model, samples
from rules.optional import method_of, offers, tissue
from rules.processes import Traffic
from rules.recipes import LearningRule, make
from rules.state import from_plain, to_plain


class StepInfo(NamedTuple):
    """The result of one training step."""

    step: int  # steps taken so far, this one included
    epoch: int  # complete epochs before it
    loss: float
    cost: Cost
    carry: Any = None
    info: dict[str, float] = {}  # noqa: RUF012 -- never written to
    health: tuple[Finding, ...] = ()  # new findings of a health check, if one was due
    work: tuple[Work, ...] = ()  # operations of each layer, for one sample in a forward pass, if a check was due
    footprint: Footprint | None = None  # of the first step: bytes held
    samples: int = 0  # in the batch


class Trainer:
    """Trains a model by a rule; holds everything that changes during training.

    Each step gets the changes from the rule's credit, checks that they are finite, and applies them through the rule's
    plasticity. An objective with parameters of its own is copied, and the copy, `trainer.rule.objective`, learns with
    the model. Every so many steps the trainer checks the health of the model (`rules.Health`), warns of new findings,
    and counts how many operations are done on zeros (`rules.diagnostics.work`). In the first step it measures memory
    (`rules.diagnostics.footprint`).

    Args:
        model: any `nn.Module` that returns `[T, B, classes]`, `[B, classes]` or `rules.Run`.
        rule: a `LearningRule`, or a name in `RULES`.
        seed: of every random draw of the rule and its devices, 0 by default.
        health: how often to check the health, and its thresholds; `Health()` by default.

    Raises:
        MissingNeed: if the rule needs what the model or the batch does not offer.
        ValueError: for an unknown rule name, or a model without trainable parameters.
        NonFinite: for a NaN or an infinity in input, loss or gradient, before anything is changed.

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
        self._require(offers(model) | {"labels"})  # labels come with the batch, and are checked there
        if self.rule.objective.module() is not None:
            self.rule = replace(self.rule, objective=copy.deepcopy(self.rule.objective))
        learned = self.rule.credit.parameters(model)
        if not learned:
            raise ValueError(f"{type(model).__name__} has no trainable parameter: is everything frozen?")
        self.parameters = learned | own_parameters(self.rule.objective)
        plasticity = self.rule.plasticity
        if (seeded := method_of(plasticity, "seeded")) is not None:  # its devices follow this trainer's seed
            plasticity = seeded(seed)
        self.optimizer = plasticity(self.parameters.values())
        self.state = self._first = self.rule.credit.init(model)  # safe to share: rules replace their state
        self.rng = torch.Generator().manual_seed(seed)
        self.monitor = Monitor(health or Health())
        self.steps = 0  # steps taken in total
        self.epoch = 0  # epochs completed
        self.position = 0  # batches completed in the current epoch

    def step(self, batch: Any) -> StepInfo:
        """Learn from one batch: `(x, y)`, `rules.Batch`, or what else `rules.batches.as_batch` takes."""
        admitted, due = self._admit(batch), self.monitor.due(self.steps)
        with Traffic() as traffic, nullcontext() if self.steps else watching(self.model) as alive:
            credit = self._assign(admitted)
        check_credit(self.model, admitted, credit, self.steps + 1)
        # before the update, so that health and work describe the weights that gave the credit
        health = self._look(admitted, credit) if due else ()
        worked = tuple(work(self.model, admitted)) if due else ()
        held = None if alive is None else footprint(alive, credit.state)
        for name, parameter in self.parameters.items():
            parameter.grad = credit.grads.get(name)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        cost = credit.cost + tissue(self.optimizer).spent() + Cost(bytes_communicated=traffic.bytes)
        self.rule.objective.advance()
        self.state = credit.state
        self.steps += 1
        info = StepInfo(self.steps, self.epoch, credit.loss, cost, credit.carry, credit.info, health, worked, held)
        return info._replace(samples=samples(admitted))

    def fit(self, loader: Iterable[Any], epochs: int = 1) -> Iterator[StepInfo]:
        """Learn for `epochs` epochs, yielding after every step; an interrupted epoch is finished first and counts.

        Args:
            loader: yields `(x, y)`, `rules.Batch`, or what else `rules.batches.as_batch` takes. If it has
                `set_epoch(epoch)`, that is called at the start of each epoch. If it has `iterate(start)`, a resumed
                epoch begins there; otherwise batches are read and dropped.
            epochs: number of epochs, 1 by default.

        Raises:
            ValueError: for an empty loader.
        """
        self.model.train()
        for _ in range(epochs):
            if (set_epoch := method_of(loader, "set_epoch")) is not None:
                set_epoch(self.epoch)
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
        """Return measures and mean loss over a loader, without learning and without using this trainer's generator.

        The measures are those of the objective: `accuracy` for classes, `r2` and `rmse` for numbers, `f1` and
        `exact_match` for several labels; none where an objective of the user's own has answers that are not classes.

        Args:
            loader: yields labelled batches.
            steps: numbers of time steps, such as `range(1, T + 1)`, at which to report the result of the first steps
                alone; see `rules.diagnostics.latency.Latency`. Empty by default.
            inference: a mode in the credit's `inferences`; the first of them by default.

        Raises:
            ValueError: for an unknown inference mode, missing labels, or an empty loader.
        """
        objective, credit, rng = self.rule.objective, self.rule.credit, torch.Generator().manual_seed(0)
        mode = credit.inferences[0] if inference is None else inference
        if mode not in credit.inferences:
            raise unknown(f"inference of {type(credit).__name__}", mode, credit.inferences)

        def ask(batch: Batch, record: bool) -> Run:
            return credit.infer(lambda shown: run_model(self.model, shown, record), batch, mode, rng)

        measure, latency = objective.measure(), Latency(steps, objective)
        record = "layers" in objective.needs
        look = bool(latency.steps) and "layers" in offers(self.model)
        seen = answered = 0
        loss = 0.0
        training = self.model.training
        self.model.eval()
        try:
            with torch.no_grad(), self.reading(rng):
                for item in loader:
                    batch = self._admit(item)
                    if batch.y is None and batch.targets is None:
                        raise ValueError("evaluate needs labels: let the loader yield (x, y)")
                    views = objective.views(batch, rng)
                    run = ask(views, record or (look and views is batch))
                    plain = run if views is batch else ask(batch, look)
                    answers, truth = objective.answers(plain, batch)
                    loss += float(objective(run, views)) * len(truth)
                    latency.add(plain, batch)
                    measure.add(answers, truth)
                    seen, answered = seen + samples(batch), answered + len(truth)
        finally:
            self.model.train(training)
        if answered == 0:
            raise ValueError("the loader gave no sample to evaluate")
        return {**measure.report(), "loss": loss / answered, "samples": float(seen), **latency.report()}

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of everything that a bit-exact continuation needs, torch's global generator included.

        It is plain data, which `torch.load(..., weights_only=True)` can read.

        Raises:
            TypeError: if the state of a model, an optimizer or a rule is not plain data; names the place and the class.
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
        """Restore a state, to continue from where `state_dict` was called."""
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
        if "health" in state:  # absent in older states
            self.monitor.load_state_dict(state["health"])

    def reading(self, rng: torch.Generator) -> AbstractContextManager[Any]:
        """Return a context in which forward passes see weights as they are read, with the devices' read noise."""
        return tissue(self.optimizer).reading(self.model, rng)

    def _require(self, offered: frozenset[str]) -> None:
        missing = self.rule.needs - offered
        if missing:
            rule = f"the rule ({type(self.rule.objective).__name__} x {type(self.rule.credit).__name__})"
            raise MissingNeed(rule, type(self.model).__name__, missing, offered)

    def _admit(self, item: Any) -> Batch:
        """Return a loader's item as a finite batch on the model's device and in its dtype."""
        batch = as_batch(item)
        if batch.y is None and batch.targets is None:
            self._require(offers(self.model))
        batch = fitted(batch, self.model, next(iter(self.parameters.values())))
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
    """Return an iterator over a loader from batch `start` on, using the loader's own `iterate` if it has one."""
    if start and (iterate := method_of(loader, "iterate")) is not None:
        rest: Iterator[Any] = iterate(start)
        return rest
    return islice(loader, start, None)
