"""Cells of snnTorch: the input is added whole behind the decay, and a reset acts in the step behind its spike."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from sandbox.neurons import IF, LIF, AlphaLIF, Cell, CubaLIF, EulerCubaLIF
from sandbox.reference.conformance.stepping import Step
from sandbox.reference.peers.mapping import Mapping, doubled, number, refuse, tau_of

RESETS: dict[str, Any] = {"subtract": "subtract", "zero": "to_value", "none": "none"}


def step_of(cell: Any) -> Step:
    """Return the step of a cell, whose state it keeps itself."""
    cell = doubled(cell)

    def step(current: Tensor, state: Any) -> tuple[Tensor, Tensor, bool]:
        if state is None:
            cell.reset_mem()
        answer = cell(current[None])
        return (answer[0] if isinstance(answer, tuple) else answer)[0], cell.mem[0], True

    return step


def _plain(cell: Any) -> None:
    for name in ("state_quant", "inhibition"):
        if getattr(cell, name):
            raise refuse(f"{name}={getattr(cell, name)!r}", f"leave {name} out")
    if number(cell.graded_spikes_factor, "graded_spikes_factor") != 1:
        raise refuse("graded_spikes_factor", "scale the weights behind the cell in its place")


def _firing(cell: Any, kept: float) -> dict[str, Any]:
    """Return threshold and reset; v_threshold / kept at once is v_threshold a step late."""
    threshold, reset = number(cell.threshold, "threshold"), cell.reset_mechanism
    late = reset == "subtract" and cell.reset_delay
    v_reset = threshold * (1 - 1 / kept) if late else 0.0
    return {"v_threshold": threshold, "v_reset": v_reset, "reset": RESETS[reset], "strict": True}


def leaky(cell: Any, dt: float) -> Cell:
    """Return the equation of Leaky: `v <- beta v + x`, spike at v > threshold."""
    _plain(cell)
    beta = min(max(number(cell.beta, "beta"), 0.0), 1.0)
    if beta == 1:
        return IF(tau_mem=dt, **_firing(cell, 1.0))
    return LIF(tau_mem=tau_of(beta, dt, "beta"), r=1 / (1 - beta), **_firing(cell, beta))


def naive_leaky(cell: Any, dt: float) -> Cell:
    """Return what the names say: the decay of beta, and a reset that subtracts the threshold or goes to zero."""
    beta = number(cell.beta, "beta")
    common: dict[str, Any] = {"v_threshold": number(cell.threshold, "threshold"), "reset": RESETS[cell.reset_mechanism]}
    if beta >= 1:
        return IF(tau_mem=dt, **common)
    return LIF(tau_mem=tau_of(beta, dt, "beta"), r=1 / (1 - beta), **common)


def _rates(cell: Any) -> tuple[float, float]:
    return 1 - number(cell.beta, "beta"), 1 - number(cell.alpha, "alpha")


def synaptic(cell: Any, dt: float) -> Cell:
    """Return the equation of Synaptic: `i <- alpha i + x, v <- beta v + i`, spike at v > threshold.

    With reset_mechanism="zero" and a delay, the membrane is 0 in the whole step behind a spike, as if refractory.
    """
    _plain(cell)
    a, b = _rates(cell)
    idle = 2 * dt if cell.reset_mechanism == "zero" and cell.reset_delay else 0.0
    common: dict[str, Any] = {"order": "synapse_first", "t_refractory": idle, **_firing(cell, 1 - a)}
    return EulerCubaLIF(tau_mem=dt / a, tau_syn=dt / b, r=1 / (a * b), **common)


def naive_synaptic(cell: Any, dt: float) -> Cell:
    """Return what the names say: both decays, solved exactly."""
    a, b = _rates(cell)
    times: dict[str, Any] = {
        "tau_mem": tau_of(1 - a, dt, "beta"),
        "tau_syn": tau_of(1 - b, dt, "alpha"),
        "r": 1 / (a * b),
    }
    common: dict[str, Any] = {"v_threshold": number(cell.threshold, "threshold"), "reset": RESETS[cell.reset_mechanism]}
    return CubaLIF(**times, **common)


def alpha(cell: Any, dt: float) -> Cell:
    """Return the equation of Alpha without a reset: `v <- beta v + tau (alpha - beta) i, i <- alpha i + x`.

    Raises:
        ValueError: with a reset, which changes currents in the step behind a spike, not the membrane.
    """
    _plain(cell)
    if cell.reset_mechanism != "none":
        raise refuse(
            f"reset_mechanism={cell.reset_mechanism!r} of Alpha changes its currents, not its membrane",
            "reset_mechanism='none' is EulerCubaLIF(order='together')",
        )
    a, b = _rates(cell)
    tau = math.log(1 - b) / (math.log(1 - a) - math.log(1 - b)) + 1
    gain = tau * ((1 - b) - (1 - a)) / (a * b)
    threshold = number(cell.threshold, "threshold")
    common: dict[str, Any] = {"v_threshold": threshold, "reset": "none", "strict": True}
    return EulerCubaLIF(tau_mem=dt / a, tau_syn=dt / b, r=gain, **common)


def naive_alpha(cell: Any, dt: float) -> Cell:
    """Return what the name says: an alpha synapse with both decays."""
    a, b = _rates(cell)
    times: dict[str, Any] = {"tau_mem": tau_of(1 - a, dt, "beta"), "tau_syn": tau_of(1 - b, dt, "alpha")}
    return AlphaLIF(**times, v_threshold=number(cell.threshold, "threshold"), reset=RESETS[cell.reset_mechanism])


LATE = "v_reset = threshold (1 - 1 / beta) where the threshold is subtracted a step late"
TWICE = (
    "subtraction with reset_delay=False is that of the equation while it takes the membrane below the threshold; "
    "behind a step that leaves it above, the cell fires at twice the threshold, which no equation here does"
)
CLASSES = {
    "Leaky": Mapping(
        step_of, leaky, naive_leaky, f"tau_mem = -dt / ln beta, r = 1 / (1 - beta), strict; {LATE}; {TWICE}"
    ),
    "Synaptic": Mapping(
        step_of,
        synaptic,
        naive_synaptic,
        f"tau_mem = dt / (1 - beta), tau_syn = dt / (1 - alpha), r = 1 / ((1 - alpha) (1 - beta)), strict; {LATE}; "
        f"reset to zero a step late: t_refractory = 2 dt; {TWICE}",
    ),
    "Alpha": Mapping(
        step_of,
        alpha,
        naive_alpha,
        "without a reset alone: times as Synaptic, order = together, r = tau_alpha (alpha - beta) / ((1 - alpha) (1 - "
        "beta)), tau_alpha = 1 + ln alpha / (ln beta - ln alpha)",
    ),
}
