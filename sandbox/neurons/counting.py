"""Neurons that count: several spikes in a step, trained as an integer and exact in as many binary steps."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from rules.spikes.surrogate import current_pass, reset_signal
from sandbox.neurons.base import Neuron
from sandbox.neurons.cell import Value
from sandbox.neurons.learnable import learnable

FURTHEST = 128.0  # of a window's lower end from 0: counts that an unsigned byte holds, on either side


class CountState(NamedTuple):
    """State of a population, one value per cell in each field."""

    v: Tensor  # membrane after the spikes were subtracted, in spikes


class Counting(Neuron):
    """Base class of cells that put out the membrane, rounded and clipped to a window of whole numbers.

        u = beta v + current
        n = clip(round(u), low, low + levels),    v <- u - n

    Halves are rounded to even. The gradient passes straight through inside of the window, ends included.
    """

    levels: int
    beta: float

    units: ClassVar[dict[str, str]] = {"beta": "1", "alpha": "1", "v": "1", "current": "nA"}
    reference: ClassVar[str] = "its formula in NumPy and float64"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.levels <= 255:
            raise ValueError(f"levels={self.levels}: give the largest number of spikes in a step, from 1 to 255")
        if not 0 <= self.beta < 1:
            raise ValueError(f"beta={self.beta}: give the share of the membrane that is kept, from 0 to below 1")

    def initial_state(self, shape: Iterable[int], like: Tensor) -> CountState:
        """Return an empty membrane."""
        return CountState(like.new_zeros(tuple(shape)))

    def integrate(self, current: Tensor, state: CountState, dt: float) -> CountState:
        """Return the membrane before it fires; one step is one time constant's share `beta`, whatever `dt`."""
        return CountState(state.v * self.beta + current)

    def fire(self, state: CountState, dt: float) -> tuple[Tensor, CountState]:
        """Return the output `[...]`, whole multiples of `unit` apart from `offset`, and the state after the reset."""
        count = self.counted(state.v)
        return count * self.unit, CountState(state.v - reset_signal(count))

    def centred(self, state: CountState) -> Tensor:
        """Return the membrane minus that at which the first spike is more likely than none: half a spike."""
        return state.v - 0.5

    def counted(self, u: Tensor) -> Tensor:
        """Return the number of spikes for membranes `u`."""
        return rounded(u, 0.0, float(self.levels))

    @property
    def offset(self) -> Value:
        """Spikes in every step whatever the input; they are part of the next layer's bias in binary inference."""
        return 0.0

    @property
    def swing(self) -> Value:
        """From an empty membrane to the first spike."""
        return 0.5


def rounded(u: Tensor, low: Value, high: Value, value: Tensor | None = None) -> Tensor:
    """Return `round(u)` clipped to a window, or `value`; differentiated as `clip(u, low, high)`.

    In a pass that is to be smooth (`rules.spikes.surrogate`) it is that clip.
    """
    clipped = torch.clamp(u, torch.as_tensor(low).to(u), torch.as_tensor(high).to(u))
    context = current_pass()
    if context is not None:
        context.used = True
        if context.smooth:
            return clipped
    whole = clipped.detach().round() if value is None else value.detach()
    return whole + (clipped - clipped.detach())


@dataclass(frozen=True)
class ILIF(Counting):
    """Integer leaky integrate-and-fire: up to `levels` spikes in a step, as one integer.

        u = beta v + current,    n = clip(round(u), 0, levels),    v <- u - n

    A step with n spikes equals n binary steps for a layer that is affine in its input: `sandbox.binary_inference`.

    Args:
        levels: largest number of spikes in a step, D.
        beta: share of the membrane that is kept from step to step; 0.25, as SpikingJelly's tau of 4/3.

    Raises:
        ValueError: for a number of levels outside 1 to 255, or a share outside [0, 1).

    >>> cell = ILIF()
    >>> spikes, state = cell.step(torch.tensor([2.6, 9.0]), cell.initial_state((2,), torch.zeros(1)), dt=1.0)
    >>> spikes.tolist(), [round(v, 4) for v in state.v.tolist()]
    ([3.0, 4.0], [-0.4, 5.0])

    Reference: Luo et al. 2024 (arXiv 2407.20708, known to us through Zhou et al. 2026, arXiv 2604.12365).
    """

    levels: int = 4
    beta: float = 0.25


@dataclass(frozen=True)
class NILIF(Counting):
    """Normalised integer LIF: as `ILIF`, with outputs divided by `levels`.

        u = beta v + current,    n = clip(round(u), 0, levels),    output n / levels,    v <- u - n

    Args:
        levels: largest number of spikes in a step, D.
        beta: share of the membrane that is kept from step to step.

    >>> cell = NILIF()
    >>> spikes, _ = cell.step(torch.tensor([2.6, 9.0]), cell.initial_state((2,), torch.zeros(1)), dt=1.0)
    >>> spikes.tolist()
    [0.75, 1.0]

    Reference: as `ILIF`; normalised in Zhou et al. 2026 (arXiv 2604.12365).
    """

    levels: int = 4
    beta: float = 0.25

    @property
    def unit(self) -> float:
        """Output of a single spike."""
        return 1 / self.levels


