"""References are checked against autograd where it is right, and against closed forms where it is not."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import nn

import rules
from rules import Batch, Trainer
from rules.check import toy
from rules.credit.bptt import BPTT
from rules.spikes.bits import StochasticBits
from sandbox.microscope import Backpropagation, CannotRun, Differences, Microscope, Smoothed
from sandbox.microscope.frozen import freeze
from sandbox.networks.models import perceptron
from tests.sandbox.microscope.models import batch, escape, on_noisy_device, quadratic


@dataclass(frozen=True)
class Mean(rules.Objective):
    """The mean of the output: of bits, how often they are 1."""

    def __call__(self, run, batch):
        return run.output.mean()


class Unit(nn.Module):
    """A unit that fires where `w x >= 0.2`."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([[0.5, -1.0, 0.8]], dtype=torch.float64))
        self.surrogate = rules.Surrogate("atan")

    def forward(self, x):
        return self.surrogate.spike(x @ self.w.T - 0.2)


def samples(reference, trainer, given, seed=0, draws=1):
    return reference.gradient(freeze(trainer, given, seed), draws)


def autograd(trainer, given):
    return BPTT().assign(trainer.model, trainer.rule.objective, given, (), torch.Generator()).grads


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_differences_equal_autograd_on_a_smooth_perceptron(dtype):
    """To 1e-6 of the largest entry; in float32 it is autograd that rounds to 1e-7."""
    net = perceptron((4,), 3, (6, 5), seed=1).to(dtype)
    x, y, *_ = batch(1, steps=1)
    given = Batch(x[0].to(dtype), y)
    trainer = Trainer(net, "bptt")
    truth = autograd(trainer, given)
    found = samples(Differences(), trainer, given).samples
    assert found.keys() == {"0.weight", "2.weight", "4.weight"}
    for name, slopes in found.items():
        assert len(slopes) == 1  # deterministic: one sample
        assert (slopes[0] - truth[name]).abs().max() < 1e-6 * truth[name].abs().max()
    for row in Microscope(references=("differences",)).look(trainer, given).rows:
        assert abs(row.bias) < 1e-6


def test_smoothing_leaves_the_gradient_of_a_quadratic_loss_as_it_is():
    """`E L(W + s eps)` of a loss that is quadratic in the weights differs from L by a constant."""
    net = nn.Sequential(nn.Linear(3, 2)).double()
    toy.fill(net, 0)
    trainer = Trainer(net, quadratic(BPTT()))
    truth = autograd(trainer, toy.batch())["0.weight"]
    found = samples(Smoothed(sigma=0.7, samples=3), trainer, toy.batch()).samples["0.weight"]
    assert (found.mean(0) - truth).abs().max() < 1e-10 * truth.abs().max()
    (row,) = Microscope(references=(Smoothed(sigma=0.7, samples=3),)).look(trainer, toy.batch()).rows
    assert abs(row.bias) < 1e-10
    assert row.bias_error < 1e-10  # the step sizes add no error


def normal_density(z):
    return torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)


def threshold_unit(sigma):
    """A trainer, its batch, and the gradient of the smoothed loss: `phi(u / s |x|) x / s |x|` with `u = w x - 0.2`."""
    x = torch.rand(1, 5, 3, generator=torch.Generator().manual_seed(0)).double()
    trainer = Trainer(Unit(), rules.LearningRule(Mean(), BPTT(), torch.optim.SGD))
    w = trainer.model.w.detach()[0]
    width = sigma * w.square().mean().sqrt() * x[0].norm(dim=1)
    truth = (normal_density((x[0] @ w - 0.2) / width) / width)[:, None] * x[0]
    return trainer, Batch(x), truth.mean(0)


@pytest.mark.slow
def test_a_threshold_unit_has_the_gaussian_density():
    """Within four standard errors, and over 30 seeds these errors are correct to a third."""
    trainer, given, truth = threshold_unit(0.3)
    scores = []
    for seed in range(30):
        found = samples(Smoothed(sigma=0.3, samples=32), trainer, given, seed).samples["w"][:, 0]
        scores.append((found.mean(0) - truth) / (found.std(0) / 32**0.5))
    scores = torch.stack(scores)
    assert scores.mean(0).abs().max() < 4 / 30**0.5
    assert 2 / 3 < float(scores.square().mean().sqrt()) < 4 / 3
    autograd_s = autograd(trainer, given)["w"][0]
    assert torch.dot(autograd_s, truth) / autograd_s.norm() / truth.norm() < 0.99999  # a surrogate is another gradient


