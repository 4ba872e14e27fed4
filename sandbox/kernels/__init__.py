"""Fused time loops, generated from a neuron's own `step`: traced, differentiated and compiled.

    step  --record-->  torch operations  --aten-->  a graph of whitelisted nodes  --adjoint-->  its gradient
          --emit-->  source  --numba or Triton-->  a kernel  --ops-->  a torch operator

A recurrent population runs its synapse and the kernel of its neuron in turn, in one loop (`recurrent`).

Numba handles currents on the CPU, Triton those on CUDA. `using("plain")`, `using("numba")`, `using("triton")` and
`using("auto")`, or the environment variable SANDBOX_KERNELS, select the loop; the code here is imported with the first
sequence that needs it.

Triton is experimental: its kernels agree with the plain loop in Triton's interpreter, and they compile for compute
capability 8.0, but no CUDA device has run them yet.
"""

from __future__ import annotations

from typing import Any

import torch

from rules.credit.online import traces
from sandbox.kernels.choice import MODES, using
from sandbox.kernels.choice import choice as present
from sandbox.kernels.launch.backends import Effective, effective, state
from sandbox.machine.compiled import absent

FEW = 2**22  # entries of traces times steps that the loop in torch takes before a compiled one is loaded
NARROW = 32  # cells that share their inputs, below which a matrix product is faster than the loop

__all__ = ["MODES", "Effective", "effective", "forget", "source", "state", "using"]


def forget() -> None:
    """Forget what kernels were made from, and which calls were made before; compiled kernels stay in memory.

    A plan of a step is made again when a method, a global, a class variable, a closure or an object in a field that
    the step reads has changed. Code of installed packages and of this project counts as fixed: call this after you
    change some of that, such as a function of `sandbox.neurons.base` that is replaced by one of your own.
    """
    from sandbox.kernels import history, plans

    plans.forget()
    history.forget()


def eligible(value: Any, low: Any, stretch: Any) -> Any:
    """Advance eligibility traces in a compiled loop; None where the loop in torch has to run."""
    mode = present().mode
    few = stretch.columns.numel() * stretch.signal.shape[2] < FEW or stretch.signal.shape[2] < NARROW
    if (few and mode == "auto") or mode == "plain" or absent() is not None:
        return None
    from sandbox.kernels.eligibility import moved

    return moved(value, low, stretch)


traces.FUSED.append(eligible)


def source(
    neuron: Any,
    dt: float = 1.0,
    dtype: torch.dtype = torch.float64,
    record: tuple[str, ...] = (),
    backend: str = "numba",
    derivatives: bool = False,
) -> str:
    """Return the Python source of a neuron's forward and backward kernel, as numba or Triton compiles it.

    Args:
        neuron: a `sandbox.Neuron`.
        dt: time step [ms], 1 by default.
        dtype: of the currents, float64 by default.
        record: names of the state variables that the kernel records; none by default.
        backend: "numba", by default, or "triton".
        derivatives: whether to add the forward kernel whose outputs include the derivatives of a step, as online
            rules run it; False by default.

    Raises:
        RuntimeError: if a neuron has no kernel; the message names the reason.
        ValueError: for an unknown back end.
    """
    from sandbox.kernels.listing import listing

    return listing(neuron, dt, dtype, record, backend, derivatives)
