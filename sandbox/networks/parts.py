"""Parts of deep spiking networks: stacks, blocks of two branches, neurons alone, and modules without memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from rules.contract import Run
from rules.forward import fold
from sandbox.networks.joins import Join
from sandbox.networks.network import Part, Population

NO_CHAIN = (
    "it is a stack of parts, such as blocks with branches, and no chain of layers; use a rule that takes whole models, "
    "such as bptt or sltt"
)


class Stateless(nn.Module):
    """A module without memory, which sees each step `[B, ...]` by itself."""

    offers = frozenset({"gradient"})

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def run(self, x: Tensor, carry: Any = None, record: bool = False) -> Run:
        """Apply the module at every step; once, if the input is constant in time (`rules.forward.fold`)."""
        return Run(fold(self.module, x))


class Neurons(nn.Module):
    """Neurons that their input drives directly, without a synapse in front."""

    offers = frozenset({"gradient"})

    def __init__(self, cells: Population) -> None:
        super().__init__()
        self.cells = cells

    def run(self, x: Tensor, carry: Any = None, record: bool = False) -> Run:
        """Run the neurons on the currents `[T, B, ...]` [nA]."""
        output, end, _ = self.cells(x, carry)
        return Run(output, end)


class Whole(nn.Module):
    """Base class of parts without a carry that see all steps at once, `forward(x) -> [T, B, ...]`.

    Args:
        steps: number of steps that it is built for; None for any.
    """

    offers = frozenset({"gradient"})

    def __init__(self, steps: int | None) -> None:
        super().__init__()
        if steps is not None and steps < 1:
            raise ValueError(f"steps={steps}: give the number of steps of a sequence, at least 1")
        self.steps = steps

    def require_steps(self, x: Tensor) -> None:
        """Raise ValueError for a sequence of another length."""
        if self.steps is not None and len(x) != self.steps:
            raise ValueError(
                f"{type(self).__name__} has weights for each of {self.steps} steps, and the input has {len(x)}: build "
                f"the model with steps={len(x)}, or encode {self.steps} steps"
            )

    def run(self, x: Tensor, carry: Any = None, record: bool = False) -> Run:
        """Run a whole sequence."""
        self.require_steps(x)
        return Run(self(x))


class Joined(nn.Module):
    """A residual block: a branch and a shortcut, each run once, joined element by element.

    Args:
        branch: parts of the branch.
        shortcut: parts of the shortcut, an empty list for the identity, None for no shortcut: the branch alone.
        join: of `sandbox.networks.joins.JOINS`.
    """

    offers = frozenset({"gradient"})

    def __init__(self, branch: Sequence[nn.Module], shortcut: Sequence[nn.Module] | None, join: Join) -> None:
        super().__init__()
        self.branch = nn.ModuleList(branch)
        self.shortcut = None if shortcut is None else nn.ModuleList(shortcut)
        self.join = join

    def run(self, x: Tensor, carry: Any = None, record: bool = False) -> Run:
        """Run both branches from the carry, which is a pair."""
        first, second = (None, None) if carry is None else carry
        a = through(self.branch, x, first)
        if self.shortcut is None:
            return Run(a.output, (a.carry, ()))
        b = through(self.shortcut, x, second)
        return Run(self.join(a.output, b.output), (a.carry, b.carry))

    def extra_repr(self) -> str:
        return f"join={self.join.__name__}"


class Stack(nn.Module):
    """A model of parts, one after the other; rules that take whole models can train it.

    `stack(x)` takes `[T, B, *shape]` and returns `rules.Run(output [T, B, classes], carry)`. Pass the carry to the next
    call to continue the sequence, if no part sees the whole of it.

    Args:
        parts: first to last.
        shape: of one sample at one step.

    Raises:
        ValueError: in a call, for input of another number of axes or channels, and for another number of steps than a
            part was built for.
    """

    def __init__(self, parts: Sequence[nn.Module], shape: tuple[int, ...]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.shape = tuple(shape)

    @property
    def offers(self) -> frozenset[str]:
        """`gradient` and `features`, and `carry` if no part looks ahead."""
        return frozenset({"gradient", "features", "carry"}) - self.lacks.keys()

    @property
    def lacks(self) -> dict[str, str]:
        """What this model does not offer to rules, and why."""
        found = dict.fromkeys(("layers", "cells", "bits"), NO_CHAIN)
        for name, module in self.named_modules():
            ahead = isinstance(module, Whole) or (isinstance(module, Population) and not module.neuron.causal)
            if ahead:
                found["carry"] = (
                    f"{name} is a {type(module).__name__}, which sees the whole sequence at once; build the model "
                    "without it, or use a rule that takes whole sequences, such as bptt"
                )
        return found

    @property
    def keywords(self) -> frozenset[str]:
        """What `forward` accepts from rules: a carry only where a sequence can be continued."""
        return frozenset({"carry"}) - self.lacks.keys()

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """Tell all populations that an epoch begins."""
        for module in self.modules():
            if isinstance(module, Population):
                module.begin_epoch(epoch, epochs)

    def forward(self, x: Tensor, carry: Any = None) -> Run:
        if x.ndim < 3 or math.prod(x.shape[2:]) != math.prod(self.shape):
            raise ValueError(
                f"input has shape {tuple(x.shape)}; this model wants [T, B, {', '.join(map(str, self.shape))}], time "
                "first: encode a static batch with sandbox.tasks.encode, turn batch-first data with x.transpose(0, 1)"
            )
        return through(self.parts, x.reshape(*x.shape[:2], *self.shape), carry)


def through(parts: nn.ModuleList, x: Tensor, carry: Any = None) -> Run:
    """Run parts one after the other from a carry, which has one entry for each."""
    ends: list[Any] = []
    starts = [None] * len(parts) if carry is None else carry
    stack: Sequence[Part] = list(parts)  # type: ignore[arg-type]  # ModuleList is not generic
    for part, start in zip(stack, starts, strict=True):
        run = part.run(x, start)
        x = run.output
        ends.append(run.carry)
    return Run(x, tuple(ends))
