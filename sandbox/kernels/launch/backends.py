"""The choice of the back end: numba for the CPU; Triton for CUDA, or on request in its interpreter."""

from __future__ import annotations

import os
from functools import lru_cache
from importlib.metadata import version
from importlib.util import find_spec

import torch

from sandbox.kernels.choice import choice
from sandbox.machine import compiled as compiled_loops
from sandbox.machine.compiled import absent


def refusal(device: torch.device, mode: str) -> str | None:
    """Return why there are no kernels for currents on a device in a mode of `choice.MODES`; None if there are."""
    if device.type == "cpu" and mode == "triton":
        return triton_absent() or not_interpreting()
    if device.type == "cpu":
        return absent()
    if device.type != "cuda" or mode == "numba":
        return f"currents are on {device}"
    missing = triton_absent()
    return missing and f"currents are on {device}, and {missing}"


def by_triton(device: torch.device, mode: str) -> bool:
    """Return whether Triton, and not numba, compiles the kernels for a device and a mode."""
    return device.type == "cuda" or mode == "triton"


@lru_cache(maxsize=1)
def triton_absent() -> str | None:
    """Return why Triton cannot be used on this machine; None if it can."""
    return None if find_spec("triton") else "triton is not installed: pip install 'learning-rule-sandbox[triton]'"


def not_interpreting() -> str | None:
    """Return why Triton cannot run on the CPU; None if its interpreter is switched on."""
    if os.environ.get("TRITON_INTERPRET") == "1":
        return None
    return "currents are on cpu, where Triton only has its interpreter: start Python with TRITON_INTERPRET=1"


def state() -> str:
    """Return a line about the kernels for `sandbox doctor`."""
    first = f"none: {absent()}" if absent() else compiled_loops.state(choice().mode)
    return f"{first}; {triton_state()}"


def triton_state() -> str:
    """Return the part about Triton of that line."""
    if triton_absent():
        return "triton is not installed"
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no CUDA device"
    return f"triton {version('triton')} (experimental: no device has run its kernels yet), {device}"
