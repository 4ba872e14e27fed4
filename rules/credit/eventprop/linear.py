"""What EventProp asks of spiking cells: linear below the threshold, and a reset of the membrane alone."""

from __future__ import annotations

import copy
import math
from dataclasses import is_dataclass
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from rules.local import differentiated
from rules.models.admission import UnfitModel
from rules.optional import time_step
from rules.sites.firing import fires
from rules.sites.site import Site
from rules.spikes.surrogate import Surrogate, differentiating, heaviside

ROWS = 8  # states that are tried
_KNOWN: WeakKeyDictionary[nn.Module, tuple[Any, Linear | None]] = WeakKeyDictionary()


class Linear(NamedTuple):
    """The step of cells below the threshold, `state' = kept state + driven current + constant`, and their reset.

    The first of the k variables is the membrane V, which no other depends on.
    """

    kept: Tensor  # [k, k], the first axis that of the next state
    driven: Tensor  # [k]
    threshold: float  # of V
    after: float  # V after a spike, or if `subtract` what is added to it
    subtract: bool
    dt: float  # ms

    @property
    def fall(self) -> float:
        """From the threshold to V after the reset, below 0."""
        return self.after if self.subtract else self.after - self.threshold

    @property
    def leak(self) -> float:
        """1/tau_mem [1/ms]."""
        return -math.log(float(self.kept[0, 0])) / self.dt

    def start(self, v: Tensor, spikes: Tensor) -> Tensor:
        """Return the membrane after a step, given what it was before the reset."""
        if self.subtract:
            return v + self.after * spikes
        return torch.where(spikes > 0, self.after, v)


