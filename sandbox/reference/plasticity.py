"""Synapses with spike-timing-dependent plasticity in Brian2, as `on_pre` and `on_post` of its `Synapses`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rules.credit.spike_timing import Voltage
from rules.credit.spike_timing.window import Window
from sandbox.neurons import LIF
from sandbox.reference.brian import plain_numpy
from sandbox.reference.need import brian2

FAST, READ, SLOW = -1, 0, 1  # order of code within a step: before weights are read, their change, after


def weights_in_brian2(window: Window, pre: Tensor, post: Tensor, dt: float) -> Tensor:
    """Return the changes of all weights from given inputs to given cells, at the end of each step, `[T, C, K]`.

    Brian2 runs from lines that say what a spike does to the traces and the weight; nothing here is written by steps.

    Args:
        window: what pairs and triplets change.
        pre: spikes of the inputs, `[T, K]`, zeros and ones.
        post: spikes of the cells, `[T, C]`.
        dt: time step [ms].

    >>> spikes = torch.zeros(6, 1, dtype=torch.float64)
    >>> pre, post = spikes.clone(), spikes.clone()
    >>> pre[0], post[5] = 1, 1
    >>> weights_in_brian2(Window(), pre, post, 1.0).flatten()[[4, 5]].tolist()  # exp(-5 / 20)
    [0.0, 0.7788007830714049]
    """
    b2 = brian2()
    clock = b2.Clock(dt * b2.ms)
    code = lines(window)
    with plain_numpy():
        source, target = (group_of_spikes(spikes, clock) for spikes in (pre, post))
        synapses = b2.Synapses(
            source,
            target,
            """w : 1
               dx/dt = -x / tau_plus : 1 (event-driven)
               dy/dt = -y / tau_minus : 1 (event-driven)
               dx2/dt = -x2 / tau_x : 1 (event-driven)
               dy2/dt = -y2 / tau_y : 1 (event-driven)""",
            on_pre={f"pre_{order}": text for order, text in code["pre"].items()},
            on_post={f"post_{order}": text for order, text in code["post"].items()},
            namespace=_given(window),
            clock=clock,
        )
        synapses.connect()
        for side, texts in code.items():
            for order, _ in texts.items():
                getattr(synapses, f"{side}_{order}").order = ORDERS[order]
        monitor = b2.StateMonitor(synapses, "w", record=True, when="end", clock=clock)
        b2.Network(source, target, synapses, monitor).run(len(pre) * dt * b2.ms, namespace={})
        rows = np.asarray(monitor.w).T  # [T, synapses], the inputs outermost
    return torch.from_numpy(rows.copy()).reshape(len(pre), pre.shape[1], post.shape[1]).transpose(1, 2)


def learning_cells_in_brian2(
    window: Window, weight: Tensor, pre: Tensor, neuron: LIF, dt: float, low: float | None, high: float | None
) -> tuple[Tensor, Tensor]:
    """Return spikes `[T, C]` and weights `[T, C, K]` at the end of each step, of cells whose weights act at once.

    Inputs arrive after the leak and before the threshold of a step; behind the threshold inputs change weights, then
    cells, each within the bounds.

    Args:
        window: what pairs and triplets change.
        weight: at the beginning, `[C, K]` [nA].
        pre: spikes of the inputs, `[T, K]`, zeros and ones.
        neuron: of the cells, with v_leak = 0, a reset to a value, and no refractory period.
        dt: time step [ms].
        low: lower bound of the weights; None for none.
        high: upper bound, likewise.

    >>> pre, cell = torch.ones(2, 1).double(), LIF(v_threshold=0.05)
    >>> spikes, _ = learning_cells_in_brian2(Window(), torch.ones(1, 1).double(), pre, cell, 1.0, None, None)
    >>> spikes.flatten().tolist()
    [0.0, 1.0]
    """
    b2 = brian2()
    clock = b2.Clock(dt * b2.ms)
    code, limits = lines(window), (-math.inf if low is None else low, math.inf if high is None else high)
    with plain_numpy():
        at, which = pre.nonzero(as_tuple=True)
        source = b2.SpikeGeneratorGroup(
            pre.shape[1], which.numpy(), at.numpy() * clock.dt, clock=clock, when="before_groups"
        )
        cells = b2.NeuronGroup(
            len(weight),
            "dv/dt = -v / tau_mem : 1",
            threshold="v >= v_threshold",
            reset="v = v_reset",
            method="exact",
            namespace={
                "tau_mem": neuron.tau_mem * b2.ms,
                "v_threshold": neuron.v_threshold,
                "v_reset": neuron.v_reset,
            },
            clock=clock,
        )
        bound = f"w = clip(w, {limits[0]}, {limits[1]})" if limits != (-math.inf, math.inf) else ""
        texts = {
            side: {order: f"{text}\n{bound}" if order == "read" else text for order, text in each.items()}
            for side, each in code.items()
        }
        synapses = b2.Synapses(
            source,
            cells,
            """w : 1
               dx/dt = -x / tau_plus : 1 (event-driven)
               dy/dt = -y / tau_minus : 1 (event-driven)
               dx2/dt = -x2 / tau_x : 1 (event-driven)
               dy2/dt = -y2 / tau_y : 1 (event-driven)""",
            on_pre={"arrive": "v_post += gain * w", **{f"pre_{order}": text for order, text in texts["pre"].items()}},
            on_post={f"post_{order}": text for order, text in texts["post"].items()},
            namespace=_given(window) | {"gain": neuron.r * -math.expm1(-dt / neuron.tau_mem)},
            clock=clock,
        )
        synapses.connect()
        synapses.w = weight.T.flatten().numpy()
        synapses.arrive.when = "after_groups"
        for side, each in code.items():
            for order in each:
                pathway = getattr(synapses, f"{side}_{order}")
                pathway.when, pathway.order = "after_thresholds", 2 * ORDERS[order] + (side == "post")
        weights = b2.StateMonitor(synapses, "w", record=True, when="end", clock=clock)
        seen = b2.SpikeMonitor(cells)
        b2.Network(source, cells, synapses, weights, seen).run(len(pre) * dt * b2.ms, namespace={})
        rows = np.asarray(weights.w).T
        spikes = torch.zeros(len(pre), len(weight), dtype=torch.float64)
        spikes[np.rint(np.asarray(seen.t / clock.dt)).astype(int), np.asarray(seen.i)] = 1.0
    shape = len(pre), pre.shape[1], len(weight)
    return spikes, torch.from_numpy(rows.copy()).reshape(shape).transpose(1, 2)


def _given(window: Window) -> dict[str, Any]:
    """Return the numbers of a window, with units."""
    b2 = brian2()
    times = {name: getattr(window, name) * b2.ms for name in ("tau_plus", "tau_minus", "tau_x", "tau_y")}
    return times | {name: getattr(window, name) for name in ("a_plus", "a_minus", "triplet_plus", "triplet_minus")}


def voltage_weights_in_brian2(window: Voltage, pre: Tensor, u: Tensor, dt: float) -> Tensor:
    """Return the changes of all weights from given inputs and membranes, at the end of each step, `[T, C, K]`.

    Brian2 integrates the low-pass filters of the membranes as differential equations, exactly for a membrane that is
    constant within a step. Within a step weights change after that, so the filters see the membrane of the step before.

    Args:
        window: what inputs and membranes change.
        pre: spikes of the inputs, `[T, K]`, zeros and ones.
        u: membranes less thresholds, `[T, C]` [mV].
        dt: time step [ms].

    >>> pre, u = torch.zeros(2, 1).double(), torch.tensor([[-1.0], [-0.5]]).double()
    >>> pre[1] = 1
    >>> voltage_weights_in_brian2(Voltage(theta_minus=-2.0), pre, u, 1.0).flatten().tolist()
    [0.0, -1.0]
    """
    b2 = brian2()
    clock = b2.Clock(dt * b2.ms)
    with plain_numpy():
        shown = b2.TimedArray(u.numpy(), dt=dt * b2.ms)
        times = {name: getattr(window, name) * b2.ms for name in ("tau_x", "tau_minus", "tau_plus")}
        given = {name: getattr(window, name) for name in ("a_plus", "a_minus", "theta_minus", "theta_plus")}
        source = group_of_spikes(pre, clock)
        cells = b2.NeuronGroup(
            u.shape[1],
            """dlow/dt = (shown(t - dt, i) - low) / tau_minus : 1
               dhigh/dt = (shown(t - dt, i) - high) / tau_plus : 1
               u = shown(t, i) : 1""",
            method="exponential_euler",
            namespace={"shown": shown, **times},
            clock=clock,
        )
        cells.low, cells.high = u[0].numpy(), u[0].numpy()
        synapses = b2.Synapses(
            source,
            cells,
            """w : 1
               dx/dt = -x / tau_x : 1 (clock-driven)""",
            on_pre={"fast": "x += 1", "read": "w -= a_minus * clip(low_post - theta_minus, 0, inf)"},
            method="exact",
            namespace={"shown": shown, **given, **times},
            clock=clock,
        )
        synapses.connect()
        synapses.fast.order = FAST
        strengthen = synapses.run_regularly(
            "w += a_plus * dt / ms * x * clip(u_post - theta_plus, 0, inf) * clip(high_post - theta_minus, 0, inf)",
            clock=clock,
            when="synapses",
            order=READ,
        )
        monitor = b2.StateMonitor(synapses, "w", record=True, when="end", clock=clock)
        b2.Network(source, cells, synapses, strengthen, monitor).run(len(pre) * dt * b2.ms, namespace={})
        rows = np.asarray(monitor.w).T
    return torch.from_numpy(rows.copy()).reshape(len(pre), pre.shape[1], u.shape[1]).transpose(1, 2)


ORDERS = {"fast": FAST, "read": READ, "slow": SLOW}


def lines(window: Window) -> dict[str, dict[str, str]]:
    """Return what a spike of either side does, by the moment within a step.

    >>> lines(Window(read="before", pairing="nearest"))["pre"]
    {'read': 'w -= y * (a_minus + triplet_minus * x2)', 'slow': 'x = 1; x2 = 1'}
    """
    add = "+= 1" if window.pairing == "all" else "= 1"
    sign = "-=" if window.shape == "causal" else "+="
    weigh = {
        "pre": f"w {sign} y * (a_minus + triplet_minus * x2)",
        "post": "w += x * (a_plus + triplet_plus * y2)",
    }
    found = {}
    for side, trace in (("pre", "x"), ("post", "y")):
        fast, slow = f"{trace} {add}", f"{trace}2 {add}"
        if window.read == "after" or (window.read == "in_turn" and side == "pre"):
            found[side] = {"fast": fast, "read": weigh[side], "slow": slow}
        else:
            found[side] = {"read": weigh[side], "slow": f"{fast}; {slow}"}
    return found


def group_of_spikes(spikes: Tensor, clock: Any) -> Any:
    """Return a group that fires as given, `[T, N]`."""
    b2 = brian2()
    at, which = spikes.nonzero(as_tuple=True)
    return b2.SpikeGeneratorGroup(spikes.shape[1], which.numpy(), at.numpy() * clock.dt, clock=clock)
