"""Kernels checked directly against Brian2, as the plain loop is, and not only against that loop."""

from __future__ import annotations

import pytest

from sandbox import NEURONS, validate
from sandbox.kernels import using
from sandbox.reference.conformance.validate import TIERS


@pytest.mark.slow
@pytest.mark.parametrize("name", NEURONS)
def test_kernels_agree_with_brian2(name):
    with using("numba"):
        report = validate(NEURONS[name](), duration=30.0, cells=4, tiers=TIERS[:1])
    assert report.passed, report.table()
    assert report.spikes > 0 or not NEURONS[name].spiking or name == "qif"  # whose upstroke takes longer
