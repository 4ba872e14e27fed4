"""The networks of two published experiments on cue accumulation, with their constants, initial weights and penalty.

A configuration names them as `network.model`: experiments/published/networks.py:bellec, or :frenkel. Code read at
IGITUGraz/eligibility_propagation efd02e6 and ChFrenkel/eprop-PyTorch 0f32a8f; none of it is used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from rules.contract import Batch, Objective, Run
from rules.objectives.regularisers import LAYERS, hidden
from rules.spikes.surrogate import Surrogate
from sandbox.networks.network import Layer, Network
from sandbox.networks.population import Population
from sandbox.neurons import ALIF, LIF, LeakyIntegrator, Neuron
from sandbox.neurons.adaptive_lif import ALIFState
from sandbox.neurons.base import affine, decay, toward
from sandbox.synapses import EventLinear

CELLS = 100
THRESHOLD = 0.6
TAU_OUT = 20.0  # [ms]


@dataclass(frozen=True)
class Unclamped(ALIF):
    """A cell that integrates while it is refractory, as published; those of the library are clamped."""

    def integrate(self, current: Tensor, state: ALIFState, dt: float) -> ALIFState:
        v = toward(affine(current, self.r, self.v_leak), state.v, decay(dt, self.tau_mem))
        return state._replace(v=v, a=state.a * decay(dt, self.tau_adapt))


@dataclass(frozen=True)
class Rates(Objective):
    """`weight / 2 sum_i (rate_i - target)^2` over cells i, the rate a mean over steps and samples: as `rate` of e-prop.

    Bellec et al. have a weight of 2, and a target of 0.01 spikes a step of 1 ms.
    """

    weight: float
    target: float

    needs: ClassVar[frozenset[str]] = LAYERS

    def __call__(self, run: Run, batch: Batch) -> Tensor:
        rates = hidden(run)[0].post.mean((0, 1))
        return self.weight / 2 * (rates - self.target).square().sum()


def bellec(shape: tuple[int, ...], classes: int, *, step: float = 1.0, seed: int = 0) -> Network:
    """Build the 50 LIF and 50 ALIF cells of Bellec et al. 2020, and a read-out.

        v[t] = alpha v[t-1] + W x[t] + R z[t-1] - theta z[t-1],    b[t] = rho b[t-1] + z[t-1]
        z[t] = 1 where v[t] > theta + beta b[t], unless refractory for 5 ms
        y[t] = kappa y[t-1] + (1 - kappa) W_out z[t]

    Membrane and read-out 20 ms, adaptation 2 s, theta = 0.6, beta = 1.7 (1 - rho) / (1 - exp(-1 / 20 ms)), surrogate
    0.3 / theta max(0, 1 - |u|). Weights are normal with variance 1 / fan-in, those of the read-out uniform as Glorot's.
    Published cells do not hear themselves; here such a weight begins at zero and may learn.

    Args:
        shape: of the input at a step.
        classes: number of outputs.
        step: what a step stands for [ms].
        seed: of the weights.
    """
    alpha, rho = math.exp(-step / 20), math.exp(-step / 2000)
    strength = 1.7 * (1 - rho) / (1 - alpha)
    cell = Unclamped(
        tau_mem=20.0,
        tau_adapt=2000.0,
        beta=torch.tensor([0.0, strength / rho]).repeat_interleave(CELLS // 2),  # ours decays in the step of the spike
        t_refractory=5.0,
        **jumping(alpha, gamma=0.3),
    )
    limit = math.sqrt(6 / (CELLS + classes))
    rng = torch.Generator().manual_seed(seed)
    into, back = (torch.randn(CELLS, n, generator=rng) / math.sqrt(n) for n in (shape[0], CELLS))
    out = limit * (2 * torch.rand(classes, CELLS, generator=rng) - 1)
    return network(cell, LeakyIntegrator(TAU_OUT), step, (into, back, out))


def frenkel(shape: tuple[int, ...], classes: int, *, step: float = 1.0, seed: int = 0) -> Network:
    """Build the 100 LIF cells of Frenkel & Indiveri 2022, with a membrane of 2 s, and a read-out.

        v[t] = alpha v[t-1] + W x[t] + R z[t-1] - theta z[t-1],    z[t] = 1 where v[t] > theta
        y[t] = kappa y[t-1] + W_out z[t]

    theta = 0.6, read-out 20 ms, surrogate 0.3 max(0, 1 - |u|). Weights are normal, He's times 0.5, 0.1 and 0.5. The
    published factors (0.05, 0.05, 1) multiply gradients in front of Adam, which divides them out again: they are left
    out. Cells do not hear themselves at first, as in `bellec`.

    Args:
        shape: of the input at a step.
        classes: number of outputs.
        step: what a step stands for [ms].
        seed: of the weights.
    """
    alpha, kappa = math.exp(-step / 2000), math.exp(-step / TAU_OUT)
    cell = LIF(tau_mem=2000.0, strict=True, **jumping(alpha, gamma=0.3 * THRESHOLD))  # which is divided by it again
    rng = torch.Generator().manual_seed(seed)
    sizes = ((0.5, CELLS, shape[0]), (0.1, CELLS, CELLS), (0.5, classes, CELLS))
    drawn = [gain * math.sqrt(2 / n) * torch.randn(rows, n, generator=rng) for gain, rows, n in sizes]
    return network(cell, LeakyIntegrator(TAU_OUT, r=1 / (1 - kappa)), step, drawn)


def jumping(alpha: float, gamma: float) -> dict[str, Any]:
    """Return options of cells with input of gain 1 that lose the threshold one step after a spike.

    Ours lose it at once, and the jump leaks for that step: it is the threshold over `alpha`.
    """
    return {
        "r": 1 / (1 - alpha),
        "v_threshold": THRESHOLD,
        "v_reset": THRESHOLD * (1 - 1 / alpha),
        "reset": "subtract",
        "surrogate": Surrogate("triangle_bellec", gamma=gamma),
    }


def network(cell: Neuron, readout: Neuron, step: float, weights: Sequence[Tensor]) -> Network:
    """Build a recurrent layer and a read-out without biases, from weights of inputs, cells and read-out."""
    into, back, out = (EventLinear(w.shape[1], w.shape[0], bias=False) for w in weights)
    with torch.no_grad():
        for synapse, w in zip((into, back, out), weights, strict=True):
            synapse.weight.copy_(w)
        back.weight.fill_diagonal_(0)
    layers = [Layer(into, Population(cell, step, back)), Layer(out, Population(readout, step))]
    return Network(layers, (into.in_features,))
