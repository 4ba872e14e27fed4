"""Models for the tests of feedback, in float64, and the credit of one batch."""

from __future__ import annotations

import torch
from torch import nn

import rules
from rules.check import toy
from rules.credit.bptt import BPTT
from rules.credit.feedback import Feedback
from sandbox import ALIF, LIF, AdEx, CubaLIF, build

STEPS, SAMPLES, CLASSES = 7, 4, 3
IMAGE = (2, 6, 6)


def lif(*hidden, shape=(4,), neuron=None, gain=3.0):
    net = build(shape, CLASSES, hidden, neuron or LIF(tau_mem=3.0), seed=1).double()
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(gain)
    return net


def convolutional():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding="same", padding_mode="circular"),
        nn.ReLU(inplace=True),
        nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=2),
        nn.ReLU(inplace=True),
        nn.ConvTranspose2d(4, 3, 2, stride=2),
        nn.Tanh(),
        nn.Conv2d(3, 2, 3, padding=1, padding_mode="reflect", bias=False),
        nn.Flatten(),
        nn.Linear(72, CLASSES),
    ).double()


def static():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(4, 6), nn.ReLU(inplace=True), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, CLASSES)
    ).double()


MODELS = {
    "static": (static, (SAMPLES, 4)),
    "static, in time": (static, (STEPS, SAMPLES, 4)),
    "dense": (lambda: lif(6, 5), (STEPS, SAMPLES, 4)),
    "recurrent": (lambda: lif("6r", "5r"), (STEPS, SAMPLES, 4)),
    "normalised": (lambda: lif("6b", 5), (STEPS, SAMPLES, 4)),
    "convolutional": (lambda: lif("4c3p2", "4x3", 5, shape=IMAGE), (STEPS, SAMPLES, *IMAGE)),
    "adaptive": (lambda: lif("6r", 5, neuron=ALIF(tau_mem=3.0)), (STEPS, SAMPLES, 4)),
    "synaptic": (lambda: lif("6r", 5, neuron=CubaLIF()), (STEPS, SAMPLES, 4)),
    "adex": (lambda: lif("6r", 5, neuron=AdEx()), (STEPS, SAMPLES, 4)),
    "feed-forward maps": (convolutional, (SAMPLES, *IMAGE)),
    "toy": (lambda: toy.recurrent(), (STEPS, SAMPLES, 3)),
}


def made(name):
    model, shape = MODELS[name]
    rng = torch.Generator().manual_seed(2)
    x = torch.randn(shape, generator=rng, dtype=torch.float64)
    classes = 2 if name == "toy" else CLASSES
    return model(), rules.Batch(x, torch.arange(SAMPLES) % classes)


OBJECTIVE = rules.OBJECTIVES["ce_mean"]()


def located(model, batch, kind="fa", credit=None, **options):
    """The credit, and its first state."""
    found = Feedback(credit or BPTT(), kind, **options).located(model, batch)
    return found, found.init(model, torch.Generator().manual_seed(3))


def assign(credit, model, batch, state=(), objective=OBJECTIVE):
    return credit.assign(model, objective, batch, state, torch.Generator().manual_seed(4))


def as_weights(model, state):
    """The state with the weights themselves as feedback."""
    return state._replace(matrices={n: model.get_submodule(n).weight.detach().clone() for n in state.matrices})


def same(a, b, tolerance=0.0):
    assert a.keys() == b.keys()
    for name in a:
        assert torch.allclose(a[name], b[name], rtol=0, atol=tolerance * float(b[name].abs().max())), name
