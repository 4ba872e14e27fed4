"""Fused time loops, made from a neuron's own step: traced, differentiated, compiled, and checked at the door.

    step  --record-->  torch operations  --aten-->  a graph of whitelisted nodes  --adjoint-->  its gradient
          --emit-->  source  --numba or Triton-->  a kernel  --ops-->  a torch operator

A population that hears its own spikes runs its synapse and the kernel of its neuron in turn, in one loop (`recurrent`).

Currents on the CPU are for numba, those on CUDA for Triton. `using("plain")`, `using("numba")`, `using("triton")` and
`using("auto")`, or the environment variable SANDBOX_KERNELS, say which loop runs; nothing here is imported before the
first sequence that asks for it.
"""

from sandbox.neurons.kernels.choice import MODES, state, using

__all__ = ["MODES", "state", "using"]
