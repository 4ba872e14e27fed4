"""What a model's answers mean for a rule: refuse what would make it wrong, warn of the rest, each with the remedy."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from rules.batches import fitted
from rules.contract import Batch, CreditRule
from rules.models.adapted import Adapted
from rules.models.peers import titles
from rules.models.questions import Answers, ask
from rules.optional import plain

NEVER = frozenset({"copies", "ends"})  # what no rule can learn from, whatever it relies on
SAMPLES = "arrays are time-first, [T, B, ...]"


class ModelWarning(UserWarning):
    """Warns of a model that does something a learning rule does not expect."""


class UnfitModel(ValueError):
    """Raised for a model with which a rule would learn something wrong; nothing has been changed."""


def problems(model: nn.Module, answers: Answers) -> dict[str, str]:
    """Return what is wrong with a model, by the keys of ANSWERS and NEVER, each with what was seen and the remedy.

    >>> problems(nn.Linear(1, 1), Answers(stateless=True, deterministic=True, independent=True))
    {}
    """
    found = {}
    where = f" (first seen in {answers.where!r})" if answers.where else ""
    name, library = described(model)
    if answers.stateless is False:
        remedy = "model = rules.adapt(model)" if library else "model = rules.adapt(model, reset=lambda model: ...)"
        found["stateless"] = (
            f"{name} keeps state from one call to the next: the same input twice gave two outputs or left two "
            f"states{where}. Let every call start anew: {remedy}"
        )
    if answers.deterministic is False:
        found["deterministic"] = (
            f"{name} draws random numbers in a pass: the same input twice gave two outputs{where}. If it is dropout, "
            "switch it off: model.eval(), and F.dropout(x, training=self.training) in forward"
        )
    if answers.independent is False and answers.exchanged:
        found["independent"] = (
            f"{name} takes samples for time{where}: a change of one sample changed the outputs of others, and no step "
            f"of time changed another. {SAMPLES}; for a batch-first model: model = rules.adapt(model, batch_first=True)"
        )
    elif answers.independent is False and normalises(model, answers.where):
        found["independent"] = (
            f"{answers.where!r} of {name} normalises by the statistics of the batch, so that a change of one sample "
            f"changed the outputs of others: model.get_submodule({answers.where!r}).eval() keeps them as they are; "
            "nn.GroupNorm and nn.LayerNorm have none"
        )
    elif answers.independent is False:
        found["independent"] = (
            f"{name} mixes the samples of a batch{where}: a change of one sample changed the outputs of others. "
            f"{SAMPLES}: for a batch-first model write model = rules.adapt(model, batch_first=True); put "
            "normalisations over the batch into evaluation mode, or use nn.GroupNorm or nn.LayerNorm"
        )
    if answers.input_kept is False:
        found["input"] = (
            f"{name} changes its input in place, so that a second pass sees other data: let forward begin with "
            "x = x.clone()"
        )
    if answers.copies:
        found["copies"] = (
            f"{name} sees later inputs, and the answer at each step of this batch is the input of the next, so that it "
            "would learn to copy it: use a causal model, or answers that are not in the input"
        )
    if answers.ends is False:
        found["ends"] = (
            f"what stands behind the end of a sequence changes outputs of {name} that count: let forward take lengths "
            "and leave the rest out, or hand over sequences of one length each, without lengths"
        )
    if answers.square and recurrent(model):
        found["square"] = (
            f"{name} takes the first axis of its input for samples, and this batch has as many steps as samples, so "
            "that it could be either. If time comes first in it, model = rules.adapt(model, batch_first=True)"
        )
    return found


def recurrent(model: nn.Module) -> bool:
    """Return whether a model has modules of torch for sequences, so that one of two axes is time."""
    return any(isinstance(part, (nn.RNNBase, nn.MultiheadAttention)) for part in model.modules())


def normalises(model: nn.Module, where: str | None) -> bool:
    """Return whether the module of this path is batch normalisation in training mode."""
    part = dict(model.named_modules()).get(where or "")
    return isinstance(part, _BatchNorm) and part.training


def described(model: nn.Module) -> tuple[str, str]:
    """Return the class of a model with its library, and the library; none if it is unknown or adapted already."""
    inner = plain(model)
    library = "" if isinstance(inner, Adapted) else titles(inner)
    name = type(model).__name__
    return f"{name}, with neurons of {library}," if library else name, library


def admit(rule: CreditRule, model: nn.Module, answers: Answers) -> None:
    """Raise UnfitModel if the rule relies on what the answers deny; warn of everything else.

    The message ends with how to go on regardless.
    """
    found = problems(model, answers)
    relied = [text for key, text in found.items() if key in rule.relies_on | NEVER]
    if relied:
        raise UnfitModel(
            f"{type(rule).__name__} would learn something wrong: {'; '.join(relied)}. "
            "Trainer(..., confirm=False) asks no questions"
        )
    for text in found.values():
        warnings.warn(f"{text}. Trainer(..., confirm=False) asks no questions", ModelWarning, stacklevel=4)
    name, library = described(model)
    if answers.error and library:
        raise UnfitModel(
            f"{name} cannot be called as it is: it raised {answers.error}. Call it as {library} does, at rest, with "
            "time and samples in their order, and take its output: model = rules.adapt(model). Trainer(..., "
            "confirm=False) asks no questions"
        )


def admit_teachers(teachers: Iterable[nn.Module], batch: Batch) -> None:
    """Ask the teachers of an objective; raise UnfitModel for one whose answers are not those of its input.

    It is run in evaluation mode, from rest, and put back, so that it may keep state and draw random numbers.
    """
    asked = batch._replace(x=batch.x if batch.plain is None else batch.plain, carry=None)
    for teacher in teachers:
        like = next(teacher.parameters(), None)
        answers = ask(teacher, asked if like is None else fitted(asked, teacher, like))
        found = problems(teacher, answers)
        wrong = [text for key, text in found.items() if key in ("independent", "input", "ends")]
        if wrong:
            raise UnfitModel(f"the objective's teacher: {'; '.join(wrong)}. Trainer(..., confirm=False) asks nothing")


def warn_unasked(model: nn.Module, answers: Answers) -> None:
    """Warn, after a first step that went well, of a model that could not be asked before it."""
    if answers.error:
        warnings.warn(
            f"{described(model)[0]} could not be asked before its first step: in evaluation mode it raised "
            f"{answers.error}",
            ModelWarning,
            stacklevel=4,
        )


def warn_unused(model: nn.Module, surrogate: object) -> None:
    """Warn of a surrogate that replaced none, asked from the `assign` of a rule."""
    warnings.warn(
        f"surrogate={surrogate} had no effect: {type(model).__name__} evaluates no rules.Surrogate; build its neurons "
        "with one, or replace those of another library, rules.adapt(model, surrogate='atan')",
        stacklevel=3,
    )
