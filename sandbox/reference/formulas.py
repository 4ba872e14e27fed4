"""The published formulas of cells without equations for Brian2, in NumPy, one number after the other.

They share no code with `sandbox.neurons`: validation compares the two (`sandbox.validate`). `dt` plays a part only
where a formula names it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rules.steps import SLACK
from sandbox.neurons import (
    ASN,
    CPLIF,
    GLIF,
    ILIF,
    KLIF,
    NASN,
    NILIF,
    PSN,
    EulerCubaLIF,
    MaskedPSN,
    MultiIF,
    MultiLIF,
    SlidingPSN,
)  # fmt: skip

Array = NDArray[np.float64]
Formula = Callable[[Any, Array, float], tuple[Array, Array]]  # cell, currents [T, N], dt -> outputs, membranes [T, N]


def parallel(cell: PSN, x: Array, dt: float) -> tuple[Array, Array]:
    """Return `v[t] = sum_j W[t, j] x[j]`, and spikes where it reaches the threshold of the step."""
    weight, threshold = tensors(cell)
    v = np.zeros_like(x)
    for t in range(len(x)):
        for j in range(len(x)):
            v[t] += weight[t, j] * x[j]
    return (v >= threshold[: len(x), None]).astype(float), v


def masked(cell: MaskedPSN, x: Array, dt: float) -> tuple[Array, Array]:
    """Return the same with inputs outside of the last `order` weakened by `1 - masked`."""
    weight, threshold = tensors(cell)
    v = np.zeros_like(x)
    for t in range(len(x)):
        for j in range(len(x)):
            v[t] += weight[t, j] * x[j] * (1.0 if j <= t < j + cell.order else 1 - cell.masked)
    return (v >= threshold[: len(x), None]).astype(float), v


def sliding(cell: SlidingPSN, x: Array, dt: float) -> tuple[Array, Array]:
    """Return `v[t] = sum_i W[i] x[t - k + 1 + i]`, without inputs before the first."""
    weight, threshold = tensors(cell)
    v = np.zeros_like(x)
    for t in range(len(x)):
        for i in range(cell.order):
            if t - cell.order + 1 + i >= 0:
                v[t] += weight[i] * x[t - cell.order + 1 + i]
    return (v >= threshold).astype(float), v


def counted(cell: Any, x: Array, dt: float) -> tuple[Array, Array]:
    """Return counts of `U = H + X, S = clip(round(U), alpha, alpha + D), H = beta (U - S)`, as published."""
    alpha = float(np.asarray(getattr(cell, "alpha", 0.0)))
    if getattr(cell, "window", "ceiling") == "ceiling":
        alpha = float(np.ceil(alpha))
    h, rows, v = np.zeros(x.shape[1:]), [], []
    for current in x:
        u = h + current
        s = np.clip(np.rint(u), alpha, alpha + cell.levels)
        h = cell.beta * (u - s)
        rows.append(s / cell.levels if isinstance(cell, (NILIF, NASN)) else s)
        v.append(u - s)
    return np.stack(rows), np.stack(v)


def scaled(cell: KLIF, x: Array, dt: float) -> tuple[Array, Array]:
    """Return spikes of the rectified membrane `max(0, k (v + (x - v) dt / tau))`, which is reset to 0."""
    k, tau = float(cell.k), float(cell.tau_mem)
    v, rows, membranes = np.zeros(x.shape[1:]), [], []
    for current in x:
        f = np.maximum(0.0, k * (v + (current - v) * dt / tau))
        s = (f >= cell.v_threshold).astype(float)
        v = f * (1 - s)
        rows.append(s)
        membranes.append(v)
    return np.stack(rows), np.stack(membranes)


def current_based(cell: EulerCubaLIF, x: Array, dt: float) -> tuple[Array, Array]:
    """Return spikes of Euler steps of synapse and membrane, in the cell's order; v waits while refractory."""
    a, b = dt / cell.tau_mem, dt / cell.tau_syn
    wait, closed = np.zeros(x.shape[1:]), max(np.floor(cell.t_refractory / dt + SLACK) - 1, 0.0)
    v, i, rows, membranes = np.full(x.shape[1:], cell.v_leak), np.zeros(x.shape[1:]), [], []
    for current in x:
        heard = {"together": i, "synapse_first": (1 - b) * i + b * current, "jump_first": i + b * current}[cell.order]
        v = np.where(wait > 0, v, (1 - a) * v + a * (cell.v_leak + cell.r * heard))
        i = (1 - b) * heard if cell.order == "jump_first" else (1 - b) * i + b * current
        s = (v > cell.v_threshold if cell.strict else v >= cell.v_threshold) * (wait <= 0) * 1.0
        wait = np.where(s > 0, closed, np.maximum(wait - 1, 0.0))
        if cell.reset == "subtract":
            v = v - s * (cell.v_threshold - cell.v_reset)
        elif cell.reset == "to_value":
            v = np.where(s > 0, cell.v_reset, v)
        rows.append(s)
        membranes.append(v)
    return np.stack(rows), np.stack(membranes)


