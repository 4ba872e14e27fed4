"""A recorded pass through a chain: it keeps the signals from which probes start, and can rerun any part."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from rules.contract import Run
from rules.credit.zero_order.layered.blocks import Call, listened
from rules.credit.zero_order.layered.stages import Block, Cells, Chain, Step
from rules.forward import as_run, join, map_tensors


@dataclass
class Recorded:
    """One pass: the signals at the cuts, time-first, and the state of neurons before every step of time."""

    chain: Chain
    axis: int = 0  # of the batch: 1 behind a time axis
    samples: int = 0
    values: dict[int, Tensor] = field(default_factory=dict)  # position -> signal, in the model's own shape
    shapes: list[torch.Size] = field(default_factory=list)  # of every position, in the model's own form
    carries: dict[int, list[Any]] = field(default_factory=dict)  # of cells, before each step of time
    heard: dict[int, Run] = field(default_factory=dict)  # of recurrent cells
    calls: dict[int, list[Call]] = field(default_factory=dict)  # of the weights inside blocks

    @property
    def output(self) -> Tensor:
        """The model's output, `[T, B, classes]`."""
        return as_run(self.values[len(self.chain.steps)]).output

    def timed(self, position: int) -> Tensor:
        """Return the signal at a position, `[T, B, ...]`; T = 1 in a model without time."""
        value = self.values[position]
        return value if self.axis == 1 else value[None]

    def features(self, position: int) -> tuple[int, ...]:
        """Return the shape of one sample at one time."""
        return tuple(self.shapes[position][self.axis + 1 :])

    def timeless(self, start: int, end: int) -> bool:
        """Return whether what is measured at a time depends only on what was perturbed at that time."""
        return len(self.timed(end)) == 1 or all(step.timeless for step in self.chain.steps[start:end])

    def resumable(self, start: int, end: int) -> bool:
        """Return whether this part can be run from the middle of the sequence."""
        steps = list(enumerate(self.chain.steps))[start:end]
        return self.axis == 1 and all(step.timeless or position in self.carries for position, step in steps)

    def run(self, start: int, end: int, x: Tensor, since: int = 0) -> Tensor:
        """Run perturbed signals `[T - since, K B, ...]` from one position to another, in the form of `timed`."""
        steps, batch = len(x), x.shape[1]
        x = x if self.axis == 1 else x[0]
        for position in range(start, end):
            step = self.chain.steps[position]
            if since and isinstance(step, Cells):
                carry = repeated(self.carries[position][since], batch // self.samples, self.samples)
                x = called(step, x, lambda x, step=step, carry=carry: step.respond(x, carry, False).output)
            else:
                x = called(step, x, step)
            wanted = ((steps, batch) if self.axis == 1 else (batch,)) + self.features(position + 1)
            if x.shape != wanted:
                raise ValueError(
                    f"stage {step.name!r} ({type(step.module).__name__}) gave shape {tuple(x.shape)} for {batch} "
                    f"samples where {tuple(wanted)} was wanted: probes are stacked along the batch, so it must take a "
                    "batch of any size and treat each sample alone"
                )
        return x if self.axis == 1 else x[None]


def record(chain: Chain, x: Tensor) -> Recorded:
    """Run a chain once; cells are run one step at a time, and their states are kept.

    Raises an error that names the stage: ValueError if it changes its input in place or loses the batch axis,
    RuntimeError if it fails.
    """
    made = Recorded(chain)
    stages = chain.stages
    kept = {p for stage in stages for p in (stage.weigh, stage.weigh + 1, stage.node)} | {len(chain.steps)}
    for position, step in enumerate(chain.steps):
        if isinstance(step, Block) and x.ndim > 2 and len(x) > 1 and x.stride(0) == 0:
            x = x.contiguous()  # a block runs all steps, so that rows inside are those of steps and samples
        if position in kept:
            made.values[position] = x
        made.shapes.append(x.shape)
        before, version = x.clone(), x._version
        y = called(step, x, lambda x, position=position, step=step: heard(made, position, step, x))
        if x._version != version or not torch.equal(x.nan_to_num(), before.nan_to_num()):
            raise ValueError(
                f"stage {step.name!r} ({type(step.module).__name__}) changes its input in place, which "
                "probes still need: use inplace=False, or let it work on a copy"
            )
        x = y
    made.values[len(chain.steps)] = x
    made.shapes.append(x.shape)
    made.axis = 0 if x.ndim == 2 else 1
    made.samples = made.output.shape[1]
    leading = made.shapes[0][: made.axis + 1]
    for step, taken, given in zip(chain.steps, made.shapes, made.shapes[1:], strict=False):
        if given[: made.axis + 1] != leading:
            raise ValueError(
                f"stage {step.name!r} ({type(step.module).__name__}) turns {tuple(taken)} into "
                f"{tuple(given)}: {tuple(leading)}, time and batch, must stay in front"
            )
    return made


def heard(made: Recorded, position: int, step: Step, x: Tensor) -> Tensor:
    """Return a step's output, and store in `made` what later runs need."""
    if isinstance(step, Block):
        y, made.calls[position] = listened(step, x)
        return y
    if not isinstance(step, Cells):
        return step(x)
    runs, carries = [], [None]
    for now in torch.split(x, 1):
        runs.append(step.respond(now, carries[-1], step.recurrent))
        carries.append(runs[-1].carry)
    made.carries[position] = carries
    made.heard[position] = join(runs)
    return made.heard[position].output


def called(step: Step, x: Tensor, call: Any) -> Tensor:
    """Return the output of a stage; errors name the stage.

    Raises RuntimeError if the stage raised any exception, TypeError if it did not return a tensor.
    """
    try:
        y = call(x)
    except Exception as error:
        raise RuntimeError(
            f"stage {step.name!r} ({type(step.module).__name__}) raised {type(error).__name__} on an "
            f"input of shape {tuple(x.shape)}: {error}"
        ) from error
    if not isinstance(y, Tensor):
        raise TypeError(
            f"stage {step.name!r} ({type(step.module).__name__}) returned {type(y).__name__}; a stage must "
            "return one tensor: wrap it in a module that does"
        )
    return y


def repeated(carry: Any, copies: int, samples: int) -> Any:
    """Return the state of neurons for copies of the batch; tensors shared by all samples are not repeated."""
    return map_tensors(lambda c: torch.cat([c] * copies) if c.ndim and len(c) == samples else c, carry)