def linear(site: Site) -> Linear:
    """Return the step of a layer's spiking cells, found by trying some states.

    Raises:
        UnfitModel: for cells of other dynamics; says which, what was seen, and what fits.
    """
    cells: Any = copy.deepcopy(site.layer.cells)  # in double precision, in which small curvatures show
    cells = cells.double() if isinstance(cells, nn.Module) else cells
    weight = _nothing(site)
    nothing = weight.double()
    threshold = getattr(getattr(cells, "neuron", None), "v_threshold", None)
    if not isinstance(threshold, (int, float)):
        raise _unfit(site, "whose threshold is not one number, cells.neuron.v_threshold")
    rest = cells.rest(nothing[None])[0]
    size = cells.unpacked(rest)
    rng = torch.Generator().manual_seed(0)
    unit = float(threshold) - float(size[0].mean())
    noisy: list[bool] = []

    def draw() -> Tensor:
        return torch.rand(nothing.shape, generator=rng, dtype=torch.float64).to(nothing)

    def spike(own: Surrogate, u: Tensor, strict: bool, noise: Tensor | None) -> Tensor:
        noisy.append(noise is not None)
        return heaviside(u, strict, noise)

    def step(current: Tensor, values: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        output, state = cells.advance(current, cells.packed(rest, values))
        return output, cells.unpacked(state)

    with torch.no_grad(), differentiating(spike=spike, generator=torch.Generator().manual_seed(0)):
        low = tuple(part + 0.2 * unit * (draw() - 0.5) for part in size)
        low = (size[0] + unit * (1.8 * draw() - 1.0), *low[1:])  # from one way below rest to near the threshold
        local, other = differentiated(step, nothing, low), differentiated(step, nothing, size)
        quiet, below = step(nothing, low)
        resting = step(nothing, size)[1]
        kept, driven = local.kept.flatten(2)[..., 0], local.driven.flatten(1)[..., 0]
        alike = [(local.kept.flatten(2), kept[..., None]), (local.driven.flatten(1), driven[:, None])]
        alike += [(other.kept, local.kept), (other.driven, local.driven)]
        if bool(quiet.any()) or any(noisy) or not all(_close(a, b.expand_as(a)) for a, b in alike):
            raise _unfit(site, "which are noisy, not linear below their threshold, or not all alike")
        constant = [after - sum(kept[i, j] * size[j] for j in range(len(size))) for i, after in enumerate(resting)]

        def moved(current: Tensor, values: tuple[Tensor, ...]) -> list[Tensor]:
            past = [sum(kept[i, j] * values[j] for j in range(len(values))) for i in range(len(values))]
            return [past[i] + driven[i] * current + constant[i] for i in range(len(values))]

        if not all(_close(a, b) for a, b in zip(below, moved(nothing, low), strict=True)):
            raise _unfit(site, "which are not linear below their threshold")
        if bool(kept[1:, 0].any()) or not 0 < float(kept[0, 0]) < 1 or not float(driven[0]) > 0:
            raise _unfit(site, "whose membrane acts on other variables, does not leak, or hears no current")
        current = (unit * (0.5 + 2.5 * draw()) + threshold - moved(nothing, low)[0]) / driven[0]
        high = moved(current, low)
        fired, reset = step(current, low)
        same = all(_close(a, b) for a, b in zip(reset[1:], high[1:], strict=True))
        value, jump = reset[0], reset[0] - high[0]
        subtract = not _close(value, value.mean().expand_as(value))
        after = jump if subtract else value
        if not same or not bool((fired == 1).all()) or not _close(after, after.mean().expand_as(after)):
            raise _unfit(site, "which a spike does not set back in the membrane alone, to a value or by one")
        if not float((jump if subtract else after - threshold).max()) < -1e-3 * unit:
            raise _unfit(site, "which are not set back by a spike")
        state = cells.advance(current, cells.packed(rest, low))[1]
        output, later = cells.advance(nothing, state)
        wanted = moved(nothing, reset)
        if bool((output > 0).logical_and(wanted[0] < threshold).any()) or not _close(
            torch.where(output > 0, 0.0, cells.unpacked(later)[0]), torch.where(output > 0, 0.0, wanted[0])
        ):
            raise _unfit(site, "which are refractory after a spike (t_refractory)")
    return Linear(kept.to(weight), driven.to(weight), float(threshold), float(after.mean()), subtract, time_step(cells))


def step_of(site: Site) -> Linear | None:
    """Return `linear` of a layer that fires, None for another; it is remembered where the cells cannot have changed.

    Those are a frozen dataclass, with no parameters or buffers beside them.
    """
    cells: Any = site.layer.cells
    neuron = getattr(cells, "neuron", None)
    frozen = is_dataclass(neuron) and neuron.__dataclass_params__.frozen  # type: ignore[union-attr]
    if not frozen or not isinstance(cells, nn.Module) or [*cells.parameters(), *cells.buffers()]:
        return linear(site) if fires(site) else None
    nothing = _nothing(site)
    key = (neuron, type(neuron), time_step(cells), nothing.dtype, nothing.device, nothing.shape)
    if cells not in _KNOWN or _KNOWN[cells][0] != key:
        _KNOWN[cells] = key, linear(site) if fires(site) else None
    return _KNOWN[cells][1]


def _nothing(site: Site) -> Tensor:
    """Return no current for some samples of one place, `[ROWS, C, ...]`."""
    weight: Any = site.weigh.weight
    nothing: Tensor = weight.detach().new_zeros(ROWS, weight.shape[0], *[1] * (weight.ndim - 2))
    return nothing


def _close(a: Tensor, b: Tensor) -> bool:
    """Return whether two tensors differ by round-off; its bound is the root of the precision."""
    return bool((a - b).abs().amax() <= torch.finfo(a.dtype).eps ** 0.5 * (1 + b.abs().amax()))


def _unfit(site: Site, what: str) -> UnfitModel:
    cells: Any = site.layer.cells
    kind = type(getattr(cells, "neuron", cells)).__name__
    return UnfitModel(
        f"{site.name} is made of {kind}, {what}, and EventProp follows the times of spikes of linear cells: use "
        "cuba_lif, alpha_lif or lif with reset 'to_value' or 'subtract' and t_refractory=0, or rules.make('bptt')"
    )
