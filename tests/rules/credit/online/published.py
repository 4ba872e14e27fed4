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


def nest_rule(spec):
    """The credit and the objective of a `drawn.Spec`; its penalty is of each sequence, so that batches have one."""
    objective = CrossEntropy(spec.window) if spec.cross_entropy else HalfSquares()
    divided = spec.window if spec.averaged else 1
    target = spec.target_rate / 1000
    return Online(signal="random", filter="readout", rate=spec.rate / divided, target_rate=target), objective


def nest_batch(given, number):
    """A sequence."""
    x, target = (torch.tensor(part[number][:, None], dtype=torch.float64) for part in (given.spikes, given.target))
    return Batch(x, targets=target)


def nest_gradient(rule, model, objective, batch, given):
    """The gradient of a sequence, through NEST's feedback weights; cells do not hear themselves."""
    state = {"layers.0": torch.tensor(given.back.T.copy())}
    grads = rule.assign(model, objective, batch, state, torch.Generator()).grads
    grads[RECURRENT].fill_diagonal_(0)
    return grads


def nest_trained(spec, given, model, sequences):
    """The losses of some sequences, with an update after each; the recurrent diagonal stays zero."""
    rule, objective = nest_rule(spec)
    held = {name: p for name, p in model.named_parameters() if p.ndim == 2}
    moments = {name: (torch.zeros_like(p), torch.zeros_like(p)) for name, p in held.items()}
    found = []
    for number in range(sequences):
        batch = nest_batch(given, number)
        with torch.no_grad():
            found.append(float(objective(model(batch.x), batch)))
        if number == sequences - 1:
            return found
        grads = nest_gradient(rule, model, objective, batch, given)
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


def authors_gradient(sizes, constants, weights, x, target):
    """The gradient of `sum_t |y - target|^2 / 2` by the equations of the authors' ALIF, summed over samples.

        b[t] = rho b[t-1] + z[t-1],    v[t] = alpha v[t-1] + W x[t] + V z[t-1] - threshold z[t-1]
        epsilon_v[t] = alpha epsilon_v[t-1] + pre[t]
        epsilon_a[t] = (rho - beta psi[t-1]) epsilon_a[t-1] + psi[t-1] epsilon_v[t-1]
        e[t] = psi[t] (epsilon_v[t] - beta epsilon_a[t]),    E[t] = kappa E[t-1] + (1 - kappa) e[t]
        gradient = sum_t L[t] E[t],    L[t] = (y[t] - target[t]) W_out

    `psi = gamma / threshold max(0, 1 - |v - threshold - beta b| / threshold)`, and 0 in a refractory cell, which stays
    silent for `n_ref - 1` steps. Cells do not hear themselves. A bias, which the code lacks, is a weight of input 1.
    """
    threshold, beta, gamma, n_ref, alpha, rho, kappa = constants
    into, recurrent, out, bias = weights
    pre_weights = np.concatenate([into, bias[:, None], recurrent * (1 - np.eye(len(into)))], 1)
    grads, out_grad, counts = np.zeros_like(pre_weights), np.zeros_like(out), 0
    for sample in range(x.shape[1]):
        v, b, z, wait = (np.zeros(sizes[1]) for _ in range(4))
        eps_v, eps_a, low = (np.zeros_like(pre_weights) for _ in range(3))
        psi, z_low = np.zeros(sizes[1]), np.zeros(sizes[1])
        for t in range(len(x)):
            pre = np.concatenate([x[t, sample], [1.0], z])
            eps_a = (rho - beta * psi)[:, None] * eps_a + psi[:, None] * eps_v
            eps_v = alpha * eps_v + pre
            b = rho * b + z
            v = alpha * v + pre_weights @ pre - threshold * z
            u = (v - threshold - beta * b) / threshold
            z = ((u > 0) & (wait <= 0)).astype(float)
            psi = np.where(wait > 0, 0.0, gamma / threshold * np.maximum(0.0, 1 - np.abs(u)))
            wait = np.clip(wait + n_ref * z - 1, 0, n_ref)
            low = kappa * low + (1 - kappa) * psi[:, None] * (eps_v - beta[:, None] * eps_a)
            z_low = kappa * z_low + (1 - kappa) * z
            error = out @ z_low - target[t, sample]
            grads += (error @ out)[:, None] * low
            out_grad += np.outer(error, z_low)
            counts = counts + z
    split = np.split(grads, [sizes[0], sizes[0] + 1], 1)
    return {INTO: split[0], BIAS: split[1][:, 0], RECURRENT: split[2] * (1 - np.eye(sizes[1])), OUT: out_grad}, counts


def convolved_gradient(alpha, kappa, threshold, gamma, weights, x, target, window, early=True):
    """The gradient that eprop-PyTorch assigns to its LIF cells, in its convolved form, summed over samples.

        v[t+1] = alpha v[t] + V z[t] + W x[t] - threshold z[t],    y[t+1] = kappa y[t] + W_out z[t+1] + b_out
        h[t] = gamma max(0, 1 - |v[t] - threshold| / threshold),   without a division by the threshold
        F_alpha(p)[t] = sum_(s <= t) alpha^(t-s) p[s]
        gradient = sum_t L[t] F_kappa(h F_alpha(pre))[t],    L[t] = (softmax(y)[t] - target[t]) W_out

    over the last `window` steps. `pre[t]` is z[t-1] for recurrent weights, which is what entered v[t]; for input
    weights the code takes x[t] (`early`), which enters v[t+1] only, in place of x[t-1].
    """
    into, recurrent, out, out_bias = weights
    recurrent = recurrent * (1 - np.eye(len(recurrent)))
    steps, samples = x.shape[:2]
    v, z = (np.zeros((steps, samples, len(into))) for _ in range(2))
    y = np.zeros((steps, samples, len(out)))
    for t in range(steps - 1):
        v[t + 1] = alpha * v[t] + z[t] @ recurrent.T + x[t] @ into.T - threshold * z[t]
        z[t + 1] = v[t + 1] > threshold
        y[t + 1] = kappa * y[t] + z[t + 1] @ out.T + out_bias
    h = gamma * np.maximum(0.0, 1 - np.abs(v - threshold) / threshold)
    gaps = np.arange(steps)[:, None] - np.arange(steps)
    by_alpha, by_kappa = (np.where(gaps >= 0, float(leak) ** np.maximum(gaps, 0), 0.0) for leak in (alpha, kappa))
    shares = np.exp(y) / np.exp(y).sum(2, keepdims=True)
    error = np.where(np.arange(steps)[:, None, None] >= steps - window, shares - target, 0.0)
    signal = np.einsum("ts,tbj->sbj", by_kappa, error @ out)  # filtered backwards, the same sum

    def late(p):
        return np.concatenate([np.zeros_like(p[:1]), p[:-1]])

    def summed(pre):
        return np.einsum("tbj,tbi->ji", signal * h, np.einsum("ts,sbi->tbi", by_alpha, pre))

    low = [np.einsum("ts,sbi->tbi", by_kappa, p) for p in (z, np.where(np.arange(steps) > 0, 1.0, 0.0)[:, None, None])]
    return {
        INTO: summed(x if early else late(x)),
        RECURRENT: summed(late(z)) * (1 - np.eye(len(into))),
        OUT: np.einsum("tbk,tbj->kj", error, low[0]),
        OUT_BIAS: (error * low[1]).sum((0, 1)),
    }, z.sum((0, 1))
