"""How near online rules are to the gradient behind three hidden layers on Randman, a smaller `experiments/nearness.py`."""

from __future__ import annotations

from functools import cache

import torch

from rules.contract import Batch
from rules.credit.bptt import BPTT
from rules.credit.online import Online
from rules.objectives import OBJECTIVES
from sandbox import build
from sandbox.networks.calibration import calibrate
from sandbox.neurons import LIF, LeakyIntegrator
from sandbox.tasks.randman import Randman
from tests.rules.credit.online.nets import assigned

LOSS = OBJECTIVES["ce_rate"]()
HIDDEN = [f"layers.{number}.synapse.weight" for number in range(3)]
OTPE, OTTT = Online(filter="next"), Online("presynaptic")


@cache
def credits(seed):
    """Credits on one batch, each weight by itself, of BPTT, OTPE, OTTT, and OTPE without what makes it one."""
    data = Randman(classes=5, units=30, dim=3, steps=30, samples=20, seed=seed).load()
    x, y = data.train.take(torch.arange(40), torch.Generator())
    given = Batch(x.transpose(0, 1).double(), y)
    model = build((30,), 5, (40, 40, 40), LIF(tau_mem=10.0, reset="subtract"), LeakyIntegrator(tau_mem=10.0), seed=seed)
    calibrate(model.double(), given.x)
    rules = {"bptt": BPTT(), "otpe": OTPE, "ottt": OTTT, "unfiltered": Online()}
    return {name: assigned(rule, model, given, LOSS).grads for name, rule in rules.items()}


def seen(rule, layer):
    """Cosine with the gradient, and distance of the relative norm from 1, seed by seed."""
    found = []
    for seed in range(5):
        g, w = credits(seed)[rule][layer], credits(seed)["bptt"][layer]
        found.append((float((g * w).sum() / g.norm() / w.norm()), abs(float(g.norm() / w.norm()) - 1)))
    return list(zip(*found))


def nearer(a, b, layer):
    """Whether `a` is nearer the gradient than `b` in each of five seeds, in cosine and in norm."""
    (cosines, off), (others, away) = seen(a, layer), seen(b, layer)
    slack = 1e-9  # above what two orders of summation differ by in float64
    return [all(p > q + slack for p, q in zip(*pair)) for pair in ((cosines, others), (away, off))]


def test_otpe_is_nearer_the_gradient_than_ottt_in_every_hidden_layer():
    for layer in HIDDEN:
        assert nearer("otpe", "ottt", layer) == [True, True], layer  # with five seeds, p = 1/32


def test_it_is_the_filter_that_brings_otpe_nearer():
    for layer in HIDDEN:
        assert nearer("unfiltered", "ottt", layer) == [False, False], layer
        assert nearer("otpe", "unfiltered", layer) == [True, True], layer


def test_the_read_out_gets_the_gradient_of_both():
    for seed in range(5):
        found = credits(seed)
        for name, g in found["bptt"].items():
            if name.startswith("layers.3"):
                for rule in ("otpe", "ottt"):
                    torch.testing.assert_close(found[rule][name], g, rtol=1e-10, atol=1e-14)
