"""Fused time loops, made from a neuron's own step: traced, differentiated, compiled, and checked at the door.

    step  --record-->  torch operations  --aten-->  a graph of whitelisted nodes  --adjoint-->  its gradient
          --emit-->  source  --numba or Triton-->  a kernel  --ops-->  a torch operator

A population that hears its own spikes runs its synapse and the kernel of its neuron in turn, in one loop (`recurrent`).

Currents on the CPU are for numba, those on CUDA for Triton. `using("plain")`, `using("numba")`, `using("triton")` and
`using("auto")`, or the environment variable SANDBOX_KERNELS, say which loop runs; nothing here is imported before the
first sequence that asks for it.

Triton is experimental: its kernels agree with the plain loop in Triton's interpreter, and they compile for compute
capability 8.0, but no CUDA device has run them yet.
"""

from __future__ import annotations

from typing import Any

import torch

from sandbox.kernels.choice import MODES, using
from sandbox.kernels.launch.backends import state

__all__ = ["MODES", "source", "state", "using"]


def source(
    neuron: Any,
    dt: float = 1.0,
    dtype: torch.dtype = torch.float64,
    record: tuple[str, ...] = (),
    backend: str = "numba",
) -> str:
    """Return the Python of a neuron's forward and backward kernel, as numba or Triton compiles it.

    Args:
        neuron: a `sandbox.Neuron`.
        dt: time step [ms].
        dtype: of the currents.
        record: names of the state variables that the kernel writes down.
        backend: "numba" or "triton".

    Raises:
        RuntimeError: names the reason where a neuron has no kernel.
        ValueError: for an unknown back end.
    """
    from sandbox.kernels.listing import listing

    return listing(neuron, dt, dtype, record, backend)
