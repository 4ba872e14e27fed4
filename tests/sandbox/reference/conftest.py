"""Brian2 looks for garbage in each of its runs: what it and SymPy made while they were imported is left out."""

from __future__ import annotations

import gc

import pytest


@pytest.fixture(scope="session", autouse=True)
def imported():
    import brian2  # noqa: F401

    gc.collect()
    gc.freeze()
