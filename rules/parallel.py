"""One step of several processes: each learns from its share of the batch, and the credits are put together."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from rules.contract import Batch, Cost, Credit, Objective
from rules.credit.zero_order.flat.alone import AXES, sample_axis
from rules.diagnostics.nonfinite import check_credit
from rules.forward import leaves, map_tensors, run_model, samples
from rules.generators import Globals
from rules.models.admission import UnfitModel, problems
from rules.models.questions import Answers
from rules.objectives.around import Around
from rules.processes import Division, within
from rules.recipes import LearningRule
from rules.seeds import derived, seeded
from rules.spikes.surrogate import differentiating
from rules.state import from_plain, to_plain
from rules.team import Team, digest
from rules.untouched import untouched

Ask = Callable[[Objective, Batch, torch.Generator], Credit]  # the credit of a batch
COSTS = [each.name for each in fields(Cost)]


def share(rank: int, size: int, total: int) -> tuple[int, int, int]:
    """Return the first sample of a process, how many it has, and how many there are.

    The first processes have one more where the samples do not divide evenly. A batch of fewer samples than processes
    is the first one's alone.

    >>> [share(rank, 3, 8) for rank in range(3)]
    [(0, 3, 8), (3, 3, 8), (6, 2, 8)]
    >>> [share(rank, 3, 2) for rank in range(3)]
    [(0, 2, 2), (2, 0, 2), (2, 0, 2)]
    """
    if total < size:
        return (0, total, total) if rank == 0 else (total, 0, total)
    each, rest = divmod(total, size)
    return rank * each + min(rank, rest), each + (rank < rest), total


def cut(batch: Batch, start: int, count: int, total: int) -> Batch:
    """Return the samples from `start` on, `count` of `total`; where views are stacked along B, of each of them.

    >>> cut(Batch(torch.zeros(5, 12, 2), torch.arange(6).repeat(2)), 4, 2, 6).y
    tensor([4, 5, 4, 5])
    """
    views = samples(batch) // total
    rows = torch.cat([torch.arange(start, start + count) + view * total for view in range(views)])

    def some(part: Tensor, axis: int) -> Tensor:
        if part.ndim and axis and len(part) > 1 and part.stride(0) == 0:  # constant in time, and stays so
            return some(part[:1], axis).expand(len(part), *[-1] * (part.ndim - 1))
        return part.index_select(axis, rows.to(part.device))

    held = views * total
    x, plain = (map_tensors(lambda leaf: some(leaf, sample_axis(leaf, held)), part) for part in (batch.x, batch.plain))
    answers = {name: None if (part := getattr(batch, name)) is None else some(part, AXES[name]) for name in AXES}
    return batch._replace(x=x, plain=plain, **answers)


@dataclass(frozen=True)
class Seen(Around):
    """An objective whose views of this step were drawn already, for the whole batch, and of which this is a share."""

    inner: Objective
    share: Batch

    def views(self, batch: Batch, rng: torch.Generator) -> Batch:
        """Return the share of the views."""
        return self.share


def divided(
    team: Team,
    model: nn.Module,
    rule: LearningRule,
    batch: Batch,
    rng: torch.Generator,
    state: Any,
    parameters: dict[str, nn.Parameter],
    seed: int,
    step: int,
    ask: Ask,
) -> Credit:
    """Return the credit of a batch, the same in every process of a team.

    A rule whose draws are divided gets the whole batch. Any other gets its share; views of the objective are drawn for
    the whole batch before. What the rule or the model draws beyond that follows the seed, the step and the process, and
    moves no generator that a checkpoint holds.

    Args:
        team: of more than one process.
        model: as on every process.
        rule: objective and credit.
        batch: the whole of it, in every process.
        rng: the trainer's generator.
        state: of the rule.
        parameters: what is learned, by name.
        seed: of what each process draws for itself.
        step: number of the step, for messages.
        ask: the credit of a share.
    """
    if rule.credit.over_processes == "draws":
        with team.together(), within(Division(team)):
            return ask(rule.objective, batch, rng)
    total = samples(batch)
    mine = Division(team, *share(team.rank, team.size, total))
    credit = None
    require_divisible(batch)
    with team.together():
        views = rule.objective.views(batch, rng)
        if mine.held:
            objective = Seen(rule.objective, cut(views, *mine[1:]))
            own = derived(seed, "process", step, team.rank)
            part = batch if mine.held == total else cut(batch, *mine[1:])
            with within(mine if mine.held < total else None), Globals(own).inside(), elsewhere(rng, own):
                credit = ask(objective, part, rng)
            check_credit(model, part, credit, step)
    found = together(team, mine, credit, state, parameters, rule.credit.over_processes, fingerprint(batch))
    return found if total >= team.size else found._replace(state=heard(team, found.state, state))


def heard(team: Team, state: Any, like: Any) -> Any:
    """Return the state that the first process has after a step in which it alone had samples."""
    if not isinstance(like, Tensor) and not like:  # a rule without a state
        return state
    said = io.BytesIO()
    torch.save(to_plain(state, "the rule's state", like), said)
    return from_plain(torch.load(io.BytesIO(team.hear(said.getvalue())), weights_only=True), like)


@contextmanager
def elsewhere(rng: torch.Generator, seed: int) -> Iterator[None]:
    """Let a generator go on from a seed in this context, and be where it was afterwards."""
    before = rng.get_state()
    rng.manual_seed(seed)
    try:
        yield
    finally:
        rng.set_state(before)


def together(
    team: Team,
    mine: Division,
    credit: Credit | None,
    state: Any,
    parameters: dict[str, nn.Parameter],
    how: str,
    batch: list[float],
) -> Credit:
    """Return the credit of all shares, given that of this one, None for a share without samples."""
    has = [float(credit is not None and name in credit.grads) for name in parameters]
    spent = [0.0] * len(COSTS) if credit is None else [float(getattr(credit.cost, name)) for name in COSTS]
    loss = 0.0 if credit is None else credit.loss * mine.held
    rows = team.gather([*batch, loss, *spent, *has])
    require_same_batch(rows[:, : len(batch)])
    sums = rows[:, len(batch) :].sum(0).tolist()
    spend, present = sums[1 : 1 + len(COSTS)], sums[1 + len(COSTS) :]
    weight = mine.held / mine.total if how == "mean" else 1.0
    names = [name for name, some in zip(parameters, present, strict=True) if some]
    held = {} if credit is None else credit.grads
    grads = team.add(
        [
            held[name].to(parameters[name].dtype) * weight if name in held else torch.zeros_like(parameters[name])
            for name in names
        ]
    )
    return Credit(
        dict(zip(names, (g.detach() for g in grads), strict=True)),
        state if credit is None else credit.state,
        sums[0] / mine.total,
        Cost(**{name: round(number) for name, number in zip(COSTS, spend, strict=True)}),
        None if credit is None else credit.carry,
        {} if credit is None else credit.info,
        () if credit is None else credit.findings,
    )


def fingerprint(batch: Batch) -> list[float]:
    """Return numbers that tell one batch from another."""
    held = leaves((batch.x, batch.y, batch.targets, batch.lengths))
    return [float(samples(batch)), sum(float(leaf.sum(dtype=torch.float64)) for leaf in held)]


def require_same_batch(rows: Tensor) -> None:
    """Raise ValueError if the fingerprints `[processes, numbers]` differ."""
    if not bool((rows == rows[0]).all()):
        raise ValueError(
            "the processes were given different batches: hand the same loader to the trainer of each, with its order "
            "from the same seed and without a DistributedSampler; the trainer takes the share of its process"
        )


def require_divisible(batch: Batch) -> None:
    """Raise ValueError for a batch that cannot be divided."""
    if batch.carry is not None:
        raise ValueError(
            "a batch with a carry cannot be divided among processes, because which part of it belongs to which sample "
            "is not known: give whole sequences, rules.Batch(x, y), or train in one process"
        )


def admit_team(team: Team, model: nn.Module, rule: LearningRule, batch: Batch, answers: Answers | None) -> None:
    """Raise, in all processes, if this team would not learn what one process learns.

    Raises:
        UnfitModel: for a model that mixes the samples of a batch, of which each process has but a share.
        ValueError: for an objective that does so.
    """
    if rule.credit.over_processes == "draws":
        return
    require_divisible(batch)
    mixed = [name for name, part in model.named_modules() if isinstance(part, _BatchNorm) and part.training]
    if mixed:
        raise UnfitModel(
            f"{mixed[0]!r} of {type(model).__name__} normalises by the statistics of the batch, and each of "
            f"{team.size} processes sees only its share: model.get_submodule({mixed[0]!r}).eval() keeps them as they "
            "are; nn.GroupNorm and nn.LayerNorm have none"
        )
    if answers is not None and answers.independent is False:
        raise UnfitModel(
            f"{problems(model, answers)['independent']}. Each of {team.size} processes sees only its share of a batch"
        )
    if rule.credit.asks:  # an objective that is never asked teaches nothing, and may not be fitted yet
        _compare_losses(team, model, rule.objective, batch)


def _compare_losses(team: Team, model: nn.Module, objective: Objective, batch: Batch) -> None:
    """Raise ValueError if the mean of the losses of the shares is not that of the batch, in evaluation mode.

    The tolerance is the square root of the precision, well above the rounding errors of a sum of losses. A model that
    draws random numbers is not asked, because two passes differ.
    """
    require_same_batch(team.gather(fingerprint(batch)))
    mine = Division(team, *share(team.rank, team.size, samples(batch)))
    rng = seeded(0, "compare losses")
    with team.together(), untouched(model, objective.module()), differentiating(generator=rng, evaluating=True):
        model.eval()
        views = objective.views(batch, rng)
        with within(None):
            first, second = (float(objective(run_model(model, views, objective.needs), views)) for _ in range(2))
        loss = 0.0
        if mine.held:
            part = cut(views, *mine[1:])
            with within(mine if mine.held < mine.total else None):
                loss = float(objective(run_model(model, part, objective.needs), part)) * mine.held / mine.total
    rows = team.gather([first, second, loss])
    first, apart = float(rows[0, 0]), float(rows[:, 2].sum() - rows[0, 0])
    tolerance = torch.finfo(next(model.parameters()).dtype).eps ** 0.5
    if bool((rows[:, 0] == rows[:, 1]).all()) and abs(apart) > tolerance * max(
        abs(first), float(rows[:, 2].abs().max())
    ):
        raise ValueError(
            f"the loss of this batch is {first:.6g}, and the mean over its shares in {team.size} processes "
            f"{first + apart:.6g}: {type(objective).__name__} is not a mean over samples. Train in one process, or use "
            "an objective that does not compare samples or count steps over all of them"
        )


def require_alike(team: Team, model: nn.Module, rule: LearningRule, state: Any, step: int) -> None:
    """Raise ValueError, in all processes, if their weights, buffers or states of the rule differ in a bit."""
    module = rule.objective.module()
    held = {
        "weights": digest([dict(model.state_dict()), {} if module is None else dict(module.state_dict())]),
        "state of the rule": digest(to_plain(state, "the rule's state", state)),
    }
    rows = team.gather(list(held.values()))
    for name, same in zip(held, (rows == rows[0]).all(0).tolist(), strict=True):
        if not same:
            raise ValueError(
                f"the {name} of {type(model).__name__ if name == 'weights' else type(rule.credit).__name__} differ "
                f"between processes before step {step}: build everything from the same seed in each, as in "
                "torch.manual_seed(0) before the model; what a pass changes must not depend on the samples seen"
            )
