"""Cells of SpikingJelly: forward Euler with tau in steps, and a spike at the threshold itself."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from sandbox.neurons import IF, LIF, Cell, CubaLIF, EulerCubaLIF
from sandbox.reference.conformance.stepping import Step
from sandbox.reference.peers.mapping import Mapping, doubled, number, refuse, tau_of


def step_of(cell: Any) -> Step:
    """Return the step of a cell, whose state it keeps itself."""
    cell = doubled(cell)
    cell.step_mode = "s"

    def step(current: Tensor, state: Any) -> tuple[Tensor, Tensor, bool]:
        if state is None:
            cell.reset()
        spikes = cell(current[None])
        return spikes[0], cell.v[0], True

    return step


def _firing(cell: Any) -> dict[str, Any]:
    """Return threshold, and the reset: to v_reset, or by subtraction where that is None."""
    hard = cell.v_reset is not None
    v_reset = float(cell.v_reset) if hard else 0.0
    return {"v_threshold": float(cell.v_threshold), "v_reset": v_reset, "reset": "to_value" if hard else "subtract"}


def _tau(cell: Any) -> float:
    if hasattr(cell, "w"):
        return 1 / number(cell.w.double().sigmoid(), "w")
    return float(cell.tau)


def leaky(cell: Any, dt: float) -> Cell:
    """Return the equation of LIFNode: `v <- v + (x - (v - v_reset)) / tau`, or x whole; spike at v >= v_threshold."""
    tau, firing = _tau(cell), _firing(cell)
    r = 1.0 if cell.decay_input else tau
    return LIF(tau_mem=tau_of(1 - 1 / tau, dt, "tau"), r=r, v_leak=firing["v_reset"], **firing)


def naive_leaky(cell: Any, dt: float) -> Cell:
    """Return what the names say: tau is a time constant in steps."""
    tau, firing = _tau(cell), _firing(cell)
    return LIF(tau_mem=tau * dt, r=1.0 if cell.decay_input else tau, v_leak=firing["v_reset"], **firing)


def integrate_and_fire(cell: Any, dt: float) -> Cell:
    """Return the equation of IFNode: `v <- v + x`."""
    firing = _firing(cell)
    return IF(tau_mem=dt, v_leak=firing["v_reset"], **firing)


def _decays(cell: Any) -> tuple[float, float, dict[str, Any]]:
    firing = _firing(cell)
    if firing["v_reset"]:
        raise refuse(f"v_reset={cell.v_reset} of CUBALIFNode, whose leak is to 0", "use v_reset=0.0 or None")
    return 1 - float(cell.v_decay), 1 - float(cell.c_decay), firing


def current_based(cell: Any, dt: float) -> Cell:
    """Return the equation of CUBALIFNode: `c <- c_decay c + x, v <- v_decay v + c`."""
    a, b, firing = _decays(cell)
    return EulerCubaLIF(tau_mem=dt / a, tau_syn=dt / b, r=1 / (a * b), order="synapse_first", **firing)


def naive_current_based(cell: Any, dt: float) -> Cell:
    """Return what the names say: both decays, solved exactly."""
    a, b, firing = _decays(cell)
    times: dict[str, Any] = {"tau_mem": tau_of(1 - a, dt, "v_decay"), "tau_syn": tau_of(1 - b, dt, "c_decay")}
    return CubaLIF(**times, r=1 / (a * b), **firing)


LEAKY = "tau_mem = -dt / ln(1 - 1 / tau), r = 1 (tau with decay_input=False), v_leak = v_reset; v_reset=None: subtract"
CLASSES = {
    "IFNode": Mapping(step_of, integrate_and_fire, integrate_and_fire, "IF with tau_mem = dt, r = 1, v_leak = v_reset"),
    "LIFNode": Mapping(step_of, leaky, naive_leaky, LEAKY),
    "ParametricLIFNode": Mapping(step_of, leaky, naive_leaky, f"tau = 1 / sigmoid(w); {LEAKY}"),
    "CUBALIFNode": Mapping(
        step_of,
        current_based,
        naive_current_based,
        "tau_mem = dt / (1 - v_decay), tau_syn = dt / (1 - c_decay), r = 1 / ((1 - v_decay) (1 - c_decay))",
    ),
}
