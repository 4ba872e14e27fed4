"""Cells of Norse: forward Euler with inverse time constants, and an input that is added in front of the step."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from sandbox.neurons import IF, LIF, Cell, CubaLIF, EulerCubaLIF, LeakyIntegrator
from sandbox.reference.conformance.stepping import Step
from sandbox.reference.peers.mapping import Mapping, number, tau_of


def step_of(cell: Any) -> Step:
    """Return the step of a cell, whose state is an argument."""

    def step(current: Tensor, state: Any) -> tuple[Tensor, Tensor, Any]:
        spikes, state = cell(current, state)
        v = getattr(state, "lif", state).v
        return spikes, v, state

    return step


def _parameters(cell: Any) -> Any:
    return getattr(cell.p, "lif", cell.p)


def _share(cell: Any, name: str) -> float:
    """Return `dt / tau`, in the arithmetic of the cell."""
    return number(cell.dt * getattr(_parameters(cell), name), name)


def _firing(cell: Any) -> dict[str, Any]:
    p = _parameters(cell)
    subtract = getattr(getattr(p, "reset_method", None), "__name__", "") == "reset_subtract"
    v_reset = 0.0 if subtract else number(p.v_reset, "v_reset")
    reset = "subtract" if subtract else "to_value"
    return {"v_threshold": number(p.v_th, "v_th"), "v_reset": v_reset, "reset": reset, "strict": True}


def box(cell: Any, dt: float) -> Cell:
    """Return the equation of LIFBoxCell: `v <- v + dt / tau (v_leak - v + x)`, spike at v > v_th."""
    kept = 1 - _share(cell, "tau_mem_inv")
    return LIF(tau_mem=tau_of(kept, dt, "tau_mem_inv"), v_leak=number(cell.p.v_leak, "v_leak"), **_firing(cell))


def _named(cell: Any, dt: float, name: str) -> float:
    """Return a time constant as its name says, with the step of the cell as dt."""
    return dt / _share(cell, name)


def naive_box(cell: Any, dt: float) -> Cell:
    """Return what the names say: tau = 1 / tau_mem_inv."""
    firing = _firing(cell) | {"strict": False}
    return LIF(tau_mem=_named(cell, dt, "tau_mem_inv"), v_leak=number(cell.p.v_leak, "v_leak"), **firing)


def current_based(cell: Any, dt: float) -> Cell:
    """Return the equation of LIFCell: `j = i + x, v <- v + dt / tau_mem (v_leak - v + j), i <- j (1 - dt / tau_syn)`.

    LIFRefracCell is the same; its membrane waits for rho_reset steps behind a spike.
    """
    b = _share(cell, "tau_syn_inv")
    silent = number(cell.p.rho_reset, "rho_reset") + 1 if hasattr(cell.p, "rho_reset") else 0
    common: dict[str, Any] = {
        "v_leak": number(_parameters(cell).v_leak, "v_leak"),
        "order": "jump_first",
        **_firing(cell),
    }
    tau_mem, tau_syn = _named(cell, dt, "tau_mem_inv"), _named(cell, dt, "tau_syn_inv")
    return EulerCubaLIF(tau_mem=tau_mem, tau_syn=tau_syn, r=1 / b, t_refractory=silent * dt, **common)


def naive_current_based(cell: Any, dt: float) -> Cell:
    """Return what the names say: both time constants, solved exactly, and rho_reset steps of refractory time."""
    b = _share(cell, "tau_syn_inv")
    silent = number(cell.p.rho_reset, "rho_reset") if hasattr(cell.p, "rho_reset") else 0
    common: dict[str, Any] = {"v_leak": number(_parameters(cell).v_leak, "v_leak"), **_firing(cell), "strict": False}
    tau_mem, tau_syn = _named(cell, dt, "tau_mem_inv"), _named(cell, dt, "tau_syn_inv")
    return CubaLIF(tau_mem=tau_mem, tau_syn=tau_syn, r=1 / b, t_refractory=silent * dt, **common)


def integrate_and_fire(cell: Any, dt: float) -> Cell:
    """Return the equation of IAFCell: `v <- v + x`, spike at v > v_th."""
    return IF(tau_mem=dt, **_firing(cell))


def naive_integrate_and_fire(cell: Any, dt: float) -> Cell:
    """Return the same, with a spike at the threshold itself."""
    return IF(tau_mem=dt, **_firing(cell) | {"strict": False})


def leak(cell: Any, dt: float) -> Cell:
    """Return the equation of LIBoxCell: `v <- v + dt / tau (v_leak - v + x)`."""
    tau = tau_of(1 - _share(cell, "tau_mem_inv"), dt, "tau_mem_inv")
    return LeakyIntegrator(tau_mem=tau, v_leak=number(cell.p.v_leak, "v_leak"))


def naive_leak(cell: Any, dt: float) -> Cell:
    """Return what the names say: tau = 1 / tau_mem_inv."""
    return LeakyIntegrator(tau_mem=_named(cell, dt, "tau_mem_inv"), v_leak=number(cell.p.v_leak, "v_leak"))


EULER = "tau_mem = 1 / tau_mem_inv, tau_syn = 1 / tau_syn_inv, r = tau_syn / dt, order = jump_first, strict"
BOX = "tau_mem = -dt / ln(1 - dt tau_mem_inv), r = 1"
CLASSES = {
    "LIFCell": Mapping(step_of, current_based, naive_current_based, EULER),
    "LIFRefracCell": Mapping(
        step_of, current_based, naive_current_based, f"{EULER}; t_refractory = (rho_reset + 1) dt"
    ),
    "LIFBoxCell": Mapping(step_of, box, naive_box, f"{BOX}, strict"),
    "IAFCell": Mapping(step_of, integrate_and_fire, naive_integrate_and_fire, "IF with tau_mem = dt, r = 1, strict"),
    "LIBoxCell": Mapping(step_of, leak, naive_leak, BOX),
}
