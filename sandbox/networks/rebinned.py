"""The same events in fewer time steps: a model that sees the sums of consecutive steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rules.contract import Run
from rules.forward import as_run
from rules.optional import keywords_of, lacks, offers, takes
from rules.steps import counted

WORDS = ("carry", "record", "lengths")


def rebin(x: Tensor, factor: int) -> Tensor:
    """Return the sums over `factor` consecutive steps, `[T, ...] -> [T / factor, ...]`: no event is lost.

    Raises:
        ValueError: for a factor below 1, a number of steps that it does not divide, and for whole numbers, which are
            tokens.

    >>> import torch
    >>> rebin(torch.tensor([1.0, 0.0, 1.0, 1.0]), 2).tolist()
    [1.0, 2.0]
    """
    if not x.is_floating_point():
        raise ValueError(f"x is {x.dtype}: whole numbers are tokens, and no sum of tokens is one; give x.float()")
    if factor < 1 or len(x) % factor:
        raise ValueError(f"{len(x)} steps cannot be summed by {factor}: give a whole number that divides them")
    summed: Tensor = x.unflatten(0, (-1, factor)).sum(1)
    return summed


class Rebinned(nn.Module):
    """A model that sees its input in fewer steps, the sums over `factor` of them (`rebin`).

    Networks of several numbers of steps then learn from the same batches, and one can teach another (objective `kdcl`).
    Weights are those of the model, `rebinned.model`, whatever the factor. With a factor of 1 it is the model. Steps
    behind the end of a sequence count as zeros, and the model hears of its length in bins, whole or not.

    Args:
        model: takes `[T / factor, B, ...]`.
        factor: steps that are summed.

    Raises:
        ValueError: for a factor below 1; in a call, for a number of steps that it does not divide, and for lengths
            where the model sees the whole sequence and takes none.

    >>> import torch
    >>> from sandbox import make_model
    >>> model = Rebinned(make_model("spikescr", shape=(5,), classes=3), factor=4)
    >>> model((torch.rand(20, 2, 5) < 0.1).float()).output.shape
    torch.Size([5, 2, 3])
    """

    def __init__(self, model: nn.Module, factor: int) -> None:
        super().__init__()
        if factor < 1:
            raise ValueError(f"factor={factor}: give the number of steps that are summed, at least 1")
        self.model = model
        self.factor = factor

    @property
    def offers(self) -> frozenset[str]:
        """What the model offers, but for its layers, which see other steps than the batch has."""
        return offers(self.model) - {"layers", "cells", "bits"}

    @property
    def lacks(self) -> Mapping[str, str]:
        """What the model lacks, and why."""
        why = "its layers see sums of steps; re-bin the data, and train the model itself"
        return {**dict.fromkeys(("layers", "cells", "bits"), why), **lacks(self.model)}

    @property
    def keywords(self) -> frozenset[str]:
        """What `forward` accepts from rules, as the model does; lengths also for a model that is causal."""
        known = keywords_of(self.model)
        passed = {word for word in WORDS if takes(self.model, word)} if known is None else known
        return frozenset(passed) | (set() if "carry" in lacks(self.model) else {"lengths"})

    def forward(self, x: Tensor, carry: Any = None, record: bool = False, lengths: Tensor | None = None) -> Run:
        given: dict[str, Any] = {"carry": carry} if takes(self.model, "carry") else {}
        given |= {"record": True} if record and takes(self.model, "record") else {}
        if lengths is not None:
            self.require_lengths()
            x = torch.where(counted(x, lengths).view(*x.shape[:2], *[1] * (x.ndim - 2)), x, 0.0)
            given |= {"lengths": -(-lengths // self.factor)} if takes(self.model, "lengths") else {}
        run = as_run(self.model(rebin(x, self.factor), **given))
        return run._replace(traces=tuple(each._replace(weight=f"model.{each.weight}") for each in run.traces))

    def require_lengths(self) -> None:
        """Raise ValueError for a model that would see what stands behind the end of a sequence."""
        if "lengths" not in self.keywords:
            raise ValueError(
                f"the sequences have different lengths, and {type(self.model).__name__} sees all bins of a sequence at "
                "once and takes no lengths: use a model that does, such as spikescr, or sequences of one length"
            )

    def extra_repr(self) -> str:
        return f"factor={self.factor}"
