"""Names of devices, and whether torch has them."""

from __future__ import annotations

import re

import pytest
import torch

from sandbox.machine import devices


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:0", "cuda:12"])
def test_names_of_devices(device):
    devices.check_name(device)


@pytest.mark.parametrize("device", ["gpu", "CUDA", "cuda:", "cuda:-1", "cuda:1\n", "meta", "mps", 0])
def test_an_unknown_device_is_refused(device):
    with pytest.raises(ValueError, match=f"device={re.escape(repr(device))}: give 'cpu', 'cuda', or one of several as"):
        devices.check_name(device)


@pytest.mark.parametrize(("count", "fit"), [(0, ["cpu"]), (2, ["cpu", "cuda", "cuda:0", "cuda:1"])])
def test_only_devices_that_torch_has_are_admitted(count, fit, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    for device in ("cpu", "cuda", "cuda:0", "cuda:1", "cuda:2"):
        if device in fit:
            devices.require(device)
            continue
        with pytest.raises(ValueError, match=r"has no such device here; it has 'cpu'.*Set device: cpu, or install"):
            devices.require(device)
