"""The training loop: it holds everything that changes during training, and changes it in one place."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn

from rules.batches import as_batch, fitted
from rules.brief import line
from rules.contract import Batch, Cost, Credit, MissingNeed, Objective, own_parameters
from rules.diagnostics.footprint import Footprint, footprint, watching
from rules.diagnostics.health import Finding, HealthWarning
from rules.diagnostics.monitor import Health, Monitor
from rules.diagnostics.nonfinite import check_credit, check_input
from rules.diagnostics.normalised import said_of_lag
from rules.diagnostics.work import Work
from rules.evaluation import evaluated, runs_of
from rules.forward import samples
from rules.generators import Globals
from rules.loading import begun_anew, rest_of
from rules.measures import Measure
from rules.models.admission import UnfitModel, admit, admit_teachers, warn_unasked
from rules.models.continuing import naming_carry, require_carry, require_own_carry
from rules.models.questions import Answers, ask
from rules.models.readout import NotFound, require_read_out
from rules.optional import begin_epoch, lacks, method_of, of_model, offers, reasons, takes, tissue
from rules.parallel import admit_team, divided, require_alike
from rules.preparing import admitted_precision, lazy, require_known, require_whole, reseed, shape, undone_if_it_raises
from rules.processes import Traffic
from rules.recipes import LearningRule, whole
from rules.schedules import Schedule
from rules.seeds import derived, seeded
from rules.spikes.surrogate import differentiating
from rules.state import from_plain, to_plain
from rules.synapses import weights_in_order
from rules.team import ALONE, Team
from rules.threads import CROWDING
from rules.untouched import untouched
from rules.updates import Updates
from rules.windows import continued, joined, require_alone, windows

UNSEEN = "this trainer has not seen a batch, which shows what it trains: trainer.begin(batch)"


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
    updates: int = 1  # of the weights, inside the sequence; see LearningRule.every

    def __repr__(self) -> str:
        """Return one line: what is not as by default, and of the carry how much it holds."""
        return line("StepInfo", self._asdict(), self._field_defaults)


class Trainer:
    """Trains a model by a rule; holds everything that changes during training.

    Each step gets the changes from the rule's credit, checks that they are finite, and applies them through the rule's
    plasticity. An objective with parameters of its own is copied, and the copy, `trainer.rule.objective`, learns with
    the model. Every so many steps the trainer checks the health of the model (`rules.Health`), warns of new findings,
    and counts how many operations are done on zeros (`rules.diagnostics.work`). In the first step it measures memory
    (`rules.diagnostics.footprint`). Once in a process it warns if torch has more threads than cores are free
    (`rules.threads`).

    Every random draw follows the seed, each purpose with a stream of its own. While the trainer works, torch's, NumPy's
    and Python's global generators are its own too, so that `nn.Dropout` and augmentation repeat; between steps they are
    the caller's. A step that raises has changed nothing, except in windows that it has learned from already
    (`LearningRule.every`).

    Args:
        model: any `nn.Module` that returns `[T, B, classes]`, `[B, classes]` or `rules.Run`.
        rule: a `LearningRule`, or a name in `RULES`.
        seed: of every random draw, 0 by default.
        health: how often to check the health, and its thresholds; `Health()` by default.
        confirm: ask the model before its first step whether it keeps state, mixes samples, or takes them for time
            (`rules.models.questions`); the answers are in `trainer.answers`. True by default.
        schedule: of the learning rate (`rules.schedules`); None keeps it.
        clip: largest norm of all gradients together; None for no bound.
        accumulate: steps whose mean gradient makes one update of the weights, 1 by default; the mean is over all of
            their answers, as in one batch.
        precision: "full", or "bf16" for passes in which matrix products are rounded to bfloat16 (torch.autocast).
        team: processes that learn this model together, `rules.Team()`; each is handed the same batches and learns from
            its share. By default this process learns alone, whatever torch.distributed does.

    Raises:
        MissingNeed: if the rule needs what the model or the batch does not offer.
        ValueError: for an unknown rule name, a number out of range, a precision that the rule does not allow, or a
            model without trainable parameters.
        UnfitModel: before the first step, if the rule would learn something wrong on this model.
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
        self,
        model: nn.Module,
        rule: LearningRule | str,
        *,
        seed: int = 0,
        health: Health | None = None,
        confirm: bool = True,
        schedule: Schedule | None = None,
        clip: float | None = None,
        accumulate: int = 1,
        precision: str = "full",
        team: Team = ALONE,
    ) -> None:
        self.model, self.seed, self.confirm, self.team = model, seed, confirm, team
        self.updates = Updates(schedule, clip, accumulate)
        self.rule = whole(rule)
        require_whole(model, self.rule.credit)
        self.precision = admitted_precision(precision, self.rule.credit)
        require_alone(self.rule, accumulate, team)
        self._require(offers(model) | {"labels"})  # labels come with the batch, and are checked there
        if self.rule.objective.module() is not None:
            teachers = {id(part): part for part in self.rule.objective.helpers()}  # which stay the caller's own
            self.rule = replace(self.rule, objective=copy.deepcopy(self.rule.objective, teachers))
            reseed(self.rule.objective, seed)
        self.rng = seeded(seed, "rule")
        self.globals = Globals(derived(seed, "globals"))
        self.monitor = Monitor(health or Health())
        self.steps = 0  # steps taken in total
        self._lagged = False  # whether it has warned of statistics
        self.epoch = 0  # epochs completed
        self.position = 0  # batches completed in the current epoch
        self.answers: Answers | None = None  # what the model was asked before its first step
        self._optimizer: torch.optim.Optimizer | None = None
        self._parameters: dict[str, nn.Parameter] = {}
        if not (lazy(model) or lazy(self.rule.objective.module())):
            with suppress(NotFound):  # then the first batch shows what the rule trains
                self._build()

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The optimizer; made at the first batch if only a pass shows what the rule trains, or what shape it has.

        It may be replaced by another.
        """
        if self._optimizer is None:
            raise RuntimeError(UNSEEN)
        return self._optimizer

    @optimizer.setter
    def optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """What the rule trains, by name, the objective's own included; known at the first batch, as the optimizer."""
        if not self._parameters:
            raise RuntimeError(UNSEEN)
        return self._parameters

    def begin(self, batch: Any) -> None:
        """Prepare for the first step, which calls this: shape what is lazy, ask the model, find what the rule trains.

        Raises:
            UnfitModel: if the rule would learn something wrong on this model.
            NotFound: if the rule trains the read-out or contrasts what it takes, and the model has no single one.
        """
        if self._optimizer is not None and (self.steps or self.answers or not self.confirm):
            return
        admitted = self._admit(batch)
        with self.globals.inside():
            if lazy(self.model):
                shape(self.model, self.rule.objective, admitted, self.seed)
            if self.confirm and not self.steps:
                rule = self.rule.credit
                answers = ask(self.model, admitted._replace(carry=None), training="deterministic" in rule.relies_on)
                admit(rule, self.model, answers)
                admit_teachers(self.rule.objective.helpers(), admitted)
                if not answers.error:
                    rule.confirm(self.model, admitted)
                    if self.rule.every is not None:
                        require_carry(self.model, admitted, f"every={self.rule.every}")
                if "features" in self.rule.needs:
                    require_read_out(self.model, admitted)
                self.answers = answers
            shape(
                self.model, self.rule.objective, admitted, self.seed
            )  # after the questions, which say what is wrong if there is no pass
            if self._optimizer is None:
                self.rule = replace(self.rule, credit=self.rule.credit.located(self.model, admitted))
                self._build()

    def _build(self) -> None:
        """Make the optimizer of what the rule trains."""
        learned = self.rule.credit.parameters(self.model)
        if not learned:
            raise ValueError(f"{type(self.model).__name__} has no trainable parameter: is everything frozen?")
        self._parameters = learned | own_parameters(self.rule.objective)
        plasticity = self.rule.plasticity
        if (reseeded := method_of(plasticity, "seeded")) is not None:  # its devices follow this trainer's seed
            plasticity = reseeded(derived(self.seed, "devices"))
        schedule = self.updates.schedule
        if (informed := method_of(plasticity, "informed")) is not None:
            factor = None if schedule is None else schedule.factor
            self._optimizer = informed(self.parameters.items(), factor, weights_in_order(self.model))
        else:
            self._optimizer = plasticity(self.parameters.values())
        start = self.rule.credit.init(self.model, seeded(self.seed, "rule's state"))
        self.state = self._first = start  # safe to share: rules replace their state

    def step(self, batch: Any) -> StepInfo:
        """Learn from one batch: `(x, y)`, `rules.Batch`, or what else `rules.batches.as_batch` takes."""
        self.begin(batch)
        tissue(self.optimizer).settle()
        if next(self.model.parameters()).device.type == "cpu":
            CROWDING.watch()
        admitted, due = self._admit(batch), self.monitor.due(self.steps)
        if due or not self.position:
            require_known(self.model, self.rule.credit, self.parameters)
        if due or not self.steps:
            self._agree(admitted)
        learned: list[Credit] = []
        spent = Cost()
        health: tuple[Finding, ...] = ()
        worked: tuple[Work, ...] = ()
        held = None
        with (
            torch.enable_grad(),
            undone_if_it_raises(self.model, self.rule.objective, self.rng, self.monitor),
            self.globals.inside(),
        ):
            for objective, part in windows(self.rule, admitted):
                first = not learned
                part = part if first else part._replace(carry=learned[-1].carry)
                with Traffic() as traffic, watching(self.model) if first and not self.steps else nullcontext() as alive:
                    credit = self._assign(objective, part)
                if self.team.size == 1:
                    check_credit(self.model, part, credit, self.steps + 1)
                # before the update, so that health and work describe the weights that gave the credit
                if due and first:
                    health, worked = self._look(part, credit)
                if alive is not None:
                    held = footprint(alive, credit.state)
                amount = self.rule.objective.amount(part) if self.updates.accumulate > 1 else 1.0
                self.updates.apply(self.optimizer, self.parameters, credit.grads, self.steps, amount)
                self.state = credit.state
                spent += tissue(self.optimizer).spent() + Cost(bytes_communicated=traffic.bytes)
                learned.append(credit)
        credit = joined(learned)
        cost = credit.cost + spent
        self.rule.objective.advance()
        self.steps += 1
        if self.steps == 1 and self.answers is not None and self.team.first:
            warn_unasked(self.model, self.answers)
        info = StepInfo(self.steps, self.epoch, credit.loss, cost, credit.carry, credit.info, health, worked, held)
        return info._replace(samples=samples(admitted), updates=len(learned))

    def fit(self, loader: Iterable[Any], epochs: int = 1) -> Iterator[StepInfo]:
        """Learn for `epochs` epochs, yielding after every step; an interrupted epoch is finished first and counts.

        A model in evaluation mode is put into training mode, unless the rule compares passes. Of a model in training
        mode, parts in evaluation mode stay so. What the loader draws from global generators, such as an order, follows
        the trainer's seed and the epoch.

        Args:
            loader: yields `(x, y)`, `rules.Batch`, or what else `rules.batches.as_batch` takes. If it has
                `set_epoch(epoch)`, that is called at the start of each epoch. If it has `iterate(start)`, a resumed
                epoch begins there; otherwise batches are read and dropped.
            epochs: number of epochs, 1 by default. A model with `begin_epoch(epoch, epochs)`, which changes with the
                progress of training, is told this number and those before.

        Raises:
            ValueError: for an empty loader.
        """
        if not self.model.training and "deterministic" not in self.rule.credit.relies_on:
            self.model.train()
        total = self.epoch + epochs
        for _ in range(epochs):
            begin_epoch(self.model, self.epoch, total)
            if (set_epoch := method_of(loader, "set_epoch")) is not None:
                set_epoch(self.epoch)
            whole = self.position == 0
            self.rule.objective.remark()  # what was before this epoch does not belong to it
            for item in self.rest_of(loader, self.position):
                info = self.step(item)
                self.position += 1
                yield info
            if self.position == 0:
                raise ValueError(
                    f"the loader gave no batch in epoch {self.epoch + 1}: it is empty, or a generator that was read "
                    "once already; hand over a list or a DataLoader"
                )
            self.epoch, self.position = self.epoch + 1, 0
            remark = self.rule.objective.remark()
            if whole and remark is not None:
                warnings.warn(remark, stacklevel=2)

    def evaluate(
        self,
        loader: Iterable[Any],
        steps: Iterable[int] = (),
        inference: str | None = None,
        measure: Measure | None = None,
    ) -> dict[str, float]:
        """Return measures and mean loss over a loader, without learning and without using this trainer's generator.

        The loss is what the objective reports: the one that is learned from, but for contrasts, which report their
        cross-entropy alone.

        The measures are those of the objective: `accuracy` for classes, and `ties` where answers are; `r2` and `rmse`
        for numbers, `f1` and `exact_match` for several labels; none where an objective of the user's own has answers
        that are not classes.

        A process of a team evaluates the whole loader, alone: let `trainer.team.first` do it.

        Args:
            loader: yields batches, with labels unless the objective's own `answers` need none.
            steps: numbers of time steps, such as `range(1, T + 1)`, at which to report the result of the first steps
                alone; see `rules.diagnostics.latency.Latency`. Empty by default.
            inference: a mode in the credit's `inferences`; the first of them by default.
            measure: of the answers, such as `rules.perplexity.Perplexity()` for tokens; by default the objective's.

        Raises:
            ValueError: for an unknown inference mode, missing labels, or an empty loader.
        """
        if self.steps and not self._lagged and (said := said_of_lag(self.model)):
            self._lagged = True
            warnings.warn(said, HealthWarning, stacklevel=2)
        rng = seeded(self.seed, "evaluation")
        with self._looking(loader, rng, "evaluation", self.rule.objective.module()):
            return evaluated(self.model, self.rule, map(self._admit, loader), rng, steps, inference, measure)

    def fit_read_out(self, loader: Iterable[Any]) -> None:
        """Fit the objective's read-out to what the model puts out for labelled samples; the model learns nothing.

        For rules without labels, whose objective is "assignment" or "probe". Fit it again after more learning.

        Args:
            loader: yields batches with a class for each sample.

        Raises:
            ValueError: for an objective without a read-out, and for batches without classes, or none.
        """
        fit = method_of(self.rule.objective, "fit")
        if fit is None or self.rule.objective.teaches:
            raise ValueError(
                f"{type(self.rule.objective).__name__} has no read-out to fit: make the rule with one, as in "
                'rules.make("stdp", objective="assignment"), or objective="probe"'
            )
        rng = seeded(self.seed, "read-out")
        with self._looking(loader, rng, "read-out"):
            fit(runs_of(self.model, self.rule, map(self._admit, loader), rng))

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of everything that a bit-exact continuation needs, the global generators' states included.

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
                "updates": to_plain(self.updates.state_dict(), "the accumulated gradients"),
                "rule": to_plain(self.state, "the rule's state", self._first),
                "rng": self.rng.get_state(),
                "globals": self.globals.state_dict(),
                "seed": self.seed,
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
        if self._optimizer is None and not lazy(self.model):
            with suppress(NotFound):
                self._build()
        self.optimizer.load_state_dict(state["optimizer"])
        self.state = from_plain(state["rule"], self._first)
        self.rng.set_state(state["rng"])
        self.globals.load_state_dict(state["globals"])
        self.seed = state["seed"]  # which the order of the next epochs and evaluations follow
        self.steps, self.epoch, self.position = state["position"]
        self.updates.load_state_dict(state["updates"], self.steps % self.updates.accumulate)
        if "health" in state:  # absent in older states
            self.monitor.load_state_dict(state["health"])

    def reading(self, rng: torch.Generator) -> AbstractContextManager[Any]:
        """Return a context in which forward passes see weights as they are read, with the devices' read noise."""
        return nullcontext() if self._optimizer is None else tissue(self._optimizer).reading(self.model, rng)

    @contextmanager
    def _looking(self, loader: Iterable[Any], rng: torch.Generator, purpose: str, *others: Any) -> Iterator[None]:
        """Return a context of passes without learning, which leave the model and these other modules as they were."""
        if self._optimizer is not None:
            tissue(self._optimizer).settle()
        with (
            self.team.alone(),
            untouched(self.model, *others, seed=derived(self.seed, purpose, "globals")),
            differentiating(generator=rng, evaluating=True),
            self._rounding(),
            self.reading(rng),
            begun_anew(loader, derived(self.seed, purpose, "loader")),
        ):
            self.model.eval()
            yield

    def rest_of(self, loader: Iterable[Any], start: int) -> Iterator[Any]:
        """Yield a loader's batches of this epoch from `start` on; see `rules.loading`."""
        return rest_of(loader, start, derived(self.seed, "data", self.epoch))

    def _require(self, offered: frozenset[str]) -> None:
        missing = self.rule.needs - offered
        if missing:
            rule = f"the rule ({type(self.rule.objective).__name__} x {type(self.rule.credit).__name__})"
            raise MissingNeed(rule, type(self.model).__name__, missing, offered, reasons(self.model, missing))

    def _admit(self, item: Any) -> Batch:
        """Return a loader's item as a finite batch on the model's device and in its dtype."""
        batch = as_batch(item)
        if batch.y is None and batch.targets is None:
            self._require(offers(self.model))
        batch = fitted(batch, self.model, next(self.model.parameters()))
        require_own_carry(batch)
        if batch.lengths is not None and "carry" in (why := lacks(self.model)) and not takes(self.model, "lengths"):
            raise UnfitModel(
                f"the batch has lengths, and {type(self.model).__name__} would see what stands behind the end of a "
                f"sequence: {why['carry']}; or hand over sequences of one length each, without lengths"
            )
        check_input(batch, self.steps + 1)
        return batch

    def _assign(self, objective: Objective, batch: Batch) -> Credit:
        with self.reading(self.rng):
            if self.team.size == 1:
                return self._ask(objective, batch, self.rng)
            known, seed, step = self.parameters, self.seed, self.steps + 1
            return divided(self.team, self.model, self.rule, batch, self.rng, self.state, known, seed, step, self._ask)

    def _ask(self, objective: Objective, batch: Batch, rng: torch.Generator) -> Credit:
        # so that stochastic units draw from the rule's generator, also in passes that a rule makes as any caller would
        def assign(batch: Batch, rng: torch.Generator) -> Credit:
            return self.rule.credit.assign(self.model, objective, batch, self.state, rng)

        again = partial(assign, rng=torch.Generator(rng.device))
        with self._rounding(), differentiating(generator=rng), naming_carry(self.model, batch, again):
            credit = assign(batch, rng)
            return credit if self.rule.every is None else continued(self.rule.credit, self.model, batch, credit)

    def _agree(self, batch: Batch) -> None:
        """Raise, in all processes of a team, if they would not learn what one process learns."""
        if self.team.size > 1:
            with self.globals.inside():
                require_alike(self.team, self.model, self.rule, self.state, self.steps + 1)
                admit_team(self.team, self.model, self.rule, batch, self.answers)

    def _rounding(self) -> AbstractContextManager[Any]:
        """Return the context of a pass in this trainer's precision."""
        device = next(self.model.parameters()).device.type
        return torch.autocast(device, torch.bfloat16) if self.precision == "bf16" else nullcontext()

    def _look(self, batch: Batch, credit: Credit) -> tuple[tuple[Finding, ...], tuple[Work, ...]]:
        shown = batch._replace(carry=of_model(batch.carry))
        findings, worked = self.monitor.look(
            self.model, shown, self.parameters, credit, self.optimizer, self.rule.credit.asks
        )
        for finding in findings if self.team.first else ():
            warnings.warn(f"step {self.steps + 1}: {finding}", HealthWarning, stacklevel=3)
        return findings, worked
