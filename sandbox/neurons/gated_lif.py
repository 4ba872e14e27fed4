"""The gated LIF: learned gates between two forms of leak, of integration and of reset."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from rules.spikes.surrogate import Surrogate, reset_signal
from sandbox.neurons.base import Neuron
from sandbox.neurons.cell import admit_tensor

ROWS = ("alpha", "beta", "gamma", "tau", "v_threshold", "linear_decay", "v_subreset")  # of GLIF.logits, then conduct


class GLIFState(NamedTuple):
    """State of a population; v and spike have one value per cell."""

    v: Tensor  # membrane
    spike: Tensor  # output of the step before, which resets in this one
    at: Tensor  # number of the next step, int64


@dataclass(frozen=True)
class GLIF(Neuron):
    """Gated LIF: all constants lie between 0 and 1, as logistic functions of learned numbers, one set for each channel.

        keep = 1 - alpha (1 - tau)
        v <- keep v - (1 - alpha) linear_decay + (1 - beta (1 - conduct[t])) current
             - keep v gamma s - (1 - gamma) v_subreset s,    s the spike of the step before
        spike where v >= v_threshold

    The gates mix exponential with linear decay (alpha), input that varies with the step with constant input (beta), and
    a hard with a soft reset (gamma). `conduct` has an entry for each step, so that sequences have at most `steps`.

    Args:
        steps: greatest length T of a sequence.
        channels: number of channels, of the first axis behind the batch; None for one set of constants for the layer.
        logits: `[7 + T, channels]`: the rows alpha, beta, gamma, tau, v_threshold, linear_decay, v_subreset, and
            conduct of each step, before the logistic function; None for the initial ones: gates near 1/2 at random, tau
            1/4, threshold, reset and conduct 1/2, linear decay 1 / (4 T).
        surrogate: surrogate gradient of the spike.
        seed: of the initial gates where the cell is not part of a layer.

    Raises:
        ValueError: for more than `steps` steps, and for logits of another shape.

    >>> cell = GLIF(steps=2)
    >>> spikes, _ = cell.step(torch.tensor([0.1, 2.0]), cell.initial_state((2,), torch.zeros(1)), dt=1.0)
    >>> spikes.tolist()
    [0.0, 1.0]

    Reference: Yao et al. 2022 (arXiv 2210.13768, recalled); the step and the initial values are those of SpikingJelly's
    GatedLIFNode.
    """

    steps: int = 16
    channels: int | None = None
    logits: Any = None
    surrogate: Surrogate = field(default_factory=lambda: Surrogate("atan"))
    seed: int = 0

    units: ClassVar[dict[str, str]] = {"v": "mV", "spike": "1", "current": "nA"}
    shared: ClassVar[frozenset[str]] = frozenset({"logits"})
    reference: ClassVar[str] = "its formula in NumPy and float64"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("steps", "channels"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: give a whole number, at least 1")
        admit_tensor(self, "logits", len(ROWS) + self.steps, self.channels or 1)

    def drawn(self, generator: torch.Generator | None, channels: int | None) -> dict[str, Tensor]:
        """Return the initial logits."""
        count = self.channels or 1
        gates = 0.2 * (torch.rand(3, count, generator=generator) - 0.5)
        fixed = torch.tensor([0.25, 0.5, 0.5 / (2 * self.steps), 0.5, *[0.5] * self.steps])
        return {"logits": torch.cat([gates, torch.logit(fixed)[:, None].expand(-1, count)])}

    def initial_state(self, shape: Iterable[int], like: Tensor) -> GLIFState:
        """Return an empty membrane, at step 0."""
        empty = like.new_zeros(tuple(shape))
        return GLIFState(empty, empty, torch.zeros((), dtype=torch.int64, device=like.device))

    def integrate(self, current: Tensor, state: GLIFState, dt: float) -> GLIFState:
        """Return the membrane before it fires; a spike of the step before is subtracted here."""
        at = int(state.at)
        if at >= self.steps:
            raise ValueError(f"step {at + 1} of a GLIF with steps={self.steps}: build it for longer sequences")
        alpha, beta, gamma, tau, _, linear_decay, v_subreset = self._constants(current)
        conduct = self._row(len(ROWS) + at, current)
        keep, s = 1 - alpha * (1 - tau), reset_signal(state.spike)
        charged = keep * state.v - (1 - alpha) * linear_decay + current * (1 - beta * (1 - conduct))
        v = charged - keep * state.v * gamma * s - (1 - gamma) * v_subreset * s
        return GLIFState(v, state.spike, state.at + 1)

    def fire(self, state: GLIFState, dt: float) -> tuple[Tensor, GLIFState]:
        """Return spikes, 0 or 1; they reset the membrane in the next step."""
        spikes = self.surrogate.spike(self.centred(state))
        return spikes, state._replace(spike=spikes)

    def centred(self, state: GLIFState) -> Tensor:
        """Return membrane minus threshold."""
        return state.v - self._row(ROWS.index("v_threshold"), state.v)

    def recordable(self, state: GLIFState) -> list[str]:
        """Return the membrane and the spike."""
        return ["v", "spike"]

    @property
    def rheobase(self) -> float:
        """A typical one: of the initial constants, keep = 5/8, so that 3/4 current / (3/8) reaches 1/2 at 1/4."""
        return 0.25

    def _constants(self, like: Tensor) -> list[Tensor]:
        return [self._row(number, like) for number in range(len(ROWS))]

    def _row(self, number: int, like: Tensor) -> Tensor:
        """Return a row of constants, in a shape that broadcasts against cells `[B, channels, ...]`."""
        logits = self.logits
        if logits is None:
            logits = self.drawn(torch.Generator().manual_seed(self.seed), None)["logits"]
        row = torch.sigmoid(logits[number].to(like))
        return row.reshape(-1, *[1] * (like.ndim - 1 - min(1, like.ndim - 1)))
