"""Delays of the inputs of a layer: fixed in whole steps, or learned."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from rules.contract import Run
from rules.synapses import Constants
from sandbox.networks.network import Part, renamed

NEAREST = 0.01  # of the longest delay: how close to an end a learned one starts, where its derivative is 25 times less


class Delays(nn.Module):
    """Learned delays, one for each input, between 0 and `longest` steps; zeros come before the first step.

        d = longest sigmoid(raw),    k = floor(d),    f = d - k
        training      y[t] = (1 - f) x[t - k] + f x[t - k - 1]
        evaluation    y[t] = x[t - round(d)]

    In training a spike at a delay between two steps is shared between them, which is differentiable by d; where d is a
    whole number the derivative is that of longer delays. In evaluation (`eval()`) delays are whole steps, as Brian2,
    NIR and hardware have them, and derivatives are those of training (straight through). The sigmoid keeps delays
    within their range.

    Args:
        shape: of the inputs that have a delay each, of one sample at one step; axes of size 1 share one, as `(C, 1, 1)`
            has a delay for each channel of an image.
        longest: longest delay in steps, at least 1.
        initial: delays to start from [steps], broadcast to `shape`; None, the default, for uniform ones. They start
            within 1 and 99 percent of the longest.
        generator: random generator of uniform ones; None for torch's global one.

    Raises:
        ValueError: for a `longest` below 1, and for initial delays outside of the range.

    >>> delays = Delays((2,), longest=4, initial=torch.tensor([1.0, 2.25]))
    >>> x = torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0])[:, None, None].expand(5, 1, 2)
    >>> [[round(v, 4) for v in row] for row in delays(x)[0][:, 0].T.tolist()]
    [[0.0, 1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.75, 0.25, 0.0]]
    >>> delays.eval()(x)[0][:, 0].T.tolist()
    [[0.0, 1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0, 0.0]]

    Reference: Hammouamri et al. 2023 (arXiv 2306.17670) for delays that are learned between steps and rounded behind
    the training, there with a Gaussian in place of the two neighbours; the sigmoid is a choice of ours.
    """

    def __init__(
        self,
        shape: Iterable[int],
        longest: int,
        initial: Tensor | float | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if longest < 1:
            raise ValueError(f"longest={longest}: give the longest delay in steps, at least 1, or leave delays out")
        self.longest = int(longest)
        shape = tuple(shape)
        share = torch.rand(shape, generator=generator)
        if initial is not None:
            start = torch.as_tensor(initial, dtype=torch.float64)
            if not bool(((start >= 0) & (start <= longest)).all()):
                raise ValueError(f"initial={initial}: give delays from 0 to longest={longest} steps")
            share = (start / longest).expand(shape).to(share.dtype)
        self.learned = Constants({"raw": nn.Parameter(torch.logit(share.clamp(NEAREST, 1 - NEAREST)))})

    @property
    def steps(self) -> Tensor:
        """The delays [steps], differentiable."""
        found: Tensor = self.longest * torch.sigmoid(self.learned["raw"])
        return found

    @property
    def whole(self) -> Tensor:
        """The delays in whole steps, as in evaluation."""
        return self.steps.detach().round().long()

    def forward(self, x: Tensor, before: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map `[T, B, *shape]` and the last `longest` inputs before it, None for zeros, to the delayed input and those.

        Raises:
            ValueError: for inputs of another shape.
        """
        shape = self.learned["raw"].shape
        if len(shape) != x.ndim - 2 or any(own not in (1, size) for own, size in zip(shape, x.shape[2:], strict=True)):
            raise ValueError(
                f"input has shape {tuple(x.shape)}, and there are delays of shape {tuple(shape)}: give [T, B, *shape]"
            )
        if self.training:
            return self.between(x, before)
        late, known = shifted(x, self.whole, self.longest, before)
        if torch.is_grad_enabled() and self.learned["raw"].requires_grad:
            shared, _ = self.between(x, before)
            late = late.detach() + (shared - shared.detach())
        return late, known

    def between(self, x: Tensor, before: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the same as a call in training."""
        exact = self.steps
        floor = exact.detach().floor().clamp(max=self.longest - 1)  # where rounding has made it `longest`
        share = (exact - floor).to(x.dtype)
        floor = floor.long()
        early, known = shifted(x, floor, self.longest, before)
        late, _ = shifted(x, floor + 1, self.longest, before)
        return (1 - share) * early + share * late, known

    def extra_repr(self) -> str:
        return f"{tuple(self.learned['raw'].shape)}, longest={self.longest}"


def shifted(x: Tensor, steps: Tensor, longest: int, before: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return `[T, B, ...]` as it was some steps ago, and its last `longest` steps, which the next call takes.

    Args:
        x: the input.
        steps: whole numbers, broadcast over one step of one sample, at most `longest`.
        longest: number of steps that are kept.
        before: the steps before the first; None for zeros.

    >>> shifted(torch.arange(1.0, 4.0)[:, None, None], torch.tensor([1]), 2)[0].flatten().tolist()
    [0.0, 1.0, 2.0]
    """
    start = x.new_zeros(longest, *x.shape[1:]) if before is None else before
    known = torch.cat([start, x])
    now = torch.arange(len(x), device=x.device).reshape(-1, *[1] * (x.ndim - 1)) + longest
    return known.gather(0, (now - steps).expand(x.shape)), known[len(x) :]


class Delayed(Part):
    """A delay of whole steps, of its own for each input; zeros come before the first step.

    Args:
        steps: `[...]`, whole numbers, at least 0.

    >>> part = Delayed(torch.tensor([0, 2]))
    >>> part(torch.arange(1.0, 4.0)[:, None, None].expand(3, 1, 2))[:, 0].tolist()
    [[1.0, 0.0], [2.0, 0.0], [3.0, 1.0]]

    Reference: NIR (doi 10.1038/s41467-024-52259-9), `Delay`.
    """

    def __init__(self, steps: Tensor) -> None:
        super().__init__()
        self.steps: Tensor
        self.register_buffer("steps", steps)
        self.longest = int(steps.max())

    def run(self, x: Tensor, carry: Any = None, record: bool = False, lengths: Tensor | None = None) -> Run:
        """Return `[T, B, ...]` as it was some steps ago; the carry is the input of the last steps."""
        return Run(*shifted(x, self.steps, self.longest, carry))

    def extra_repr(self) -> str:
        return f"longest={self.longest}"


class DelayedPart(Part):
    """A layer or a residual block whose input comes after learned delays; `sandbox.build` makes it of a d, "100d8".

    The carry is that of the part and the last inputs, so a sequence continues in pieces. Kernels run the part as they
    do without delays, on the delayed input.

    Args:
        delays: of the input.
        part: what hears it.

    >>> from sandbox import build
    >>> net = build((4,), 3, ("10d8",))
    >>> type(net.layers[0]).__name__, tuple(net.layers[0].delays.steps.shape)
    ('DelayedPart', (4,))
    """

    def __init__(self, delays: Delays, part: Part) -> None:
        super().__init__()
        self.delays = delays
        self.part = part

    @property
    def offers(self) -> frozenset[str]:
        """What the part offers, without bits: in training its weights see shares of spikes."""
        return self.part.offers - {"bits"}

    @property
    def lacks(self) -> dict[str, str]:
        """What the part lacks, bits and cells: rules that go step by step through a synapse know no delays."""
        remedy = "build it without the d in its words, or use a rule of whole models, such as bptt"
        return self.part.lacks | {
            "bits": f"in training, learned delays share a spike between two steps; {remedy}",
            "cells": f"it has learned delays, and a layer with delays is not a synapse and cells alone; {remedy}",
        }

    def run(self, x: Tensor, carry: Any = None, record: bool = False, lengths: Tensor | None = None) -> Run:
        """Run a sequence from a carry; traces have the delayed input."""
        before, inner = (None, None) if carry is None else carry
        late, before = self.delays(x, before)
        run = self.part.run(late, inner, record, lengths)
        return run._replace(carry=(before, run.carry), traces=renamed("part", run.traces))
