"""One memristive cell per weight: spread from cell to cell, noise from pulse to pulse, and decay over time."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from rules.fields import check_fields
from rules.plasticity.memristor.device import Device, State, nonzero, normal, uniform

NOT_NEGATIVE = (
    "dw_min_dtod",
    "dw_min_std",
    "up_down_dtod",
    "w_max_dtod",
    "w_min_dtod",
    "write_noise",
    "read_noise",
    "cell_noise",
    "decay_dtod",
    "base_std",
)


class Pulsed(NamedTuple):
    """Constants of the cells that receive pulses, each for the direction of its own pulse."""

    step: Tensor  # signed step at weight 0
    fall: Tensor | None  # decrease of the step per unit of weight, for linear laws
    low: Tensor
    high: Tensor

    def pick(self, index: Tensor) -> Pulsed:
        """Return the constants of some of the cells."""
        return Pulsed(*(None if x is None else x.index_select(0, index) for x in self))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Cell(Device):
    r"""A memristive cell; subclasses define how the step of one pulse depends on the weight.

    .. math::
        w \leftarrow \mathrm{clip}(w + \Delta_d(w) + \sigma_d(w)\,\xi,\ b_{min}, b_{max})

    with a fresh standard normal :math:`\xi` at every pulse. Constants drawn once per cell: the bounds
    `w_max (1 + w_max_dtod xi)` and `w_min (1 + w_min_dtod xi)`, and the step of either direction at weight 0

    .. math::
        \Delta w_\pm = \pm\, dw_{min}\, | g + \beta_\pm \pm \sigma_{ud}\,\xi |

    with `g = 1 + dw_min_dtod xi`, or `exp(dw_min_dtod xi)` if `dw_min_lognormal`. A positive mean `up_down` weakens the
    steps down, `beta_- = -up_down`, a negative one those up. The fits of aihwkit's presets assume this (its code,
    `PulsedRPUDevice`); its documentation gives a different formula, `1 + d up_down` in both directions.

    Args:
        dw_min, dw_min_dtod, dw_min_lognormal, up_down, up_down_dtod, w_max, w_min, w_max_dtod, w_min_dtod: the
            constants above.
        dw_min_std: noise from pulse to pulse [dw_min].
        write_noise: of the visible weight, redrawn at each pulse [dw_min].
        read_noise, cell_noise: per output of a layer, and per cell, at every reading [width of the range].
        decay: per step, towards `base`; its inverse, the lifetime, has the relative spread `decay_dtod` between cells,
            and the base the spread `base_std`.
        stuck: fraction of cells that no pulse moves, each at a weight uniform between its bounds [assumption].
        levels: number of evenly spaced weights that a cell can take; a pulse ends at one of the two nearest, at random
            and right on average [assumption]. None for continuous weights.

    Raises:
        ValueError: for bounds in the wrong order, negative spreads, fractions outside [0, 1] and `levels < 2`.
    """

    equal_steps: ClassVar[bool] = False  # whether the step is the same at every weight

    dw_min: float = 0.001
    dw_min_dtod: float = 0.0
    dw_min_lognormal: bool = False
    dw_min_std: float = 0.0
    up_down: float = 0.0
    up_down_dtod: float = 0.0
    w_max: float = 1.0
    w_min: float = -1.0
    w_max_dtod: float = 0.0
    w_min_dtod: float = 0.0
    write_noise: float = 0.0
    read_noise: float = 0.0
    cell_noise: float = 0.0
    decay: float = 0.0
    decay_dtod: float = 0.0
    base: float = 0.0
    base_std: float = 0.0
    stuck: float = 0.0
    levels: int | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.w_min < self.w_max:
            raise ValueError(f"w_min={self.w_min}, w_max={self.w_max}: the lower bound must be below the upper one")
        if not self.w_min <= 0 <= self.w_max:
            raise ValueError(
                f"w_min={self.w_min}, w_max={self.w_max}: the range must contain 0, about which steps are given; "
                "shift the weights"
            )
        if not self.dw_min > 0:
            raise ValueError(f"dw_min={self.dw_min}: a pulse must move a cell; give a positive mean step")
        for name in NOT_NEGATIVE:
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}={getattr(self, name)}: a spread cannot be negative; 0 switches it off")
        for name in ("decay", "stuck"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)}: a fraction lies between 0 and 1")
        if self.levels is not None and self.levels < 2:
            raise ValueError(
                f"levels={self.levels}: a device needs at least 2 levels; levels=None is a device of continuous weights"
            )

    @abstractmethod
    def change(self, w: Tensor, cells: Pulsed) -> Tensor:
        """Return the mean change of weights `w` by one pulse, as a new tensor."""

    @abstractmethod
    def spread(self, w: Tensor, change: Tensor, cells: Pulsed) -> Tensor:
        """Return the standard deviation of that change, up to sign."""

    def slopes(self, low: Tensor, high: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor] | None:
        """Return the fall of the steps up and down per unit of weight, relative to those at 0; None if not linear."""
        return None

    def reference(self, state: State, rng: torch.Generator) -> Tensor | None:
        """Return the weights of reference cells, subtracted at reading and never pulsed; None if there are none."""
        return None

    @property
    def step(self) -> float:
        return self.dw_min

    def with_step(self, step: float) -> Cell:
        return replace(self, dw_min=step)

    @property
    def range(self) -> tuple[float, float]:
        return self.w_min, self.w_max

    def init(self, weights: Tensor, rng: torch.Generator) -> State:
        xi = [normal(weights, rng) for _ in range(6)]  # all six, used or not: options do not shift later draws
        high = (self.w_max * (1 + self.w_max_dtod * xi[0])).abs()
        low = -(self.w_min * (1 + self.w_min_dtod * xi[1])).abs()
        gain = (self.dw_min_dtod * xi[2]).exp() if self.dw_min_lognormal else 1 + self.dw_min_dtod * xi[2]
        tilt = self.up_down_dtod * xi[3]
        up = (gain + min(self.up_down, 0.0) + tilt).abs() * self.dw_min
        down = (gain - max(self.up_down, 0.0) - tilt).abs() * self.dw_min
        state: State = {"step": torch.stack([up, -down]), "low": low, "high": high}  # step: [2, *shape]
        slopes = self.slopes(low, high, rng)
        if slopes is not None:
            state["fall"] = state["step"] * torch.stack(slopes)
        offset = self.reference(state, rng)
        if offset is not None or self.write_noise:
            state["reference"] = torch.zeros_like(weights) if offset is None else offset
            state["offset"] = -state["reference"]
        if self.stuck:
            broken = uniform(weights, rng) < self.stuck
            at = low + (high - low) * uniform(weights, rng)
            state["low"], state["high"] = torch.where(broken, at, low), torch.where(broken, at, high)
        if self.decay:
            lifetime = (1 + self.decay_dtod * xi[4]) / self.decay  # [steps]
            state["keep"] = torch.where(lifetime > 1, 1 - 1 / lifetime, 0.0)  # of the distance to base, per step
            state["base"] = torch.clamp(self.base + self.base_std * xi[5], state["low"], state["high"])
        state["w"] = torch.zeros_like(weights)
        self.write(state, weights, rng, torch.ones_like(weights, dtype=torch.bool))
        return state

    def write(self, state: State, weights: Tensor, rng: torch.Generator, where: Tensor) -> None:
        w = weights + state["reference"] if "reference" in state else weights
        w = torch.clamp(w, state["low"], state["high"])
        if self.levels is not None:
            w = self._snap(w, 0.5, state["low"], state["high"])
        state["w"].copy_(torch.where(where, w, state["w"]))
        if self.write_noise:
            noise = self.write_noise * self.dw_min * normal(w, rng) - state["reference"]
            state["offset"].copy_(torch.where(where, noise, state["offset"]))

    def read(self, state: State) -> Tensor:
        return self._shown(state, state["w"])

    def held(self, state: State) -> Tensor:
        w: Tensor = state["w"]
        return w - state["reference"] if "reference" in state else w

    def bounds(self, state: State) -> tuple[Tensor, Tensor]:
        shift = state.get("reference", 0.0)
        return state["low"] - shift, state["high"] - shift

    def pulse(self, state: State, n: Tensor, rng: torch.Generator) -> int:
        n = n.reshape(-1)
        hit = nonzero(n)  # [cells that get a pulse]
        if not len(hit):
            return 0
        n = n.index_select(0, hit)
        w = state["w"].view(-1).index_select(0, hit)
        way = hit + len(state["w"].view(-1)) * (n < 0)  # into [2, *shape]: up, down
        fall = state["fall"].view(-1).index_select(0, way) if "fall" in state else None
        step = state["step"].view(-1).index_select(0, way)
        low, high = (state[key].view(-1).index_select(0, hit) for key in ("low", "high"))
        left = n.abs_()
        written = int(left.sum(dtype=torch.float64))  # a sum in float32 is inexact above 2^24
        self._repeat(w, Pulsed(step, fall, low, high), left, rng)
        state["w"].view(-1).index_copy_(0, hit, w)
        if self.write_noise:
            noise = normal(w, rng).mul_(self.write_noise * self.dw_min)
            noise.sub_(state["reference"].view(-1).index_select(0, hit))
            state["offset"].view(-1).index_copy_(0, hit, noise)
        return written

    def drifted(self, state: State, steps: int) -> Tensor:
        return self._shown(state, self._decayed(state, steps)) if self.decay else self.read(state)

    def tick(self, state: State, rng: torch.Generator) -> int:
        if self.decay:
            state["w"].copy_(self._decayed(state, 1))
        return 0

    def _repeat(self, w: Tensor, cells: Pulsed, left: Tensor, rng: torch.Generator) -> None:
        """Apply pulse after pulse, in place; each round includes only the cells that have pulses left."""
        if self.equal_steps and not self.dw_min_std and self.levels is None:  # equal steps: clip once, at the end
            w.addcmul_(self.change(w, cells), left).clamp_(cells.low, cells.high)
            return
        part, live = w, None
        while True:
            rounds = int(left.min())
            for _ in range(rounds):
                self._once(part, cells, rng)
            left = left - rounds
            if live is not None:
                w.index_copy_(0, live, part)
            more = nonzero(left)
            if not len(more):
                return
            live = more if live is None else live.index_select(0, more)
            part, left, cells = part.index_select(0, more), left.index_select(0, more), cells.pick(more)

    def _once(self, w: Tensor, cells: Pulsed, rng: torch.Generator) -> None:
        change = self.change(w, cells)
        if self.dw_min_std:
            change.addcmul_(self.spread(w, change, cells), normal(w, rng))
        w.add_(change)
        if self.levels is not None:
            w.copy_(self._snap(w, uniform(w, rng), cells.low, cells.high))
        w.clamp_(cells.low, cells.high)

    def _snap(self, w: Tensor, u: Tensor | float, low: Tensor, high: Tensor) -> Tensor:
        """Round to the level below or above; u = 1/2 takes the nearer one, a uniform u is right on average."""
        assert self.levels is not None
        apart = ((high - low) / (self.levels - 1)).clamp_(min=torch.finfo(w.dtype).tiny)  # no 0 / 0 for a stuck cell
        return torch.clamp(low + apart * torch.floor((w - low) / apart + u), low, high)

    def _shown(self, state: State, w: Tensor) -> Tensor:
        return w + state["offset"] if "offset" in state else w

    def _decayed(self, state: State, steps: int) -> Tensor:
        # w <- (w - b) (1 - delta) + b, once a step
        away: Tensor = (state["w"] - state["base"]) * state["keep"] ** steps
        return away.add_(state["base"])
