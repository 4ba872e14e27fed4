"""Kernels checked directly against Brian2, as the plain loop is, and not only against that loop."""

from __future__ import annotations

import pytest

from sandbox import validate
from sandbox.kernels import using
from sandbox.neurons import IN_BRIAN2
from sandbox.reference.conformance.validate import TIERS


@pytest.mark.slow
@pytest.mark.parametrize("name", IN_BRIAN2)
def test_kernels_agree_with_brian2(name):
    with using("numba"):
        report = validate(IN_BRIAN2[name](), duration=30.0, cells=4, tiers=TIERS[:1])
    assert report.passed, report.table()
    assert report.spikes > 0 or not IN_BRIAN2[name].spiking or name == "qif"  # whose upstroke takes longer
