"""A weight as the difference of two cells."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rules.fields import check_fields
from rules.plasticity.memristor.cell import Cell
from rules.plasticity.memristor.device import Device, State


@dataclass(frozen=True)
class DifferentialPair(Device):
    r"""Two cells per weight, :math:`W = \alpha (G_+ - G_-)`.

    Push-pull: a pulse drives both cells, in opposite directions, so that half as many pulses change a weight as much,
    and common drift cancels. Otherwise each cell is only driven up, :math:`G_+` by positive and :math:`G_-` by negative
    pulses: for cells that can be set step by step but only reset at once. Every `refresh` steps the pairs with a cell
    above the fraction `above` of its range are reset, and their difference is written back to one of the cells, with
    verification, at a cost of one pulse per cell [assumption].

    Args:
        cell: any single cell.
        push_pull: drive both cells at every pulse, True by default.
        gain: the factor :math:`\alpha`, 1 by default.
        refresh: steps between refreshes of a one-sided pair.
        above: fraction of the range at which a cell of a one-sided pair is refreshed.

    Raises:
        ValueError: for a one-sided pair that is never refreshed.

    Source: the one-sided pair and its refresh follow aihwkit's `OneSidedUnitCell`; there the difference is written back
    by unverified pulses, and only if the lower cell has risen too.

    >>> from rules.plasticity.memristor.laws import ConstantStep
    >>> pair, rng = DifferentialPair(ConstantStep(dw_min=0.125)), torch.Generator().manual_seed(0)
    >>> state = pair.init(torch.zeros(2), rng)
    >>> pair.pulse(state, torch.tensor([1.0, -2.0]), rng)
    6
    >>> pair.read(state)
    tensor([ 0.2500, -0.5000])
    """

    cell: Cell
    push_pull: bool = True
    gain: float = 1.0
    refresh: int = 0
    above: float = 0.75

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.gain > 0:
            raise ValueError(f"gain={self.gain}: the difference of two cells is read with a positive gain")
        if not self.push_pull and self.refresh < 1:
            raise ValueError(
                f"refresh={self.refresh}: cells that are only driven up end at their bound; give the number of steps "
                "between refreshes, at least 1"
            )
        if not 0 < self.above <= 1:
            raise ValueError(f"above={self.above}: a fraction of the range lies between 0 and 1")

    @property
    def step(self) -> float:
        return self.gain * self.cell.step * (2 if self.push_pull else 1)

    def with_step(self, step: float) -> DifferentialPair:
        return replace(self, cell=self.cell.with_step(self.cell.step * step / self.step))

    @property
    def range(self) -> tuple[float, float]:
        low, high = self.cell.range
        return -self.gain * (high - low), self.gain * (high - low)

    @property
    def read_noise(self) -> float:  # type: ignore[override]
        return self.cell.read_noise

    @property
    def cell_noise(self) -> float:  # type: ignore[override]
        return self.cell.cell_noise

    def init(self, weights: Tensor, rng: torch.Generator) -> State:
        low = torch.full_like(weights, self.cell.w_min)
        state: State = {"plus": self.cell.init(low, rng), "minus": self.cell.init(low, rng), "ticks": 0}
        self.write(state, weights, rng, torch.ones_like(weights, dtype=torch.bool))
        return state

    def write(self, state: State, weights: Tensor, rng: torch.Generator, where: Tensor) -> None:
        plus, minus = self._targets(state, weights)
        self.cell.write(state["plus"], plus, rng, where)
        self.cell.write(state["minus"], minus, rng, where)

    def read(self, state: State) -> Tensor:
        return self.gain * (self.cell.read(state["plus"]) - self.cell.read(state["minus"]))

    def held(self, state: State) -> Tensor:
        return self.gain * (self.cell.held(state["plus"]) - self.cell.held(state["minus"]))

    def bounds(self, state: State) -> tuple[Tensor, Tensor]:
        (low_plus, high_plus), (low_minus, high_minus) = (self.cell.bounds(state[side]) for side in ("plus", "minus"))
        return self.gain * (low_plus - high_minus), self.gain * (high_plus - low_minus)

    def pulse(self, state: State, n: Tensor, rng: torch.Generator) -> int:
        plus, minus = (n, -n) if self.push_pull else (n.clamp(min=0), (-n).clamp(min=0))
        return self.cell.pulse(state["plus"], plus, rng) + self.cell.pulse(state["minus"], minus, rng)

    def drifted(self, state: State, steps: int) -> Tensor:
        return self.gain * (self.cell.drifted(state["plus"], steps) - self.cell.drifted(state["minus"], steps))

    def tick(self, state: State, rng: torch.Generator) -> int:
        written = self.cell.tick(state["plus"], rng) + self.cell.tick(state["minus"], rng)
        state["ticks"] += 1
        if not self.push_pull and state["ticks"] % self.refresh == 0:
            written += self._refresh(state, rng)
        return written

    def _refresh(self, state: State, rng: torch.Generator) -> int:
        """Reset both cells of each pair above the limit, write their difference back to one, and return the pulses."""
        low, high = self.cell.range
        limit = low + self.above * (high - low)
        plus, minus, difference = self.cell.held(state["plus"]), self.cell.held(state["minus"]), self.held(state)
        fresh_plus, fresh_minus = self._targets(state, difference)
        # a pair that a refresh could not lower is left alone, or it would be rewritten at every refresh
        worn = (torch.maximum(plus, minus) > limit) & (plus > fresh_plus) & (minus > fresh_minus)
        worn_pairs = int(worn.sum())
        if worn_pairs:
            self.write(state, difference, rng, worn)
        return 2 * worn_pairs

    def _targets(self, state: State, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weights of both cells: around mid-range for push-pull, otherwise one of them at its lowest."""
        half = weights / (2 * self.gain)
        (low_plus, high_plus), (low_minus, high_minus) = (self.cell.bounds(state[side]) for side in ("plus", "minus"))
        if self.push_pull:
            middle = (low_plus + high_plus + low_minus + high_minus) / 4
            return middle + half, middle - half
        up = torch.maximum(low_minus + 2 * half, low_plus)
        return up, up - 2 * half