@pytest.mark.slow
def test_more_samples_come_closer():
    trainer, given, truth = threshold_unit(0.3)
    errors = [
        float((samples(Smoothed(sigma=0.3, samples=count), trainer, given).samples["w"].mean(0)[0] - truth).norm())
        for count in (4, 1024)
    ]
    assert errors[1] < 0.02 * float(truth.norm()) < errors[0]


@pytest.mark.slow
def test_the_network_s_own_noise_is_averaged_over():
    """A stochastic unit fires with probability `logistic(w x)`: its slope is `p (1 - p) x`, to four standard errors."""
    net = nn.Sequential(nn.Linear(3, 1, bias=False), StochasticBits()).double()
    toy.fill(net, 0)
    x = toy.batch().x
    trainer = Trainer(net, rules.LearningRule(Mean(), BPTT(), torch.optim.SGD))
    p = torch.sigmoid(x @ net[0].weight.detach().T)
    truth = (p * (1 - p) * x).mean((0, 1))
    for reference in (Differences(step=0.5, samples=400), Smoothed(sigma=0.3, samples=400)):
        found = samples(reference, trainer, Batch(x)).samples["0.weight"][:, 0]
        assert len(found) == 400
        error = found.std(0) / 400**0.5
        assert ((found.mean(0) - truth).abs() < 4 * error + 0.02 * truth.abs()).all()  # steps of finite size: 2 %
        assert (error < 0.5 * truth.norm()).all()


def test_what_torch_cannot_stack_is_asked_one_by_one(monkeypatch):
    trainer, given, _ = threshold_unit(0.3)
    together = samples(Smoothed(samples=4), trainer, given).samples["w"]

    def refuse(*args, **keywords):
        raise RuntimeError("no vmap")

    monkeypatch.setattr(torch.func, "vmap", refuse)
    alone = samples(Smoothed(samples=4), trainer, given).samples["w"]
    assert torch.allclose(together, alone, atol=1e-12)


def test_sides_share_their_draws():
    """Without common random numbers the differences of a noisy network would be noise over the step."""
    trainer = Trainer(escape(), "bptt")
    found = samples(Differences(step=1e-9, samples=2), trainer, batch()).samples
    assert all(slopes.abs().max() < 1e3 for slopes in found.values())


def test_the_frozen_model_is_left_as_it_was_found():
    trainer = Trainer(toy.smooth(), quadratic(BPTT()))
    frozen = freeze(trainer, toy.batch(), 0)
    before = {name: p.clone() for name, p in frozen.model.named_parameters()}
    for reference in (Differences(), Smoothed(samples=2), Backpropagation()):
        reference.gradient(frozen, 2)
        assert all(torch.equal(p, before[name]) for name, p in frozen.model.named_parameters())


def test_devices_are_shown_as_they_are_read():
    """Once a look, whatever the generators of the trainer, and never as they are."""
    trainer = on_noisy_device()
    held = dict(trainer.model.named_parameters())["layers.0.synapse.weight"]
    seen = [freeze(trainer, batch(), seed).layers["layers.0.synapse.weight"] for seed in (0, 0, 1)]
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])
    assert not torch.equal(seen[0], held)
    (row, *_) = Microscope(draws=3).look(trainer, batch()).rows
    assert row.draws == 3  # what a layer puts out is read with noise as well
    assert row.variance > 0


def test_a_model_that_raises_cannot_run():
    trainer = Trainer(toy.smooth(), quadratic(BPTT()))
    frozen = freeze(trainer, toy.batch(), 0)
    bad = Batch(torch.rand(4, 6, 7), None)
    frozen.batch = bad
    for reference in (Backpropagation(), Differences(), Smoothed()):
        with pytest.raises(CannotRun, match="RuntimeError: mat1 and mat2"):
            reference.gradient(frozen, 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Differences(step=0.0), "step=0.0: give a number above 0"),
        (lambda: Differences(samples=0), "samples=0: give a number above 0"),
        (lambda: Smoothed(sigma=-1.0), "sigma=-1.0: give a number above 0"),
        (lambda: Backpropagation(window=0), "window=0: give a number of steps"),
    ],
)
def test_bad_settings_are_answered(make, message):
    with pytest.raises(ValueError, match=message):
        make()
