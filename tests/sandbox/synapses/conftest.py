"""What these tests share: crossovers kept in a folder of each test's own."""

from __future__ import annotations

import pytest

from sandbox.synapses import calibration


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch):
    monkeypatch.setenv("SANDBOX_SYNAPSES_CACHE", str(tmp_path))
    calibration.forget()
    yield tmp_path / "synapses.json"
    calibration.forget()


@pytest.fixture
def spied(monkeypatch):
    """How often something was weighed by events, without changing how."""
    from sandbox.synapses import product

    seen = []
    active = product.active
    monkeypatch.setattr(product, "active", lambda x: seen.append(x.shape) or active(x))
    return seen
