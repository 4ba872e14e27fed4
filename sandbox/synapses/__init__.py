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

Convolutions and recurrent weights stay dense. At a density of 5 %, in float32 on one thread, adding the kernels of a
convolution's active inputs to a channels-last output took 1.2, 0.7, 1.4 and 0.7 of the time of the dense one (16 to 32
channels on 16 x 16, 32 to 64 on 8 x 8, 3 to 16 on 32 x 32, 8 to 16 with 5 x 5 kernels on 12 x 12; forward alone):
little gained where inputs are as sparse as they get, and a loss above. A recurrent weight of 256 x 256, which sees one
step of 128 samples at a time and is transposed anew for each, took 1.2, forward and backward.
"""

from sandbox.synapses.choice import MODES, using
from sandbox.synapses.linear import EventLinear

__all__ = ["MODES", "EventLinear", "using"]
