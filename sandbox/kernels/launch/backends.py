"""The choice of the back end: numba for the CPU; Triton for CUDA, or on request in its interpreter."""

from __future__ import annotations

import os
from functools import lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from typing import NamedTuple

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


class Effective(NamedTuple):
    """The loop that a mode comes to on this machine, and the versions of the compilers that its bits depend on."""

    mode: str  # numba, triton or plain
    numba: str | None = None
    triton: str | None = None

    def __str__(self) -> str:
        if self.mode == "plain":
            return "plain" if self.numba is None else f"plain, with events by numba {self.numba}"
        return f"{self.mode} {self.triton if self.mode == 'triton' else self.numba}"


def effective(device: torch.device, synapses: float | str = "dense") -> Effective:
    """Return what the present choice comes to for a network on a device.

    Args:
        device: of the network.
        synapses: 'dense', 'events' or a density; events are added up by numba whatever the mode.

    Raises:
        ValueError: for a mode that was asked for by name and cannot run here; the message names the reason.

    >>> from sandbox.kernels import using
    >>> with using("plain"):
    ...     str(effective(torch.device("cpu")))
    'plain'
    """
    mode = choice().mode
    reason = None if mode == "plain" else refusal(device, mode)
    if reason and mode != "auto":
        raise ValueError(f"kernels={mode!r}: {reason}; or ask for kernels='auto' or 'plain'")
    plain = mode == "plain" or reason is not None
    triton = not plain and by_triton(device, mode)
    numba = synapses != "dense" or not (plain or triton)
    return Effective(
        "plain" if plain else "triton" if triton else "numba",
        version("numba") if numba and not absent() else None,
        version("triton") if triton else None,
    )


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
