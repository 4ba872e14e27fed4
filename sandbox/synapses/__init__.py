"""Synapses that compute only with spikes: dense weights whose rows are added up for the active inputs.

    y[n] = bias + sum over active j of x[n, j] W[:, j]                       forward
    dLoss/dW[:, j] = sum over n where j is active of x[n, j] dLoss/dy[n]     for the weight
    dLoss/dx[n] = sum over o where dLoss/dy[n, o] is not 0 of dLoss/dy[n, o] W[o]

Each is a matrix product without the terms that are exactly zero, so it agrees with the dense product up to the order of
summation. `EventLinear` chooses the mode for each call by the density of its input; `using` forces a mode:

- "auto", the default of a plain Python session: by events if the density is below a crossover that is measured once for
  each machine and shape (`sandbox.synapses.calibration`). Because the choice depends on timings, rounding may differ
  between machines, and between runs on a machine that does not keep its measurements.
- "events": always by events; the same bits in every run and for any number of threads.
- "dense": always the matrix product.
- a density, such as 0.2: by events where a smaller share of the input is active, judged by up to 64 of its rows. The
  same bits in every run, because nothing but the input decides.

Events are found once, in the forward pass, 64 entries at a time, and kept for the weight's gradient. Neurons do not
hand their spikes on as bits beside the tensor: that could save only the search in hidden layers, a small part of a
training step, and a note beside a tensor has to follow every change of it.

An `Experiment` uses "dense", or "events" or a density if it is configured so, because a run that is resumed, or paired
with another, must not depend on the load of the machine.

`Sparse` has weights for some pairs of cells only, and always computes by events where numba is installed.

For a recurrent weight the same choice is made in every step, in the loop of `sandbox.kernels.recurrent`, which
transposes the weight once. Convolutions stay dense: event-based prototypes, which were dropped, took 0.7 to 1.4 times
as long as the forward pass of a dense convolution at a density of 5 %.

Imports `machine` alone.
"""

from sandbox.synapses.choice import MODES, using
from sandbox.synapses.linear import EventLinear
from sandbox.synapses.sparse import Sparse

__all__ = ["MODES", "EventLinear", "Sparse", "using"]
