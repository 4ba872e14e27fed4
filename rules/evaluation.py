"""Measures and mean loss of a model over a loader, and read-outs that are fitted to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import nn

from rules.contract import Batch, Run
from rules.diagnostics.latency import Latency
from rules.errors import unknown
from rules.forward import run_model, samples
from rules.measures import Measure
from rules.optional import lacks, method_of, offers
from rules.recipes import LearningRule


def evaluated(
    model: nn.Module,
    rule: LearningRule,
    batches: Iterable[Batch],
    rng: torch.Generator,
    steps: Iterable[int],
    inference: str | None,
    measure: Measure | None = None,
) -> dict[str, float]:
    """Return what `rules.Trainer.evaluate` does, in the mode in which the model is.

    Args:
        model: the model.
        rule: its objective says what is measured, its credit how the model is asked.
        batches: with labels, unless the objective's answers need none.
        rng: source of every random draw.
        steps: numbers of time steps at which to report the result of the first steps alone; left out for models that
            see the whole sequence at once.
        inference: a mode in the credit's `inferences`; the first of them if None.
        measure: of the answers, in place of the objective's.
    """
    objective = rule.objective
    own, infer = asking(model, rule, rng, inference)
    whole = "carry" in lacks(model)  # its first steps depend on later ones, and are no answer of their own
    measure = objective.measure() if measure is None else measure
    see, latency = method_of(measure, "see"), Latency(() if whole else steps, objective)
    look = bool(latency.steps) and "layers" in offers(model) and own is None
    seen = answered = 0
    loss = 0.0
    for batch in batches:
        views = objective.examined(batch, rng)
        run = infer(views, (look and views is batch) or objective.needs)
        plain = run if views is batch else infer(batch, look)
        answers, truth = objective.answers(plain, batch)
        if len(truth):  # otherwise every label is left out, and there is no loss
            loss += float(objective.reported(run, views)) * len(truth)
        latency.add(plain, batch)
        measure.add(answers, truth)
        if see is not None:
            see(plain, batch)
        shown = samples(batch)  # those of no class give no answer
        seen += shown if batch.targets is not None else min(shown, len(truth))
        answered += len(truth)
    if answered == 0:
        raise ValueError("the loader gave no sample to evaluate")
    return {**measure.report(), "loss": loss / answered, "samples": float(seen), **latency.report()}


def asking(
    model: nn.Module, rule: LearningRule, rng: torch.Generator, inference: str | None
) -> tuple[Callable[[Batch], Run] | None, Callable[[Batch, bool | frozenset[str]], Run]]:
    """Return how the rule runs the model, if in a way of its own, and the function that runs it in an inference mode.

    Raises ValueError for a mode that the credit does not have.
    """
    credit = rule.credit
    mode = credit.inferences[0] if inference is None else inference
    if mode not in credit.inferences:
        raise unknown(f"inference of {type(credit).__name__}", mode, credit.inferences)
    own = credit.runs(model)

    def infer(batch: Batch, record: bool | frozenset[str]) -> Run:
        return credit.infer(own or (lambda shown: run_model(model, shown, record)), batch, mode, rng)

    return own, infer


def runs_of(
    model: nn.Module, rule: LearningRule, batches: Iterable[Batch], rng: torch.Generator
) -> Iterator[tuple[Run, Batch]]:
    """Yield a run of each batch, without gradients, as an evaluation in the first mode makes it."""
    _, infer = asking(model, rule, rng, None)
    for batch in batches:
        with torch.no_grad():
            run = infer(batch, rule.objective.needs)
        yield run, batch
