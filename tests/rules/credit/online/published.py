"""The engine set up as other implementations of e-prop are, and loops that follow their equations in NumPy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from rules.contract import Batch, Objective
from rules.credit.online import Online
from rules.spikes.surrogate import Surrogate
from sandbox import build
from sandbox.neurons import ALIF, LeakyIntegrator
from sandbox.neurons.base import affine, decay, toward

INTO, RECURRENT, OUT = "layers.0.synapse.weight", "layers.0.cells.recurrent.weight", "layers.1.synapse.weight"
BIAS, OUT_BIAS = "layers.0.synapse.bias", "layers.1.synapse.bias"


@dataclass(frozen=True)
class Unclamped(ALIF):
    """A cell that integrates while it is refractory, as those of NEST and of the authors do; ours are clamped."""

    def integrate(self, current, state, dt):
        v = toward(affine(current, self.r, self.v_leak), state.v, decay(dt, self.tau_mem))
        return state._replace(v=v, a=state.a * decay(dt, self.tau_adapt))


def cells(threshold, tau_mem, tau_adapt=100.0, beta=0.0, whole_gain=False, t_refractory=0.0, gamma=0.3):
    """Cells in our constants.

    They subtract the threshold one step after a spike, `v[t] = alpha v[t-1] + ... - threshold z[t-1]`; ours at once,
    so that one more step of leak acts on it: the jump is threshold / alpha. Adaptation likewise gets a spike one step
    later, `a[t] = rho a[t-1] + z[t-1]`, and ours is rho times theirs: the strength is beta / rho.
    """
    alpha, rho = math.exp(-1 / tau_mem), math.exp(-1 / tau_adapt)
    return Unclamped(
        tau_mem=tau_mem,
        tau_adapt=tau_adapt,
        beta=torch.as_tensor(beta, dtype=torch.float64) / rho,
        r=1 / (1 - alpha) if whole_gain else 1.0,
        v_threshold=threshold,
        v_reset=threshold * (1 - 1 / alpha),
        reset="subtract",
        t_refractory=t_refractory,
        surrogate=Surrogate("triangle_bellec", gamma=gamma),
    )


class Summed(Objective):
    """A loss that is a sum over steps and a mean over samples; targets are `[T, B, outputs]`."""

    timing = "step"

    def shares(self, batch):
        return self


class HalfSquares(Summed):
    def __call__(self, run, batch):
        return (run.output - batch.targets).square().sum() / 2 / run.output.shape[1]


@dataclass(frozen=True)
class CrossEntropy(Summed):
    """Cross-entropy of softmax, where targets are not zero."""

    steps: int = 1  # by which it is divided

    def __call__(self, run, batch):
        return -(batch.targets * run.output.log_softmax(-1)).sum() / run.output.shape[1] / self.steps


def network(neuron, tau_out, into, recurrent, out, whole_gain=False, bias=None, out_bias=None):
    """A recurrent layer and a read-out in float64; biases are zero if none are given."""
    r = 1 / (1 - math.exp(-1 / tau_out)) if whole_gain else 1.0
    top = LeakyIntegrator(tau_mem=tau_out, r=r)
    model = build((into.shape[1],), len(out), (f"{len(into)}r",), neuron, top).double()
    held = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in ((INTO, into), (RECURRENT, recurrent), (OUT, out), (BIAS, bias), (OUT_BIAS, out_bias)):
            held[name].copy_(torch.as_tensor(0.0 if value is None else value))
    return model


def nest_network(spec, given):
    """The network of a `drawn.Spec` in our constants."""
    beta = [0.0] * (spec.cells - spec.adaptive) + [spec.beta] * spec.adaptive
    neuron = cells(spec.threshold, spec.tau_mem, spec.tau_adapt, beta, spec.whole_gain, spec.t_refractory)
    return network(neuron, spec.tau_out, given.into, given.recurrent, given.out)


def nest_trained(spec, given, model, sequences):
    """The losses of some sequences, with an update after each; the recurrent diagonal stays zero."""
    objective = CrossEntropy(spec.window) if spec.cross_entropy else HalfSquares()
    divided = spec.window if spec.averaged else 1
    rule = Online(
        signal="random", filter="readout", rate=spec.rate / divided, target_rate=spec.target_rate / 1000
    )
    held = {name: p for name, p in model.named_parameters() if p.ndim == 2}
    moments = {name: (torch.zeros_like(p), torch.zeros_like(p)) for name, p in held.items()}
    found = []
    for number in range(sequences):
        batch = Batch(*(torch.tensor(part[number][:, None], dtype=torch.float64) for part in (given.spikes,)))
        batch = batch._replace(targets=torch.tensor(given.target[number])[:, None])
        with torch.no_grad():
            found.append(float(objective(model(batch.x), batch)))
        if number == sequences - 1:
            return found
        state = {"layers.0": torch.tensor(given.back.T.copy())}
        grads = rule.assign(model, objective, batch, state, torch.Generator()).grads
        grads[RECURRENT].fill_diagonal_(0)
        for name, p in held.items():
            change = spec.lr * grads[name]
            if spec.adam:
                moments[name], change = adam(grads[name], *moments[name], number + 1, spec.lr)
            with torch.no_grad():
                p -= change
    return found


def adam(grad, mean, square, step, lr):
    """The moments and the change of Adam as TensorFlow and NEST count it, epsilon beside an uncorrected moment."""
    mean, square = 0.9 * mean + 0.1 * grad, 0.999 * square + 0.001 * grad.square()
    rate = lr * math.sqrt(1 - 0.999**step) / (1 - 0.9**step)
    return (mean, square), rate * mean / (square.sqrt() + 1e-8)
