"""The change of a cell by one pulse: five laws, from the constant step to the exponential one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rules.plasticity.memristor.cell import Cell, Pulsed
from rules.plasticity.memristor.device import State, normal


@dataclass(frozen=True)
class ConstantStep(Cell):
    r"""The same step at every weight.

    .. math::
        \Delta_d = \Delta w_d, \quad \sigma_d = s_c\, \Delta w_d

    Source: equations of aihwkit's `ConstantStepDevice`; after Gokmen & Vlasov 2016 (Front. Neurosci. 10:333).

    >>> device, rng = ConstantStep(dw_min=0.25), torch.Generator().manual_seed(0)
    >>> state = device.init(torch.zeros(3), rng)
    >>> device.pulse(state, torch.tensor([2.0, 0.0, -9.0]), rng)
    11
    >>> device.read(state)
    tensor([ 0.5000,  0.0000, -1.0000])
    """

    equal_steps: ClassVar[bool] = True

    def change(self, w: Tensor, cells: Pulsed) -> Tensor:
        return cells.step.clone()

    def spread(self, w: Tensor, change: Tensor, cells: Pulsed) -> Tensor:
        return cells.step * self.dw_min_std


@dataclass(frozen=True)
class LinearStep(Cell):
    r"""A step that shrinks linearly as the cell approaches a bound.

    .. math::
        \Delta_d = \Delta w_d (1 - \lambda_d w), \quad
        \lambda_\pm = |\gamma_\pm + \sigma_{\gamma\pm}\, \xi| / b_\pm

    with the nominal bounds :math:`b_+` = `w_max`, :math:`b_-` = `w_min`, :math:`\xi` drawn once per cell, and the noise
    :math:`\sigma_d = s_c \Delta w_d`, or :math:`s_c \Delta_d` if `multiplicative`.

    Source: equations of aihwkit's `LinearStepDevice` with `mean_bound_reference`.

    >>> device, rng = LinearStep(dw_min=0.1, gamma_up=0.5), torch.Generator().manual_seed(0)
    >>> state = device.init(torch.zeros(1), rng)
    >>> _ = device.pulse(state, torch.tensor([2.0]), rng)
    >>> device.read(state)  # 0.1, and 0.1 (1 - 0.05) more
    tensor([0.1950])
    """

    gamma_up: float = 0.0
    gamma_down: float = 0.0
    gamma_up_dtod: float = 0.0
    gamma_down_dtod: float = 0.0
    multiplicative: bool = False

    def __post_init__(self) -> None:
        Cell.__post_init__(self)
        for name in ("gamma_up_dtod", "gamma_down_dtod"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}={getattr(self, name)}: a spread cannot be negative; 0 switches it off")
        for gamma, bound in (("gamma_up", "w_max"), ("gamma_down", "w_min")):
            if getattr(self, gamma) and not getattr(self, bound):
                raise ValueError(f"{bound}=0: the slope {gamma}={getattr(self, gamma)} is relative to it; set it to 0")

    def slopes(self, low: Tensor, high: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        up = (self.gamma_up + self.gamma_up_dtod * normal(high, rng)).abs()
        down = (self.gamma_down + self.gamma_down_dtod * normal(low, rng)).abs()
        return up / (self.w_max or 1.0), down / (self.w_min or 1.0)

    def change(self, w: Tensor, cells: Pulsed) -> Tensor:
        return on_a_line(w, cells)

    def spread(self, w: Tensor, change: Tensor, cells: Pulsed) -> Tensor:
        return (change if self.multiplicative else cells.step) * self.dw_min_std


@dataclass(frozen=True)
class SoftBounds(Cell):
    r"""A step that shrinks to zero at the cell's own bound.

    .. math::
        \Delta_+ = \Delta w_+ (1 - w / b_{max}), \quad \Delta_- = \Delta w_- (1 - w / b_{min})

    Equal numbers of pulses up and down move a cell towards its symmetry point

    .. math::
        w^* = (\Delta w_+ + \Delta w_-) / (\Delta w_+ / b_{max} + \Delta w_- / b_{min}), \quad \Delta w_- < 0

    With `subtract_symmetry_point` each cell is read against a reference at its :math:`w^*`, which puts that point at
    weight zero, up to an error `reference_std`. Noise as in `LinearStep`.

    Source: equations of aihwkit's `SoftBoundsReferenceDevice`.

    >>> device, rng = SoftBounds(dw_min=0.5), torch.Generator().manual_seed(0)
    >>> state = device.init(torch.zeros(1), rng)
    >>> _ = device.pulse(state, torch.tensor([3.0]), rng)
    >>> device.read(state)  # 1 - (1 - 0.5)^3
    tensor([0.8750])
    """

    multiplicative: bool = False
    subtract_symmetry_point: bool = False
    reference_std: float = 0.0

    def __post_init__(self) -> None:
        Cell.__post_init__(self)
        if not self.reference_std >= 0:
            raise ValueError(f"reference_std={self.reference_std}: a spread cannot be negative; 0 switches it off")
        if not self.w_min < 0 < self.w_max:
            raise ValueError(
                f"w_min={self.w_min}, w_max={self.w_max}: a soft bound at 0 would make the step there zero; give "
                "w_min < 0 < w_max"
            )

    def slopes(self, low: Tensor, high: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        return 1 / high, 1 / low

    def reference(self, state: State, rng: torch.Generator) -> Tensor | None:
        if not (self.subtract_symmetry_point or self.reference_std):
            return None
        error = self.reference_std * normal(state["low"], rng)
        return error + symmetry_point(state) if self.subtract_symmetry_point else error

    def change(self, w: Tensor, cells: Pulsed) -> Tensor:
        return on_a_line(w, cells)

    def spread(self, w: Tensor, change: Tensor, cells: Pulsed) -> Tensor:
        return (change if self.multiplicative else cells.step) * self.dw_min_std


@dataclass(frozen=True)
class PowerStep(Cell):
    r"""A step that is a power of the distance to the bound it moves towards, relative to the range.

    .. math::
        \Delta_+ = \Delta w_+\, \omega^\gamma, \quad \Delta_- = \Delta w_-\, (1 - \omega)^\gamma, \quad
        \omega = (b_{max} - w) / (b_{max} - b_{min}), \quad \sigma_d = s_c \Delta_d

    Source: equations of aihwkit's `PowStepDevice`; after Fusi & Abbott 2007 (Nat. Neurosci. 10:485). No preset uses
    it; `gamma` = 1 is soft bounds up to scale, `gamma` = 0 the constant step.

    >>> device, rng = PowerStep(dw_min=0.4, gamma=2.0), torch.Generator().manual_seed(0)
    >>> state = device.init(torch.zeros(1), rng)
    >>> _ = device.pulse(state, torch.tensor([1.0]), rng)
    >>> device.read(state)  # 0.4 (1 / 2)^2
    tensor([0.1000])
    """

    gamma: float = 1.0

    def __post_init__(self) -> None:
        Cell.__post_init__(self)
        if not self.gamma >= 0:
            raise ValueError(f"gamma={self.gamma}: a step must not grow towards its bound; give at least 0")

    def change(self, w: Tensor, cells: Pulsed) -> Tensor:
        ahead = torch.where(cells.step > 0, cells.high, cells.low)
        return cells.step * ((ahead - w).abs() / width(cells)) ** self.gamma

    def spread(self, w: Tensor, change: Tensor, cells: Pulsed) -> Tensor:
        return change * self.dw_min_std


@dataclass(frozen=True)
class ExponentialStep(Cell):
    r"""A step that changes exponentially with the weight, fitted to measured cells.

    .. math::
        \Delta_d = \Delta w_d \max(0,\, 1 - A_d e^{d \gamma_d \zeta}), \quad
        \zeta = 2 a w / (b_{max} - b_{min}) + b, \\
        \sigma_d = s_c (|\Delta_d| + s_{add} + s_{slope} |w|)

    Source: equations of aihwkit's `ExpStepDevice`. Its step at weight 0 is not `dw_min` but `dw_min` times the maximum
    above.

    >>> device, rng = ExponentialStep(dw_min=0.1, A_up=0.5, gamma_up=0.0), torch.Generator().manual_seed(0)
    >>> state = device.init(torch.zeros(1), rng)
    >>> _ = device.pulse(state, torch.tensor([1.0]), rng)
    >>> device.read(state)  # 0.1 (1 - 0.5)
    tensor([0.0500])
    """

    A_up: float = 0.00081  # these six are the defaults of aihwkit's device
    A_down: float = 0.36833
    gamma_up: float = 12.44625
    gamma_down: float = 12.78785
    a: float = 0.244
    b: float = 0.2425
    dw_min_std_add: float = 0.0
    dw_min_std_slope: float = 0.0

    def __post_init__(self) -> None:
        Cell.__post_init__(self)
        for name in ("dw_min_std_add", "dw_min_std_slope"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}={getattr(self, name)}: a spread cannot be negative; 0 switches it off")

    def change(self, w: Tensor, cells: Pulsed) -> Tensor:
        zeta = 2 * self.a * w / width(cells) + self.b
        up = 1 - self.A_up * torch.exp(self.gamma_up * zeta)
        down = 1 - self.A_down * torch.exp(-self.gamma_down * zeta)
        return cells.step * torch.where(cells.step > 0, up, down).clamp_(min=0.0)

    def spread(self, w: Tensor, change: Tensor, cells: Pulsed) -> Tensor:
        return (change.abs() + self.dw_min_std_add + self.dw_min_std_slope * w.abs()) * self.dw_min_std


def on_a_line(w: Tensor, cells: Pulsed) -> Tensor:
    """Return the step at weight w: the step at weight 0, less its fall per unit of weight."""
    assert cells.fall is not None
    return torch.addcmul(cells.step, cells.fall, w, value=-1)


def symmetry_point(state: State) -> Tensor:
    """Return the weight of each cell at which linear steps up and down are equal and opposite."""
    step, fall = (state[name].sum(0) for name in ("step", "fall"))
    point: Tensor = step / fall
    return point


def width(cells: Pulsed) -> Tensor:
    """Return the width of each cell's range, at least eps, because the bounds of a stuck cell coincide."""
    return (cells.high - cells.low).clamp_(min=torch.finfo(cells.low.dtype).eps)
