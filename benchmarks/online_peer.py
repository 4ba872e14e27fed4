"""Online rules of braintrace on the network of `online.py`, for `python benchmarks/online.py 9 PYTHON`.

Runs in an environment of its own that has braintrace and JAX on the CPU; prints the median seconds of a gradient, its
compilation apart, for each of the algorithms in the arguments.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time

if hasattr(os, "sched_setaffinity"):  # before JAX makes its threads, which no flag limits altogether
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import brainstate
import braintools
import braintrace
import brainunit as u
import jax
import jax.numpy as jnp

INPUTS, CELLS, CLASSES, STEPS, BATCH, FIRING = 64, 256, 10, 100, 128, 0.1
LEAK = 0.95  # of membranes, in a step
TAU = 20.0 * u.ms  # of the read-out
ALGORITHMS = {
    "pp_prop": ("pp_prop", {"decay_or_rank": LEAK}),
    "D-RTRL": ("d_rtrl", {}),
    "EProp, filtered": ("eprop", {"kappa_filter_decay": LEAK}),
}


class Recurrent(brainstate.nn.Module):
    """Leaky cells that hear each other, reset by subtraction, and a leaky read-out."""

    def __init__(self) -> None:
        super().__init__()
        self.synapse = braintrace.nn.Linear(INPUTS + CELLS, CELLS)
        self.readout = braintrace.nn.LeakyRateReadout(CELLS, CLASSES, tau=TAU)
        self.spike = braintools.surrogate.ReluGrad()

    def init_state(self, batch_size: int | None = None, **_: object) -> None:
        self.v = brainstate.HiddenState(jnp.zeros((batch_size, CELLS) if batch_size else (CELLS,)))

    def update(self, x: jax.Array) -> jax.Array:
        heard = self.spike(self.v.value - 1.0)
        current = self.synapse(jnp.concatenate([x, heard], axis=-1))
        self.v.value = LEAK * self.v.value - jax.lax.stop_gradient(heard) + (1 - LEAK) * current
        return self.readout(self.spike(self.v.value - 1.0))


def seconds(name: str, options: dict[str, object], rounds: int) -> float:
    """Return the median time of a gradient over a sequence."""
    brainstate.random.seed(0)
    x = (brainstate.random.rand(STEPS, BATCH, INPUTS) < FIRING).astype(jnp.float32)
    y = jax.nn.one_hot(jnp.arange(BATCH) % CLASSES, CLASSES)
    model = Recurrent()
    learner = braintrace.compile(model, name, x[0], batch_size=BATCH, **options)

    def loss(now: jax.Array) -> jax.Array:
        return -jnp.mean(jnp.sum(jax.nn.log_softmax(learner(now)) * y, -1))

    @brainstate.transform.jit
    def gradient(x: jax.Array) -> object:
        return learner.etrace_grad(x, step_fn=loss)

    jax.block_until_ready(gradient(x))
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        jax.block_until_ready(gradient(x))
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


if __name__ == "__main__":
    brainstate.environ.set(dt=1.0 * u.ms)
    rounds = int(sys.argv[1])
    wanted = sys.argv[2:] or list(ALGORITHMS)
    found: dict[str, object] = {name: seconds(*ALGORITHMS[name], rounds) for name in wanted}
    print(json.dumps(found | {"version": braintrace.__version__}))
