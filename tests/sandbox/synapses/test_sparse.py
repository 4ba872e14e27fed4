"""Sparse synapses: products and gradients of a masked matrix, training within the pattern, costs, rules."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import rules
from rules.diagnostics.work import work
from rules.metering import Meter
from rules.models.admission import UnfitModel
from rules.synapses import is_synapse, synaptic_parameters
from rules.weight_gradients import outer_products, weight_gradients
from sandbox import LIF, Sparse, build
from sandbox.neurons import TwoCompartment
from sandbox.synapses import kernels, sparse

DOUBLE = torch.float64


def layer(inputs=9, outputs=6, probability=0.4, bias=True, seed=0):
    return Sparse(inputs, outputs, probability, bias, torch.Generator().manual_seed(seed)).double()


def spikes(*shape, seed=1):
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < 0.3).double()


@pytest.mark.parametrize("shape", [(9,), (4, 9), (5, 4, 9), (0, 9)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("skips", [True, False])
def test_it_computes_as_its_matrix_does(shape, bias, skips, monkeypatch):
    """Whether its products skip what is not there, or go by the matrix."""
    monkeypatch.setattr(sparse, "SCATTERED", 0 if skips else 1e9)
    synapse, x = layer(bias=bias), spikes(*shape).requires_grad_()
    error = torch.randn(*shape[:-1], 6, dtype=DOUBLE, generator=torch.Generator().manual_seed(2))
    wanted = [x, *synapse.parameters()]
    ours, dense = synapse(x), F.linear(x, synapse.dense(), synapse.bias)
    torch.testing.assert_close(ours, dense, rtol=0, atol=1e-14)  # the same terms in another order
    for a, b in zip(torch.autograd.grad(ours, wanted, error), torch.autograd.grad(dense, wanted, error)):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-13)


def test_transforms_and_second_derivatives_use_the_matrix():
    synapse, x = layer(), torch.randn(2, 3, 9, dtype=DOUBLE)
    torch.testing.assert_close(torch.func.vmap(synapse)(x), synapse(x), rtol=0, atol=1e-14)

    def loss(weight):
        return torch.func.functional_call(synapse, {"weight": weight}, (x,)).pow(2).sum()

    assert torch.func.hessian(loss)(synapse.weight.detach()).shape == (len(synapse.weight),) * 2
    small = torch.randn(1, 9, dtype=DOUBLE, requires_grad=True)
    assert torch.autograd.gradgradcheck(synapse, small)


def test_without_numba_it_is_the_dense_product(monkeypatch):
    synapse, x = layer(), spikes(5, 9)
    want = synapse(x)
    monkeypatch.setattr(sparse, "absent", lambda: "not here")
    monkeypatch.setattr(sparse, "kernels", None)
    torch.testing.assert_close(synapse(x), want, rtol=0, atol=1e-14)


def test_densities_decide(monkeypatch):
    """Two percent of the inputs with a tenth of the pairs are worth a loop, a third of them are not."""
    seen = []
    spread = kernels.spread
    monkeypatch.setattr(kernels, "spread", lambda *given: seen.append(1) or spread(*given))
    synapse = layer(200, 100, 0.1)
    for density, skips in ((0.02, 1), (0.33, 0)):
        seen.clear()
        synapse((torch.rand(50, 200, generator=torch.Generator().manual_seed(0)) < density).double())
        assert len(seen) == skips


def test_threads_change_nothing(monkeypatch):
    monkeypatch.setattr(sparse, "SCATTERED", 0)
    synapse, x = layer(300, 200), spikes(64, 300).requires_grad_()
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        y = synapse(x)
        found.append([y, *torch.autograd.grad(y.sin().sum(), [x, synapse.weight])])
    torch.set_num_threads(1)
    assert all(torch.equal(a, b) for a, b in zip(*found))


def test_the_pattern_is_that_of_the_generator_and_of_the_edges():
    a, b = layer(50, 40, 0.2), layer(50, 40, 0.2)
    assert torch.equal(a.pre, b.pre)
    assert torch.equal(a.weight, b.weight)
    assert len(a.weight) == pytest.approx(0.2 * 2000, abs=4 * (2000 * 0.2 * 0.8) ** 0.5)  # four standard deviations
    shuffled = torch.randperm(len(a.pre))
    again = Sparse.from_edges(a.pre[shuffled], a.post[shuffled], a.weight[shuffled], a.shape, a.bias)
    assert torch.equal(again.dense(), a.dense())
    assert torch.equal(again.bias, a.bias)


def test_training_never_leaves_the_pattern():
    synapse = layer(bias=False)
    empty = synapse.dense() == 0
    for optimizer in (torch.optim.Adam, torch.optim.SGD):
        trained = optimizer(synapse.parameters(), lr=0.1)
        for seed in range(3):
            trained.zero_grad()
            synapse(spikes(20, 9, seed=seed)).pow(2).sum().backward()
            trained.step()
    assert (synapse.dense()[empty] == 0).all()
    assert synapse.weight.grad.shape == synapse.weight.shape
    assert sum(p.numel() for p in synapse.parameters()) == len(synapse.pre)


def test_state_dicts_carry_the_pattern():
    a, b = layer(seed=0), layer(seed=3)
    if len(a.pre) == len(b.pre):
        pytest.skip("the patterns would have to differ in size")
    with pytest.raises(RuntimeError, match="size mismatch for pre"):
        b.load_state_dict(a.state_dict())
    same = Sparse.from_edges(a.pre, a.post, torch.zeros(len(a.pre), dtype=DOUBLE), a.shape, torch.zeros(6).double())
    same.load_state_dict(a.state_dict())
    assert torch.equal(same.dense(), a.dense())


def test_rules_know_it_as_a_synapse_and_count_its_synapses():
    synapse, x = layer(), spikes(5, 4, 9)
    assert is_synapse(synapse)
    assert list(synaptic_parameters(nn.Sequential(synapse))) == ["0.weight", "0.bias"]
    with Meter(nn.Sequential(synapse)) as meter:
        y = synapse(x.requires_grad_())
    cost = meter.cost(1, 1)
    assert cost.synaptic_operations == cost.weight_operations == cost.error_operations == 20 * len(synapse.pre)
    assert outer_products(synapse, x, y) == 20 * len(synapse.pre)
    error = torch.randn(y.shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
    found = weight_gradients(synapse, x.detach(), error)
    for name, true in zip(("weight", "bias"), torch.autograd.grad(y, [synapse.weight, synapse.bias], error)):
        torch.testing.assert_close(found[name], true, rtol=0, atol=1e-13)


def test_work_that_meets_no_zero_is_counted_on_the_pattern():
    synapse, x = layer(), spikes(5, 4, 9)
    (found,) = work(nn.Sequential(synapse), rules.Batch(x))
    each = x.flatten(0, 1).sum(0)[synapse.pre].sum() / 4  # an operation for each active input of a synapse
    assert (found.note, found.dense, found.accumulated) == ("", 5 * len(synapse.pre), float(each))


def network(place, rule=""):
    """A small network whose hidden or read-out synapse is sparse; with dendrites for the rule that needs them."""
    readout = TwoCompartment(reset="none") if rule == "urbanczik_senn" else None
    net = build((4,), 3, (30,), LIF(tau_mem=5.0), readout)
    rng = torch.Generator().manual_seed(0)
    net.layers[place].synapse = Sparse(4, 30, 0.5, generator=rng) if place == 0 else Sparse(30, 3, 0.5, generator=rng)
    with torch.no_grad():
        net.layers[place].synapse.weight.mul_(8)
    return net


MATRICES = {"rtrl", "snap1", "uoro", "eprop", "ostl", "otpe", "ottt", "decolle", "three_factor"} | {
    "stdp",
    "triplet_stdp",
    "voltage_stdp",
    "r_stdp",
    "escape_noise",
    "bcpnn",
    "eventprop",
    "urbanczik_senn",
}
FEEDBACK = {"fa", "dfa", "sdfa", "drtp", "usf", "brsf", "frsf", "weight_mirror", "kolen_pollack"}
REFUSES = MATRICES | FEEDBACK | {"binary_stochastic", "binary_stochastic_ideal"}
QUICK = ("bptt", "node_perturbation", "hzo", "spsa", "dfa", "eprop", "binary_stochastic")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in rules.RULES]
)
def test_every_rule_learns_it_or_refuses_it_in_words(name):
    x, y = torch.rand(6, 8, 4, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 3
    net = network(1, name)
    before = [p.clone() for p in net.parameters()]
    if name in REFUSES:
        with pytest.raises(UnfitModel, match="Sparse"):
            rules.Trainer(net, name).step((x, y))
        assert all(torch.equal(a, b) for a, b in zip(before, net.parameters()))
        return
    if "chain" in rules.make(name).needs:
        with pytest.raises(rules.MissingNeed, match="chain: .*none of its layers .* is dense"):
            rules.Trainer(net, name)
        return
    trainer = rules.Trainer(net, name)
    trainer.step((x, y))
    synapse = net.layers[1].synapse
    if name != "coordinate_wise":  # which draws some coordinates, and may not draw these
        assert not torch.equal(synapse.weight, before[-2])
    assert synapse.weight.shape == synapse.pre.shape
    assert torch.isfinite(synapse.weight).all()


@pytest.mark.parametrize("name", ["node_perturbation", "hzo"])
def test_outer_products_on_the_pattern_are_those_of_the_masked_matrix(name):
    """With the same draws, which go by cells and not by weights."""
    x, y = torch.rand(6, 8, 4, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 3
    ours, dense = network(0), network(0)
    synapse = ours.layers[0].synapse
    linear = nn.Linear(4, 30)
    with torch.no_grad():
        linear.weight.copy_(synapse.dense())
        linear.bias.copy_(synapse.bias)
    dense.layers[0].synapse = linear
    found = []
    for net in (ours, dense):
        rule, rng = rules.make(name), torch.Generator().manual_seed(4)
        state = rule.credit.init(net, rng)
        grads = rule.credit.assign(net, rule.objective, rules.Batch(x, y), state, rng).grads
        found.append(grads["layers.0.synapse.weight"])
    torch.testing.assert_close(found[0], found[1][synapse.post, synapse.pre], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sparse(4, 3, 0.0), r"probability=0.0; wanted a number above 0 and at most 1"),
        (lambda: Sparse(4, 3, 1.5), "probability=1.5; wanted"),
        (
            lambda: Sparse.from_edges(torch.tensor([0]), torch.tensor([0]), torch.tensor([1]), (1, 1)),
            r"weights are torch.int64 of shape \(1,\) for 1 synapses; .*weights.double\(\)",
        ),
        (
            lambda: Sparse.from_edges(torch.tensor([0]), torch.tensor([0]), torch.ones(1), (1, 1), torch.ones(2)),
            r"bias has shape \(2,\); wanted \(1,\), a number for each output",
        ),
        (
            lambda: Sparse.from_edges(torch.tensor([0, 0]), torch.tensor([0, 0]), torch.ones(2), (1, 1)),
            "the synapse from cell 0 to cell 0 appears twice",
        ),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("where", ["input", "weight", "error"])
def test_infinity_spreads_as_in_the_matrix_whatever_the_density(where, monkeypatch):
    """Zero times infinity is not a number, also for pairs that are not connected."""
    synapse, x, found = layer(), spikes(4, 9).requires_grad_(), []
    error = torch.ones(4, 6, dtype=DOUBLE)
    with torch.no_grad():
        {"input": x[0], "weight": synapse.weight, "error": error[1]}[where][2] = torch.inf
    wanted = [x, *synapse.parameters()]
    for skips in (0, 1e9):
        monkeypatch.setattr(sparse, "SCATTERED", skips)
        y = synapse(x)
        found.append([y, *torch.autograd.grad(y, wanted, error)])
    dense = F.linear(x, synapse.dense(), synapse.bias)
    want = [dense, *torch.autograd.grad(dense, wanted, error)]
    assert any(each.isnan().any() for each in want)
    for each in found:
        for a, b in zip(each, want, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-13, equal_nan=True)  # the same terms in another order
