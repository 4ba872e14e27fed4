"""The microscope: compares credit with references, and wraps a loader to do so while a trainer learns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rules.batches import as_batch
from rules.contract import Holding
from rules.diagnostics.nonfinite import finite
from rules.fields import at_least, check_fields
from rules.optional import method_of
from rules.synapses import weights_in
from rules.trainer import Trainer
from sandbox.microscope.frozen import Frozen, freeze
from sandbox.microscope.look import Look, Row
from sandbox.microscope.measures import cosine, measures
from sandbox.microscope.reference import CannotRun, Known, Reference
from sandbox.microscope.references import reference_of

UNPAIRED = "the feedback has another shape than the weights"


@dataclass(frozen=True)
class Microscope:
    """Compares a rule's credit with gradients, layer by layer, at frozen weights and on the batch of the step.

    A layer is a trainable weight matrix (or a kernel of a convolution). The rule is evaluated `draws` times, with the
    microscope's own random generators; a deterministic rule is evaluated once. A look therefore costs up to `draws`
    steps plus those of the references: with k references of backpropagation, 1 + k steps for a deterministic rule and
    draws (1 + k) at worst. It works on copies: weights, buffers, state, generators and costs of the trainer are
    bit-identical with and without it. It holds `draws` gradients during a look, and nothing afterwards.

    A credit rule with feedback weights may expose them as `feedback(state) -> {weight name: Tensor}`, each of the shape
    of its weight or of its transpose. `alignment` is then the cosine between the two.

    Args:
        every: steps from one look to the next, 100 by default; the first look is before the first step.
        references: names in REFERENCES, or objects such as `Backpropagation(window=5)`; bptt by default.
        draws: evaluations of a stochastic rule, 8 by default.
        seed: of the microscope's generators, 0 by default.

    Raises:
        ValueError: every or draws is below 1; references are unknown, repeated or missing.

    >>> from rules import Trainer, make
    >>> net = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> batch = (torch.randn(64, 2, generator=torch.Generator().manual_seed(0)), torch.arange(64) % 2)
    >>> look = Microscope().look(Trainer(net, "readout_only"), batch)
    >>> [(row.layer, row.note or round(row.cosine, 6)) for row in look.rows]
    [('0.weight', 'no opinion'), ('2.weight', 1.0)]
    """

    every: int = 100
    references: tuple[str | Reference, ...] = ("bptt",)
    draws: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        check_fields(self)
        at_least(0, self, "seed")
        for name in ("every", "draws"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: give a whole number, at least 1")
        labels = [reference.label for reference in self._references()]
        if len(set(labels)) < max(len(labels), 1):
            raise ValueError(f"references={', '.join(labels) or 'none'}: give at least one, and each once")

    def _references(self) -> list[Reference]:
        return [reference_of(name) for name in self.references]

    def admit(self, model: nn.Module) -> None:
        """Raise ValueError, with a remedy, for a model with more weights than a reference allows."""
        weights = sum(p.numel() for p in weights_in(model).values())
        for reference in self._references():
            reference.admit(weights)

    def look(self, trainer: Trainer, batch: Any) -> Look:
        """Compare the credit that the trainer's rule would now give each layer on this batch with each reference.

        A layer without credit, or a reference that cannot run on the model, gives a row with a `note`.
        """
        self.admit(trainer.model)
        trainer.begin(batch)
        frozen = freeze(trainer, as_batch(batch), self.seed)
        drawn, settled = _draw(frozen, self.draws)
        aligned = _alignment(frozen)
        rows: list[Row] = []
        for reference in self._references():
            known, why = _gradient_of(reference, frozen, self.draws)
            for layer in frozen.layers:
                row = Row(frozen.step, layer, reference.label, len(drawn))
                found = {"note": why} if known is None else _compare(layer, drawn, known, settled)
                value, note = aligned.get(layer, (None, ""))
                found["note"] = "; ".join(filter(None, (found["note"], note)))
                rows.append(row._replace(alignment=value, **found))
        return Look(frozen.step, tuple(rows))

    def watch(self, trainer: Trainer, loader: Iterable[Any], write: Callable[[Look], object]) -> Watched:
        """Wrap a loader for `trainer.fit`; every `every` steps it looks before the step and calls `write`.

        Raises:
            ValueError: `admit` refuses the model.
        """
        self.admit(trainer.model)
        return Watched(self, trainer, loader, write)


class Watched:
    """A loader that looks through a microscope before it yields a batch."""

    def __init__(
        self, microscope: Microscope, trainer: Trainer, loader: Iterable[Any], write: Callable[[Look], object]
    ) -> None:
        self.microscope, self.trainer, self.loader, self.write = microscope, trainer, loader, write

    def __iter__(self) -> Iterator[Any]:
        return self.iterate()

    def set_epoch(self, epoch: int) -> None:
        """Pass the epoch on to the loader inside, if that takes it."""
        if (set_epoch := method_of(self.loader, "set_epoch")) is not None:
            set_epoch(epoch)

    def iterate(self, start: int = 0) -> Iterator[Any]:
        """Yield the batches from `start` on, without looking at earlier ones."""
        for item in self.trainer.rest_of(self.loader, start):
            if self.trainer.steps % self.microscope.every == 0:
                self.write(self.microscope.look(self.trainer, item))
            yield item


def _draw(frozen: Frozen, draws: int) -> tuple[list[dict[str, Tensor]], bool]:
    """Draw the rule's credit `draws` times, or once where it is deterministic; return the draws and whether it is."""
    found: list[dict[str, Tensor]] = []
    for number in range(draws):
        with frozen.draw(number) as draw:
            args = (frozen.model, frozen.objective, frozen.batch, frozen.state, draw.rng)
            credit = frozen.credit.assign(*args)
        found.append({name: credit.grads[name].detach() for name in frozen.layers if name in credit.grads})
        if not draw.used:
            return found[:1], True
    return found, False


