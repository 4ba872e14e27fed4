"""The second tier: float32, as used in training, against float64."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sandbox.reference.conformance.report import Check, skipped, within
from sandbox.reference.conformance.trial import Trial, first_step
from sandbox.simulation import Trajectory

TIER = "float32"
ROUNDING = 2.0**-24  # the largest relative error of one rounding to float32
TAU = 10.0  # time constant of the kernel of the spike distance [ms]
VOLTAGE, SPIKES = 1e-3, 1e-2  # tolerances: 1/1000 of the range; 1 % of spikes lost, or all moved by 0.1 ms
ROUNDINGS = 10.0  # per float32 step, approximately; a cell is sensitive if one of them moves it by 1/10 of a tolerance


def float32(trial: Trial) -> list[Check]:
    """Check the voltage RMSE up to the first spike that differs, and the van Rossum distance of the spike trains.

        D^2 = 2 / tau int (f - g)^2 dt,  f = sum_i exp(-(t - t_i) / tau) for t > t_i

    D^2 counts spikes: a lost spike adds 1, a spike moved by d << tau adds 2 d / tau. It is reported as a share of all
    spikes. Tolerances: roundings of 2^-24 that a membrane remembers for a few hundred steps add up to 1e-5 of it, so
    1e-3 of its range leaves room for an upstroke. A cell is sensitive if, in float64, one such rounding per step moves
    it by more than a tenth of a tolerance; sensitive cells are counted and left out.

    Reference: van Rossum 2001, A novel spike distance (doi 10.1162/089976601300014321).
    """
    single, double = trial.run(torch.float32), trial.ours
    rmse, distance = _voltage(trial, single, double), _spikes(trial, single, double)
    sensitive = torch.zeros(len(rmse), dtype=torch.bool)
    if not bool((rmse <= VOLTAGE).all()) or not float(distance.sum()) <= SPIKES * _count(trial, ~sensitive):
        other = trial.disturbed(ROUNDING)
        sensitive = _voltage(trial, other, double) > VOLTAGE / ROUNDINGS
        sensitive |= _spikes(trial, other, double) > SPIKES / ROUNDINGS * double.spikes.sum(0)
    kept = ~sensitive
    checks = [
        within(
            "voltage RMSE",
            TIER,
            float(rmse[kept].max()) if kept.any() else 0.0,
            VOLTAGE,
            "of the range, in the worst cell, up to the first spike at another step",
        )
    ]
    if trial.neuron.spiking:
        share = float(distance[kept].sum()) / _count(trial, kept)
        checks.append(
            within("spike distance", TIER, share, SPIKES, "van Rossum, tau = 10 ms, as a share of all spikes")
        )
    else:
        checks.append(skipped("spike distance", TIER, "it never fires"))
    if sensitive.any():
        checks.append(
            within(
                "share of sensitive cells",
                TIER,
                float(sensitive.double().mean()),
                0.5,
                "one rounding per step in float64 moves them by 1/10 of a tolerance: left out",
            )
        )
    return checks


def _count(trial: Trial, kept: Tensor) -> float:
    return max(float(trial.ours.spikes[:, kept].sum()), 1.0)


def _voltage(trial: Trial, a: Trajectory, b: Trajectory) -> Tensor:
    """Return the RMSE of each cell, as a share of the range of the membrane under its stimulus."""
    v, w = a.variables[trial.neuron.membrane].double(), b.variables[trial.neuron.membrane]
    until = first_step(a.spikes != b.spikes) if trial.neuron.spiking else torch.full((v.shape[1],), len(v))
    counted = torch.arange(len(v))[:, None] < until
    rmse = (torch.where(counted, (v - w) ** 2, 0.0).sum(0) / until.clamp(min=1)).sqrt()
    swing = abs(float(torch.as_tensor(trial.neuron.swing).detach().max()))
    ranges = [max(float(w[:, of].max() - w[:, of].min()), swing) for _, of in trial.blocks()]
    return rmse / torch.tensor(ranges, dtype=torch.float64).repeat_interleave(trial.cells)


def _spikes(trial: Trial, a: Trajectory, b: Trajectory) -> Tensor:
    """Return the van Rossum distance of each cell's spike train, in spikes."""
    if not trial.neuron.spiking:
        return torch.zeros(b.spikes.shape[1])
    apart = _filtered(a.spikes.double() - b.spikes, trial.dt)
    return 2 / TAU * trial.dt * (apart**2).sum(0)


def _filtered(signal: Tensor, dt: float) -> Tensor:
    from scipy.signal import lfilter

    return torch.from_numpy(np.ascontiguousarray(lfilter([1.0], [1.0, -np.exp(-dt / TAU)], signal.numpy(), axis=0)))
