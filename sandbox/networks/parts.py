"""Parts of deep spiking networks: stacks, blocks of two branches, neurons alone, and modules without memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from rules.contract import Run, Trace
from rules.forward import fold
from rules.last_weight import Use, last_trace, watched
from rules.optional import recorder_of
from rules.traces import alone, entering, name_of, presynaptic
from sandbox.networks.inputs import joined, several
from sandbox.networks.joins import Join
from sandbox.networks.network import Part, admitted, renamed, through
from sandbox.networks.population import Population

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
        pre = presynaptic(entered[-1][1], x) if entered else None
        if pre is None:
            return Run(output)
        return Run(output, None, (Trace(name_of(entered[-1][0], self), pre, output, output),))


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
        """Run both branches from the carry, which is a pair.

        Traces of neurons that begin a branch come first, without names, and a weight without neurons last.
        """
        first, second = (None, None) if carry is None else carry
        a = through(self.branch, x, first, record, lengths)
        told = renamed("branch", a.traces)
        if self.shortcut is None:
            return Run(a.output, (a.carry, ()), told)
        b = through(self.shortcut, x, second, record, lengths)
        told = tuple(
            sorted(renamed("shortcut", b.traces) + told, key=lambda trace: (trace.weight != "") + alone(trace))
        )
        return Run(self.join(a.output, b.output), (a.carry, b.carry), told)

    def extra_repr(self) -> str:
        return f"join={self.join.__name__}"


class Stack(nn.Module):
    """A model of parts, one after the other, which are its layers.

    `stack(x)` takes `[T, B, *shape]` and returns `rules.Run(output [T, B, classes], carry, traces)`. Pass the carry to
    the next call to continue the sequence, if no part sees the whole of it.

    Pass `record=True` for traces: of the last weight in front of each population, and of the read-out. The neurons that
    begin a block are those of the weight before it, to whose current the shortcut adds; a weight that drives two
    populations has two traces. Neurons without a weight of their own leave none: those behind a product of attention,
    and those behind other neurons. Parts that see the whole sequence tell of those weights that they want to.

    Args:
        parts: first to last.
        shape: of one sample at one step; those of several inputs, `((64, 128), (5, 32, 32))`, for a model that takes a
            tuple of them, or one tensor with all their features (`sandbox.networks.inputs`).

    Raises:
        TypeError: for a part that cannot be run over time; in a call, for input that is not one floating tensor.
        ValueError: in a call, for input of another number of axes or channels, for another number of steps than a part
            was built for, for the carry of another model, and for lengths where no part, or not every part that mixes
            steps, leaves out what is behind them.
    """

    def __init__(self, parts: Sequence[nn.Module], shape: tuple[Any, ...]) -> None:
        super().__init__()
        for number, part in enumerate(parts):
            if recorder_of(part) is None:
                raise TypeError(
                    f"part {number} is a {type(part).__name__}, which has no run(x, carry, record): wrap a module "
                    "without memory in Stateless(...), neurons in Neurons(Population(...)), and unpack an nn.Sequential"
                )
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
            if isinstance(module, Population) and not module.neuron.causal:
                kind = f"made of {type(module.neuron).__name__}"
                remedy = "use a causal neuron, such as sliding_psn or lif"
            elif isinstance(module, Whole):
                kind, remedy = f"a {type(module).__name__}", "build the model without it"
            else:
                continue
            found["carry"] = (
                f"{name} is {kind}, which sees the whole sequence at once; {remedy}, or use a rule that takes whole "
                "sequences, such as bptt"
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
        x = joined(x, self.shape) if several(self.shape) else admitted(x, self.shape)
        if carry is not None and (not isinstance(carry, tuple) or len(carry) != len(self.parts)):
            raise ValueError(
                f"the carry is not one of this model, whose {len(self.parts)} parts have an entry each: pass on "
                "run.carry of the call before, or None"
            )
        if lengths is not None and "lengths" not in self.keywords:
            raise ValueError(
                "lengths were given, and this model has no part that leaves out steps behind the end of a sequence: "
                "leave them out where no part looks ahead, or hand over sequences of one length each"
            )
        if not record:
            return through(self.parts, x, carry, False, lengths)
        with watched(self) as uses:
            run = through(self.parts, x, carry, True, lengths)
        return run._replace(traces=self._told(run, uses))

    def _told(self, run: Run, uses: list[Use]) -> tuple[Trace, ...]:
        """Return the traces of populations, and that of the read-out, from those of the parts."""
        every = dict(self.named_parameters(remove_duplicate=False))
        first = {id(p): name for name, p in self.named_parameters()}  # of modules that are used twice
        named = [trace for trace in renamed("parts", run.traces) if trace.weight]
        named = [trace._replace(weight=first[id(every[trace.weight])]) for trace in named]
        driving = tuple(trace for trace in named if not alone(trace))
        if named and named[-1].post is run.output:
            return (*driving, named[-1]) if alone(named[-1]) else driving
        return (*driving, last_trace(self, uses, run, turned=False))