def _gradient_of(reference: Reference, frozen: Frozen, draws: int) -> tuple[Known | None, str]:
    """Return the reference's gradient, or None and the reason why it has none."""
    try:
        return reference.gradient(frozen, draws), ""
    except CannotRun as error:
        return None, f"{reference.label} cannot run on {type(frozen.model).__name__}: {error}"


def _compare(layer: str, drawn: list[dict[str, Tensor]], known: Known, settled: bool) -> dict[str, Any]:
    """Measure one layer's draws against a reference; a note where that is not possible."""
    if any(layer not in grads for grads in drawn):
        return {"note": "no opinion"}
    if layer not in known.samples:
        return {"note": "the reference does not reach it"}
    mine = torch.stack([grads[layer].flatten() for grads in drawn])
    theirs = known.samples[layer].flatten(1)
    if not (finite(mine) and finite(theirs)):
        return {"note": "not finite"}
    return measures(mine, theirs, known.paired and len(mine) == len(theirs), settled)


def _alignment(frozen: Frozen) -> dict[str, tuple[float | None, str]]:
    """Return the cosine between each weight and its feedback, or a note; empty for a rule without feedback."""
    credit = frozen.credit
    while isinstance(credit, Holding) and method_of(credit, "feedback") is None:
        credit = credit.credit
    if (feedback := method_of(credit, "feedback")) is None:
        return {}
    found: dict[str, tuple[float | None, str]] = {}
    for name, back in feedback(frozen.state).items():
        weight = frozen.layers.get(name)
        if weight is None:
            continue
        there = weight.detach()
        # A square matrix fits both ways: it is taken as it is, not transposed.
        if back.shape != there.shape and back.shape == there.T.shape:
            back = back.T
        found[name] = (cosine(there, back), "") if back.shape == there.shape else (None, UNPAIRED)
    return found
