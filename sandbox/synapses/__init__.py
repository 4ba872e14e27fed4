"""Synapses that pay only for spikes: dense weights that add up the rows of the inputs that are active.

    y[n] = bias + sum over active j of x[n, j] W[:, j]                       forward
    dLoss/dW[:, j] = sum over n where j is active of x[n, j] dLoss/dy[n]     for the weight
    dLoss/dx[n] = sum over o where dLoss/dy[n, o] is not 0 of dLoss/dy[n, o] W[o]

Each is what a matrix product says, less the terms that are exactly zero, so it agrees with the dense product up to the
order of summation. `EventLinear` chooses for each call, by the density of what it is given, and `using` forces it:

- "auto", the default of a plain Python session: by events where the density is below a crossover that is measured
  once for each machine and shape (`sandbox.synapses.calibration`). Since timings decide, two machines may round
  differently, and so may two runs on one whose measurements are not kept;
- "events": always by events; the same bits in every run and for any number of threads;
- "dense": always the matrix product. An `Experiment` is pinned to it, or to "events" where it says so, because a run
  that is resumed, or paired with another, must not depend on how busy the machine was.

A recurrent weight is chosen for in the same way in every step, in the loop of `sandbox.kernels.recurrent`; that
transposes it once. Convolutions stay dense: prototypes, which are not kept, took 0.7 to 1.4 of the time of a dense
convolution's forward pass at a density of 5 %.

The room imports `machine` alone.
"""

from sandbox.synapses.choice import MODES, using
from sandbox.synapses.linear import EventLinear

__all__ = ["MODES", "EventLinear", "using"]
