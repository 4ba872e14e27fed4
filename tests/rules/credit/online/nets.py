"""Small networks in float64, batches, and references that are written without the online engine."""

from __future__ import annotations

import torch

from rules.check.graphs import cut_gradient
from rules.contract import Batch
from rules.credit.online import Online
from rules.objectives import OBJECTIVES
from rules.spikes.surrogate import differentiating
from sandbox import build, from_brian2
from sandbox.neurons import ALIF, LIF, AdEx, CubaLIF, Izhikevich, LeakyIntegrator

LOSS = OBJECTIVES["tet"]()


def compiled():
    """A neuron of two state variables in Brian2's language."""
    return from_brian2(
        """dv/dt = (-v + s + current * Mohm) / (20*ms) : volt
           ds/dt = -s / (5*ms) : volt""",
        threshold="v > 1*mV",
        reset="v = 0*mV; s += 0.1*mV",
        method="exact",
    )


NEURONS = {
    "LIF": LIF(),
    "LIF, subtract": LIF(reset="subtract"),
    "LIF, none": LIF(reset="none"),
    "LIF, refractory": LIF(t_refractory=2.0),
    "ALIF": ALIF(beta=0.3),
    "CubaLIF": CubaLIF(),
    "AdEx": AdEx(),
    "Izhikevich": Izhikevich(),
}


def net(neuron, hidden=(6, "5r"), shape=(4,), readout=None, seed=1):
    """A network whose biases are not zero."""
    model = build(shape, 3, hidden, neuron, readout or LeakyIntegrator(tau_mem=8.0), seed=seed).double()
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim == 1:
                p.copy_(0.3 * torch.randn(p.shape, generator=rng, dtype=p.dtype) * float(neuron.rheobase))
    return model


def batch(steps=20, samples=3, shape=(4,), seed=0, scale=2.0):
    rng = torch.Generator().manual_seed(seed)
    x = scale * torch.rand(steps, samples, *shape, generator=rng, dtype=torch.float64)
    return Batch(x, torch.randint(3, (samples,), generator=rng))


def assigned(rule, model, given, objective=LOSS, seed=0):
    """The credit of a rule, from its first state."""
    rng = torch.Generator().manual_seed(seed)
    return rule.assign(model, objective, given, rule.init(model, torch.Generator().manual_seed(seed)), rng)


def by_autograd(model, given, detaches, objective=LOSS, detach_reset=True, adaptation=False):
    """Autograd on the network with some paths cut; what a spike adds to adaptation is followed, unless asked."""
    with differentiating(detach_reset=detach_reset, detach_adaptation=adaptation):
        return cut_gradient(model, objective, given, frozenset(detaches))


def distance(found, wanted):
    """The largest difference of a parameter's gradient, relative to its norm."""
    assert found.keys() == wanted.keys()
    return max(float((found[name] - wanted[name]).norm() / wanted[name].norm()) for name in wanted)


__all__ = ["NEURONS", "Online", "assigned", "batch", "by_autograd", "compiled", "distance", "net"]
