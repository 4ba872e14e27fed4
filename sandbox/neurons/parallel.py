"""Neurons without a reset, whose membrane is a learned filter of the inputs: all steps at once, in a matrix product."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import conv1d, pad

from rules.spikes.surrogate import Surrogate
from sandbox.neurons.cell import Cell, admit_tensor
from sandbox.neurons.filtering import filtered as filtered_by

PIECE = 256  # steps of a banded matrix
STEPS = 16  # of a sequence, by default
USUAL = ", as by default"


class Whole(NamedTuple):
    """State of cells before a sequence that they see at once: nothing."""


class Ended(NamedTuple):
    """State of cells after a sequence that they saw at once: no other continues from it."""


class Past(NamedTuple):
    """State of cells that remember their last inputs."""

    past: Tensor  # [..., order - 1] inputs [nA], the newest last; zeros before the first step


class PlacedPast(NamedTuple):
    """State of cells that remember their last inputs, and whose filter depends on the step."""

    past: Tensor  # [..., order - 1] inputs [nA], the newest last; zeros before the first step
    at: Tensor  # number of the next step, int64


class Parallel(Cell):
    """Base class: `v = weight * currents`, a filter, and a spike where `v >= v_threshold`; without a reset."""

    weight: Any
    v_threshold: Any
    surrogate: Surrogate
    seed: int

    units: ClassVar[dict[str, str]] = {"weight": "Mohm", "v_threshold": "mV", "v": "mV", "current": "nA"}
    shared: ClassVar[frozenset[str]] = frozenset({"weight", "v_threshold"})
    reference: ClassVar[str] = "its formula in NumPy and float64"

    def reach(self, steps: int) -> int:
        """Return how many steps a cell weighs for one output: all that its filter sees."""
        return min(getattr(self, "order", steps), steps) if self.causal else steps

    @abstractmethod
    def filtered(self, currents: Tensor, state: Any, weight: Tensor, v_threshold: Tensor) -> tuple[Tensor, Any]:
        """Return membrane minus threshold `[T, ...]` [mV], and the state after the last step."""

    def thresholds(self, state: Any, v_threshold: Tensor, steps: int) -> Tensor:
        """Return the thresholds of the steps from a state on; a single one as it is."""
        return v_threshold

    def respond(
        self, currents: Tensor, state: Any, dt: float, record: tuple[str, ...] = (), centred: bool = False
    ) -> tuple[tuple[Tensor, ...], Any]:
        """Run a sequence; see `Cell.respond`. The filter is in steps: `dt` plays no part."""
        if isinstance(state, Ended):
            raise ValueError(
                f"{type(self).__name__} sees the whole sequence at once, so that none continues from its carry: pass "
                "all steps in one call, or use SlidingPSN"
            )
        weight, v_threshold = (value.to(currents) for value in self._tensors())
        u, after = self.filtered(currents, state, weight, v_threshold)
        shown = [u + column(self.thresholds(state, v_threshold, len(u)), u) for _ in record]
        return (self.surrogate.spike(u), *shown, *([u] if centred else [])), after

    def recordable(self, state: Any) -> list[str]:
        """Return the membrane, although no state holds it."""
        return ["v"]

    def _tensors(self) -> tuple[Tensor, Tensor]:
        """Return weight and threshold; those of the seed where none are given."""
        given = {"weight": self.weight, "v_threshold": self.v_threshold}
        if None in (given["weight"], given["v_threshold"]):
            drawn = self.drawn(torch.Generator().manual_seed(self.seed), None)
            given = {name: drawn[name] if value is None else value for name, value in given.items()}
        return torch.as_tensor(given["weight"]), torch.as_tensor(given["v_threshold"])


def column(values: Tensor, like: Tensor) -> Tensor:
    """Return values `[T]` in a shape that broadcasts against `[T, ...]`; a single one as it is."""
    return values.reshape(-1, *[1] * (like.ndim - 1)) if values.ndim else values


def uniform(shape: Iterable[int], fan_in: int, generator: torch.Generator | None) -> Tensor:
    """Return weights uniform in +-1 / sqrt(fan_in), as `torch.nn.Linear` draws them."""
    drawn: Tensor = (torch.rand(tuple(shape), generator=generator) * 2 - 1) / math.sqrt(fan_in)
    return drawn


@dataclass(frozen=True)
class PSN(Parallel):
    """Parallel spiking neuron: every step sees every input of the sequence, later ones included.

        v = weight currents,    spike where v[t] >= v_threshold[t]

    `weight` `[T, T]` and `v_threshold` `[T]` are learned, and shared by the cells of a layer. All steps are one matrix
    product, and so is the gradient, `weight' (error g(v - v_threshold))`. Nothing is reset or kept, so that a
    sequence must have exactly `steps` steps, and none continues from another.

    Args:
        steps: length T of every sequence, 16 by default.
        weight: of the filter [MOhm]; None for the initial one, uniform in +-1 / sqrt(T).
        v_threshold: of each step [mV]; None for the initial one, 1.
        surrogate: surrogate gradient of the spike.
        seed: of the initial weight where the cell is not part of a layer.

    Raises:
        ValueError: for a sequence of another length, and for one that continues.

    >>> from sandbox import scan
    >>> spikes, _ = scan(PSN(steps=3, weight=torch.eye(3)), torch.tensor([[0.5], [1.5], [1.0]]))
    >>> spikes.flatten().tolist()
    [0.0, 1.0, 1.0]

    Reference: Fang et al. 2023 (arXiv 2304.12760), initial values from the authors' code, where the bias is minus the
    threshold.
    """

    steps: int = STEPS
    weight: Any = None
    v_threshold: Any = None
    surrogate: Surrogate = field(default_factory=lambda: Surrogate("atan"))
    seed: int = 0

    causal: ClassVar[bool] = False  # type: ignore[misc]

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least_one(self, "steps")
        admit_tensor(self, "weight", self.steps, self.steps)
        admit_tensor(self, "v_threshold", self.steps)

    def drawn(self, generator: torch.Generator | None, channels: int | None) -> dict[str, Tensor]:
        """Return the initial weight and threshold."""
        return {
            "weight": uniform((self.steps, self.steps), self.steps, generator),
            "v_threshold": torch.ones(self.steps),
        }

    def initial_state(self, shape: Iterable[int], like: Tensor) -> Whole:
        """Return an empty state."""
        return Whole()

    def filtered(self, currents: Tensor, state: Any, weight: Tensor, v_threshold: Tensor) -> tuple[Tensor, Any]:
        """Return membrane minus threshold, one product over all steps."""
        require_length(self, currents)
        return filtered_by(weight, currents, v_threshold), Ended()


@dataclass(frozen=True)
class MaskedPSN(Parallel):
    """Masked parallel spiking neuron: a step sees the last `order` inputs, with a filter of its own for each step.

        v = (weight * M) currents,    M[i, j] = masked [j <= i < j + order] + 1 - masked
        spike where v[t] >= v_threshold[t]

    At `masked` = 1 the cell is causal and runs step by step too, at most `steps` of them. Below 1 it still sees the
    whole sequence. `annealed` cells begin at 0 and are masked more and more by the training loop
    (`rules.Trainer.fit`, told of all epochs at once); until `annealed` is false again they count as not causal. The
    state of a network whose mask has closed can be loaded into one of causal cells.

    Args:
        steps: length T of every sequence; at `masked` = 1 the greatest length.
        order: number of inputs that a step sees, k.
        masked: strength of the mask, from 0 to 1.
        annealed: whether a training loop changes `masked`.
        weight: `[T, T]` of the filter [MOhm]; None for the initial one, uniform in +-1 / sqrt(T).
        v_threshold: `[T]` [mV]; None for the initial one, 1.
        surrogate: surrogate gradient of the spike.
        seed: of the initial weight where the cell is not part of a layer.

    Raises:
        ValueError: for an order above `steps`; for more steps than `steps`; below `masked` = 1, for any other number
            and for a sequence that continues.

    >>> MaskedPSN(steps=4, order=2).causal, MaskedPSN(steps=4, order=2, masked=0.5).causal
    (True, False)

    Reference: Fang et al. 2023 (arXiv 2304.12760); schedule and initial values from the authors' code.
    """

    steps: int = STEPS
    order: int = 4
    masked: float = 1.0
    annealed: bool = False
    weight: Any = None
    v_threshold: Any = None
    surrogate: Surrogate = field(default_factory=lambda: Surrogate("atan"))
    seed: int = 0

    changing: ClassVar[tuple[str, ...]] = ("masked",)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least_one(self, "steps", "order")
        if self.order > self.steps:
            raise ValueError(
                f"order={self.order} of {self.steps} steps: a step sees no more inputs than the sequence has; give at "
                f"most order={self.steps}, or more steps"
            )
        if not 0 <= self.masked <= 1:
            raise ValueError(f"masked={self.masked}: give the strength of the mask, from 0 (none) to 1")
        admit_tensor(self, "weight", self.steps, self.steps)
        admit_tensor(self, "v_threshold", self.steps)

    @property
    def causal(self) -> bool:  # type: ignore[override]
        """Whether the mask is complete, and stays so."""
        return self.masked == 1 and not self.annealed

    def at_epoch(self, epoch: int, epochs: int) -> MaskedPSN:
        """Return the cell of an epoch, from 0: `masked = min(1, 8 epoch / (epochs - 1))` if it is annealed.

        Raises:
            ValueError: for a single epoch, in which an annealed mask would never close.
        """
        if not self.annealed:
            return self
        if epochs < 2:
            raise ValueError(
                "an annealed mask closes over several epochs, and training has 1: call fit once with all epochs, as in "
                "fit(loader, epochs=20), or take annealed=False"
            )
        return replace(self, masked=min(1.0, 8 * epoch / (epochs - 1)))

    def progress(self) -> dict[str, float]:
        """Return how far an annealed mask has closed."""
        return {"masked": self.masked} if self.annealed else {}

    def drawn(self, generator: torch.Generator | None, channels: int | None) -> dict[str, Tensor]:
        """Return the initial weight and threshold."""
        return PSN(self.steps).drawn(generator, channels)

    def initial_state(self, shape: Iterable[int], like: Tensor) -> Any:
        """Return a past without input, at step 0; an empty state for a cell that is not causal."""
        if not self.causal:
            return Whole()
        return PlacedPast(like.new_zeros((*shape, self.order - 1)), torch.zeros((), dtype=torch.int64))

    def filtered(self, currents: Tensor, state: Any, weight: Tensor, v_threshold: Tensor) -> tuple[Tensor, Any]:
        """Return membrane minus threshold, one product over the steps at hand."""
        ones = torch.ones_like(weight)
        mask = ones.tril() * ones.triu(1 - self.order)
        if not self.causal:
            require_length(self, currents)
            return filtered_by(weight * (self.masked * mask + (1 - self.masked)), currents, v_threshold), Ended()
        begin, steps = int(state.at), len(currents)
        if begin + steps > self.steps:
            raise ValueError(
                f"step {begin + steps} of a {type(self).__name__} with steps={self.steps}: its filter has no more; "
                "build it for longer sequences, or use SlidingPSN"
            )
        seen = after_past(state.past, currents)
        rows = pad(weight * mask, (self.order - 1, 0))[begin : begin + steps, begin : begin + len(seen)]
        after = PlacedPast(seen[steps:].movedim(0, -1), state.at + steps)
        return filtered_by(rows, seen, self.thresholds(state, v_threshold, steps)), after

    def thresholds(self, state: Any, v_threshold: Tensor, steps: int) -> Tensor:
        """Return the thresholds of the steps from a state on."""
        begin = int(state.at) if isinstance(state, PlacedPast) else 0
        return v_threshold[begin : begin + steps]


@dataclass(frozen=True)
class SlidingPSN(Parallel):
    """Sliding parallel spiking neuron: every step sees the last `order` inputs through the same filter.

        v[t] = sum_i weight[i] currents[t - order + 1 + i],    spike where v[t] >= v_threshold

    Inputs before the first step are zero. The cell is causal, runs sequences of any length, all steps at once or one by
    one, and has `order` + 1 parameters.

    Args:
        order: number of inputs that a step sees, k.
        by: "gemm", the banded matrix of all steps, or "conv", a causal convolution; both compute the same.
        weight: `[order]` [MOhm], the newest input last; None for the initial one, ..., 1/4, 1/2, 1.
        v_threshold: threshold [mV]; None for the initial one, 1.
        surrogate: surrogate gradient of the spike.
        seed: without effect, since the initial values are not random.

    >>> from sandbox import scan
    >>> spikes, _ = scan(SlidingPSN(order=2), torch.tensor([[0.5], [0.7], [0.7]]))  # 0.5, 0.95, 1.05
    >>> spikes.flatten().tolist()
    [0.0, 0.0, 1.0]

    Reference: Fang et al. 2023 (arXiv 2304.12760); initial values from the authors' code.
    """

    order: int = 4
    by: Literal["gemm", "conv"] = "gemm"
    weight: Any = None
    v_threshold: Any = None
    surrogate: Surrogate = field(default_factory=lambda: Surrogate("atan"))
    seed: int = 0

    choices: ClassVar[dict[str, Any]] = {"by": {"gemm": None, "conv": None}}

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least_one(self, "order")
        admit_tensor(self, "weight", self.order)
        admit_tensor(self, "v_threshold")

    def drawn(self, generator: torch.Generator | None, channels: int | None) -> dict[str, Tensor]:
        """Return the initial weight and threshold, which are not random."""
        return {"weight": 0.5 ** torch.arange(self.order - 1, -1, -1.0), "v_threshold": torch.ones(())}

    def initial_state(self, shape: Iterable[int], like: Tensor) -> Past:
        """Return a past without input."""
        return Past(like.new_zeros((*shape, self.order - 1)))

    def filtered(self, currents: Tensor, state: Any, weight: Tensor, v_threshold: Tensor) -> tuple[Tensor, Any]:
        """Return membrane minus threshold, by a banded matrix or a convolution."""
        steps = len(currents)
        seen = after_past(state.past, currents)
        if self.by == "gemm":
            parts = []
            for begin in range(0, steps, PIECE):  # so that the work grows with the steps, and not with their square
                length = min(PIECE, steps - begin)
                given = seen[begin : begin + length + self.order - 1]
                parts.append(filtered_by(banded(weight, length), given, v_threshold.expand(length)))
            u = parts[0] if len(parts) == 1 else torch.cat(parts)
        else:
            rows = conv1d(seen.flatten(1).t()[:, None], weight[None, None])[:, 0]
            u = rows.t().reshape(currents.shape) - v_threshold
        return u, Past(seen[steps:].movedim(0, -1))


def after_past(past: Tensor, currents: Tensor) -> Tensor:
    """Return the inputs `[order - 1 + T, ...]`, those before the sequence first."""
    return torch.cat([past.movedim(-1, 0), currents])


def banded(weight: Tensor, steps: int) -> Tensor:
    """Return the matrix `[steps, steps + order - 1]` that filters a sequence with its past before it.

    >>> banded(torch.tensor([1.0, 2.0]), 2)
    tensor([[1., 2., 0.],
            [0., 1., 2.]])
    """
    order = len(weight)
    tap = torch.arange(steps + order - 1, device=weight.device) - torch.arange(steps, device=weight.device)[:, None]
    inside = (tap >= 0) & (tap < order)
    return weight[tap.clamp(0, order - 1)] * inside


def require_length(cell: Any, currents: Tensor) -> None:
    """Raise ValueError for a sequence of another length than the cell was built for."""
    if len(currents) != cell.steps:
        raise ValueError(
            f"{type(cell).__name__}(steps={cell.steps}) got {len(currents)} steps: it sees a whole sequence, so that "
            f"all must have {cell.steps}{USUAL * (cell.steps == STEPS)}; build it with steps={len(currents)}, or use "
            "SlidingPSN"
        )


def require_at_least_one(cell: Any, *names: str) -> None:
    """Raise ValueError for a number of steps or inputs below 1."""
    for name in names:
        if getattr(cell, name) < 1:
            raise ValueError(f"{name}={getattr(cell, name)}: give a whole number, at least 1")
