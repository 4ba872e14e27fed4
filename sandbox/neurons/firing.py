"""Threshold, refractory period and reset: from a membrane to a spike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from rules.spikes.surrogate import Surrogate, adaptation_signal, reset_signal
from rules.steps import SLACK, whole, wide, wide_dtype
from sandbox.neurons.base import Neuron, Value, affine, span


def spike(
    surrogate: Surrogate, u: Tensor, wait: Tensor | None, t_refractory: Any, dt: float, strict: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Return spikes where `u >= 0` (`u > 0` if strict) in cells that are not refractory, and the steps each cell waits.

    The refractory period is cut to whole steps as in Brian2, floor(t_refractory / dt). Steps are counted in float32 at
    least, because bfloat16 and float16 skip whole numbers above 256 and 2048. A tensor has a period for each cell.

    Raises:
        ValueError: for more steps than the counter can count.
    """
    spikes = surrogate.spike(u, strict)
    if wait is None:
        if not lasts(t_refractory):
            return spikes, None
        wait = torch.zeros_like(u)
    wait = wide(wait)
    spikes = spikes * (wait <= 0)
    if isinstance(t_refractory, Tensor):
        steps = torch.floor(t_refractory.detach().double() / dt + SLACK) - 1
        closed: Any = steps.clamp(0, 2 / torch.finfo(wait.dtype).eps).to(wait)  # the most that is counted
    else:
        closed = max(float(_countable(t_refractory, dt, wait.dtype) - 1), 0.0)  # the step of the spike itself is one
    return spikes, torch.where(spikes.detach() > 0, closed, (wait - 1).clamp(min=0))


def idle(v: Tensor, t_refractory: Any) -> Tensor | None:
    """Return the counter of refractory steps of cells at rest, in float32 at least; None without a period in any cell.

    >>> idle(torch.zeros(2, dtype=torch.bfloat16), 5.0).dtype
    torch.float32
    """
    return torch.zeros_like(v, dtype=wide_dtype(v)) if lasts(t_refractory) else None


def lasts(t_refractory: Any) -> bool:
    """Return whether any cell has a refractory period; a plain number makes no tensor, on whatever device."""
    return bool((t_refractory > 0).any()) if isinstance(t_refractory, Tensor) else bool(t_refractory > 0)


def _countable(t_refractory: float, dt: float, dtype: torch.dtype) -> int:
    """Return the whole steps of a refractory period; raise ValueError for more than the dtype tells apart."""
    most = 2 / torch.finfo(dtype).eps
    if not t_refractory / dt < most:
        raise ValueError(
            f"t_refractory={t_refractory:g} ms is {t_refractory / dt:.3g} steps of dt={dt:g} ms, and "
            f"{str(dtype).removeprefix('torch.')} counts to {most:.0f}: use a longer dt, a shorter period, or "
            "currents.double()"
        )
    return whole(t_refractory / dt)


def cut(cell: Any, state: Any, dt: float, strict: bool = False) -> tuple[Tensor, Tensor | None]:
    """Call `spike` for a cell with a `surrogate`, which fires where its `centred` membrane reaches 0.

    The surrogate sees the membrane in units of the cell's `swing`, so its width means the same in every neuron.
    """
    u = affine(cell.centred(state), 1 / cell.swing)
    return spike(cell.surrogate, u, state.wait, cell.t_refractory, dt, strict)


def cross(surrogate: Surrogate, u: Tensor, wait: Tensor) -> tuple[Tensor, Tensor]:
    """Return a spike at every upward crossing of `u = 0`; a cell waits (1) while above: `refractory="v >= ..."`.

    A cell that a synapse lifted there after the threshold has not fired yet, so it does not wait.
    """
    spikes = surrogate.spike(u) * (wait <= 0)
    above = (u.detach() >= 0) & ((wait > 0) | (spikes.detach() > 0))
    return spikes, above.to(u.dtype)


def held(wait: Tensor | None, before: Tensor, after: Tensor) -> Tensor:
    """Return `after`, but `before` where a cell waits, as Brian2's `(unless refractory)`."""
    return after if wait is None else torch.where(wait > 0, before, after)


def to_value(x: Tensor, spikes: Tensor, value: Value) -> Tensor:
    """Return `x`, and `value` where a cell fired."""
    fired = reset_signal(spikes)
    kept: Tensor = x * (1 - fired)
    return kept if isinstance(value, float) and value == 0.0 else kept + value * fired


def plus(x: Tensor, spikes: Tensor, jump: Value) -> Tensor:
    """Return `x`, and `x + jump` where a cell fired."""
    moved: Tensor = x + jump * reset_signal(spikes)
    return moved


def adapted(x: Tensor, spikes: Tensor, jump: Value) -> Tensor:
    """Return the adaptation `x`, and `x + jump` where a cell fired."""
    moved: Tensor = x + jump * adaptation_signal(spikes)
    return moved


def _to_value(v: Tensor, spikes: Tensor, cell: Any) -> Tensor:
    return to_value(v, spikes, cell.v_reset)


def _subtract(v: Tensor, spikes: Tensor, cell: Any) -> Tensor:
    return plus(v, spikes, cell.v_reset - cell.v_threshold)


def _none(v: Tensor, spikes: Tensor, cell: Any) -> Tensor:
    return v


RESETS: dict[str, tuple[Callable[[Tensor, Tensor, Any], Tensor], str]] = {  # of neurons with v_threshold and v_reset
    "to_value": (_to_value, "v = v_reset"),
    "subtract": (_subtract, "v -= v_threshold - v_reset"),
    "none": (_none, ""),
}


class Resetting(Neuron):
    """A neuron that fires where `v >= v_threshold` (`>` if `strict`), is reset, and then is refractory.

    Its state must begin with `v` and end with `wait`.
    """

    v_leak: float
    v_threshold: float
    v_reset: float
    reset: str
    surrogate: Surrogate
    strict: bool = False

    choices: ClassVar[dict[str, Any]] = {"reset": RESETS}

    @property
    def threshold(self) -> str:
        """Brian2's condition for a spike."""
        return "v > v_threshold" if self.strict else "v >= v_threshold"

    @property
    def reset_code(self) -> str:
        """Brian2's statement after a spike."""
        return RESETS[self.reset][1]

    @property
    def swing(self) -> Value:
        """Distance from rest to threshold [mV]."""
        return span(self.v_leak, self.v_threshold)

    def fire(self, state: Any, dt: float) -> tuple[Tensor, Any]:
        """Return spikes `[...]`, 0 or 1, and the state after the reset."""
        spikes, wait = cut(self, state, dt, self.strict)
        v = RESETS[self.reset][0](state.v, spikes, self)
        return spikes, type(state)(v, *state[1:-1], wait)

    def centred(self, state: Any) -> Tensor:
        """Return membrane minus threshold [mV]."""
        membrane: Tensor = state.v
        return membrane - self.v_threshold