def several(cell: MultiLIF | MultiIF, x: Array, dt: float) -> tuple[Array, Array]:
    """Return how many thresholds fit into `alpha v + (1 - alpha) r x`, or `v + r x dt / tau`, which they leave."""
    alpha = float(np.exp(-dt / cell.tau_mem))
    v, rows, membranes = np.full(x.shape[1:], cell.v_leak), [], []
    for current in x:
        if isinstance(cell, MultiLIF):
            v = alpha * v + (1 - alpha) * (cell.v_leak + cell.r * current)
        else:
            v = v + cell.r * current * dt / cell.tau_mem
        s = np.where(v > 0, np.minimum(np.trunc(v / cell.v_threshold), cell.levels), 0.0)
        v = v - s * cell.v_threshold
        rows.append(s)
        membranes.append(v)
    return np.stack(rows), np.stack(membranes)


def by_channel(cell: CPLIF, x: Array, dt: float) -> tuple[Array, Array]:
    """Return spikes of `v + (x - v) p + b`, with `p` the softmax of the weights of all cells, reset to 0."""
    count = x.shape[-1]
    weight = np.zeros(count) if cell.weight is None else cell.weight.detach().double().numpy()
    bias = np.zeros(count) if cell.bias is None else cell.bias.detach().double().numpy()
    p = np.exp(weight) / np.exp(weight).sum()
    v, rows, membranes = np.zeros(x.shape[1:]), [], []
    for current in x:
        h = v + (current - v) * p + bias
        s = (h >= cell.v_threshold).astype(float)
        v = h * (1 - s)
        rows.append(s)
        membranes.append(v)
    return np.stack(rows), np.stack(membranes)


def gated(cell: GLIF, x: Array, dt: float) -> tuple[Array, Array]:
    """Return spikes of the gated membrane, from which those of the step before are subtracted."""
    logits = cell.logits if cell.logits is not None else cell.drawn(seeded(cell), None)["logits"]
    values = 1 / (1 + np.exp(-logits.detach().double().numpy()))
    alpha, beta, gamma, tau, threshold, decay, subreset = values[:7]
    v, s, rows, membranes = np.zeros(x.shape[1:]), np.zeros(x.shape[1:]), [], []
    for t, current in enumerate(x):
        leak = 1 - alpha * (1 - tau)
        v = (
            leak * v * (1 - gamma * s)
            - (1 - alpha) * decay
            + (1 - beta * (1 - values[7 + t])) * current
            - (1 - gamma) * subreset * s
        )
        s = (v >= threshold).astype(float)
        rows.append(s)
        membranes.append(v)
    return np.stack(rows), np.stack(membranes)


def tensors(cell: Any) -> tuple[Array, Array]:
    """Return weight and threshold of a parallel neuron; those that it draws where none are given."""
    drawn = cell.drawn(seeded(cell), None)
    given = [drawn[n] if getattr(cell, n) is None else getattr(cell, n) for n in ("weight", "v_threshold")]
    weight, threshold = (np.asarray(value.detach() if hasattr(value, "detach") else value, float) for value in given)
    return weight, threshold


def seeded(cell: Any) -> Any:
    """Return the generator of a cell's own seed."""
    import torch

    return torch.Generator().manual_seed(cell.seed)


FORMULAS: dict[type, Formula] = {
    PSN: parallel,
    MaskedPSN: masked,
    SlidingPSN: sliding,
    ILIF: counted,
    NILIF: counted,
    ASN: counted,
    NASN: counted,
    KLIF: scaled,
    EulerCubaLIF: current_based,
    MultiLIF: several,
    MultiIF: several,
    CPLIF: by_channel,
    GLIF: gated,
}
