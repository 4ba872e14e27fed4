"""The error at a network's output, noted in the backward pass and sent straight to the inputs of synapses."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from torch import Tensor

from rules.contract import Batch, Cost, Objective, Run
from rules.objectives.around import Around
from rules.steps import counted

CHAIN = "rules.make('fa') carries errors back through any such module"


class Noted(torch.autograd.Function):
    """Forward, the output; backward, its error, which is noted on the way."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, sent: Sent) -> Tensor:
        ctx.sent = sent
        return output.clone()

    @staticmethod
    def backward(ctx: Any, error: Tensor) -> tuple[Tensor, None]:
        ctx.sent.error = error
        return error, None


@dataclass
class Sent:
    """What leaves the output in one pass, `[T, B, classes]`, and which of its rows each call of a synapse gets.

    Kind `dfa` sends the error; `sdfa` its sign and `drtp` the one-hot label, both divided by the number of samples and
    of their steps, as the gradient of a mean over them is.
    """

    kind: str
    batch: Batch | None = None
    error: Tensor | None = None
    rows: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))  # that a synapse has seen so far
    cost: Cost = field(default_factory=Cost)

    def place(self, name: str, x: Tensor, shape: tuple[int, ...]) -> int:
        """Return the first row of a call with the input `x`, whose features are of this shape."""
        first = self.rows[name]
        if torch._C._current_graph_task_id() == -1:  # not where a pass is computed again
            self.rows[name] += x.numel() // max(prod(shape), 1)
        return first

    def arriving(self, name: str, first: int, x: Tensor, matrix: Tensor) -> Tensor:
        """Return what arrives at the input `x` of a synapse: the rows of the signal times its matrix."""
        if self.error is None:
            raise ValueError(
                f"no error left the output before {name!r} asked for it: {self.kind!r} sends the error of the output, "
                f"so the loss has to use the output of the whole pass; {CHAIN}"
            )
        signal = self.signal(self.error)
        steps, batch, _ = signal.shape
        rows, lead = x.numel() // max(matrix[0].numel(), 1), x.shape[: x.ndim - matrix.ndim + 1]
        if self.rows[name] != steps * batch or (len(lead) == 2 and lead[1] != batch) or len(lead) > 2:
            raise ValueError(
                f"{name!r} was called on an input {tuple(x.shape)}, and saw {self.rows[name]} rows in a pass whose "
                f"output has {steps} steps of {batch} samples: {self.kind!r} needs one row for each, time first; "
                f"{CHAIN}"
            )
        sent = signal.flatten(0, 1)[first : first + rows].to(matrix.dtype)
        self.cost += self.spent(sent, matrix)
        return (sent @ matrix.flatten(1)).reshape(x.shape).to(x.dtype)

    def signal(self, error: Tensor) -> Tensor:
        """Return the signal `[T, B, classes]` that is sent."""
        if self.kind == "dfa":
            return error
        assert self.batch is not None
        shown = torch.sign(error) if self.kind == "sdfa" else one_hot(self.batch, error)
        return shown * shares(error, self.batch.lengths)

    def spent(self, sent: Tensor, matrix: Tensor) -> Cost:
        """Return the cost of a product of rows and a matrix; signs and labels are read bit by bit."""
        units = matrix[0].numel()
        work = Cost(error_operations=sent.numel() * units, adc_conversions=len(sent) * units)
        if self.kind == "dfa":
            return work + Cost(multiplications=sent.numel() * units, dac_conversions=sent.numel())
        signs = sent.numel() if self.kind == "sdfa" else 0
        return work + Cost(one_bit_reads=int(sent.count_nonzero()) * units, comparisons=signs)


@dataclass(frozen=True)
class Sending(Around):
    """An objective that notes the error of the output in a backward pass."""

    inner: Objective
    sent: Sent

    def __call__(self, run: Run, batch: Batch) -> Tensor:
        self.sent.batch = batch
        output: Tensor = Noted.apply(run.output, self.sent)  # type: ignore[no-untyped-call]
        return self.inner(run._replace(output=output), batch)


def shares(output: Tensor, lengths: Tensor | None) -> Tensor:
    """Return the part that each step of each sample has in the mean over samples, `[T, B, 1]`.

    >>> shares(torch.zeros(2, 2, 3), torch.tensor([1, 2]))[..., 0].tolist()
    [[0.5, 0.25], [0.0, 0.25]]
    """
    steps, batch, _ = output.shape
    if lengths is None:
        return output.new_full((steps, batch, 1), 1 / (steps * batch))
    return (counted(output, lengths).to(output.dtype) / (batch * lengths.clamp(max=steps)))[..., None]


def one_hot(batch: Batch, output: Tensor) -> Tensor:
    """Return the classes of every step as `[T, B, classes]` of zeros and ones.

    Raises:
        ValueError: for answers that are not classes.
    """
    steps, _, classes = output.shape
    answers = batch.targets if batch.y is None else batch.y
    if answers is None or answers.is_floating_point() or answers.ndim > (2 if batch.y is None else 1):
        seen = "none" if answers is None else f"{answers.dtype} of shape {tuple(answers.shape)}"
        raise ValueError(
            f"'drtp' sends the class of each sample, a whole number, and the answers are {seen}: use rules.make('dfa') "
            "for other answers"
        )
    known = (answers >= 0) & (answers < classes)  # others, such as -100, are ignored by the loss
    found = torch.nn.functional.one_hot(answers.clamp(0, classes - 1), classes) * known[..., None]
    return (found.expand(steps, *found.shape) if batch.y is not None else found).to(output.dtype)
