"""A model run one step after the other, as it runs while it listens or writes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rules.contract import Run
from rules.forward import as_run
from rules.optional import lacks, takes


class Streamed(nn.Module):
    """A causal model that is shown one step of `[T, B, ...]` at a time, and continues from its own carry.

    Its output is that of the whole sequence, and its cost that of a stream: attention to the steps so far, and none to
    those that are masked.

    Args:
        model: whose `forward(x, carry)` continues.

    Raises:
        ValueError: for a model that takes no carry.

    >>> from sandbox import build
    >>> model, x = build((4,), 3, (8,)), torch.rand(5, 2, 4)
    >>> torch.allclose(Streamed(model)(x).output, model(x).output)
    True
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        if not takes(model, "carry"):
            why = lacks(model).get("carry", "its forward takes no carry")
            raise ValueError(f"{type(model).__name__} cannot be run step by step: {why}")
        self.model = model

    def forward(self, x: Tensor, carry: Any = None) -> Run:
        outputs = []
        for step in x.split(1):
            run = as_run(self.model(step, carry=carry))
            carry = run.carry
            outputs.append(run.output)
        return Run(torch.cat(outputs), carry)
