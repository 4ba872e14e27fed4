"""What all tests share: one thread, the offline data mirror where there is one, and small experiments."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent
MIRROR = ROOT.parent / "shared" / "data"

if "SANDBOX_DATA" not in os.environ and MIRROR.is_dir():
    os.environ["SANDBOX_DATA"] = str(MIRROR)

os.environ.setdefault("SANDBOX_KERNELS", "plain")  # what is tested is the step; tests/sandbox/kernels compiles
os.environ["SANDBOX_SYNAPSES"] = "dense"  # the same bits on every machine; tests/sandbox/synapses weighs by events


@pytest.fixture(autouse=True)
def one_thread():
    """Two test processes on two cores: one thread each, so that sums have one order."""
    torch.set_num_threads(1)


@pytest.fixture
def rng():
    """Dice of one's own."""
    return torch.Generator().manual_seed(0)


WHOLE_MNIST = pytest.mark.skipif(
    not (Path(os.environ.get("SANDBOX_DATA", "")) / "mnist").is_dir(),
    reason="MNIST is not here: set SANDBOX_DATA to a folder with mnist/",
)
