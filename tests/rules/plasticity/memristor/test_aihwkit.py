"""Response curves against those recorded from aihwkit's own devices; the closed forms beside this file need no recording.

`aihwkit_curves.json` holds the recording with its package, version, protocol and parameters. aihwkit's Python module is
compiled for one version of torch and misreads tensors of another; its simulator, which knows no torch, was recorded.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from rules.plasticity.memristor import ConstantStep, ExponentialStep, LinearStep, PowerStep, SoftBounds

RECORDING = json.loads(Path(__file__).with_name("aihwkit_curves.json").read_text())
CURVES = RECORDING["curves"]  # name: [pulse, mean, spread]
RECORDED, CELLS = RECORDING["provenance"]["cells"], 20000
SPREAD = {
    "dw_min_dtod": 0.2,
    "dw_min_std": 0.6,
    "up_down": 0.1,
    "up_down_dtod": 0.05,
    "w_max": 1.0,
    "w_min": -0.8,
    "w_max_dtod": 0.1,
    "w_min_dtod": 0.15,
}
LINE = {"gamma_up": 0.4, "gamma_down": 0.6, "gamma_up_dtod": 0.05, "gamma_down_dtod": 0.05}
EXPONENT = {"A_up": -1.18445, "A_down": -0.081404, "gamma_up": 5.0, "gamma_down": 5.0, "a": -0.5, "b": -0.5}
REFERENCE = {"dw_min_dtod": 0.5, "dw_min_lognormal": True, "subtract_symmetry_point": True, "reference_std": 0.05}
DEVICES = {
    "constant": ConstantStep(dw_min=0.02, **SPREAD),
    "linear": LinearStep(dw_min=0.02, **SPREAD, **LINE),
    "linear, multiplicative noise": LinearStep(dw_min=0.02, **SPREAD, **LINE, multiplicative=True),
    "soft bounds": SoftBounds(dw_min=0.03, **SPREAD),
    "soft bounds, reference": SoftBounds(dw_min=0.1, **{**SPREAD, **REFERENCE}),
    "exponential": ExponentialStep(dw_min=0.01, **SPREAD, **EXPONENT),
    "exponential, noise of three terms": ExponentialStep(
        dw_min=0.01, **SPREAD, **EXPONENT, dw_min_std_add=0.01, dw_min_std_slope=0.02
    ),
    "power": PowerStep(dw_min=0.04, **SPREAD, gamma=1.5),
}


def test_every_recorded_curve_has_its_device():
    assert set(CURVES) == set(DEVICES)


@pytest.mark.parametrize("name", CURVES)
def test_a_device_has_the_parameters_of_its_recording(name):
    """Those that both sides call by the same name; the others are spelled with a prefix there."""
    theirs, ours = RECORDING["parameters"][name], vars(DEVICES[name])
    shared = [word for word in theirs if word in ours]
    assert len(shared) >= 9
    assert {word: theirs[word] for word in shared} == {word: ours[word] for word in shared}


@pytest.mark.parametrize("name", CURVES)
def test_mean_and_spread_follow_the_recorded_curve(name):
    """Both are estimates from finitely many cells: five standard errors of their difference, from the fourth moment."""
    device, rng = DEVICES[name], torch.Generator().manual_seed(0)
    state = device.init(torch.zeros(CELLS, dtype=torch.float64), rng)
    taken = 0
    for pulse, mean, spread in CURVES[name]:
        while taken < pulse:
            device.pulse(state, torch.full((CELLS,), 1.0 if taken < 60 else -1.0, dtype=torch.float64), rng)
            taken += 1
        w = device.read(state)
        each = (1 / CELLS + 1 / RECORDED) ** 0.5
        tails = float(((w - w.mean()) / w.std()).pow(4).mean())
        assert float(w.mean()) == pytest.approx(mean, abs=5 * spread * each), f"mean after {pulse} pulses"
        near = 5 * spread * each * ((tails - 1) / 4) ** 0.5
        assert float(w.std()) == pytest.approx(spread, abs=near), f"spread after {pulse} pulses"
