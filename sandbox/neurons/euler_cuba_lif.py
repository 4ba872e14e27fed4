"""The current-based LIF neuron in forward Euler steps, in the orders in which programs take them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from rules.spikes.surrogate import Surrogate
from sandbox.neurons.base import Value, affine, full
from sandbox.neurons.firing import Resetting, held, idle
from sandbox.neurons.synaptic_lif import CubaLIF, CubaLIFState

Pair = tuple[Tensor, Tensor]


def _together(cell: Any, current: Tensor, v: Tensor, i: Tensor, a: Value, b: Value) -> Pair:
    return v + (affine(i, cell.r, cell.v_leak) - v) * a, i + (current - i) * b


def _synapse_first(cell: Any, current: Tensor, v: Tensor, i: Tensor, a: Value, b: Value) -> Pair:
    after = i + (current - i) * b
    return v + (affine(after, cell.r, cell.v_leak) - v) * a, after


def _jump_first(cell: Any, current: Tensor, v: Tensor, i: Tensor, a: Value, b: Value) -> Pair:
    jumped = i + current * b
    return v + (affine(jumped, cell.r, cell.v_leak) - v) * a, jumped - jumped * b


ORDERS: dict[str, Callable[[Any, Tensor, Tensor, Tensor, Value, Value], Pair]] = {
    "together": _together,
    "synapse_first": _synapse_first,
    "jump_first": _jump_first,
}


@dataclass(frozen=True)
class EulerCubaLIF(Resetting):
    """`CubaLIF` in steps of forward Euler, with a = dt / tau_mem and b = dt / tau_syn.

        order           synapse                  membrane
        together        i' = i + b (current - i)   v' = v + a (v_leak - v + r i)
        synapse_first   i' = i + b (current - i)   v' = v + a (v_leak - v + r i')
        jump_first      j = i + b current          v' = v + a (v_leak - v + r j),  i' = (1 - b) j

    then spike and reset as `CubaLIF`. "together" is forward Euler as textbooks and Brian2 take it, "synapse_first" the
    step of snnTorch's Synaptic and SpikingJelly's CUBALIFNode, "jump_first" that of Norse's LIFCell.

    Args:
        tau_mem: membrane time constant [ms].
        tau_syn: time constant of the synapse [ms].
        r: membrane resistance [MOhm].
        v_leak: resting potential [mV].
        v_threshold: threshold [mV].
        v_reset: potential after a spike [mV].
        reset: "to_value" (v_reset), "subtract" (v_threshold - v_reset is subtracted) or "none".
        t_refractory: refractory period [ms]; 0 for none.
        strict: fire only where v > v_threshold, not at equality.
        order: "together", "synapse_first" or "jump_first".
        surrogate: surrogate gradient of the spike.

    >>> cells = [EulerCubaLIF(tau_mem=2.0, tau_syn=2.0, order=order) for order in ORDERS]
    >>> steps = [cell.step(torch.ones(1), cell.initial_state((1,), torch.zeros(1)), dt=1.0) for cell in cells]
    >>> [(float(state.v), float(state.i_syn)) for _, state in steps]
    [(0.0, 0.5), (0.25, 0.5), (0.25, 0.25)]

    Reference: NIR (doi 10.1038/s41467-024-52259-9), `CubaLIF`; the orders are those of the programs' code.
    """

    tau_mem: float = 20.0
    tau_syn: float = 5.0
    r: float = 1.0
    v_leak: float = 0.0
    v_threshold: float = 1.0
    v_reset: float = 0.0
    reset: Literal["to_value", "subtract", "none"] = "to_value"
    t_refractory: float = 0.0
    strict: bool = False
    order: Literal["together", "synapse_first", "jump_first"] = "together"
    surrogate: Surrogate = field(default_factory=lambda: Surrogate("atan"))

    reference: ClassVar[str] = "its formula in NumPy and float64"
    units: ClassVar[dict[str, str]] = CubaLIF.units
    above: ClassVar[dict[str, float | str]] = CubaLIF.above
    choices: ClassVar[dict[str, Any]] = {**Resetting.choices, "order": ORDERS}

    def initial_state(self, shape: Iterable[int], like: Tensor) -> CubaLIFState:
        """Return the resting state, ready to fire."""
        v = full(shape, self.v_leak, like)
        return CubaLIFState(v, torch.zeros_like(v), idle(v, self.t_refractory))

    def integrate(self, current: Tensor, state: CubaLIFState, dt: float) -> CubaLIFState:
        """Return the state after one Euler step; v of refractory cells is clamped."""
        a, b = dt / self.tau_mem, dt / self.tau_syn
        v, i_syn = ORDERS[self.order](self, current, state.v, state.i_syn, a, b)
        return state._replace(v=held(state.wait, state.v, v), i_syn=i_syn)
