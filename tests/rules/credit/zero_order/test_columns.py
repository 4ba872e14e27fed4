"""Probes by the columns in which a product changes, against probes by whole products."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from rules.check import toy
from rules.contract import Run
from rules.credit.zero_order import HZO, LayerwiseZO, SequentialLocal
from rules.credit.zero_order.layered import probes
from rules.credit.zero_order.layered.columns import Columns
from rules.spikes.surrogate import Surrogate
from rules.weight_gradients import transposed_product
from sandbox import LIF, LeakyIntegrator, build
from sandbox.neurons import NEURONS
from tests.rules.credit.zero_order.nets import assign, deep, drawn, inputs, mlp, noisy

NEURON = LIF(tau_mem=2.0, surrogate=Surrogate("sigmoid"))
STEP = 1e-2  # so that rounding, 1e-16 of a signal, is 1e-14 of a difference


def network(hidden, shape=(4,), neuron=NEURON):
    return build(shape, 3, hidden, neuron, LeakyIntegrator(), seed=1).double().eval()


def shaped(*parts, size=(2, 6, 7)):
    """Convolutions between a first one and a read-out."""
    body = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.Tanh(), *parts, nn.Flatten())
    width = body(torch.zeros(1, *size)).shape[1]
    return drawn(nn.Sequential(*body, nn.Linear(width, 2)))


def twice():
    shared = nn.Linear(4, 4)
    return drawn(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), shared, nn.Tanh(), shared, nn.Tanh(), nn.Linear(4, 2)))


def places():
    """A weight that is used at each of five places."""
    return drawn(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 4), nn.Flatten(2), nn.Linear(20, 2)))


def hooked():
    model = mlp([3, 5, 4, 2])
    model[2].register_forward_hook(lambda module, given, z: 2 * z)
    return model


def own():
    return drawn(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), toy.Rounded(4, 4), nn.Tanh(), nn.Linear(4, 2)))


def normed():
    parts = nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 4), nn.LayerNorm(4), nn.Tanh(), nn.Linear(4, 2)
    return drawn(nn.Sequential(*parts)).eval()


class Rivals(nn.Module):
    """Leaky cells of which each loses a little of what the others have, without a weight between them."""

    def __init__(self, synapse):
        super().__init__()
        self.synapse, self.cells = synapse, nn.Identity()

    def forward(self, x):
        return self.respond(x, self.synapse(x), None, False).output

    def respond(self, cause, currents, carry, record):
        v, shown = (torch.zeros_like(currents[0]) if carry is None else carry), []
        for current in currents:
            v = torch.tanh(0.5 * v + current - 0.1 * v.sum(-1, keepdim=True))
            shown.append(v)
        return Run(torch.stack(shown), v)


def rivals():
    return drawn(nn.Sequential(Rivals(nn.Linear(4, 5)), Rivals(nn.Linear(5, 3)), nn.Linear(3, 2)))


T, B = 5, 3
SEEN = inputs(T, B, 4).abs()
IMAGES = inputs(B, 2, 6, 7)
FILMS = inputs(3, B, 1, 5, 5).abs()
MODELS = {  # and whether columns are used at all; None where it depends on the rule
    "layers": (lambda: mlp([3, 6, 5, 4, 2]), inputs(B, 3), True),
    "layers over time": (lambda: mlp([3, 6, 5, 2]), inputs(T, B, 3), True),
    "linear": (lambda: deep(5, width=4, activation=nn.Identity), inputs(B, 4), True),
    "norms": (normed, inputs(B, 3), True),
    "twice": (twice, inputs(B, 3), True),
    "places": (places, inputs(T, B, 5, 3), True),
    "spiking": (lambda: network((6, 5)), SEEN, True),
    "deeper": (lambda: network((6, 5, 4)), SEEN, True),
    "normalised": (lambda: network(("6b", 5)), SEEN, True),
    "constant": (lambda: network((6, 5)), SEEN[:1].expand(T, B, 4), True),
    "recurrent behind": (lambda: network((6, "5r", 4)), SEEN, True),
    "convolution": (lambda: shaped(nn.Conv2d(4, 3, 3, stride=2, padding=(1, 2)), nn.Tanh()), IMAGES, True),
    "pooled": (lambda: shaped(nn.Conv2d(4, 3, (2, 3), dilation=2), nn.Tanh(), nn.MaxPool2d(2)), IMAGES, None),
    "groups": (lambda: shaped(nn.Conv2d(4, 4, 3, groups=2), nn.Tanh()), IMAGES, True),
    "transposed": (lambda: shaped(nn.ConvTranspose2d(4, 3, 3, stride=2, output_padding=1)), IMAGES, True),
    "spiking convolution": (lambda: network(("2c3p2", "3c3", 5), (1, 5, 5)), FILMS, True),
    "rivals": (rivals, SEEN, False),
    "blocks": (lambda: network(("2x3", 4), (1, 5, 5)), FILMS, True),
    "ring": (lambda: shaped(nn.Conv2d(4, 3, 3, padding=1, padding_mode="circular"), nn.Tanh()), IMAGES, True),
    "own": (own, inputs(B, 3), True),
    "hooked": (hooked, inputs(B, 3), True),
    "read with noise": (lambda: noisy(mlp([3, 6, 2]), 0.1), inputs(B, 3), False),
    "noisy cells": (lambda: network((6,), neuron=NEURONS["escape_lif"]()), SEEN, False),
}


def both(monkeypatch, make, x, rule):
    """The credit by columns, by whole products, and of how many parts there were columns."""
    used, measure = [], Columns.measure
    monkeypatch.setattr(Columns, "measure", lambda self: used.append(self.site.name) or measure(self))
    mine = assign(rule, make(), x)
    count = len(used)
    monkeypatch.setattr(probes, "by_columns", lambda *given: None)
    whole = assign(rule, make(), x)
    assert len(used) == count
    return mine, whole, count


def agree(mine, whole):
    """1e-12 of gradients of order 1, and the same counts."""
    assert mine.grads.keys() == whole.grads.keys()
    for name, g in mine.grads.items():
        torch.testing.assert_close(g, whole.grads[name], atol=1e-12, rtol=1e-12)
    assert replace(mine.cost, layer_evaluations_done=-1) == whole.cost
    assert mine.info.keys() == whole.info.keys()
    for name, value in mine.info.items():
        assert value == pytest.approx(whole.info[name], rel=1e-9)


@pytest.mark.filterwarnings("ignore:gain")
@pytest.mark.parametrize("rule", [HZO, LayerwiseZO, SequentialLocal])
@pytest.mark.parametrize(("make", "x", "used"), MODELS.values(), ids=MODELS)
def test_columns_are_whole_products(make, x, used, rule, monkeypatch):
    mine, whole, count = both(monkeypatch, make, x, rule(step=STEP, smooth=True))
    agree(mine, whole)
    assert used is None or (count > 0) == used
    assert (mine.cost.layer_evaluations_done < mine.cost.layer_evaluations) == (count > 0)


@pytest.mark.filterwarnings("ignore:gain")
@pytest.mark.parametrize(
    "options",
    [
        {"cut": "post"},
        {"diff": "forward"},
        {"times": "shared"},
        {"memory": 7e3},
        {"diff": "forward", "cut": "post", "times": "shared"},
        {"smooth": False, "step": 0.3},
        {"smooth": False, "step": 0.3, "diff": "forward"},
    ],
    ids=str,
)
@pytest.mark.parametrize("hidden", [(6, 5), (6, 5, 4, 5), ("5r", 4, 5)], ids=str)
def test_settings(hidden, options, monkeypatch):
    mine, whole, count = both(
        monkeypatch, lambda: network(hidden), SEEN, HZO(**{"step": STEP, "smooth": True} | options)
    )
    agree(mine, whole)
    assert count > 0
    assert any(bool(g.any()) for name, g in mine.grads.items() if name.startswith("layers.0"))


@pytest.mark.parametrize(
    "options", [{"probes": "random"}, {"probes": "normal"}, {"probes": "scattered"}, {"repeats": 2}]
)
def test_other_probes_are_whole_products(options, monkeypatch):
    _, _, count = both(monkeypatch, lambda: mlp([3, 6, 5, 2]), inputs(B, 3), HZO(**options))
    assert count == 0


def test_what_was_saved():
    """One layer's evaluations behind the probed one: W^T e is one, and every probe a sixth of what it was (2 of 12)."""
    model = mlp([3, 6, 12])
    cost = assign(SequentialLocal(), model, inputs(B, 3)).cost
    assert cost.layer_evaluations == 2 + 2 * 6
    assert (
        cost.layer_evaluations_done == 2 + 1 + 1
    )  # and 6 changes times 6 numbers, of 72, are half an evaluation at most
    deeper = assign(LayerwiseZO(), mlp([3, 6, 12, 2]), inputs(B, 3)).cost
    assert deeper.layer_evaluations == 3 + 2 * 12 + 2 * 6 * 2
    # the last layer behind 12 units by columns, 1 and at most 1; from 6 units through both, 12 columns of 6 and 12 whole
    assert deeper.layer_evaluations_done == 3 + 1 + 2 + 12 + 1


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Linear(3, 2), (4, 3, 3)),
        (nn.Conv1d(2, 4, 3, stride=2, padding=2, dilation=2, groups=2), (4, 3, 2, 9)),
        (nn.Conv3d(1, 2, 2), (1, 2, 1, 3, 4, 3)),
        (nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1, output_padding=1), (2, 1, 2, 4, 3)),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("squared", [False, True])
def test_a_transposed_product_is_autograds(module, shape, squared):
    module, x = drawn(module), inputs(*shape).requires_grad_()
    if squared:
        with torch.no_grad():
            module.weight.square_()
    z = module(x.flatten(0, 1)).unflatten(0, shape[:2])
    error = inputs(*z.shape, seed=2)
    (true,) = torch.autograd.grad(z, x, error)
    if squared:
        with torch.no_grad():
            module.weight.sqrt_()
    torch.testing.assert_close(transposed_product(module, x.detach(), error, squared), true, atol=1e-12, rtol=1e-12)
