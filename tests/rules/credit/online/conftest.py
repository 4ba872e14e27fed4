from __future__ import annotations

import pytest

from rules.credit.online.walk import Walk


@pytest.fixture(autouse=True)
def short_stretches(monkeypatch):
    """Compute so few steps together that short sequences, too, have a past that only traces remember."""
    monkeypatch.setattr(Walk, "steps", 6)
