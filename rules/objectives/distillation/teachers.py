"""Teachers: modules that an objective runs on the same batch, counted and never trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rules.batches import fitted
from rules.contract import Batch, Run, steps_of
from rules.forward import called, map_tensors
from rules.optional import lacks, takes
from rules.untouched import untouched


def answered(teacher: nn.Module, run: Run, batch: Batch) -> Run:
    """Return what a teacher says to a batch, without gradient: its output, `[T, B, classes]`, traces and internals.

    It sees the batch as it was before augmentation, in its own precision. It is run in evaluation mode and from rest,
    and is afterwards as it was: modes of all parts, buffers, membranes that it keeps. It may take and give another
    number of steps than the network.

    Raises:
        ValueError: for a batch that goes on from a carry; for a teacher of other classes, one that gives another number
            of samples or no finite numbers, and lengths that do not suit its steps, or that it cannot be told of.
        RuntimeError, TypeError, ValueError: what the teacher raised, with its name.
    """
    if batch.carry is not None:
        raise ValueError(
            "the batch goes on from a carry, and the teacher would begin anew, from rest: hand over whole sequences, "
            "without a carry"
        )
    if batch.lengths is not None and "carry" in lacks(teacher) and not takes(teacher, "lengths"):
        raise ValueError(
            f"the batch has lengths, and the teacher, a {type(teacher).__name__}, would see what stands behind the end "
            "of a sequence: give one that takes lengths, or sequences of one length each, without lengths"
        )
    asked = Batch(batch.x if batch.plain is None else batch.plain, lengths=batch.lengths)
    if (like := next(teacher.parameters(), None)) is not None:
        asked = fitted(asked, teacher, like)
    with untouched(teacher), torch.no_grad():
        teacher.eval()
        try:
            said = called(teacher, asked)
        except (RuntimeError, TypeError, ValueError) as error:  # as these, for callers that tell them apart
            kind = next(each for each in (RuntimeError, TypeError, ValueError) if isinstance(error, each))
            raise kind(f"the teacher, a {type(teacher).__name__}, cannot take this batch: {error}") from error
    if said.output.shape[-1] != run.output.shape[-1]:
        raise ValueError(
            f"the teacher knows {said.output.shape[-1]} classes, and the network {run.output.shape[-1]}: give one that "
            "was trained on the same classes"
        )
    if said.output.shape[1] != run.output.shape[1]:
        raise ValueError(
            f"the teacher answers for {said.output.shape[1]} samples, and the network for {run.output.shape[1]}: "
            "arrays are time-first, [T, B, classes]; for a teacher that takes [B, T, ...] write "
            "rules.adapt(teacher, batch_first=True)"
        )
    if batch.lengths is not None and steps_of(batch.x) % len(said.output):
        raise ValueError(
            f"the teacher answers at {len(said.output)} steps of {steps_of(batch.x)}: the lengths of the batch cannot "
            "be those of its answers; leave them out, or give a teacher whose steps are bins of theirs"
        )
    if not bool(torch.isfinite(said.output).all()):
        raise ValueError(f"the teacher, a {type(teacher).__name__}, puts out NaN or an infinity: train it anew")
    told = map_tensors(Tensor.detach, dict(said.internals))
    return Run(said.output.detach(), None, map_tensors(Tensor.detach, said.traces), told)
