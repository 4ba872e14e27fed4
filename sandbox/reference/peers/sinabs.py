"""Cells of Sinabs: exact decays with tau in steps, and as many spikes in a step as thresholds fit into the membrane."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from rules.models.peers import at_rest
from sandbox.neurons import ALIF, IF, LIF, Cell, CubaLIF, EulerCubaLIF, LeakyIntegrator, MultiIF, MultiLIF
from sandbox.reference.conformance.stepping import Step
from sandbox.reference.peers.mapping import Mapping, doubled, number, refuse, tau_of


def step_of(cell: Any) -> Step:
    """Return the step of a layer, whose state it keeps itself."""
    cell = doubled(cell)

    def step(current: Tensor, state: Any) -> tuple[Tensor, Tensor, bool]:
        if state is None:
            at_rest(cell)
        spikes = cell(current[None, None])
        return spikes[0, 0], cell.v_mem[0], True

    return step


def _threshold(cell: Any) -> float:
    """Return the threshold at rest; that of ALIF has another name beside its present one."""
    return number(getattr(cell, "b0", cell.spike_threshold), "spike_threshold")


def _named(cell: Any) -> Any:
    """Return the reset that the class of reset_fn names."""
    return {"MembraneReset": "to_value", "MembraneSubtract": "subtract"}[type(cell.reset_fn).__name__]


def _firing(cell: Any) -> dict[str, Any]:
    """Return threshold and reset, or the number of spikes in a step."""
    if cell.min_v_mem is not None:
        raise refuse(f"min_v_mem={number(cell.min_v_mem, 'min_v_mem'):g}", "leave min_v_mem out")
    threshold, fires, reset = _threshold(cell), cell.spike_fn, cell.reset_fn
    kind, how = getattr(fires, "__name__", type(fires).__name__), type(reset).__name__
    whole = how == "MembraneSubtract" and reset.subtract_value in (None, threshold)
    if kind in ("MultiSpike", "MaxSpike") and whole:
        levels = getattr(fires, "max_num_spikes_per_bin", None)
        return {"v_threshold": threshold, "levels": 255 if levels is None else int(levels)}
    if kind == "SingleSpike" and how == "MembraneSubtract":
        taken = threshold if reset.subtract_value is None else float(reset.subtract_value)
        return {"v_threshold": threshold, "v_reset": threshold - taken, "reset": "subtract"}
    if kind == "SingleSpike" and how == "MembraneReset" and reset.reset_value == 0:
        return {"v_threshold": threshold, "v_reset": 0.0, "reset": "to_value"}
    raise refuse(
        f"spike_fn={kind} with reset_fn={reset!r}", "MultiSpike, MaxSpike and SingleSpike subtract a threshold"
    )


def leaky(cell: Any, dt: float) -> Cell:
    """Return the equation of LIF: `v <- alpha v + (1 - alpha) x`, alpha = exp(-1 / tau), trunc(v / threshold) spikes.

    With tau_syn, `i <- alpha_syn (i + x)` stands for x, and one spike in a step.
    """
    cell, firing = doubled(cell), _firing(cell)
    kept = number(cell.alpha_mem_calculated, "tau_mem")
    gain = 1.0 if cell.norm_input else 1 / (1 - kept)
    if cell.alpha_syn_calculated is None:
        kind = MultiLIF if "levels" in firing else LIF
        return kind(tau_mem=tau_of(kept, dt, "tau_mem"), r=gain, **firing)
    if "levels" in firing:
        raise refuse("tau_syn with several spikes in a step", "use spike_fn=SingleSpike")
    a, b = 1 - kept, 1 - number(cell.alpha_syn_calculated, "tau_syn")
    return EulerCubaLIF(tau_mem=dt / a, tau_syn=dt / b, r=gain * (1 - b) / b, order="synapse_first", **firing)


def naive_leaky(cell: Any, dt: float) -> Cell:
    """Return what the names say: tau in steps, resistance 1, one spike a step, a reset by the kind that is named."""
    common: dict[str, Any] = {
        "v_threshold": _threshold(cell),
        "reset": _named(cell),
        "tau_mem": dt * number(cell.tau_mem_calculated, "tau_mem"),
    }
    if cell.tau_syn_calculated is None:
        return LIF(**common)
    return CubaLIF(**common, tau_syn=dt * number(cell.tau_syn_calculated, "tau_syn"))


def adaptive(cell: Any, dt: float) -> Cell:
    """Return the equation of ALIF: the threshold of a step is `b0 + adapt_scale b`, b <- alpha b + (1 - alpha) n.

    Raises:
        ValueError: where the threshold with its adaptation is subtracted, as by default.
    """
    cell = doubled(cell)
    if cell.reset_fn == type(cell.reset_fn)() and type(cell.reset_fn).__name__ == "MembraneSubtract":
        raise refuse(
            "ALIF subtracts the threshold with its adaptation",
            "use reset_fn=MembraneReset(), or MembraneSubtract(1.0) for a constant",
        )
    if cell.alpha_syn_calculated is not None or not cell.norm_input:
        raise refuse("tau_syn or norm_input=False of ALIF", "leave them out")
    kept, faded = number(cell.alpha_mem_calculated, "tau_mem"), number(cell.alpha_adapt_calculated, "tau_adapt")
    times: dict[str, Any] = {"tau_mem": tau_of(kept, dt, "tau_mem"), "tau_adapt": tau_of(faded, dt, "tau_adapt")}
    firing = _firing(cell)
    if "levels" in firing:
        raise refuse("several spikes of ALIF in a step", "use spike_fn=SingleSpike")
    return ALIF(**times, beta=number(cell.adapt_scale, "adapt_scale") * (1 - faded) / faded, **firing)


def naive_adaptive(cell: Any, dt: float) -> Cell:
    """Return what the names say: times in steps, adapt_scale as beta, a reset by the kind that is named."""
    kept, faded = number(cell.alpha_mem_calculated, "tau_mem"), number(cell.alpha_adapt_calculated, "tau_adapt")
    times: dict[str, Any] = {"tau_mem": tau_of(kept, dt, "tau_mem"), "tau_adapt": tau_of(faded, dt, "tau_adapt")}
    common: dict[str, Any] = {"v_threshold": _threshold(cell), "reset": _named(cell)}
    return ALIF(**times, beta=number(cell.adapt_scale, "adapt_scale"), **common)


def integrate_and_fire(cell: Any, dt: float) -> Cell:
    """Return the equation of IAF: `v <- v + x`."""
    if cell.alpha_syn_calculated is not None:
        raise refuse("tau_syn of IAF", "leave tau_syn out")
    firing = _firing(doubled(cell))
    return (MultiIF if "levels" in firing else IF)(tau_mem=dt, **firing)


def naive_integrate_and_fire(cell: Any, dt: float) -> Cell:
    """Return the same, with one spike in a step."""
    return IF(tau_mem=dt, v_threshold=_threshold(cell), reset=_named(cell))


def leak(cell: Any, dt: float) -> Cell:
    """Return the equation of ExpLeak: `v <- alpha v + x`."""
    cell = doubled(cell)
    if cell.min_v_mem is not None:
        raise refuse("min_v_mem", "leave min_v_mem out")
    kept = number(cell.alpha_mem_calculated, "tau_mem")
    return LeakyIntegrator(tau_mem=tau_of(kept, dt, "tau_mem"), r=1.0 if cell.norm_input else 1 / (1 - kept))


def naive_leak(cell: Any, dt: float) -> Cell:
    """Return what the names say: tau in steps, resistance 1."""
    return LeakyIntegrator(tau_mem=dt * number(cell.tau_mem_calculated, "tau_mem"))


CLASSES = {
    "LIF": Mapping(
        step_of,
        leaky,
        naive_leaky,
        "tau_mem = tau dt, r = 1 (1 / (1 - exp(-1 / tau)) with norm_input=False); with tau_syn: tau = dt / (1 - exp("
        "-1 / tau)) for both, r = exp(-1 / tau_syn) / (1 - exp(-1 / tau_syn)), order = synapse_first",
    ),
    "ALIF": Mapping(
        step_of,
        adaptive,
        naive_adaptive,
        "ALIF with times in steps, beta = adapt_scale (1 - a) / a, a = exp(-1 / tau_adapt), where the reset is to 0 or "
        "subtracts a constant",
    ),
    "IAF": Mapping(step_of, integrate_and_fire, naive_integrate_and_fire, "MultiIF or IF with tau_mem = dt, r = 1"),
    "ExpLeak": Mapping(
        step_of, leak, naive_leak, "tau_mem = tau dt, r = 1 / (1 - exp(-1 / tau)) (1 with norm_input=True)"
    ),
}
