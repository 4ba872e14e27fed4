"""Frequency response: a membrane under a small sinusoidal current, against the linear response of its equations."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sandbox.neurons.base import Neuron
from sandbox.neurons.loop import loop
from sandbox.reference.conformance.convergence import Array
from sandbox.reference.conformance.evidence import Evidence, Response
from sandbox.reference.conformance.report import Check, skipped, within
from sandbox.reference.conformance.solution import Equations, linear, started
from sandbox.reference.conformance.stimuli import rheobase

NAME, TIER = "frequency response", "limit"
HERTZ = np.array([5.0, 10.0, 20.0, 50.0, 100.0, 200.0])
BIAS, SMALL = 0.3, 1e-4  # mean and amplitude [rheobases]; second-order terms are then 1e-4 of the response
PERIOD, DT = 200.0, 0.1  # common period and coarser time step [ms]
ALLOWED = 0.01  # above what extrapolation leaves of (omega dt)^2, 1.6 % at 200 Hz


def frequency_response(neuron: Neuron, equations: Equations, evidence: Evidence) -> Check:
    """Check |v| / |I| about the rest under 0.3 rheobase, extrapolated to dt = 0 from two time steps.

        x' = J (x - x_rest) + b I,   x(t) = x_rest + Re[(i omega - J)^-1 b I exp(i omega t)]

    J and b are finite differences of the right-hand sides. The run starts on this orbit, so there is no transient.
    """
    if "v" not in equations.names:
        return skipped(NAME, TIER, "it has no variable v")
    bias = BIAS * rheobase(neuron) * equations.scales["current"]
    rest = _rest(equations, bias)
    if rest is None:
        return skipped(NAME, TIER, "it has no rest under 0.3 rheobase")
    moving = [bool(side.names) for side in equations.sides]  # not what the reset alone changes
    jacobian, drive = linear(equations, rest, bias)
    jacobian, drive = jacobian[np.ix_(moving, moving)], drive[moving]
    if np.linalg.eigvals(jacobian).real.max() >= 0:
        return skipped(NAME, TIER, "its rest under 0.3 rheobase is not stable")
    omega = 2 * np.pi * HERTZ / 1000
    orbit = np.zeros((len(rest), len(omega)), complex)
    orbit[moving] = np.stack([np.linalg.solve(1j * w * np.eye(len(drive)) - jacobian, drive) for w in omega], -1)
    theory = np.abs(orbit[equations.names.index("v")]) / equations.scales["v"] * equations.scales["current"]
    coarse, fine = (_measured(neuron, equations, rest, orbit, omega, DT / n) for n in (1, 2))
    ours = 2 * fine - coarse
    evidence.response = Response(HERTZ, ours, theory)
    off = float(np.abs(ours / theory - 1).max())
    return within(
        NAME, TIER, off, ALLOWED, f"of the amplitude, {HERTZ[0]:g} to {HERTZ[-1]:g} Hz, extrapolated to dt = 0"
    )


def _rest(equations: Equations, current: float) -> Array | None:
    from scipy.optimize import root

    with np.errstate(all="ignore"):
        found = root(lambda y: equations.derivative(y, current), equations.start, tol=1e-13)
    size = np.maximum(np.abs(found.x), 1.0)
    settled = np.all(np.abs(equations.derivative(found.x, current)) < 1e-8 * size)
    return (
        np.asarray(found.x)
        if settled and (not equations.margin or equations.margin(equations.at(found.x, current)) < 0)
        else None
    )


def _measured(neuron: Neuron, equations: Equations, rest: Array, orbit: Array, omega: Array, dt: float) -> Array:
    """Return amplitudes of v per nA, from the Fourier coefficient at each frequency over the common period."""
    small = SMALL * rheobase(neuron)
    t = dt * np.arange(round(PERIOD / dt))[:, None]
    current = torch.from_numpy(BIAS * rheobase(neuron) + small * np.cos(omega * t))
    house = rest[:, None] + (orbit * small * equations.scales["current"]).real
    v = undisturbed(neuron, current, dt, started(neuron, equations, len(omega), house), ("v",))["v"]
    coefficient = 2 / len(t) * np.sum(v * np.exp(-1j * omega * (t + dt)), 0)
    amplitude: Array = np.abs(coefficient) / small
    return amplitude


def undisturbed(neuron: Neuron, currents: Tensor, dt: float, state: Any, record: tuple[str, ...]) -> dict[str, Array]:
    """Return the variables after each step of integration, without threshold and reset."""

    def step(current: Tensor, state: Any) -> tuple[tuple[Tensor, ...], Any]:
        state = neuron.integrate(current, state, dt)
        return tuple(getattr(state, name) for name in record), state

    with torch.no_grad():
        rows, _ = loop(step, currents, state)
    return {name: row.numpy() for name, row in zip(record, rows, strict=True)}
