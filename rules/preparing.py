"""What a training needs before, and what is put back if a step raises."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from rules.contract import Batch, CreditRule, Objective
from rules.diagnostics.monitor import Monitor
from rules.errors import unknown
from rules.forward import run_model
from rules.models.admission import UnfitModel, problems
from rules.models.questions import Answers
from rules.optional import method_of
from rules.seeds import derived, seeded
from rules.spikes.surrogate import differentiating

PRECISIONS = ("full", "bf16")
TWICE = "backward through the graph a second time"  # in torch's message for a graph that an earlier step has used


def admitted_precision(precision: str, credit: CreditRule) -> str:
    """Return a precision; raise ValueError if it is unknown, or the rule does not allow it."""
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    if precision != "full" and not credit.rounds:
        raise ValueError(
            f"precision={precision!r}: {type(credit).__name__} compares small differences or draws bits, which "
            "bfloat16 would drown; use precision='full', or a rule of backpropagation"
        )
    return precision


def require_whole(model: nn.Module, credit: CreditRule) -> None:
    """Raise ValueError for DistributedDataParallel under a rule whose gradients its hooks do not see."""
    if isinstance(model, DistributedDataParallel) and "gradient" in credit.needs:
        raise ValueError(
            f"DistributedDataParallel averages what loss.backward() leaves in p.grad, and {type(credit).__name__} "
            "takes gradients without it, so that processes would part: let the trainer average them, "
            "rules.Trainer(model.module, rule, team=rules.Team())"
        )


def require_known(model: nn.Module, credit: CreditRule, known: dict[str, nn.Parameter]) -> None:
    """Raise ValueError if the rule would move parameters that the optimizer has never seen."""
    held = {id(p) for p in known.values()}
    new = [name for name, p in credit.parameters(model).items() if id(p) not in held]
    if new:
        raise ValueError(
            f"{', '.join(new[:4])} of {type(model).__name__} became trainable, or was replaced, after the trainer was "
            "made, and no optimizer moves it: make a new one, trainer = rules.Trainer(model, rule)"
        )


def reseed(objective: Objective, seed: int) -> None:
    """Let the parts of an objective that draw random numbers follow a seed."""
    module = objective.module()
    for part in [] if module is None else module.modules():
        if (follow := method_of(part, "reseed")) is not None:
            follow(derived(seed, "objective"))


def lazy(module: nn.Module | None) -> bool:
    """Return whether a module has parameters or buffers without a shape."""
    held = [] if module is None else [*module.parameters(), *module.buffers()]
    return any(isinstance(each, (UninitializedParameter, UninitializedBuffer)) for each in held)


def shape(model: nn.Module, objective: Objective, batch: Batch, seed: int) -> None:
    """Give lazy parameters of a model and an objective their shapes, by a pass."""
    if not (lazy(model) or lazy(objective.module())):
        return
    with torch.no_grad(), differentiating(generator=seeded(seed, "shapes")):
        views = objective.views(batch, seeded(seed, "shapes"))
        run = run_model(model, views, objective.needs)
        if lazy(objective.module()):
            objective(run, views)


@contextmanager
def undone_if_it_raises(
    model: nn.Module, objective: Objective, rng: torch.Generator, monitor: Monitor
) -> Iterator[None]:
    """Put back buffers, generator and monitor if the block raises; name the cause where torch cannot.

    Raises:
        UnfitModel: in place of torch's error about a graph that an earlier step has used.
    """
    modules = [module for module in (model, objective.module()) if module is not None]
    buffers = [(buffer, buffer.clone()) for module in modules for buffer in module.buffers()]
    drawn, noted = rng.get_state(), monitor.state_dict()
    try:
        yield
    except BaseException as error:
        rng.set_state(drawn)
        with torch.no_grad():
            for buffer, before in buffers:
                if not torch.equal(buffer, before):
                    buffer.copy_(before)
        monitor.load_state_dict(noted)
        if isinstance(error, RuntimeError) and TWICE in str(error):
            raise UnfitModel(problems(model, Answers(stateless=False))["stateless"]) from error
        raise