class Adaptive(Counting):
    """Base class of counting cells whose window of counts is learned: from `alpha` to `alpha + levels`."""

    alpha: float
    alpha_scale: float | None
    window: str

    within: ClassVar[dict[str, tuple[float, float]]] = {"alpha": (-FURTHEST, FURTHEST)}
    choices: ClassVar[dict[str, Any]] = {"window": {"ceiling": None, "fractional": None}}

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.alpha, Tensor) and not abs(self.alpha) <= FURTHEST:
            raise ValueError(f"alpha={self.alpha}: give the window's lower end, from {-FURTHEST:g} to {FURTHEST:g}")
        if self.alpha_scale is not None and not self.alpha_scale >= 0:
            raise ValueError(f"alpha_scale={self.alpha_scale}: give a factor of at least 0, or None")

    def counted(self, u: Tensor) -> Tensor:
        """Return the number of spikes for membranes `u`."""
        alpha = torch.as_tensor(self.alpha, dtype=u.dtype, device=u.device).clamp(-FURTHEST, FURTHEST)
        cells = u.shape[1:].numel() if u.ndim > 1 else u.numel()
        a = 1 / math.sqrt(max(cells, 1) * self.levels) if self.alpha_scale is None else self.alpha_scale
        low = alpha.detach() + a * (alpha - alpha.detach())  # the gradient of alpha, times a
        if self.window == "ceiling":
            low = alpha.detach().ceil() + (low - low.detach())
            return rounded(u, low, low + self.levels)
        return rounded(
            u, low, low + self.levels, torch.clamp(u.detach().round(), low.detach(), low.detach() + self.levels)
        )

    @property
    def offset(self) -> Value:
        """The least number of spikes in a step, a whole one."""
        return torch.as_tensor(self.alpha).detach().clamp(-FURTHEST, FURTHEST).ceil()


@dataclass(frozen=True)
class ASN(Adaptive):
    """Adaptive spiking neuron: an integer LIF whose window of counts moves with a learned `alpha`.

        u = beta v + current,    n = clip(round(u), low, low + levels),    v <- u - n
        low = ceil(alpha), straight through, or alpha itself with window="fractional"

    The gradient is that of the clip: an element inside of the window passes it on to u, any other to alpha, times
    `alpha_scale`. At alpha = 0 the cell is `ILIF`. With the fractional window training differs from binary inference by
    up to ceil(alpha) - alpha a clipped element (`sandbox.binary_inference` uses the ceiling); it is there as an
    ablation.

    Args:
        levels: width of the window, D.
        beta: share of the membrane that is kept from step to step; not given in the paper, our choice.
        alpha: lower end of the window, from -128 to 128; learned from 0 on by default, our choice.
        alpha_scale: factor of alpha's gradient, a; None for 1 / sqrt(cells levels), our choice, as for learned step
            sizes of quantisers.
        window: "ceiling" or "fractional".

    Raises:
        ValueError: for an alpha outside its range, and as `ILIF`.

    >>> cell = ASN(alpha=-2.0)
    >>> spikes, _ = cell.step(torch.tensor([-9.0, 0.7, 9.0]), cell.initial_state((3,), torch.zeros(1)), dt=1.0)
    >>> spikes.tolist()
    [-2.0, 1.0, 2.0]

    Reference: Zhou et al. 2026 (arXiv 2604.12365), equations; the ceiling in training is our reconstruction.
    """

    levels: int = 4
    beta: float = 0.25
    alpha: float = field(default_factory=lambda: learnable(0.0))
    alpha_scale: float | None = None
    window: Literal["ceiling", "fractional"] = "ceiling"


@dataclass(frozen=True)
class NASN(Adaptive):
    """Normalised adaptive spiking neuron: as `ASN`, with outputs divided by `levels`.

    Args:
        levels: width of the window, D.
        beta: share of the membrane that is kept from step to step; not given in the paper, our choice.
        alpha: lower end of the window, from -128 to 128; learned from 0 on by default, our choice.
        alpha_scale: factor of alpha's gradient, a; None for 1 / sqrt(cells levels), our choice.
        window: "ceiling" or "fractional".

    >>> cell = NASN(alpha=1.0)
    >>> spikes, _ = cell.step(torch.tensor([-9.0, 9.0]), cell.initial_state((2,), torch.zeros(1)), dt=1.0)
    >>> spikes.tolist()
    [0.25, 1.25]

    Reference: Zhou et al. 2026 (arXiv 2604.12365); by default one integer step of up to 4 spikes, as there.
    """

    levels: int = 4
    beta: float = 0.25
    alpha: float = field(default_factory=lambda: learnable(0.0))
    alpha_scale: float | None = None
    window: Literal["ceiling", "fractional"] = "ceiling"

    @property
    def unit(self) -> float:
        """Output of a single spike."""
        return 1 / self.levels
