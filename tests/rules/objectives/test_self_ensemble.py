"""A spiking network as an ensemble over time, and the loss that draws its steps to a teacher."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import rules
from rules import Batch, Run
from rules.objectives.distillation import SelfEnsemble
from rules.plasticity import SGD
from sandbox import LIF, LeakyIntegrator, build, simulate

T, B = 5, 7
CELL = LIF(tau_mem=2.0, reset="subtract", surrogate=rules.Surrogate("triangle"))
KEEP = math.exp(-1 / 2.0)
X = 3 * torch.rand(T, B, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
Y = torch.arange(B) % 3


def network():
    """Two spiking layers and a read-out without memory: exp(-100) of it is left after a step."""
    return build((4,), 3, (6, 5), CELL, LeakyIntegrator(tau_mem=0.01), seed=2).double()


def noise(net, x):
    """Return what the membranes of each layer kept before every step, `[T, B, cells]`."""
    kept = []
    for layer in net.layers[:2]:
        run = simulate(CELL, layer.synapse(x).detach(), record=("v",))
        kept.append(KEEP * torch.cat([torch.zeros_like(run.v[:1]), run.v[:-1]]))
        x = run.spikes
    return kept


def stateless(net, x, kept):
    """Return the output of one step of a binary network with noise before its thresholds, written out."""
    for layer, n in zip(net.layers[:2], kept, strict=True):
        u = n + (1 - KEEP) * F.linear(x, layer.synapse.weight, layer.synapse.bias)
        x = CELL.surrogate.spike(u - 1.0)
    last = net.layers[2].synapse
    return F.linear(x, last.weight, last.bias)


def test_each_step_is_a_pass_of_one_binary_network_with_noise():
    """The network's output is the mean of those passes; in float64, up to rounding."""
    net = network()
    kept = noise(net, X)
    steps = torch.stack([stateless(net, X[t], [n[t] for n in kept]) for t in range(T)])
    assert torch.allclose(net(X).output, steps, rtol=0, atol=1e-12)
    assert 0.05 < float(net.layers[0](X).mean()) < 0.95
    assert any(bool(n.any()) for n in kept)


def test_the_gradient_without_the_path_in_time_is_the_mean_over_these_passes():
    """BPTT(window=1), loss on the mean output: sum over steps of 1/T of the loss's slope through each pass."""
    net, loss = network(), rules.OBJECTIVES["ce_mean"]()
    kept = noise(net, X)
    mean = sum(stateless(net, X[t], [n[t] for n in kept]) for t in range(T)) / T
    slope = torch.autograd.grad(F.cross_entropy(mean, Y), mean)[0]
    names, weights = zip(*net.named_parameters(), strict=True)
    expected = [torch.zeros_like(p) for p in weights]
    for t in range(T):
        output = stateless(net, X[t], [n[t] for n in kept])
        for total, each in zip(expected, torch.autograd.grad(output, weights, slope / T), strict=True):
            total += each
    credit = rules.BPTT(window=1).assign(net, loss, Batch(X, Y), (), torch.Generator().manual_seed(0))
    for name, wanted in zip(names, expected, strict=True):
        assert torch.allclose(credit.grads[name], wanted, rtol=0, atol=1e-12), name
    whole = rules.BPTT().assign(net, loss, Batch(X, Y), (), torch.Generator().manual_seed(0))
    assert not torch.allclose(whole.grads[names[0]], expected[0], rtol=0, atol=1e-6)  # time does matter here


def test_steps_are_drawn_to_the_mean_and_not_the_mean_to_them():
    output = torch.randn(T, B, 3, generator=torch.Generator().manual_seed(1)).requires_grad_()
    SelfEnsemble(lam=1.0)(Run(output), Batch(X, Y)).backward()
    taught = torch.softmax(output.detach().mean(0), -1)
    wanted = (torch.softmax(output.detach(), -1) - taught) / (T * B)
    assert torch.allclose(output.grad, wanted, rtol=0, atol=1e-7)


@pytest.mark.parametrize("tau", [1.0, 4.0])
def test_a_teacher_is_heard_in_evaluation_mode_and_left_alone(tau):
    """tau^2 KL, mean over steps; no gradient reaches it, and its work is counted."""
    teacher = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5)).double()
    objective, output = SelfEnsemble(1.0, tau, teacher), torch.randn(T, B, 3, dtype=torch.float64)
    said = teacher.eval()(X).mean(0)
    teacher.train()
    wanted = sum(
        F.kl_div(torch.log_softmax(step / tau, -1), torch.softmax(said / tau, -1), reduction="batchmean")
        for step in output
    )
    assert float(objective(Run(output), Batch(X, Y))) == pytest.approx(float(tau**2 * wanted / T))
    assert teacher.training
    assert all(p.grad is None for p in teacher.parameters())
    assert objective.helpers() == (teacher,)
    costs = []
    for each in (objective, SelfEnsemble(1.0, tau)):
        trainer = rules.Trainer(network(), rules.LearningRule(each, rules.BPTT(), SGD()))
        costs.append(trainer.step(Batch(X, Y)).cost.synaptic_operations)
    assert costs[0] - costs[1] == T * B * 12  # the teacher's 4 x 3 weights, at every step and sample


def test_nothing_is_drawn_where_all_agree():
    output = torch.randn(1, B, 3).expand(T, B, 3)
    batch = Batch(X, Y)
    fit = rules.OBJECTIVES["ce_mean"]()(Run(output), batch)
    for lam in (0.0, 0.3):
        assert float(SelfEnsemble(lam)(Run(output), batch)) == pytest.approx((1 - lam) * float(fit))
    each = SelfEnsemble(0.3).each(Run(output), batch)
    assert float(each.mean()) == pytest.approx(float(SelfEnsemble(0.3)(Run(output), batch)))


def test_steps_behind_the_end_are_not_drawn():
    output, lengths = torch.randn(T, B, 3), torch.arange(B) % T + 1
    changed = output.clone()
    for b, length in enumerate(lengths):
        changed[length:, b] = 99.0
    losses = [float(SelfEnsemble()(Run(each), Batch(X, Y, lengths=lengths))) for each in (output, changed)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SelfEnsemble(lam=1.5), "lam=1.5: give the weight of the teacher, from 0 to 1"),
        (lambda: SelfEnsemble(temperature=0.0), "temperature=0.0: give a number above 0"),
        (
            lambda: SelfEnsemble(teacher=nn.Linear(4, 9).double())(Run(torch.zeros(T, B, 3)), Batch(X, Y)),
            "the teacher knows 9 classes, and the network 3",
        ),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
