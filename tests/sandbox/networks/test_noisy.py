"""Models that are read with noise: what they share with the model inside, and what rules make of them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rules import Trainer
from rules.check import toy
from rules.contract import Batch
from rules.credit.bptt import BPTT
from rules.credit.zero_order import HZO, LayerwiseZO, SequentialLocal
from rules.credit.zero_order.flat.coordinate_wise import CoordinateWise
from rules.credit.zero_order.flat.evolution import EvolutionStrategy
from rules.credit.zero_order.flat.forward_gradient import ForwardGradient
from rules.credit.zero_order.flat.node_perturbation import NodePerturbation
from rules.credit.zero_order.flat.spsa import SPSA
from rules.forward import run_model
from rules.optional import offers
from sandbox import LIF, LeakyIntegrator, build
from sandbox.networks.noisy import NoisyReadout
from tests.rules.credit.zero_order.nets import assign, flat, inputs, mlp

SIGMA = 0.03
MODELS = {
    "sequential": (lambda: mlp([3, 6, 5, 2]), inputs(5, 3)),
    "in time": (lambda: mlp([3, 6, 5, 2]), inputs(4, 5, 3)),
    "network": (lambda: build((3,), 2, ("6r", 5), LIF(tau_mem=2.0), LeakyIntegrator()).double(), inputs(4, 5, 3).abs()),
    "images": (lambda: build((1, 4, 4), 2, ("2c3",), LIF(tau_mem=2.0)).double(), inputs(3, 5, 16).abs()),
}
CREDITS = {
    "hzo": HZO(step=0.1),
    "hzo, random": HZO(step=0.1, probes="random"),
    "layerwise": LayerwiseZO(step=0.1),
    "sequential": SequentialLocal(step=0.1),
    "spsa": SPSA(step=0.1),
    "spsa, forward": SPSA(step=0.1, diff="forward"),
    "evolution": EvolutionStrategy(sigma=0.05),  # ranks of a few pixels of one filter: noise has to change their order
    "nodes": NodePerturbation(draws=2, sigma=0.1),
    "forward gradient": ForwardGradient(),
    "coordinates": CoordinateWise(step=0.1, sparsity=0.9),
}


@pytest.fixture(params=MODELS, name="case")
def _case(request):
    make, x = MODELS[request.param]
    return make(), x


def test_it_offers_what_the_model_inside_does(case):
    model, x = case
    noisy = NoisyReadout(model, SIGMA)
    assert offers(noisy) == offers(model)
    assert noisy.layers == list(model.children() if isinstance(model, nn.Sequential) else model.layers)
    assert [f"inner.{name}" for name, _ in model.named_parameters()] == [name for name, _ in noisy.named_parameters()]
    clean, shown = run_model(model, Batch(x), True), run_model(noisy, Batch(x), True)
    assert [f"inner.{t.weight}" for t in clean.traces] == [t.weight for t in shown.traces]
    for mine, true in zip(shown.traces, clean.traces):
        assert torch.equal(mine.pre, true.pre)
        assert not torch.equal(mine.post, true.post)


def test_a_carry_continues_without_noise_in_it():
    model, x = toy.leaky(spiking=False), toy.batch().x
    noisy = NoisyReadout(model, SIGMA)
    torch.testing.assert_close(noisy(x[2:], noisy(x[:2]).carry).carry, model(x).carry)


def test_the_noise_has_its_size_and_no_mean():
    """80,000 numbers: their spread is known to 0.25 %, their mean to 0.35 % of it."""
    noisy = NoisyReadout(nn.Identity(), SIGMA)
    error = noisy(torch.ones(40, 200, 10, dtype=torch.float64)).output - 1
    assert float(error.std()) == pytest.approx(SIGMA, rel=0.01)
    assert abs(float(error.mean())) < 0.014 * SIGMA


def test_noise_is_fresh_in_every_call_and_the_same_from_the_same_seed():
    x = inputs(5, 3)
    one, two, other, again = (NoisyReadout(mlp([3, 2]), SIGMA, seed=s) for s in (1, 1, 2, 1))
    before = torch.get_rng_state()
    first, second = one(x).output, one(x).output
    assert not torch.equal(first, second)
    assert torch.equal(two(x).output, first)
    assert not torch.equal(other(x).output, first)
    two(x)
    again.load_state_dict(two.state_dict())
    assert torch.equal(again(x).output, two(x).output)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.filterwarnings("ignore:gain")
@pytest.mark.parametrize("credit", CREDITS.values(), ids=CREDITS)
def test_every_rule_of_the_family_reads_with_noise(credit, case):
    """A gradient that differs from that without noise, is the same from the same generator, and leaves weights unchanged.

    Without noise it is that of the model inside, to rounding: coordinates are then evaluated in turn, not together.
    """
    model, x = case
    noisy = NoisyReadout(model, SIGMA).eval()
    before = [p.detach().clone() for p in model.parameters()]
    one, two, other = (flat(assign(credit, noisy, x, seed=s).grads) for s in (0, 0, 1))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    quiet = assign(credit, NoisyReadout(model, 0.0), x).grads
    assert not torch.equal(one, flat(quiet))
    torch.testing.assert_close(flat(quiet), flat(assign(credit, model, x).grads), atol=1e-10, rtol=1e-10)
    assert all(map(torch.equal, before, model.parameters()))
    assert int(noisy.calls) == 0


def test_each_pass_is_read_anew():
    """Both ends of a difference have noise of their own: slopes of a flat loss scatter by sigma sqrt(2) / (2 step)."""
    model = NoisyReadout(nn.Sequential(nn.Linear(1, 1, bias=False)).double(), SIGMA)

    class Height(toy.Quadratic):
        def __call__(self, run, batch):
            return run.output.mean()

    rule = SPSA(draws=10, step=0.1, direction="rademacher", relative=False)
    found = [float(flat(assign(rule, model, inputs(1, 1) * 0, objective=Height(), seed=s).grads)) for s in range(100)]
    spread = torch.tensor(found).square().mean().sqrt() * 10**0.5
    assert float(spread) == pytest.approx(SIGMA / (0.1 * 2**0.5), rel=0.25)  # 100 numbers know a spread to 7 %
    assert len(set(found)) == 100


def test_backpropagation_measures_nothing():
    model, x = mlp([3, 6, 2]), inputs(5, 3)
    assert torch.equal(flat(assign(BPTT(), NoisyReadout(model, SIGMA), x).grads), flat(assign(BPTT(), model, x).grads))


@pytest.mark.parametrize("sigma", [-0.1, float("nan"), float("inf")])
def test_impossible_noise(sigma):
    with pytest.raises(ValueError, match=f"sigma={sigma}: give a finite standard deviation of at least 0"):
        NoisyReadout(nn.Identity(), sigma)


def test_a_model_without_time_stays_without():
    """More samples than a look at firing takes at a time: rows are samples, and no steps."""
    model = NoisyReadout(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)), 0.01)
    x, y = torch.randn(70, 4, generator=torch.Generator().manual_seed(0)), torch.zeros(70, dtype=torch.int64)
    info = Trainer(model, "hzo").step((x, y))
    assert info.cost.layer_evaluations == 3 * 2 + 2 * 5
