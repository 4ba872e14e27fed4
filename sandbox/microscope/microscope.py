"""The microscope itself: how often it looks, at what, and a loader that lets it look while a trainer learns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rules.contract import Holding
from rules.diagnostics.nonfinite import finite
from rules.forward import as_batch
from rules.optional import method_of
from rules.trainer import Trainer, rest_of
from sandbox.microscope.frozen import Frozen, freeze
from sandbox.microscope.look import Look, Row
from sandbox.microscope.measures import cosine, measures
from sandbox.microscope.reference import CannotRun, Known, Reference
from sandbox.microscope.references import reference_of

UNPAIRED = "the feedback has another shape than the weights"


@dataclass(frozen=True)
class Microscope:
    """Holds a rule's credit against gradients, layer by layer, at frozen weights and on the batch of the step.

    A layer is a trainable weight matrix (or a kernel of a convolution). The rule is asked `draws` times, with dice of
    the microscope's own; one that throws none is asked once. So a look costs at most `draws` steps and those of the
    references: with k of backpropagation 1 + k steps for a rule without dice, and draws (1 + k) at worst. It sees
    copies alone: weights, buffers, state, generators and costs of the trainer are the same, to the bit, with and
    without it. It holds `draws` gradients while it looks and nothing afterwards, however many steps there are.

    A credit rule that has feedback weights may say so with `feedback(state) -> {weight name: Tensor}`, each of the
    shape of its weight or of its transpose: then `alignment` is the cosine between the two.

    Arguments: `every` so many steps, from the first on; `references`, names in REFERENCES or objects such as
    `Backpropagation(window=5)`; `draws`; `seed` of its dice. Raises ValueError for every or draws below 1, and for
    references that are unknown, given twice, or none.

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
        for name in ("every", "draws"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: give a whole number, at least 1")
        labels = [reference.label for reference in self._references()]
        if len(set(labels)) < max(len(labels), 1):
            raise ValueError(f"references={', '.join(labels) or 'none'}: give at least one, and each once")

    def _references(self) -> list[Reference]:
        return [reference_of(name) for name in self.references]

    def admit(self, model: nn.Module) -> None:
        """Raises ValueError for a model with more weights than a reference is made for, with the remedy."""
        weights = sum(p.numel() for p in model.parameters() if p.requires_grad and p.ndim > 1)
        for reference in self._references():
            reference.admit(weights)

    def look(self, trainer: Trainer, batch: Any) -> Look:
        """What the trainer's rule would say to each layer on this batch, now, beside each reference.

        A layer of which the rule says nothing, and a reference that the model does not allow, are rows with a `note`.
        """
        self.admit(trainer.model)
        frozen = freeze(trainer, as_batch(batch), self.seed)
        drawn, settled = _draw(frozen, self.draws)
        aligned = _alignment(frozen)
        rows: list[Row] = []
        for reference in self._references():
            known, why = _ask(reference, frozen, self.draws)
            for layer in frozen.layers:
                row = Row(frozen.step, layer, reference.label, len(drawn))
                found = {"note": why} if known is None else _compare(layer, drawn, known, settled)
                value, note = aligned.get(layer, (None, ""))
                found["note"] = "; ".join(filter(None, (found["note"], note)))
                rows.append(row._replace(alignment=value, **found))
        return Look(frozen.step, tuple(rows))

    def watch(self, trainer: Trainer, loader: Iterable[Any], write: Callable[[Look], object]) -> Watched:
        """A loader to hand to `trainer.fit`, which looks before the steps whose turn it is, and tells `write`.

        Raises ValueError for a model that `admit` refuses.
        """
        self.admit(trainer.model)
        return Watched(self, trainer, loader, write)


class Watched:
    """A loader that looks through a microscope before it hands over a batch."""

    def __init__(
        self, microscope: Microscope, trainer: Trainer, loader: Iterable[Any], write: Callable[[Look], object]
    ) -> None:
        self.microscope, self.trainer, self.loader, self.write = microscope, trainer, loader, write

    def __iter__(self) -> Iterator[Any]:
        return self.iterate()

    def set_epoch(self, epoch: int) -> None:
        """Told on, where the loader inside wants to know."""
        if (set_epoch := method_of(self.loader, "set_epoch")) is not None:
            set_epoch(epoch)

    def iterate(self, start: int = 0) -> Iterator[Any]:
        """From batch `start` on; nothing is looked at before it."""
        for item in rest_of(self.loader, start):
            if self.trainer.steps % self.microscope.every == 0:
                self.write(self.microscope.look(self.trainer, item))
            yield item


def _draw(frozen: Frozen, draws: int) -> tuple[list[dict[str, Tensor]], bool]:
    """The rule's credit, drawn again and again, or once where it throws no dice; whether that is so."""
    found: list[dict[str, Tensor]] = []
    for number in range(draws):
        with frozen.dice(number) as thrown:
            args = (frozen.model, frozen.objective, frozen.batch, frozen.state, thrown.rng)
            credit = frozen.credit.assign(*args)
        found.append({name: credit.grads[name].detach() for name in frozen.layers if name in credit.grads})
        if not thrown.any:
            return found[:1], True
    return found, False


def _ask(reference: Reference, frozen: Frozen, draws: int) -> tuple[Known | None, str]:
    """The reference's gradient, or why there is none."""
    try:
        return reference.gradient(frozen, draws), ""
    except CannotRun as error:
        return None, f"{reference.label} cannot run on {type(frozen.model).__name__}: {error}"


def _compare(layer: str, drawn: list[dict[str, Tensor]], known: Known, settled: bool) -> dict[str, Any]:
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
    """The cosine between each weight and its feedback, or a note, where the rule has any."""
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
        if back.shape != there.shape and back.shape == there.T.shape:
            back = back.T
        found[name] = (cosine(there, back), "") if back.shape == there.shape else (None, UNPAIRED)
    return found
