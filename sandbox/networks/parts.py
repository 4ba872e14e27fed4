"""Parts of deep spiking networks: stacks, blocks of two branches, neurons alone, and modules without memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

from torch import Tensor, nn

from rules.contract import Run, Trace
from rules.forward import fold
from rules.synapses import is_synapse
from sandbox.networks.joins import Join
from sandbox.networks.network import Part, Population, renamed, through

NO_LAYERS = (
    "it is a stack of parts, such as blocks with branches, which are not all layers of a synapse and cells; use a rule "
    "that takes whole models, such as bptt or sltt"
)


class Stateless(Part):
    """A module without memory, which sees each step `[B, ...]` by itself."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    @property
    def folded(self) -> nn.Module:
        """The module that is applied at every step."""
        return self.module

    def run(self, x: Tensor, carry: Any = None, record: bool = False, lengths: Tensor | None = None) -> Run:
        """Apply the module at every step; once, if the input is constant in time (`rules.forward.fold`)."""
        if not record:
            return Run(fold(self.module, x))
        with entering(self.module) as entered:
            output = fold(self.module, x)
        return Run(output, None, traces(self, entered, output))


class Neurons(Part):
    """Neurons that their input drives directly, without a synapse in front."""

    def __init__(self, cells: Population) -> None:
        super().__init__()
        self.cells = cells

    def run(self, x: Tensor, carry: Any = None, record: bool = False, lengths: Tensor | None = None) -> Run:
        """Run the neurons on the currents `[T, B, ...]` [nA]; their trace has no name."""
        output, end, u = self.cells(x, carry, record)
        return Run(output, end, () if u is None else (Trace("", x, u, output),))


class Whole(Part):
    """Base class of parts without a carry that see all steps at once, `forward(x) -> [T, B, ...]`.

    By default their weights leave no traces.

    Args:
        steps: number of steps that it is built for; None for any.

    Attributes:
        masks: whether steps behind the end of a sequence change nothing before it, where `lengths` are given.
    """

    masks: ClassVar[bool] = False

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

    def run(self, x: Tensor, carry: Any = None, record: bool = False, lengths: Tensor | None = None) -> Run:
        """Run a whole sequence."""
        self.require_steps(x)
        return Run(self(x))


class Joined(Part):
    """A residual block: a branch and a shortcut, each run once, joined element by element.

    Args:
        branch: parts of the branch.
        shortcut: parts of the shortcut, an empty list for the identity, None for no shortcut: the branch alone.
        join: of `sandbox.networks.joins.JOINS`.
    """

    def __init__(self, branch: Sequence[nn.Module], shortcut: Sequence[nn.Module] | None, join: Join) -> None:
        super().__init__()
        self.branch = nn.ModuleList(branch)
        self.shortcut = None if shortcut is None else nn.ModuleList(shortcut)
        self.join = join

    def run(self, x: Tensor, carry: Any = None, record: bool = False, lengths: Tensor | None = None) -> Run:
        """Run both branches from the carry, which is a pair; the last trace is that of the branch.

        Neurons that begin a branch record traces without names, which are first.
        """
        first, second = (None, None) if carry is None else carry
        a = through(self.branch, x, first, record, lengths)
        told = renamed("branch", a.traces)
        if self.shortcut is None:
            return Run(a.output, (a.carry, ()), told)
        b = through(self.shortcut, x, second, record, lengths)
        told = tuple(sorted(renamed("shortcut", b.traces) + told, key=lambda trace: trace.weight != ""))
        return Run(self.join(a.output, b.output), (a.carry, b.carry), told)

    def extra_repr(self) -> str:
        return f"join={self.join.__name__}"


class Stack(nn.Module):
    """A model of parts, one after the other, which are its layers.

    `stack(x)` takes `[T, B, *shape]` and returns `rules.Run(output [T, B, classes], carry, traces)`. Pass the carry to
    the next call to continue the sequence, if no part sees the whole of it.

    Pass `record=True` for traces: of the last weight in front of each population, and of the read-out. The neurons that
    begin a block are those of the weight before it, to whose current the shortcut adds. Neurons without a weight of
    their own, behind a product of attention, and those inside a part that sees the whole sequence leave no trace.

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
        """`gradient`, `features` and `layers`, and `carry` if no part looks ahead."""
        return frozenset({"gradient", "features", "layers", "carry"}) - self.lacks.keys()

    @property
    def layers(self) -> list[nn.Module]:
        """The parts, first to last."""
        return list(self.parts)

    @property
    def lacks(self) -> dict[str, str]:
        """What this model does not offer to rules, and why."""
        found = dict.fromkeys(("cells", "bits"), NO_LAYERS)
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
        """What `forward` accepts from rules: a carry where a sequence can be continued, lengths where parts mask."""
        mixing = [part for part in self.modules() if isinstance(part, Whole)]
        ahead = any(isinstance(part, Population) and not part.neuron.causal for part in self.modules())
        masked = {"lengths"} if mixing and not ahead and all(part.masks for part in mixing) else set()
        return frozenset({"record"} | masked | ({"carry"} - self.lacks.keys()))

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """Tell all populations that an epoch begins."""
        for module in self.modules():
            if isinstance(module, Population):
                module.begin_epoch(epoch, epochs)

    def forward(self, x: Tensor, carry: Any = None, record: bool = False, lengths: Tensor | None = None) -> Run:
        if x.ndim < 3 or math.prod(x.shape[2:]) != math.prod(self.shape):
            raise ValueError(
                f"input has shape {tuple(x.shape)}; this model wants [T, B, {', '.join(map(str, self.shape))}], time "
                "first: encode a static batch with sandbox.tasks.encode, turn batch-first data with x.transpose(0, 1)"
            )
        run = through(self.parts, x.reshape(*x.shape[:2], *self.shape), carry, record, lengths)
        named = [trace for trace in renamed("parts", run.traces) if trace.weight]
        kept = [trace for trace in named[:-1] if trace.u is not trace.post]
        return run._replace(traces=(*kept, *named[-1:]))


@contextmanager
def entering(module: nn.Module) -> Iterator[list[tuple[str, Tensor]]]:
    """Collect the names of synapses inside a module, `""` for itself, with what enters them, in this context."""
    entered: list[tuple[str, Tensor]] = []

    def hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda synapse, inputs: entered.append((name, inputs[0]))

    handles = [part.register_forward_pre_hook(hook(name)) for name, part in module.named_modules() if is_synapse(part)]
    try:
        yield entered
    finally:
        for handle in handles:
            handle.remove()


def traces(part: Stateless, entered: list[tuple[str, Tensor]], output: Tensor) -> tuple[Trace, ...]:
    """Return the trace of the last weight of a part, without neurons; none if it has no weight."""
    if not entered:
        return ()
    name, folded = entered[-1]
    pre = folded.reshape(-1, output.shape[1], *folded.shape[1:])  # one step, if the input is constant in time
    weight = ".".join(filter(None, ("module", name, "weight")))
    return (Trace(weight, pre.expand(len(output), *pre.shape[1:]), output, output),)
