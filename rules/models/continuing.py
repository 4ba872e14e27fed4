"""Carries: whether a model goes on from one, two halves giving what the whole gives, and whether one fits a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from rules.brief import brief, tensors
from rules.contract import Batch, Run, steps_of
from rules.forward import join, pieces, run_model, samples
from rules.models.admission import UnfitModel, described
from rules.seeds import seeded
from rules.spikes.surrogate import differentiating
from rules.steps import counted
from rules.untouched import untouched

END = ". Trainer(..., confirm=False) asks no questions"


def require_carry(model: nn.Module, batch: Batch, why: str) -> None:
    """Raise UnfitModel for a model that does not go on from its carry, or whose steps look ahead.

    Two halves are run, the second from the carry of the first, in evaluation mode and from rest. Rounding can move a
    spike, after which the sequence of that sample is another: so a model is refused if most samples differ. One that
    draws random numbers, or cannot be run, is not.

    Args:
        model: any model that takes a carry.
        batch: its first batch, `[T, B, ...]`; of one step it says nothing.
        why: what cuts sequences, such as "every=5", for the message.

    >>> require_carry(nn.Identity(), Batch(torch.ones(4, 2, 3)), "every=2")
    """
    try:
        whole, halves = in_one(model, batch), in_halves(model, batch)
        if len(halves) < 2 or not apart(whole, join(halves), batch) or apart(whole, in_one(model, batch, 1), batch):
            return
    except Exception:  # a model that cannot run raises the same in the step, with its traceback
        return
    name, first = described(model)[0], halves[0].output
    if len(whole.output) != len(first) + len(halves[1].output):
        raise UnfitModel(
            f"{why} cuts sequences, and {name} gives {len(whole.output)} output for all steps of one, and as many for "
            f"a part of it: return an output for each step, [T, B, outputs], or leave {why} out{END}"
        )
    if apart(Run(whole.output[: len(first)]), halves[0], batch):
        raise UnfitModel(
            f"{why} cuts sequences, and steps of {name} look ahead: the first {len(first)} steps alone gave another "
            "output than in the whole sequence. Leave out what reads later steps, such as bidirectional layers and "
            f"normalisation over time, or leave {why} out{END}"
        )
    raise UnfitModel(
        f"{why} cuts sequences, and {name}.forward does not go on from its carry: two halves, the second from the "
        "carry of the first, gave another output than the whole. Begin from it, as in `state = zeros if carry is None "
        f"else carry`, and return rules.Run(output, state) with all that the next step needs; or leave {why} out{END}"
    )


def in_one(model: nn.Module, batch: Batch, seed: int = 0) -> Run:
    """Return a run of the whole sequence, from rest."""
    with untouched(model, seed=seed), differentiating(generator=seeded(seed, "carry"), evaluating=True):
        model.eval()
        return run_model(model, batch._replace(carry=None))


def in_halves(model: nn.Module, batch: Batch) -> list[Run]:
    """Return the runs of both halves, the second from the carry of the first; one run of a single step."""
    runs: list[Run] = []
    with untouched(model), differentiating(generator=seeded(0, "carry"), evaluating=True):
        model.eval()
        for piece in pieces(batch, -(-steps_of(batch.x) // 2)):
            runs.append(run_model(model, piece._replace(carry=runs[-1].carry if runs else None)))
    return runs


def apart(one: Run, two: Run, batch: Batch) -> bool:
    """Return whether the outputs of most samples differ by more than rounding, in steps that count."""
    if one.output.shape != two.output.shape:
        return True
    far = (one.output - two.output).abs()
    if batch.lengths is not None:
        far = torch.where(counted(far, batch.lengths)[..., None], far, 0.0)
    bound = torch.finfo(far.dtype).eps ** 0.5 * one.output.abs().max()
    return bool((far.amax((0, 2)) > bound).double().mean() > 0.5)


ANEW = (
    "a carry belongs to the samples whose sequences it continues, in their order, and to the rule that made it: begin "
    "new sequences without one, batch._replace(carry=None), and leave a smaller last batch out, "
    "DataLoader(..., drop_last=True)"
)


def require_own_carry(batch: Batch) -> None:
    """Raise ValueError for a carry in which nothing counts as many samples as the batch has.

    >>> require_own_carry(Batch(torch.ones(5, 3, 2), torch.arange(3), carry=(torch.zeros(8, 4), torch.zeros(8))))
    Traceback (most recent call last):
    ...
    ValueError: the carry of this batch holds <2 tensors, 160 bytes>, none of it for 3 samples: a carry belongs to ...
    """
    held = [part for part in tensors(batch.carry) if part.ndim]
    if held and not any(samples(batch) in part.shape for part in held):
        raise ValueError(
            f"the carry of this batch holds {brief(batch.carry)}, none of it for {samples(batch)} samples: {ANEW}"
        )


@contextmanager
def naming_carry(model: nn.Module, batch: Batch, again: Callable[[Batch], Any]) -> Iterator[None]:
    """Say that it is the carry, where a block fails that `again` does on the same batch without one.

    Args:
        model: whose carry it is, for the message.
        batch: of the block.
        again: does what the block does, on another batch.

    Raises:
        ValueError: in place of what the block raised, which stays its cause.
    """
    try:
        yield
    except Exception as error:
        if batch.carry is None or "carry" in str(error) or fails(model, batch._replace(carry=None), again):
            raise
        raise ValueError(
            f"{type(model).__name__} cannot go on from the carry of this batch, a {type(batch.carry).__name__} that "
            f"holds {brief(batch.carry)}: {type(error).__name__}: {error}; {ANEW}"
        ) from error


def fails(model: nn.Module, batch: Batch, again: Callable[[Batch], Any]) -> bool:
    """Return whether `again` raises on a batch; it leaves the model as it was."""
    try:
        with untouched(model), torch.enable_grad():
            again(batch)
    except Exception:
        return True
    return False
